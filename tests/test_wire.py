"""One end of a connection: pauses by reason, one timer, and sending at once on a real socket."""

from __future__ import annotations

import socket

import pytest
from twisted.internet import tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from revproxy.wire import HOOK, NEVER, NO_PEER, PEER_FULL, Wire, ignore


class Told(Wire):
    """Remembers what it is told."""

    def __init__(self, clock):
        super().__init__(clock)
        self.told = []

    def connected(self):
        self.told.append("connected")

    def lost(self, reason):
        self.told.append("lost")

    def half_closed(self):
        self.told.append("half closed")

    def expired(self):
        self.told.append(f"expired {self.clock.seconds():g}")

    def full(self):
        self.told.append("full")

    def drained(self):
        self.told.append("drained")


def wire():
    clock = Clock()
    it = Told(clock)
    transport = StringTransport()
    it.makeConnection(transport)
    it.told.clear()
    return it, transport, clock


# -- reading


def test_reading_goes_on_when_no_reason_is_left():
    it, transport, _ = wire()
    it.pause_reading(PEER_FULL)
    it.pause_reading(HOOK)
    it.pause_reading(HOOK)
    assert transport.producerState == "paused"
    it.resume_reading(PEER_FULL)
    assert transport.producerState == "paused"
    it.resume_reading(NO_PEER)
    assert transport.producerState == "paused"
    it.resume_reading(HOOK)
    assert transport.producerState == "producing"


def test_all_reasons_at_once():
    it, transport, _ = wire()
    it.pause_reading(PEER_FULL | HOOK)
    it.resume_reading(PEER_FULL | HOOK | NO_PEER)
    assert transport.producerState == "producing"


# -- the timer


def test_a_deadline():
    it, _, clock = wire()
    it.set_deadline(5)
    clock.advance(4.9)
    assert it.told == []
    clock.advance(0.2)
    assert it.told == ["expired 5.1"]
    clock.advance(100)
    assert it.told == ["expired 5.1"]


@pytest.mark.parametrize(("first", "second", "at"), [(5, 10, 10), (10, 5, 5), (5, 5, 5)])
def test_a_deadline_that_moves_has_one_timer(first, second, at):
    it, _, clock = wire()
    it.set_deadline(first)
    it.set_deadline(second)
    assert len(clock.getDelayedCalls()) == 1
    for _ in range(20):
        clock.advance(1)
    assert it.told == [f"expired {at}"]


def test_a_deadline_that_is_moved_by_assignment_costs_no_timer():
    it, _, clock = wire()
    it.set_deadline(5)
    for _ in range(10):
        clock.advance(1)
        it.deadline = clock.seconds() + 5
        assert len(clock.getDelayedCalls()) <= 1
    for _ in range(10):
        clock.advance(1)
    assert it.told == ["expired 15"]


def test_no_deadline():
    it, _, clock = wire()
    it.set_deadline(5)
    it.deadline = NEVER
    clock.advance(10)
    assert it.told == []
    assert clock.getDelayedCalls() == []
    it.set_deadline(5)
    clock.advance(6)
    assert it.told == ["expired 16"]


def test_a_lost_connection_leaves_no_timer_and_says_so_once():
    it, _, clock = wire()
    it.set_deadline(5)
    it.connectionLost(Failure(ConnectionDone()))
    assert clock.getDelayedCalls() == []
    assert it.told == ["lost"]
    assert it.transport is None
    assert it.dataReceived is ignore
    # nothing of this raises, and nothing is sent
    assert it.send(b"x") is False
    it.close()
    it.cut()
    it.half_close()
    it.pause_reading(HOOK)
    it.resume_reading(HOOK)


# -- sending on another transport


def test_other_transports_are_written_to():
    it, transport, _ = wire()
    assert it.send(b"abc") is True
    assert it.send(b"def") is True
    assert transport.value() == b"abcdef"
    assert it.bytes_out == 6
    assert transport.producer is it
    transport.producer.pauseProducing()
    transport.producer.resumeProducing()
    assert it.told == ["full", "drained"]
    it.close()
    assert transport.producer is None
    assert transport.disconnecting


# -- sending on a real socket


