"""New client connections: counted, bounded, and told where they came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ILoggingContext, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from revproxy.downstream.entrance import Entrance
from revproxy.downstream.http1 import ClientConnection
from revproxy.downstream.refusal import Dropped, Refusal
from revproxy.engine import Engine
from revproxy.http.forwarding import forwarded_lines
from revproxy.http.message import Arrival

if TYPE_CHECKING:
    from revproxy.tls.terminate import Terminator

_log = Logger()


@implementer(ILoggingContext, IProtocolNegotiationFactory)
class ClientFactory(Factory):
    """Builds a connection for each client of one listener.

    :param listen: the listener's name. :param scheme: ``b"http"`` or ``b"https"``.
    :param terminator: TLS of our own, or ``None``. :param hsts: a line for responses, with its CRLF.
    :param proxied: whether an address has to begin with a PROXY header.
    :param http2: whether HTTP/2 is taken: negotiated on a TLS transport of somebody else's, else with prior knowledge.
    :param patience: seconds until HTTP begins.
    :param bare: whether the listener itself asks for protocols: it closes where there is none.
    :ivar port: the port that clients connect to; known once the listener is there.
    """

    noisy = False

    def logPrefix(self) -> str:
        """How Twisted names it in its log: "revproxy starting on 8080"."""
        return "revproxy"

    #: Called with this and an arrival, where it isn't HTTP/1.1 from the first byte.
    protocol: Any = Entrance

    def __init__(
        self,
        engine: Engine,
        listen: str = "",
        scheme: bytes = b"http",
        *,
        terminator: Terminator | None = None,
        hsts: bytes = b"",
        proxied: Callable[[str], bool] | None = None,
        http2: bool = False,
        patience: float = 10.0,
        bare: bool = False,
    ) -> None:
        self.engine = engine
        self.listen = listen
        self.scheme = scheme
        self.terminator = terminator
        self.hsts = hsts
        self.proxied = proxied
        self.negotiates = http2 and scheme == b"https" and terminator is None
        self.http2 = http2
        self.patience = patience
        self.bare = bare
        self.port = 0
        self.local = ""
        self._direct = terminator is None and proxied is None and not http2
        self._last_peer: str | None = None
        self._last_forwarded = b""

    def acceptableProtocols(self) -> list[bytes]:
        """What a TLS transport that is not ours may negotiate (RFC 7301)."""
        return [b"h2", b"http/1.1"] if self.negotiates else [b"http/1.1"]

    def listening(self, address: Any) -> None:
        """The listener is there, at this address."""
        self.port = getattr(address, "port", 0)
        self._last_peer = None
        host = getattr(address, "host", "")
        self.local = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}" if host else "localhost"

    def buildProtocol(self, address: Any) -> Any:
        """A connection for a client, a refusal when there are too many, or nothing for one that is banned."""
        engine = self.engine
        peer = getattr(address, "host", "")
        if engine.bans is not None and engine.bans.holds(peer):
            return None if self.bare else Dropped()
        refused = engine.refuses(None if self.proxied is not None and self.proxied(peer) else peer)
        if refused is not None:
            return Refusal(engine, refused, peer, self.scheme == b"https")
        arrival = self.arrival_of(peer, getattr(address, "port", 0))
        return ClientConnection(engine, arrival) if self._direct else self.protocol(self, arrival)

    def arrival_of(self, peer: str, port: int) -> Arrival:
        """How requests of a client at this address reach us."""
        engine = self.engine
        return Arrival(
            peer=peer,
            peer_port=port,
            port=self.port,
            scheme=self.scheme,
            listen=self.listen,
            trusted=engine.is_trusted is not None and engine.is_trusted(peer),
            forwarded=self._forwarded(peer),
            local=self.local,
        )

    def _forwarded(self, peer: str) -> bytes:
        """What backends are told of a peer; the last one's is kept, since the next is often the same."""
        if peer != self._last_peer:
            self._last_peer = peer
            self._last_forwarded = forwarded_lines(peer, self.port, self.scheme, self.engine.server.via)
        return self._last_forwarded
