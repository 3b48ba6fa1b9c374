"""A connection too many, or one that speaks plain HTTP where TLS is spoken: told so at once, and closed.

Rules of this module:

* what is refused is not counted, so it may not stay: nothing here waits for the client;
* over TLS no word could be read before a handshake, which is the work that a bound is there to prevent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol

from revproxy.errorpages import error_page, reason
from revproxy.fault import Fault

if TYPE_CHECKING:
    from revproxy.engine import Engine


class Refusal(Protocol):
    """Answers 503 without reading anything. :param secure: TLS would come first: it is cut."""

    def __init__(self, engine: Engine, fault: Fault, peer: str, secure: bool) -> None:
        self.engine = engine
        self.fault = fault
        self.peer = peer
        self.secure = secure

    def connectionMade(self) -> None:
        self.engine.refused(self.fault, self.peer)
        transport: Any = self.transport
        if self.secure:
            transport.abortConnection()  # loseConnection waits for a handshake, for ever
            return
        transport.write(too_many(self.fault))
        transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Not listened to."""


class Dropped(Protocol):
    """Cuts the connection at once: for banned addresses, where something stands between the listener and us."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


def too_many(fault: Fault) -> bytes:
    """What a connection too many hears: a whole response that ends it."""
    kind, body = error_page(fault.status, None, b"-")
    return _response(fault.status, kind, body, b"Retry-After: 1\r\n")


def plain_refusal(fault: Fault, port: int) -> bytes:
    """What a client hears that speaks plain HTTP on a port with TLS."""
    where = b"https://" if port in (0, 443) else b"https:// and port %d" % port
    body = b"This port speaks TLS: write %b in the URL.\n" % where
    return _response(fault.status, b"text/plain; charset=utf-8", body, b"")


def _response(status: int, kind: bytes, body: bytes, fields: bytes) -> bytes:
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%bConnection: close\r\n\r\n%b" % (
        status,
        reason(status),
        kind,
        len(body),
        fields,
        body,
    )
