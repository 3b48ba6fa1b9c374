"""What the answers to requests that passed the cache by mean for what is stored (RFC 9111 4.4, 4.3.5).

Rules of this module:

* a method that is not safe makes invalid what it names, stored or being asked for;
* the answer to HEAD freshens what GET stored, or makes it stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revproxy.cache.invalidate import SAFE, invalidates
from revproxy.cache.key import inner_path, make_key
from revproxy.cache.policy import choose
from revproxy.cache.storing import freshen_by_head
from revproxy.http.message import Response

if TYPE_CHECKING:
    from revproxy.cache.pending import Pending
    from revproxy.cache.rules import Rules
    from revproxy.cache.store import Store
    from revproxy.exchange import Exchange

#: What a route's responses are stored in, and the fills of it that are running.
Kept = tuple["Store", "Pending"]


def take_note(
    exchange: Exchange,
    response: Response,
    rules: Rules,
    kept: Kept,
    mapping: tuple[bytes, bytes] | None,
    now: float,
) -> None:
    """Do to what is stored what a response that passed by says of it.

    :param mapping: the prefix of paths at backends, and the public one. :param now: the wall clock in seconds.
    """
    request = exchange.request
    if request.method == b"HEAD":
        _freshen_by_head(exchange, response, rules, kept[0], now)
    elif request.method not in SAFE:
        for uri in invalidates(request, response, rules):
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


def _freshen_by_head(exchange: Exchange, response: Response, rules: Rules, store: Store, now: float) -> None:
    request = exchange.request
    if response.status != 200 or b"authorization" in request.headers:
        return
    entries = store.variants(make_key(request, rules))
    stored = choose([entry.meta for entry in entries], request)
    if stored is None:
        return
    asked = now - (exchange.engine.seconds() - exchange.started)
    freshened = freshen_by_head(stored, request, response, rules, asked, now)
    if freshened is None:
        stored.expire(now)
    elif not freshened.refused:
        entry = next(entry for entry in entries if entry.meta is stored)
        store.refresh(entry, freshened.stored)
