"""A stock ``twisted.web`` Request as the client side of an exchange.

Rules of this module:

* its body came whole before we were asked (twisted #4688), and what its channel can't do ends
  here: interim responses and trailers are dropped;
* the stock parser lets pass what we refuse: the head is written anew and read by our own parser;
* a response cut short aborts the connection; the request is never finished as if it were whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from revproxy.engine import Engine
from revproxy.exchange import Exchange
from revproxy.fault import CLIENT_BAD_REQUEST, Fault, ProtocolError
from revproxy.http.forwarding import forwarded_lines
from revproxy.http.message import Arrival, Field, Headers, Request, Response
from revproxy.limits.ratefields import fields_of
from revproxy.stream import ASKING, EARLY
from revproxy.wire import PEER_FULL

_CHUNK = 64 * 1024  # bytes of an upload that are handed on in one turn of the reactor


def _read_again(engine: Engine, request: Any) -> Request:
    """The request as our own parser reads it. :raises ProtocolError: for what it refuses."""
    version = request.clientproto
    lines = [b"%b %b %b" % (request.method, request.uri, b"HTTP/1.1" if version == b"HTTP/2" else version)]
    for name, values in request.requestHeaders.getAllRawHeaders():
        if version == b"HTTP/2" and name.lower() == b"host":
            values = list(dict.fromkeys(values))  # :authority may come with a Host that says the same
        lines += [b"%b: %b" % (name, value) for value in values]
    read = engine.parser.parse(b"\r\n".join(lines))
    if not request.uri.startswith((b"/", b"*")):
        # the stock Site has looked for the resource by the whole URL
        raise ProtocolError(CLIENT_BAD_REQUEST, "absolute target")
    read.expects_continue = False  # answered by the stock channel
    read.block = None  # no connection of ours will see it repeated
    if version == b"HTTP/2":
        read.version = 20
    return read


def _below(request: Any, path: bytes) -> int:
    """How long the mount point's part of ``path`` is. :raises ProtocolError: when that can't be told."""
    segments = path[1:].split(b"/")
    taken = len(segments) - len(request.postpath)
    if taken < 0 or [unquote_to_bytes(segment) for segment in segments[taken:]] != list(request.postpath):
        raise ProtocolError(CLIENT_BAD_REQUEST, "the path was changed on its way to this resource")
    return sum(len(segment) + 1 for segment in segments[:taken])


def _arrival(engine: Engine, request: Any) -> Arrival:
    address, ours = request.getClientAddress(), request.getHost()
    peer, port = getattr(address, "host", ""), getattr(ours, "port", 0)
    scheme = b"https" if request.isSecure() else b"http"
    host = getattr(ours, "host", "")
    return Arrival(
        peer=peer,
        peer_port=getattr(address, "port", 0),
        port=port,
        scheme=scheme,
        trusted=engine.is_trusted is not None and engine.is_trusted(peer),
        forwarded=forwarded_lines(
            peer, port, scheme, engine.server.via, "2.0" if request.clientproto == b"HTTP/2" else "1.1"
        ),
        local=f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else "localhost",
    )


@implementer(IPushProducer)
class RequestStream:
    """A MessageStream over a stock Request."""

    def __init__(self, engine: Engine, request: Any) -> None:
        self.exchange: Exchange | None = None
        self._engine = engine
        self._request = request
        self._content: BinaryIO = request.content if request.content is not None else io.BytesIO()
        self._over = False
        self._pausing = 0
        self._feeding: Any = None
        self._producing = False

    def begin(self, mounted: Callable[[bytes], Any]) -> None:
        """The request on its way (step 1). ``mounted`` gives the table for a mount point's path."""
        engine = self._engine
        request = self._request
        request.notifyFinish().addErrback(self._gone)
        refused = table = None
        try:
            read = _read_again(engine, request)
            table = mounted(read.path[: _below(request, read.path)] if read.path != b"*" else b"")
        except ProtocolError as e:
            read = Request(request.method, b"/", None, Headers(), raw_target=request.uri)
            refused = e
        read.arrival = _arrival(engine, request)
        read.client = read.arrival.peer
        read.scheme = read.arrival.scheme
        exchange = self.exchange = Exchange(engine, self, read)
        if refused is not None:
            exchange.fail(refused.fault, refused.detail)
            return
        if read.arrival.trusted:
            engine.resolve_client(read)
        read.length = self._content.seek(0, io.SEEK_END)
        self._content.seek(0)
        first = self._content.read(_CHUNK)
        ended = len(first) == read.length
        exchange.start(first, ended, table)
        if not ended:
            self._feed_later()

    def _gone(self, failure: Any) -> None:
        if not self._over:
            self._stop()
            if self.exchange is not None:
                self.exchange.client_gone()

    def _stop(self) -> None:
        self._over = True
        if self._feeding is not None:
            self._feeding.cancel()
            self._feeding = None

    # -- the body, which is all there

    def pause_reading(self, why: int) -> None:
        self._pausing |= why

    def resume_reading(self, why: int) -> None:
        self._pausing &= ~why
        # later: who resumes has not written the head yet
        self._feed_later()

    def _feed_later(self) -> None:
        exchange = self.exchange
        if self._feeding is not None or self._pausing or self._over or exchange is None:
            return
        if exchange.state in (ASKING, EARLY):
            self._feeding = self._engine.reactor.callLater(0, self._feed)

    def _feed(self) -> None:
        self._feeding = None
        exchange = self.exchange
        if self._pausing or self._over or exchange is None or exchange.state not in (ASKING, EARLY):
            return
        data = self._content.read(_CHUNK)
        if data:
            exchange.request_body(data)
            self._feed_later()
        else:
            exchange.request_end()

    # -- the response

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        status = response.status
        if self._over or status < 200:
            return  # a stock channel has no verb for interim responses, and sent 100 itself
        request = self._request
        request.defaultContentType = None
        request.setResponseCode(status, response.reason)
        headers = request.responseHeaders
        for name in {f[0] for f in response.headers.fields}:
            headers.removeHeader(name)
        for name, value in response.headers.items():
            if name == b"set-cookie":
                request.cookies.append(value)  # with those that resources above have set
            else:
                headers.addRawHeader(name, value)
        if self.exchange is not None and self.exchange.quota:
            for name, value, _, _ in fields_of(self.exchange.quota):
                headers.addRawHeader(name, value)
        if ended and response.length is None and request.method != b"HEAD" and status not in (204, 304):
            headers.setRawHeaders(b"content-length", [b"%d" % len(first)])
        request.write(first)
        if ended:
            self._finish()
        else:
            self._producing = True
            request.registerProducer(self, True)
            if getattr(request.transport, "producerPaused", False):
                # what an earlier response of this connection left fills its buffer
                self.pauseProducing()

    def write_body(self, data: bytes) -> None:
        if not self._over:
            self._request.write(data)

    def end(self, trailers: Sequence[Field] = ()) -> None:
        if not self._over:
            self._finish()

    def _finish(self) -> None:
        self._stop()
        if self._producing:
            self._request.unregisterProducer()
        self._request.finish()

    def abort(self, fault: Fault) -> None:
        if self._over:
            return
        self._stop()
        channel = self._request.channel
        abort = getattr(channel, "abortConnection", None)  # of an HTTP/2 stream
        (channel.transport.abortConnection if abort is None else abort)()

    # -- IPushProducer: the client is slow, or not any more

    def pauseProducing(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.sink is not None:
            exchange.sink.pause_reading(PEER_FULL)

    def resumeProducing(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.sink is not None:
            exchange.sink.resume_reading(PEER_FULL)

    def stopProducing(self) -> None:
        """The connection is going away: ``notifyFinish`` says so too."""
