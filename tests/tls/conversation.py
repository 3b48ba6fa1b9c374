"""A TLS client and a protocol of ours, talking in memory."""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.memory import CLIENT, Transport
from tests.tls.handshake import Client, client_context


class Conversation:
    """A connection to a factory. The clock moves only as far as calls for now.

    :ivar ssl: the client's side of TLS. :ivar said: plain bytes that came. :ivar ended: the close_notify came.
    """

    def __init__(
        self,
        factory: Any,
        clock: Clock,
        context: ssl.SSLContext | None = None,
        name: str | None = "a.example",
        session: Any = None,
    ) -> None:
        self.clock = clock
        self.transport = Transport()
        self.protocol: Any = factory.buildProtocol(CLIENT)
        self.protocol.makeConnection(self.transport)
        self.client = Client(context or client_context(), name, session)
        self.ssl = self.client.ssl
        self.said = b""
        self.ended = False
        self.done = False

    def shake(self, size: int = 1 << 20) -> Conversation:
        """The handshake, in pieces of this size."""
        self.deliver(self.client.hello, size)
        for _ in range(4):
            self.client.incoming.write(self.transport.drain())
            self.done = self.done or self.client.turn()
            self.deliver(self.client.outgoing.read(), size)
        assert self.done
        return self

    def deliver(self, data: bytes, size: int = 1 << 20) -> None:
        """Bytes of the connection, in pieces of this size."""
        for at in range(0, len(data), size):
            self.protocol.dataReceived(data[at : at + size])
        self.clock.advance(0)  # whoever had to wait has its turn

    def say(self, data: bytes, size: int = 1 << 20) -> bytes:
        """Send plain bytes; what is answered since the last call."""
        self.ssl.write(data)
        self.deliver(self.client.outgoing.read(), size)
        return self.hear()

    def hear(self) -> bytes:
        """What came, plain, since the last call."""
        for _ in range(20):
            self.clock.advance(0)
        self.client.incoming.write(self.transport.drain())
        said = b""
        try:
            while data := self.ssl.read(1 << 16):
                said += data
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the end, where the client has ended its side
            self.ended = True
        self.said += said
        return said

    def end(self) -> None:
        """The client says that it sends nothing more."""
        try:
            self.ssl.unwrap()
        except ssl.SSLError:
            pass
        self.deliver(self.client.outgoing.read())

    def lose(self, error: Exception | None = None) -> None:
        """There is no connection any more."""
        self.protocol.connectionLost(Failure(error or ConnectionDone()))
