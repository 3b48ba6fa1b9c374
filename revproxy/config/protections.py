"""What stands before a route, in a few words, for ``revproxy check``.

Rules of this module:

* it is told in the order in which requests meet it;
* numbers are those that were written or that hold without: nobody has to look them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import fields_dict

from revproxy.config.access import Access
from revproxy.config.model import Route, Server
from revproxy.config.ratelimit import RateLimit
from revproxy.config.units import format_duration, format_size


def before_route(route: Route) -> str:
    """What a route has of its own, parted by commas; ``""`` for nothing."""
    return ", ".join(_of_route(route))


def before_all(server: Server) -> str:
    """What every route has of the server, parted by commas; ``""`` for nothing."""
    return ", ".join(_of_server(server))


def _of_route(route: Route) -> Iterator[str]:
    if route.priority != "normal":
        yield f"priority {route.priority}"
    limits = route.limits
    if limits is not None:
        yield from _caps(limits.requests, limits.requests_per_address)
    if route.access is not None:
        yield _access(route.access)
    yield from _rates(route.rate_limit)
    if limits is not None and limits.body != "server":
        yield _body(limits.body)
    if route.content_types or (limits is not None and limits.body_by_type):
        yield "types of bodies"
    if route.filter is not None:
        yield f"filter {route.filter.mode}" + (" only" if route.filter.mode == "detect" else "")
    if route.auth is not None:
        words = [name.replace("_", " ") for name, _ in route.auth.methods()]
        yield f"auth {(' and ' if route.auth.satisfy == 'all' else ' or ').join(words)}"
    if route.middleware:
        count = len(route.middleware)
        yield f"{count} hook{'s' if count > 1 else ''}"
    if route.cache is not None:
        yield "cache" if route.cache.size is None else f"cache {format_size(route.cache.size)}"
    if route.compress is not None:
        yield " ".join(("compress", *route.compress.levels))


def _of_server(server: Server) -> Iterator[str]:
    if server.bans is not None:
        count = len(server.bans.rules)
        yield f"bans by {count} rule{'' if count == 1 else 's'}" if count else "bans"
    if server.shed is not None:
        yield f"shed at {format_duration(server.shed.lag)}"
    limits = server.limits
    if limits.connections_per_address is not None:
        yield f"connections {limits.connections_per_address} per address"
    yield from _caps(limits.requests, limits.requests_per_address)
    if server.access is not None:
        yield _access(server.access)
    yield from _rates(server.rate_limit)
    if limits.body is not None:
        yield _body(limits.body)


def _caps(requests: int | None, per_address: int | None) -> Iterator[str]:
    if requests is not None:
        yield f"requests {requests} at once"
    if per_address is not None:
        yield f"requests {per_address} at once per address"


def _access(access: Access) -> str:
    names = [name for name in fields_dict(Access) if name != "status" and getattr(access, name)]
    return f"access by {' and '.join(names)}"


def _rates(limits: Iterable[RateLimit]) -> Iterator[str]:
    for limit in limits:
        yield f"rate {limit.rate.number}/{limit.rate.unit} by {limit.by}"


def _body(most: int | str | None) -> str:
    return "body of any size" if most is None else f"body {format_size(int(most))}"
