"""TLS to backends: whom a certificate has to be for, and connections that are there only when that is proved.

Rules of this module:

* ``connect`` fires when the handshake is complete and the certificate is right; until then nothing of
  a request is sent, so that a bad certificate is a connection that never came. A failure is a
  :class:`TLSFailed` with one line for the log;
* a certificate is judged in OpenSSL's own verification, by a callback of ours in place of Twisted's:
  ``optionsForClientTLS`` does not tell why OpenSSL refused, nor see that a session was resumed;
* a resumed session shows no certificate. It is the same backend, for the backend proved the session's secret,
  but not the same time: a session is offered for :data:`SESSION_AGE` at most after its certificate
  was judged, however often it was resumed since, and never longer than the certificate is valid;
* the session is taken when the first bytes come. TLS 1.3 sends its tickets after the handshake, before these;
* what a certificate or an alert says is a stranger's text: it is shortened and quoted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, IProtocol, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.config.errors import show
from revproxy.upstream.credentials import Credentials

#: Seconds that a session may be resumed for after its certificate was judged.
SESSION_AGE = 3600.0
#: Seconds that a connection and its handshake may take together, where nobody is less patient.
TIMEOUT = 30.0

_NAMES = 5  # names of a certificate that are told

_Codes = SSL.X509VerificationCodes
_UNKNOWN_AUTHORITY = frozenset(
    {
        _Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN,
        _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT,
        _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        _Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
    }
)
_REFUSALS = {
    _Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "is self-signed and not among the trusted ones",
    _Codes.ERR_CERT_SIGNATURE_FAILURE: "has a wrong signature",
    _Codes.ERR_INVALID_PURPOSE: "is not for this purpose (see its extended key usage)",
    _Codes.ERR_INVALID_CA: "is not an authority's, or not for issuing certificates",
    _Codes.ERR_CERT_CHAIN_TOO_LONG: "has too long a chain",
    _Codes.ERR_PATH_LENGTH_EXCEEDED: "has too long a chain",
}
_HINTS = {
    "wrong version number": "what answers does not speak TLS",
    "http request": "what answers does not speak TLS",
    "packet length too long": "what answers does not speak TLS",
    "unsupported protocol": "it speaks neither TLS 1.2 nor 1.3",
    "tlsv1 alert protocol version": "it speaks neither TLS 1.2 nor 1.3",
    "tlsv13 alert certificate required": "it wants a client certificate",
    "tlsv1 unrecognized name": "it serves no such name",
}


class TLSFailed(Exception):
    """No TLS connection came of it, or it ended by an alert; ``str()`` is one line for the log."""


class Judge:
    """Judges the certificate of one connection, as OpenSSL's verification calls :meth:`verify`.

    :ivar problem: why it was refused. :ivar judged: whether there was one, that is, no session was resumed.
    :ivar until: Unix time up to which the verdict, or that of the resumed session, is good.
    """

    __slots__ = ("identity", "judged", "name", "offered", "problem", "until")

    def __init__(self, name: str, identity: Any) -> None:
        self.name = name
        self.identity = identity
        self.judged = False
        self.offered = False
        self.problem: str | None = None
        self.until = float("inf")

    def verify(self, connection: Any, certificate: Any, error: int, depth: int, ok: int) -> bool:
        """OpenSSL's question about each certificate of a chain, the authority's first."""
        if not self.judged:
            self.judged = True
            self.until = float("inf")
        try:
            if self.problem is None:
                self.problem = self._problem(certificate, error, depth, ok)
        except Exception as e:  # it would be lost in OpenSSL, or be taken for consent
            self.problem = f"its certificate can't be read: {show(str(e))}"
        return self.problem is None

    def _problem(self, certificate: Any, error: int, depth: int, ok: int) -> str | None:
        if not ok:
            return _refusal(certificate.to_cryptography(), error, depth)
        self.until = min(self.until, certificate.to_cryptography().not_valid_after_utc.timestamp())
        if depth > 0:
            return None
        try:
            patterns = extract_patterns(certificate)
            if not patterns:
                return f"its certificate names no host (it has no subjectAltName); it has to be for {show(self.name)}"
            verify_service_identity(patterns, [self.identity], [])
        except VerificationError:
            return f"its certificate is for {_names(patterns)}, not for {show(self.name)}"
        except CertificateError as e:
            return f"its certificate can't be used: {show(str(e))}"
        return None


@implementer(IOpenSSLClientConnectionCreator)
class BackendPeer:
    """Makes the TLS connections to one backend, and remembers its last session.

    :param name: host name or IP address that the certificate has to be for, and SNI says; ``None`` with
        ``insecure`` only.
    :param now: gives Unix time.
    :raises ValueError: when ``name`` is neither.
    """

    __slots__ = ("_server_name", "_session", "_until", "credentials", "identity", "name", "now")

    def __init__(self, name: str | None, credentials: Credentials, now: Callable[[], float] = time.time) -> None:
        self.name = name or ""
        self.credentials = credentials
        self.now = now
        self._server_name: bytes | None = None
        self.identity: Any = None
        self._session: Any = None
        self._until = 0.0
        if name is not None:
            if is_ip(name):
                self.identity = IPAddress_ID(name)
            else:
                # what RFC 6066, section 3 allows: no addresses, no final dot
                self._server_name = name.encode("ascii")
                self.identity = DNS_ID(name)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        connection = self.credentials.options.clientConnectionForTLS(tlsProtocol)
        judge: Judge = tlsProtocol.wrappedProtocol.judge
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        if not self.credentials.insecure:
            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, judge.verify)
        if self._session is not None and self.now() < self._until:
            connection.set_session(self._session)
            judge.offered = True
            judge.until = self._until
        return connection

    def passed(self, judge: Judge) -> bool:
        """Whether a completed handshake proved who the backend is."""
        return self.credentials.insecure or judge.judged or judge.offered

    def keep(self, connection: Any, judge: Judge) -> None:
        """Remember the session of a connection for the next one."""
        self._session = connection.get_session()
        if judge.judged or not judge.offered:
            self._until = min(self.now() + SESSION_AGE, judge.until)
        else:
            self._until = judge.until


@implementer(IProtocolFactory)
class _Handshakes:
    """Makes the protocols that carry handshakes; the caller's own factory is asked when one is complete."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: _Attempt) -> None:
        self._attempt = attempt

    def doStart(self) -> None:
        self._attempt.factory.doStart()

    def doStop(self) -> None:
        self._attempt.factory.doStop()

    def buildProtocol(self, address: Any) -> _Handshake:
        attempt = self._attempt
        handshake = attempt.handshake = _Handshake(attempt, address)
        return handshake


