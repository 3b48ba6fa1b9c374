"""What a client's connection goes through before HTTP begins: PROXY header, TLS, protocol.

Rules of this module:

* a state is the method that takes the next bytes, as in :mod:`~revproxy.downstream.http1`; what was
  decided ends here, and the connection goes on as one for HTTP/1.1 or HTTP/2, with the same transport;
* whose connection it is decides what it counts for: behind a PROXY header it is the client's, and nobody's before;
* TLS is :mod:`revproxy.tls.entering`'s; the deadline is one for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from revproxy.downstream.http1 import ClientConnection
from revproxy.downstream.http2 import Http2Connection
from revproxy.downstream.refusal import too_many
from revproxy.fault import CLIENT_HEAD_TIMEOUT, TLS_TIMEOUT, Fault, ProtocolError
from revproxy.http.h2frames import PREFACE
from revproxy.http.message import Arrival
from revproxy.http.proxyread import read_proxy
from revproxy.http.tlsinfo import ClientIdentity, TlsInfo
from revproxy.tls.entering import EnteringWire
from revproxy.tls.session import Session

if TYPE_CHECKING:
    from revproxy.downstream.factory import ClientFactory


class Entrance(EnteringWire):
    """A connection of which it is not known yet what will be spoken on it.

    :param factory: the listener's. :param arrival: where the connection came from, as far as the kernel says.
    """

    __slots__ = ("_counted", "arrival", "engine", "listener")

    def __init__(self, factory: ClientFactory, arrival: Arrival) -> None:
        engine = factory.engine
        super().__init__(engine.reactor, factory.terminator, engine.refused, arrival.peer, factory.port)
        self.listener = factory
        self.engine = engine
        self.arrival = arrival
        # as whose the connection is counted
        self._counted = None if factory.proxied is not None and factory.proxied(arrival.peer) else arrival.peer

    # -- the connection

    def connected(self) -> None:
        self.engine.opened(self, self._counted)
        self.set_deadline(self.listener.patience)
        if self._counted is None:
            self.dataReceived = self._read_proxy
        else:
            self._after_proxy()

    def left(self) -> None:
        self.engine.closed(self, self._counted)

    def lost(self, reason: Any) -> None:
        if self._next is None:
            self.left()

    def late(self) -> Fault:
        return CLIENT_HEAD_TIMEOUT if self.terminator is None else TLS_TIMEOUT

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
            self.refuse(e.fault, e.detail)
            return
        if said is None:
            self._buffer = data
            return
        self._buffer = b""
        if said.source is not None:
            bans = self.engine.bans
            if bans is not None and bans.holds(said.source[0]):
                self.cut()
                return
            self.arrival = self.listener.arrival_of(*said.source)
            self.peer = self.arrival.peer
        refused = self.engine.crowded(self.peer)
        if refused is not None:
            self.refuse(refused, "", answer=b"" if self.listener.scheme == b"https" else too_many(refused))
            return
        self._counted = self.peer
        self.engine.opened(self, self.peer)
        self._after_proxy()
        if data[said.size :]:
            self.dataReceived(data[said.size :])

    def _after_proxy(self) -> None:
        if self.terminator is not None:
            self.dataReceived = self.read_hello
        elif self.listener.negotiates:
            self.dataReceived = self._read_negotiated
        elif self.listener.http2:
            self.dataReceived = self._read_preface
        else:
            self.become(ClientConnection(self.engine, self.arrival))

    # -- TLS

    def shaken(self, session: Session, client: ClientIdentity | None) -> None:
        connection = session.connection
        protocol = connection.selected_alpn_protocol()
        cipher = connection.cipher()
        info = TlsInfo(
            server_name=self.server_name,
            version=connection.version() or "",
            cipher=cipher[0] if cipher else "",
            protocol=protocol or "",
            certificate=self.certificate,
            client=client,
        )
        self.arrival = evolve(self.arrival, tls=info, hsts=self.listener.hsts)
        kind = Http2Connection if protocol == "h2" else ClientConnection
        self.become(kind(self.engine, self.arrival), session)

    def _read_negotiated(self, data: bytes) -> None:
        """The first bytes on a TLS transport that is not ours: it knows what was negotiated."""
        protocol = getattr(self.transport, "negotiatedProtocol", None)
        kind = Http2Connection if protocol == b"h2" else ClientConnection
        self.become(kind(self.engine, self.arrival), None, data)

    # -- cleartext

    def _read_preface(self, data: bytes) -> None:
        """What comes begins HTTP/2 with prior knowledge (RFC 9113 3.3), or is HTTP/1.1."""
        data = self._buffer + data
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self.become(ClientConnection(self.engine, self.arrival), None, data)
        elif len(data) >= len(PREFACE):
            self.become(Http2Connection(self.engine, self.arrival), None, data)
        else:
            self._buffer = data
