"""From a request to its route, in time that does not grow with the number of hosts.

Rules of this module:

* the order is fixed when the table is built: host (exact, longest wildcard, any), then path
  (exact, regular expression as written, longest prefix, any), then the number of other
  conditions, then as written. A host's routes do not hide any-host routes;
* a path that backends may read otherwise (``%2F`` as a slash, slashes merged) is refused where that is another
  route's path: what stands before that one could be walked around;
* nothing here does I/O; ``match`` with a ``trace`` list says why it chose what it chose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from attrs import Factory, define, field

from revproxy.fault import CLIENT_BAD_PATH
from revproxy.http.message import Request
from revproxy.http.target import read_otherwise

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

#: Whether a request meets one condition, and what the condition asks, for explanations.
Condition = tuple[Callable[[Request], bool], str]


@define(eq=False, slots=True)
class Route:
    """One compiled route: hooks at four points, the handler that ends it, and its limits.

    :ivar name: for logs; as written or made from its place.
    :ivar handler: has ``start(exchange)``.
    :ivar backend_response: run before ``client_response``; :attr:`response_hooks` is both.
    :ivar at_once: what the response hooks do for a response that is there whole, where they know a shorter way:
        gives the body for the client and sets the exchange's head, or gives ``None`` and changes nothing. It
        gets heads that are shared, and changes none.
    :ivar shares: response heads that repeat are not copied for each exchange.
    :ivar plain: there is nothing to do before the handler starts.
    :ivar max_body: bytes of a request's body, ``None`` for no limit.
    :ivar told: those of ``client_response`` that run for the answers and failures of the others, too.
    :ivar secrets: names of query parameters whose values no log shows; those of the whole table, since the page
        that a request comes from (Referer) may be another route's.
    :ivar minimum_rate: (bytes a second, seconds) or ``None``.
    :ivar upgrade: protocols (lower case) that may be switched to.
    :ivar buffer_response: bytes of a response that are taken from a backend ahead of the client.
    """

    name: str
    handler: Any
    client_request: tuple[Any, ...] = ()
    backend_request: tuple[Any, ...] = ()
    backend_response: tuple[Any, ...] = ()
    client_response: tuple[Any, ...] = ()
    max_body: int | None = None
    minimum_rate: tuple[float, float] | None = None
    upgrade: frozenset[bytes] = frozenset()
    buffer_response: int = 0
    #: How Location, Refresh and Set-Cookie paths are mapped back: (internal prefix, public prefix).
    mapping: tuple[bytes, bytes] | None = None
    at_once: Callable[[Any, Any, bytes], bytes | None] | None = None
    secrets: frozenset[bytes] = frozenset()
    told: tuple[Any, ...] = ()
    response_hooks: tuple[Any, ...] = field(init=False)
    plain: bool = field(init=False)
    shares: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.plain = self.max_body is None and not self.client_request
        self.response_hooks = self.backend_response + self.client_response
        self.shares = not self.response_hooks or self.at_once is not None


@define(slots=True)
class Entry:
    """A route and when it applies. ``path`` has DESIGN's syntax: exact, ``/below/*``, ``/prefix*``, ``~regex``."""

    route: Route
    hosts: Sequence[bytes] = ()
    paths: Sequence[bytes] = ()
    conditions: tuple[Condition, ...] = ()


class _Paths:
    """The routes of one host: by path, each list ordered by conditions and then as written."""

    __slots__ = ("any", "exact", "lengths", "prefixes", "regexes", "simple")

    def __init__(self) -> None:
        self.exact: dict[bytes, list[Entry]] = {}
        self.prefixes: dict[bytes, tuple[list[Entry], list[Entry]]] = {}  # (below, begins with)
        self.regexes: list[tuple[re.Pattern[bytes], Entry]] = []
        self.any: list[Entry] = []
        self.lengths: tuple[int, ...] = ()
        #: The only route there is, when nothing has to be asked.
        self.simple: Route | None = None

    def add(self, path: bytes | None, entry: Entry) -> None:
        if path is None or path in (b"/*", b"*"):
            self.any.append(entry)
        elif path.startswith(b"~"):
            self.regexes.append((re.compile(path[1:]), entry))
        elif path.endswith(b"/*"):
            self.prefixes.setdefault(path[:-2], ([], []))[0].append(entry)
        elif path.endswith(b"*"):
            self.prefixes.setdefault(path[:-1], ([], []))[1].append(entry)
        else:
            self.exact.setdefault(path, []).append(entry)

    def close(self) -> None:
        lists = [*self.exact.values(), self.any, *(kind for both in self.prefixes.values() for kind in both)]
        for entries in lists:
            entries.sort(key=lambda entry: -len(entry.conditions))  # stable: then as written
        self.regexes.sort(key=lambda pair: -len(pair[1].conditions))
        self.lengths = tuple(sorted({len(prefix) for prefix in self.prefixes}, reverse=True))
        if not self.exact and not self.prefixes and not self.regexes and not self.any[0].conditions:
            self.simple = self.any[0].route

    def candidates(self, path: bytes) -> Iterable[Entry]:
        if path in self.exact:
            yield from self.exact[path]
        for pattern, entry in self.regexes:
            if pattern.search(path):
                yield entry
        size = len(path)
        for length in self.lengths:
            if length > size:
                continue
            found = self.prefixes.get(path[:length])
            if found is not None:
                below, begins = found
                if below and (length == size or path[length] == 0x2F):  # "/"
                    yield from below
                yield from begins
        yield from self.any

    def match(self, request: Request, path: bytes, trace: list[str] | None) -> Route | None:
        if self.simple is not None and trace is None:
            return self.simple
        for entry in self.candidates(path):
            for test, wanted in entry.conditions:
                if not test(request):
                    if trace is not None:
                        trace.append(f"{entry.route.name}: not {wanted}")
                    break
            else:
                if trace is not None:
                    trace.append(f"{entry.route.name}: matches")
                return entry.route
        return None


