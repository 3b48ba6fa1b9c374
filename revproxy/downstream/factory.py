"""New client connections: counted, bounded, and told where they came from."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from revproxy.downstream.http1 import ClientConnection
from revproxy.downstream.refusal import Refusal
from revproxy.engine import Engine
from revproxy.http.forwarding import forwarded_lines
from revproxy.http.message import Arrival

_log = Logger()


@implementer(ILoggingContext)
class ClientFactory(Factory):
    """Builds a :class:`ClientConnection` for each client of one listener.

    :param listen: the listener's name. :param scheme: ``b"http"`` or ``b"https"``.
    :ivar port: the port that clients connect to; known once the listener is there.
    """

    noisy = False

    def logPrefix(self) -> str:
        """How Twisted names it in its log: "revproxy starting on 8080"."""
        return "revproxy"

    protocol: Any = ClientConnection

    def __init__(self, engine: Engine, listen: str = "", scheme: bytes = b"http") -> None:
        self.engine = engine
        self.listen = listen
        self.scheme = scheme
        self.port = 0
        self.local = ""
        self._last_peer: str | None = None
        self._last_forwarded = b""

    def listening(self, address: Any) -> None:
        """The listener is there, at this address."""
        self.port = getattr(address, "port", 0)
        self._last_peer = None
        host = getattr(address, "host", "")
        self.local = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}" if host else "localhost"

    def buildProtocol(self, address: Any) -> Any:
        """A connection for a client, or a refusal when there are too many."""
        engine = self.engine
        peer = getattr(address, "host", "")
        refused = engine.refuses(peer)
        if refused is not None:
            return Refusal(engine, refused, peer)
        arrival = Arrival(
            peer=peer,
            peer_port=getattr(address, "port", 0),
            port=self.port,
            scheme=self.scheme,
            listen=self.listen,
            trusted=engine.is_trusted is not None and engine.is_trusted(peer),
            forwarded=self._forwarded(peer),
            local=self.local,
        )
        return self.protocol(engine, arrival)

    def _forwarded(self, peer: str) -> bytes:
        """What backends are told of a peer; the last one's is kept, since the next is often the same."""
        if peer != self._last_peer:
            self._last_peer = peer
            self._last_forwarded = forwarded_lines(peer, self.port, self.scheme, self.engine.server.via)
        return self._last_forwarded
