"""A ``twisted.web`` resource that forwards what is below it.

Rules of this module:

* in a stock Site what its channel can't do ends here: an upgrade is 501 instead of silence;
* in a :class:`ReverseProxySite` no Request is made: ``route`` leads to the same routes directly;
* the path below the mount point is what is forwarded, and what comes back is mapped to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorCore
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from revproxy.accesslog import AccessLog
from revproxy.config import model
from revproxy.config.compile import compile_config
from revproxy.downstream.mount import Enter, Mounted
from revproxy.downstream.stock import RequestStream
from revproxy.engine import Engine
from revproxy.exchange import Exchange
from revproxy.fault import UPGRADE_UNSUPPORTED, ProtocolError
from revproxy.handlers.forward import Forward
from revproxy.http.forwarding import hidden_names
from revproxy.routing import Entry, Route, RouteTable
from revproxy.upstream.group import Upstream

Target = str | Sequence[str] | model.Upstream | Upstream | model.Config

_MOUNTS = 64  # mount points that are remembered; where a parent makes them up, a client chooses them


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
        for upstream in self._owned:
            upstream.close()


def _routes(target: Target, server: model.Server, reactor: Any) -> tuple[RouteTable, list[Any]]:
    """The routes of a target, and what lives because of them and has to be closed."""
    if isinstance(target, model.Config):
        table = compile_config(target, reactor)
        for part in table.live:
            part.start()
        return table, [*table.upstreams.values(), *table.live]
    owned: list[Any] = []
    if isinstance(target, Upstream):
        upstream = target
    else:
        if not isinstance(target, model.Upstream):
            addresses: Any = [target] if isinstance(target, str) else target
            listed = isinstance(addresses, Sequence) and all(isinstance(address, str) for address in addresses)
            if not listed or not addresses:
                raise ValueError(f"no backend address, no upstream and no configuration: {target!r}")
            target = model.Upstream(backends=tuple(model.Backend(endpoint=address) for address in addresses))
        upstream = Upstream("resource", target, reactor)
        owned.append(upstream)
    rate = server.minimum_rate
    route = Route(
        name=upstream.name,
        handler=Forward(upstream, hidden_names(server.hide), server.forwarded),
        max_body=server.limits.body,
        minimum_rate=None if rate is None else (rate.rate, rate.over),
        upgrade=frozenset({b"websocket"}),
        client_response=() if upstream.sticky is None else (upstream.sticky.renew,),
    )
    return RouteTable.build([Entry(route)], {upstream.name: upstream}), owned


def _refuse_upgrade(exchange: Exchange) -> None:
    """A hook: say so instead of leaving the client waiting for a switch that never comes."""
    assert exchange.route is not None
    if exchange.request.upgrade in exchange.route.upgrade:
        raise ProtocolError(UPGRADE_UNSUPPORTED, "a stock Site can't switch protocols")
