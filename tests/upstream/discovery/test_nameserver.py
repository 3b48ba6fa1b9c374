"""Questions to name servers, over sockets that are only memory."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError as TcpRefused
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns
from twisted.python.failure import Failure

from revproxy.upstream.discovery.nameserver import NameServers, NoSuchName
from revproxy.upstream.discovery.report import NoAnswer
from tests.upstream.discovery.kit import record

FIRST, SECOND = ("10.0.0.1", 53), ("fd00::2", 5353)


class Port:
    """A UDP socket in memory."""

    def __init__(self, family: int, kind: int):
        assert kind == socket.SOCK_DGRAM
        self.family, self.open, self.server = family, True, ("", 0)
        self.sent: list[bytes] = []
        self.received: list[bytes | Exception] = []

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def connect(self, server: tuple[str, int]) -> None:
        self.server = server

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recv(self, size: int) -> bytes:
        if not self.received:
            raise BlockingIOError
        item = self.received.pop(0)
        if isinstance(item, Exception):
            raise item
        return item[:size]

    def close(self) -> None:
        self.open = False


class Talk:
    """One question. ``result`` is its outcome, when there is one."""

    def __init__(self, *servers: tuple[str, int], port: type[Port] = Port) -> None:
        self.reactor = MemoryReactorClock()
        self.ports: list[Port] = []

        def make(family: int, kind: int) -> Port:
            self.ports.append(port(family, kind))
            return self.ports[-1]

        numbers = iter(range(1, 1000))
        self.servers = NameServers(self.reactor, servers or (FIRST, SECOND), lambda most: next(numbers), make)
        self.result: list[Any] = []
        self.question = Deferred.fromCoroutine(self.servers.ask("api.internal", dns.A))
        self.question.addBoth(self.result.append)

    def receive(self, *items: bytes | Exception) -> None:
        """These arrive, in one go."""
        self.port.received += items
        for reader in self.reactor.getReaders():
            reader.doRead()

    def left(self) -> list[Any]:
        """Whatever is still there."""
        return [
            *self.reactor.getDelayedCalls(),
            *self.reactor.getReaders(),
            *[port for port in self.ports if port.open],
        ]

    @property
    def port(self) -> Port:
        return self.ports[-1]

    def answer(self, *lines: str, change: Callable[[dns.Message], Any] = lambda message: None) -> None:
        self.receive(self.message(*lines, change=change))

    def message(self, *lines: str, change: Callable[[dns.Message], Any] = lambda message: None) -> bytes:
        message = dns.Message()
        message.fromStr(self.port.sent[0])
        message.answer = 1
        message.answers = [record(line) for line in lines]
        change(message)
        return bytes(message.toStr())

    def fails(self) -> str:
        """The error, which has left nothing behind."""
        (failure,) = self.result
        assert failure.check(NoAnswer), failure
        assert self.left() == []
        return str(failure.value)


def test_one_question_one_answer() -> None:
    talk = Talk()
    message = dns.Message()
    message.fromStr(talk.port.sent[0])
    assert (message.id, message.recDes, message.answer) == (1, 1, 0)
    assert message.queries == [dns.Query(b"api.internal", dns.A, dns.IN)]
    assert (talk.port.server, talk.port.family) == (FIRST, socket.AF_INET)
    talk.answer("api.internal 30 A 10.0.0.7")
    assert [answer.payload.dottedQuad() for answer in talk.result[0].answers] == ["10.0.0.7"]
    assert talk.left() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda message: setattr(message, "id", 2),
        lambda message: setattr(message, "answer", 0),
        lambda message: setattr(message, "opCode", 4),
        lambda message: setattr(message, "queries", []),
        lambda message: setattr(message, "queries", [dns.Query(b"other.internal", dns.A)]),
        lambda message: setattr(message, "queries", [dns.Query(b"api.internal", dns.AAAA)]),
    ],
)
def test_what_is_no_answer_to_it_is_as_if_it_had_not_come(change: Any) -> None:
    talk = Talk(FIRST)
    talk.answer("api.internal 30 A 10.0.0.7", change=change)
    assert talk.result == []
    talk.answer("api.internal 30 A 10.0.0.8")
    assert len(talk.result) == 1


@given(st.binary(max_size=100))
def test_any_bytes_are_harmless(data: bytes) -> None:
    talk = Talk(FIRST)
    for text in (data, b"\0\1" + data, talk.port.sent[0][:2] + b"\x84\0" + data, talk.message()[:12] + data):
        talk.receive(text) if not talk.result else None
    talk.reactor.advance(0)
    if not talk.result:
        talk.answer()
    assert len(talk.result) == 1
    assert talk.left() == []


def test_silence_goes_round_and_ends() -> None:
    talk = Talk()
    asked = []
    for wait in (1, 1, 2, 2, 3, 3):
        asked.append((talk.port.server, talk.port.family))
        talk.reactor.advance(wait - 0.01)
        assert talk.port.open
        talk.reactor.advance(0.01)
    assert asked == [(FIRST, socket.AF_INET), (SECOND, socket.AF_INET6)] * 3
    assert talk.fails() == "no answer from [fd00::2]:5353"


@pytest.mark.parametrize(
    ("code", "word"), [(1, "FORMERR"), (2, "SERVFAIL"), (4, "NOTIMP"), (5, "REFUSED"), (9, "code 9")]
)
def test_a_server_that_can_not_is_followed_by_the_next(code: int, word: str) -> None:
    talk = Talk()
    talk.answer(change=lambda message: setattr(message, "rCode", code))
    assert talk.port.server == SECOND
    talk.answer()
    assert talk.result[0].answers == []
    talk = Talk(FIRST)
    talk.answer(change=lambda message: setattr(message, "rCode", code))
    assert talk.fails() == f"{word} from 10.0.0.1"


def test_only_the_silent_are_asked_again() -> None:
    talk = Talk()
    talk.answer(change=lambda message: setattr(message, "rCode", 5))
    asked = []
    for wait in (1, 2, 3):
        asked.append(talk.port.server)
        talk.reactor.advance(wait)
    assert asked == [SECOND] * 3
    assert talk.fails() == "no answer from [fd00::2]:5353"


def test_that_a_name_does_not_exist_is_an_answer() -> None:
    talk = Talk()
    talk.answer(change=lambda message: setattr(message, "rCode", 3))
    assert talk.result[0].check(NoSuchName)
    assert talk.fails() == "NXDOMAIN"


def test_a_port_where_nobody_listens_is_not_waited_for() -> None:
    talk = Talk()
    talk.receive(ConnectionRefusedError(111, "refused"))
    assert talk.port.server == SECOND
    assert talk.reactor.seconds() == 0


def test_an_error_of_the_socket_is_an_error() -> None:
    talk = Talk(FIRST)
    talk.receive(OSError(113, "No route to host"))
    assert talk.fails() == "10.0.0.1: No route to host"


def test_no_socket_is_an_error() -> None:
    class None_(Port):
        def __init__(self, family: int, kind: int):
            raise OSError(24, "Too many open files")

    assert Talk(FIRST, port=None_).fails() == "10.0.0.1: Too many open files"


def test_no_route_is_an_error() -> None:
    class Unreachable(Port):
        def connect(self, server: tuple[str, int]) -> None:
            raise OSError(101, "Network is unreachable")

    assert Talk(port=Unreachable).fails() == "[fd00::2]:5353: Network is unreachable"


def test_a_flood_is_read_bit_by_bit() -> None:
    talk = Talk(FIRST)
    talk.receive(*[b"x"] * 20)
    assert len(talk.port.received) == 12


def test_what_comes_after_the_answer_is_not_read() -> None:
    talk = Talk(FIRST)
    talk.receive(talk.message("api.internal 30 A 10.0.0.7"), talk.message("api.internal 30 A 10.0.0.8"))
    assert [answer.payload.dottedQuad() for answer in talk.result[0].answers] == ["10.0.0.7"]
    assert len(talk.port.received) == 1


def test_a_reactor_that_ends_ends_the_question() -> None:
    talk = Talk(FIRST)
    for reader in talk.reactor.getReaders():
        reader.connectionLost(Failure(ConnectionDone()))
    assert talk.fails() == "the socket to 10.0.0.1 was closed"


def test_an_error_that_comes_as_the_loss_of_the_socket_is_known() -> None:
    talk = Talk(FIRST)
    talk.port.received.append(ConnectionRefusedError(111, "Connection refused"))
    for reader in talk.reactor.getReaders():
        reader.connectionLost(Failure(ConnectionDone()))
    assert talk.fails() == "10.0.0.1 refused: nobody listens there"


def test_no_servers_are_an_error() -> None:
    talk = Talk(FIRST)
    got: list[Any] = []
    Deferred.fromCoroutine(NameServers(talk.reactor, ()).ask("a", dns.A)).addErrback(got.append)
    assert str(got[0].value) == "no name servers"


def cut(message: dns.Message) -> None:
    message.trunc = 1


def connected(talk: Talk) -> tuple[Any, StringTransport]:
    """The TCP connection that was opened."""
    host, port, factory, *_ = talk.reactor.tcpClients[-1]
    assert (host, port) == talk.port.server
    protocol, transport = factory.buildProtocol(None), StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


def test_a_truncated_answer_is_asked_for_over_tcp() -> None:
    talk = Talk()
    talk.answer("api.internal 30 A 10.0.0.7", change=cut)
    assert not talk.port.open
    assert talk.result == []
    protocol, transport = connected(talk)
    assert transport.value()[2:] == talk.port.sent[0]
    whole = talk.message("api.internal 30 A 10.0.0.7", "api.internal 30 A 10.0.0.8")
    for byte in len(whole).to_bytes(2, "big") + whole:
        protocol.dataReceived(bytes([byte]))
    assert len(talk.result[0].answers) == 2
    assert transport.disconnected
    assert talk.left() == []


def test_truncated_over_tcp_too_is_no_answer() -> None:
    talk = Talk()
    talk.answer(change=cut)
    protocol, _ = connected(talk)
    whole = talk.message(change=cut)
    protocol.dataReceived(len(whole).to_bytes(2, "big") + whole)
    assert talk.port.server == SECOND


def test_tcp_that_is_refused_closed_or_silent_goes_on_to_the_next() -> None:
    talk = Talk()
    talk.answer(change=cut)
    talk.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(TcpRefused()))
    assert talk.port.server == SECOND
    talk.answer(change=cut)
    protocol, transport = connected(talk)
    protocol.connectionLost(Failure(ConnectionDone()))
    assert talk.fails() == "[fd00::2]:5353 closed the connection"
    talk = Talk()
    talk.answer(change=cut)
    protocol, transport = connected(talk)
    talk.reactor.advance(1)
    assert transport.disconnected
    assert talk.port.server == SECOND
    talk.answer(change=cut)
    talk.reactor.advance(1)  # not even connected
    assert talk.port.server == FIRST


@pytest.mark.parametrize("when", ["udp", "connecting", "tcp"])
def test_a_question_that_is_cancelled_leaves_nothing(when: str) -> None:
    talk = Talk()
    if when != "udp":
        talk.answer(change=cut)
    transport = connected(talk)[1] if when == "tcp" else None
    talk.question.cancel()
    assert talk.left() == []
    assert len(talk.ports) == 1
    assert not talk.result[0].check(NoAnswer)
    if transport is not None:
        assert transport.disconnected
    if when == "connecting":
        assert talk.reactor.connectors[-1].stoppedConnecting