class _Ambiguous:
    """Ends a request whose route backends could see differently."""

    def start(self, exchange: Exchange) -> None:
        exchange.fail(CLIENT_BAD_PATH, "another route has this path with %2F read as a slash, and slashes merged")


_AMBIGUOUS = Route(name="", handler=_Ambiguous())


@define(slots=True)
class RouteTable:
    """All routes of a configuration; immutable once built. A reload builds another one."""

    _hosts: dict[bytes, _Paths] = Factory(dict)
    _wildcards: dict[bytes, _Paths] = Factory(dict)
    _any: _Paths | None = None
    #: The only route of all hosts, when nothing has to be asked.
    _only: Route | None = None
    routes: tuple[Route, ...] = ()
    #: Live objects that belong to this table: upstreams by name.
    upstreams: dict[str, Any] = Factory(dict)
    #: Other live objects that belong to it; they have ``start()`` and ``close()``.
    live: tuple[Any, ...] = ()
    #: Stores of responses: the one that routes share under ``""``, others by the names of their routes.
    stores: dict[str, Any] = Factory(dict)
    #: What measures the load and sheds it, or ``None``.
    load: Any = None
    #: As of a route, for requests that have none.
    secrets: frozenset[bytes] = frozenset()
    told: tuple[Any, ...] = ()

    @classmethod
    def build(
        cls, entries: Iterable[Entry], upstreams: dict[str, Any] | None = None, stores: dict[str, Any] | None = None
    ) -> Self:
        """A table from entries in the order they were written."""
        table = cls(upstreams=upstreams or {}, stores=stores or {})
        routes: list[Route] = []
        for entry in entries:
            if entry.route not in routes[-1:]:
                routes.append(entry.route)
            for host in entry.hosts or (b"*",):
                if host == b"*":
                    if table._any is None:
                        table._any = _Paths()
                    paths = table._any
                elif host.startswith(b"*."):
                    paths = table._wildcards.setdefault(host[1:], _Paths())
                else:
                    paths = table._hosts.setdefault(host, _Paths())
                for path in entry.paths or (None,):
                    paths.add(path, entry)
        for paths in [*table._hosts.values(), *table._wildcards.values(), *([table._any] if table._any else [])]:
            paths.close()
        table.routes = tuple(routes)
        if table._any is not None and not table._hosts and not table._wildcards:
            table._only = table._any.simple
        return table

    def match(self, request: Request, trace: list[str] | None = None) -> Route | None:
        """The route of a request, or ``None``; reasons are appended to ``trace``.

        A path that another route would have, were it read as some backends do, has one that refuses it.
        """
        if self._only is not None and trace is None:
            return self._only
        path = request.path
        route = self._find(request, path, trace)
        otherwise = None if route is None else read_otherwise(path)
        if otherwise is not None and self._find(request, otherwise, None) not in (route, None):
            if trace is not None:
                trace.append("refused: another route has this path with %2F read as a slash, and slashes merged")
            return _AMBIGUOUS
        return route

    def _find(self, request: Request, path: bytes, trace: list[str] | None) -> Route | None:
        paths = self._hosts.get(request.host)
        if paths is not None:
            route = paths.match(request, path, trace)
            if route is not None:
                return route
        if self._wildcards:
            host = request.host
            at = host.find(b".")
            while at >= 0:
                paths = self._wildcards.get(host[at:])
                if paths is not None:
                    route = paths.match(request, path, trace)
                    if route is not None:
                        return route
                at = host.find(b".", at + 1)
        paths = self._any
        return None if paths is None else paths.match(request, path, trace)
