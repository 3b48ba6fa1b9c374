"""The end of a client's connection, on real sockets: what it was answered arrives whole, however long it is read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.python.failure import Failure

from revproxy.downstream.factory import ClientFactory
from tests.h2kit import GET, LISTEN, H2Client
from tests.kit import get, toml

SIZE = 200_000  # of which such a socket's kernel takes the whole, or next to nothing
BODY = "x" * SIZE
NO_RATE = 'minimum_rate = "off"\ntimeouts = { keep_alive = "20s" }'
RESPOND = f'respond = {{ body = "{BODY}" }}'


class Socket:
    """A client on the other end of a socket of the proxy's, whose turns come when it says so.

    :param kernel: bytes that the kernel takes of what waits, about. :ivar received: what it read.
    """

    def __init__(self, scenario: Any, kernel: int, http2: bool = False) -> None:
        ours, self.socket = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel)
        for end in (ours, self.socket):
            end.setblocking(False)
        self.clock = scenario.reactor
        self.ours = tcp.Connection(ours, None, self.clock)
        self.ours.connected = True
        abort = self.ours.abortConnection

        def reset() -> None:
            self.ended = "reset"  # which this kind of socket does not show
            abort()

        self.ours.abortConnection = reset
        self.received = b""
        self.ended = ""
        factory = ClientFactory(scenario.engine, http2=http2)
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.5", 1))
        self.ours.protocol = protocol
        protocol.makeConnection(self.ours)
        self.ours.startReading()

    def turn(self) -> None:
        """The proxy's turn."""
        for wanted, work in ((self.clock.getReaders, "doRead"), (self.clock.getWriters, "doWrite")):
            if self.ours in wanted():
                why = getattr(self.ours, work)()
                if why is not None:
                    lost = self.ours.readConnectionLost if work == "doRead" else self.ours.connectionLost
                    lost(why if isinstance(why, Failure) else Failure(why))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.turn()

    def take(self, most: int) -> None:
        try:
            while most > 0 and self.ended != "closed":
                data = self.socket.recv(most)
                if not data:
                    self.ended = "closed"
                self.received += data
                most -= len(data)
        except BlockingIOError:
            pass
        except OSError:
            self.ended = "reset"

    def second(self, most: int) -> None:
        """A second, in which it takes so many bytes at most."""
        self.take(most)
        self.turn()
        self.clock.advance(1)


@pytest.fixture
def meet(play_once: Any) -> Iterator[Any]:
    made: list[Socket] = []

    def meets(server: str = "", kernel: int = 64 * 1024) -> Socket:
        made.append(Socket(play_once(toml(server, route=RESPOND)), kernel))
        return made[-1]

    yield meets
    for one in made:
        one.socket.close()
        one.turn()


@pytest.mark.parametrize("kernel", [4096, 8 << 20])
@pytest.mark.parametrize("behind", [b"", get(b"/more")])
@pytest.mark.parametrize("server", ["", 'minimum_rate = "off"\ntimeouts = { keep_alive = "20s" }'])
def test_the_last_answer_arrives_whole_though_it_is_read_slowly(
    meet: Any, server: str, behind: bytes, kernel: int
) -> None:
    client = meet(server, kernel)
    client.send(get(b"/", b"Connection: close") + behind)
    for _ in range(200):
        client.second(6_000)
        if client.ended:
            break
    assert len(client.received) > SIZE
    assert client.ended == "closed"


@pytest.mark.parametrize("kernel", [4096, 8 << 20])
@pytest.mark.parametrize(("server", "seconds"), [("", 21), (NO_RATE, 41)])
def test_whoever_takes_nothing_of_the_last_answer_is_cut(meet: Any, server: str, seconds: int, kernel: int) -> None:
    client = meet(server, kernel)
    client.send(get(b"/", b"Connection: close") + get(b"/more"))
    for _ in range(seconds):
        client.second(0)
    assert not client.clock.getReaders()
    assert not client.clock.getWriters()


def test_a_client_that_took_all_and_stays_is_left_soon_and_without_a_reset(meet: Any) -> None:
    client = meet(kernel=8 << 20)
    client.send(get(b"/", b"Connection: close") + get(b"/more"))
    client.second(2 * SIZE)
    assert client.clock.getReaders()
    for _ in range(5):
        client.second(0)
    assert not client.clock.getReaders()
    client.take(2 * SIZE)
    assert client.ended == "closed"


def test_a_client_that_ends_its_side_before_it_has_read_its_answer(meet: Any) -> None:
    client = meet(kernel=8 << 20)
    client.send(get())
    client.socket.shutdown(socket.SHUT_WR)
    client.turn()
    client.take(2 * SIZE)
    assert len(client.received) > SIZE
    assert client.ended == "closed"


@pytest.mark.parametrize("server", ["", 'minimum_rate = "off"\n'])
def test_http2_the_last_answer_arrives_whole_though_it_is_read_slowly(play_once: Any, server: str) -> None:
    listen = LISTEN.replace('upstream = "app"', RESPOND)
    scenario = play_once(f"[server]\nlimits = {{ requests_per_connection = 1 }}\n{server}" + listen)
    client = Socket(scenario, 8 << 20, http2=True)
    talk = H2Client(client, {4: SIZE})
    talk.widen(0, SIZE)
    talk.begin(GET)
    for _ in range(200):
        client.second(6_000)
        if client.ended:
            break
    assert len(talk[1].body) == SIZE
    assert talk.goaways
    assert client.ended == "closed"
    client.socket.close()
    client.turn()
