"""What a client's connection goes through before TLS is there: ClientHello, choice of certificate, handshake.

Rules of this module:

* there is no other handshake with clients: listeners and the endpoint of our own both come by here;
* we read the ClientHello before OpenSSL does: who is refused costs no OpenSSL object, and no exception in a callback;
* a state is the method that takes the next bytes; when the handshake is done, the connection goes on as another
  :class:`~revproxy.wire.Wire`, with the same transport;
* handshakes that come at once are begun by turns (:mod:`revproxy.turns`);
* one deadline for all of it, from the first moment on, and bounds on every header;
* on a transport that is not Twisted's TCP this stays the transport's protocol, and hands on what comes.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from revproxy.downstream.refusal import plain_refusal
from revproxy.fault import CLIENT_PLAIN_HTTP, TLS_HANDSHAKE, TLS_NAME, TLS_TIMEOUT, Fault
from revproxy.tls.hello import (
    LONGEST,
    UNRECOGNIZED_NAME,
    HelloError,
    HelloReader,
    alert,
    looks_like_http,
    read_hello,
)  # fmt: skip
from revproxy.tls.identity import IdentityError, client_of
from revproxy.tls.session import Session
from revproxy.tls.terminate import Refused, Terminator
from revproxy.wire import NEVER, Wire, ignore

if TYPE_CHECKING:
    from revproxy.http.tlsinfo import ClientIdentity
    from revproxy.tls.certificate import Certificate
    from revproxy.tls.hello import Hello


#: Bytes that may come before a hello is answered: two of the longest.
_EARLY = 2 * LONGEST


class EnteringWire(Wire):
    """A connection on which TLS begins.

    :param refused: called with a fault, the peer and a detail, for the log. :param peer: the client's address, for it.
    :param port: the one that the client connected to, for it to be told. :ivar certificate: the one that is served.
    :ivar server_name: what the client asked for (SNI).

    Subclasses define ``shaken``.
    """

    __slots__ = (
        "_began", "_buffer", "_hello", "_next", "_port", "certificate", "peer", "refused", "server_name", "terminator",
    )  # fmt: skip

    def __init__(
        self,
        clock: Any,
        terminator: Terminator | None,
        refused: Callable[[Fault, str, str], None],
        peer: str,
        port: int,
    ) -> None:
        super().__init__(clock)
        self.terminator = terminator
        self.refused = refused
        self.peer = peer
        self.certificate: Certificate | None = None
        self.server_name: str | None = None
        self._port = port
        self._began = False  # a connection on which nothing came is no news
        self._buffer = b""
        self._hello: HelloReader | None = None  # what came of one in pieces
        self._next: Any = None

    # -- the connection

    def connectionLost(self, reason: Any) -> None:
        following = self._next
        if self.terminator is not None:
            self.terminator.turns.forget(self)
        super().connectionLost(reason)
        if following is not None:
            following.connectionLost(reason)

    def readConnectionLost(self) -> None:
        if self._next is not None:
            self._next.readConnectionLost()
        else:
            self.cut()

    def expired(self) -> None:
        if self._began:
            self.refused(self.late(), self.peer, "")
        self.cut()

    def late(self) -> Fault:
        """Why a connection is cut that takes too long."""
        return TLS_TIMEOUT

    # -- TLS

    def read_hello(self, data: bytes) -> None:
        """What comes is a ClientHello (RFC 8446 4.1.2)."""
        self._began = True
        reader = self._hello
        try:
            if reader is not None:
                hello = reader.feed(data)
                data = bytes(reader.data) if hello is not None else b""
            else:
                hello = read_hello(data)
        except HelloError as e:
            if reader is not None:
                data = bytes(reader.data)
            if looks_like_http(data):
                self.refuse(CLIENT_PLAIN_HTTP, "", answer=plain_refusal(CLIENT_PLAIN_HTTP, self._port))
            else:
                self.refuse(TLS_HANDSHAKE, e.detail, answer=alert(e.alert))
            return
        if hello is None:
            if reader is None:
                self._hello = reader = HelloReader()
                reader.feed(data)
            return
        self._hello = None
        self._buffer = data
        self._answer(hello)

    def _await_turn(self, data: bytes) -> None:
        """What comes is for later: there is a whole hello, and clients wait for its answer."""
        self._buffer += data
        if len(self._buffer) > _EARLY:
            self.refuse(TLS_HANDSHAKE, f"more than {_EARLY} bytes before its hello was answered")

    def _answer(self, hello: Hello) -> None:
        """There is a whole hello."""
        terminator = self.terminator
        assert terminator is not None
        if self.transport is None or self.dataReceived == ignore:
            return
        if not terminator.turns.now():
            self.dataReceived = self._await_turn
            terminator.turns.wait(self, lambda: self._answer(hello))
            return
        data, self._buffer = self._buffer, b""
        try:
            accepted = terminator.accept(hello)
        except Refused as e:
            fault = TLS_NAME if e.alert == UNRECOGNIZED_NAME else TLS_HANDSHAKE
            self.refuse(fault, e.detail, answer=alert(e.alert))
            return
        self.certificate = accepted.certificate
        self.server_name = hello.server_name
        # not self.session: what is sent and received by now are records
        session = Session(accepted.ssl, accepted.incoming, accepted.outgoing)
        self.dataReceived = lambda more: self._shake(session, more)
        self._shake(session, data)

    def _shake(self, session: Session, data: bytes) -> None:
        """What comes is of the handshake."""
        try:
            done = session.shake(data)
        except ssl.SSLError as e:
            self.refuse(TLS_HANDSHAKE, _reason(e), answer=session.pending())
            return
        if session.outgoing.pending:
            self.send(session.pending())
        if not done or self.transport is None:
            return
        if self.certificate is None:  # an ACME authority's, and it was all that was wanted (RFC 8737 3)
            self.dataReceived = ignore
            self.close()
            return
        try:
            assert self.terminator is not None
            client = client_of(session.connection) if self.terminator.asks_certificates else None
        except IdentityError as e:
            self.refuse(TLS_HANDSHAKE, str(e))
            return
        self.shaken(session, client)

    def shaken(self, session: Session, client: ClientIdentity | None) -> None:
        """The handshake is done, with a client that is this one, or nobody."""
        raise NotImplementedError

    # -- and on

    def become(self, following: Wire, session: Session | None = None, data: bytes = b"") -> None:
        """The rest is another's: it takes the transport, and what came already.

        :param session: its TLS. :param data: plain bytes that came, where there is none.
        """
        transport = self.transport
        self._next = following
        self._buffer = b""
        self.deadline = NEVER
        if self._call is not None:
            self._call.cancel()
            self._call = None
            self._due = NEVER
        self._unregister()
        following.session = session
        following.makeConnection(transport)
        self.left()
        # of a transport that calls our doRead no more, this is never asked
        self.dataReceived = following.open if session is not None else lambda more: following.dataReceived(more)
        if session is not None:
            following.open(b"")
        elif data:
            following.dataReceived(data)

    def left(self) -> None:
        """The connection is another's now."""

    def refuse(self, fault: Fault, detail: str, peer: str | None = None, answer: bytes = b"") -> None:
        """One line in the log, a last word where there is one for it, and the end."""
        self.refused(fault, self.peer if peer is None else peer, detail)
        self.dataReceived = ignore
        self._buffer = b""
        self._hello = None
        self._began = False  # it has had its line: being late as well is no news
        if answer:
            self.send(answer)
            self.half_close()  # a reset could overtake it; the deadline ends a peer that does not
        else:
            self.cut()


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's word for what went wrong: ``TLSV1_ALERT_UNKNOWN_CA``."""
    return error.reason or "the peer broke the handshake off"
