"""What was written + what lives -> a route table.

Rules of this module:

* it raises, or gives a whole table: never half of one;
* what a feature needs beyond what is always there is imported where the feature is compiled: a cache is 50 ms of a
  start, filters are 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from revproxy.access.files import NetworkFiles
from revproxy.access.rules import compile_access
from revproxy.coding.encoders import MissingPackage
from revproxy.config import model
from revproxy.config.conditions import conditions
from revproxy.config.errors import ConfigError, Problem
from revproxy.config.lines import locate
from revproxy.config.load import load_members
from revproxy.handlers.forward import Forward
from revproxy.handlers.respond import Redirect, Respond
from revproxy.handlers.split import Split
from revproxy.http.forwarding import hidden_names
from revproxy.http.rewrite import prefix_mapping
from revproxy.keys import key_reader
from revproxy.limits.caps import Cap
from revproxy.limits.rate import Limit, Limits
from revproxy.middleware.access import GuardedTable, access_hook
from revproxy.middleware.auth import give_cookies
from revproxy.middleware.bodies import body_rules
from revproxy.middleware.browsers import cookies, cors, security_headers
from revproxy.middleware.buffer import buffering
from revproxy.middleware.compress import compressing, narrowing, remember_asked
from revproxy.middleware.guards import Capping, Load
from revproxy.middleware.headers import request_changes, response_changes
from revproxy.middleware.policy import load_object, policy
from revproxy.middleware.rate import FirstLimited, Limited, RateLimiting, compile_limits
from revproxy.middleware.rewrite import rewriting
from revproxy.routing import Entry, Route, RouteTable
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.group import Upstream
from revproxy.upstream.retry import Policy

if TYPE_CHECKING:
    from revproxy.auth.compile import Auths
    from revproxy.config.stores import Stores


def compile_config(config: model.Config, reactor: Any, live: Mapping[str, Upstream] | None = None) -> RouteTable:
    """The route table of a configuration.

    :param live: upstreams that live already, by name; they are used instead of new ones.
    :raises ConfigError: when something that was named can't be found or used.
    """
    problems: list[Problem] = []
    upstreams = dict(live or {})
    for name, written in config.upstreams.items():
        if name not in upstreams:
            key: tuple[str, ...] = ("upstreams", name)
            try:
                if written.file is not None:
                    load_members(str(Path(config.base, written.file)), others=True)
                if written.tls is not None:
                    key = ("upstreams", name, "tls")
                    Credentials.of(written.tls, config.base)
                    key = ("upstreams", name)
                upstreams[name] = Upstream(name, written, reactor, base=config.base)
            except ConfigError as e:
                problems += e.errors
            except ValueError as e:
                line = locate(config.source, key) if config.source else None
                problems.append(Problem(key=".".join(key), text=str(e), line=line, source=config.source))
    if problems:
        raise ConfigError(problems)
    # a backend's Via names what is behind; ours is added by a hook where it is asked for
    hide = hidden_names((*config.server.hide, "via"))
    forwards = _Forwards(upstreams, hide, config.server.forwarded)
    auths = _auths(config, upstreams, hide, reactor)
    secrets = _secrets(config)
    stores = _stores(config, reactor)
    try:
        limits = compile_limits(config.server.rate_limit, config.base)
    except ValueError as e:
        line = locate(config.source, ("server", "rate_limit")) if config.source else None
        raise ConfigError([Problem(key="server.rate_limit", text=str(e), line=line, source=config.source)]) from e
    entries = []
    guards = _Guards(config.server, reactor)
    files = NetworkFiles(config.base, reactor)
    for index, route in enumerate(config.routes):
        try:
            entries.append(
                _entry(config, route, index, forwards, auths, stores, limits, files, reactor, guards, secrets)
            )
        except ConfigError as e:  # a list of networks, with its own lines
            problems += e.errors
        except MissingPackage as e:
            line = locate(config.source, ("routes", index, "compress")) if config.source else None
            problems.append(Problem(key=f"routes[{index}].compress", text=str(e), line=line, source=config.source))
        except ValueError as e:
            line = locate(config.source, ("routes", index)) if config.source else None
            name = f" ({route.name})" if route.name else ""
            problems.append(Problem(key=f"routes[{index}]{name}", text=str(e), line=line, source=config.source))
    guarded = config.server.access
    if guarded is not None:
        try:
            refuses = compile_access(guarded, files.get)
        except ConfigError as e:
            problems += e.errors
    if problems:
        raise ConfigError(problems)
    kept = {} if stores is None else stores.stores
    table: RouteTable
    if guarded is None:
        table = RouteTable.build(entries, upstreams, kept)
    else:
        table = guarded_table = GuardedTable.build(entries, upstreams, kept)
        guarded_table.secrets = secrets
        guarded_table.guard(refuses, guarded.status, _told(config.server.security_headers))
    table.load = guards.load
    table.secrets = secrets
    table.told = _told(config.server.security_headers)
    table.live = (*files.all.values(), *(() if auths is None else auths.tasks))
    return table


def _auths(
    config: model.Config, upstreams: Mapping[str, Upstream], hide: frozenset[bytes], reactor: Any
) -> Auths | None:
    if all(route.auth is None for route in config.routes):
        return None
    from revproxy.auth.compile import Auths

    return Auths(upstreams, hide, reactor, config.base)


def _secrets(config: model.Config) -> frozenset[bytes]:
    if all(route.auth is None for route in config.routes):
        return frozenset()
    from revproxy.auth.compile import query_secrets

    return query_secrets(route.auth for route in config.routes)


def _hidden(config: model.Config) -> frozenset[str]:
    if all(route.auth is None for route in config.routes):
        return frozenset()
    from revproxy.auth.compile import hidden_places

    return hidden_places(route.auth for route in config.routes)


def _stores(config: model.Config, reactor: Any) -> Stores | None:
    if all(route.cache is None for route in config.routes):
        return None
    from revproxy.config.stores import Stores

    return Stores(config.cache, reactor)


def _told(written: model.SecurityHeaders | None) -> tuple[Any, ...]:
    return () if written is None else (security_headers(written),)


class _Forwards:
    """The handlers of upstreams: one for each way to retry that routes ask for, made when it is asked for."""

    def __init__(self, upstreams: Mapping[str, Upstream], hide: frozenset[bytes], forwarded: bool) -> None:
        self.upstreams = upstreams
        self._hide = hide
        self._forwarded = forwarded
        self._made: dict[tuple[str, model.Retry | None], Forward] = {}

    def get(self, name: str, retry: model.Retry | None) -> Forward:
        key = (name, retry)
        if key not in self._made:
            self._made[key] = Forward(self.upstreams[name], self._hide, self._forwarded, Policy(retry))
        return self._made[key]


class _Guards:
    """What decides who comes in, before everything else: load, caps. What they count is the whole server's."""

    def __init__(self, server: model.Server, reactor: Any) -> None:
        self.load = None if server.shed is None else Load(server.shed, reactor)
        self._everything = _cap(server.limits)

    def hooks(self, written: model.Route, name: str, upstreams: Mapping[str, Upstream]) -> list[Any]:
        """The client-request hooks of a route."""
        hooks: list[Any] = []
        if self.load is not None and written.priority != "critical":
            queues = _upstreams(written, upstreams) if written.cache is None else []
            hooks.append(self.load.hook(written.priority, queues))
        route = None if written.limits is None else _cap(written.limits)
        if self._everything is not None or route is not None:
            hooks.append(Capping(self._everything, route, name))
        return hooks

    def behind_cache(self, written: model.Route, upstreams: Mapping[str, Upstream], inner: Any) -> Any:
        """What stands between a route's cache and its handler; the handler itself where nothing does."""
        queues = _upstreams(written, upstreams)
        if self.load is None or written.priority == "critical" or not queues:
            return inner
        return self.load.handler(written.priority, queues, inner)


