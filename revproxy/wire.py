"""One end of a connection: what the client side and the backend side share below HTTP.

Rules of this module:

* it is the one place that uses private names of Twisted's transports, and only of TCP and Unix ones.
  ``_tempDataBuffer`` and ``dataBuffer`` tell whether anything waits to be sent; when nothing does,
  sending on the socket at once saves a turn through epoll and two ``epoll_ctl`` calls, and
  ``doRead`` is replaced by one that has no frames between the reactor and us: together 99 -> 61 us
  CPU for a proxied 1 KiB request. Any other transport (TLS, wrappers, memory) is used as it is;
* reading is paused by reasons, one bit each, and goes on when no reason is left;
* a connection has one timer. Moving its deadline later is one attribute write (0.6 us where
  ``callLater`` and ``cancel`` take 4): the timer finds out when it fires;
* TLS of our own (:mod:`revproxy.tls.session`) is a step on the way in and one on the way out: what is
  counted and queued here is what is on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from socket import IPPROTO_TCP, MSG_PEEK, TCP_NODELAY
from ssl import SSLError
from typing import TYPE_CHECKING, Any

from twisted.internet import main, tcp
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from revproxy.tls.session import Session

try:
    from fcntl import ioctl
    from struct import unpack
    from termios import TIOCOUTQ

    _unsent_request: int | None = TIOCOUTQ
except ImportError:  # not a Unix: what the kernel holds stays unknown
    _unsent_request = None

NEVER = float("inf")
_DONE = Failure(main.CONNECTION_DONE)
#: Bytes of one read.
READ = 64 * 1024
#: Requests of one read that are begun before other connections get their turn: a millisecond or two, since a hundred
#: connections may do the same.
AT_ONCE = 8

# Why reading is paused.
PEER_FULL = 1 << 0  # the other side can't take more
NO_PEER = 1 << 1  # there is no other side yet
HOOK = 1 << 2  # a hook waits for something
QUEUED = 1 << 3  # enough of what comes after this exchange is held
FILTER = 1 << 4  # what came is being worked on in a thread


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Wire:
    """A protocol that sends at once, pauses by reason and has one deadline.

    ``dataReceived`` is an attribute: assigning a method to it *is* the change of state.
    ``is_full`` says that more waits to be sent than should. ``session`` is the TLS it speaks, once
    its handshake is done, or ``None``.
    Subclasses define ``connected``, ``lost``, ``half_closed``, ``expired``, ``full`` and ``drained``.
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_due",
        "_pausing",
        "_raw_send",
        "_recv",
        "_registered",
        "bytes_out",
        "clock",
        "dataReceived",
        "deadline",
        "flushed",
        "is_full",
        "session",
        "transport",
    )

    factory: Any = None

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.transport: Any = None
        self.dataReceived: Callable[[bytes], None] = ignore
        self.deadline = NEVER
        self.bytes_out = 0
        self.flushed = 0
        self.is_full = False
        self.session: Session | None = None
        self._due = NEVER
        self._call: Any = None
        self._pausing = 0
        self._raw_send: Callable[[bytes], int] | None = None
        self._recv: Any = None
        self._registered = False

    # -- Twisted's names

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        if isinstance(transport, tcp.Connection) and not transport.TLS:
            self._raw_send = transport.socket.send
            self._recv = transport.socket.recv
            # an endpoint's wrapping protocol may stand between; and no frame is the fastest frame
            untyped: Any = transport
            untyped.protocol = self
            untyped.doRead = self._do_read if self.session is None else self._do_read_sealed
            with suppress(OSError):  # a Unix socket has no such delay
                transport.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        else:
            no_delay = getattr(transport, "setTcpNoDelay", None)
            if no_delay is not None:
                no_delay(True)
        self.connected()

    def _do_read(self) -> Any:
        recv = self._recv  # not self._recv(…): calling what a slot holds by its name takes the slow way
        try:
            data = recv(READ)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        take = self.dataReceived
        take(data)
        return None

    def _do_read_sealed(self) -> Any:
        recv = self._recv
        try:
            data = recv(READ)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        self.open(data)
        return None

    def open(self, data: bytes) -> None:
        """Bytes of the TLS connection came; at first ``b""``, for what came with the handshake."""
        session = self.session
        if session is None:
            return
        try:
            plain = session.open(data)
        except SSLError:
            self.send(session.pending(), True)  # an alert says what was wrong
            self.cut()
            return
        if session.outgoing.pending:
            self.send(session.pending(), True)
        if plain:
            take = self.dataReceived
            take(plain)
        if session.ended and self.session is session:
            session.ended = False
            self.half_closed()

    def connectionMade(self) -> None:
        """Part of IProtocol; :meth:`makeConnection` calls :meth:`connected` itself."""

    def connectionLost(self, reason: Any) -> None:
        self._raw_send = self._recv = None
        self.deadline = NEVER
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.lost(reason)
        self.dataReceived = ignore
        self.transport = self.session = None

    def readConnectionLost(self) -> None:
        self.half_closed()

    def writeConnectionLost(self) -> None:
        """Our own half-close went out; nothing follows from it."""

    def pauseProducing(self) -> None:
        self.is_full = True
        self.full()

    def resumeProducing(self) -> None:
        self.flushed = self.bytes_out
        self.is_full = False
        self.drained()

    def stopProducing(self) -> None:
        """The transport is going away: ``connectionLost`` says so too."""

    # -- sending

    def send(self, data: bytes, sealed: bool = False) -> bool:
        """Send now what the kernel takes and queue the rest; ``False`` when the peer is gone.

        ``False`` means that none of ``data`` was taken.

        :param sealed: it is TLS records already.
        """
        transport = self.transport
        if transport is None:
            return False
        session = self.session
        if session is not None and not sealed:
            try:
                data = session.seal(data)
            except SSLError:
                return False
        self.bytes_out += len(data)
        raw_send = self._raw_send
        if raw_send is not None and not transport._tempDataBuffer and not transport.dataBuffer:
            try:
                sent = raw_send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            if sent == len(data):
                return True
            data = data[sent:]
        if not self._registered:
            self._registered = True
            transport.registerProducer(self, True)
        transport.write(data)
        return True

    def send_both(self, head: bytes, body: bytes) -> bool:
        """As :meth:`send` of the two together, without making one of them: for a large ``body``."""
        transport = self.transport
        if (
            self._raw_send is None
            or self.session is not None
            or transport is None
            or transport._tempDataBuffer
            or transport.dataBuffer
        ):
            return self.send(head + body)
        try:
            sent = transport.socket.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        self.bytes_out += len(head) + len(body)
        left = len(head) + len(body) - sent
        if left:
            if not self._registered:
                self._registered = True
                transport.registerProducer(self, True)
            transport.write(body[-left:] if left <= len(body) else head[sent:] + body)
        return True

    def unsent(self) -> int:
        """Bytes that were sent but did not reach the peer yet, as far as can be told."""
        waiting = self.queued()
        if _unsent_request is not None and self._raw_send is not None:
            waiting += unpack("i", ioctl(self.transport.fileno(), _unsent_request, b"\0\0\0\0"))[0]
        return waiting

    def queued(self) -> int:
        """Bytes that wait in this process; where the transport can't tell, those since it last was empty."""
        transport = self.transport
        if self._raw_send is None:
            return self.bytes_out - self.flushed
        waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return waiting

    def stale(self) -> bool:
        """Whether the peer has closed (or sent something) without our having read it yet."""
        if self._raw_send is None:
            return self.transport is None
        try:
            self.transport.socket.recv(1, MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def half_close(self) -> None:
        """Say that nothing more will be sent, once what is queued has gone out."""
        if self.transport is not None:
            if self.session is not None:
                self.send(self.session.close(), True)
            self._unregister()
            lose = (
                None
                if ISSLTransport.providedBy(self.transport)
                else getattr(self.transport, "loseWriteConnection", None)
            )
            if lose is None:
                # TLS has no half-close here. Not now: it may be giving us bytes, and would stumble over its own end
                self.clock.callLater(0, self.close)
            else:
                lose()

    def close(self) -> None:
        """Close once what is queued has gone out; at once, when nothing is."""
        if self.session is not None:
            self.send(self.session.close(), True)
        transport = self.transport
        if transport is None:
            return
        self._unregister()
        if self._raw_send is not None and not transport._tempDataBuffer and not transport.dataBuffer:
            # what loseConnection comes to after a turn through epoll
            transport.connectionLost(_DONE)
        else:
            transport.loseConnection()

    def cut(self) -> None:
        """Close at once; what is queued is lost and the peer can tell."""
        if self.transport is not None:
            self._unregister()
            self.transport.abortConnection()

    def _unregister(self) -> None:
        if self._registered:
            self._registered = False
            self.transport.unregisterProducer()

    # -- reading

    def pause_reading(self, why: int) -> None:
        """Stop reading for a reason (a bit)."""
        if not self._pausing and self.transport is not None:
            self.transport.pauseProducing()
        self._pausing |= why

    def resume_reading(self, why: int) -> None:
        """That reason is gone; reading goes on when none is left."""
        if self._pausing & why:
            self._pausing &= ~why
            if not self._pausing and self.transport is not None:
                self.transport.resumeProducing()

    # -- the one timer

    def set_deadline(self, seconds: float) -> None:
        """``expired`` is called in ``seconds``, unless the deadline moves."""
        at = self.deadline = self.clock.seconds() + seconds
        if at < self._due:
            if self._call is not None:
                self._call.cancel()  # to move it would be a search through the timers of all connections
            self._call = self.clock.callLater(seconds, self._fire)
            self._due = at

    def _fire(self) -> None:
        self._call = None
        self._due = NEVER
        left = self.deadline - self.clock.seconds()
        if left <= 0:
            self.deadline = NEVER
            self.expired()
        elif left != NEVER:
            self._due = self.deadline
            self._call = self.clock.callLater(left, self._fire)

    # -- what subclasses say

    def connected(self) -> None:
        """The connection is there."""

    def lost(self, reason: Any) -> None:
        """The connection is gone, in both directions."""

    def half_closed(self) -> None:
        """The peer will send nothing more."""

    def expired(self) -> None:
        """The deadline passed."""

    def full(self) -> None:
        """Too much waits to be sent."""

    def drained(self) -> None:
        """Nothing waits to be sent any more."""


def ignore(data: bytes) -> None:
    """The ``dataReceived`` of a connection whose bytes nobody wants any more."""
