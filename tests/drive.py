"""Drives a whole configuration in memory: real client connections, real backend connections, no sockets.

A :class:`World` is a reactor (a clock that is moved by hand) in which every backend address answers: a backend
shows the request that it got. ``World.say`` is one client's connection from its first byte to what it was answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from revproxy.accesslog import Record
from revproxy.config.compile import compile_config
from revproxy.config.model import Config
from revproxy.downstream.factory import ClientFactory
from revproxy.engine import Engine
from revproxy.http.message import TlsInfo
from revproxy.listener import client_factory

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: %b\r\nConnection: Upgrade\r\n\r\n"


class Pipe(StringTransport):
    """A transport that keeps what was written until it is pumped to the other end."""

    def __init__(self, protocol: Any, peer: str = "127.0.0.1") -> None:
        super().__init__(peerAddress=IPv4Address("TCP", peer, 54321))
        self.protocol = protocol
        self.ended = False

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        self.disconnecting = True

    def take(self) -> bytes:
        """What was written since the last time."""
        data: bytes = self.value()
        self.clear()
        return data


class Echo(Protocol):
    """A backend: answers each request with its own head and body as text, and an upgrade with 101."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.data = b""
        self.upgraded = False

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if self.upgraded:
            self.transport.write(data.upper())
            return
        self.data += data
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        if fields.get(b"transfer-encoding") == b"chunked":
            if not rest.endswith(b"0\r\n\r\n"):
                return
        elif len(rest) < length:
            return
        self.data = b""
        if b"upgrade" in fields:
            self.upgraded = True
            self.transport.write(SWITCH % fields[b"upgrade"])
            return
        body = self.address.encode() + b"\n" + head + b"\n\n" + rest
        answer = b"HTTP/1.1 200 OK\r\nServer: echo\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        self.transport.write(answer if head.startswith(b"HEAD") else answer + body)


class World(MemoryReactorClock):  # type: ignore[misc]  # untyped in Twisted
    """The reactor of a configuration, and the network around it.

    :ivar dialled: the addresses that were connected to, in order.
    :ivar records: what the access log was given.
    """

    def __init__(self, config: Config, backend: Callable[[str], Protocol] = Echo) -> None:
        super().__init__()
        self.dialled: list[str] = []
        self.records: list[Record] = []
        self._backend = backend
        self._links: list[tuple[Pipe, Pipe]] = []
        self.table = compile_config(config, self)
        self.engine = Engine(self.table, config.server, self, self)
        self.factories: dict[str, ClientFactory] = {}
        for listen in config.listen:
            name = listen.name or listen.endpoint
            self.factories[name] = client_factory(listen, self.engine)
            self.factories[name].listening(IPv4Address("TCP", "127.0.0.1", 8080))

    def log(self, record: Record) -> None:
        """Part of what an engine asks of an access log."""
        self.records.append(record)

    def connectTCP(self, host: str, port: int, factory: Any, *args: Any, **options: Any) -> None:
        self._connect(f"{host}:{port}", factory)

    def connectUNIX(self, address: str, factory: Any, *args: Any, **options: Any) -> None:
        self._connect(address, factory)

    def _connect(self, address: str, factory: Any) -> None:
        self.dialled.append(address)
        ours = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        theirs = self._backend(address)
        link = (Pipe(ours), Pipe(theirs))
        self._links.append(link)
        theirs.makeConnection(link[1])
        ours.makeConnection(link[0])

    def _pump(self) -> None:
        moved = True
        while moved:
            moved = False
            if any(call.getTime() <= self.seconds() for call in self.getDelayedCalls()):
                moved = True
                self.advance(0)
            for link in list(self._links):
                for here, there in (link, link[::-1]):
                    if data := here.take():
                        moved = True
                        there.protocol.dataReceived(data)
                if any(end.disconnecting for end in link):
                    self._links.remove(link)
                    for end in link:
                        end.protocol.connectionLost(Failure(ConnectionDone()))

    def say(
        self,
        *pieces: bytes,
        listen: str = "",
        peer: str = "192.0.2.7",
        wait: float = 0.0,
        tls: TlsInfo | None = None,
    ) -> bytes:
        """Send the pieces on one connection; what was answered, and then the client leaves.

        :param wait: seconds that pass after the last piece.
        :param tls: what is known of the connection's TLS, which is not spoken.
        """
        factory = self.factories[listen or next(iter(self.factories))]
        protocol = factory.buildProtocol(IPv4Address("TCP", peer, 40000))
        if tls is not None:
            protocol.arrival = evolve(protocol.arrival, tls=tls)
        transport = Pipe(protocol, peer)
        protocol.makeConnection(transport)
        answer = b""
        for piece in pieces:
            protocol.dataReceived(piece)
            self._pump()
            answer += transport.take()
        if wait:
            self.advance(wait)
            self._pump()
            answer += transport.take()
        protocol.connectionLost(Failure(ConnectionDone()))
        self._pump()
        return answer

    def get(self, target: str, host: str = "example.com", *fields: str, method: str = "GET", **options: Any) -> bytes:
        """One request without a body; the whole answer."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]
        return self.say("\r\n".join(lines).encode(), **options)
