"""Files and folders that are looked at again and again, and read when they changed.

Rules of this module:

* all that touches the disk after the start happens in a thread;
* a file is told by the device, inode, size and times of what its name leads to in the end, so that renamed files and
  symbolic links that were switched are seen; a folder by what its ``mark`` makes of it;
* what changed is read when it was found the same twice, :data:`SETTLES` seconds apart, and not used when it changed
  meanwhile: half a file can be a good one. Who writes with longer pauses has to rename a whole one into its place;
* what is wrong with it is told once, and what was read before stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from revproxy.config.errors import ConfigError
from revproxy.threads import in_thread

_log = Logger()

#: Seconds between two looks.
EVERY = 1.0
#: Seconds for which what changed has to stay as it is before it is read.
SETTLES = 0.75

T = TypeVar("T")


def stamp(path: str) -> tuple[int, ...]:
    """What a file is told by; ``()`` when there is none. It blocks."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Watch(Generic[T]):
    """Watches a file or a folder between :meth:`start` and :meth:`close`.

    :param read: makes a value, never ``None``, of what is at a path; may block. Raises ``ValueError`` or
        :exc:`ConfigError`, in the operator's words, when that is wrong.
    :param found: gets each new value. :param failed: gets what is wrong, in words; the same words once in a row.
    :param mark: what a path is told by, equal when nothing has changed there; may block.
    :param every: seconds between two looks. :param same: called after each look that found nothing new.
    """

    __slots__ = (
        "_changing", "_every", "_failed", "_found", "_lock", "_mark", "_reactor", "_read", "_same", "_timer",
        "_turning", "_used", "_watching", "_wrong", "path",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        read: Callable[[str], T],
        reactor: Any,
        found: Callable[[T], None],
        failed: Callable[[str], None],
        *,
        mark: Callable[[str], Any] = stamp,
        every: float = EVERY,
        same: Callable[[], None] | None = None,
    ) -> None:
        self.path = path
        self._read = read
        self._reactor = reactor
        self._found = found
        self._failed = failed
        self._mark = mark
        self._every = every
        self._same = same
        self._used: Any = None
        self._changing: Any = None
        self._wrong = ""
        self._timer: Any = None
        self._turning: Deferred[None] | None = None
        self._lock = DeferredLock()
        self._watching = False

    def load(self) -> T:
        """Read it now, before it is watched; what it gives is not told to ``found``. Blocks.

        :raises Exception: what ``read`` raises.
        """
        mark = self._mark(self.path)
        value = self._read(self.path)
        self._used = self._changing = mark
        return value

    def start(self) -> None:
        """Watch it from now on; more than once is once."""
        if not self._watching:
            self._watching = True
            self._again(self._every)

    def close(self) -> None:
        """Watch no longer; a look that is going on in a thread has no effect any more."""
        self._watching = False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        turning, self._turning = self._turning, None
        if turning is not None:
            turning.cancel()

    async def look_now(self) -> None:
        """Look at once, and don't wait for what changed to settle; ``found`` has it when this returns.

        For whoever changed it. What changes while it is read is used, and read again at the next look.
        """
        await self._look(True)

    def _turn(self) -> None:
        self._timer = None
        self._turning = turning = Deferred.fromCoroutine(self._take_turn())
        turning.addErrback(_closed)

    async def _take_turn(self) -> None:
        seconds = SETTLES if await self._look(False) else self._every
        if self._watching and self._timer is None:
            self._again(seconds)

    def _again(self, seconds: float) -> None:
        self._timer = self._reactor.callLater(seconds, self._turn)

    async def _look(self, at_once: bool) -> bool:
        """:return: whether it is changing."""
        await self._lock.acquire()
        try:
            before = self._changing
            mark, value, wrong = await in_thread(self._reactor, self._seek, self._used, before, at_once)
            self._changing = mark
            if value is not None:
                self._used = mark
                self._wrong = ""
                self._found(value)
            elif wrong:
                self._used = mark
                if wrong != self._wrong:
                    self._wrong = wrong
                    self._failed(wrong)
            elif self._same is not None:
                self._same()
            return bool(mark != before and mark != self._used)
        except CancelledError:
            raise
        except Exception as error:  # nobody's mistake but ours
            if repr(error) != self._wrong:
                self._wrong = repr(error)
                _log.failure("{path} can't be looked at", path=self.path)
            return False
        finally:
            self._lock.release()

    def _seek(self, used: Any, changing: Any, at_once: bool) -> tuple[Any, T | None, str]:
        """In a thread: the mark now, and what was read if it was, or what is wrong with it."""
        mark = self._mark(self.path)
        if mark == used or (mark != changing and not at_once):
            return mark, None, ""
        value, wrong = None, ""
        try:
            value = self._read(self.path)
        except ConfigError as error:
            first, *more = error.errors
            wrong = f"{first}{f' (and {len(more)} more)' if more else ''}"
        except ValueError as error:
            wrong = str(error)
        after = mark if at_once else self._mark(self.path)
        return (mark, value, wrong) if after == mark else (after, None, "")


def _closed(failure: Failure) -> None:
    failure.trap(CancelledError)


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
