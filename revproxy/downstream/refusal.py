"""A connection too many: told so at once, and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol

from revproxy.errorpages import error_page
from revproxy.fault import Fault

if TYPE_CHECKING:
    from revproxy.engine import Engine


class Refusal(Protocol):
    """Answers 503 without reading anything."""

    def __init__(self, engine: Engine, fault: Fault, peer: str) -> None:
        self.engine = engine
        self.fault = fault
        self.peer = peer

    def connectionMade(self) -> None:
        self.engine.refused(self.fault, self.peer)
        kind, body = error_page(self.fault.status, None, b"-")
        head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: %b\r\nContent-Length: %d\r\n" % (kind, len(body))
        transport: Any = self.transport
        transport.write(head + b"Retry-After: 1\r\nConnection: close\r\n\r\n" + body)
        transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Not listened to."""
