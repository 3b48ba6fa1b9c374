"""Taking responses out of the stores of a running proxy: by URL, by prefix, by tag, or all of them.

Rules of this module:

* URLs are the public ones; what a route strips of them or adds (``strip_prefix``, ``add_prefix``) is taken
  into account, what a regular expression replaces is not: there the path counts as the backend sees it;
* what is being asked for at that moment is out of date, too: it is not stored, or stored as stale;
* a soft purge makes responses stale: they are validated when they are asked for next, and may be sent stale
  where they say so;
* what may take long goes on between other work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import cooperate

from revproxy.cache.handler import Cache
from revproxy.cache.key import inner_path, uri_key
from revproxy.cache.steps import Purge
from revproxy.http.target import normalise_path
from revproxy.routing import RouteTable

_PORTS = {b"http": b":80", b"https": b":443"}


class Purger:
    """Purges what the routes of a table store.

    :param table: the route table in use, ``engine.table``; a reload makes another one.
    :param step: calls what is left of an iterator between other work, as :func:`twisted.internet.task.cooperate` does.
    """

    def __init__(self, table: RouteTable, step: Callable[[Iterator[Any]], Any] = cooperate) -> None:
        self._caches = [route.handler for route in table.routes if isinstance(route.handler, Cache)]
        self._step = step

    def purge(self, url: str, soft: bool = False) -> int:
        """One URL, whatever else its responses were keyed or chosen by. Returns how many responses it were.

        :param url: such as ``"https://example.com/a?b=1"``. :raises ValueError: when it is none.
        """
        scheme, authority, path, query = _parts(url)
        purged = 0
        for cache, uri in self._keys(scheme, authority, path, query):
            now = cache.now() if soft else None
            cache.pending.purge(uri, now)
            purged += cache.store.purge(uri, now)
        return purged

    def purge_prefix(self, prefix: str, soft: bool = False) -> Deferred[int]:
        """Every URL that begins so, queries included: ``"https://example.com/a/"``. Fires with how many responses.

        :raises ValueError: when it has no scheme and host.
        """
        scheme, authority, path, query = _parts(prefix)
        begun = []
        for cache, uri in self._keys(scheme, authority, path, None):
            begins = uri if query is None else uri + b"?" + query
            now = cache.now() if soft else None
            cache.pending.purge_where(_beginning(begins), now)
            begun.append(cache.store.purge_prefix(begins, now))
        return self._finish(begun)

    def purge_tag(self, tag: str, soft: bool = False) -> Deferred[int]:
        """Every response that bears this tag (``Cache-Tag``, ``Surrogate-Key``). Fires with how many."""
        name = tag.encode("utf-8")
        begun = []
        for cache in self._stores():
            now = cache.now() if soft else None
            cache.pending.purge_tag(name, now)
            begun.append(cache.store.purge_tag(name, now))
        return self._finish(begun)

    def purge_all(self, soft: bool = False) -> Deferred[int]:
        """Everything. Fires with how many responses it were."""
        begun = []
        for cache in self._stores():
            now = cache.now() if soft else None
            cache.pending.purge_where(lambda uri: True, now)
            begun.append(cache.store.purge_all(now))
        return self._finish(begun)

    # -- inside

    def _stores(self) -> Iterable[Cache]:
        """One cache of each store."""
        return {id(cache.store): cache for cache in self._caches}.values()

    def _keys(self, scheme: bytes, authority: bytes, path: bytes, query: bytes | None) -> Iterable[tuple[Cache, bytes]]:
        """The first parts of keys that a URL has under the rules of every route, each once."""
        found: dict[tuple[int, bytes], tuple[Cache, bytes]] = {}
        for cache in self._caches:
            for seen in {path, inner_path(path, cache.route.mapping)}:
                uri = uri_key(cache.rules, scheme, authority, seen, query)
                found.setdefault((id(cache.store), uri), (cache, uri))
        return found.values()

    def _finish(self, begun: list[Purge]) -> Deferred[int]:
        waiting = [self._step(iter(purge)).whenDone() for purge in begun]
        done: Deferred[Any] = gatherResults(waiting, consumeErrors=True)
        return done.addCallback(lambda _: sum(purge.purged for purge in begun))


def _beginning(begins: bytes) -> Callable[[bytes], bool]:
    return lambda uri: uri.startswith(begins)


def _parts(url: str) -> tuple[bytes, bytes, bytes, bytes | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower().encode("ascii")
    if scheme not in _PORTS or not parts.netloc or parts.netloc.rpartition("@")[1]:
        raise ValueError(f"not a URL with http or https and a host: {url!r}")
    authority = parts.netloc.lower().encode("idna" if not parts.netloc.isascii() else "ascii")
    path = normalise_path((parts.path or "/").encode("utf-8"))
    if path is None:
        raise ValueError(f"no path of a URL: {parts.path!r}")
    query = parts.query.encode("utf-8") if "?" in url else None
    return scheme, authority.removesuffix(_PORTS[scheme]), path, query