@implementer(IProtocol, IHandshakeListener)
class _Handshake:
    """Stands where the caller's protocol will be, until the first bytes come."""

    __slots__ = ("address", "attempt", "factory", "judge", "protocol", "transport")

    def __init__(self, attempt: _Attempt, address: Any) -> None:
        self.attempt = attempt
        self.address = address
        self.factory: Any = None
        self.judge = Judge(attempt.peer.name, attempt.peer.identity)
        self.protocol: Any = None
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def connectionMade(self) -> None:
        """Part of IProtocol; there is nobody to tell yet."""

    def handshakeCompleted(self) -> None:
        attempt = self.attempt
        if attempt.made.called:
            self.transport.abortConnection()
        elif not attempt.peer.passed(self.judge):
            attempt.failed(Failure(TLSFailed("it showed no certificate")))
        else:
            try:
                protocol = attempt.factory.buildProtocol(self.address)
            except Exception:
                attempt.failed(Failure())
                return
            if protocol is None:
                attempt.failed(Failure(NoProtocol()))
                return
            self.protocol = protocol
            protocol.makeConnection(self.transport)
            attempt.succeeded(protocol)

    def dataReceived(self, data: bytes) -> None:
        protocol = self.protocol
        if protocol is not None:
            self.attempt.peer.keep(self.transport.getHandle(), self.judge)
            self.transport.wrappedProtocol = protocol  # which makes one frame less for each read
            protocol.dataReceived(data)

    def connectionLost(self, reason: Any) -> None:
        self.transport = None
        why = self.judge.problem or _why(reason.value, self.protocol is not None)
        if why is not None:
            reason = Failure(TLSFailed(why))
        if self.protocol is not None:
            self.protocol.connectionLost(reason)
        else:
            self.attempt.failed(reason)


