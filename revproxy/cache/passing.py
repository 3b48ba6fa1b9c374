"""The hooks for answers to requests that passed the cache by.

Rules of this module:

* they make invalid what is stored, and what is being asked for (RFC 9111 4.4);
* tags are for the cache, not for clients: nobody sees them, whatever way an answer took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revproxy.cache.invalidate import invalidates
from revproxy.cache.key import inner_path, make_key
from revproxy.cache.noted import Noted, take_note
from revproxy.cache.policy import Forward
from revproxy.cache.status import status_of_forward
from revproxy.cache.tags import TAG_FIELDS
from revproxy.http.message import Response

if TYPE_CHECKING:
    from revproxy.cache.handler import Cache
    from revproxy.cache.pending import Pending
    from revproxy.cache.rules import Rules
    from revproxy.cache.store import Store
    from revproxy.exchange import Exchange

#: What a route's responses are stored in, and the fills of it that are running.
Kept = tuple["Store", "Pending"]


class Passing:
    """The hooks of one route's cache. :param cache: whose."""

    __slots__ = ("_cache",)

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def passed(self, exchange: Exchange) -> None:
        """A backend-response hook before all others: what a response that passed by makes invalid."""
        note, response, cache = exchange.note, exchange.response, self._cache
        if response is None:
            return
        if isinstance(note, Noted):
            note.stale = cache.pending.was_purged(make_key(note.request, cache.rules)[0], note.purges)
            invalidate(exchange, response, cache.rules, (cache.store, cache.pending), cache.route.mapping)
        elif isinstance(note, Forward):
            exchange.note = None
            invalidate(exchange, response, cache.rules, (cache.store, cache.pending), cache.route.mapping)
            self._tell(response, note)

    def noted(self, exchange: Exchange) -> None:
        """A backend-response hook after all others: what a response that passed by adds to what is stored."""
        note, response, cache = exchange.note, exchange.response, self._cache
        if not isinstance(note, Noted) or response is None:
            return
        exchange.note = None
        if not note.stale:
            take_note(exchange, note, response, cache.rules, cache.store, cache.route.mapping, cache.now())
        self._tell(response, note.decision)

    def _tell(self, response: Response, decision: Forward) -> None:
        fields = response.headers.fields
        name = self._cache.rules.status_name
        if any(f[0] in TAG_FIELDS for f in fields):
            fields = [f for f in fields if f[0] not in TAG_FIELDS]
        if name:
            fields = [*fields, status_of_forward(name, decision.fwd)]
        response.headers.fields = fields


def invalidate(
    exchange: Exchange, response: Response, rules: Rules, kept: Kept, mapping: tuple[bytes, bytes] | None
) -> None:
    """Take out what a response says has changed.

    :param mapping: the prefix of paths at backends, and the public one.
    """
    for uri in invalidates(exchange.request, response, rules):
        _invalidate(uri, kept, mapping)


def _invalidate(uri: bytes, kept: Kept, mapping: tuple[bytes, bytes] | None) -> None:
    for each in kept:
        each.purge(uri)
    if mapping is not None:  # Location names it as the public does
        begin, _, target = uri.rpartition(b"\n")
        path, mark, query = target.partition(b"?")
        inner = b"%b\n%b%b%b" % (begin, inner_path(path, mapping), mark, query)
        if inner != uri:
            for each in kept:
                each.purge(inner)
