"""Purges of a store that go on step by step, between other work.

Rules of this module:

* a step is some milliseconds at most: what it does is counted, not timed;
* what is stored or removed between steps is no error: what comes later may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from revproxy.cache.entry import CHUNK, Entry

#: Of a step of a purge: looking at an entry is 1, removing it and freeing a piece of its body as much as these.
_STEP = 2048
_REMOVING = 32
_PIECE = 16


class _Store(Protocol):
    def purge_entry(self, entry: Entry, now: float | None) -> bool: ...


class Purge:
    """A purge that goes on step by step, each some milliseconds at most. :ivar purged: entries so far."""

    __slots__ = ("_steps", "purged")

    def __init__(self, steps: Iterator[int]) -> None:
        self._steps = steps
        self.purged = 0

    def __iter__(self) -> Purge:
        return self

    def __next__(self) -> None:
        self.purged += next(self._steps)

    def finish(self) -> int:
        """Do the rest at once. Returns how many entries it were in all."""
        for _ in self:
            pass
        return self.purged


def purge_where(
    store: _Store, entries: Iterable[Entry], match: Callable[[Entry], bool], now: float | None
) -> Iterator[int]:
    """Purge what matches: how many in each step. :param now: only mark it as stale from this moment on."""
    done = work = 0
    for entry in entries:
        work += 1
        if match(entry):
            work += _cost(entry)
            done += store.purge_entry(entry, now)
        if work >= _STEP:
            yield done
            done = work = 0
    yield done


def purge_these(store: _Store, entries: list[Entry], now: float | None) -> Iterator[int]:
    """Purge all of these; the list is emptied, so that none is kept by it."""
    done = work = 0
    while entries:
        entry = entries.pop()
        work += _cost(entry)
        done += store.purge_entry(entry, now)
        if work >= _STEP:
            yield done
            done = work = 0
    yield done


def _cost(entry: Entry) -> int:
    return _REMOVING + entry.length // CHUNK * _PIECE