class Reactor(Clock):
    """Only remembers who wants to read and write."""

    def __init__(self):
        super().__init__()
        self.readers: set[object] = set()
        self.writers: set[object] = set()

    def addReader(self, reader):
        self.readers.add(reader)

    def addWriter(self, writer):
        self.writers.add(writer)

    def removeReader(self, reader):
        self.readers.discard(reader)

    def removeWriter(self, writer):
        self.writers.discard(writer)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    reactor = Reactor()
    it = Told(reactor)
    connection = tcp.Connection(ours, it, reactor)
    connection.connected = True
    connection.startReading()
    it.makeConnection(connection)
    it.told.clear()
    yield it, connection, theirs, reactor
    theirs.close()
    ours.close()


def receive(sock):
    found = b""
    try:
        while data := sock.recv(1 << 20):
            found += data
    except BlockingIOError:
        pass
    return found


def test_a_small_write_goes_out_at_once(pair):
    it, connection, theirs, reactor = pair
    assert it.send(b"abc") is True
    assert receive(theirs) == b"abc"
    assert not reactor.writers
    assert connection.producer is None


def test_what_the_kernel_does_not_take_waits_in_order(pair):
    it, connection, theirs, reactor = pair
    data = bytes(range(256)) * 20_000
    assert it.send(data) is True
    assert it.send(b"more") is True
    assert connection in reactor.writers
    assert it.queued() > 0
    assert it.unsent() >= it.queued()
    assert it.told == ["full"] * len(it.told)
    assert it.told
    found = b""
    while connection in reactor.writers:
        found += receive(theirs)
        connection.doWrite()
    found += receive(theirs)
    assert found == data + b"more"
    assert it.queued() == 0
    assert it.told[-1] == "drained"
    assert it.bytes_out == len(data) + 4
    it.send(b"again")
    assert receive(theirs) == b"again"
    assert not reactor.writers


def test_two_buffers_go_out_as_one(pair):
    it, _, theirs, reactor = pair
    assert it.send_both(b"head", b"body") is True
    assert receive(theirs) == b"headbody"
    assert it.bytes_out == 8
    assert not reactor.writers


@pytest.mark.parametrize("head", [b"head", b"head" * 1_000_000])
def test_two_buffers_of_which_the_kernel_does_not_take_all(pair, head):
    it, connection, theirs, reactor = pair
    body = bytes(range(256)) * 20_000
    assert it.send_both(head, body) is True
    assert it.send_both(b"more", b"and more") is True
    found = b""
    while connection in reactor.writers:
        found += receive(theirs)
        connection.doWrite()
    found += receive(theirs)
    assert found == head + body + b"moreand more"
    assert it.bytes_out == len(found)
    assert it.told[-1] == "drained"


def test_two_buffers_for_a_peer_that_is_gone(pair):
    it, _, theirs, _ = pair
    theirs.close()
    it.stale()
    assert it.send_both(b"head", b"body") is False
    assert it.bytes_out == 0


def test_two_buffers_for_other_transports():
    it, transport, _ = wire()
    assert it.send_both(b"head", b"body") is True
    assert transport.value() == b"headbody"


def test_reads_reach_data_received(pair):
    it, connection, theirs, _ = pair
    got: list[bytes] = []
    it.dataReceived = got.append
    theirs.send(b"abc")
    assert connection.doRead() is None
    assert connection.doRead() is None  # nothing there: no end
    assert got == [b"abc"]
    theirs.close()
    assert connection.doRead() is not None


def test_a_peer_that_is_gone(pair):
    it, _, theirs, _ = pair
    theirs.close()
    assert it.stale() is True
    assert it.send(b"abc") is False


def test_stale(pair):
    it, _, theirs, _ = pair
    assert it.stale() is False
    theirs.send(b"x")
    assert it.stale() is True


def test_closing_sends_what_is_queued_first(pair):
    it, connection, theirs, reactor = pair
    data = b"x" * 3_000_000
    it.send(data)
    it.close()
    found = b""
    for _ in range(1000):
        found += receive(theirs)
        if connection not in reactor.writers or connection.doWrite() is not None:
            break
    found += receive(theirs)
    assert found == data
