"""How a backend is reached: what the operator wrote as an address and a ``tls`` table, as one endpoint.

Rules of this module:

* the stream below is any client endpoint string; TLS on top of it is ours (:mod:`revproxy.upstream.tls`), except
  in ``tls:`` and ``ssl:`` strings, which are Twisted's from end to end;
* what stands before a connection's own bytes (a PROXY header) goes out before the TLS handshake, in the
  clear, and in one write of its own;
* a protocol gets the very transport of its connection, so that plain ones keep their fast path.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from zope.interface import directlyProvides, implementer

from revproxy.config.endpoints import TLS_TYPES, backend_authority, endpoint_address, split_endpoint, stream_endpoint
from revproxy.config.errors import Wrong, show
from revproxy.config.hosts import host_name
from revproxy.config.upstreams import BackendTls
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.tls import TIMEOUT, BackendPeer, connect_tls, is_ip


@implementer(IStreamClientEndpoint)
class BackendEndpoint:
    """Connects to one backend.

    :ivar scheme: ``b"https"`` or ``b"http"``. :ivar authority: ``host:port`` as a Host field says it.
    :ivar peer: our TLS, with the last session; ``None`` where there is none.
    """

    __slots__ = ("_reactor", "_stream", "_timeout", "authority", "peer", "scheme")

    def __init__(
        self, stream: Any, peer: BackendPeer | None, scheme: bytes, authority: bytes, reactor: Any, timeout: float
    ) -> None:
        self._stream = stream
        self._reactor = reactor
        self._timeout = timeout
        self.peer = peer
        self.scheme = scheme
        self.authority = authority

    def connect(self, protocolFactory: Any) -> Deferred[IProtocol]:
        """A connection, with TLS where there is TLS.

        :raises TLSFailed: (as a failure) when the backend is not who it should be, or no handshake came about.
        """
        if self.peer is None:
            plain: Deferred[IProtocol] = self._stream.connect(protocolFactory)
            return plain
        return connect_tls(self.peer, self._stream, protocolFactory, self._reactor, self._timeout)

    def announcing(self, header: bytes) -> BackendEndpoint:
        """The same backend, by connections that send ``header`` before anything else.

        :raises ValueError: for a ``tls:`` or ``ssl:`` endpoint string, below whose TLS nobody gets.
        """
        if self.scheme == b"https" and self.peer is None:
            raise ValueError('nothing can be sent before the handshake of a "tls:" endpoint; write "https://…"')
        stream = _Announcing(self._stream, header)
        return BackendEndpoint(stream, self.peer, self.scheme, self.authority, self._reactor, self._timeout)


def backend_endpoint(
    written: str, tls: BackendTls | Credentials | None, reactor: Any, base: str = ".", timeout: float = TIMEOUT
) -> BackendEndpoint:
    """The endpoint for an address of a backend and the ``tls`` table beside it.

    :param tls: the table, or what :meth:`Credentials.of` made of it, which many backends should share.
    :param base: the folder that relative paths start from.
    :param timeout: seconds for a TLS connection and its handshake, unless it is cancelled before.
    :raises ValueError: when the address is no endpoint, a file can't be used, or there is no name to verify;
        the text is for the operator.
    """
    string, asked = stream_endpoint(written)
    own_tls = split_endpoint(string)[0] in TLS_TYPES
    if tls is not None and own_tls:
        raise ValueError(f'{show(written)} speaks TLS itself and leaves nothing to a "tls" table; write "https://…"')
    found = endpoint_address(string)
    if asked and found is not None and not is_ip(found[0]):
        # other than that of a "tcp:" string, it resolves names to IPv6, too, and tries the next address soon
        stream: Any = HostnameEndpoint(reactor, found[0], found[1])
    else:
        stream = clientFromString(reactor, string)
    secure = asked or tls is not None
    authority = backend_authority(written, secure).encode("ascii")
    if not secure:
        return BackendEndpoint(stream, None, b"https" if own_tls else b"http", authority, reactor, timeout)
    credentials = tls if isinstance(tls, Credentials) else Credentials.of(tls or BackendTls(), base)
    name = credentials.name or (None if found is None else found[0])
    if name is None and not credentials.insecure:
        raise ValueError(f'{show(written)} has no host that a certificate could be for; write tls = {{ name = "…" }}')
    peer = BackendPeer(None if name is None else _name(name), credentials)
    return BackendEndpoint(stream, peer, b"https", authority, reactor, timeout)


def _name(host: str) -> str:
    """A host as certificates say it: no brackets, no zone, no final dot, A-labels."""
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare:
        return bare.partition("%")[0]
    try:
        return host_name(bare)
    except Wrong as wrong:
        raise ValueError(str(wrong)) from None


@implementer(IStreamClientEndpoint)
class _Announcing:
    """A stream whose connections begin with a header."""

    __slots__ = ("_header", "_stream")

    def __init__(self, stream: Any, header: bytes) -> None:
        self._stream = stream
        self._header = header

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        connecting: Deferred[Any] = self._stream.connect(_Announcers(protocolFactory, self._header))
        return connecting.addCallback(_announced)


def _announced(announcer: _Announcer) -> Any:
    return announcer.protocol


@implementer(IProtocolFactory)
class _Announcers:
    __slots__ = ("_factory", "_header")

    def __init__(self, factory: Any, header: bytes) -> None:
        self._factory = factory
        self._header = header

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, address: Any) -> _Announcer:
        protocol = self._factory.buildProtocol(address)
        if protocol is None:
            raise NoProtocol()
        return _Announcer(protocol, self._header)


@implementer(IProtocol)
class _Announcer:
    """Sends the header when the connection is there, and passes on what comes."""

    factory: Any = None

    def __init__(self, protocol: Any, header: bytes) -> None:
        self.protocol = protocol
        self._header = header
        if IHalfCloseableProtocol.providedBy(protocol):
            directlyProvides(self, IHalfCloseableProtocol)

    def makeConnection(self, transport: Any) -> None:
        transport.write(self._header)
        self.protocol.makeConnection(transport)

    def connectionMade(self) -> None:
        """Part of IProtocol; ``makeConnection`` says it all."""

    def dataReceived(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def connectionLost(self, reason: Any) -> None:
        self.protocol.connectionLost(reason)

    def readConnectionLost(self) -> None:
        self.protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self.protocol.writeConnectionLost()
