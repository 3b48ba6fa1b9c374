"""Backends from a TOML file that is watched.

Rules of this module:

* it is read once before anything listens, and a mistake in it is an error then; later a mistake is one line of the
  log, and the list before it stays.
"""

from __future__ import annotations

from typing import Any

from revproxy.config.load import load_members
from revproxy.config.model import Backend
from revproxy.upstream.discovery.report import Changed, Report
from revproxy.watched import Watch


class FileSource:
    """A file of ``backends = […]``.

    :param path: where it is. :param others: whether the upstream has other backends, too.
    """

    def __init__(self, path: str, reactor: Any, *, others: bool = False) -> None:
        self.name = f"file {path}"
        self._path = path
        self._reactor = reactor
        self._others = others
        self._watch: Watch[tuple[Backend, ...]] | None = None

    def start(self, changed: Changed) -> None:
        """Read the file now, report it, and go on watching.

        :raises ConfigError: when it can't be used.
        """
        self.stop()
        report = Report(self.name, changed)
        watch = Watch(
            self._path,
            self._read,
            self._reactor,
            report.found,
            lambda why: report.failed(why, again=True),  # the file was changed, to something else that is wrong
        )
        backends = watch.load()
        self._watch = watch
        watch.start()
        report.found(backends)

    def stop(self) -> None:
        """Watch no longer; a look that is going on in a thread has no effect any more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _read(self, path: str) -> tuple[Backend, ...]:
        return load_members(path, others=self._others)
