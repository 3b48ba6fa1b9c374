"""One backend as it lives: its address, its pool, its place in the balance and what is known of its health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve

from revproxy.config import model
from revproxy.http.mapping import Names
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.endpoint import backend_endpoint
from revproxy.upstream.passive import Outlier
from revproxy.upstream.pool import Pool

# What the traffic says of a backend.
WELL, EJECTED, TRIAL = "well", "ejected", "on trial"
# What the operator wants of it, or discovery.
SERVING, DRAINING, DRAINED, GONE = "serving", "draining", "drained", "gone"


@define(eq=False)
class Backend:
    """One backend. Who may get requests is the group's decision (:mod:`revproxy.upstream.group`).

    :ivar name: the address as written, for logs.
    :ivar authority: ``host:port`` as a Host field says it.
    :ivar full_weight: its share, as written or set. :ivar weight: the same, or less while it starts slowly.
    :ivar tier: 0 serves, a higher one when those below it can't.
    :ivar most: requests in flight, at most. :ivar most_connections: connections, at most.
    :ivar active: requests in flight. :ivar requests: all that it was ever sent.
    :ivar written: what was written of it, or found.
    :ivar found_as: the host name under which it was found, which its certificate is for.
    :ivar duty: ``SERVING``, ``DRAINING`` (no new clients), ``DRAINED`` or ``GONE`` (from what discovery found).
    :ivar checked: whether its health checks pass. :ivar health: ``WELL``, ``EJECTED`` or ``TRIAL``: by the traffic.
    :ivar trying: the exchange that is to show whether it is well again, when one was sent out for that.
    :ivar answered: what it was ejected for were answers of its own, not their absence.
    :ivar suspect: it failed the last request, or is on trial: an answer is news.
    :ivar freed: called with the backend when a request of it has ended, where somebody waits for that.
    """

    name: str
    upstream_name: str
    authority: bytes
    pool: Pool
    names: Names
    written: model.Backend | None = None
    found_as: str | None = None
    full_weight: int = 1
    tier: int = 0
    most: int | None = None
    most_connections: int | None = None
    weight: float = 1
    current: float = 0
    ewma: float = 0
    ewma_at: float = 0
    active: int = 0
    requests: int = 0
    duty: str = SERVING
    checked: bool = True
    health: str = WELL
    trying: Any = None
    answered: bool = False
    suspect: bool = False
    outlier: Outlier | None = None
    monitor: Any = None
    freed: Callable[[Backend], None] | None = None

    @property
    def usable(self) -> bool:
        """Whether it may get requests by all that is known."""
        return self.duty is SERVING and self.checked and self.health is WELL

    @property
    def full(self) -> bool:
        """Whether it has as many requests or connections as it may have."""
        if self.most is not None and self.active >= self.most:
            return True
        most = self.most_connections
        return most is not None and (self.active >= most or (not self.pool.idle and self.pool.open >= most))

    @property
    def state(self) -> str:
        """All that is known of it: up, down, ejected, on trial, draining, drained or gone."""
        if self.duty is not SERVING:
            return self.duty
        if not self.checked:
            return "down"
        return "up" if self.health is WELL else self.health


def make_backend(
    written: model.Backend,
    upstream: str,
    config: model.Upstream,
    credentials: Credentials | None,
    sent: bytes | None,
    host: str | None,
    reactor: Any,
) -> Backend:
    """A live backend from what was written of it.

    :param credentials: for TLS, where there is TLS of ours; all backends of an upstream share them.

    :param sent: the Host that backends get, as in :class:`~revproxy.upstream.group.Upstream`.
    :param host: the name under which it was found: that is what its certificate is for, and its own Host.
    :raises ValueError: when its address can't be used.
    """
    if credentials is not None and credentials.name is None and host is not None:
        credentials = evolve(credentials, name=host)
    endpoint = backend_endpoint(written.endpoint, credentials, reactor)
    own = endpoint.authority
    authority = own
    if host is not None:
        _, _, port = own.rpartition(b":")
        authority = host.encode("ascii") + (b":" + port if port.isdigit() and port != own else b"")
    pool = Pool(endpoint, reactor, config.pool, config.timeouts, config.proxy_protocol)
    names = Names(
        internal=frozenset({authority.lower(), own.lower()}),
        host=authority if sent == b"" else sent,
        scheme=endpoint.scheme,
    )
    return Backend(written.endpoint, upstream, authority, pool, names, found_as=host)
