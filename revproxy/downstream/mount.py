"""Routes below a mount point: the prefix is taken away, and what comes back is mapped to it.

Rules of this module:

* what a mount point changes of a route is worked out once for the two of them;
* a mount point looks like a route table, so that it can stand wherever one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from revproxy.http.message import Request
from revproxy.routing import Route, RouteTable

if TYPE_CHECKING:
    from revproxy.exchange import Exchange


class Mounted:
    """Routes below a path: matches what is left of it, and maps back what the backend says.

    It has the ``match`` of a route table.

    :param prefix: the public path of the mount point, without a slash at its end.
    :param path: what takes its place towards the backend, likewise.
    :param hooks: run before those of each route, at the client-request point.
    """

    __slots__ = ("_hooks", "_path", "_prefix", "_routes", "_table")

    def __init__(self, table: RouteTable, prefix: bytes, path: bytes, hooks: tuple[Any, ...] = ()) -> None:
        self._table = table
        self._prefix = prefix
        self._path = path
        self._hooks = hooks
        self._routes: dict[Route, Route] = {}

    def match(self, request: Request, trace: list[str] | None = None) -> Route | None:
        """The route of a request whose path begins with the prefix; its path is changed."""
        if request.path != b"*":
            request.path = self._path + request.path[len(self._prefix) :] or b"/"
        route = self._table.match(request, trace)
        if route is None:
            return None
        mounted = self._routes.get(route)
        if mounted is None:
            mounted = self._routes[route] = self._mount(route)
        return mounted

    def _mount(self, route: Route) -> Route:
        mapping = route.mapping
        if self._prefix != self._path:
            inner, outer = mapping or (self._path, self._path)
            outer = outer.rstrip(b"/")
            if outer == self._path or outer.startswith(self._path + b"/"):
                mapping = (inner, self._prefix + outer[len(self._path) :])
        if mapping == route.mapping and not self._hooks:
            return route
        return evolve(route, mapping=mapping, client_request=self._hooks + route.client_request)


class Enter:
    """A handler that leads to the routes of a mount point."""

    def __init__(self, mounted: Mounted) -> None:
        self._mounted = mounted

    def start(self, exchange: Exchange) -> None:
        exchange.take(self._mounted.match(exchange.request))
