"""The handler that ends a route at a local ``twisted.web`` resource.

Rules of this module:

* the resource gets a stock ``twisted.web.server.Request``; what it takes for its channel is the
  sink of the exchange, as ``twisted.web._http2.H2Stream`` is the channel of requests over HTTP/2;
* a request is rendered when its body is complete: that is what resources expect. The body is
  bounded, and on disk above 100 KB, as in a stock Site;
* head and first bytes leave in one write; a producer is paused while the client is slow;
* a resource that writes more or less than it declared is cut off, so that the client can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.resource import IResource, getChildForRequest

from revproxy.fault import CLIENT_BAD_REQUEST, CLIENT_BODY_TOO_LARGE, HANDLER_FAILED, Fault
from revproxy.http.message import FORWARDED, HOP, LENGTH, Field, Headers, Response
from revproxy.stream import ASKED, DONE
from revproxy.wire import HOOK

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

#: Bytes of a request's body that a resource gets; 413 above it.
BODY = 64 * 1024 * 1024
#: Bytes that are held together with a head that is not out yet.
_FIRST = 64 * 1024


class LocalRequest(server.Request):
    """A stock Request whose failures end like those of the proxy: an error page, or a cut."""

    def processingFailed(self, reason: Failure) -> Failure:
        channel = getattr(self, "channel", None)
        if self.site is not None and self.site.displayTracebacks and not self.startedWriting:
            super().processingFailed(reason)
        else:
            self._log.failure("a resource failed to render {uri}", failure=reason, uri=self.uri)
            if channel is not None and not self.finished:
                channel.exchange.fail(HANDLER_FAILED, reason.getErrorMessage())
        return reason


class LocalSite(server.Site):
    """The Site that resources of a route see: their sessions, and the way to them.

    What of a public path was taken away before the route's handler came is in ``prepath``.
    """

    requestFactory = LocalRequest

    def getResourceFor(self, request: Any) -> Any:
        request.site = self
        request.sitepath = []
        for _ in range(request.channel.mounted):
            request.prepath.append(request.postpath.pop(0))
        return getChildForRequest(self.resource, request)


class ResourceHandler:
    """Renders a local resource for exchanges.

    :param resource: an ``IResource``.
    :param limit: bytes of a request's body, ``None`` for no limit; 413 above it.
    :param site: the ``Site`` that finds the resource, instead of one of its own.
    """

    def __init__(self, resource: Any = None, *, limit: int | None = BODY, site: server.Site | None = None) -> None:
        if site is None and not IResource.providedBy(resource):
            raise ValueError(f"not a resource: {resource!r}")
        self.resource = resource
        self.limit = limit
        self._site = site

    def start(self, exchange: Exchange) -> None:
        """4: collect the request's body, then render."""
        site = self._site
        if site is None:
            site = self._site = LocalSite(self.resource, reactor=exchange.engine.reactor)
        request = exchange.request
        if self.limit is not None and (request.length or exchange.received) > self.limit:
            exchange.fail(CLIENT_BODY_TOO_LARGE)
            return
        outer, mounted = _mount(exchange)
        stream = ResourceStream(exchange, site, self.limit, mounted)
        stream.prepare(outer + request.target if outer else request.target)
        if request.expects_continue:
            request.expects_continue = False
            exchange.client.write_head(Response(100, reason=b"Continue"))
        first, ended = exchange.attach(stream)
        if first:
            stream.write_body(first)
        if ended and exchange.state != DONE:
            stream.end()


def _mount(exchange: Exchange) -> tuple[bytes, int]:
    """The public prefix that the path had and has no more, and its number of segments."""
    mapping = None if exchange.route is None else exchange.route.mapping
    if mapping is None or mapping[0].strip(b"/") or not exchange.request.path.startswith(b"/"):
        return b"", 0
    outer = mapping[1].rstrip(b"/")
    return outer, outer.count(b"/")


