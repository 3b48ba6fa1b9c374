"""What the tests of HTTP/2's pure half share: field sections, and the head that a backend gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from revproxy.fault import Fault, ProtocolError
from revproxy.handlers.rules import Rules
from revproxy.http.fields import Pair
from revproxy.http.forwarding import forwarded_lines
from revproxy.http.h1 import RequestParser
from revproxy.http.h2requests import H2RequestReader
from revproxy.http.message import Arrival, Request

KEY = b"AAECAwQFBgcICQoLDA0ODw=="


def arrival(trusted: bool = False, scheme: bytes = b"https") -> Arrival:
    lines = forwarded_lines("192.0.2.7", 443, scheme, "revproxy", "2.0")
    return Arrival(peer="192.0.2.7", port=443, scheme=scheme, trusted=trusted, forwarded=lines, local="10.0.0.1:443")


STRANGER = arrival()
TRUSTED = arrival(trusted=True)


def section(*fields: tuple[bytes, bytes], **pseudo: bytes | None) -> list[Pair]:
    """A GET of https://a/, changed by ``method=b"POST"`` and the like; ``None`` leaves a pseudo-field out."""
    given: dict[str, bytes | None] = {"method": b"GET", "scheme": b"https", "authority": b"a", "path": b"/"}
    given.update(pseudo)
    pairs = [(b":" + name.encode("ascii"), value, False) for name, value in given.items() if value is not None]
    return pairs + [(name, value, False) for name, value in fields]


def reader(**options: Any) -> H2RequestReader:
    return H2RequestReader(RequestParser(**options), lambda size: bytes(range(size)))


def read(fields: list[Pair], ended: bool = True, by: Arrival = STRANGER, **options: Any) -> Request:
    return reader(**options).read(fields, ended, by)


def error_of(fields: list[Pair], ended: bool = True, by: Arrival = STRANGER, **options: Any) -> tuple[type, Fault]:
    """The class and the fault of the error, the same at the second time."""
    one = reader(**options)
    errors = []
    for _ in range(2):
        try:
            one.read(fields, ended, by)
        except ProtocolError as error:
            errors.append((type(error), error.fault))
    assert len(errors) == 2, "accepted"
    assert errors[0] == errors[1]
    return errors[0]


def rules(host: bytes | None = None, forwarded: bool = False) -> Rules:
    upstream: Any = SimpleNamespace(host=host)
    return Rules(upstream, forwarded=forwarded)


def head_of(request: Request, by: Rules | None = None, upgrade: tuple[bytes, ...] = (b"websocket",)) -> bytes:
    """The head that a backend gets."""
    exchange: Any = SimpleNamespace(
        request=request,
        request_id=b"id",
        route=SimpleNamespace(upgrade=upgrade),
        backend=SimpleNamespace(authority=b"backend:9000"),
    )
    return (by or rules()).request_head(exchange)