def _upstreams(written: model.Route, upstreams: Mapping[str, Upstream]) -> list[Upstream]:
    names = (written.upstream, *(written.split.upstreams if written.split is not None else ()))
    return [upstreams[name] for name in names if name is not None]


def _cap(limits: model.Limits | model.RouteLimits) -> Cap | None:
    if limits.requests is None and limits.requests_per_address is None:
        return None
    return Cap(limits.requests, limits.requests_per_address)


def _entry(
    config: model.Config,
    written: model.Route,
    index: int,
    forwards: _Forwards,
    auths: Auths | None,
    stores: Stores | None,
    server_limits: list[Limit],
    files: NetworkFiles,
    reactor: Any,
    guards: _Guards,
    secrets: frozenset[bytes],
) -> Entry:
    server = config.server
    name = written.name or f"route-{index + 1}"
    client_request: list[Any] = guards.hooks(written, name, forwards.upstreams)
    backend_request: list[Any] = []
    backend_response: list[Any] = []
    client_response: list[Any] = []
    points = {
        "client-request": client_request,
        "backend-request": backend_request,
        "backend-response": backend_response,
        "client-response": client_response,
    }
    browsers = config.server.security_headers if written.security_headers == "server" else written.security_headers
    assert not isinstance(browsers, str)
    told = _told(browsers)
    client_response += told  # the first here is the last to run
    if written.cookies is not None:
        client_response.append(cookies(written.cookies))
    if written.access is not None:
        client_request.append(access_hook(compile_access(written.access, files.get), written.access.status))
    limits = [*server_limits, *compile_limits(written.rate_limit, config.base, server.rate_limit)]
    # of answers of a cache nothing can be left out where there is none
    misses = [limit for limit in limits if not limit.hits] if written.cache is not None else []
    counted = [limit for limit in limits if limit not in misses]
    if counted:
        client_request.append(RateLimiting(Limits(counted), reactor))
    bodies = model.RouteLimits() if written.limits is None else written.limits
    max_body = server.limits.body if bodies.body == "server" else bodies.body
    assert not isinstance(max_body, str)
    if written.content_types or bodies.body_by_type:
        client_request.append(body_rules(written.content_types, bodies.body_by_type, max_body))
    compression = None
    if written.compress is not None:
        compression = compressing(written.compress)
        backend_response.append(compression)  # the first here is the last to run
    if written.filter is not None:
        # before whoever works with what a request says: authentication, the user's hooks, rewriting
        from revproxy.middleware.filters import filtering

        client_request.append(filtering(written.filter, _hidden(config)))
    if written.cors is not None:
        # a preflight has no credentials, so it is answered before anybody asks for some
        answers, tells = cors(written.cors)
        client_request.append(answers)
        client_response.append(tells)
    if written.auth is not None and auths is not None:
        # before the user's hooks, which may ask who it is, and before the target is rewritten
        client_request.append(auths.get(written.auth))
        if written.auth.forward is not None and written.auth.forward.copy_cookies:
            client_response.append(give_cookies)
    for middleware in written.middleware:
        points[middleware.at].append(policy(middleware, reactor, config.base))
    if written.buffer is not None and written.buffer.request is not None:
        client_request.append(buffering(written.buffer.request))
    mapping = None
    if written.rewrite is not None:
        client_request.append(rewriting(written.rewrite, server.merge_slashes))
        mapping = prefix_mapping(written.rewrite)
    if written.headers is not None:
        if written.headers.request != model.HeaderChanges():
            backend_request.append(request_changes(written.headers.request))
        if written.headers.response != model.HeaderChanges():
            client_response.append(response_changes(written.headers.response))
    client_response += [
        upstream.sticky.renew for upstream in _upstreams(written, forwards.upstreams) if upstream.sticky is not None
    ]
    if server.via_response and server.via is not None:
        via = model.HeaderChanges(add={"Via": f"1.1 {server.via}"})
        client_response.append(response_changes(via))
    if backend_request and (written.compress is not None or written.cors is not None):
        backend_request.insert(0, remember_asked)
    handler = _handler(config, written, forwards)
    if misses:
        handler = Limited(handler, RateLimiting(Limits(misses), reactor))
    if written.cache is not None:
        handler = guards.behind_cache(written, forwards.upstreams, handler)
    passing: tuple[Any, ...] = ()
    keeping: tuple[Any, ...] = ()
    if written.cache is not None and stores is not None:
        from revproxy.cache.passing import Passing

        if written.compress is not None:
            client_request.append(narrowing(written.compress))
        fill = Route(
            name,
            handler,
            backend_request=tuple(backend_request),
            backend_response=tuple(reversed(backend_response)),
            mapping=mapping,
        )
        handler = stores.cache(written, fill)
        hooks = Passing(handler)
        passing, keeping = (hooks.passed,), (hooks.noted,)
    if counted and len(client_request) == 1 and written.cache is None:
        # with nothing in between it is the same before the handler, and takes 1.5 us less
        handler = FirstLimited(handler, client_request.pop())
    at_once = None
    if compression is not None and not passing and not client_response and backend_response == [compression]:
        at_once = compression.at_once
    rate = server.minimum_rate if written.minimum_rate == "server" else written.minimum_rate
    route = Route(
        name=name,
        handler=handler,
        client_request=tuple(client_request),
        backend_request=tuple(backend_request),
        # the last to see the request is the first to see the response
        backend_response=(*passing, *reversed(backend_response), *keeping),
        client_response=tuple(reversed(client_response)),
        max_body=_outermost(max_body, bodies.body_by_type),
        minimum_rate=None if rate is None or isinstance(rate, str) else (rate.rate, rate.over),
        upgrade=frozenset(token.lower().encode("ascii") for token in written.upgrade),
        buffer_response=(written.buffer and written.buffer.response) or 0,
        mapping=mapping,
        at_once=at_once,
        secrets=secrets,
        told=told,
    )
    return Entry(
        route,
        hosts=[host.lower().encode("ascii") for host in written.match.host],
        paths=[path.encode("utf-8") for path in written.match.path],
        conditions=conditions(written.match),
    )


