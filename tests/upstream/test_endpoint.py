"""How a backend is reached: addresses, TLS over any stream, and headers before it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.upstreams import BackendTls
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.endpoint import backend_endpoint
from tests.certificates import authority
from tests.kit import toml
from tests.upstream.test_tls import trusting
from tests.upstream.tlspeer import Backends, Recorder, Recorders, server_context

ROOT = authority()
SERVER = ROOT.issues("a.test", "192.0.2.1", "2001:db8::1")
TRUSTING = trusting(ROOT)
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n"


def named(name: str) -> Credentials:
    return Credentials(TRUSTING.options, name=name)


@pytest.mark.parametrize(
    ("written", "tls", "scheme", "authority"),
    [
        ("tcp:192.0.2.1:9000", None, b"http", b"192.0.2.1:9000"),
        ("192.0.2.1:80", None, b"http", b"192.0.2.1"),
        ("http://a.test", None, b"http", b"a.test"),
        ("unix:/run/a.sock", None, b"http", b"localhost"),
        ("tls:a.test:443", None, b"https", b"a.test"),
        ("ssl:a.test:8443", None, b"https", b"a.test:8443"),
        ("https://a.test", None, b"https", b"a.test"),
        ("https://a.test:80", None, b"https", b"a.test:80"),
        ("https://[2001:db8::1]:8443", None, b"https", b"[2001:db8::1]:8443"),
        ("tcp:a.test:443", TRUSTING, b"https", b"a.test"),
        ("a.test:80", TRUSTING, b"https", b"a.test:80"),
        ("unix:/run/a.sock", named("a.test"), b"https", b"localhost"),
    ],
)
def test_schemes_and_authorities(written, tls, scheme, authority):
    endpoint = backend_endpoint(written, tls, Backends().reactor)
    assert (endpoint.scheme, endpoint.authority) == (scheme, authority)


@pytest.mark.parametrize(
    ("written", "tls", "address", "name"),
    [
        ("https://192.0.2.1", TRUSTING, ("192.0.2.1", 443), "192.0.2.1"),
        ("https://[2001:db8::1]", TRUSTING, ("2001:db8::1", 443), "2001:db8::1"),
        ("[2001:db8::1]:443", TRUSTING, ("2001:db8::1", 443), "2001:db8::1"),
        (r"tcp:fe80\:\:1%lo:443", named("[2001:db8::1]"), ("fe80::1%lo", 443), "2001:db8::1"),
        ("192.0.2.1:443", named("A.test."), ("192.0.2.1", 443), "a.test"),
        ("tcp:192.0.2.1:443:timeout=3", named("a.test"), ("192.0.2.1", 443), "a.test"),
        ("unix:/run/a.sock", named("a.test"), "/run/a.sock", "a.test"),
    ],
)
def test_tls_over_streams(written, tls, address, name):
    backends = Backends(server_context(SERVER))
    endpoint = backend_endpoint(written, tls, backends.reactor)
    (protocol,) = backends.connect(endpoint)
    there: Any = backends.connectors[0].address
    assert (there.host, there.port) == address if isinstance(address, tuple) else there.name == address.encode()
    assert endpoint.peer.name == name
    protocol.transport.write(b"hello")
    backends.settle()
    assert backends.peers[0].plain == b"hello"


def test_names_are_resolved_to_any_address():
    backends = Backends(server_context(SERVER))
    (protocol,) = backends.connect(backend_endpoint("https://a.test", TRUSTING, backends.reactor))
    assert backends.connectors[0].address.host == "127.0.0.1"  # says the reactor of tests of every name
    assert protocol.lost is None


def test_without_tls_nothing_stands_between():
    backends = Backends()
    endpoint = backend_endpoint("tcp:192.0.2.1:80", None, backends.reactor)
    (protocol,) = backends.connect(endpoint)
    assert protocol.transport is backends.peers[0].transport
    assert endpoint.peer is None


def test_a_table_is_read(tmp_path):
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    backends = Backends(server_context(SERVER))
    endpoint = backend_endpoint("https://192.0.2.1", BackendTls(ca="ca.pem"), backends.reactor, str(tmp_path))
    (protocol,) = backends.connect(endpoint)
    assert protocol.lost is None
    with pytest.raises(ValueError, match="no such file"):
        backend_endpoint("https://192.0.2.1", BackendTls(ca="ca.pem"), backends.reactor, "/no/folder")


def test_the_time_of_a_handshake():
    backends = Backends()
    outcome = backends.connect(backend_endpoint("https://192.0.2.1", TRUSTING, backends.reactor, timeout=3))
    backends.reactor.pass_time(3.1)
    assert str(outcome[0].value) == "no TLS handshake within 3 s"


@pytest.mark.parametrize(
    ("written", "tls", "why"),
    [
        ("tls:a.test:443", TRUSTING, '"tls:a.test:443" speaks TLS itself and leaves nothing to a "tls" table'),
        ("unix:/run/a.sock", TRUSTING, '"unix:/run/a.sock" has no host that a certificate could be for'),
        ("https://ex ample", None, "is not an international host name|is not a host|white space"),
        ("nonsense", None, '"nonsense" has no port'),
    ],
)
def test_what_can_not_be_reached(written, tls, why):
    with pytest.raises(ValueError, match=why):
        backend_endpoint(written, tls, Backends().reactor)


def test_insecure_needs_no_name():
    insecure = Credentials(TRUSTING.options, insecure=True)
    assert backend_endpoint("unix:/run/a.sock", insecure, Backends().reactor).scheme == b"https"


# -- headers before anything else


def test_announced_plain():
    backends = Backends()
    endpoint = backend_endpoint("tcp:192.0.2.1:80", None, backends.reactor)
    (protocol,) = backends.connect(endpoint.announcing(HEADER))
    peer = backends.peers[0]
    assert peer.received == HEADER
    assert protocol.transport is peer.transport
    protocol.transport.write(b"hello")
    peer.send(b"yes")
    assert (peer.received, protocol.received) == (HEADER + b"hello", b"yes")
    peer.reset()
    assert protocol.lost is not None
    (other,) = backends.connect(endpoint)
    other.transport.write(b"hello")
    assert backends.peers[1].received == b"hello"


def test_announced_before_tls():
    backends = Backends(server_context(SERVER), clear=len(HEADER))
    endpoint = backend_endpoint("https://192.0.2.1", TRUSTING, backends.reactor)
    announcing = endpoint.announcing(HEADER)
    assert (announcing.scheme, announcing.authority, announcing.peer) == (b"https", b"192.0.2.1", endpoint.peer)
    for peer in range(2):
        (protocol,) = backends.connect(announcing)
        protocol.transport.write(b"hello")
        backends.settle()
        assert backends.peers[peer].clear == HEADER
        assert backends.peers[peer].plain == b"hello"


def test_announced_half_closes():
    @implementer(IHalfCloseableProtocol)
    class Half(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.halves: list[str] = []

        def readConnectionLost(self) -> None:
            self.halves.append("read")

        def writeConnectionLost(self) -> None:
            self.halves.append("write")

    class Halves(Recorders):
        def buildProtocol(self, address: Any) -> Half:
            return Half()

    backends = Backends()
    endpoint = backend_endpoint("tcp:192.0.2.1:80", None, backends.reactor).announcing(HEADER)
    (half,) = backends.connect(endpoint, Halves())
    backends.peers[0].half_close()
    half.transport.loseWriteConnection()
    backends.settle()
    assert half.halves == ["read", "write"]
    (whole,) = backends.connect(endpoint)
    backends.peers[1].half_close()
    backends.settle()
    assert whole.lost is not None


def test_announced_to_nobody():
    class Refusing(Recorders):
        def buildProtocol(self, address: Any) -> None:
            return None

    backends = Backends()
    endpoint = backend_endpoint("tcp:192.0.2.1:80", None, backends.reactor).announcing(HEADER)
    (outcome,) = backends.connect(endpoint, Refusing())
    outcome.trap(NoProtocol)


def test_nothing_comes_before_the_tls_of_others():
    with pytest.raises(ValueError, match='before the handshake of a "tls:" endpoint'):
        backend_endpoint("tls:a.test:443", None, Backends().reactor).announcing(HEADER)


# -- what the configuration is told


@pytest.mark.parametrize(
    ("upstream", "why"),
    [
        (
            'backends = ["tls:a.test:443"]\ntls = {}',
            '"tls:a.test:443" brings its own TLS, which a "tls" table can\'t change; write "https://a.test"',
        ),
        (
            'backends = ["ssl:a.test:8443"]\nproxy_protocol = "v1"',
            '"ssl:a.test:8443" brings its own TLS, and proxy_protocol comes before TLS begins; '
            'write "https://a.test:8443"',
        ),
        (
            'backends = ["http://a.test"]\ntls = {}',
            '"http://a.test" is without TLS, and there is a "tls" table; write "https://a.test"',
        ),
        (
            'backends = ["unix:/run/a.sock"]\ntls = {}',
            '"unix:/run/a.sock" has no host that its certificate could be for; write name = "…" in "tls"',
        ),
    ],
)
def test_tables_that_contradict_addresses(upstream, why):
    with pytest.raises(ConfigError) as caught:
        load_text(toml(upstream=upstream))
    assert [problem.text for problem in caught.value.errors] == [why]
    assert caught.value.errors[0].key == "upstreams.app.backends[0]"


@pytest.mark.parametrize(
    "upstream",
    [
        'backends = ["https://a.test", "https://[::1]"]\ntls = {}\nproxy_protocol = "v2"',
        'backends = ["a.test:443", "tcp:192.0.2.1:443"]\ntls = {}',
        'backends = ["unix:/run/a.sock"]\ntls = { name = "a.test" }',
        'backends = ["unix:/run/a.sock"]\ntls = { insecure = true }',
        'backends = ["tls:a.test:443"]',
        'backends = ["unix:/run/a.sock"]\nproxy_protocol = "v1"',
    ],
)
def test_tables_that_fit(upstream):
    load_text(toml(upstream=upstream))
