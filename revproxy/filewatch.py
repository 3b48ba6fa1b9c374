"""A file that is read again when it changed.

Rules of this module:

* all that touches the file happens in a thread; the file that a name leads to in the end is compared by device, inode,
  size and times, so that renamed files and symbolic links that were changed are seen;
* a file that changed is read when it has been at rest for :data:`SETTLES` seconds, and not used when it changed
  meanwhile;
* what is wrong with a changed file is told once, and what was read before stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from revproxy.config.errors import ConfigError
from revproxy.threads import in_thread

T = TypeVar("T")

#: Seconds between two looks.
EVERY = 2.0
#: Seconds for which a file has to stay as it is before it is read.
SETTLES = 0.1

Mark = tuple[int, ...]


def mark(path: str) -> Mark:
    """What a file is told by; ``()`` when there is none. It blocks."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def look(path: str, read: Callable[[str], T], used: Mark, changing: Mark) -> tuple[Mark, T | ConfigError | None]:
    """Look at a file, and read it when it is not as it was used last, but as it was at the last look. It blocks.

    :return: its mark, and what it holds or what is wrong with it; ``None`` when it was not read.
    """
    now = mark(path)
    if now == used or now != changing:
        return now, None
    found: T | ConfigError
    try:
        found = read(path)
    except ConfigError as error:
        found = error
    after = mark(path)
    return (now, found) if after == now else (after, None)


class FileWatch(Generic[T]):
    """Watches one file between :meth:`start` and :meth:`close`.

    :param path: where it is. :param read: makes a value of it, in a thread; raises ConfigError when it is wrong.
    :param found: gets each new value. :param failed: gets what is wrong, in words.
    :param used: the mark of the file as it was read last; taken before it was read.
    """

    __slots__ = (
        "_changing", "_failed", "_found", "_looking", "_path", "_reactor", "_read", "_timer", "_used", "_watching",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        read: Callable[[str], T],
        reactor: Any,
        found: Callable[[T], None],
        failed: Callable[[str], None],
        used: Mark,
    ) -> None:
        self._path = path
        self._read = read
        self._reactor = reactor
        self._found = found
        self._failed = failed
        self._used = self._changing = used
        self._timer: Any = None
        self._looking: Deferred[Any] | None = None
        self._watching = False

    def start(self) -> None:
        """Look at it from now on."""
        if not self._watching:
            self._watching = True
            self._timer = self._reactor.callLater(EVERY, self._look)

    def close(self) -> None:
        """Look no longer; a look that is going on in a thread has no effect any more."""
        self._watching = False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _look(self) -> None:
        self._timer = None
        self._looking = looking = in_thread(self._reactor, look, self._path, self._read, self._used, self._changing)
        looking.addCallback(self._seen).addErrback(self._unseen, looking)

    def _seen(self, seen: tuple[Mark, T | ConfigError | None]) -> None:
        if not self._watching:
            return
        now, found = seen
        settling = now != self._changing
        self._changing = now
        self._again(SETTLES if settling else EVERY)
        if found is None:
            return
        self._used = now
        if isinstance(found, ConfigError):
            first, *more = found.errors
            self._failed(f"{first}{f' (and {len(more)} more)' if more else ''}")
        else:
            self._found(found)

    def _unseen(self, failure: Failure, looking: Deferred[Any]) -> None:
        if self._watching and self._looking is looking:
            self._again(EVERY)
            self._failed(f"{self._path}: can't be looked at: {failure.getErrorMessage()}")

    def _again(self, seconds: float) -> None:
        self._looking = None
        self._timer = self._reactor.callLater(seconds, self._look)
