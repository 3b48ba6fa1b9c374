"""The access log's other half: takes batches of records from a queue and writes their lines.

Rules of this module:

* :meth:`Writer.run` is the body of a thread and shares three things with the rest: the queue, the
  counter ``taken``, which only it writes, and ``say``;
* a line is written whole or again: a write error is said once and tried again, and a line that was
  cut in the old file is repeated whole in the one that follows;
* no error ends the loop, only the order to stop.
"""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Literal

from revproxy.accesslog_format import Record

Order = list[Record] | Literal["reopen", "stop"]

#: Lines of one write: between two writes the other threads get the interpreter's lock.
_CHUNK = 64
_MODE = 0o640


class Writer:
    """Formats and writes.

    :param path: the file, or ``"-"`` for standard output.
    :param line: makes the text of one record, without its line break.
    :param orders: where batches and orders come from.
    :param say: tells the operator; called in the thread of :meth:`run`.
    :param retry: seconds between two attempts to write when no order comes in.
    :param write: ``os.write``, or what a test puts in its place.
    :ivar taken: records that need no more room: written, or impossible to format.
    """

    def __init__(
        self,
        path: str,
        line: Callable[[Record], str],
        orders: queue.SimpleQueue[Order],
        say: Callable[[str], None],
        retry: float,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self._path = path
        self._line = line
        self._orders = orders
        self._say = say
        self._retry = retry
        self._os_write = write
        self._fd: int | None = None
        self._records: deque[Record] = deque()
        self._data = b""  # the lines of the chunk that is being written
        self._at = 0  # how much of them is out
        self._count = 0  # records in the chunk
        self._failing = False
        self._said_unformattable = False
        self.taken = 0

    def run(self) -> None:
        """Follow orders until the one to stop; what came before it is tried once more then."""
        while True:
            try:
                order: Order | None = self._orders.get(timeout=self._retry if self._failing else None)
            except queue.Empty:
                order = None
            if isinstance(order, list):
                self._records.extend(order)
            elif order == "reopen":
                self._reopen()
            self._write_all()
            if order == "stop":
                self.close()
                return

    def open(self) -> None:
        """Open the file if it is not open. :raises OSError:"""
        if self._fd is None:
            self._fd = self._opened()

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._fd is not None and self._path != "-":
            os.close(self._fd)
        self._fd = None

    def _opened(self) -> int:
        # The descriptor, not sys.stdout: Twisted puts its own log in that one's place.
        if self._path == "-":
            return 1
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def _reopen(self) -> None:
        if self._fd is None or self._path == "-":
            return
        try:
            new = self._opened()
        except OSError as error:
            self._say(f"can't reopen {self._path}: {error.strerror}; the old file stays in use")
            return
        self.close()
        self._fd = new
        self._at = self._data.rfind(b"\n", 0, self._at) + 1

    def _write_all(self) -> None:
        while (self._count or self._format_chunk()) and self._write_chunk():
            pass

    def _format_chunk(self) -> int:
        records = self._records
        chunk = list(islice(records, _CHUNK))
        for _ in chunk:
            records.popleft()
        try:
            lines = [*map(self._line, chunk)]
        except Exception:  # any record; found one by one below
            lines = [line for record in chunk if (line := self._try(record))]
        self._data = "".join([line + "\n" for line in lines]).encode("ascii")
        self._at = 0
        self._count = len(chunk)
        return self._count

    def _try(self, record: Record) -> str:
        try:
            return self._line(record)
        except Exception as error:  # the loop must go on
            if not self._said_unformattable:
                self._said_unformattable = True
                self._say(f"a record can't be formatted (said once): {error!r}")
            return ""

    def _write_chunk(self) -> bool:
        try:
            self.open()
            assert self._fd is not None
            while self._at < len(self._data):
                self._at += self._os_write(self._fd, self._data[self._at :])
        except OSError as error:
            if not self._failing:
                self._failing = True
                self._say(f"can't write to {self._path}: {error.strerror}; trying again until it works")
            return False
        if self._failing:
            self._failing = False
            self._say(f"{self._path} is written again")
        self.taken += self._count
        self._data = b""
        self._at = self._count = 0
        return True
