"""What is made for one client is not for the next: what routes with ``cache`` may not have.

Rules of this module:

* what a cache stores is for all who may see it. Whatever tells a backend who asks is part of the key, keeps its
  request from the cache, or is refused;
* Authorization is the cache's own business: it knows that such responses are not for all (RFC 9111 3.5); and so is
  the query, of which only what is in the key reaches a backend.
"""

from __future__ import annotations

from collections.abc import Iterator

from revproxy.cache.rules import is_named
from revproxy.config.auth import Auth
from revproxy.config.caching import Cache
from revproxy.config.errors import Key, Wrong, show
from revproxy.config.model import Route
from revproxy.config.structure import Found
from revproxy.config.variables import split, tells_who


def check_shared(key: Key, route: Route) -> Iterator[Found]:
    """What of a route's responses would be stored for all, and is not. :param key: the route's path."""
    if route.cache is None:
        return
    if route.auth is not None:
        yield from _told((*key, "auth"), route.auth, route.cache)
        if route.auth.credentials == "pass":
            yield from _passed((*key, "auth", "credentials"), route.auth, route.cache)
    if route.headers is not None:
        changes = route.headers.request
        for table in ("set", "add"):
            for name, text in getattr(changes, table).items():
                if (variable := _who(text)) is not None:
                    yield Found(
                        (*key, "headers", "request", table, name),
                        f"tells the backend who asks (${variable}), which the cache does not know of; write auth = "
                        f"{{ headers = {{ {show(name)} = … }} }} and cache = {{ key_headers = [{show(name)}] }}, or "
                        f"leave out the cache or this field",
                    )
    if route.redirect is not None:
        for part, written in (("to", route.redirect.to), ("path", route.redirect.path)):
            if written is not None and (variable := _who(written)) is not None:
                text = f"is made of who asks (${variable}), and cached for all; leave out the cache"
                yield Found((*key, "redirect", part), text)


def _told(key: Key, auth: Auth, cache: Cache) -> Iterator[Found]:
    kept = {name.lower() for name in cache.key_headers}
    missing = [name for name in auth.told if name.lower() not in kept]
    if missing:
        names = ", ".join(map(show, missing))
        yield Found(
            key,
            f"the backend is told who asks, and what it answers is cached for everybody; write "
            f"cache = {{ key_headers = [{names}] }}, or leave out the cache or these fields",
        )


def _passed(key: Key, auth: Auth, cache: Cache) -> Iterator[Found]:
    """The credentials themselves, where a backend reads them."""
    for place in auth.places:
        kind, _, name = place.partition(":")
        if kind == "cookie":
            bypass = tuple(pattern.encode("utf-8") for pattern in cache.bypass.cookie)
            kept = name in cache.key_cookies or is_named(name.encode("utf-8"), bypass)
        elif kind == "header" and name and name.lower() != "authorization":
            kept = name.lower() in {other.lower() for other in (*cache.key_headers, *cache.bypass.header)}
        else:
            continue
        if not kept:
            option, what = ("key_cookies", "cookie") if kind == "cookie" else ("key_headers", "field")
            yield Found(
                key,
                f"the {what} {show(name)} reaches the backend, and what it answers is cached for everybody; write "
                f"cache = {{ {option} = [{show(name)}] }}, or leave out the cache or this",
            )


def _who(text: str) -> str | None:
    """A variable in a text that tells who asks."""
    try:
        return next((part for is_name, part in split(text) if is_name and tells_who(part)), None)
    except Wrong:  # it is told where the text is read
        return None
