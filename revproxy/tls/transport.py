"""TLS of ours as a Twisted transport, for protocols of anybody's.

Rules of this module:

* what a protocol sees is what Twisted's own TLS shows it: nothing is called back while it calls, writes after
  ``loseConnection`` are dropped, a registered producer may finish first;
* an end without a close_notify may be an attacker's (RFC 8446 6.1): it is a lost connection, not a closed one;
* what waits is bounded by the producer that the protocol registers, as on any transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from OpenSSL.crypto import X509
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, INegotiated, IPushProducer, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.wire import NO_PEER, Wire, ignore


class SecureWire(Wire):
    """A connection in TLS with a protocol of anybody's on top.

    :param build: gives the protocol, or ``None`` to turn the client away.
    """

    __slots__ = ("_build", "_clean", "_leaving", "_peer_ended", "_said_end", "above", "protocol")

    def __init__(self, clock: Any, build: Callable[[], Any]) -> None:
        super().__init__(clock)
        self.above: Any = None
        self.protocol: Any = None
        self._build = build
        self._clean = False  # how it ends was said, by the peer or by our protocol
        self._leaving: Any = None
        self._peer_ended = False
        self._said_end = False

    def connected(self) -> None:
        self.dataReceived = self._deliver
        self.above = SecureTransport(self)
        self.protocol = self._build()
        if self.protocol is None:
            self.leave(self.close)
        else:
            self.protocol.makeConnection(self.above)

    def _deliver(self, data: bytes) -> None:
        # by its name each time: it may be another protocol by now, or have another method
        self.protocol.dataReceived(data)

    # -- the end

    def leave(self, do: Callable[[], Any]) -> None:
        """End it when whoever calls now has returned."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._clean = True

        def leaving() -> None:
            self._leaving = None
            do()

        self._leaving = self.clock.callLater(0, leaving)

    def end_sending(self) -> None:
        """Say that nothing more will be sent, and close if the peer has said the same."""
        self._said_end = True
        if self._peer_ended:
            self.close()
        elif self.session is not None:
            self.send(self.session.close(), True)

    def half_closed(self) -> None:
        """The peer's close_notify."""
        self._clean = self._peer_ended = True
        protocol: Any = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None or self._said_end:
            self.close()
        else:
            protocol.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The end of what is below TLS."""
        if not self._peer_ended or self._said_end:
            self.cut()

    def lost(self, reason: Any) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if not self._clean and reason.check(ConnectionDone, ConnectionAborted):
            reason = Failure(ConnectionLost("TLS was not ended by the peer"))
        protocol, self.protocol = self.protocol, None
        self.above.gone()
        if protocol is not None:
            protocol.connectionLost(reason)

    def full(self) -> None:
        self.above.full()

    def drained(self) -> None:
        self.above.drained()


@implementer(ISSLTransport, INegotiated, IPushProducer)
class SecureTransport:
    """What the protocol above TLS writes to.

    :ivar connected: whether there is a connection. :ivar disconnecting: whether it is being closed.
    :ivar negotiatedProtocol: by ALPN (RFC 7301), or ``None``.
    """

    def __init__(self, wire: SecureWire) -> None:
        self._wire = wire
        session = wire.session
        assert session is not None
        self._tls = session.connection
        self._below = wire.transport
        self._producer: Any = None
        self._quiet = False  # loseWriteConnection was called
        self.connected = True
        self.disconnecting = False
        chosen = self._tls.selected_alpn_protocol()
        self.negotiatedProtocol = None if chosen is None else chosen.encode()

    @property
    def protocol(self) -> Any:
        """Who gets what comes; protocols that take over a connection put themselves here."""
        return self._wire.protocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self._wire.protocol = protocol

    # -- ITransport

    def write(self, data: bytes) -> None:
        """Send bytes; never waits."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"only bytes can be written, not {type(data).__name__}")
        leaving = self.disconnecting or self._quiet
        if data and self.connected and not (leaving and self._producer is None) and not self._wire.send(bytes(data)):
            self.abortConnection()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send pieces one after another."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Close when all that was written has gone out; a registered producer may finish first."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._wire.dataReceived = ignore
            if self._producer is None:
                self._wire.leave(self._wire.close)

    def abortConnection(self) -> None:
        """Close at once; what waits is lost."""
        if self.connected:
            self.connected = False
            self.disconnecting = True
            self._wire.dataReceived = ignore
            self._wire.leave(self._wire.cut)

    def loseWriteConnection(self) -> None:
        """Say that nothing more will be written, when all has gone out; what the peer sends still comes."""
        if self.connected and not self._quiet and not self.disconnecting:
            self._quiet = True
            if self._producer is None:
                self._wire.clock.callLater(0, self._end_writing)

    def _end_writing(self) -> None:
        if self.connected and not self.disconnecting:
            protocol: Any = IHalfCloseableProtocol(self.protocol, None)
            self._wire.end_sending()
            if protocol is not None and self.connected:
                protocol.writeConnectionLost()

    def getPeer(self) -> Any:
        """The client's address."""
        return self._below.getPeer()

    def getHost(self) -> Any:
        """Our own address."""
        return self._below.getHost()

    # -- ITCPTransport and ISSLTransport

    def getPeerCertificate(self) -> X509 | None:
        """The client's certificate, which one of the authorities vouched for; ``None`` when it showed none."""
        from cryptography.x509 import load_der_x509_certificate

        der = self._tls.getpeercert(binary_form=True)
        return None if der is None else X509.from_cryptography(load_der_x509_certificate(der))

    def getTcpNoDelay(self) -> bool:
        """Whether small segments leave at once."""
        return bool(self._tcp("getTcpNoDelay"))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Have small segments leave at once."""
        self._tcp("setTcpNoDelay", enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the system asks an idle peer if it is there."""
        return bool(self._tcp("getTcpKeepAlive"))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Have the system ask an idle peer if it is there."""
        self._tcp("setTcpKeepAlive", enabled)

    def _tcp(self, name: str, *values: bool) -> Any:
        method = getattr(self._below, name, None)
        return None if method is None else method(*values)  # a Unix socket has no such options

    # -- IPushProducer: what the peer sends

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._wire.pause_reading(NO_PEER)

    def resumeProducing(self) -> None:
        """Read again."""
        self._wire.resume_reading(NO_PEER)

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # -- IConsumer: what is written

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a producer paused while too much waits; one that doesn't stream is asked for each piece.

        :raises RuntimeError: when there is one already.
        """
        if self._producer is not None:
            raise RuntimeError(f"{producer!r} can't be registered: {self._producer!r} still is")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer if streaming else _Pulling(producer, self._wire.clock)
        if self._wire.is_full:
            self._producer.pauseProducing()
        elif not streaming:
            self._producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer has nothing more."""
        producer, self._producer = self._producer, None
        if isinstance(producer, _Pulling):
            producer.pauseProducing()
        if not self.connected or producer is None:
            return
        if self.disconnecting:
            self._wire.leave(self._wire.close)
        elif self._quiet:
            self._wire.clock.callLater(0, self._end_writing)

    def full(self) -> None:
        """Too much waits."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def drained(self) -> None:
        """Nothing waits any more."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def gone(self) -> None:
        """There is no connection any more."""
        self.connected = False
        self.disconnecting = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()


class _Pulling:
    """A producer that has to be asked for each piece, as one that streams."""

    __slots__ = ("_call", "_clock", "_producer")

    def __init__(self, producer: Any, clock: Any) -> None:
        self._producer = producer
        self._clock = clock
        self._call: Any = None

    def resumeProducing(self) -> None:
        if self._call is None:
            self._call = self._clock.callLater(0, self._ask)

    def _ask(self) -> None:
        # first the next turn, so that it can be taken back
        self._call = self._clock.callLater(0, self._ask)
        self._producer.resumeProducing()

    def pauseProducing(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def stopProducing(self) -> None:
        self.pauseProducing()
        self._producer.stopProducing()
