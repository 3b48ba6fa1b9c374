"""TLS to backends: whom a certificate has to be for, what is said when it is not, and sessions resumed."""

from __future__ import annotations

import gc
import time
import weakref
from functools import lru_cache
from typing import Any

import pytest
from OpenSSL import SSL, crypto
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError, NoProtocol
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates

from revproxy.upstream import tls
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.tls import SESSION_AGE, BackendPeer, Judge, TLSFailed, connect_tls
from tests.certificates import Certified, authority
from tests.upstream.tlspeer import TLS12, TLS13, Backends, Recorders, server_context

ROOT = authority()
OTHER = authority("Other CA")


@lru_cache
def issued(*names: str, **options: Any) -> Certified:
    return ROOT.issues(*names, **options)


def trusting(*roots: Certified, **options: Any) -> Credentials:
    trust = trustRootFromCertificates([Certificate(crypto.X509.from_cryptography(one.certificate)) for one in roots])
    return Credentials(CertificateOptions(trustRoot=trust, enableSessionTickets=True), **options)


class Clock:
    """Unix time, moved by hand."""

    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        return self.time


class Reached:
    """A peer over a stream endpoint."""

    def __init__(self, backends: Backends, name: str | None = "a.test", credentials: Credentials | None = None) -> None:
        self.clock = Clock()
        self.peer = BackendPeer(name, credentials or trusting(ROOT), self.clock)
        self.backends = backends
        self.stream = clientFromString(backends.reactor, "tcp:192.0.2.1:443")

    def connect(self, factory: Any) -> Any:
        return connect_tls(self.peer, self.stream, factory, self.backends.reactor, 10.0)


def outcome_with(certified: Certified, name: str | None = "a.test", credentials: Any = None, **options: Any) -> Any:
    backends = Backends(server_context(certified, **options))
    (outcome,) = backends.connect(Reached(backends, name, credentials))
    backends.settle()
    assert not backends.reactor.getDelayedCalls()
    return outcome


def why(outcome: Any) -> str:
    outcome.trap(TLSFailed)
    text = str(outcome.value)
    assert text.isprintable()
    assert len(text) < 700
    return text


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_connect_fires_when_the_handshake_is_complete(version):
    backends = Backends(server_context(issued("a.test"), version))
    reached = Reached(backends)
    factory = Recorders()
    backends.options["answers"] = False
    assert backends.connect(reached, factory) == []
    assert factory.made == []
    assert backends.peers[0].received[:1] == b"\x16"
    backends.options["answers"] = True
    (protocol,) = backends.connect(reached, factory)
    assert factory.made == [protocol]
    peer = backends.peers[1]
    before = len(peer.received)
    protocol.transport.write(b"hello")
    assert len(peer.received) > before  # at once, not in the next turn
    backends.settle()
    assert peer.plain == b"hello"
    peer.say(b"yes")
    peer.say(b" and more")
    assert protocol.received == b"yes and more"
    assert protocol.transport.wrappedProtocol is protocol
    protocol.transport.loseConnection()
    backends.settle()
    assert peer.gone
    assert protocol.lost is not None


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (("a.test",), "a.test"),
        (("b.test", "A.Test"), "a.test"),
        (("*.a.test",), "x.a.test"),
        (("192.0.2.1",), "192.0.2.1"),
        (("2001:db8::1",), "2001:db8:0:0::1"),
        (("localhost",), "localhost"),
        (("app_1",), "app_1"),
        (("xn--bcher-kva.example",), "xn--bcher-kva.example"),
    ],
)
def test_right_names(names, asked):
    assert outcome_with(issued(*names), asked).lost is None


