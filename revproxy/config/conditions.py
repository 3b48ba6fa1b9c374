"""``match`` tables -> conditions: plain functions of a request, each with words for explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from revproxy.config.hosts import networks
from revproxy.config.identities import one_of
from revproxy.config.model import Match
from revproxy.http.message import Request
from revproxy.http.parameters import cookies, query_parameters
from revproxy.routing import Condition


def in_networks(written: Iterable[str]) -> Callable[[str], bool]:
    """Whether an address, as text, is in one of the networks; ``private`` and ``loopback`` are words for some."""
    among = networks(written)

    def is_in(text: str) -> bool:
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            address = mapped
        return any(address in network for network in among)

    return is_in


def conditions(match: Match) -> tuple[Condition, ...]:
    """All conditions of a route but host and path, which the route table itself looks up."""
    found: list[Condition] = []
    if match.method:
        methods = frozenset(method.encode("ascii") for method in match.method)
        found.append((lambda request: request.method in methods, f"method {', '.join(match.method)}"))
    if match.scheme:
        schemes = frozenset(scheme.encode("ascii") for scheme in match.scheme)
        found.append((lambda request: request.scheme in schemes, f"scheme {', '.join(match.scheme)}"))
    if match.listen:
        names = frozenset(match.listen)
        found.append((lambda request: request.arrival.listen in names, f"listen {', '.join(match.listen)}"))
    if match.client:
        is_in = in_networks(match.client)
        found.append((lambda request: is_in(request.client), f"client in {', '.join(match.client)}"))
    if match.client_certificate:
        found.append(
            (_certified(match.client_certificate), f"client certificate {' or '.join(match.client_certificate)}")
        )
    if match.content_type:
        found.append((_content_type(match.content_type), f"content type {', '.join(match.content_type)}"))
    found += [_field(name, values) for name, values in match.header.items()]
    found += _parameters("query", match.query, lambda request: query_parameters(request.query))
    found += _parameters("cookie", match.cookie, _cookies)
    return tuple(found)


def _certified(written: tuple[str, ...]) -> Callable[[Request], bool]:
    is_one = one_of(written)

    def test(request: Request) -> bool:
        tls = request.arrival.tls
        return tls is not None and tls.client is not None and is_one(tls.client)

    return test


def _content_type(written: tuple[str, ...]) -> Callable[[Request], bool]:
    whole = frozenset(value.lower().encode("ascii") for value in written if not value.endswith("/*"))
    starts = tuple(value[:-1].lower().encode("ascii") for value in written if value.endswith("/*"))

    def test(request: Request) -> bool:
        value = (request.headers.get(b"content-type") or b"").partition(b";")[0].strip(b" \t").lower()
        return value in whole or bool(starts and value.startswith(starts))

    return test


def _field(name: str, values: tuple[str, ...]) -> Condition:
    wire = name.lower().encode("ascii")
    wanted = frozenset(value.encode("latin-1") for value in values)
    anything = b"*" in wanted

    def test(request: Request) -> bool:
        found = request.headers.get_all(wire)
        return bool(found) if anything else any(value in wanted for value in found)

    return test, f"header {name} {' or '.join(values)}"


def _parameters(
    what: str, written: Mapping[str, tuple[str, ...]], read: Callable[[Request], Iterable[tuple[bytes, bytes]]]
) -> list[Condition]:
    found: list[Condition] = []
    for name, values in written.items():
        wire = name.encode("utf-8")
        wanted = frozenset(value.encode("utf-8") for value in values)

        def test(request: Request, wire: bytes = wire, wanted: frozenset[bytes] = wanted) -> bool:
            anything = b"*" in wanted
            return any(key == wire and (anything or value in wanted) for key, value in read(request))

        found.append((test, f"{what} {name} {' or '.join(values)}"))
    return found


def _cookies(request: Request) -> Iterable[tuple[bytes, bytes]]:
    return ((name, value.strip(b'"')) for name, value in cookies(request.headers))
