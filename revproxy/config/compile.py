"""What was written + what lives -> a route table. Raises, or gives a whole table: never half of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from revproxy.cache.passing import Passing
from revproxy.coding.encoders import MissingPackage
from revproxy.config import model
from revproxy.config.conditions import conditions
from revproxy.config.errors import ConfigError, Problem
from revproxy.config.lines import locate
from revproxy.config.load import load_members
from revproxy.config.stores import Stores
from revproxy.handlers.forward import Forward
from revproxy.handlers.respond import Redirect, Respond
from revproxy.handlers.split import Split
from revproxy.http.forwarding import hidden_names
from revproxy.http.rewrite import prefix_mapping
from revproxy.keys import key_reader
from revproxy.middleware.buffer import buffering
from revproxy.middleware.compress import compressing, narrowing, remember_asked
from revproxy.middleware.headers import request_changes, response_changes
from revproxy.middleware.policy import load_object, policy
from revproxy.middleware.rewrite import rewriting
from revproxy.routing import Entry, Route, RouteTable
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.group import Upstream
from revproxy.upstream.retry import Policy


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
    stores = Stores(config.cache, reactor)
    entries = []
    for index, route in enumerate(config.routes):
        try:
            entries.append(_entry(config, route, index, forwards, stores, reactor))
        except MissingPackage as e:
            line = locate(config.source, ("routes", index, "compress")) if config.source else None
            problems.append(Problem(key=f"routes[{index}].compress", text=str(e), line=line, source=config.source))
        except ValueError as e:
            line = locate(config.source, ("routes", index)) if config.source else None
            name = f" ({route.name})" if route.name else ""
            problems.append(Problem(key=f"routes[{index}]{name}", text=str(e), line=line, source=config.source))
    if problems:
        raise ConfigError(problems)
    return RouteTable.build(entries, upstreams, stores.stores)


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


def _entry(
    config: model.Config,
    written: model.Route,
    index: int,
    forwards: _Forwards,
    stores: Stores,
    reactor: Any,
) -> Entry:
    server = config.server
    client_request: list[Any] = []
    backend_request: list[Any] = []
    backend_response: list[Any] = []
    client_response: list[Any] = []
    points = {
        "client-request": client_request,
        "backend-request": backend_request,
        "backend-response": backend_response,
        "client-response": client_response,
    }
    compression = None
    if written.compress is not None:
        compression = compressing(written.compress)
        backend_response.append(compression)  # the first here is the last to run
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
        upstream.sticky.renew
        for name in (written.upstream, *(written.split.upstreams if written.split is not None else ()))
        if name is not None and (upstream := forwards.upstreams[name]).sticky is not None
    ]
    if server.via_response and server.via is not None:
        via = model.HeaderChanges(add={"Via": f"1.1 {server.via}"})
        client_response.append(response_changes(via))
    if written.compress is not None and backend_request:
        backend_request.insert(0, remember_asked)
    name = written.name or f"route-{index + 1}"
    handler = _handler(config, written, forwards)
    passing: tuple[Any, ...] = ()
    keeping: tuple[Any, ...] = ()
    if written.cache is not None:
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
    alone = not passing and not client_response and len(backend_response) == 1
    rate = server.minimum_rate if written.minimum_rate == "server" else written.minimum_rate
    body = "server" if written.limits is None else written.limits.body
    route = Route(
        name=name,
        handler=handler,
        client_request=tuple(client_request),
        backend_request=tuple(backend_request),
        # the last to see the request is the first to see the response
        backend_response=(*passing, *reversed(backend_response), *keeping),
        client_response=tuple(reversed(client_response)),
        max_body=server.limits.body if isinstance(body, str) else body,
        minimum_rate=None if rate is None or isinstance(rate, str) else (rate.rate, rate.over),
        upgrade=frozenset(token.lower().encode("ascii") for token in written.upgrade),
        buffer_response=(written.buffer and written.buffer.response) or 0,
        mapping=mapping,
        at_once=compression.at_once if compression is not None and alone else None,
    )
    return Entry(
        route,
        hosts=[host.lower().encode("ascii") for host in written.match.host],
        paths=[path.encode("utf-8") for path in written.match.path],
        conditions=conditions(written.match),
    )


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
