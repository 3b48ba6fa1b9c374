"""Upstreams and their backends as they live: the pool, the balancer, and what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.endpoints import clientFromString

from revproxy.config import model
from revproxy.config.endpoints import backend_authority, client_endpoint
from revproxy.http.mapping import Names
from revproxy.upstream.balance import RoundRobin
from revproxy.upstream.pool import Pool

if TYPE_CHECKING:
    from revproxy.upstream.agent import UpstreamAgent


@define(eq=False)
class Backend:
    """One backend: an address, its pool, and its place in the balance.

    :ivar name: the address as written, for logs.
    :ivar authority: ``host:port`` as a Host field says it.
    """

    name: str
    upstream_name: str
    authority: bytes
    pool: Pool
    names: Names
    weight: int = 1
    backup: bool = False
    current: int = 0


@define(eq=False)
class Upstream:
    """A group of backends that serve the same thing.

    :ivar host: the Host field that backends get: ``None`` preserves the client's, ``b""`` is the
        backend's own, anything else is fixed.
    :ivar single: the only backend, when there is but one: no balancer is asked.
    """

    name: str
    backends: list[Backend]
    balancer: Any
    timeouts: model.UpstreamTimeouts
    host: bytes | None = None
    single: Backend | None = field(init=False, default=None)
    _agent: UpstreamAgent | None = field(init=False, default=None)

    @classmethod
    def of(cls, name: str, written: model.Upstream, reactor: Any) -> Upstream:
        """A live upstream from what was written.

        :raises ValueError: when an address is no endpoint.
        """
        host = {"preserve": None, "backend": b""}.get(written.host, written.host.encode("ascii"))
        backends = []
        for backend in written.backends:
            endpoint = clientFromString(reactor, client_endpoint(backend.endpoint))
            pool = Pool(endpoint, reactor, written.pool, written.timeouts)
            authority = backend_authority(backend.endpoint).encode("ascii")
            scheme = b"https" if client_endpoint(backend.endpoint).startswith(("tls:", "ssl:")) else b"http"
            sent = authority if host == b"" else host
            names = Names(internal=frozenset({authority.lower()}), host=sent, scheme=scheme)
            backends.append(Backend(backend.endpoint, name, authority, pool, names, backend.weight, backend.backup))
        upstream = cls(name, backends, RoundRobin(), written.timeouts, host)
        if len(backends) == 1:
            upstream.single = backends[0]
        return upstream

    @property
    def agent(self) -> UpstreamAgent:
        """This upstream as an ``IAgent``: ``treq.client.HTTPClient(upstream.agent)``."""
        if self._agent is None:
            from revproxy.upstream.agent import UpstreamAgent  # twisted.web: only where it is used

            self._agent = UpstreamAgent(self, self.backends[0].pool.reactor)
        return self._agent

    def close(self) -> None:
        """Close idle connections; busy ones end with their exchange."""
        for backend in self.backends:
            backend.pool.close()
