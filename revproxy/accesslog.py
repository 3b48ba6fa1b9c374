"""The access log: the reactor only appends to a list; one thread formats and writes.

Rules of this module:

* :meth:`AccessLog.log` is one append and two tests (0.17 us where an empty method takes 0.07);
  nothing that can wait, fail or format happens on the reactor;
* what waits is bounded. What does not fit is dropped and counted, and one line says how many;
* what was accepted is written: :meth:`AccessLog.stop` fires when the last line is out;
* no timer runs while nothing is logged.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.accesslog_format import Record, format_combined, format_json
from revproxy.accesslog_writer import Order, Writer

__all__ = ["AccessLog", "Record", "format_combined", "format_json", "install_reopen_signal"]

Format = Literal["combined", "json"]

_BATCH = 512  # records that are handed over without waiting for the timer
_INTERVAL = 0.2  # seconds that a record waits at most
_FORMATS: dict[str, Callable[[Record], str]] = {"combined": format_combined, "json": format_json}


class LogReactor(Protocol):
    """What the access log needs of a reactor."""

    def callLater(self, delay: float, callable: Callable[..., Any], /) -> Any: ...

    def callFromThread(self, callable: Callable[..., Any], /, *args: Any) -> None: ...


class AccessLog:
    """Writes one line for each record to a file, in the order in which they were logged.

    The file is opened and the thread is started on first use, so that the object may be made
    before the process forks and gives up its privileges; :meth:`start` opens the file at once.

    :param path: the file, appended to and made with mode 0640; ``"-"`` is standard output.
    :param fmt: ``"combined"`` or ``"json"``.
    :param capacity: records that may wait for the writer before further ones are dropped.
    :param retry: seconds between two attempts to write when nothing else asks for one.
    :param patience: seconds that :meth:`stop` waits for a writer that is stuck.
    """

    __slots__ = (
        "_batch",
        "_capacity",
        "_deadline",
        "_dropped",
        "_given",
        "_orders",
        "_patience",
        "_reactor",
        "_stopping",
        "_thread",
        "_timer",
        "_waiters",
        "_writer",
    )

    _log = Logger()

    def __init__(
        self,
        path: str,
        fmt: Format,
        reactor: LogReactor,
        *,
        capacity: int = 65536,
        retry: float = 1.0,
        patience: float = 5.0,
    ) -> None:
        self._reactor = reactor
        self._capacity = capacity
        self._patience = patience
        self._batch: list[Record] = []
        self._timer: Any = None  # an IDelayedCall
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._deadline: Any = None  # an IDelayedCall
        self._waiters: list[Deferred[None]] = []
        self._given = 0
        self._dropped = 0
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._writer = Writer(path, _FORMATS[fmt], self._orders, self._say, retry)

    def start(self) -> None:
        """Open the file now, so that a wrong path is known at once. :raises OSError: it can't be opened."""
        self._writer.open()

    def log(self, record: Record) -> None:
        """Accept one record; after :meth:`stop` it is passed over."""
        batch = self._batch
        batch.append(record)
        if self._timer is None:
            self._arm()
        elif len(batch) >= _BATCH:
            self._hand_over()

    def reopen(self) -> None:
        """Open the file anew, after it was renamed. From any thread and any signal handler."""
        # SimpleQueue.put may interrupt itself; lines that wait go to the new file.
        self._orders.put("reopen")

    def stop(self) -> Deferred[None]:
        """Write what was accepted, end the thread and close the file.

        :return: fires with ``None`` when all is written, or after ``patience`` seconds when the
            writer is stuck; what was lost is said on the log.
        """
        done: Deferred[None] = Deferred()
        self._waiters.append(done)
        if self._stopping:
            if self._deadline is None:
                self._fire()
            return done
        self._hand_over()
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._say_dropped()
        if self._thread is None:
            self._writer.close()
            self._fire()
        else:
            self._deadline = self._reactor.callLater(self._patience, self._give_up)
            self._orders.put("stop")
        return done

    def _arm(self) -> None:
        if self._stopping:
            self._batch.clear()
        else:
            self._timer = self._reactor.callLater(_INTERVAL, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._hand_over()
        if self._dropped:
            # Waiting until half of the queue is free makes one line of a writer that is a little
            # too slow, and not one of each batch.
            if self._waiting() * 2 <= self._capacity:
                self._say_dropped()
            else:
                self._arm()

    def _waiting(self) -> int:
        return self._given - self._writer.taken

    def _hand_over(self) -> None:
        batch = self._batch
        room = self._capacity - self._waiting()
        if len(batch) > room:
            self._dropped += len(batch) - room
            del batch[room:]
        if not batch:
            return
        self._batch = []
        self._given += len(batch)
        self._orders.put(batch)
        if self._thread is None:
            self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name="access log", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The process may have no more threads: the queue keeps the batch, the next one tries again.
            self._log.error("access log: {error}", error=error)
        else:
            self._thread = thread

    def _run(self) -> None:
        """The thread."""
        try:
            self._writer.run()
        finally:
            self._reactor.callFromThread(self._ended)

    def _ended(self) -> None:
        if not self._stopping:
            # Only what is no Exception (no memory) ends the loop; the next batch starts it again.
            self._thread = None
            self._log.error("access log: the writer ended")
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            if lost := self._waiting():
                self._log.error("access log: {lost} records could not be written", lost=lost)
            self._fire()

    def _give_up(self) -> None:
        self._deadline = None
        self._log.error("access log: the writer is stuck; {lost} records are lost", lost=self._waiting())
        self._fire()

    def _fire(self) -> None:
        waiters, self._waiters = self._waiters, []
        for done in waiters:
            done.callback(None)

    def _say_dropped(self) -> None:
        if self._dropped:
            self._log.warn("access log: the writer fell behind; {count} records dropped", count=self._dropped)
            self._dropped = 0

    def _say(self, text: str) -> None:
        """Called in the writer's thread."""
        self._reactor.callFromThread(self._report, text)

    def _report(self, text: str) -> None:
        self._log.error("access log: {text}", text=text)


_signal_log = Logger(namespace=__name__)


def install_reopen_signal(log: AccessLog) -> Callable[[], None]:
    """Reopen ``log`` on SIGUSR1, and call the handler that was there before too.

    Call it when the service starts, not before: twistd sets its own handler (which rotates its own
    log) only where it finds none. Off the main thread, and where there is no such signal, nothing
    is installed.

    :return: takes the handler out again.
    """
    number = getattr(signal, "SIGUSR1", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        _signal_log.debug("access log: no handler for SIGUSR1 here; call reopen() instead")
        return lambda: None
    previous = signal.getsignal(number)
    active = True

    def handle(signum: int, frame: FrameType | None) -> None:
        if active:
            log.reopen()
        if callable(previous):
            previous(signum, frame)

    def uninstall() -> None:
        nonlocal active
        active = False
        # A handler that came later may chain to ours: then ours stays and only passes on.
        if signal.getsignal(number) is handle:
            signal.signal(number, previous)

    signal.signal(number, handle)
    return uninstall
