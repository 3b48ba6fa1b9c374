"""Files that are read once before anything listens, and again when they change.

Rules of this module:

* a mistake in a file is an error at the start; later it is one line of the log, and what was read before stays;
* all that touches the file after the start happens in a thread, once a second: the file that a name leads to in the end
  is compared by device, inode, size and times;
* a file that changed is read when it was found the same twice, :data:`SETTLES` seconds apart, and not used when it
  changed meanwhile: half a file can be a good one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.threads import in_thread

_log = Logger()

#: Seconds between two looks.
EVERY = 1.0
#: Seconds for which a file has to stay as it is before it is read.
SETTLES = 0.1

T = TypeVar("T")
_Mark = tuple[int, ...]


class WatchedFile(Generic[T]):
    """A file and what was made of it last.

    :param read: makes something of the bytes; what it raises as ``ValueError`` is for the operator. It may block.
    :param most: bytes of the largest file.
    :param changed: called with what is new, once for each change.
    :ivar value: what was made last.
    :raises ValueError: when the file can't be read or used now.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[bytes], T],
        reactor: Any,
        *,
        most: int,
        changed: Callable[[T], None] | None = None,
    ) -> None:
        self.path = path
        self.changed = changed
        self._read = read
        self._reactor = reactor
        self._most = most
        self._timer: Any = None
        self._looking: Deferred[Any] | None = None
        self._running = False
        self._mark = self._changing = _mark(path)
        self._wrong = ""
        self.value: T = self._load()

    def start(self) -> None:
        """Watch from now on; more than once is once."""
        if not self._running:
            self._running = True
            self._timer = self._reactor.callLater(EVERY, self._look)

    def close(self) -> None:
        """Watch no longer; a look that is going on in a thread has no effect any more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _load(self) -> T:
        data = read_file(self.path, self._most)
        try:
            return self._read(data)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _look(self) -> None:
        self._timer = None
        self._looking = looking = in_thread(self._reactor, self._seek, self._mark, self._changing)
        looking.addCallbacks(self._seen, self._unseen)

    def _seek(self, used: _Mark, changing: _Mark) -> tuple[_Mark, T | None, str]:
        """In a thread: the file's mark now, and what was made of it, or what is wrong with it."""
        mark = _mark(self.path)
        if mark == used or mark != changing:
            return mark, None, ""
        try:
            found, wrong = self._load(), ""
        except ValueError as error:
            return mark, None, str(error)
        after = _mark(self.path)
        return (mark, found, wrong) if after == mark else (after, None, "")

    def _seen(self, seen: tuple[_Mark, T | None, str]) -> None:
        if not self._running:
            return
        mark, found, wrong = seen
        settling = mark != self._changing
        self._changing = mark
        if found is not None:
            self._mark = mark
            self._wrong = ""
            self.value = found
            _log.info("{path}: changed, and read anew", path=self.path)
            if self.changed is not None:
                self.changed(found)
        elif wrong:
            self._mark = mark
            if wrong != self._wrong:
                self._wrong = wrong
                _log.warn("{wrong}; what was read before stays", wrong=wrong)
        self._again(SETTLES if settling else EVERY)

    def _unseen(self, failure: Any) -> None:
        if self._running:
            _log.failure("{path} can't be looked at", failure, path=self.path)
            self._again(EVERY)

    def _again(self, seconds: float) -> None:
        self._looking = None
        self._timer = self._reactor.callLater(seconds, self._look)


def read_file(path: str, most: int) -> bytes:
    """A regular file. It blocks. :raises ValueError: when it can't be read or is larger than ``most`` bytes."""
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for without end
            raise ValueError(f"{path} can't be read: no regular file")
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from None
    if len(data) > most:
        raise ValueError(f"{path} can't be read: larger than {most} bytes")
    return data


def _mark(path: str) -> _Mark:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
