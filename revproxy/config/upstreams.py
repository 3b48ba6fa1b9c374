"""What the operator wrote about upstreams: their backends, how these are chosen, watched and reached.

The rules are those of :mod:`revproxy.config.model`, which has these classes too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import Factory, frozen

from revproxy.config.words import (
    ChangedField,
    CookieName,
    Count,
    CountOrZero,
    Duration,
    FieldValue,
    Host,
    KeyOf,
    Method,
    Name,
    Percent,
    Regex,
    RetryOn,
    Secret,
    Share,
    SizeOrZero,
    Status,
    StatusRange,
    Target,
    Tier,
    UpstreamHost,
)


@frozen(kw_only=True)
class Backend:
    """One backend: a client endpoint string and its share.

    ``endpoint`` is what was written (an endpoint string, ``host:port`` or ``http://host:port``);
    :func:`revproxy.config.endpoints.client_endpoint` turns it into an endpoint string. ``backup``
    is a tier: 0 serves, 1 (written ``true``) serves when no other is left, 2 when no 1 is, and so on.
    ``max_requests`` and ``max_connections`` take the place of the upstream's.
    """

    endpoint: Name
    weight: Count = 1
    backup: Tier = 0
    max_requests: Count | None = None
    max_connections: Count | None = None


@frozen(kw_only=True)
class UpstreamTimeouts:
    """How long a backend may take, in seconds; ``total`` bounds a whole exchange."""

    connect: Duration = 5.0
    first_byte: Duration = 60.0
    idle: Duration = 60.0
    total: Duration | None = None


@frozen(kw_only=True)
class Pool:
    """How connections to one backend are kept: ``idle`` at most, for ``idle_time`` seconds, none older than ``age``."""

    idle: CountOrZero = 256
    idle_time: Duration = 60.0
    age: Duration | None = None


@frozen(kw_only=True)
class Hashing:
    """What ``balance = "hash"`` goes by.

    :param by: ``client``, ``path``, ``header:NAME``, ``cookie:NAME``, ``query:NAME`` or ``module:callable``.
    :param load: requests in flight at one backend against the mean of all, above which the next one on the
        ring takes over; ``None`` for no bound.
    """

    by: KeyOf = "client"
    load: Percent | None = 1.25


@frozen(kw_only=True)
class Sticky:
    """A cookie that keeps a client at the backend it was given.

    Without a ``cookie`` its name is made from the upstream's. ``secret`` signs it; without one it is made at
    the start, and cookies don't outlive the process.
    ``max_age`` of ``None`` is a cookie of the browser's session.
    """

    cookie: CookieName | None = None
    secret: Secret | None = None
    max_age: Duration | None = None
    same_site: Literal["lax", "strict", "none"] = "lax"


@frozen(kw_only=True)
class HealthCheck:
    """Asks each backend whether it is well, every ``interval`` seconds.

    ``rise`` checks in a row have to pass before a backend serves again, ``fall`` to fail before it
    does not. The first one after the start decides alone. ``timeout`` is 2 seconds, or the interval where that is
    shorter, unless it is written. ``status`` and ``body`` (a regular
    expression, looked for in the first 64 KB) say what passes.
    """

    type: Literal["http", "tcp", "tls"] = "http"
    path: Target = "/"
    method: Method = "GET"
    host: FieldValue | None = None
    headers: Mapping[ChangedField, FieldValue] = Factory(dict)
    status: tuple[StatusRange, ...] = ("200-399",)
    body: Regex | None = None
    interval: Duration = 5.0
    timeout: Duration | None = None
    rise: Count = 2
    fall: Count = 3
    initial: Literal["up", "down"] = "up"


@frozen(kw_only=True)
class Passive:
    """When the traffic itself shows that a backend is ill, it gets none for a while.

    ``failures`` in a row eject it, or a share of ``error_rate`` among at least ``minimum`` requests
    within ``window`` seconds. The first time lasts ``eject`` seconds, each further one twice as long,
    up to ``eject_most``; no more than ``share`` of the backends are ejected at a time (but always one may be).
    """

    failures: Count | None = 5
    error_rate: Share | None = 0.5
    minimum: Count = 20
    window: Duration = 10.0
    statuses: tuple[Status, ...] = (500, 502, 503, 504)
    eject: Duration = 10.0
    eject_most: Duration = 300.0
    share: Share = 0.5


@frozen(kw_only=True)
class Breaker:
    """Stops asking an upstream that fails: 503 at once for ``open`` seconds, then ``probes`` requests are tried.

    It opens at ``error_rate`` among at least ``minimum`` requests within ``window`` seconds.
    """

    error_rate: Share = 0.5
    minimum: Count = 20
    window: Duration = 10.0
    open: Duration = 5.0
    probes: Count = 3


@frozen(kw_only=True)
class BackendTls:
    """How TLS is spoken to backends.

    ``ca`` (a PEM file) takes the place of the system's authorities; ``name`` is what the certificate
    has to be for and what SNI says, instead of the endpoint's host; ``certificate`` and ``key`` (PEM
    files; the key may be in the certificate's) are shown to a backend that asks. ``insecure`` takes any certificate.
    """

    ca: Name | None = None
    name: Host | None = None
    certificate: Name | None = None
    key: Name | None = None
    insecure: bool = False


@frozen(kw_only=True)
class Dns:
    """Backends from A and AAAA records: ``name`` is ``host:port``.

    ``servers`` are addresses, with ``:port`` where it is not 53; without any, the system's. An answer is
    asked for anew when its TTL has passed, but no earlier than ``at_least`` seconds and no later than ``at_most``.
    """

    name: Name
    servers: tuple[Name, ...] = ()
    at_least: Duration = 5.0
    at_most: Duration = 300.0


@frozen(kw_only=True)
class Srv:
    """Backends from SRV records (RFC 2782); the rest is as in :class:`Dns`."""

    name: Name
    servers: tuple[Name, ...] = ()
    at_least: Duration = 5.0
    at_most: Duration = 300.0


@frozen(kw_only=True)
class Upstream:
    """One ``[upstreams.NAME]`` table: a group of backends that serve the same thing.

    The backends are those written and those that ``dns``, ``srv`` or ``file`` find. ``host`` is
    ``"preserve"``, ``"backend"`` (the backend's own ``host:port``) or a fixed name. ``panic`` is the
    share of usable backends below which all are used again.
    """

    backends: tuple[Backend, ...] = ()
    dns: Dns | None = None
    srv: Srv | None = None
    file: Name | None = None
    balance: Literal["round-robin", "least-requests", "two-choices", "random", "hash"] = "round-robin"
    hash: Hashing = Hashing()
    sticky: Sticky | None = None
    slow_start: Duration | None = None
    max_requests: Count | None = None
    max_connections: Count | None = None
    queue: CountOrZero = 1000
    queue_time: Duration = 5.0
    health: HealthCheck | None = None
    passive: Passive | None = Passive()
    panic: Share = 0.2
    breaker: Breaker | None = None
    tls: BackendTls | None = None
    proxy_protocol: Literal["v1", "v2"] | None = None
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    pool: Pool = Pool()
    host: UpstreamHost = "preserve"


@frozen(kw_only=True)
class Retry:
    """When a request that failed is sent once more.

    ``on`` has ``connect`` (no connection came), ``reset`` (it was closed before a response head),
    ``timeout`` (no head within ``per_try``, or the upstream's ``first_byte``) and statuses, as text. What was sent in
    part is repeated for ``methods`` only. ``tries`` counts the first one too. A backend is asked again only
    after ``backoff`` seconds, doubled each time, and never without. Retries are at most ``budget`` of
    an upstream's requests. ``body`` bytes of a request are kept to be sent again.
    """

    on: tuple[RetryOn, ...] = ("connect", "reset", "timeout")
    methods: tuple[Method, ...] = ("GET", "HEAD", "OPTIONS")
    tries: Count = 3
    per_try: Duration | None = None
    backoff: Duration | None = None
    budget: Share | None = 0.2
    body: SizeOrZero = 64 * 1024


@frozen(kw_only=True)
class Split:
    """Shares requests out to several upstreams, by weight.

    ``by`` (as in :class:`Hashing`) sends equal keys the same way; without it, and for requests that have no such
    key, chance decides.
    """

    upstreams: Mapping[Name, CountOrZero]
    by: KeyOf | None = None
