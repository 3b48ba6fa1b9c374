"""The stores of a configuration, and which of its routes share what is in them.

Rules of this module:

* a route with a ``size`` has a store of its own, the others share one;
* what is stored is the answer to a request as it left for the backend, with what was done to the answer on its way
  back. So routes of one upstream share responses only where both are the same for them; where they are not, keys
  differ by a scope. What is invalidated is invalidated for all routes of the upstream;
* a setting counts unless it is known to make no difference.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve

from revproxy.cache.compile import compile_rules
from revproxy.cache.handler import Cache
from revproxy.cache.pending import Pending
from revproxy.cache.store import Store
from revproxy.config import model
from revproxy.routing import Route

#: This part of what is written is for gaps between objects that come and go: what is written is memory of the process,
#: and where nearly all is small and leaves again, gaps are a quarter of what is stored.
GAPS = 5
#: Of a route without changes of fields.
_NOTHING = model.Headers()


class Stores:
    """Makes the caches of routes.

    :ivar stores: by the name of the route that has one of its own, ``""`` for the shared one.
    """

    def __init__(self, shared: model.CacheStore, reactor: Any) -> None:
        self.stores: dict[str, Store] = {}
        self._pending: dict[str, Pending] = {}
        self._shared = shared
        self._reactor = reactor
        # by store and first part of keys: the ways of routes, the one with number 0 has no scope
        self._ways: dict[tuple[str, str], list[model.Route]] = {}

    def cache(self, written: model.Route, fill: Route) -> Cache:
        """The cache of a route. :param fill: the way from it to the backends."""
        cache, reactor = written.cache, self._reactor
        assert cache is not None
        if cache.size is None:
            place, size, largest = "", self._shared.size, self._shared.largest
        else:
            place, size, largest = fill.name, cache.size, min(cache.largest, cache.size)
        if place not in self.stores:
            self.stores[place] = Store(size - size // GAPS, largest)
            self._pending[place] = Pending()
        # of what one upstream serves, a POST by one route changes what is stored by another
        name = written.upstream or fill.name
        ways = self._ways.setdefault((place, name), [])
        way = way_of(written)
        if way not in ways:
            ways.append(way)
        number = ways.index(way)
        changes = (written.headers or _NOTHING).request
        rules = compile_rules(cache, name, largest, b"%d" % number if number else b"", changes)
        offset = time.time() - reactor.seconds()
        store, pending = self.stores[place], self._pending[place]
        return Cache(fill.handler, rules, store, fill, reactor.seconds, offset, pending)


def way_of(written: model.Route) -> model.Route:
    """A route with all left out that changes neither what backends are asked nor what is stored of their answers."""
    headers = None if written.headers is None else model.Headers(request=written.headers.request)
    return evolve(
        written,
        name=None,
        match=model.Match(),
        limits=None,
        minimum_rate=None,
        buffer=None,
        upgrade=(),
        retry=None,
        headers=None if headers == _NOTHING else headers,
        middleware=tuple(each for each in written.middleware if each.at != "client-response"),
    )
