"""Connections in memory: a scripted backend on one side, clients of a Site on the other."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site

from revproxy.config import model
from revproxy.http.mapping import Names
from revproxy.upstream.group import Upstream

CLIENT = IPv4Address("TCP", "192.0.2.7", 54321)
HERE = IPv4Address("TCP", "192.0.2.1", 8080)


class Transport(StringTransport):
    """A transport that can be full, and that says how it was closed."""

    aborted = False
    half_closed = False
    #: Bytes it holds before it is full, as a reactor's transport is; ``None`` for never.
    capacity: int | None = None
    full = False

    def __init__(self) -> None:
        super().__init__(hostAddress=HERE, peerAddress=CLIENT)

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.capacity is not None and not self.full and len(self.value()) > self.capacity:
            self.full = True
            if self.producer is not None:
                self.producer.pauseProducing()

    def drain(self) -> bytes:
        """Take what was written, so that there is room again."""
        data = self.taken()
        if self.full:
            self.full = False
            if self.producer is not None:
                self.producer.resumeProducing()
        return data

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def taken(self) -> bytes:
        """What was written since the last call."""
        data: bytes = self.value()
        self.clear()
        return data

    @property
    def reading(self) -> bool:
        return str(self.producerState) == "producing"


class FakeBackend:
    """An endpoint; tests play the backend at its other end."""

    def __init__(self) -> None:
        self.refuse = False
        self.protocol: Any = None
        self.transport: Any = None
        self.connections = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refuse:
            return fail(ConnectionRefusedError())
        self.connections += 1
        self.protocol, self.transport = factory.buildProtocol(None), Transport()
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)

    def received(self) -> bytes:
        """What it was sent since the last call."""
        return b"" if self.transport is None else self.transport.taken()

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def leave(self, error: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(error or ConnectionDone()))


def make_upstream(clock: Clock, *backends: FakeBackend, **settings: Any) -> Upstream:
    """A live upstream over fake backends."""
    addresses = tuple(model.Backend(endpoint=f"tcp:fake-{n}:9000") for n in range(len(backends)))
    written = model.Upstream(backends=addresses, pool=model.Pool(**settings))
    upstream = Upstream("fake", written, clock)
    for n, (backend, endpoint) in enumerate(zip(upstream.backends, backends, strict=True)):
        backend.name = f"fake-{n}"
        backend.authority = b"backend:9000"
        backend.names = Names(internal=frozenset({b"backend:9000"}))
        fake: Any = endpoint
        backend.pool.endpoint = fake
    return upstream


class Client:
    """A client of a Site, stock or ours."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self.site = site
        self.clock = clock
        self.transport = Transport()
        self.protocol: Any = site.buildProtocol(CLIENT)
        self.protocol.makeConnection(self.transport)

    def another(self) -> Client:
        """A further connection to the same site."""
        return Client(self.site, self.clock)

    def send(self, data: bytes) -> bytes:
        """Deliver ``data``; what was answered, and by calls for later, since the last call."""
        self.protocol.dataReceived(data)
        return self.received()

    def received(self) -> bytes:
        """What was answered since the last call."""
        for _ in range(50):
            self.clock.advance(0)
        return self.transport.taken()

    def get(self, target: str, *fields: str, method: str = "GET", host: str = "example.com") -> bytes:
        """Send a request without a body; what was answered."""
        return self.send("\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode())

    def leave(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))
