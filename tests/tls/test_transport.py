"""TLS as a transport for protocols of anybody's: what ITransport and its kin promise, over our sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from OpenSSL.crypto import X509
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, INegotiated, IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from revproxy.config.tls import ClientCertificates, ListenTls
from revproxy.tls.endpoint import SecureFactory
from revproxy.tls.terminate import Terminator
from tests.certificates import authority
from tests.memory import CLIENT, HERE
from tests.tls.conversation import Conversation
from tests.tls.handshake import TLS12, TLS13, client_context

ROOT = authority()


class Told(Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.secure: Any = None

    def connectionMade(self) -> None:
        self.secure = self.transport
        self.told.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.told.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.told.append(reason.type)


@implementer(IHalfCloseableProtocol)
class HalfTold(Told):
    def readConnectionLost(self) -> None:
        self.told.append("read lost")

    def writeConnectionLost(self) -> None:
        self.told.append("write lost")


class Producer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Server:
    def __init__(self, folder: Path, kind: type = Told, protocols: tuple[str, ...] = (), **options: Any) -> None:
        ROOT.issues("a.example").write(folder, "a")
        self.clock = Clock()
        self.terminator = Terminator(
            ListenTls(certificates=".", **options), str(folder), self.clock, protocols=protocols
        )
        self.terminator.start()
        self.built: list[Any] = []

        def build(address: Any) -> Any:
            self.built.append(kind())
            return self.built[-1]

        wrapped = Factory()
        wrapped.buildProtocol = build  # type: ignore[method-assign]  # what it builds is looked at
        self.wrapped = wrapped
        self.factory = SecureFactory(self.clock, wrapped, self.terminator, 10.0)

    def meet(self, **options: Any) -> tuple[Conversation, Any]:
        talk = Conversation(self.factory, self.clock, **options).shake()
        talk.hear()
        return talk, self.built[-1]


@pytest.fixture
def serve(tmp_path: Path) -> Any:
    made: list[Server] = []

    def start(*args: Any, **options: Any) -> Server:
        made.append(Server(tmp_path, *args, **options))
        return made[-1]

    yield start
    for one in made:
        one.terminator.stop()
        assert not one.clock.getDelayedCalls()


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_bytes_both_ways(serve, version) -> None:
    talk, above = serve().meet(context=client_context(version=version))
    assert above.told == ["made"]
    above.secure.write(b"hello")
    above.secure.writeSequence([b" ", b"there", b""])
    assert talk.hear() == b"hello there"
    talk.say(b"x" * 100_000)
    assert b"".join(above.told[1:]) == b"x" * 100_000
    talk.lose()
    assert above.told[-1] is ConnectionLost  # nobody said that this is the end


def test_a_byte_at_a_time(serve) -> None:
    server = serve()
    talk = Conversation(server.factory, server.clock).shake(1)
    talk.say(b"hello", 1)
    above = server.built[0]
    assert above.told == ["made", b"hello"]
    above.secure.write(b"so slow")
    assert talk.hear() == b"so slow"
    talk.lose()


def test_no_protocol_before_the_handshake(serve) -> None:
    server = serve()
    talk = Conversation(server.factory, server.clock)
    talk.deliver(talk.client.hello[:-1])
    assert server.built == []
    talk.lose()
    assert server.built == []


def test_a_protocol_that_writes_first(serve) -> None:
    class First(Told):
        def connectionMade(self) -> None:
            super().connectionMade()
            self.secure.write(b"220 ready")

    talk, _ = serve(First).meet()
    assert talk.said == b"220 ready"
    talk.lose()


def test_a_factory_that_has_no_protocol_for_it(serve) -> None:
    server = serve()
    server.wrapped.buildProtocol = lambda address: None
    talk = Conversation(server.factory, server.clock).shake()
    talk.hear()
    assert talk.ended
    assert talk.transport.disconnecting
    talk.lose()


def test_what_it_provides(serve) -> None:
    talk, above = serve(protocols=("echo/1",)).meet(context=client_context(protocols=("x", "echo/1")))
    secure = above.secure
    for interface in (ISSLTransport, INegotiated, IPushProducer):
        assert verifyObject(interface, secure)
    assert (secure.getPeer(), secure.getHost()) == (CLIENT, HERE)
    assert secure.negotiatedProtocol == b"echo/1"
    assert secure.getPeerCertificate() is None
    talk.lose()
    assert (secure.getPeer(), secure.getHost()) == (CLIENT, HERE)
    assert not secure.connected


def test_nothing_is_negotiated_where_nothing_is_offered(serve) -> None:
    for offered in ((), ("h2", "x")):
        talk, above = serve().meet(context=client_context(protocols=offered))
        assert above.secure.negotiatedProtocol is None
        talk.lose()


def test_options_of_the_socket_reach_it(serve) -> None:
    talk, above = serve().meet()
    above.secure.setTcpNoDelay(True)
    assert not above.secure.getTcpKeepAlive(), "this one has none"
    talk.transport.getTcpKeepAlive = lambda: set_to  # type: ignore[attr-defined]
    set_to = []
    talk.transport.setTcpNoDelay = talk.transport.setTcpKeepAlive = set_to.append  # type: ignore[attr-defined]
    talk.transport.getTcpNoDelay = lambda: set_to  # type: ignore[attr-defined]
    above.secure.setTcpNoDelay(True)
    above.secure.setTcpKeepAlive(False)
    assert set_to == [True, False]
    assert above.secure.getTcpNoDelay() is above.secure.getTcpKeepAlive() is True
    talk.lose()


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_the_certificate_of_a_client(serve, tmp_path, version) -> None:
    (tmp_path / "ca.crt").write_bytes(ROOT.pem)
    ours = ROOT.issues("client.example")
    (tmp_path / "shown").mkdir()
    server = serve(client=ClientCertificates(ca="ca.crt", required=False))
    shows = ours.write(tmp_path / "shown", "c")
    talk, above = server.meet(context=client_context(version=version, shows=shows))
    certificate = above.secure.getPeerCertificate()
    assert isinstance(certificate, X509)
    assert certificate.to_cryptography() == ours.certificate
    talk.lose()


# -- the end


def test_close_says_so(serve) -> None:
    talk, above = serve().meet()
    above.secure.write(b"bye")
    above.secure.loseConnection()
    above.secure.write(b"too late")
    assert above.secure.disconnecting
    assert not talk.transport.disconnecting, "not while the protocol is calling"
    assert talk.hear() == b"bye"
    assert talk.ended and talk.transport.disconnecting
    talk.say(b"ignored")
    talk.lose()
    assert above.told == ["made", ConnectionDone]


def test_abort_is_no_end(serve) -> None:
    talk, above = serve().meet()
    above.secure.loseConnection()
    above.secure.abortConnection()
    above.secure.abortConnection()
    above.secure.write(b"too late")
    assert talk.hear() == b""
    assert not talk.ended and talk.transport.aborted


def test_the_peer_ends_it(serve) -> None:
    talk, above = serve().meet()
    talk.end()
    talk.hear()
    assert talk.ended and talk.transport.disconnecting
    talk.lose()
    assert above.told == ["made", ConnectionDone]


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_the_peer_ends_its_half(serve, version) -> None:
    talk, above = serve(HalfTold).meet(context=client_context(version=version))
    talk.end()
    assert above.told == ["made", "read lost"]
    above.secure.write(b"more")
    assert not talk.transport.disconnecting
    talk.protocol.readConnectionLost()  # what is below may end, too
    assert not talk.transport.aborted
    above.secure.loseConnection()
    talk.clock.advance(0)
    assert talk.transport.disconnecting
    talk.lose()
    assert above.told == ["made", "read lost", ConnectionDone]


def test_a_half_that_is_cut_off_is_not_ended(serve) -> None:
    talk, above = serve(HalfTold).meet()
    talk.protocol.readConnectionLost()
    assert talk.transport.aborted
    talk.lose()
    assert above.told == ["made", ConnectionLost]


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_our_half_ends(serve, version) -> None:
    talk, above = serve(HalfTold).meet(context=client_context(version=version))
    above.secure.write(b"all")
    above.secure.loseWriteConnection()
    above.secure.write(b"too late")
    assert talk.hear() == b"all"
    assert talk.ended
    assert not talk.transport.disconnecting
    assert above.told == ["made", "write lost"]
    talk.ssl.write(b"still here")
    talk.deliver(talk.client.outgoing.read())
    assert above.told[-1] == b"still here"
    talk.end()
    assert talk.transport.disconnecting
    talk.lose()
    assert above.told[-1] is ConnectionDone


def test_bytes_that_are_no_tls(serve) -> None:
    talk, above = serve().meet()
    talk.deliver(b"GET / HTTP/1.1\r\n\r\n")
    assert talk.transport.aborted
    talk.lose()
    assert above.told == ["made", ConnectionLost]


def test_a_protocol_may_hand_on_its_connection(serve) -> None:
    talk, above = serve().meet()
    other = Told()
    assert above.secure.protocol is above
    above.secure.protocol = other
    talk.say(b"to the other")
    assert (above.told, other.told) == (["made"], [b"to the other"])
    talk.lose()
    assert other.told[-1] is ConnectionLost


# -- flow


def test_only_bytes_are_written(serve) -> None:
    talk, above = serve().meet()
    with pytest.raises(TypeError, match="only bytes can be written, not str"):
        above.secure.write("text")
    above.secure.write(bytearray(b"a"))
    above.secure.write(memoryview(b"b"))
    above.secure.write(b"")
    assert talk.hear() == b"ab"
    talk.lose()


def test_reading_pauses(serve) -> None:
    talk, above = serve().meet()
    above.secure.pauseProducing()
    assert not talk.transport.reading
    above.secure.resumeProducing()
    assert talk.transport.reading
    above.secure.stopProducing()
    talk.hear()
    assert talk.ended
    talk.lose()


def test_a_producer_that_streams(serve) -> None:
    talk, above = serve().meet()
    talk.transport.capacity = 1000
    producer = Producer()
    above.secure.registerProducer(producer, True)
    with pytest.raises(RuntimeError, match="still is"):
        above.secure.registerProducer(Producer(), True)
    above.secure.write(b"x" * 2000)
    assert producer.told == ["pause"]
    above.secure.loseConnection()
    above.secure.write(b"y")  # it may finish
    talk.hear()
    assert producer.told == ["pause", "resume"]
    assert not talk.ended
    above.secure.unregisterProducer()
    talk.hear()
    assert talk.said == b"x" * 2000 + b"y"
    assert talk.ended
    talk.lose()
    assert producer.told == ["pause", "resume"]


def test_a_producer_that_comes_when_it_is_full(serve) -> None:
    talk, above = serve().meet()
    talk.transport.capacity = 1000
    above.secure.write(b"x" * 2000)
    producer = Producer()
    above.secure.registerProducer(producer, True)
    assert producer.told == ["pause"]
    talk.lose()
    assert producer.told == ["pause", "stop"]
    late = Producer()
    above.secure.registerProducer(late, True)
    assert late.told == ["stop"]


def test_a_producer_that_is_asked(serve) -> None:
    class Pulled(Producer):
        def resumeProducing(self) -> None:
            super().resumeProducing()
            above.secure.write(b"%d " % len(self.told) + b"x" * 600)
            if len(self.told) == 5:
                above.secure.unregisterProducer()
                above.secure.loseConnection()

    talk, above = serve().meet()
    talk.transport.capacity = 1000
    producer = Pulled()
    above.secure.registerProducer(producer, False)
    assert producer.told == [], "not while it is registering"
    for _ in range(5):
        talk.clock.advance(0)
    assert producer.told == ["resume"] * 2, "enough waits"
    talk.hear()
    talk.hear()
    talk.hear()
    assert talk.said == b"".join(b"%d " % n + b"x" * 600 for n in range(1, 6))
    assert talk.ended
    talk.lose()


def test_a_half_ends_after_its_producer(serve) -> None:
    talk, above = serve(HalfTold).meet()
    above.secure.registerProducer(Producer(), True)
    above.secure.loseWriteConnection()
    above.secure.write(b"last")
    talk.hear()
    assert (talk.said, talk.ended) == (b"last", False)
    above.secure.unregisterProducer()
    talk.hear()
    assert talk.ended
    assert above.told == ["made", "write lost"]
    talk.lose()


def test_a_protocol_that_fails_is_told_as_any(serve) -> None:
    class Failing(Told):
        def dataReceived(self, data: bytes) -> None:
            raise ZeroDivisionError

    talk, _ = serve(Failing).meet()
    with pytest.raises(ZeroDivisionError):  # which the reactor logs, and closes the connection
        talk.say(b"x")
    talk.lose()
