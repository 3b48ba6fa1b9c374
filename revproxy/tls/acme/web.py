"""One request to an ACME authority and its answer, bounded in time and size.

Rules of this module:

* an answer is there whole or not at all: after :data:`TIMEOUT` or more than :data:`SIZE` bytes its
  connection is cut;
* whatever went wrong with the connection is an :class:`Unreachable` with one line for the log;
* redirects are not followed: what is signed names its URL (RFC 8555 6.4).
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import TimeoutError as LateError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from revproxy import __version__
from revproxy.config.errors import show
from revproxy.config.upstreams import BackendTls
from revproxy.tls.acme.messages import AcmeFailed
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.endpoint import backend_endpoint

#: Seconds from the connection's beginning to the last byte of an answer.
TIMEOUT = 30.0
#: Bytes of a body.
SIZE = 1 << 20
_NAME = f"revproxy/{__version__}".encode("ascii")
_FIELD = 4096  # bytes of a field that is read


class Unreachable(AcmeFailed):
    """There was no whole answer."""


@frozen
class Answer:
    """What the authority answered. :param fields: the few that ACME uses, by lower-case name."""

    status: int
    fields: dict[str, str]
    body: bytes


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Connects as to a backend over TLS: with its judgement of certificates, and its words for what is wrong."""

    def __init__(self, credentials: Credentials, reactor: Any) -> None:
        self._credentials = credentials
        self._reactor = reactor

    def endpointForURI(self, uri: Any) -> Any:
        host = f"[{uri.host.decode('ascii')}]" if b":" in uri.host else uri.host.decode("ascii")
        return backend_endpoint(f"https://{host}:{uri.port}", self._credentials, self._reactor, timeout=TIMEOUT)


def trusted(ca: str | None, base: str) -> Credentials:
    """Whom we believe to be the authority: ``ca`` (a PEM file), or what the system trusts. Reads files.

    :raises ValueError: when the file can't be used.
    """
    return Credentials.of(BackendTls(ca=ca), base)


def make_agent(credentials: Credentials, reactor: Any) -> Any:
    """An ``IAgent`` that speaks TLS to whom ``credentials`` trust."""
    return Agent.usingEndpointFactory(reactor, _Endpoints(credentials, reactor))


async def fetch(
    agent: Any, reactor: Any, method: bytes, url: str, body: bytes | None = None, accept: str = ""
) -> Answer:
    """Send a request and read its answer.

    :param body: a signed one.
    :raises Unreachable: when there is no whole answer.
    """
    try:
        return await _within(TIMEOUT, Deferred.fromCoroutine(_fetch(agent, method, url, body, accept)), reactor)
    except (AcmeFailed, CancelledError):
        raise
    except LateError:
        raise Unreachable(f"{show(url)}: no whole answer within {TIMEOUT:g} s") from None
    except Exception as error:
        raise Unreachable(f"{show(url)}: {_why(error)}") from None


def _within(seconds: float, asked: Deferred[Answer], reactor: Any) -> Deferred[Answer]:
    """What ``asked`` gives; when it is late or cancelled it is cut, and what becomes of it then is not looked at.

    ``addTimeout`` would take an Agent's own words for a cut (ResponseNeverReceived) to be the authority's failure.
    """
    timer: Any = None

    def cut(made: Deferred[Answer]) -> None:
        if timer.active():
            timer.cancel()
        asked.cancel()

    def late() -> None:
        made.errback(LateError())
        asked.cancel()

    def told(result: Any) -> None:
        if timer.active():
            timer.cancel()
            made.callback(result)

    made: Deferred[Answer] = Deferred(cut)
    timer = reactor.callLater(seconds, late)
    asked.addBoth(told)
    return made


async def _fetch(agent: Any, method: bytes, url: str, body: bytes | None, accept: str) -> Answer:
    fields = Headers({b"User-Agent": [_NAME], b"Accept-Language": [b"en"]})
    if accept:
        fields.addRawHeader(b"Accept", accept.encode("ascii"))
    producer = None
    if body is not None:
        fields.addRawHeader(b"Content-Type", b"application/jose+json")
        producer = _Body(body)
    response = await agent.request(method, url.encode("ascii"), fields, producer)
    read = _Reader(url)
    response.deliverBody(read)
    found = {}
    for name in ("replay-nonce", "location", "retry-after", "content-type"):
        values = response.headers.getRawHeaders(name.encode("ascii"))
        if values and len(values[0]) <= _FIELD:
            found[name] = values[0].decode("latin-1").strip()
    return Answer(response.code, found, await read.done)


class _Reader(Protocol):
    """Gathers a body. :ivar done: fires with it."""

    def __init__(self, url: str) -> None:
        self.done: Deferred[bytes] = Deferred(self._cut)
        self._url = url
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._size += len(data)
        if self._size > SIZE:
            self._parts.clear()
            self.done.errback(Unreachable(f"{show(self._url)}: its answer is larger than {SIZE} bytes"))
            self._cut(self.done)
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        # without a length the end of the connection ends the body, and TLS says whether that is true
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)

    def _cut(self, done: Deferred[bytes]) -> None:
        transport: Any = self.transport
        if transport is not None:
            # an Agent's transport has no abortConnection, and its loseConnection waits for the peer's TLS to agree
            transport.stopProducing()


@implementer(IBodyProducer)
class _Body:
    """A short body, written at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written."""

    resumeProducing = stopProducing = pauseProducing


def _why(error: BaseException) -> str:
    if isinstance(error, (ResponseFailed, ResponseNeverReceived)) and error.reasons:
        error = error.reasons[0].value
    return show(str(error) or type(error).__name__)
