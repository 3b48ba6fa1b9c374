"""What the operator wrote about the cache; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from revproxy.config.words import CookieName, DurationOrZero, FieldName, Name, Pseudonym, Share, Size, StatusClass


@frozen(kw_only=True)
class CacheStore:
    """The ``[cache]`` table: the store that routes share. ``size`` is bytes of everything in it."""

    size: Size = 64 * 1024**2
    largest: Size = 8 * 1024**2


@frozen(kw_only=True)
class CacheBypass:
    """Requests with one of these are not for the cache; ``name*`` is every name that begins so."""

    header: tuple[FieldName, ...] = ()
    cookie: tuple[Name, ...] = ()
    query: tuple[Name, ...] = ()


@frozen(kw_only=True)
class Cache:
    """What a route's cache does beyond RFC 9111; ``cache = true`` takes the defaults.

    ``size`` makes a store of the route's own, with bodies up to ``largest``. ``ttl`` is for responses that
    say nothing of their freshness, ``override_ttl`` whatever they say, both by status: ``200``, ``4xx`` or ``any``.
    ``grace`` is how long what is stale may be sent while it is validated, and ``disconnected`` how long
    when no backend can be reached. Keys have the method, scheme, host, path and query; ``key_headers`` and
    ``key_cookies`` are added, and of the query's parameters ``query_ignore`` left out, or all but ``query_only``.
    """

    size: Size | None = None
    largest: Size = 8 * 1024**2
    ttl: Mapping[StatusClass, DurationOrZero] = Factory(dict)
    override_ttl: Mapping[StatusClass, DurationOrZero] = Factory(dict)
    grace: DurationOrZero = 0.0
    disconnected: DurationOrZero = 86400.0
    heuristic: Share = 0.1
    key_headers: tuple[FieldName, ...] = ()
    key_cookies: tuple[CookieName, ...] = ()
    query_ignore: tuple[Name, ...] = ()
    query_only: tuple[Name, ...] | None = None
    query_sort: bool = False
    bypass: CacheBypass = CacheBypass()
    honour_client: bool = True
    store_set_cookie: bool = False
    targeted: tuple[FieldName, ...] = ("cdn-cache-control",)
    status: Pseudonym | None = "revproxy"
    status_key: bool = False