class ResourceStream:
    """The sink of an exchange and the channel of a stock Request.

    :ivar mounted: how many segments of the path lead to the resource at the top of the site.
    """

    # what a Request asks of its channel
    factory = None

    def __init__(self, exchange: Exchange, site: Any, limit: int | None, mounted: int) -> None:
        self.exchange: Exchange = exchange
        self.site = site
        self.mounted = mounted
        self.transport = self
        self._reactor = exchange.engine.reactor
        self._limit = limit
        self._taken = 0
        self._rendering = False
        self._over = False
        self._complete = False
        self._head: Response | None = None
        self._first: list[bytes] = []
        self._first_size = 0
        self._left: int | None = None
        self._flusher: Any = None
        self._paused = 0
        self._producer: Any = None
        self._pull: Callable[[], None] | None = None
        self._puller: Any = None
        self._target = b"/"
        self.request: Any = None

    def prepare(self, target: bytes) -> None:
        """Make the Request from the head of the exchange."""
        received = self.exchange.request
        self._target = target
        request = self.request = self.site.requestFactory(self)
        # a stranger's word on where it came from, or who it is, is kept from a local application as from backends
        left_out = 0 if received.arrival.trusted else FORWARDED
        for name, value, _, kind in received.headers.fields:
            if not kind & left_out:
                request.requestHeaders.addRawHeader(name, value)
        request.gotLength(received.length)
        request.parseCookies()

    # -- the verbs of a MessageStream: the request's body, for the resource

    def write_head(self, head: Any, first: bytes = b"", ended: bool = False) -> None:
        """Part of MessageStream; a sink is told the head by the exchange."""

    def write_body(self, data: bytes) -> None:
        if self._over or self._rendering:
            return
        self._taken += len(data)
        if self._limit is not None and self._taken > self._limit:
            self.exchange.fail(CLIENT_BODY_TOO_LARGE)
            return
        self.request.handleContentChunk(data)

    def end(self, trailers: Sequence[Field] = ()) -> None:
        if self._over or self._rendering:
            return
        self._rendering = True
        # HTTP/2, as to a Request, is HTTP without the chunked coding: that is the client side's affair
        version = b"HTTP/1.0" if self.exchange.request.version == 10 else b"HTTP/2"
        self.request.requestReceived(self.exchange.request.method, self._target, version)
        self._rendering = False
        self._flush()

    def abort(self, fault: Fault) -> None:
        """The exchange is over without us: the resource hears of it by ``notifyFinish``."""
        if self._over:
            return
        self._end()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.request.connectionLost(Failure(ConnectionDone(f"the request was given up: {fault.word}")))

    def pause_reading(self, why: int) -> None:
        if not self._paused and self._producer is not None and self._pull is None:
            self._paused = why
            self._producer.pauseProducing()
        self._paused |= why

    def resume_reading(self, why: int) -> None:
        if not self._paused & why:
            return
        self._paused &= ~why
        if why & HOOK and not self._over:
            self._flusher = self._reactor.callLater(0, self._catch_up)
        if self._paused or self._producer is None:
            return
        if self._pull is None:
            self._producer.resumeProducing()
        else:
            self._pull_later()

    def _end(self) -> None:
        self._over = True
        for call in (self._flusher, self._puller):
            if call is not None and call.active():
                call.cancel()
        self._flusher = self._puller = self._pull = None

    # -- the channel: the resource's response

    def writeHeaders(self, version: bytes, code: bytes, phrase: bytes, headers: Any) -> None:
        """The head of the response, from ``Request.write``."""
        if self._over:
            return
        pairs: Iterable[tuple[bytes, bytes]] = [
            (name, value) for name, values in headers.getAllRawHeaders() for value in values
        ]
        fields = Headers.of((n, v) for n, v in pairs if not (n == b"Server" and v == server.version)).fields
        status = int(code)
        response = Response(status, Headers([f for f in fields if not f[3] & HOP]), reason=phrase)
        for f in fields:
            response.kinds |= f[3]
        declared = response.headers.get(b"content-length")
        if declared is not None and declared.isdigit() and status not in (204, 304):
            response.length = int(declared)
        else:
            # of an empty body, where it says nothing about the body of a 200 (RFC 9110 8.6)
            response.headers.remove(b"content-length")
            response.kinds &= ~LENGTH
        if self.exchange.request.method != b"HEAD" and status not in (204, 304):
            self._left = response.length
        self._head = response
        if not self._rendering:
            self._flusher = self._reactor.callLater(0, self._flush)

    def write(self, data: bytes) -> None:
        """Bytes of the response's body."""
        if self._over or not data:
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.exchange.fail(HANDLER_FAILED, "a resource wrote more than it had declared")
                return
        if self._head is None and self.exchange.state > ASKED:
            self.exchange.response_body(data)
            return
        self._first.append(data)
        self._first_size += len(data)
        if self._head is not None and self._first_size >= _FIRST:
            self._flush()

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def _flush(self, ended: bool = False) -> None:
        head, self._head = self._head, None
        if head is None or self._over:
            return
        if self._flusher is not None and self._flusher.active():
            self._flusher.cancel()
        self._flusher = None
        first, self._first = b"".join(self._first), []
        if ended:
            self._end()
            self.exchange.sink = None
        self.exchange.response_head(head, first, ended)

    def _catch_up(self) -> None:
        """A hook waited while the head was on its way: what was written since then."""
        self._flusher = None
        if self._over or self._head is not None or self.exchange.state <= ASKED:
            return
        first, self._first = self._first, []
        for data in first:
            self.exchange.response_body(data)
        if self._complete:
            self._finish()

    def _finish(self) -> None:
        self._end()
        self.exchange.sink = None
        self.exchange.response_end()

    def requestDone(self, request: Any) -> None:
        """The response is complete."""
        if self._over:
            return
        if self._left:
            self.exchange.fail(HANDLER_FAILED, "a resource wrote less than it had declared")
        elif self._head is not None:
            self._flush(True)
        elif self.exchange.state > ASKED:
            self._finish()
        else:
            self._complete = True

    def _respondToBadRequestAndDisconnect(self) -> None:
        # a Request calls this when a form can't be read
        self.exchange.fail(CLIENT_BAD_REQUEST, "malformed form")

    def loseConnection(self) -> None:
        """A resource gives up its response."""
        if not self._over:
            self.exchange.fail(HANDLER_FAILED, "a resource closed the connection")

    abortConnection = loseConnection

    # -- producers

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{producer!r} registered before {self._producer!r} was unregistered")
        self._producer = producer
        if not streaming:
            self._pull = producer.resumeProducing
            self._pull_later()
        elif self._paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = self._pull = None
        if self._puller is not None and self._puller.active():
            self._puller.cancel()
        self._puller = None

    def _pull_later(self) -> None:
        if self._puller is None and self._pull is not None and not self._paused:
            self._puller = self._reactor.callLater(0, self._pull_now)

    def _pull_now(self) -> None:
        self._puller = None
        if self._pull is not None and not self._paused and not self._over:
            try:
                self._pull()
            except Exception:
                self.request.processingFailed(Failure())
            self._flush()
            self._pull_later()

    # -- where the request came from

    def getPeer(self) -> Any:
        request = self.exchange.request
        return _address(request.client, request.arrival.peer_port if request.client == request.arrival.peer else 0)

    def getHost(self) -> Any:
        arrival = self.exchange.request.arrival
        return _address(arrival.local.rpartition(":")[0].strip("[]"), arrival.port)

    def isSecure(self) -> bool:
        return self.exchange.request.scheme == b"https"

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Part of ITCPTransport: always so."""


def _address(host: str, port: int) -> Any:
    if not host:
        return UNIXAddress(None)
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
