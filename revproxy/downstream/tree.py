"""Resources that lead to other resources: by host, by path.

Rules of this module:

* they are real ``IResource``s: in any Site they lead stock Requests on as Twisted users expect;
* the choice is made by a :class:`~revproxy.routing.RouteTable`, with its patterns and its order,
  so that a tree chooses as a configuration does;
* a :class:`ReverseProxySite` asks ``step`` instead, which needs no Request.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from attrs import frozen
from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from revproxy.handlers.errorpage import ErrorPage
from revproxy.http.h1 import split_host
from revproxy.http.target import normalise_path
from revproxy.routing import Entry, Route, RouteTable


@frozen(eq=False)
class _Leads:
    """What stands where a route has its handler: a resource, and how many segments lead to it."""

    resource: Any
    segments: int


class _Asked:
    """What a table of resources asks of a request: making a whole one takes 1.5 us more."""

    __slots__ = ("host", "path")

    def __init__(self, host: bytes, path: bytes) -> None:
        self.host = host
        self.path = path


@implementer(IResource)
class Branch(Resource):
    """What :class:`VirtualHosts` and :class:`PathTree` share: a table of resources."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[Entry] = []
        self._table: RouteTable | None = None

    def _add(self, resource: Any, host: bytes | None, path: bytes | None, segments: int) -> None:
        if not IResource.providedBy(resource):
            raise ValueError(f"not a resource: {resource!r}")
        leads: Any = _Leads(resource, segments)
        hosts, paths = (() if host is None else (host,)), (() if path is None else (path,))
        route = Route(repr(resource), leads)
        same = [e for e in self._entries if tuple(e.hosts) == hosts and tuple(e.paths) == paths]
        self._entries = [e for e in self._entries if e not in same] + [Entry(route, hosts, paths)]
        self._table = None

    def step(self, host: bytes, path: bytes) -> tuple[Any, int] | None:
        """The resource for a lower-case host and what is left of a normalised path.

        :return: it, and how many segments of the path lead to it; ``None`` when there is none.
        """
        table = self._table
        if table is None:
            table = self._table = RouteTable.build(self._entries)
        asked: Any = _Asked(host, path)
        route = table.match(asked)
        if route is None:
            return None
        leads: _Leads = route.handler
        return leads.resource, leads.segments

    def getChildWithDefault(self, name: bytes, request: Any) -> Any:
        # in the words of getChildForRequest, ``name`` went from postpath to prepath already
        request.postpath.insert(0, request.prepath.pop())
        found = self._find(request)
        if found is None:
            request.prepath.append(request.postpath.pop(0))
            return ErrorPage(404)
        resource, segments = found
        for _ in range(segments):
            request.prepath.append(request.postpath.pop(0))
        if not segments and not resource.isLeaf:
            # a caller that is not getChildForRequest expects one segment to be taken
            taken = request.postpath.pop(0)
            request.prepath.append(taken)
            return resource.getChildWithDefault(taken, request)
        return resource

    def render(self, request: Any) -> Any:
        found = self._find(request)
        if found is None or (found[1] and request.postpath):
            return ErrorPage(404).render(request)
        return found[0].render(request)

    def _find(self, request: Any) -> tuple[Any, int] | None:
        named = request.requestHeaders.getRawHeaders(b"host") or [b""]
        host = split_host(named[0]) if len(named) == 1 else None
        if host is None and named != [b""]:
            return ErrorPage(400), len(request.postpath)
        path = _rest(request)
        if path is None:
            return ErrorPage(400), len(request.postpath)
        return self.step(host or b"", path)


def _rest(request: Any) -> bytes | None:
    """What is left of a stock Request's path, as our own parser would have it."""
    left = len(request.postpath)
    segments = request.path[1:].split(b"/")[-left:] if left else []
    return normalise_path(b"".join([b"/" + segment for segment in segments]))


class VirtualHosts(Branch):
    """Leads to a resource by the host that a request names.

    :param default: the resource for all other hosts; without one they get 404.
    """

    def __init__(self, default: Any = None) -> None:
        super().__init__()
        if default is not None:
            self._add(default, None, None, 0)

    def add(self, host: str, resource: Any) -> None:
        """Lead requests for a host to a resource; a host that is there already is led to the new one.

        :param host: ``"example.com"``, ``"*.example.com"`` for every name below it, or ``"*"`` for any.
        :raises ValueError: for what is no host or no resource.
        """
        if host == "*":
            self._add(resource, None, None, 0)
            return
        name = host.encode("ascii", "replace").lower().rstrip(b".")
        if split_host(name.removeprefix(b"*.")) is None or (b":" in name and not name.endswith(b"]")):
            raise ValueError(f"host: {host!r} is no host name; a port does not belong to it")
        self._add(resource, name, None, 0)

    def putChild(self, path: bytes, child: Any) -> None:
        """Part of IResource. Children belong to a host's resource.

        :raises TypeError: always.
        """
        raise TypeError("VirtualHosts leads by host: use add(host, resource), and put children on that resource")


class PathTree(Branch):
    """Leads to a resource by path: ``/api/*``, ``/exact``, ``/ws*`` or ``~regex``, as in a configuration."""

    def add(self, pattern: str, resource: Any) -> None:
        """Lead requests for a path to a resource; a pattern that is there already is led to the new one.

        What the resource sees is what comes after the pattern's fixed part: after ``/api`` for
        ``/api/*``, nothing for an exact path, and the whole path below this tree for ``/ws*`` and
        regular expressions (after their last whole segment).

        :raises ValueError: for what is no pattern or no resource.
        """
        raw = pattern.encode("ascii", "replace")
        if raw.startswith(b"~"):
            try:
                re.compile(raw[1:])
            except re.error as e:
                raise ValueError(f"path: {pattern!r} is no regular expression: {e}") from None
            self._add(resource, None, raw, 0)
            return
        fixed = raw.removesuffix(b"/*") if raw.endswith(b"/*") else raw.removesuffix(b"*")
        if not raw.startswith(b"/") or normalise_path(fixed) != fixed:
            raise ValueError(f"path: {pattern!r} is no pattern in normal form; /exact, /below/*, /prefix* or ~regex is")
        segments = fixed.count(b"/")
        if raw.endswith(b"*") and not raw.endswith(b"/*"):
            segments -= 1
        self._add(resource, None, raw, segments)

    def putChild(self, path: bytes, child: Any) -> None:
        """The same as ``add("/path/*", child)``.

        :raises TypeError: when ``path`` is not bytes.
        """
        if not isinstance(path, bytes):
            raise TypeError(f"Path segment must be bytes, but {path!r} is {type(path)}")
        self.add("/" + quote(path, safe="-._~") + "/*", child)
