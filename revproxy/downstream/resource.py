"""A ``twisted.web`` resource that forwards what is below it.

Rules of this module:

* in a stock Site the client side of an exchange is a stock Request. Its body came whole before we
  were asked (twisted #4688), and what its channel can't do ends here: an upgrade is 501, interim
  responses and trailers are dropped;
* the stock parser lets pass what we refuse: the head is written anew and read by our own parser;
* the path below the mount point is what is forwarded, and what comes back is mapped to it;
* a response cut short aborts the connection; the request is never finished as if it were whole.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, BinaryIO

from attrs import evolve
from twisted.internet.interfaces import IPushProducer, IReactorCore
from twisted.web.http import unquote
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from revproxy.accesslog import AccessLog
from revproxy.config import model
from revproxy.config.compile import compile_config
from revproxy.engine import Engine
from revproxy.exchange import ASKING, EARLY, Exchange
from revproxy.fault import CLIENT_BAD_REQUEST, UPGRADE_UNSUPPORTED, Fault, ProtocolError
from revproxy.handlers.forward import Forward
from revproxy.http.forwarding import forwarded_lines, hidden_names
from revproxy.http.message import Arrival, Field, Headers, Request, Response
from revproxy.routing import Entry, Route, RouteTable
from revproxy.upstream.backend import Upstream
from revproxy.wire import PEER_FULL

Target = str | Sequence[str] | model.Upstream | Upstream | model.Config

_CHUNK = 64 * 1024  # bytes of an upload that are handed on in one turn of the reactor
_MOUNTS = 64  # mount points that are remembered; where a parent makes them up, a client chooses them


class Mounted:
    """Routes below a path: matches what is left of it, and maps back what the backend says.

    It has the ``match`` of a route table.

    :param prefix: the public path of the mount point, without a slash at its end.
    :param path: what takes its place towards the backend, likewise.
    :param hooks: run before those of each route, at the client-request point.
    """

    __slots__ = ("_hooks", "_path", "_prefix", "_routes", "_table")

    def __init__(self, table: RouteTable, prefix: bytes, path: bytes, hooks: tuple[Any, ...] = ()) -> None:
        self._table = table
        self._prefix = prefix
        self._path = path
        self._hooks = hooks
        self._routes: dict[Route, Route] = {}

    def match(self, request: Request, trace: list[str] | None = None) -> Route | None:
        """The route of a request whose path begins with the prefix; its path is changed."""
        if request.path != b"*":
            request.path = self._path + request.path[len(self._prefix) :] or b"/"
        route = self._table.match(request, trace)
        if route is None:
            return None
        mounted = self._routes.get(route)
        if mounted is None:
            mounted = self._routes[route] = self._mount(route)
        return mounted

    def _mount(self, route: Route) -> Route:
        mapping = route.mapping
        if self._prefix != self._path:
            inner, outer = mapping or (self._path, self._path)
            outer = outer.rstrip(b"/")
            if outer == self._path or outer.startswith(self._path + b"/"):
                mapping = (inner, self._prefix + outer[len(self._path) :])
        if mapping == route.mapping and not self._hooks:
            return route
        return evolve(route, mapping=mapping, client_request=self._hooks + route.client_request)


class _Enter:
    """A handler that leads to the routes of a mount point."""

    def __init__(self, mounted: Mounted) -> None:
        self._mounted = mounted

    def start(self, exchange: Exchange) -> None:
        exchange.take(self._mounted.match(exchange.request))


@implementer(IResource)
class ReverseProxyResource(Resource):
    """Forwards every request below it to backends.

    :param target: an address (``"tcp:127.0.0.1:9000"``), several, an upstream as written or as it
        lives, or a whole configuration, whose routes then apply below this resource.
    :param path: what takes the place of the mount point's path towards backends.
    :param server: limits, trusted proxies and what is hidden; a configuration's own by default.
    :param reactor: the reactor, the global one by default.
    :param log: where finished exchanges go in a stock Site, or ``None``.
    :raises ValueError: when an address is none; ConfigError when a configuration can't be compiled.
    """

    isLeaf = True

    def __init__(
        self,
        target: Target,
        *,
        path: str | None = None,
        server: model.Server | None = None,
        reactor: Any = None,
        log: AccessLog | None = None,
    ) -> None:
        super().__init__()
        if reactor is None:
            from twisted.internet import reactor
        if path is not None and not path.startswith("/"):
            raise ValueError(f"path: {path!r} does not begin with '/'")
        self._path = b"" if path is None else path.encode("ascii").rstrip(b"/")
        if server is None:
            server = target.server if isinstance(target, model.Config) else model.Server()
        self._table, self._owned = _routes(target, server, reactor)
        self._engine = Engine(self._table, server, reactor, log)
        self._mounts: dict[tuple[bytes, bool], Mounted] = {}
        self._entered: dict[bytes, Route] = {}
        self._trigger: Any = None

    # -- where it is mounted

    def mounted(self, prefix: bytes, stock: bool = False) -> Mounted:
        """Its routes as seen from a mount point.

        :param prefix: a normalised path without a slash at its end.
        :param stock: for requests of a stock Site, which can't switch protocols.
        """
        self._start()
        mounted = self._mounts.get((prefix, stock))
        if mounted is None:
            if len(self._mounts) >= _MOUNTS:
                self._mounts.clear()
            mounted = Mounted(self._table, prefix, self._path, (_refuse_upgrade,) if stock else ())
            self._mounts[prefix, stock] = mounted
        return mounted

    def route(self, prefix: bytes) -> Route:
        """A route that leads to its routes, for the table of a :class:`ReverseProxySite`."""
        route = self._entered.get(prefix)
        if route is None:
            if len(self._entered) >= _MOUNTS:
                self._entered.clear()
            route = self._entered[prefix] = Route("resource", _Enter(self.mounted(prefix)))
        return route

    # -- a resource in a stock Site

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        return self

    def putChild(self, path: bytes, child: Any) -> None:
        """Nothing can be put below it: use :class:`PathTree` to give some paths to others.

        :raises TypeError: always.
        """
        raise TypeError("a ReverseProxyResource takes everything below it; use a PathTree beside it")

    def render(self, request: Any) -> int:
        """Forward a stock Request; always ``NOT_DONE_YET``."""
        self._start()
        stream = RequestStream(self._engine, request)
        stream.begin(self)
        return NOT_DONE_YET

    def _start(self) -> None:
        reactor = self._engine.reactor
        if self._trigger is None and IReactorCore.providedBy(reactor) and reactor.running:
            self._trigger = reactor.addSystemEventTrigger("before", "shutdown", self._close)

    def close(self) -> None:
        """Close idle connections to backends; without it they end with the reactor.

        A live upstream that was given belongs to whoever gave it.
        """
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._engine.reactor.removeSystemEventTrigger(trigger)
        self._close()

    def _close(self) -> None:
        self._trigger = None
        for upstream in self._owned:
            upstream.close()


def _routes(target: Target, server: model.Server, reactor: Any) -> tuple[RouteTable, list[Upstream]]:
    """The routes of a target, and the upstreams that were made for them."""
    if isinstance(target, model.Config):
        table = compile_config(target, reactor)
        return table, list(table.upstreams.values())
    owned = []
    if isinstance(target, Upstream):
        upstream = target
    else:
        if not isinstance(target, model.Upstream):
            addresses = [target] if isinstance(target, str) else target
            if not addresses or not all(isinstance(address, str) for address in addresses):
                raise ValueError(f"no backend address, no upstream and no configuration: {target!r}")
            target = model.Upstream(backends=tuple(model.Backend(endpoint=address) for address in addresses))
        upstream = Upstream.of("resource", target, reactor)
        owned.append(upstream)
    rate = server.minimum_rate
    route = Route(
        name=upstream.name,
        handler=Forward(upstream, hidden_names(server.hide), server.forwarded),
        max_body=server.limits.body,
        minimum_rate=None if rate is None else (rate.rate, rate.over),
        upgrade=frozenset({b"websocket"}),
    )
    return RouteTable.build([Entry(route)], {upstream.name: upstream}), owned


# -- a stock Request as the client side of an exchange


def _refuse_upgrade(exchange: Exchange) -> None:
    """A hook: say so instead of leaving the client waiting for a switch that never comes."""
    assert exchange.route is not None
    if exchange.request.upgrade in exchange.route.upgrade:
        raise ProtocolError(UPGRADE_UNSUPPORTED, "a stock Site can't switch protocols")


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
    if version == b"HTTP/2":
        read.version = 20
    return read


def _below(request: Any, path: bytes) -> int:
    """How long the mount point's part of ``path`` is. :raises ProtocolError: when that can't be told."""
    segments = path[1:].split(b"/")
    taken = len(segments) - len(request.postpath)
    if taken < 0 or [unquote(segment) for segment in segments[taken:]] != list(request.postpath):
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
        forwarded=forwarded_lines(peer, port, scheme, engine.server.via),
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

    def begin(self, resource: ReverseProxyResource) -> None:
        """The request on its way through the routes of a resource (step 1)."""
        engine = self._engine
        request = self._request
        request.notifyFinish().addErrback(self._gone)
        refused = table = None
        try:
            read = _read_again(engine, request)
            table = resource.mounted(read.path[: _below(request, read.path)] if read.path != b"*" else b"", True)
        except ProtocolError as e:
            read = Request(request.method, b"/", None, Headers(), raw_target=request.uri)
            refused = e
        read.arrival = _arrival(engine, request)
        read.client = read.arrival.peer
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
        if self._feeding is None and not self._pausing and not self._over and exchange is not None:
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