class _Attempt:
    """One call of ``connect``: fires ``made`` once, and leaves nothing behind."""

    __slots__ = ("_dialling", "_timer", "factory", "handshake", "made", "peer", "timeout")

    def __init__(self, peer: BackendPeer, stream: Any, factory: Any, reactor: Any, timeout: float) -> None:
        self.peer = peer
        self.factory = factory
        self.timeout = timeout
        self.handshake: _Handshake | None = None
        self.made: Deferred[Any] = Deferred(self._cancelled)
        self._timer = reactor.callLater(timeout, self._late)
        handshakes: Any = _Handshakes(self)
        creator: Any = peer
        tls = TLSMemoryBIOFactory(creator, True, handshakes, clock=reactor)
        # not the kind that gathers small writes: ours are whole heads, and need no turn of the reactor more
        tls.protocol = TLSMemoryBIOProtocol
        self._dialling: Deferred[Any] = maybeDeferred(stream.connect, tls)
        self._dialling.addErrback(self.failed)

    def succeeded(self, protocol: Any) -> None:
        self._stop_timer()
        self.handshake = None
        self.made.callback(protocol)

    def failed(self, reason: Failure) -> None:
        if not self.made.called:
            self.made.errback(reason)
        self._give_up()

    def _late(self) -> None:
        what = "connection" if self.handshake is None else "TLS handshake"
        self.failed(Failure(TLSFailed(f"no {what} within {self.timeout:g} s")))

    def _cancelled(self, made: Deferred[Any]) -> None:
        self._give_up()

    def _give_up(self) -> None:
        self._stop_timer()
        handshake, self.handshake = self.handshake, None
        if handshake is None:
            self._dialling.cancel()
        elif handshake.transport is not None:
            handshake.transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer.active():
            self._timer.cancel()


def connect_tls(
    peer: BackendPeer, stream: Any, factory: Any, reactor: Any, timeout: float = TIMEOUT
) -> Deferred[IProtocol]:
    """Connect a protocol over TLS, by a stream endpoint.

    :param timeout: seconds that connection and handshake may take together.
    :returns: fires with the protocol when the handshake is complete and the backend is who it should be.
    :raises TLSFailed: (as a failure) when it is not, or no handshake came about.
    """
    return _Attempt(peer, stream, factory, reactor, timeout).made


def is_ip(name: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(certificate: x509.Certificate, error: int, depth: int) -> str:
    """Why OpenSSL does not take a chain; ``certificate`` is the one that it stopped at."""
    if error in _UNKNOWN_AUTHORITY:
        return f"its certificate comes from an authority that is not trusted: {_called(certificate.issuer)}"
    whose = "its certificate" if depth == 0 else f"its authority's certificate ({_called(certificate.subject)})"
    if error == _Codes.ERR_CERT_HAS_EXPIRED:
        return f"{whose} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    if error == _Codes.ERR_CERT_NOT_YET_VALID:
        return f"{whose} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
    return f"{whose} {_REFUSALS.get(error, f'is refused by OpenSSL (X.509 error {error})')}"


def _called(name: x509.Name) -> str:
    """A name in a certificate: its common name, or all of it."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return show(str(common[0].value) if common else name.rfc4514_string())


def _names(patterns: Any) -> str:
    """What a certificate is for, in a bounded text."""
    names = [_pattern(pattern) for pattern in patterns[:_NAMES]]
    more = len(patterns) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _pattern(pattern: Any) -> str:
    value = getattr(pattern, "pattern", None)
    return show(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or pattern))


def _why(error: BaseException, connected: bool) -> str | None:
    """A lost connection in one line; ``None`` when TLS has nothing to do with it."""
    if isinstance(error, SSL.Error):
        reasons = list(dict.fromkeys(str(entry[-1]) for entry in error.args[0])) if error.args else []
        hints = [_HINTS[reason] for reason in reasons if reason in _HINTS]
        text = show("; ".join(reasons) or "no reason given")
        hint = f": {hints[0]}" if hints else ""
        return f"TLS ended by {text}{hint}" if connected else f"no TLS handshake{hint or ''} ({text})"
    if connected:
        return None
    if isinstance(error, (ConnectionDone, ConnectionLost)):
        return "no TLS handshake: it closed the connection"
    return None
