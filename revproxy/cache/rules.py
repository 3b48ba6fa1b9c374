"""What a route's cache is told: compiled, frozen, shared by all of the route's requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from attrs import field, frozen

#: Of a status, or of a class of them (4 is every 4xx), or of any (0): seconds.
Ttls = Mapping[int, float]

#: Request fields whose presence makes a look-up more than a comparison of times.
_WATCHED = frozenset(
    b"cache-control connection pragma authorization range"
    b" if-match if-none-match if-modified-since if-unmodified-since".split()
)


def _lower(names: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(name.lower() for name in names)


def _whole(names: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(names)


@frozen
class Rules:
    """The options of one route's cache. All names are bytes, and lower case once they are here.

    :param name: what keys begin with: routes that may answer the same URL differently need different ones.
    :param scope: tells rules of one name apart whose responses are not the same, ``b""`` for one of them:
        what one of these stores is not for the others, but made invalid with theirs.
    :param written: request fields that backends get in another form than clients send them, different for each.
    :param fixed: those that they get the same for all clients.
    :param key_headers: request fields that are part of the key.
    :param key_cookies: cookies that are part of the key.
    :param query_sort: parameters are sorted by name; those of one name keep their order.
    :param query_ignore: parameters left out of the key and of what is asked of the backend; ``utm_*`` is a prefix.
    :param query_only: if not ``None``, all others are left out.
    :param default_ttl: seconds for responses that say nothing about their freshness.
    :param override_ttl: seconds whatever responses say of it. ``no-store``, ``private``, ``no-cache`` and
        the rest of what may not be stored still hold.
    :param bypass_headers: requests with one of these fields are not for the cache.
    :param bypass_cookies: requests with one of these cookies (``session*`` is a prefix) are not.
    :param bypass_query: nor are those with one of these parameters.
    :param honour_client: whether requests may ask for younger responses: ``no-cache``, ``max-age``,
        ``min-fresh``, ``Pragma``. ``no-store``, ``only-if-cached`` and ``max-stale`` always hold.
    :param grace: seconds for which what is stale may be sent while it is validated and when that fails,
        unless the response forbids it (RFC 9111 4.2.4: an agreement out of band).
    :param disconnected: the same for when no backend can be reached; a response's own
        ``stale-if-error`` takes its place.
    :param store_set_cookie: store responses with Set-Cookie, and repeat it to everyone.
    :param heuristic: the share of a response's age since Last-Modified for which it is fresh, if it
        does not say (RFC 9111 4.2.2); 0 for never. :param heuristic_most: seconds at most.
    :param largest: bytes of the largest body that is stored.
    :param targeted: the target list (RFC 9213 2.2).
    :param status_name: our name in Cache-Status, ``""`` for none. :param status_key: whether that tells the key.
    """

    name: bytes = b""
    scope: bytes = b""
    written: frozenset[bytes] = frozenset()
    fixed: frozenset[bytes] = frozenset()
    key_headers: tuple[bytes, ...] = field(default=(), converter=_lower)
    key_cookies: tuple[bytes, ...] = field(default=(), converter=_whole)
    query_sort: bool = False
    query_ignore: tuple[bytes, ...] = field(default=(), converter=_whole)
    query_only: tuple[bytes, ...] | None = None
    default_ttl: Ttls = field(factory=dict)
    override_ttl: Ttls = field(factory=dict)
    bypass_headers: tuple[bytes, ...] = field(default=(), converter=_lower)
    bypass_cookies: tuple[bytes, ...] = field(default=(), converter=_whole)
    bypass_query: tuple[bytes, ...] = field(default=(), converter=_whole)
    honour_client: bool = True
    grace: float = 0.0
    disconnected: float = 86400.0
    store_set_cookie: bool = False
    heuristic: float = 0.1
    heuristic_most: float = 86400.0
    largest: int = 8 * 1024 * 1024
    targeted: tuple[bytes, ...] = field(default=(b"cdn-cache-control",), converter=_lower)
    status_name: str = "revproxy"
    status_key: bool = False
    #: Fields of a request that need a closer look.
    watched: frozenset[bytes] = field(init=False)
    #: Whether keys need the query taken apart.
    parses_query: bool = field(init=False)

    @watched.default
    def _watch(self) -> frozenset[bytes]:
        cookies = {b"cookie"} if self.bypass_cookies or self.key_cookies else set()
        return _WATCHED | set(self.bypass_headers) | cookies

    @parses_query.default
    def _parses(self) -> bool:
        return self.query_sort or bool(self.query_ignore) or self.query_only is not None


def ttl_of(ttls: Ttls, status: int) -> float | None:
    """Seconds for a status: its own, its class's, or any's; ``None`` where nothing is said."""
    for key in (status, status // 100, 0):
        if key in ttls:
            return ttls[key]
    return None


def is_named(name: bytes, patterns: tuple[bytes, ...]) -> bool:
    """Whether a name is one of these, of which ``utm_*`` is any that begins so."""
    whole, begins = _told_apart(patterns)
    return name in whole or name.startswith(begins)


@lru_cache
def _told_apart(patterns: tuple[bytes, ...]) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
    whole = frozenset(pattern for pattern in patterns if pattern[-1:] != b"*")
    return whole, tuple(pattern[:-1] for pattern in patterns if pattern[-1:] == b"*")
