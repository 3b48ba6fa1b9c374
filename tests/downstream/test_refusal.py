"""Connections too many: told so where that costs nothing, and gone at once in any case."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from revproxy.downstream.factory import ClientFactory
from tests.certificates import authority
from tests.kit import toml

PEER = IPv4Address("TCP", "192.0.2.5", 1)


@pytest.fixture
def engine(play_once: Any) -> Any:
    engine = play_once(toml("limits = { connections_per_address = 1 }", route="respond = 200")).engine
    engine.opened("somebody", PEER.host)
    yield engine
    engine.closed("somebody", PEER.host)


def test_without_tls_it_is_told(engine: Any) -> None:
    transport = StringTransport()
    ClientFactory(engine).buildProtocol(PEER).makeConnection(transport)
    assert transport.value().startswith(b"HTTP/1.1 503 ")
    assert transport.disconnecting


def test_with_tls_of_ours_nothing_is_said_in_the_clear(engine: Any) -> None:
    transport = StringTransport()
    ClientFactory(engine, "tls", b"https").buildProtocol(PEER).makeConnection(transport)
    assert transport.value() == b""
    assert transport.disconnected


def test_a_client_that_does_not_shake_hands_is_not_waited_for(engine: Any) -> None:
    certificate = authority().issues("a.example")
    options = PrivateCertificate.loadPEM(certificate.chain_pem + certificate.key_pem()).options()
    wrapping = TLSMemoryBIOFactory(options, False, ClientFactory(engine, "ssl", b"https"), engine.reactor)
    transport = StringTransport()
    wrapping.buildProtocol(PEER).makeConnection(transport)
    assert transport.disconnected
