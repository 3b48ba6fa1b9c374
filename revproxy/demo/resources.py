"""What a demo backend serves: pages, an API that echoes, and every awkward kind of response.

Rules of this module:

* each resource says in its answer which backend it is;
* what lasts (slow answers, events, downloads) ends when the client leaves;
* a parameter out of range is a 400 that gives the range.
"""

from __future__ import annotations

import json
from html import escape
from http import HTTPStatus
from typing import Any, TypeAlias

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from revproxy.demo.websocket import WebSocketEcho, accept_key

#: A :class:`revproxy.demo.backend.BackendRequest`; Twisted's own is not annotated.
Request: TypeAlias = Any

#: Largest ``/download``, in bytes.
MAX_DOWNLOAD = 4 * 1024**3
#: Most events of one ``/events``, and seconds between two of them.
MAX_EVENTS, MAX_EVENT_GAP = 10_000, 60.0
#: Longest ``/slow``, in seconds.
MAX_SLOW = 300.0

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_BLOCK = bytes(range(256)) * 256

LINKS = (
    ("/page/one", "a page, linked to others"),
    ("/api/echo?hello=world", "JSON: the request as this backend received it"),
    ("/events?count=5&gap=1", "server-sent events, one a second"),
    ("/download?size=10485760", "a large download"),
    ("/slow?seconds=2", "an answer that takes its time"),
    ("/fail?status=503", "an answer with the status you ask for"),
    ("/cut?declared=1000&sent=100", "an answer that ends before it is whole"),
    ("/early-hints", "103 Early Hints, then 200"),
    ("/upload", "counts the bytes that you POST or PUT to it"),
    ("/ws", "a WebSocket that echoes"),
)


class BadParameter(Exception):
    """A query parameter that is not a number, or out of range."""


def number(request: Request, name: str, default: float, low: float, high: float) -> float:
    """Return the query parameter ``name``; raises BadParameter when it is not within ``low`` and ``high``."""
    values = request.args.get(name.encode(), [])
    if not values:
        return default
    try:
        value = float(values[0])
    except ValueError:
        value = -1.0
    if not low <= value <= high:
        raise BadParameter(f"{name} must be a number from {low:g} to {high:g}")
    return value


def answer(request: Request, body: bytes, content_type: bytes, status: int = 200) -> bytes:
    """Set the head of a whole response; returns ``body`` for ``render`` to return."""
    request.setResponseCode(status, _PHRASES.get(status, b"Demo"))
    request.setHeader(b"content-type", content_type)
    return body


class Part(Resource):
    """A resource of one backend; a bad parameter gives 400."""

    isLeaf = True

    def __init__(self, reactor: Any, name: str) -> None:
        super().__init__()
        self.reactor = reactor
        self.name = name

    def render(self, request: Request) -> Any:
        """Name the backend, then answer by method."""
        request.setHeader(b"x-demo-backend", self.name.encode())
        try:
            return super().render(request)
        except BadParameter as error:
            return answer(request, f"{error}\n".encode(), b"text/plain; charset=utf-8", 400)


class Page(Part):
    """HTML: the index of everything, and any other page with a link back."""

    def render_GET(self, request: Request) -> bytes:
        """Answer with a page; anything but ``/`` and ``/page/…`` is 404."""
        path = request.path.decode("latin-1")
        status = 200 if path == "/" or path.startswith("/page/") else 404
        links = "".join(f'<li><a href="{escape(to)}">{escape(to)}</a>: {escape(what)}</li>\n' for to, what in LINKS)
        title = path if status == 200 else "Not found"
        body = (
            "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
            f"<title>revproxy demo: {escape(self.name)}</title></head><body>\n<h1>{escape(title)}</h1>\n"
            f'<p>This page comes from the backend <strong>{escape(self.name)}</strong>. <a href="/">Index</a></p>\n'
            f"<ul>\n{links}</ul>\n</body></html>\n"
        )
        return answer(request, body.encode(), b"text/html; charset=utf-8", status)


class Echo(Part):
    """JSON: method, target, header and body as they were received."""

    def render(self, request: Request) -> bytes:
        """Answer any method, with its own name or without."""
        request.setHeader(b"x-demo-backend", self.name.encode())
        body = request.content.getvalue()
        fields = [
            [name.decode("latin-1"), value.decode("latin-1")]
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        seen = {
            "backend": self.name,
            "method": request.method.decode("latin-1"),
            "target": request.uri.decode("latin-1"),
            "version": request.clientproto.decode("latin-1"),
            "headers": fields,
            "body_bytes": request.content.received,
            "body": body.decode("utf-8", "replace"),
            "body_truncated": request.content.received > len(body),
        }
        return answer(request, json.dumps(seen, indent=2).encode() + b"\n", b"application/json")


class Upload(Part):
    """JSON: how many bytes came."""

    def render_POST(self, request: Request) -> bytes:
        """Answer once the whole body was counted."""
        seen = {"backend": self.name, "received": request.content.received}
        return answer(request, json.dumps(seen).encode() + b"\n", b"application/json")

    render_PUT = render_POST


@implementer(IPushProducer)
class Blocks:
    """Writes ``size`` bytes to a request, no faster than it takes them."""

    def __init__(self, request: Request, size: int) -> None:
        self._request = request
        self._left = size
        self._paused = False
        self._running = False

    def resumeProducing(self) -> None:
        """Write until told to pause, or until all is written."""
        self._paused = False
        if self._running:
            return
        self._running = True
        while self._left and not self._paused:
            block = _BLOCK[: min(self._left, len(_BLOCK))]
            self._left -= len(block)
            self._request.write(block)
        self._running = False
        if not self._left and not self._paused:
            self._left = -1
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """Write no more for now."""
        self._paused = True

    def stopProducing(self) -> None:
        """The client left."""
        self._paused = True


class Download(Part):
    """``size`` bytes, streamed."""

    def render_GET(self, request: Request) -> Any:
        """Answer with bytes 0 to 255 over and over."""
        size = int(number(request, "size", 1024 * 1024, 0, MAX_DOWNLOAD))
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"content-length", str(size).encode())
        if request.method == b"HEAD" or size == 0:
            return b""
        producer = Blocks(request, size)
        request.registerProducer(producer, True)
        producer.resumeProducing()
        return NOT_DONE_YET


