"""Who is let in, what browsers are told, and what may be sent: what has to agree.

The rules are those of :mod:`revproxy.config.check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from revproxy.config.browsers import SecurityHeaders
from revproxy.config.check_listen import check_hsts
from revproxy.config.errors import Key, show
from revproxy.config.model import Access, Cookies, Cors, Hsts, Route, Server
from revproxy.config.structure import Found


def check_access(key: Key, access: Access, server: Server, base: str) -> Iterator[Found]:
    """What does not agree in an ``access`` table. :param base: the folder that files start from."""
    yield from _nobody(key, access, server)
    if access == Access(status=access.status):
        yield Found(key, "an empty table refuses nothing; leave it out")
    for name in ("allow", "deny"):
        words = getattr(access, name) or ()
        for at, word in enumerate(words):
            if not word.startswith("file:"):
                continue
            path = word.removeprefix("file:")
            if not (place := Path(base, path)).is_file():
                what = "is no regular file" if place.exists() else "does not exist"
                yield Found(
                    (*key, name, *([at] if len(words) > 1 else [])), f"the file {show(path)} {what}", found=show(path)
                )
    for word in sorted({*(access.allow or ())} & {*access.deny}):
        yield Found((*key, "allow"), f"{show(word)} is denied, too, and that counts; keep one", found=show(word))
    for name in sorted({*access.header} & {*access.deny_header}):
        if "*" in access.deny_header[name]:
            yield Found((*key, "deny_header", name), f"header asks for {show(name)}: nobody would be let in")


def _nobody(key: Key, access: Access, server: Server) -> Iterator[Found]:
    """Rules that nothing can meet, or that meet nothing: a list that was emptied, a field that never comes."""
    for name, hint in (("allow", 'networks, such as "private"'), ("methods", 'methods, such as "GET"')):
        if getattr(access, name) == ():
            yield Found((*key, name), f"is empty: nobody would be let in; write {hint}, or leave it out")
    for name, values in access.header.items():
        if not values:
            yield Found((*key, "header", name), 'has no value: nobody would be let in; write some, or "*" for any')
        elif (dropped := never_comes(name, server)) is not None:
            yield Found((*key, "header", name), f"{dropped}: nobody would be let in")
    for name, values in access.deny_header.items():
        if not values:
            yield Found((*key, "deny_header", name), 'has no value: it refuses nothing; write some, or "*" for any')
        elif (dropped := never_comes(name, server)) is not None:
            yield Found((*key, "deny_header", name), f"{dropped}: it refuses nothing")


def never_comes(name: str, server: Server) -> str | None:
    """Why no request has a field of this name, with what to do, where that is so."""
    if "_" not in name or server.underscores == "pass":
        return None
    what = "dropped" if server.underscores == "drop" else "refused"
    return f'fields with "_" in their names are {what} before; write {show(name.replace("_", "-"))}'


def check_route_access(key: Key, route: Route, server: Server, base: str) -> Iterator[Found]:
    """What does not agree in these tables of a route."""
    if route.access is not None:
        yield from check_access((*key, "access"), route.access, server, base)
    if route.cors is not None:
        yield from _cors((*key, "cors"), route.cors)
        among = route.access.methods or () if route.access is not None else ()
        for methods, name in ((route.match.method, "match.method"), (among, "access.methods")):
            if methods and "OPTIONS" not in methods:
                yield Found((*key, "cors"), f'{name} leaves out "OPTIONS", by which browsers ask first; add it there')
    if route.cookies is not None:
        yield from _cookies((*key, "cookies"), route.cookies)
    if isinstance(route.security_headers, SecurityHeaders):
        yield from check_security((*key, "security_headers"), route.security_headers)
    if route.limits is not None and route.content_types:
        for pattern in route.limits.body_by_type:
            if pattern.endswith("/*") or pattern.startswith("*+") or pattern in route.content_types:
                continue
            main, suffix = pattern.partition("/")[0] + "/*", "*+" + pattern.rpartition("+")[2]
            if main not in route.content_types and not ("+" in pattern and suffix in route.content_types):
                yield Found(
                    (*key, "limits", "body_by_type", pattern), "is not among content_types, so none is let in anyway"
                )


def check_security(key: Key, written: SecurityHeaders) -> Iterator[Found]:
    """What does not agree in a ``security_headers`` table."""
    if isinstance(written.hsts, Hsts):
        yield from check_hsts((*key, "hsts"), written.hsts)


def _cors(key: Key, cors: Cors) -> Iterator[Found]:
    if not cors.origins:
        yield Found((*key, "origins"), 'no origins; write some, or "*" for all')
    if "*" in cors.origins:
        if len(cors.origins) > 1:
            yield Found((*key, "origins"), '"*" is every origin and leaves no place for others; keep one')
        if cors.credentials:
            yield Found(
                (*key, "credentials"), 'browsers refuse them where "*" is allowed (Fetch 3.3.5); name the origins'
            )
    elif cors.credentials:
        for name in ("methods", "headers", "expose"):
            if "*" in getattr(cors, name):
                yield Found((*key, name), '"*" is no wildcard beside credentials (Fetch 3.3.3); name them')


def _cookies(key: Key, cookies: Cookies) -> Iterator[Found]:
    if cookies.same_site == "none" and not cookies.secure:
        yield Found((*key, "same_site"), '"none" needs secure = true: browsers drop such cookies otherwise')
    if cookies.readable and not cookies.http_only:
        yield Found((*key, "readable"), "has no meaning without http_only = true")
    if not cookies.secure and not cookies.http_only and cookies.same_site is None:
        yield Found(key, "adds nothing; leave it out")
