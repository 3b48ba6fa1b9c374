"""One active check of one backend: a request, a connection or a TLS handshake.

Rules of this module:

* a check has a connection of its own, shares none with the traffic, and closes it as soon as its
  verdict is known. Closing gracefully may take what is left of the timeout, then it is cut: TLS
  waits for a peer that may be silent;
* a check never fails: whatever happens becomes ``None`` or a short reason for the log, and what is
  our own doing is told apart from what is the backend's;
* the verdict does not depend on how the bytes were cut: a body is searched once, when it has ended
  or its first 64 KB are there;
* what the backend sends is parsed as its answers to the traffic are, within the same bounds.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from time import perf_counter
from typing import Any

from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    ConnectionDone,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError as ConnectTimeoutError,
    UnknownHostError,
)
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.config.upstreams import HealthCheck
from revproxy.fault import BACKEND_BAD_BODY, ProtocolError
from revproxy.http.h1 import CHUNKED, UNTIL_CLOSE, ChunkedReader, find_flaw, parse_response, response_framing
from revproxy.upstream.http1 import FIELDS, HEAD, INTERIMS

AGENT = "revproxy-health"  # what User-Agent says
BODY = 64 * 1024  # bytes of a body in which its pattern is looked for
_REASON = 160  # characters of a reason
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

# What a check waits for; reasons are made of these words.
_CONNECTION = "connection"
_HANDSHAKE = "TLS handshake"
_ANSWER = "answer"
_REST = "end of the answer"


class NoVerdict(str):
    """The reason of a check that says nothing of the backend: it was stopped, or we have no descriptors left."""

    __slots__ = ()


_STOPPED = NoVerdict("stopped")


def check_request(written: HealthCheck, host: bytes) -> bytes:
    """The request of an ``http`` check. A written field takes the place of ours with its name.

    :param host: what Host says unless ``written.host`` is set.
    """
    ours = {
        "Host": host.decode("ascii") if written.host is None else written.host,
        "User-Agent": AGENT,
        "Connection": "close",
    }
    if written.method in _WITH_BODY:
        ours["Content-Length"] = "0"  # RFC 9110 8.6
    names = {name.lower() for name in written.headers}
    fields = [(name, value) for name, value in ours.items() if name.lower() not in names]
    lines = [f"{written.method} {written.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (*fields, *written.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("utf-8")


_PIECE = 1024  # bytes of a line that are looked at together
_PATIENCE = 0.02  # seconds that looking may take, give or take a piece
#: Seconds for a check, where none are written and the interval is not shorter.
_TIMEOUT = 2.0


class Check:
    """Checks one backend, as often as :meth:`run` is called.

    :param endpoint: a stream client endpoint; for ``type = "tls"`` one that speaks TLS.
    :param reactor: an ``IReactorTime``.
    :param host: what Host says unless ``written.host`` is set.
    :raises re.error: when ``written.body`` is no regular expression for bytes.
    """

    __slots__ = ("_attempt", "_endpoint", "_reactor", "_statuses", "pattern", "request", "timeout", "written")

    def __init__(self, written: HealthCheck, endpoint: IStreamClientEndpoint, reactor: Any, host: bytes) -> None:
        self.written = written
        self.timeout = min(_TIMEOUT, written.interval) if written.timeout is None else written.timeout
        self.request = check_request(written, host)
        self.pattern = None if written.body is None else re.compile(written.body.encode("utf-8"))
        bounds = [text.partition("-") for text in written.status]
        self._statuses = [(int(low), int(high or low)) for low, _, high in bounds]
        self._endpoint = endpoint
        self._reactor = reactor
        self._attempt: _Attempt | None = None

    def run(self) -> Deferred[str | None]:
        """Check once. Fires with ``None`` when it passed, else with the reason; never fails.

        A reason that is a :class:`NoVerdict` does not count. Cancelling cuts the connection and fires with
        one of these. Not to be called while a check runs.
        """
        attempt = self._attempt = _Attempt(self, self._reactor)
        attempt.dial(self._endpoint)
        return attempt.verdict

    def stop(self) -> None:
        """Cut the connection there is; a check that runs fires with a :class:`NoVerdict`."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.settle(_STOPPED, cut=True)

    def expects(self, status: int) -> bool:
        """Whether ``status`` passes."""
        return any(low <= status <= high for low, high in self._statuses)