class Events(Part):
    """Server-sent events: ``count`` of them, ``gap`` seconds apart."""

    def render_GET(self, request: Request) -> Any:
        """Send the first event at once."""
        count = int(number(request, "count", 10, 1, MAX_EVENTS))
        gap = number(request, "gap", 1.0, 0.01, MAX_EVENT_GAP)
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        pending: list[Any] = []

        def send(index: int) -> None:
            pending.clear()
            request.write(f'id: {index}\ndata: {{"backend": "{self.name}", "event": {index}}}\n\n'.encode())
            if index == count:
                request.finish()
            else:
                pending.append(self.reactor.callLater(gap, send, index + 1))

        def left(_: Failure) -> None:
            for call in pending:
                call.cancel()

        request.notifyFinish().addErrback(left)
        send(1)
        return NOT_DONE_YET


class Slow(Part):
    """Answers after ``seconds``."""

    def render_GET(self, request: Request) -> Any:
        """Wait, unless the client leaves."""
        seconds = number(request, "seconds", 2.0, 0, MAX_SLOW)

        def done() -> None:
            request.write(answer(request, f"{self.name} took {seconds:g} s\n".encode(), b"text/plain; charset=utf-8"))
            request.finish()

        call = self.reactor.callLater(seconds, done)
        request.notifyFinish().addErrback(lambda _: call.cancel())
        return NOT_DONE_YET


class Fail(Part):
    """Answers any method with the status in the query."""

    def render(self, request: Request) -> Any:
        """Answer with ``status``, 500 when none is given."""
        request.setHeader(b"x-demo-backend", self.name.encode())
        try:
            status = int(number(request, "status", 500, 200, 999))
        except BadParameter as error:
            return answer(request, f"{error}\n".encode(), b"text/plain; charset=utf-8", 400)
        body = b"" if status in (204, 304) else f"{self.name} answers {status} as asked\n".encode()
        return answer(request, body, b"text/plain; charset=utf-8", status)


class Cut(Part):
    """Declares more than it sends, then closes."""

    def render_GET(self, request: Request) -> Any:
        """Send ``sent`` of ``declared`` bytes."""
        declared = int(number(request, "declared", 1000, 1, MAX_DOWNLOAD))
        sent = int(number(request, "sent", min(100, declared - 1), 0, min(declared - 1, len(_BLOCK))))
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"content-length", str(declared).encode())
        request.write(_BLOCK[:sent])
        request.loseConnection()
        return NOT_DONE_YET


class EarlyHints(Part):
    """103, then 200 (RFC 8297)."""

    def render_GET(self, request: Request) -> bytes:
        """Send the hint to clients that know of it: HTTP/1.1 ones."""
        if request.clientproto == b"HTTP/1.1":
            request.channel.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n")
        return answer(request, f"{self.name} gave a hint first\n".encode(), b"text/plain; charset=utf-8")


class WebSocket(Part):
    """The handshake of RFC 6455 section 4.2; then the connection echoes."""

    def render_GET(self, request: Request) -> Any:
        """Upgrade, or say what was missing: 426 without an upgrade, 400 for a bad one."""
        fields = request.requestHeaders
        if b"websocket" not in (fields.getRawHeaders(b"upgrade") or [b""])[0].lower():
            request.setHeader(b"upgrade", b"websocket")
            return answer(request, b"This is a WebSocket; connect with one.\n", b"text/plain; charset=utf-8", 426)
        if fields.getRawHeaders(b"sec-websocket-version") != [b"13"]:
            request.setHeader(b"sec-websocket-version", b"13")
            return answer(request, b"Only version 13 is spoken.\n", b"text/plain; charset=utf-8", 426)
        try:
            accept = accept_key((fields.getRawHeaders(b"sec-websocket-key") or [b""])[0])
        except ValueError as error:
            return answer(request, f"{error}\n".encode(), b"text/plain; charset=utf-8", 400)
        request.channel.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"X-Demo-Backend: " + self.name.encode() + b"\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        request.upgrade(WebSocketEcho())
        return NOT_DONE_YET


class Root(Part):
    """Finds the part for the first segment of the path; what nobody serves is a page."""

    isLeaf = False

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Give unknown paths, and ``/`` itself, to the pages."""
        return Page(self.reactor, self.name)


def make_tree(reactor: Any, name: str) -> Part:
    """Return the resources of the backend ``name``."""
    root: Any = Root(reactor, name)
    parts = {
        "api": Echo,
        "upload": Upload,
        "download": Download,
        "events": Events,
        "slow": Slow,
        "fail": Fail,
        "cut": Cut,
        "early-hints": EarlyHints,
        "ws": WebSocket,
    }
    for path, part in parts.items():
        root.putChild(path.encode(), part(reactor, name))
    return root  # type: ignore[no-any-return]  # putChild asks for an IResource, which mypy can't see in a Resource
