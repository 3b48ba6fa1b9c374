"""Connections in memory, for conversations without sockets: a transport, its far end and a reactor.

Rules of this module:

* a transport behaves as Twisted's TCP transports do: a registered producer is paused above 64 KB
  and resumed when all is taken, a lost connection is told in a later turn, an end of file to a
  half-closeable protocol is ``readConnectionLost``, an abort is a reset for the far end;
* what the far end sends is cut into reads as it says: as sent, or one byte at a time;
* nothing happens by itself: time is a :class:`~twisted.internet.task.Clock`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

#: Above it a transport pauses its producer; also the largest read. Twisted's ``bufferSize``.
BUFFER = 64 * 1024
#: Of what is sent one byte at a time, so many bytes are; the rest comes in odd pieces.
SINGLE_BYTES = 8 * 1024
_ODD = 1447

#: (name of the peer, ``"->"`` to the proxy or ``"<-"`` from it, what).
Note = Callable[[str, str, bytes | str], None]

_END = object()
_RESET = object()


@implementer(ITCPTransport, IPushProducer)
class MemoryTransport:
    """The proxy's end of a connection.

    :param peer: the far end. :ivar reading: whether the proxy takes what comes.
    """

    disconnecting = False

    def __init__(self, reactor: MemoryReactor, peer: Peer, local: Any, remote: Any) -> None:
        self.reactor = reactor
        self.peer = peer
        self.local = local
        self.remote = remote
        self.protocol: Any = None
        self.connected = True
        self.reading = True
        self.producer: Any = None
        self.unsent = bytearray()
        self.incoming: deque[Any] = deque()
        self._streaming = False
        self._producer_paused = False
        self._write_closing = False
        self._write_closed = False
        self._aborting = False
        self._delivering = False

    def connect(self, protocol: Any) -> None:
        """The connection is there."""
        self.protocol = protocol
        protocol.makeConnection(self)

    # -- writing

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"bytes are written, not {type(data).__name__}")
        if not self.connected or self._aborting or self._write_closed:
            return
        self.unsent += data
        self.flush()
        if self.producer is not None and self._streaming and len(self.unsent) > BUFFER:
            self._producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def flush(self, limit: int | None = None) -> None:
        """Hand to the far end what it takes; ``limit`` bytes where it said so."""
        size = len(self.unsent) if self.peer.reads or self.peer.closed else limit or 0
        data = bytes(self.unsent[:size])
        del self.unsent[:size]
        if data:
            self.peer.take(data)
        if not self.unsent:
            self.reactor.callLater(0, self._written)

    def _written(self) -> None:
        if not self.connected or self.unsent or self._aborting:
            return
        if self.producer is not None and self._producer_paused:
            self._producer_paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self.lose(ConnectionDone())
        elif self._write_closing and not self._write_closed:
            self._write_closed = True
            self.peer.ends("closed")
            self.protocol.writeConnectionLost()

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting and not self._aborting:
            self.disconnecting = True
            self.reading = False
            if self._write_closed:
                self.reactor.callLater(0, self.lose, ConnectionDone())
            else:
                self.flush()

    def loseWriteConnection(self) -> None:
        self._write_closing = True
        self.flush()

    def abortConnection(self) -> None:
        if self.connected and not self._aborting:
            self._aborting = True
            self.reading = False
            self.reactor.callLater(0, self.lose, ConnectionAborted())

    def lose(self, reason: Exception) -> None:
        """The connection is gone."""
        if not self.connected:
            return
        self.connected = False
        self.reading = False
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        self.peer.ends("closed" if isinstance(reason, ConnectionDone) else "reset", gone=True)
        self.protocol.connectionLost(Failure(reason))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        if self.disconnecting:
            self.flush()

    # -- reading

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting and not self._aborting:
            self.reading = True
            self.reactor.callLater(0, self.deliver)

    def stopProducing(self) -> None:
        self.loseConnection()

    def deliver(self) -> None:
        """Hand what waits to the protocol, read by read, as long as it reads."""
        if self._delivering:
            return
        self._delivering = True
        while self.reading and self.connected and self.incoming:
            read = self.incoming.popleft()
            if read is _END:
                self.reading = False
                if IHalfCloseableProtocol.providedBy(self.protocol):
                    self.protocol.readConnectionLost()
                else:
                    self.lose(ConnectionDone())
            elif read is _RESET:
                self.lose(ConnectionLost())
            else:
                self.protocol.dataReceived(read)
            self.reactor.settle()
        self._delivering = False
        if self.disconnecting and self.connected and _RESET in self.incoming:
            self.lose(ConnectionLost())  # a reactor is told, as long as there is something to send

    # -- the rest of ITCPTransport

    def getPeer(self) -> Any:
        return self.remote

    def getHost(self) -> Any:
        return self.local

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed here."""

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nobody asks whether the far end is still there."""


class Peer:
    """The far end of a connection, as a test holds it.

    :param note: is told what happens.
    :ivar received: all bytes that came from the proxy.
    :ivar ended: ``""``, or how the proxy ended its side: ``"closed"`` or ``"reset"``.
    :ivar gone: whether the whole connection is gone. :ivar reads: whether this end takes what comes.
    """

    transport: MemoryTransport

    def __init__(self, name: str, note: Note, single_bytes: bool) -> None:
        self.name = name
        self.received = b""
        self.ended = ""
        self.gone = False
        self.reads = True
        self.closed = False
        self._note = note
        self._single = single_bytes

    def take(self, data: bytes) -> None:
        """The proxy sent this."""
        if self.closed:
            # Nobody is there: the answer to data is a reset.
            self.transport.reactor.callLater(0, self.transport.lose, ConnectionLost())
            return
        self._note(self.name, "<-", data)
        self.received += data

    def ends(self, how: str, gone: bool = False) -> None:
        """The proxy ended its side, or the whole connection."""
        if not self.closed and self.ended != how and (how == "reset" or not self.ended):
            self._note(self.name, "<-", how)
        self.ended = how if how == "reset" or not self.ended else self.ended
        self.gone = self.gone or gone

    # -- what a test does

    def send(self, data: bytes) -> None:
        """Send bytes to the proxy."""
        self._note(self.name, "->", data)
        at = 0
        while at < len(data):
            size = (1 if at < SINGLE_BYTES else _ODD) if self._single else BUFFER
            self.transport.incoming.append(data[at : at + size])
            at += size
        self._go()

    def half_close(self) -> None:
        """Send nothing more, and go on reading."""
        self._note(self.name, "->", "end")
        self.transport.incoming.append(_END)
        self._go()

    def close(self) -> None:
        """Close the connection; what the proxy sends from now on is answered by a reset."""
        self._note(self.name, "->", "close")
        self.closed = True
        self.transport.incoming.append(_END)
        self._go()

    def close_unseen(self) -> None:
        """Close the connection at a moment when the proxy is about to use it: it learns of that too late."""
        self._note(self.name, "->", "close (unseen)")
        self.closed = True

    def reset(self) -> None:
        """End the connection at once."""
        self._note(self.name, "->", "reset")
        self.closed = True
        self.transport.incoming.append(_RESET)
        self._go()

    def stop_reading(self) -> None:
        """Take nothing more from the proxy: what it sends fills its buffer."""
        self._note(self.name, "->", "reads no more")
        self.reads = False

    def resume_reading(self) -> None:
        """Take what waits, and what comes."""
        self._note(self.name, "->", "reads again")
        self.reads = True
        self.transport.flush()
        self._go()

    def read_some(self, size: int) -> None:
        """Take so many bytes of what waits, while reading is stopped."""
        self.transport.flush(size)
        self._go()

    @property
    def is_read(self) -> bool:
        """Whether the proxy takes what this end sends."""
        return self.transport.reading and self.transport.connected

    @property
    def waiting(self) -> int:
        """Bytes that wait in the proxy because this end does not take them."""
        return len(self.transport.unsent)

    def _go(self) -> None:
        self.transport.deliver()
        self.transport.reactor.settle()


class Connector:
    """An attempt to connect, as Twisted's endpoints see it.

    :ivar state: ``"connecting"``, ``"connected"``, ``"refused"`` or ``"given up"``.
    """

    def __init__(self, address: Any, factory: Any) -> None:
        self.address = address
        self.factory = factory
        self.state = "connecting"
        factory.doStart()
        factory.startedConnecting(self)

    def getDestination(self) -> Any:
        return self.address

    def stopConnecting(self) -> None:
        self.state = "given up"

    def disconnect(self) -> None:
        self.stopConnecting()

    def refuse(self) -> None:
        """Nobody listens there."""
        self.state = "refused"
        self.factory.clientConnectionFailed(self, Failure(ConnectionRefusedError()))


class MemoryReactor(MemoryReactorClock):
    """A reactor whose clock is moved by hand and whose outgoing connections are taken by ``on_connect``."""

    def __init__(self, on_connect: Callable[[Connector], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's has no annotations
        self.on_connect = on_connect

    def settle(self) -> None:
        """Run what is due now."""
        self.advance(0)

    def pass_time(self, seconds: float) -> None:
        """Let time pass; every timer fires at its own time."""
        end = self.seconds() + seconds
        while True:
            calls: Any = self.getDelayedCalls()
            times = [call.getTime() for call in calls]
            due = min(times, default=end + 1)
            if due > end:
                break
            self.advance(max(0.0, due - self.seconds()))
        self.advance(max(0.0, end - self.seconds()))

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        self.callLater(0, function, *args, **kwargs)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Connector:
        return self._connect(IPv4Address("TCP", host, port), factory)

    def connectUNIX(self, address: str, factory: Any, timeout: float = 30, checkPID: bool = False) -> Connector:
        return self._connect(UNIXAddress(address), factory)

    def _connect(self, address: Any, factory: Any) -> Connector:
        connector = Connector(address, factory)
        self.callLater(0, self.on_connect, connector)
        return connector
