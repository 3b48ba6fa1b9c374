"""A backend in memory that speaks TLS, and a proxy's end that connects to it."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IProtocol
from zope.interface import implementer

from revproxy.testing.memory import Connector, MemoryReactor, MemoryTransport, Peer
from tests.certificates import Certified

TLS12 = SSL.TLS1_2_VERSION
TLS13 = SSL.TLS1_3_VERSION


@implementer(IProtocol)
class Recorder:
    """The proxy's protocol: keeps what comes."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Any = None
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def connectionMade(self) -> None:
        """Nobody calls it."""

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any) -> None:
        self.lost = reason.value


class Recorders:
    """A factory of them. :ivar running: starts without a stop."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self.running = 0

    def doStart(self) -> None:
        self.running += 1

    def doStop(self) -> None:
        self.running -= 1

    def buildProtocol(self, address: Any) -> Any:
        self.made.append(Recorder())
        return self.made[-1]


def server_context(
    certified: Certified, version: int | None = None, client_ca: Certified | None = None, tickets: bool = True
) -> Any:
    """What a TLS server goes by."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(certified.certificate)
    context.use_privatekey(certified.key)
    issuer = certified.issuer
    while issuer is not None and issuer.issuer is not None:
        context.add_extra_chain_cert(issuer.certificate)
        issuer = issuer.issuer
    context.set_session_id(b"test")
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if not tickets:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
    if client_ca is not None:
        context.get_cert_store().add_cert(crypto.X509.from_cryptography(client_ca.certificate))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *asked: bool(asked[-1]))
    return context


class TlsBackend(Peer):
    """The far end: a TLS server. :ivar plain: what came, decrypted. :ivar clear: what came before the handshake."""

    def __init__(self, context: Any, clear: int = 0, answers: bool = True) -> None:
        super().__init__("backend", lambda *said: None, False)
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()
        self.clear = b""
        self.plain = b""
        self.problem: Exception | None = None
        self.answers = answers
        self.shaken = False
        self._clear = clear

    def take(self, data: bytes) -> None:
        super().take(data)
        if len(self.clear) < self._clear:
            at = self._clear - len(self.clear)
            self.clear += data[:at]
            data = data[at:]
        if data and self.answers and self.problem is None:
            self.connection.bio_write(data)
            # not while the proxy is still writing
            self.transport.reactor.callLater(0, self._turn)

    def _turn(self) -> None:
        try:
            if not self.shaken:
                self.connection.do_handshake()
                self.shaken = True
            while True:
                self.plain += self.connection.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.connection.shutdown()
        except SSL.Error as e:
            self.problem = e
        self.flush()

    def flush(self) -> None:
        try:
            data = self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return
        if not self.closed and not self.gone:
            self.send(data)

    def say(self, data: bytes) -> None:
        """Send this, encrypted."""
        self.connection.send(data)
        self.flush()


class Backends:
    """A reactor whose connections come to TLS servers. :ivar peers: those, as they came."""

    def __init__(self, context: Any = None, **options: Any) -> None:
        self.reactor = MemoryReactor(self._connecting)
        self.context = context
        self.options = options
        self.peers: list[Any] = []
        self.connectors: list[Connector] = []
        self.refuses = False

    def _connecting(self, connector: Connector) -> None:
        self.connectors.append(connector)
        if connector.state != "connecting":
            return
        if self.refuses:
            connector.refuse()
            return
        if self.context is None:
            peer: Peer = Peer("backend", lambda *said: None, False)
        else:
            peer = TlsBackend(self.context, **self.options)
        self.peers.append(peer)
        transport = MemoryTransport(self.reactor, peer, connector.address, connector.address)
        peer.transport = transport
        connector.state = "connected"
        protocol = connector.factory.buildProtocol(connector.address)
        if protocol is not None:
            transport.connect(protocol)
            self.reactor.settle()

    def connect(self, endpoint: Any, factory: Any = None) -> Any:
        """Connect; return what becomes of it in a list, as far as it has."""
        outcome: list[Any] = []
        endpoint.connect(factory or Recorders()).addBoth(outcome.append)
        self.settle()
        return outcome

    def settle(self) -> None:
        for _ in range(12):
            self.reactor.settle()
