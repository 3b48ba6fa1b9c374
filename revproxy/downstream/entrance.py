"""What a client's connection goes through before HTTP begins: PROXY header, ClientHello, handshake, protocol.

Rules of this module:

* a state is the method that takes the next bytes, as in :mod:`~revproxy.downstream.http1`; what was
  decided ends here, and the connection goes on as one for HTTP/1.1 or HTTP/2, with the same transport;
* we read the ClientHello before OpenSSL does: who is refused costs no OpenSSL object, and no exception in a callback;
* one deadline for all of it, from the first moment on, and bounds on every header;
* on a transport that is not Twisted's TCP this stays the transport's protocol, and hands on what comes.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from attrs import evolve

from revproxy.downstream.http1 import ClientConnection
from revproxy.downstream.http2 import Http2Connection
from revproxy.downstream.refusal import plain_refusal
from revproxy.fault import (
    CLIENT_HEAD_TIMEOUT,
    CLIENT_PLAIN_HTTP,
    TLS_HANDSHAKE,
    TLS_NAME,
    TLS_TIMEOUT,
    Fault,
    ProtocolError,
)
from revproxy.http.h2frames import PREFACE
from revproxy.http.message import Arrival
from revproxy.http.proxyread import read_proxy
from revproxy.http.tlsinfo import TlsInfo
from revproxy.tls.hello import UNRECOGNIZED_NAME, HelloError, alert, looks_like_http, read_hello
from revproxy.tls.identity import IdentityError, client_of
from revproxy.tls.session import Session
from revproxy.tls.terminate import Refused
from revproxy.wire import NEVER, Wire, ignore

if TYPE_CHECKING:
    from revproxy.downstream.factory import ClientFactory
    from revproxy.tls.certificate import Certificate


class Entrance(Wire):
    """A connection of which it is not known yet what will be spoken on it.

    :param factory: the listener's. :param arrival: where the connection came from, as far as the kernel says.
    """

    __slots__ = (
        "_began", "_buffer", "_certificate", "_hello_name", "_next", "arrival", "engine", "listener", "peer",
    )  # fmt: skip

    def __init__(self, factory: ClientFactory, arrival: Arrival) -> None:
        super().__init__(factory.engine.reactor)
        self.listener = factory
        self.engine = factory.engine
        self.arrival = arrival
        self.peer = arrival.peer
        self._began = False  # a connection on which nothing came is no news
        self._buffer = b""
        self._next: Any = None
        self._certificate: Certificate | None = None
        self._hello_name: str | None = None

    # -- the connection

    def connected(self) -> None:
        self.engine.opened(self, self.peer)
        listener = self.listener
        self.set_deadline(listener.patience)
        if listener.proxied is not None and listener.proxied(self.peer):
            self.dataReceived = self._read_proxy
        else:
            self._after_proxy()

    def connectionLost(self, reason: Any) -> None:
        following = self._next
        super().connectionLost(reason)
        if following is not None:
            following.connectionLost(reason)

    def lost(self, reason: Any) -> None:
        if self._next is None:
            self.engine.closed(self, self.peer)

    def readConnectionLost(self) -> None:
        if self._next is not None:
            self._next.readConnectionLost()
        else:
            self.cut()

    def writeConnectionLost(self) -> None:
        """Nothing follows from it."""

    def expired(self) -> None:
        late = CLIENT_HEAD_TIMEOUT if self.listener.terminator is None else TLS_TIMEOUT
        if self._began:
            self.engine.refused(late, self.peer)
        self.cut()

    def stop(self) -> None:
        """No more requests: there was none yet."""
        self.cut()

    stopped = stop

    # -- the PROXY protocol

    def _read_proxy(self, data: bytes) -> None:
        """What comes is a PROXY header."""
        self._began = True
        data = self._buffer + data
        try:
            said = read_proxy(data)
        except ProtocolError as e:
            self._refuse(e.fault, e.detail)
            return
        if said is None:
            self._buffer = data
            return
        self._buffer = b""
        if said.source is not None:
            bans = self.engine.bans
            if bans is not None and bans.holds(said.source[0]):
                self.dataReceived = ignore
                self.cut()
                return
            refused = self.engine.refuses(said.source[0])
            if refused is not None:
                self._refuse(refused, "", said.source[0])
                return
            self.arrival = self.listener.arrival_of(*said.source)
        self._after_proxy()
        if data[said.size :]:
            self.dataReceived(data[said.size :])

    def _after_proxy(self) -> None:
        if self.listener.terminator is not None:
            self.dataReceived = self._read_hello
        elif self.listener.negotiates:
            self.dataReceived = self._read_negotiated
        elif self.listener.http2:
            self.dataReceived = self._read_preface
        else:
            self._become(ClientConnection(self.engine, self.arrival))

    # -- TLS

    def _read_hello(self, data: bytes) -> None:
        """What comes is a ClientHello (RFC 8446 4.1.2)."""
        self._began = True
        data = self._buffer + data
        try:
            hello = read_hello(data)
        except HelloError as e:
            if looks_like_http(data):
                self._refuse(CLIENT_PLAIN_HTTP, "", answer=plain_refusal(CLIENT_PLAIN_HTTP, self.listener.port))
            else:
                self._refuse(TLS_HANDSHAKE, e.detail, answer=alert(e.alert))
            return
        if hello is None:
            self._buffer = data
            return
        self._buffer = b""
        assert self.listener.terminator is not None
        try:
            accepted = self.listener.terminator.accept(hello)
        except Refused as e:
            fault = TLS_NAME if e.alert == UNRECOGNIZED_NAME else TLS_HANDSHAKE
            self._refuse(fault, e.detail, answer=alert(e.alert))
            return
        self._certificate = accepted.certificate
        self._hello_name = hello.server_name
        # not self.session: what is sent and received by now are records
        session = Session(accepted.ssl, accepted.incoming, accepted.outgoing)
        self.dataReceived = lambda more: self._shake(session, more)
        self._shake(session, data)

    def _shake(self, session: Session, data: bytes) -> None:
        """What comes is of the handshake."""
        try:
            done = session.shake(data)
        except ssl.SSLError as e:
            self._refuse(TLS_HANDSHAKE, _reason(e), answer=session.pending())
            return
        if session.outgoing.pending:
            self.send(session.pending())
        if not done or self.transport is None:
            return
        connection = session.connection
        protocol = connection.selected_alpn_protocol()
        if protocol == "acme-tls/1":  # the certificate was all that was wanted (RFC 8737 3)
            self.dataReceived = ignore
            self.close()
            return
        try:
            client = client_of(connection) if self.listener.asks_certificates else None
        except IdentityError as e:
            self._refuse(TLS_HANDSHAKE, str(e))
            return
        cipher = connection.cipher()
        info = TlsInfo(
            server_name=self._hello_name,
            version=connection.version() or "",
            cipher=cipher[0] if cipher else "",
            protocol=protocol or "",
            certificate=self._certificate,
            client=client,
        )
        self.arrival = evolve(self.arrival, tls=info, hsts=self.listener.hsts)
        kind = Http2Connection if protocol == "h2" else ClientConnection
        self._become(kind(self.engine, self.arrival), session)

    def _read_negotiated(self, data: bytes) -> None:
        """The first bytes on a TLS transport that is not ours: it knows what was negotiated."""
        protocol = getattr(self.transport, "negotiatedProtocol", None)
        kind = Http2Connection if protocol == b"h2" else ClientConnection
        self._become(kind(self.engine, self.arrival), None, data)

    # -- cleartext

    def _read_preface(self, data: bytes) -> None:
        """What comes begins HTTP/2 with prior knowledge (RFC 9113 3.3), or is HTTP/1.1."""
        data = self._buffer + data
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self._become(ClientConnection(self.engine, self.arrival), None, data)
        elif len(data) >= len(PREFACE):
            self._become(Http2Connection(self.engine, self.arrival), None, data)
        else:
            self._buffer = data

    # -- and on

    def _become(self, connection: Any, session: Session | None = None, data: bytes = b"") -> None:
        """The rest is another's: it takes the transport, and what came already."""
        transport = self.transport
        self._next = connection
        self._buffer = b""
        self.deadline = NEVER
        if self._call is not None:
            self._call.cancel()
            self._call = None
            self._due = NEVER
        self._unregister()
        connection.session = session
        connection.makeConnection(transport)
        self.engine.closed(self, self.peer)
        # of a transport that calls our doRead no more, this is never asked
        self.dataReceived = connection.open if session is not None else lambda more: connection.dataReceived(more)
        if session is not None:
            connection.open(b"")
        elif data:
            connection.dataReceived(data)

    def _refuse(self, fault: Fault, detail: str, peer: str | None = None, answer: bytes = b"") -> None:
        """One line in the log, a last word where there is one for it, and the end."""
        self.engine.refused(fault, self.arrival.peer if peer is None else peer, detail)
        self.dataReceived = ignore
        self._buffer = b""
        if answer:
            self.send(answer)
            self.half_close()  # a reset could overtake it; the deadline ends a peer that does not
        else:
            self.cut()


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's word for what went wrong: ``TLSV1_ALERT_UNKNOWN_CA``."""
    return error.reason or "the peer broke the handshake off"
