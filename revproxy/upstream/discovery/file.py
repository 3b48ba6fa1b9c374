"""Backends from a TOML file that is watched.

Rules of this module:

* it is read once before anything listens, and a mistake in it is an error then; later a mistake is one line of the
  log, and the list before it stays;
* all that touches the file happens in a thread, once a second: the file that a name leads to in the end is compared by
  device, inode, size and times, so that renamed files and symbolic links that were changed are seen;
* a file that changed is read when it has been at rest for :data:`SETTLES` seconds, and not used when it changed
  meanwhile: half a file can be good TOML.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from revproxy.config.errors import ConfigError
from revproxy.config.load import load_members
from revproxy.config.model import Backend
from revproxy.threads import in_thread
from revproxy.upstream.discovery.report import Changed, Report

#: Seconds between two looks.
EVERY = 1.0
#: Seconds for which a file has to stay as it is before it is read.
SETTLES = 0.1

_Mark = tuple[int, ...]
#: What a look gave: the file's mark, and its backends or what is wrong with them; ``None`` when it was not read.
_Seen = tuple[_Mark, tuple[Backend, ...] | str | None]


class FileSource:
    """A file of ``backends = […]``.

    :param path: where it is. :param others: whether the upstream has other backends, too.
    """

    def __init__(self, path: str, reactor: Any, *, others: bool = False) -> None:
        self.name = f"file {path}"
        self.path = path
        self._reactor = reactor
        self._others = others
        self._report: Report | None = None
        self._timer: Any = None
        self._looking: Deferred[_Seen] | None = None
        self._mark: _Mark = ()
        self._changing: _Mark = ()

    def start(self, changed: Changed) -> None:
        """Read the file now, report it, and go on watching.

        :raises ConfigError: when it can't be used.
        """
        self.stop()
        mark = _mark(self.path)
        backends = load_members(self.path, others=self._others)
        self._mark = self._changing = mark
        self._report = report = Report(self.name, changed)
        self._timer = self._reactor.callLater(EVERY, self._look)
        report.found(backends)

    def stop(self) -> None:
        """Watch no longer; a look that is going on in a thread has no effect any more."""
        self._report = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _look(self) -> None:
        self._timer = None
        self._looking = looking = in_thread(self._reactor, look, self.path, self._mark, self._changing, self._others)
        looking.addCallbacks(self._seen, self._unseen, (self._report,), {}, (self._report,))

    def _seen(self, seen: _Seen, report: Report | None) -> None:
        if report is None or report is not self._report:
            return
        mark, found = seen
        settling = mark != self._changing
        self._changing = mark
        self._again(SETTLES if settling else EVERY)
        if found is not None:
            self._mark = mark
        if isinstance(found, tuple):
            report.found(found)
        elif found is not None:
            report.failed(found, again=True)  # the file was changed, to something else that is wrong

    def _unseen(self, failure: Failure, report: Report | None) -> None:
        if report is not None and report is self._report:
            self._again(EVERY)
            report.failed(f"can't be looked at: {failure.getErrorMessage()}")

    def _again(self, seconds: float) -> None:
        self._looking = None
        self._timer = self._reactor.callLater(seconds, self._look)


def look(path: str, used: _Mark, changing: _Mark, others: bool) -> _Seen:
    """Look at a file, and read it when it is not as it was read last, but as it was at the last look. It blocks."""
    mark = _mark(path)
    if mark == used or mark != changing:
        return mark, None
    found: tuple[Backend, ...] | str
    try:
        found = load_members(path, others=others)
    except ConfigError as error:
        first, *more = error.errors
        found = f"{first}{f' (and {len(more)} more)' if more else ''}"
    after = _mark(path)
    return (mark, found) if after == mark else (after, None)


def _mark(path: str) -> _Mark:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