def _outermost(most: int | None, by_type: Mapping[str, int | None]) -> int | None:
    """What no body may exceed, whatever its type: the hook for types sets the limit of each."""
    if most is None or None in by_type.values():
        return None
    return max(most, *(limit for limit in by_type.values() if limit is not None)) if by_type else most


def _handler(config: model.Config, written: model.Route, forwards: _Forwards) -> Any:
    if written.upstream is not None:
        return forwards.get(written.upstream, written.retry)
    if written.split is not None:
        by = written.split.by
        handlers = {name: forwards.get(name, written.retry) for name in written.split.upstreams}
        return Split(written.split, handlers, None if by is None else key_reader(by, config.base), Random())
    if written.respond is not None:
        return Respond(written.respond)
    if written.redirect is not None:
        return Redirect(written.redirect)
    # twisted.web is imported only where it is used
    from revproxy.handlers.files import StaticFiles
    from revproxy.handlers.resource import ResourceHandler

    if written.files is not None:
        folder = Path(config.base, written.files)
        if not folder.is_dir():
            raise ValueError(f"files: no folder {str(folder)!r}")
        return StaticFiles(str(folder))
    resource = written.resource
    if isinstance(resource, str):
        resource = load_object(resource, config.base)
    if isinstance(resource, type) or (callable(resource) and not hasattr(resource, "render")):
        try:
            resource = resource()
        except Exception as e:
            raise ValueError(f"resource: calling {written.resource!r} raised {type(e).__name__}: {e}") from e
    if not hasattr(resource, "render"):
        raise ValueError(f"resource: {written.resource!r} is no twisted.web resource (and gives none when called)")
    return ResourceHandler(resource)
