"""A ``twisted.web`` Site whose connections are ours: the fast front of any resource tree.

Rules of this module:

* the tree is asked anew for each request, by the very lookups that a stock Request would make:
  whatever was put into it or taken out since, by whatever means, holds for the next request. That
  costs about half a ``RouteTable.match`` for a level of children and two for a tree, whatever its
  size; a compiled copy could not see a changed ``children``, nor siblings that hide one another;
* the walk follows virtual hosts, path trees and static children. It ends at a
  :class:`ReverseProxyResource`, which streams without a Request, or at anything that finds its
  children by code of its own: that is rendered with a stock Request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes
from weakref import WeakSet

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.web.resource import Resource
from twisted.web.server import Site

from revproxy.accesslog import AccessLog
from revproxy.config import model
from revproxy.config.check_embedded import check_in_site
from revproxy.downstream.entrance import Entrance
from revproxy.downstream.factory import ClientFactory
from revproxy.downstream.http1 import ClientConnection
from revproxy.downstream.resource import ReverseProxyResource
from revproxy.downstream.tree import Branch
from revproxy.engine import Engine
from revproxy.handlers.resource import BODY, LocalRequest, ResourceHandler
from revproxy.http.forwarding import forwarded_lines
from revproxy.http.message import Arrival, Request
from revproxy.routing import Route

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

_CLASSES = 1024  # classes that are remembered
_DEPTH = 64  # steps of a walk; a tree that leads back to itself has no end


# How a walk goes on from a resource, by its class. A class is looked at once: 1 us less per step.
_PROXIED, _BRANCH, _PLAIN, _OTHER = range(1, 5)
_kinds: dict[type, int] = {}


def _kind_of(cls: type) -> int:
    finder = getattr(cls, "getChildWithDefault", None)
    if issubclass(cls, ReverseProxyResource) and cls.render is ReverseProxyResource.render:
        kind = _PROXIED
    elif issubclass(cls, Branch) and finder is Branch.getChildWithDefault:
        kind = _BRANCH
    else:
        kind = _PLAIN if finder is Resource.getChildWithDefault else _OTHER
    if len(_kinds) >= _CLASSES:
        _kinds.clear()
    _kinds[cls] = kind
    return kind


class ResourceTable:
    """A resource tree in the place of a :class:`~revproxy.routing.RouteTable`.

    :param site: its ``resource`` is the root. :param local: the route of what is rendered here.
    """

    def __init__(self, site: Site, local: Route) -> None:
        self._site = site
        self._local = local
        self.routes: tuple[Route, ...] = (local,)
        self.upstreams: dict[str, Any] = {}
        #: What was led to, to be closed with the site.
        self.reached: WeakSet[ReverseProxyResource] = WeakSet()
        self._last: Any = None

    def match(self, request: Request, trace: list[str] | None = None) -> Route:
        """The route of a request: into a :class:`ReverseProxyResource`, or to be rendered here."""
        path = request.path
        size = len(path)
        resource: Any = self._site.resource
        at = 0
        for _ in range(_DEPTH):
            kind = _kinds.get(type(resource)) or _kind_of(type(resource))
            if kind == _PROXIED:
                if trace is not None:
                    trace.append(f"{path[:at]!r}: forwarded")
                if resource is not self._last:
                    self._last = resource
                    self.reached.add(resource)
                return cast(ReverseProxyResource, resource).route(path[:at])
            if kind == _BRANCH:
                found = resource.step(request.host, path[at:])
                if found is None:
                    break
                resource, segments = found
                for _ in range(segments):
                    at = path.find(b"/", at + 1)
                    if at < 0:
                        at = size
                continue
            if kind == _OTHER or resource.isLeaf or at == size or "getChildWithDefault" in resource.__dict__:
                break
            end = path.find(b"/", at + 1)
            if end < 0:
                end = size
            name = path[at + 1 : end]
            if b"%" in name:
                name = unquote_to_bytes(name)
            resource = resource.children.get(name)
            if resource is None:
                break
            at = end
        if trace is not None:
            trace.append(f"{path[:at]!r}: rendered here")
        return self._local


class SiteEntrance(Entrance):
    """A connection that asks its transport where it is, and whether in TLS; a Site is not told."""

    __slots__ = ()

    def connected(self) -> None:
        arrival = self.arrival
        ours = self.transport.getHost()
        host, port = getattr(ours, "host", ""), getattr(ours, "port", 0)
        secure = ISSLTransport.providedBy(self.transport)
        scheme = b"https" if secure else b"http"
        self.arrival = Arrival(
            peer=arrival.peer,
            peer_port=arrival.peer_port,
            port=port,
            scheme=scheme,
            trusted=arrival.trusted,
            forwarded=forwarded_lines(arrival.peer, port, scheme, self.engine.server.via),
            local=f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else "localhost",
        )
        if secure:
            super().connected()
        else:
            self.engine.opened(self, self._counted)
            self.become(ClientConnection(self.engine, self.arrival))


class ReverseProxySite(Site):
    """A Site that forwards what a :class:`ReverseProxyResource` in its tree takes, and renders the rest.

    :param resource: the root of the tree.
    :param requestFactory: makes the Requests of what is rendered here.
    :param server: limits of connections, heads and bodies, bans, timeouts and trusted proxies.
    :param body_limit: bytes of a body that a rendered resource gets, ``None`` for no limit.
    :param log: where finished exchanges go. :param logPath: a file for them, in the combined format.
    :param timeout: seconds that an idle connection is kept, instead of ``server.timeouts.keep_alive``.
    :param reactor: the reactor, the global one by default.
    :ivar engine: the live centre: its connections, and ``drain``.
    :raises ConfigError: where ``server`` says what stands before routes: that is for its resources.
    """

    def __init__(
        self,
        resource: Any,
        requestFactory: Any = None,
        *,
        server: model.Server | None = None,
        body_limit: int | None = BODY,
        log: AccessLog | None = None,
        logPath: str | None = None,
        timeout: float | None = None,
        reactor: Any = None,
        parsePOSTFormSubmission: bool = True,
    ) -> None:
        super().__init__(
            resource,
            LocalRequest if requestFactory is None else requestFactory,
            parsePOSTFormSubmission=parsePOSTFormSubmission,
            logPath=logPath,
            reactor=reactor,
        )
        if server is None:
            server = model.Server()
        check_in_site(server)
        if timeout is not None:
            server = evolve(server, timeouts=evolve(server.timeouts, keep_alive=timeout))
        self._owns_log = log is None and self.logPath is not None
        if self._owns_log:
            log = AccessLog(str(self.logPath), "combined", self.reactor)
        rate = server.minimum_rate
        local = Route(
            name="local",
            handler=ResourceHandler(site=self, limit=body_limit),
            max_body=server.limits.body,
            minimum_rate=None if rate is None else (rate.rate, rate.over),
        )
        self._tree = ResourceTable(self, local)
        table: Any = self._tree
        self.engine = Engine(table, server, self.reactor, log)
        self._connections = _Connections(self.engine)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._connections.buildProtocol(addr)

    def acceptableProtocols(self) -> list[bytes]:
        return self._connections.acceptableProtocols()

    def startFactory(self) -> None:
        if self._owns_log and self.engine.log is not None:
            self.engine.log.start()

    def stopFactory(self) -> None:
        """Close idle connections to backends; what is in flight goes on."""
        for resource in list(self._tree.reached):
            resource.close()
        if self._owns_log and self.engine.log is not None:
            self.engine.log.stop()

    def drain(self, seconds: float) -> Deferred[None]:
        """Finish what is in flight, for so long at most; fires when no client connection is left."""
        return self.engine.drain(seconds)


class _Connections(ClientFactory):
    """Those of a Site: HTTP/1.1, and what was negotiated where there is TLS."""

    protocol = SiteEntrance

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, scheme=b"https", http2=True, patience=engine.server.timeouts.head)
