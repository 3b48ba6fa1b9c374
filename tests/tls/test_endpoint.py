"""The endpoint string of our own: what may be written, and real clients of Twisted's own protocols behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin
from twisted.protocols.basic import LineReceiver
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface import implementer
from zope.interface.verify import verifyObject

from revproxy.config.tls import ClientCertificates, ListenTls
from revproxy.tls.certificate import CertificateError
from revproxy.tls.endpoint import ARGUMENTS, SecureEndpoint, SecureFactory, read_options
from tests.certificates import authority
from tests.kit import logged
from tests.tls.conversation import Conversation
from tests.tls.handshake import client_context
from twisted.plugins.revproxy_plugin import revproxy_tls

ROOT = authority()


class Reversed(LineReceiver):
    def lineReceived(self, line: bytes) -> None:
        if line == b"bye":
            self.transport.loseConnection()
        else:
            self.sendLine(line[::-1])


def listen(folder: Path, wrapped: Any, *more: str) -> tuple[MemoryReactorClock, SecureFactory]:
    """Listen in memory; the reactor, and the factory that it was given."""
    ROOT.issues("a.example").write(folder, "a")
    reactor: Any = MemoryReactorClock()
    text = ":".join(["revproxy-tls", f"certificates={folder}", *more, r"tcp\:8443"])
    endpoint = serverFromString(reactor, text)
    assert IStreamServerEndpoint.providedBy(endpoint)
    endpoint.listen(wrapped)
    port, factory = reactor.tcpServers[0][:2]
    assert port == 8443
    factory.doStart()
    return reactor, factory


def test_the_plugin() -> None:
    assert verifyObject(IStreamServerEndpointStringParser, revproxy_tls)
    assert IPlugin.providedBy(revproxy_tls)


@pytest.mark.parametrize(
    ("written", "interface", "backlog"),
    [
        (r"tcp\:8443\:interface=127.0.0.1", "127.0.0.1", 1024),
        (r"tcp\:8443\:interface\=127.0.0.1\:backlog\=5", "127.0.0.1", 5),
        (r"tcp\:8443\:interface=127.0.0.1\:backlog=5", "127.0.0.1", 5),
        (r"tcp\:port=8443", "", 1024),
    ],
)
def test_what_is_below(tmp_path: Path, written: str, interface: str, backlog: int) -> None:
    ROOT.issues("a.example").write(tmp_path, "a")
    reactor: Any = MemoryReactorClock()
    serverFromString(reactor, f"revproxy-tls:{written}:certificates={tmp_path}").listen(Factory.forProtocol(Reversed))
    port, factory, *rest = reactor.tcpServers[0]
    assert (port, *rest) == (8443, backlog, interface)
    factory.doStart()
    factory.doStop()


def test_what_may_be_written() -> None:
    assert read_options({"certificates": "certs"}) == ListenTls(certificates="certs")
    every = {
        "certificates": "certs",
        "profile": "modern",
        "strictSni": "Yes",
        "clientCa": "ca.pem",
        "clientRequired": "false",
        "handshakeTimeout": "5s",
        "tickets": "1h",
    }
    assert every.keys() == ARGUMENTS.keys() - {"default"}
    assert read_options(every) == ListenTls(
        certificates="certs",
        profile="modern",
        strict_sni=True,
        client=ClientCertificates(ca="ca.pem", required=False),
        handshake_timeout=5.0,
        tickets=3600.0,
    )
    assert read_options({"certificates": "c", "default": "a.example"}).default == "a.example"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({}, '"certificates" is missing'),
        ({"certificates": "c", "profil": "modern"}, 'unknown argument "profil"; did you mean "profile"?'),
        ({"certificates": "c", "profile": "old"}, 'profile: "old" is not known here'),
        ({"certificates": "c", "tickets": "5"}, 'tickets: "5" '),
        ({"certificates": "c", "strictSni": "maybe"}, '"maybe" is not a switch; write strictSni=true'),
        ({"certificates": "c", "clientRequired": "true"}, '"ca" is missing'),
        ({"certificates": "c", "strictSni": "1", "default": "a.example"}, "default is for names"),
    ],
)
def test_what_may_not(written, why) -> None:
    with pytest.raises(ValueError) as caught:
        read_options(written)
    assert str(caught.value).startswith(why)


def test_lines(tmp_path: Path) -> None:
    reactor, factory = listen(tmp_path, Factory.forProtocol(Reversed))
    talk = Conversation(factory, reactor).shake()
    assert talk.say(b"abc\r\nde") == b"cba\r\n"
    assert talk.say(b"f\r\nbye\r\nnot read\r\n") == b"fed\r\n"
    assert talk.ended
    talk.lose()
    factory.doStop()
    assert not reactor.getDelayedCalls()


def test_a_site_of_twisted(tmp_path: Path) -> None:
    from twisted.web.resource import Resource

    class Secure(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            return b"%d %b" % (request.isSecure(), request.prePathURL())

    reactor, factory = listen(tmp_path, Site(Secure(), reactor=MemoryReactorClock()))
    talk = Conversation(factory, reactor, client_context(protocols=("http/1.1",))).shake()
    said = talk.say(b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"1 https://a.example:8080/" in said
    assert b"200" in talk.say(b"GET /x HTTP/1.0\r\n\r\n")
    assert talk.ended
    talk.lose()
    factory.doStop()


def test_what_is_negotiated_is_the_factorys(tmp_path: Path) -> None:
    class Negotiating(Site):
        def acceptableProtocols(self) -> list[bytes]:
            return [b"x/2", b"x/1"]

    reactor, factory = listen(tmp_path, Negotiating(Data(b"", "text/plain"), reactor=MemoryReactorClock()))
    talk = Conversation(factory, reactor, client_context(protocols=("x/1", "x/2"))).shake()
    assert talk.ssl.selected_alpn_protocol() == "x/2"
    refused = Conversation(factory, reactor, client_context(protocols=("h2",)))
    with logged("revproxy.tls.endpoint") as lines:
        refused.deliver(refused.client.hello)
    assert len(lines) == 1 and "tls-handshake" in lines[0]
    talk.lose()
    refused.lose()
    factory.doStop()


def test_its_handshakes_are_those_of_listeners(tmp_path: Path) -> None:
    reactor, factory = listen(tmp_path, Factory.forProtocol(Reversed), "strictSni=yes", "handshakeTimeout=2s")
    unknown, late, plain = [Conversation(factory, reactor, name=name) for name in ("b.example", None, None)]
    with logged("revproxy.tls.endpoint") as lines:
        unknown.deliver(unknown.client.hello)
        late.deliver(late.client.hello[:10])
        plain.deliver(b"GET / HTTP/1.1\r\n\r\n")
        assert plain.transport.taken().startswith(b"HTTP/1.1 400 ")
        reactor.advance(1.9)
        assert not late.transport.aborted
        reactor.advance(0.2)
        assert late.transport.aborted
    assert [line.split(": ")[1] for line in lines] == ["tls-unrecognized-name", "client-plain-http", "tls-timeout"]
    for talk in (unknown, late, plain):
        talk.lose()
    factory.doStop()
    assert not reactor.getDelayedCalls()


def test_factories_start_and_stop_together(tmp_path: Path) -> None:
    told: list[str] = []

    class Told(Factory[Any]):
        noisy = False

        def startFactory(self) -> None:
            told.append("start")

        def stopFactory(self) -> None:
            told.append("stop")

    reactor, factory = listen(tmp_path, Told.forProtocol(Reversed))
    factory.doStop()
    assert told == ["start", "stop"]
    assert not reactor.getDelayedCalls()
    assert factory.logPrefix() == "Told (TLS)"


def test_nothing_to_serve(tmp_path: Path) -> None:
    reactor: Any = MemoryReactorClock()
    endpoint = serverFromString(reactor, rf"revproxy-tls:certificates={tmp_path}:tcp\:8443")
    failed: list[Any] = []
    endpoint.listen(Factory.forProtocol(Reversed)).addErrback(failed.append)
    assert failed[0].check(CertificateError)
    # twistd lets it end the process, with this line
    assert isinstance(failed[0].value, SystemExit)
    assert str(failed[0].value.code).startswith("revproxy-tls: ")
    assert not reactor.tcpServers
    assert not reactor.getDelayedCalls()


def test_nowhere_to_listen(tmp_path: Path) -> None:
    @implementer(IStreamServerEndpoint)
    class Nowhere:
        def listen(self, factory: Any) -> Any:
            return fail(CannotListenError("", 1, OSError()))

    ROOT.issues("a.example").write(tmp_path, "a")
    reactor: Any = MemoryReactorClock()
    failed: list[Any] = []
    endpoint = SecureEndpoint(reactor, Nowhere(), ListenTls(certificates="."), str(tmp_path))
    endpoint.listen(Factory.forProtocol(Reversed)).addErrback(failed.append)
    assert failed[0].check(CannotListenError)
    assert not reactor.getDelayedCalls()
