"""From the first byte to HTTP: PROXY header, hello, handshake; cut at every point, a byte at a time, too late."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from revproxy.config.tls import ListenTls
from revproxy.downstream.factory import ClientFactory
from revproxy.tls.terminate import Terminator
from tests.certificates import authority
from tests.kit import logged
from tests.tls.conversation import Conversation
from tests.tls.handshake import TLS12, TLS13, client_context, records

ROOT = authority()
CONFIG = """
[[listen]]
endpoint = "tcp:8080"
[[routes]]
respond = { status = 200, body = "hello" }
"""
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
FATAL, UNRECOGNIZED_NAME = 2, 112


class Door:
    """A listener with TLS, in memory."""

    def __init__(self, scenario: Any, folder: Path, proxied: Callable[[str], bool] | None, **options: Any) -> None:
        ROOT.issues("a.example").write(folder, "a")
        self.scenario = scenario
        self.clock: Any = scenario.reactor
        self.engine = scenario.engine
        written = ListenTls(certificates=".", **options)
        self.terminator = Terminator(written, str(folder), self.clock)
        self.terminator.start()
        self.factory = ClientFactory(
            self.engine, "door", b"https", terminator=self.terminator, proxied=proxied, patience=10.0
        )
        self.factory.listening(IPv4Address("TCP", "192.0.2.1", 8443))
        self.timers = len(self.clock.getDelayedCalls())

    def meets(self, **options: Any) -> Conversation:
        return Conversation(self.factory, self.clock, **options)

    def is_clear(self) -> bool:
        """Whether nothing of any client is left."""
        self.clock.advance(0)
        return not self.engine.connections and len(self.clock.getDelayedCalls()) == self.timers


@pytest.fixture
def door(play_once: Any, tmp_path: Path) -> Iterator[Callable[..., Door]]:
    made: list[Door] = []

    def make(proxied: Callable[[str], bool] | None = None, **options: Any) -> Door:
        made.append(Door(play_once(CONFIG), tmp_path, proxied, **options))
        return made[-1]

    yield make
    for one in made:
        one.terminator.stop()


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
def test_a_byte_at_a_time(door, version, protocols) -> None:
    it = door()
    talk = it.meets(context=client_context(version=version, protocols=protocols)).shake(1)
    assert talk.say(GET, 1).startswith(b"HTTP/1.1 200 OK\r\n")
    assert talk.said.endswith(b"hello")
    talk.lose()
    assert it.is_clear()
    assert it.scenario.log[-1].status == 200


def test_http2_a_byte_at_a_time(door) -> None:
    it = door()
    talk = it.meets(context=client_context(protocols=("h2", "http/1.1"))).shake(1)
    said = talk.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", 1)
    assert said[3:4] == b"\4", "our SETTINGS come first"
    assert b"\0\0\0\4\1\0\0\0\0" in said, "and theirs are acknowledged"
    talk.lose()
    assert it.is_clear()


def the_bytes_of_a_handshake(it: Door, version: ssl.TLSVersion) -> int:
    talk = it.meets(context=client_context(version=version))
    count = len(talk.client.hello)
    talk.deliver(talk.client.hello)
    for _ in range(4):
        talk.client.incoming.write(talk.transport.drain())
        talk.client.turn()
        data = talk.client.outgoing.read()
        count += len(data)
        talk.deliver(data)
    talk.lose()
    return count


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("way", ["reset", "fin"])
def test_a_handshake_that_is_cut_off(door, version, way) -> None:
    it = door()
    whole = the_bytes_of_a_handshake(it, version)
    context = client_context(version=version)
    with logged() as lines:
        for size in range(whole):
            talk = it.meets(context=context)
            left = size
            for _ in range(4):
                data = (talk.client.hello if left == size else talk.client.outgoing.read())[:left]
                talk.deliver(data)
                left -= len(data)
                if not left:
                    break
                talk.client.incoming.write(talk.transport.drain())
                talk.client.turn()
            assert len(it.engine.connections) == 1
            if way == "fin":
                talk.protocol.readConnectionLost()
                assert talk.transport.aborted
            talk.lose(ConnectionLost())
            assert it.is_clear(), size
    assert not lines
    assert not it.scenario.log


def test_whoever_takes_too_long(door) -> None:
    it = door()
    silent, half, trickling = it.meets(), it.meets(), it.meets()
    half.deliver(half.client.hello[:100])
    with logged("revproxy.engine") as lines:
        for at in range(99):
            trickling.deliver(trickling.client.hello[at : at + 1])
            it.clock.pass_time(0.1)
        assert not half.transport.aborted
        it.clock.pass_time(0.2)
    assert silent.transport.aborted and half.transport.aborted and trickling.transport.aborted
    assert lines == ["1 connection(s) refused, the last from 192.0.2.7: tls-timeout"], "the others are counted"
    it.engine.rest()
    for talk in (silent, half, trickling):
        talk.lose()
    assert it.is_clear()


@pytest.mark.parametrize("size", [1, 100])
def test_plain_http_is_told(door, size) -> None:
    it = door()
    talk = it.meets()
    with logged("revproxy.engine") as lines:
        talk.deliver(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", size)
        answer = talk.transport.taken()
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"This port speaks TLS: write https:// and port 8443 in the URL.\n" in answer
        assert talk.transport.half_closed and not talk.transport.aborted
        talk.deliver(b"more")
        it.clock.pass_time(11)
    assert talk.transport.aborted
    assert lines == ["1 connection(s) refused, the last from 192.0.2.7: client-plain-http"], "it is not late besides"
    talk.lose()
    assert it.is_clear()


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (b"\0" * 10, 10),
        (records(b"\x01\0\0\x02\x03\x03"), 50),
        (b"\x15\x03\x01\0\x02\x02\x28", 10),
    ],
)
def test_bytes_that_are_no_hello(door, data, alert) -> None:
    it = door()
    talk = it.meets()
    with logged("revproxy.engine") as lines:
        talk.deliver(data)
    assert talk.transport.taken() == bytes((21, 3, 3, 0, 2, FATAL, alert))
    assert len(lines) == 1 and "tls-handshake" in lines[0]
    talk.lose()
    assert it.is_clear()


def test_many_hellos_at_once_are_answered_by_turns(door) -> None:
    it = door()
    talks = [it.meets() for _ in range(12)]
    for talk in talks:
        talk.protocol.dataReceived(talk.client.hello)
    answered = [bool(talk.transport.value()) for talk in talks]
    assert answered == [True] * 4 + [False] * 8
    talks[5].lose()  # tired of waiting
    with logged("revproxy.engine") as lines:
        for _ in range(4):
            talks[6].protocol.dataReceived(bytes(10_000))
    assert "more than" in lines[0]
    it.clock.advance(0)
    assert [bool(talk.transport.value()) for talk in talks[4:]] == [True, False, False] + [True] * 5
    for at in (0, 4, 11):
        talks[at].client.incoming.write(talks[at].transport.drain())
        talks[at].client.turn()
        talks[at].deliver(talks[at].client.outgoing.read())
        assert talks[at].say(GET).endswith(b"hello")
    for at in {*range(12)} - {5}:
        talks[at].lose()
    assert it.is_clear()


def test_a_flood_of_unknown_names_is_one_line(door) -> None:
    it = door(strict_sni=True)
    with logged("revproxy.engine") as lines:
        for _ in range(200):
            talk = it.meets(name="nobody.example")
            talk.deliver(talk.client.hello)
            assert talk.transport.taken() == bytes((21, 3, 3, 0, 2, FATAL, UNRECOGNIZED_NAME))
            talk.lose()
        assert len(lines) == 1
        it.clock.pass_time(11)
    assert lines[1].startswith("199 connection(s) refused, the last from 192.0.2.7: ")
    assert lines[1].endswith(": no certificate for nobody.example")
    for connection in list(it.engine.connections):
        connection.connectionLost(Failure(ConnectionDone()))
    assert it.is_clear()


def test_a_handshake_that_fails_is_a_line(door) -> None:
    it = door()
    talk = it.meets(context=client_context(authority("Other")))
    talk.deliver(talk.client.hello)
    with logged("revproxy.engine") as lines:
        talk.client.incoming.write(talk.transport.drain())
        with pytest.raises(ssl.SSLCertVerificationError):
            talk.client.turn()
        talk.deliver(talk.client.outgoing.read())
    assert lines == ["1 connection(s) refused, the last from 192.0.2.7: tls-handshake: TLSV1_ALERT_UNKNOWN_CA"]
    talk.lose()
    assert it.is_clear()


# -- the PROXY protocol, before TLS

V1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 55555 8443\r\n"


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_proxy_header_comes_before_tls(door, size) -> None:
    it = door(proxied=lambda peer: True)
    talk = it.meets()
    talk.deliver(V1 + talk.client.hello, size)
    talk.client.hello = b""
    talk.shake(size)
    assert talk.say(GET, size).startswith(b"HTTP/1.1 200 OK\r\n")
    assert it.scenario.log[-1].client == "203.0.113.9"
    talk.lose()
    assert it.is_clear()


def test_refusals_name_the_client_behind_the_proxy(door) -> None:
    it = door(proxied=lambda peer: True, strict_sni=True)
    talk = it.meets(name="nobody.example")
    with logged("revproxy.engine") as lines:
        talk.deliver(V1 + talk.client.hello)
    assert "the last from 203.0.113.9" in lines[0]
    late = it.meets()
    late.deliver(V1 + late.client.hello[:50])
    with logged("revproxy.engine") as lines:
        it.clock.pass_time(10)
    assert lines == ["1 connection(s) refused, the last from 203.0.113.9: tls-timeout"]
    talk.lose()
    late.lose()
    assert it.is_clear()


def test_handshakes_behind_the_proxy_count_for_the_client(door) -> None:
    it = door(proxied=lambda peer: True)
    it.engine._most_per_address, it.engine._per_address = 2, {}
    talks = [it.meets() for _ in range(2)]
    for talk in talks:
        talk.deliver(V1 + talk.client.hello[:50])
    third = it.meets()
    third.deliver(V1 + third.client.hello)
    assert third.transport.disconnecting or not third.transport.connected, "the client has two already"
    other = it.meets()
    other.deliver(V1.replace(b"203.0.113.9", b"203.0.113.8") + other.client.hello)
    assert other.transport.connected
    for talk in (*talks, third, other):
        talk.lose()
    assert it.is_clear()
    assert not it.engine._per_address


PROXIED = """
[server]
limits = {{ {limits} }}
[[listen]]
endpoint = "tcp:8080"
proxy_protocol = ["192.0.2.7"]
[[routes]]
respond = 200
"""


def header(at: int) -> bytes:
    return b"PROXY TCP4 203.0.113.%d 192.0.2.1 1000 80\r\n" % at


def test_a_balancers_connections_are_nobodys_before_their_header(play) -> None:
    scenario = play(PROXIED.format(limits="connections_per_address = 1"))
    clients = [scenario.client("192.0.2.7") for _ in range(5)]
    for at, client in enumerate(clients):
        client.send(header(at) + GET)
        client.expect_response(200)
    again = scenario.client("192.0.2.7")
    again.send(header(3))
    again.expect_response(503, headers={b"Retry-After": b"1"})
    again.expect_closed()
    clients[3].close()
    again.close()
    later = scenario.client("192.0.2.7")
    later.send(header(3) + GET)
    later.expect_response(200)


def test_connections_without_an_address_in_their_header_are_the_balancers(play) -> None:
    scenario = play(PROXIED.format(limits="connections_per_address = 1"))
    first, second = (scenario.client("192.0.2.7") for _ in range(2))
    first.send(b"PROXY UNKNOWN\r\n" + GET)
    first.expect_response(200)
    second.send(b"PROXY UNKNOWN\r\n")
    second.expect_response(503)
    second.expect_closed()


def test_a_connection_is_not_one_too_many_for_itself(play) -> None:
    scenario = play(PROXIED.format(limits="connections = 3"))
    clients = [scenario.client("192.0.2.7") for _ in range(3)]
    fourth = scenario.client("192.0.2.7")
    fourth.expect_response(503)
    fourth.expect_closed()
    for at, client in enumerate(clients):
        client.send(header(at) + GET)
        client.expect_response(200)


def test_half_open_connections_of_a_balancer_have_their_time(play) -> None:
    scenario = play(PROXIED.format(limits="connections_per_address = 1"))
    clients = [scenario.client("192.0.2.7") for _ in range(5)]
    scenario.advance(11)
    assert all(client.ended for client in clients)
    assert not scenario.engine.connections


def test_a_proxy_header_that_is_cut_off(door) -> None:
    it = door(proxied=lambda peer: True)
    with logged() as lines:
        for size in range(len(V1) + 1):
            talk = it.meets()
            talk.deliver(V1[:size])
            talk.lose(ConnectionLost())
            assert it.is_clear()
    assert not lines


def test_whoever_has_to_send_a_proxy_header(door) -> None:
    it = door(proxied=lambda peer: True)
    talk = it.meets()
    with logged("revproxy.engine") as lines:
        talk.deliver(talk.client.hello)
    assert talk.transport.aborted
    assert "client-bad-proxy-line" in lines[0]
    talk.lose()
    assert it.is_clear()


def test_whoever_may_not_send_one(door) -> None:
    it = door(proxied=lambda peer: False)
    talk = it.meets()
    talk.deliver(V1 + talk.client.hello)
    assert talk.transport.taken().startswith(b"HTTP/1.1 400 ")  # it begins like HTTP
    binary = it.meets()
    binary.deliver(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + binary.client.hello)
    assert binary.transport.taken() == bytes((21, 3, 3, 0, 2, FATAL, 10))
    talk.lose()
    binary.lose()
    assert it.is_clear()


def test_connections_are_counted_where_they_come_from(door) -> None:
    it = door(proxied=lambda peer: True)
    it.engine._most_per_address, it.engine._per_address = 1, {}
    talk = it.meets()
    talk.deliver(V1)
    talk.lose()
    assert it.engine.refuses("192.0.2.7") is it.engine.refuses("203.0.113.9") is None
