"""Requests to backends whose responses are to be stored: who may wait for which, and what a purge means for them.

Rules of this module:

* requests wait for each other by *slot*: the key, whether they are authorized, and, where it is known what
  the responses are chosen by (Vary), what they say there. So variants that were never stored are
  asked for side by side, each of them once;
* a response that was asked for before a purge is out of date when it comes: it is for those who
  had asked before, and is not stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revproxy.cache.key import Key
from revproxy.cache.vary import vary_values
from revproxy.http.message import Headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from revproxy.cache.fill import Fill

#: URIs of which it is known when they were purged last.
_MOST = 1024
#: Key, authorized, names of Vary, what the request says of them.
Slot = tuple[Key, bool, tuple[bytes, ...], tuple[bytes | None, ...]]


def slot_of(key: Key, authorized: bool, names: tuple[bytes, ...], headers: Headers) -> Slot:
    """The slot of a request. :param names: of the Vary that is known, ``()`` for none."""
    return (key, authorized, names, vary_values(names, headers) if names else ())


class Purged:
    """What purges have said meanwhile of a response that was asked for.

    :ivar gone: it is not to be stored. :ivar expired: since when it is to be taken for stale, ``None`` for not.
    """

    __slots__ = ("_tags", "expired", "gone")

    def __init__(self) -> None:
        self.gone = False
        self.expired: float | None = None
        self._tags: dict[bytes, float | None] | None = None

    def mark(self, now: float | None) -> None:
        """It was purged. :param now: only stale from this moment on."""
        if now is None:
            self.gone = True
        elif self.expired is None:
            self.expired = now

    def mark_tag(self, tag: bytes, now: float | None) -> None:
        """It was, if it will bear this tag, which is not known yet."""
        if self._tags is None:
            self._tags = {}
        if now is None:
            self._tags[tag] = None
        else:
            self._tags.setdefault(tag, now)

    def check(self, tags: Iterable[bytes]) -> None:
        """It bears these tags."""
        if self._tags is not None:
            for tag in tags:
                if tag in self._tags:
                    self.mark(self._tags[tag])


class Pending:
    """The fills of a store that are running, by the URI of their keys. :ivar purges: how many there were."""

    __slots__ = ("_everything", "_fills", "_last", "purges")

    def __init__(self) -> None:
        self._fills: dict[bytes, set[Fill]] = {}
        self.purges = 0
        # the last purge of a URI, by its hash: nothing worse than a response that is not stored comes of two that
        # are the same; and the last of everything
        self._last: dict[int, int] = {}
        self._everything = 0

    def __len__(self) -> int:
        return sum(map(len, self._fills.values()))

    def add(self, uri: bytes, fill: Fill) -> None:
        """A backend is asked."""
        fills = self._fills.get(uri)
        if fills is None:
            self._fills[uri] = {fill}
        else:
            fills.add(fill)

    def discard(self, uri: bytes, fill: Fill) -> None:
        """It is over; more than once is no error."""
        fills = self._fills.get(uri)
        if fills is not None:
            fills.discard(fill)
            if not fills:
                del self._fills[uri]

    def purge(self, uri: bytes, now: float | None = None) -> None:
        """What is asked for of this URI is out of date. :param now: only stale from this moment on."""
        self.purges += 1
        if len(self._last) >= _MOST:
            self._last.clear()
            self._everything = self.purges
        self._last[hash(uri)] = self.purges
        for fill in tuple(self._fills.get(uri, ())):
            fill.purge(now)

    def was_purged(self, uri: bytes, since: int) -> bool:
        """Whether a URI may have been purged after so many purges. Some that were not count, too."""
        return self._everything > since or self._last.get(hash(uri), 0) > since

    def purge_where(self, match: Callable[[bytes], bool], now: float | None = None) -> None:
        """The same for all URIs that match."""
        self.purges += 1
        self._everything = self.purges
        for uri in [uri for uri in self._fills if match(uri)]:
            self.purge(uri, now)

    def purge_tag(self, tag: bytes, now: float | None = None) -> None:
        """The same for what will turn out to bear this tag."""
        self.purges += 1
        self._everything = self.purges
        for fills in self._fills.values():
            for fill in fills:
                fill.purge_tag(tag, now)
