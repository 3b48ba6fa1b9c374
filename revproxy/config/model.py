"""What the operator wrote: frozen values, one class for each table of the configuration.

Rules of this module:

* a class here holds what was written and its default, never live state and never a decision;
* durations are ``float`` seconds, sizes ``int`` bytes, rates ``float`` bytes (or events) a second;
  ``None`` is the written word ``"off"``;
* text is ``str``; what goes on the wire is made ``bytes`` by :mod:`revproxy.config.compile`;
* these classes are the Python API: what TOML can say, ``Config(...)`` can say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from attrs import Factory, field, frozen

from revproxy.config.access import Access as Access
from revproxy.config.auth import (
    ApiKeyAuth as ApiKeyAuth,
    Auth as Auth,
    BasicAuth as BasicAuth,
    CertificateAuth as CertificateAuth,
    ForwardAuth as ForwardAuth,
    JwtAuth as JwtAuth,
)
from revproxy.config.browsers import Cookies as Cookies, Cors as Cors, SecurityHeaders as SecurityHeaders
from revproxy.config.caching import Cache as Cache, CacheBypass as CacheBypass, CacheStore as CacheStore
from revproxy.config.coding import Compress as Compress
from revproxy.config.filters import Filter as Filter, FilterRule as FilterRule
from revproxy.config.guards import BanRule as BanRule, Bans as Bans, Shed as Shed
from revproxy.config.ratelimit import RateLimit as RateLimit
from revproxy.config.tls import (
    Acme as Acme,
    ClientCertificates as ClientCertificates,
    Hsts as Hsts,
    ListenTls as ListenTls,
)
from revproxy.config.upstreams import (
    Backend as Backend,
    BackendTls as BackendTls,
    Breaker as Breaker,
    Dns as Dns,
    Hashing as Hashing,
    HealthCheck as HealthCheck,
    Passive as Passive,
    Pool as Pool,
    Retry as Retry,
    Split as Split,
    Srv as Srv,
    Sticky as Sticky,
    Upstream as Upstream,
    UpstreamTimeouts as UpstreamTimeouts,
)
from revproxy.config.words import (
    ChangedField,
    CookieName,
    Count,
    Duration,
    DurationOrZero,
    FieldName,
    FieldValue,
    Host,
    HostPattern,
    Identity,
    Location,
    MediaType,
    Method,
    Name,
    Network,
    Path,
    PathPattern,
    PathRegex,
    PathTemplate,
    Port,
    Protocol,
    Pseudonym,
    Rate,
    Reference,
    Size,
    SizeOrZero,
    Status,
    Template,
    Text,
    TypePattern,
)

#: Fields of a backend's response that would tell a client what stands behind the proxy.
IDENTITY_FIELDS = (
    "server",
    "x-powered-by",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-runtime",
    "x-backend-server",
    "alt-svc",
)


@frozen(kw_only=True)
class MinimumRate:
    """The least a peer has to send or take, in bytes a second, averaged over ``over`` seconds."""

    rate: Rate = 240.0
    over: Duration = 10.0


@frozen(kw_only=True)
class ClientTimeouts:
    """How long a client may take, in seconds."""

    head: Duration = 10.0
    body: Duration = 30.0
    keep_alive: Duration = 75.0
    tunnel: Duration = 3600.0


@frozen(kw_only=True)
class Limits:
    """How much a client may send or hold; ``None`` is no limit.

    ``connections`` of ``None`` follows the descriptor limit of the process.
    """

    head: Size = 32 * 1024
    fields: Count = 100
    target: Size = 8 * 1024
    body: SizeOrZero | None = None
    connections: Count | None = None
    connections_per_address: Count | None = None
    requests: Count | None = None
    requests_per_address: Count | None = None
    requests_per_connection: Count | None = None


@frozen(kw_only=True)
class Server:
    """The ``[server]`` table. What ``rate_limit`` says holds for all routes together."""

    workers: Literal[1] = 1
    trusted_proxies: tuple[Network, ...] = ()
    drain_timeout: DurationOrZero = 30.0
    timeouts: ClientTimeouts = ClientTimeouts()
    limits: Limits = Limits()
    minimum_rate: MinimumRate | None = MinimumRate()
    shed: Shed | None = None
    bans: Bans | None = None
    underscores: Literal["drop", "pass", "refuse"] = "drop"
    merge_slashes: bool = False
    forwarded: bool = False
    via: Pseudonym | None = "revproxy"
    via_response: bool = False
    hide: tuple[FieldName, ...] = IDENTITY_FIELDS
    rate_limit: tuple[RateLimit, ...] = ()
    access: Access | None = None
    security_headers: SecurityHeaders | None = None


@frozen(kw_only=True)
class AccessLog:
    """The ``[access_log]`` table; ``path`` of ``"-"`` is standard output."""

    enabled: bool = True
    format: Literal["combined", "json"] = "combined"
    path: Name = "-"


@frozen(kw_only=True)
class Listen:
    """One ``[[listen]]`` table: where clients connect.

    ``name`` is what ``match.listen`` refers to; it defaults to the endpoint string. Peers in
    ``proxy_protocol`` have to begin each connection with a PROXY protocol header. ``http2`` takes HTTP/2 without TLS,
    from clients that begin so (RFC 9113 3.3).
    """

    endpoint: Name
    name: Name | None = None
    tls: ListenTls | None = None
    proxy_protocol: tuple[Network, ...] = ()
    http2: bool = False


@frozen(kw_only=True)
class Match:
    """The conditions of a route; an empty tuple or mapping asks nothing.

    All conditions must hold; within one, any of its values will do. In ``header``, ``query`` and
    ``cookie`` the value ``"*"`` asks only that the name is there. ``client_certificate`` asks for a verified
    certificate: ``"*"`` any, a subject (RFC 4514), or a name with its type, such as ``"DNS:a.example"``.
    """

    host: tuple[HostPattern, ...] = ()
    path: tuple[PathPattern, ...] = ()
    method: tuple[Method, ...] = ()
    header: Mapping[FieldName, tuple[FieldValue, ...]] = Factory(dict)
    query: Mapping[Name, tuple[Text, ...]] = Factory(dict)
    cookie: Mapping[CookieName, tuple[Text, ...]] = Factory(dict)
    content_type: tuple[MediaType, ...] = ()
    client: tuple[Network, ...] = ()
    scheme: tuple[Literal["http", "https"], ...] = ()
    listen: tuple[Name, ...] = ()
    client_certificate: tuple[Identity, ...] = ()


@frozen(kw_only=True)
class QueryRewrite:
    """Changes to the query string, by parameter name."""

    set: Mapping[Name, Text] = Factory(dict)
    remove: tuple[Name, ...] = ()


@frozen(kw_only=True)
class Rewrite:
    """Changes to the request's target, in this order; see ``docs/rewriting.rst``.

    ``regex`` is matched against the path and ``to`` may use its groups (``$1``, ``${name}``).
    """

    strip_prefix: Path | None = None
    add_prefix: Path | None = None
    replace: Path | None = None
    regex: PathRegex | None = None
    to: Text | None = None
    query: QueryRewrite | None = None


@frozen(kw_only=True)
class HeaderChanges:
    """Fields to remove, set (replacing) and add, in that order; values may use ``$variables``."""

    remove: tuple[ChangedField, ...] = ()
    set: Mapping[ChangedField, Template] = Factory(dict)
    add: Mapping[ChangedField, Template] = Factory(dict)


@frozen(kw_only=True)
class Headers:
    """The ``headers`` table of a route."""

    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()


@frozen(kw_only=True)
class Respond:
    """A fixed answer."""

    status: Status = 200
    body: Text = ""
    content_type: FieldValue = "text/plain; charset=utf-8"
    headers: Mapping[ChangedField, FieldValue] = Factory(dict)


@frozen(kw_only=True)
class Redirect:
    """A redirect: either a whole target ``to`` (with ``$variables``) or the parts that change."""

    status: Literal[301, 302, 303, 307, 308] = 308
    to: Location | None = None
    scheme: Literal["http", "https"] | None = None
    host: Host | None = None
    port: Port | None = None
    path: PathTemplate | None = None


@frozen(kw_only=True)
class Buffer:
    """Whole bodies up to these sizes are held before they are passed on; ``None`` streams."""

    request: Size | None = None
    response: Size | None = None


@frozen(kw_only=True)
class RouteLimits:
    """Limits of one route. ``body`` takes the place of the server's, which ``"server"`` keeps.

    ``body_by_type`` has limits of their own for bodies of some media types; the most specific pattern counts.
    ``requests`` and ``requests_per_address`` count those of this route, beside the server's, which count all.
    """

    body: SizeOrZero | Literal["server"] | None = "server"
    requests: Count | None = None
    requests_per_address: Count | None = None
    body_by_type: Mapping[TypePattern, SizeOrZero | None] = Factory(dict)


@frozen(kw_only=True)
class Middleware:
    """One of the user's own hooks: ``"module:name"``, or the callable itself.

    ``at`` is the hook point. A hook that raises or takes longer than ``timeout`` seconds refuses
    the request when ``fail`` is ``"closed"`` and is passed over when it is ``"open"``.
    """

    call: Reference | Callable[..., Any]
    at: Literal["client-request", "backend-request", "backend-response", "client-response"] = "client-request"
    timeout: Duration | None = 10.0
    fail: Literal["open", "closed"] = "closed"


@frozen(kw_only=True)
class Route:
    """One ``[[routes]]`` table. Exactly one of the last six says what ends the route.

    ``upgrade`` names the protocols a client may switch to; ``minimum_rate`` and ``limits`` of a
    route take the place of the server's; ``minimum_rate`` of ``"server"`` keeps the server's.
    ``compress`` and ``filter`` may be written ``true`` for the defaults of their tables. ``priority`` says who goes
    first where the server sheds load: ``"low"`` first, ``"critical"`` never. Requests with a body of a type that is not
    among ``content_types`` are refused.
    """

    name: Name | None = None
    match: Match = Match()
    auth: Auth | None = None
    rewrite: Rewrite | None = None
    headers: Headers | None = None
    access: Access | None = None
    limits: RouteLimits | None = None
    content_types: tuple[TypePattern, ...] = ()
    minimum_rate: MinimumRate | Literal["server"] | None = "server"
    rate_limit: tuple[RateLimit, ...] = ()
    priority: Literal["normal", "critical", "low"] = "normal"
    buffer: Buffer | None = None
    filter: Filter | None = None
    compress: Compress | None = None
    cors: Cors | None = None
    cookies: Cookies | None = None
    security_headers: SecurityHeaders | Literal["server"] | None = "server"
    upgrade: tuple[Protocol, ...] = ("websocket",)
    middleware: tuple[Middleware, ...] = ()
    cache: Cache | None = None
    retry: Retry | None = Retry()
    upstream: Name | None = None
    split: Split | None = None
    respond: Respond | None = None
    redirect: Redirect | None = None
    resource: Reference | Any | None = None
    files: Name | None = None


@frozen(kw_only=True)
class Config:
    """A whole configuration."""

    server: Server = Server()
    access_log: AccessLog = AccessLog()
    listen: tuple[Listen, ...] = ()
    upstreams: Mapping[Name, Upstream] = Factory(dict)
    routes: tuple[Route, ...] = ()
    cache: CacheStore = CacheStore()
    #: Folder that relative paths in the configuration start from.
    base: str = field(default=".")
    #: The file it came from, for messages; ``""`` for none.
    source: str = field(default="", eq=False)
