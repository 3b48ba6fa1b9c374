"""A ``twisted.web`` resource that forwards what is below it.

Rules of this module:

* in a stock Site what its channel can't do ends here: an upgrade is 501 instead of silence;
* in a :class:`ReverseProxySite` no Request is made: ``route`` leads to the same routes directly;
* the path below the mount point is what is forwarded, and what comes back is mapped to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet.interfaces import IReactorCore
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from revproxy.accesslog import AccessLog
from revproxy.config import model
from revproxy.config.check_embedded import check_in_resource
from revproxy.config.compile import compile_config
from revproxy.downstream.mount import Enter, Mounted
from revproxy.downstream.stock import RequestStream
from revproxy.engine import Engine
from revproxy.exchange import Exchange
from revproxy.fault import UPGRADE_UNSUPPORTED, ProtocolError
from revproxy.routing import Route, RouteTable
from revproxy.upstream.group import Upstream

Target = str | Sequence[str] | model.Upstream | Upstream | model.Config

_MOUNTS = 64  # mount points that are remembered; where a parent makes them up, a client chooses them


@implementer(IResource)
class ReverseProxyResource(Resource):
    """Forwards every request below it to backends.

    :param target: an address (``"tcp:127.0.0.1:9000"``), several, an upstream as written or as it
        lives, or a whole configuration, whose routes then apply below this resource.
    :param path: what takes the place of the mount point's path towards backends.
    :param server: what stands before its routes (access, limits of rates, of requests and of bodies, shedding), trusted
        proxies and what is hidden; takes the place of a configuration's own.
    :param reactor: the reactor, the global one by default.
    :param log: where finished exchanges go in a stock Site, or ``None``.
    :raises ValueError: when an address is none; ConfigError when a configuration can't be compiled, or says of
        connections what a resource can't do.
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
        source = ""
        if server is None:
            server = model.Server()
            if isinstance(target, model.Config):
                server, source = target.server, target.source
        check_in_resource(server, source)
        self._table, self._owned = _routes(target, server, reactor)
        self._engine = Engine(self._table, server, reactor, log)
        self._mounts: dict[tuple[bytes, bool], Mounted] = {}
        self._entered: dict[bytes, Route] = {}
        self._started = False
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
            route = self._entered[prefix] = Route("resource", Enter(self.mounted(prefix)))
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
        RequestStream(self._engine, request).begin(lambda prefix: self.mounted(prefix, True))
        return NOT_DONE_YET

    def _start(self) -> None:
        reactor = self._engine.reactor
        if not self._started and IReactorCore.providedBy(reactor) and reactor.running:
            self._started = True
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
        self._engine.rest()
        for upstream in self._owned:
            upstream.close()


def _routes(target: Target, server: model.Server, reactor: Any) -> tuple[RouteTable, list[Any]]:
    """The routes of a target, and what lives because of them and has to be closed."""
    owned: list[Any] = []
    live: dict[str, Upstream] = {}
    if not isinstance(target, model.Config):
        upstream = _upstream(target, reactor)
        live[upstream.name] = upstream
        if upstream is not target:
            owned.append(upstream)
        target = model.Config(routes=(model.Route(name=upstream.name, upstream=upstream.name),))
    table = compile_config(evolve(target, server=server), reactor, live)
    for part in table.live:
        part.start()
    owned += [upstream for name, upstream in table.upstreams.items() if name not in live]
    return table, [*owned, *table.live]


def _upstream(target: str | Sequence[str] | model.Upstream | Upstream, reactor: Any) -> Upstream:
    if isinstance(target, Upstream):
        return target
    if not isinstance(target, model.Upstream):
        addresses: Any = [target] if isinstance(target, str) else target
        listed = isinstance(addresses, Sequence) and all(isinstance(address, str) for address in addresses)
        if not listed or not addresses:
            raise ValueError(f"no backend address, no upstream and no configuration: {target!r}")
        target = model.Upstream(backends=tuple(model.Backend(endpoint=address) for address in addresses))
    return Upstream("resource", target, reactor)


def _refuse_upgrade(exchange: Exchange) -> None:
    """A hook: say so instead of leaving the client waiting for a switch that never comes."""
    assert exchange.route is not None
    if exchange.request.upgrade in exchange.route.upgrade:
        raise ProtocolError(UPGRADE_UNSUPPORTED, "a stock Site can't switch protocols")
