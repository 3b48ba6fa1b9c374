"""What has to agree across a configuration: names, what ends a route, redirects, rewriting.

Rules of this module:

* it reads a finished :class:`~revproxy.config.model.Config`, from a file or made in Python;
* it yields problems with key paths and knows no lines;
* it opens nothing: a folder is looked for, an endpoint is parsed, code is not imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from revproxy.config.check_access import check_access, check_route_access, check_security
from revproxy.config.check_auth import check_auth
from revproxy.config.check_filters import check_filter
from revproxy.config.check_listen import check_listeners
from revproxy.config.check_protection import check_protection
from revproxy.config.check_shared import check_shared
from revproxy.config.check_upstreams import check_retry, check_upstreams
from revproxy.config.errors import Key, either, nearest, show
from revproxy.config.model import Config, Redirect, Respond, Rewrite, Route
from revproxy.config.structure import Found

#: What may end a route; exactly one has to be there.
ENDS = ("upstream", "split", "respond", "redirect", "resource", "files")

_GROUP = re.compile(r"\$(?:(\$)|([0-9]+)|\{([^{}]*)\})?")


def check(config: Config) -> list[Found]:
    """Everything in ``config`` that does not agree; an empty list when all does."""
    return [
        *check_protection(config),
        *check_listeners(config),
        *_server(config),
        *check_upstreams(config.upstreams, config.base),
        *_routes(config),
    ]


def _server(config: Config) -> Iterator[Found]:
    if config.server.access is not None:
        yield from check_access(("server", "access"), config.server.access, config.server, config.base)
    if config.server.security_headers is not None:
        yield from check_security(("server", "security_headers"), config.server.security_headers)


def _routes(config: Config) -> Iterator[Found]:
    if not config.routes:
        yield Found(("routes",), "no routes; write [[routes]] with what ends them: upstream, respond, redirect, …")
    names: dict[str, int] = {}
    certified = any(listen.tls is not None and listen.tls.client is not None for listen in config.listen)
    listeners = {name for listen in config.listen for name in (listen.name, listen.endpoint) if name}
    for index, route in enumerate(config.routes):
        key: Key = ("routes", index)
        if route.name is not None:
            if route.name in names:
                yield Found((*key, "name"), f"{show(route.name)} is also the name of routes[{names[route.name]}]")
            names.setdefault(route.name, index)
        for at, name in enumerate(route.match.listen):
            if name and name not in listeners:
                found: Key = (*key, "match", "listen", *([at] if len(route.match.listen) > 1 else []))
                yield _unknown(found, name, "listener", listeners)
        yield from _end(key, route, config.upstreams)
        yield from check_auth(key, route, config.server, config.upstreams, certified)
        yield from check_shared(key, route)
        if route.retry is not None:
            yield from check_retry((*key, "retry"), route.retry)
        if route.filter is not None:
            yield from check_filter((*key, "filter"), route.filter)
        yield from check_route_access(key, route, config.server, config.base)
        if route.rewrite is not None:
            yield from _rewrite((*key, "rewrite"), route.rewrite)
        if route.redirect is not None:
            yield from _redirect((*key, "redirect"), route.redirect)
        if route.respond is not None:
            yield from _respond((*key, "respond"), route.respond)
        if route.files and not (folder := Path(config.base, route.files)).is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            yield Found((*key, "files"), f"the folder {show(route.files)} {what}", found=show(route.files))


def _unknown(key: Key, name: str, what: str, known: Iterable[str]) -> Found:
    names = sorted(known)
    near = nearest(name, names)
    if near is not None:
        rest = f"; did you mean {show(near)}?"
    elif names:
        rest = f"; known: {', '.join(map(show, names[:10]))}{', …' if len(names) > 10 else ''}"
    else:
        rest = "; there is none"
    return Found(key, f"no {what} is named {show(name)}{rest}", found=show(name), suggestion=near)


def _end(key: Key, route: Route, upstreams: Iterable[str]) -> Iterator[Found]:
    found = [name for name in ENDS if getattr(route, name) is not None]
    if not found:
        yield Found(key, f"nothing ends this route; write one of {either(ENDS)}")
    elif len(found) > 1:
        yield Found(key, f"{' and '.join(map(show, found))} each end this route; keep one")
    if route.upstream and route.upstream not in (names := list(upstreams)):
        yield _unknown((*key, "upstream"), route.upstream, "upstream", names)
    if route.split is not None:
        for name in route.split.upstreams:
            if name not in upstreams:
                yield _unknown((*key, "split", "upstreams", name), name, "upstream", upstreams)
        if not any(route.split.upstreams.values()):
            yield Found((*key, "split", "upstreams"), "no upstream has a weight over 0; at least one has to")


def _rewrite(key: Key, rewrite: Rewrite) -> Iterator[Found]:
    if rewrite == Rewrite():
        yield Found(key, "an empty table changes nothing; leave it out")
    if rewrite.replace is not None:
        for other in ("strip_prefix", "add_prefix", "regex"):
            if getattr(rewrite, other) is not None:
                yield Found((*key, other), 'has no meaning beside "replace", which gives the whole path; keep one')
    if (rewrite.regex is None) != (rewrite.to is None):
        if rewrite.to is None:
            yield Found(key, '"regex" needs "to", the new path')
        else:
            yield Found(key, '"to" needs "regex", what it replaces')
    if rewrite.regex and rewrite.to is not None:
        yield from _groups((*key, "to"), rewrite.regex, rewrite.to)


def _groups(key: Key, regex: str, to: str) -> Iterator[Found]:
    try:
        pattern = re.compile(regex)
    except (re.error, RecursionError, OverflowError):
        return
    for match in _GROUP.finditer(to):
        if match[1]:
            continue
        name = match[2] or match[3]
        if not name:
            yield Found(
                key, f'{show(to)} has a "$" that names no group; write "$1", "${{name}}", or "$$" for a dollar sign'
            )
        elif name.isascii() and name.isdigit():
            if int(name[:9]) > pattern.groups:
                count = f"has {pattern.groups}" if pattern.groups else "has none"
                yield Found(key, f"{show(to)} uses group {name}, but {show(regex)} {count}")
        elif name not in pattern.groupindex:
            yield _unknown(key, name, "group of the regular expression", pattern.groupindex)


def _redirect(key: Key, redirect: Redirect) -> Iterator[Found]:
    parts = [name for name in ("scheme", "host", "port", "path") if getattr(redirect, name) is not None]
    if redirect.to is None and not parts:
        yield Found(key, 'goes nowhere; write "to", or what changes: "scheme", "host", "port", "path"')
    elif redirect.to is not None and parts:
        yield Found(key, f'"to" is the whole target and leaves no place for {either(parts)}; keep one')


def _respond(key: Key, respond: Respond) -> Iterator[Found]:
    if respond.status in (204, 205, 304) and respond.body:
        yield Found((*key, "body"), f"a response of status {respond.status} has no body; leave it out")
    if "content-type" in respond.headers:
        yield Found((*key, "headers", "content-type"), "is written as content_type, beside headers")
