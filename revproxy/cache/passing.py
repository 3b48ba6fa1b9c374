"""What the answers to requests that passed the cache by make invalid (RFC 9111 4.4): stored, or being asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revproxy.cache.invalidate import invalidates
from revproxy.cache.key import inner_path
from revproxy.http.message import Response

if TYPE_CHECKING:
    from revproxy.cache.pending import Pending
    from revproxy.cache.rules import Rules
    from revproxy.cache.store import Store
    from revproxy.exchange import Exchange

#: What a route's responses are stored in, and the fills of it that are running.
Kept = tuple["Store", "Pending"]


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
