"""One order at a time in a folder, whoever shares it: an advisory lock on a file (flock(2)).

Rules of this module:

* the system gives the lock back when a process ends, however it ends: there is nothing stale;
* taking it never blocks the reactor: it is tried, in a thread, and tried again;
* the file is never removed: whoever waits has it open.
"""

from __future__ import annotations

import fcntl
import os
from io import FileIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from revproxy.threads import in_thread

#: Seconds between two tries.
AGAIN = 1.0


class FolderLock:
    """The lock; a new object for each time that it is taken."""

    __slots__ = ("_file", "_path", "_reactor")

    def __init__(self, path: str, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._file: FileIO | None = None

    async def take(self) -> None:
        """Wait until it is ours. :raises OSError: when the file can't be opened."""
        while not await self._try():
            await deferLater(self._reactor, AGAIN)

    def release(self) -> None:
        """Give it back, if it is ours."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _try(self) -> Deferred[bool]:
        told: Deferred[bool] = Deferred()

        def tried(found: Any) -> None:
            if told.called:  # cancelled: the thread was not
                if isinstance(found, FileIO):
                    found.close()
            elif found is None or isinstance(found, FileIO):
                self._file = found
                told.callback(found is not None)
            else:
                told.errback(found)

        in_thread(self._reactor, _locked, self._path).addBoth(tried)
        return told


def _locked(path: str) -> FileIO | None:
    """The file, locked; ``None`` while another has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    file = FileIO(os.open(path, flags, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file
