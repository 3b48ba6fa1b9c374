"""Lists of networks that live: read once before anything listens, then watched and swapped as a whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from revproxy.access.lists import read_list
from revproxy.access.networks import NetworkTable
from revproxy.watched import Watch

_log = Logger()

#: Seconds for which a thread that reads a list rests after each part: others wait for the interpreter meanwhile.
_REST = 0.001


class NetworkFile:
    """The networks of one file; all who name the file share it.

    :ivar table: those that count now.
    :raises ConfigError: when the file can't be used.
    """

    __slots__ = ("_watch", "path", "table")

    def __init__(self, path: str, reactor: Any) -> None:
        self.path = path
        self._watch = Watch(path, _read, reactor, self._found, self._failed)
        self.table: NetworkTable = self._watch.load()

    def start(self) -> None:
        """Watch the file."""
        self._watch.start()

    def close(self) -> None:
        """Watch it no longer."""
        self._watch.close()

    def _found(self, table: NetworkTable) -> None:
        self.table = table
        _log.info("{path}: {n} networks", path=self.path, n=table.size)

    def _failed(self, why: str) -> None:
        _log.error("{why}; the {n} networks from before stay", why=why, n=self.table.size)


def _read(path: str) -> NetworkTable:
    return read_list(path, _rest)


def _rest() -> None:
    time.sleep(_REST)


class NetworkFiles:
    """The files of a configuration, each once. :ivar all: them by their paths."""

    def __init__(self, base: str, reactor: Any) -> None:
        self._base = base
        self._reactor = reactor
        self.all: dict[str, NetworkFile] = {}

    def get(self, written: str) -> NetworkFile:
        """The file of this name, relative to the configuration's folder. :raises ConfigError: when it can't be used."""
        path = str(Path(self._base, written))
        if path not in self.all:
            self.all[path] = NetworkFile(path, self._reactor)
        return self.all[path]