@pytest.mark.parametrize(
    ("names", "asked", "text"),
    [
        (("b.test",), "a.test", 'its certificate is for "b.test", not for "a.test"'),
        (("b.test", "192.0.2.9"), "a.test", 'its certificate is for "b.test", "192.0.2.9", not for "a.test"'),
        (("*.a.test",), "x.y.a.test", 'its certificate is for "*.a.test", not for "x.y.a.test"'),
        (
            ("a.test", "*.test"),
            "a.test",
            "its certificate can't be used: \"Certificate's DNS-ID b'*.test' has too few host components for wildcard usage.\"",  # noqa: E501
        ),
        (("*.a.test",), "192.0.2.1", 'its certificate is for "*.a.test", not for "192.0.2.1"'),
        (("192.0.2.1",), "192.0.2.2", 'its certificate is for "192.0.2.1", not for "192.0.2.2"'),
        (
            tuple(f"{n}.test" for n in range(9)),
            "a.test",
            'its certificate is for "0.test", "1.test", "2.test", "3.test", "4.test" and 4 more, not for "a.test"',
        ),
        (("x" * 60 + "." + "y" * 60,), "a.test", f'its certificate is for "{"x" * 60}.{"y" * 18}…", not for "a.test"'),
        ((), "a.test", 'its certificate names no host (it has no subjectAltName); it has to be for "a.test"'),
    ],
)
def test_wrong_names(names, asked, text):
    assert why(outcome_with(issued(*names, called="x"), asked)) == text


def date(certified: Certified, end: bool) -> str:
    at = certified.certificate.not_valid_after_utc if end else certified.certificate.not_valid_before_utc
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def test_expired():
    expired = issued("a.test", end=-1)
    assert why(outcome_with(expired)) == f"its certificate expired at {date(expired, True)}"


def test_not_yet_valid():
    early = issued("a.test", start=1)
    assert why(outcome_with(early)) == f"its certificate is not valid before {date(early, False)}"


def test_an_expired_intermediate():
    between = ROOT.issues(authority=True, called="Between", end=-1)
    text = f'its authority\'s certificate ("Between") expired at {date(between, True)}'
    assert why(outcome_with(between.issues("a.test"))) == text


def test_an_intermediate():
    between = ROOT.issues(authority=True, called="Between")
    assert outcome_with(between.issues("a.test")).lost is None


def test_unknown_authorities():
    text = 'its certificate comes from an authority that is not trusted: "Other CA"'
    assert why(outcome_with(OTHER.issues("a.test"))) == text
    hostile = authority("\x1b[31m\n" + "x" * 40)
    assert "\\u001b[31m\\n" in why(outcome_with(hostile.issues("a.test")))


def test_self_signed():
    alone = Certified("a.test")
    assert why(outcome_with(alone)) == "its certificate is self-signed and not among the trusted ones"
    assert outcome_with(alone, credentials=trusting(alone)).lost is None


def test_an_issuer_that_is_no_authority():
    text = why(outcome_with(issued("b.test").issues("a.test")))
    assert text == "its authority's certificate (\"b.test\") is not an authority's, or not for issuing certificates"


def test_insecure_takes_any():
    insecure = Credentials(CertificateOptions(), insecure=True)
    for certified in (Certified("b.test", end=-1), issued("b.test"), OTHER.issues()):
        assert outcome_with(certified, credentials=insecure).lost is None
        assert outcome_with(certified, None, credentials=insecure).lost is None


@pytest.mark.parametrize(("name", "said"), [("a.test", b"a.test"), ("192.0.2.1", None)])
def test_the_name_that_is_sent(name, said):
    backends = Backends(server_context(issued("a.test", "192.0.2.1")))
    (protocol,) = backends.connect(Reached(backends, name))
    assert protocol.lost is None
    assert backends.peers[0].connection.get_servername() == said


