"""A ``twisted.web`` Site whose connections are ours: the fast front of any resource tree.

Rules of this module:

* the tree is asked anew for each request, by the very lookups that a stock Request would make:
  whatever was put into it or taken out since, by whatever means, holds for the next request.
  A compiled copy would save a look-up per level (0.2 us) and could not see a changed ``children``;
* the walk follows virtual hosts, path trees and static children. It ends at a
  :class:`ReverseProxyResource`, which streams without a Request, or at anything that finds its
  children by code of its own: that is rendered with a stock Request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes
from weakref import WeakSet

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.web.resource import Resource
from twisted.web.server import Site

from revproxy.accesslog import AccessLog
from revproxy.config import model
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

_DEPTH = 64  # steps of a walk; a tree that leads back to itself has no end


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

    def match(self, request: Request, trace: list[str] | None = None) -> Route:
        """The route of a request: into a :class:`ReverseProxyResource`, or to be rendered here."""
        path = request.path
        size = len(path)
        resource: Any = self._site.resource
        at = 0
        for _ in range(_DEPTH):
            if isinstance(resource, ReverseProxyResource) and type(resource).render is ReverseProxyResource.render:
                if trace is not None:
                    trace.append(f"{path[:at]!r}: forwarded")
                self.reached.add(resource)
                return resource.route(path[:at])
            finder = getattr(type(resource), "getChildWithDefault", None)
            if finder is Branch.getChildWithDefault:
                found = resource.step(request.host, path[at:])
                if found is None:
                    break
                resource, segments = found
                for _ in range(segments):
                    at = path.find(b"/", at + 1)
                    if at < 0:
                        at = size
                continue
            if finder is not Resource.getChildWithDefault or "getChildWithDefault" in vars(resource):
                break
            if resource.isLeaf or at == size:
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


class SiteConnection(ClientConnection):
    """A client connection that asks its transport where it is; a Site is not told."""

    __slots__ = ()

    def connected(self) -> None:
        arrival = self.arrival
        ours = self.transport.getHost()
        host, port = getattr(ours, "host", ""), getattr(ours, "port", 0)
        scheme = b"https" if ISSLTransport.providedBy(self.transport) else b"http"
        self.arrival = Arrival(
            peer=arrival.peer,
            peer_port=arrival.peer_port,
            port=port,
            scheme=scheme,
            trusted=arrival.trusted,
            forwarded=forwarded_lines(arrival.peer, port, scheme, self.engine.server.via),
            local=f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else "localhost",
        )
        super().connected()


class ReverseProxySite(Site):
    """A Site that forwards what a :class:`ReverseProxyResource` in its tree takes, and renders the rest.

    :param resource: the root of the tree.
    :param requestFactory: makes the Requests of what is rendered here.
    :param server: limits, timeouts and trusted proxies.
    :param body_limit: bytes of a body that a rendered resource gets, ``None`` for no limit.
    :param log: where finished exchanges go. :param logPath: a file for them, in the combined format.
    :param timeout: seconds that an idle connection is kept, instead of ``server.timeouts.keep_alive``.
    :param reactor: the reactor, the global one by default.
    :ivar engine: the live centre: its connections, and ``drain``.
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
        return [b"http/1.1"]

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
    protocol = SiteConnection