class _Connector(Factory):
    noisy = False

    def __init__(self, attempt: _Attempt) -> None:
        self.attempt = attempt

    def buildProtocol(self, address: Any) -> _Attempt | None:
        return None if self.attempt.over or self.attempt.transport is not None else self.attempt


@implementer(IHandshakeListener)
class _Attempt(Protocol):
    """One check while it runs. ``_take`` is the method that takes the next bytes."""

    def __init__(self, check: Check, reactor: Any) -> None:
        self.check = check
        self.over = False
        self.transport: Any = None
        self.verdict: Deferred[str | None] = Deferred(lambda _: self.settle(_STOPPED, cut=True))
        self._awaits = _CONNECTION
        self._dialling: Deferred[Any] | None = None
        self._take: Callable[[bytes], None] = self._read_head
        self._buffer = b""
        self._body = bytearray()
        self._left = 0  # bytes of the body still to come
        self._chunks: ChunkedReader | None = None
        self._interims = 0
        self._shaken = False
        self._timer = reactor.callLater(check.timeout, self._late)

    def dial(self, endpoint: Any) -> None:
        # with TLS of ours a connection is there when its handshake is over
        self._shaken = getattr(endpoint, "peer", None) is not None
        try:
            self._dialling = endpoint.connect(_Connector(self))
        except Exception as e:  # an endpoint of somebody else's
            self.settle(why_unconnected(e))
        else:
            self._dialling.addErrback(self._unconnected)

    def _unconnected(self, failure: Failure) -> None:
        self.settle(why_unconnected(failure.value))

    def settle(self, reason: str | None, *, cut: bool = False) -> None:
        """The verdict; the connection is closed, or cut, which it may be afterwards, too."""
        if self.transport is None:
            self._stop_timer()
        elif cut:
            self._stop_timer()
            self.transport.abortConnection()
        elif not self.over:
            self.transport.loseConnection()
        if self.over:
            return
        self.over = True
        if self.transport is None and self._dialling is not None:
            self._dialling.cancel()
        self._buffer = b""
        self._body = bytearray()
        self.verdict.callback(reason)

    def _stop_timer(self) -> None:
        if self._timer.active():
            self._timer.cancel()

    def _late(self) -> None:
        self.settle(f"no {self._awaits} within {self.check.timeout:g} s", cut=True)

    # -- Twisted's names

    def connectionMade(self) -> None:
        kind = self.check.written.type
        if kind == "tcp" or (kind == "tls" and self._shaken):
            self.settle(None)
            return
        self._awaits = _HANDSHAKE if kind == "tls" or ISSLTransport.providedBy(self.transport) else _ANSWER
        if kind == "http":
            self.transport.write(self.check.request)

    def handshakeCompleted(self) -> None:
        if self.check.written.type == "tls":
            self.settle(None)
        elif self._awaits == _HANDSHAKE:
            self._awaits = _ANSWER

    def dataReceived(self, data: bytes) -> None:
        if self.over or self.check.written.type != "http":
            return
        try:
            self._take(data)
        except ProtocolError as e:
            self.settle(_short(e.detail or e.fault.word), cut=True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        self._stop_timer()
        if self.over:
            return
        clean = reason.check(ConnectionDone) is not None
        if clean and self._take == self._read_to_close:
            self._judge()
        elif clean or reason.check(ConnectionClosed):
            self.settle(f"{'closed' if clean else 'cut'} before the {self._awaits}")
        else:
            self.settle(why_no_tls(reason.value))

    # -- the answer

    def _read_head(self, data: bytes) -> None:
        self._awaits = _REST
        data = self._buffer + data
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > HEAD:
                if len(data) > HEAD:
                    self.settle(f"head over {HEAD} bytes", cut=True)
                elif data and find_flaw(data):
                    self.settle("bare CR or LF, or NUL, in a head", cut=True)
                else:
                    self._buffer = data
                return
            response, minor = parse_response(data[:end], FIELDS)
            data = data[end + 4 :]
            if response.status >= 200 or response.status == 101:
                break
            self._interims += 1
            if self._interims > INTERIMS:
                self.settle(f"more than {INTERIMS} interim responses", cut=True)
                return
        self._buffer = b""
        size = 0 if response.status == 101 else response_framing(response, self.check.written.method.encode(), minor)
        if not self.check.expects(response.status):
            self.settle(f"status {response.status}")
        elif self.check.pattern is None:
            self.settle(None)
        elif size == 0:
            self._judge()
        else:
            self._left = size
            if size == CHUNKED:
                self._chunks = ChunkedReader(BACKEND_BAD_BODY)
                self._take = self._read_chunks
            else:
                self._take = self._read_to_close if size == UNTIL_CLOSE else self._read_length
            if data:
                self._take(data)

    def _read_length(self, data: bytes) -> None:
        self._body += data[: self._left]
        self._left -= len(data)
        if self._left <= 0 or len(self._body) >= BODY:
            self._judge()

    def _read_chunks(self, data: bytes) -> None:
        assert self._chunks is not None
        self._body += self._chunks.feed(data)
        if self._chunks.done or len(self._body) >= BODY:
            self._judge()

    def _read_to_close(self, data: bytes) -> None:
        self._body += data
        if len(self._body) >= BODY:
            self._judge()

    def _judge(self) -> None:
        """What is to be seen of the body is there."""
        pattern = self.check.pattern
        if pattern is None or _is_in(pattern, bytes(self._body[:BODY])):
            self.settle(None)
        else:
            self.settle(_short(f"body without {self.check.written.body!r}"))


def _is_in(pattern: re.Pattern[bytes], body: bytes) -> bool:
    """Whether a line of a body has what is looked for.

    A pattern may take time that grows with the square of a text, or worse: it is looked for in pieces of lines that
    overlap by half, for ``_PATIENCE`` seconds in all.
    """
    until = perf_counter() + _PATIENCE
    for line in body.split(b"\n"):
        for at in range(0, max(1, len(line) - _PIECE // 2), _PIECE // 2):
            if pattern.search(line[at : at + _PIECE]):
                return True
            if perf_counter() > until:
                return False
    return False


#: Errors whose number says nothing, or that need none.
_CONNECTING: tuple[tuple[type[Exception], str], ...] = (
    (DNSLookupError, "host not found"),
    (UnknownHostError, "host not found"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectTimeoutError, "connection timed out"),
    (CancelledError, "connecting was cancelled"),
)
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # errors that are no backend's doing


def why_unconnected(error: BaseException | None) -> str:
    """Why no connection came, in the log's words."""
    for kind, words in _CONNECTING:
        if isinstance(error, kind):
            return words
    # a Unix socket's endpoint may fail with the system's own error
    number = error.osError if isinstance(error, ConnectError) else getattr(error, "errno", None)
    if isinstance(number, int):
        words = os.strerror(number).lower()
        return NoVerdict(words) if number in _OURS else words
    return _short(str(error) or type(error).__name__)


def why_no_tls(error: BaseException | None) -> str:
    """Why a connection ended otherwise than by being closed: TLS, as far as we know."""
    if isinstance(error, VerificationError):
        return "TLS: the certificate is for another name"
    if isinstance(error, TlsError):
        # pyOpenSSL: a list of (library, function, reason)
        details = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return _short(f"TLS: {details[-1][-1] if details else error}")
    return _short(str(error) or type(error).__name__)


def _short(text: str) -> str:
    return " ".join(text.split())[:_REASON]