def test_old_versions_are_not_spoken():
    context = server_context(issued("a.test"))
    context.set_min_proto_version(SSL.TLS1_1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    backends = Backends(context)
    (outcome,) = backends.connect(Reached(backends))
    assert why(outcome).startswith("no TLS handshake: it speaks neither TLS 1.2 nor 1.3 (")


def test_client_certificates():
    credentials = trusting(ROOT)
    mine = issued("proxy.test")
    shown = Credentials(
        CertificateOptions(
            trustRoot=credentials.options.trustRoot,
            certificate=mine.certificate,
            privateKey=mine.key,
        )
    )
    for version in (TLS12, TLS13):
        assert outcome_with(issued("a.test"), credentials=shown, version=version, client_ca=ROOT).lost is None
    # TLS 1.2 says within the handshake that one was wanted, TLS 1.3 after it
    text = why(outcome_with(issued("a.test"), version=TLS12, client_ca=ROOT))
    assert text.startswith("no TLS handshake")
    outcome = outcome_with(issued("a.test"), version=TLS13, client_ca=ROOT)
    assert isinstance(outcome.lost, TLSFailed)
    assert str(outcome.lost) == 'TLS ended by "tlsv13 alert certificate required": it wants a client certificate'


# -- what else may happen to a handshake


def test_what_does_not_speak_tls():
    backends = Backends()
    outcome = backends.connect(Reached(backends))
    backends.peers[0].send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    backends.settle()
    assert why(outcome[0]).startswith("no TLS handshake: what answers does not speak TLS (")
    assert not backends.reactor.getDelayedCalls()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_closed_within_the_handshake(how):
    backends = Backends()
    outcome = backends.connect(Reached(backends))
    getattr(backends.peers[0], how)()
    backends.settle()
    assert why(outcome[0]) == "no TLS handshake: it closed the connection"
    assert not backends.reactor.getDelayedCalls()


def test_nothing_is_left_in_cycles():
    backends = Backends(server_context(issued("a.test")))
    reached = Reached(backends)
    gone: list[Any] = []
    gc.disable()
    try:
        for answers in (True, False):
            (protocol,) = backends.connect(reached)
            gone.append(weakref.ref(protocol.transport.getHandle()))
            if answers:
                backends.peers[-1].say(b"yes")
            protocol.transport.loseConnection()
            backends.settle()
            del protocol
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_refused():
    backends = Backends()
    backends.refuses = True
    factory = Recorders()
    (outcome,) = backends.connect(Reached(backends), factory)
    outcome.trap(ConnectionRefusedError)
    assert not backends.reactor.getDelayedCalls()


def test_a_handshake_has_its_time():
    backends = Backends()
    outcome = backends.connect(Reached(backends))
    backends.reactor.pass_time(9.9)
    assert outcome == []
    backends.reactor.pass_time(0.2)
    assert why(outcome[0]) == "no TLS handshake within 10 s"
    backends.settle()
    assert backends.peers[0].ended == "reset"
    assert not backends.reactor.getDelayedCalls()


def test_a_connection_has_its_time():
    backends = Backends()
    reached = Reached(backends)
    outcome: list[Any] = []
    backends.reactor.on_connect = lambda connector: None
    reached.connect(Recorders()).addBoth(outcome.append)
    backends.reactor.pass_time(10.1)
    assert why(outcome[0]) == "no connection within 10 s"
    assert not backends.reactor.getDelayedCalls()


@pytest.mark.parametrize("connected", [False, True])
def test_given_up(connected):
    backends = Backends()
    factory = Recorders()
    outcome: list[Any] = []
    dialling = Reached(backends).connect(factory).addBoth(outcome.append)
    if connected:
        backends.settle()
    dialling.cancel()
    backends.settle()
    outcome[0].trap(CancelledError, ConnectingCancelledError)
    assert factory.made == []
    assert not connected or backends.peers[0].ended == "reset"
    assert not backends.reactor.getDelayedCalls()


def test_a_factory_that_makes_no_protocol():
    class Refusing(Recorders):
        def buildProtocol(self, address: Any) -> None:
            return None

    class Failing(Recorders):
        def buildProtocol(self, address: Any) -> None:
            raise KeyError(address)

    for factory, error in ((Refusing(), NoProtocol), (Failing(), KeyError)):
        backends = Backends(server_context(issued("a.test")))
        (outcome,) = backends.connect(Reached(backends), factory)
        outcome.trap(error)
        backends.settle()
        assert backends.peers[0].ended == "reset"


def test_an_endpoint_that_fails_at_once():
    class Failing:
        def connect(self, factory: Any) -> Any:
            raise OSError("no such thing")

    backends = Backends()
    reached = Reached(backends)
    reached.stream = Failing()
    (outcome,) = backends.connect(reached)
    outcome.trap(OSError)
    assert not backends.reactor.getDelayedCalls()


# -- sessions


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that certificates were judged by: once for each full handshake, as a resumed one shows none."""
    names: list[str] = []
    real = tls.verify_service_identity

    def counting(patterns: Any, identities: Any, optional: Any) -> Any:
        names.append(identities[0].hostname.decode())
        return real(patterns, identities, optional)

    monkeypatch.setattr(tls, "verify_service_identity", counting)
    return names


def visit(backends: Backends, reached: Reached) -> None:
    """Connect once more, exchange a few bytes, close."""
    (protocol,) = backends.connect(reached)
    peer = backends.peers[-1]
    protocol.transport.write(b"hello")
    backends.settle()
    peer.say(b"yes")
    assert (peer.plain, protocol.received) == (b"hello", b"yes")
    protocol.transport.loseConnection()
    backends.settle()
    assert peer.gone


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("tickets", [True, False])
def test_sessions_are_resumed(version, tickets, judged):
    context = server_context(issued("a.test"), version)
    if not tickets:
        context.set_options(SSL.OP_NO_TICKET)  # by ids that the server keeps
    backends = Backends(context)
    reached = Reached(backends)
    for _ in range(4):
        visit(backends, reached)
    assert judged == ["a.test"]


def test_sessions_are_not_resumed_for_ever(judged):
    backends = Backends(server_context(issued("a.test"), TLS13))
    reached = Reached(backends)
    for n in range(8):  # each resumption brings a new ticket, and none moves the end
        visit(backends, reached)
        assert len(judged) == 1, n
        reached.clock.time += SESSION_AGE / 8
    visit(backends, reached)
    assert len(judged) == 2


MINUTE = 1 / 24 / 60


@pytest.mark.parametrize("whose", ["its own", "its authority's"])
def test_sessions_end_with_their_certificate(judged, whose):
    if whose == "its own":
        certified = issued("a.test", end=MINUTE)
    else:
        certified = ROOT.issues(authority=True, called="Between", end=MINUTE).issues("a.test")
    backends = Backends(server_context(certified, TLS13))
    reached = Reached(backends)
    visit(backends, reached)
    reached.clock.time += 30
    visit(backends, reached)
    assert len(judged) == 1
    reached.clock.time += 31
    visit(backends, reached)
    assert len(judged) == 2


def test_a_backend_that_forgets_its_sessions(judged):
    backends = Backends(server_context(issued("a.test"), TLS13))
    reached = Reached(backends)
    visit(backends, reached)
    reached.clock.time += 100
    backends.context = server_context(issued("a.test"), TLS13)  # other keys
    visit(backends, reached)
    assert len(judged) == 2
    reached.clock.time += SESSION_AGE - 1  # of the second verdict
    visit(backends, reached)
    assert len(judged) == 2


def test_a_new_certificate_is_judged_when_a_session_is_declined():
    backends = Backends(server_context(issued("a.test"), TLS13))
    reached = Reached(backends)
    visit(backends, reached)
    backends.context = server_context(OTHER.issues("a.test"), TLS13)
    (outcome,) = backends.connect(reached)
    assert "not trusted" in why(outcome)


def test_a_handshake_without_certificate_or_session_proves_nothing():
    peer = BackendPeer("a.test", trusting(ROOT))
    judge = Judge("a.test", peer.identity)
    assert not peer.passed(judge)
    judge.offered = True
    assert peer.passed(judge)


def test_no_session_without_an_answer():
    backends = Backends(server_context(issued("a.test"), TLS13))
    reached = Reached(backends)
    (first,) = backends.connect(reached)
    (second,) = backends.connect(reached)
    assert first.lost is second.lost is None
    backends.peers[0].say(b"now")
    backends.peers[1].say(b"now")
    assert first.received == second.received == b"now"
