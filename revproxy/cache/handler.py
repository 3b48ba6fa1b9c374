"""The handler that stands before another one and answers from the store where it can (RFC 9111).

Rules of this module:

* the decisions are elsewhere and pure (:mod:`revproxy.cache.policy` and its neighbours); here they are
  carried out. A hit makes no new exchange, a miss and a validation run as one of their own
  (:class:`~revproxy.cache.fill.Fill`), with the route's backend-side hooks, so that what is stored has
  been through them;
* requests for one key that come while it is being asked for wait for that answer, unless answers to that
  key were not for everybody lately;
* what is not for the cache goes to the inner handler as if there were no cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from revproxy.cache.entry import Entry
from revproxy.cache.fill import Fill, Waiter
from revproxy.cache.invalidate import invalidates
from revproxy.cache.key import Key, fill_fields, keyed_query, make_key, printable_key
from revproxy.cache.policy import PLAIN, Ask, Forward, GatewayTimeout, Revalidate, Serve, choose, decide, read_request
from revproxy.cache.rules import Rules
from revproxy.cache.serving import respond
from revproxy.cache.status import status_of_forward, status_of_hit
from revproxy.cache.store import Store
from revproxy.cache.stored import Stored
from revproxy.exchange import Exchange
from revproxy.fault import ONLY_IF_CACHED
from revproxy.http.message import Field, Headers, Request
from revproxy.routing import Route

if TYPE_CHECKING:
    from revproxy.engine import Engine

#: Seconds for which requests for a key are not made to wait for each other, after an answer that was not for everybody.
_PASSED = 60.0
_MOST_PASSED = 10_000
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})


class Cache:
    """Answers exchanges from a store, or has them answered by ``inner``.

    :param inner: the handler of what is not stored.
    :param store: where responses are; several routes may share one.
    :param hooks: the route's hooks at the backend-request and the backend-response point.
    :param wall: seconds since the epoch, from the reactor's seconds.
    """

    __slots__ = ("_fills", "_inner", "_name", "_passed", "_wall", "plain", "route", "rules", "store", "_seconds")

    def __init__(
        self,
        inner: Any,
        rules: Rules,
        store: Store,
        route: Route,
        seconds: Callable[[], float],
    ) -> None:
        self._inner = inner
        self.rules = rules
        self.store = store
        self.route = route
        self.plain = PLAIN
        self._name = rules.status_name
        self._seconds = seconds
        self._fills: dict[Key, Fill] = {}
        self._passed: dict[Key, float] = {}

    def now(self) -> float:
        """The wall clock."""
        return self._seconds()

    def start(self, exchange: Exchange) -> None:
        """4: from the store, with others who wait for the same, or by the inner handler."""
        request = exchange.request
        ask = read_request(request, self.rules)
        if ask.forward is not None:
            self._pass(exchange, ask.forward)
            return
        key = make_key(request, self.rules)
        now = self._seconds()
        entries = self.store.variants(key)
        entry = None
        if entries:
            if len(entries) == 1:
                stored = choose((entries[0].meta,), request)
                entry = None if stored is None else entries[0]
            else:
                stored = choose([entry.meta for entry in entries], request)
                entry = next((entry for entry in entries if entry.meta is stored), None)
            decision = decide(stored, ask, now, varied=stored is None)
        else:
            decision = decide(None, ask, now)
        if isinstance(decision, Serve):
            assert entry is not None
            self.hit(exchange, entry, ask, now)
            if decision.validate and key not in self._fills:
                self._validate(exchange, key, entry)
            return
        if isinstance(decision, GatewayTimeout):
            exchange.fail(ONLY_IF_CACHED, decision.why)
            return
        if request.method == b"HEAD" and not isinstance(decision, Revalidate):
            self._pass(exchange, decision)
            return
        waiter = Waiter(exchange, ask, decision.fwd)
        running = self._fills.get(key)
        if running is not None and not ask.bits:
            waiter.collapsed = True
            if running.meta is None:
                running.join(waiter)
                return
            if running.attach(waiter):
                return
            waiter.collapsed = False
        self._fill(waiter, key, entry if isinstance(decision, Revalidate) else None, decision, now)

    def hit(self, exchange: Exchange, entry: Entry, ask: Ask, now: float) -> None:
        """Answer with what is stored."""
        self.store.hit(entry)
        stored: Stored = entry.meta
        field = None
        if self._name:
            key = printable_key(stored.key) if self.rules.status_key else None
            field = status_of_hit(self._name, stored.ttl(now), key)
        respond(exchange, self.store, stored, entry, ask, now, field)

    def status(
        self, waiter: Waiter, status: int, meta: Stored | None, now: float, *, entry: bool = False
    ) -> Field | None:
        """Cache-Status of an answer that a backend was asked for."""
        if not self._name:
            return None
        key = None if meta is None or not self.rules.status_key else printable_key(meta.key)
        return status_of_forward(
            self._name,
            waiter.fwd,
            fwd_status=status if entry and meta is not None and status != meta.status else None,
            stored=meta is not None,
            collapsed=True if waiter.collapsed else None,
            ttl=None if meta is None else meta.ttl(now),
            key=key,
        )

    # -- asking

    def _fill(self, waiter: Waiter, key: Key, entry: Entry | None, decision: Forward | Revalidate, now: float) -> None:
        fill = Fill(self, key, waiter.exchange.request, entry)
        fill.join(waiter)
        alone = waiter.ask.conditional and entry is None  # what its conditions make of the answer is its own
        if not alone and key not in self._fills and self._passed.get(key, 0.0) <= now:
            self._fills[key] = fill
        fill.start(waiter.exchange.engine, decision.conditions if isinstance(decision, Revalidate) else None)

    def _validate(self, exchange: Exchange, key: Key, entry: Entry) -> None:
        decision = decide(entry.meta, self.plain, float("inf"))
        fill = self._fills[key] = Fill(self, key, exchange.request, entry)
        fill.start(exchange.engine, decision.conditions if isinstance(decision, Revalidate) else [])

    def alone(self, exchange: Exchange, ask: Ask, fwd: str) -> None:
        """Ask for one that had waited for what was not for it."""
        fill = Fill(self, make_key(exchange.request, self.rules), exchange.request)
        fill.join(Waiter(exchange, ask, fwd))
        fill.start(exchange.engine, None)

    def child(self, engine: Engine, fill: Fill, request: Request, conditions: list[Field] | None) -> Exchange:
        """The exchange of a fill: the request as every client's that it stands for."""
        asked = Request(
            b"GET" if request.method == b"HEAD" and conditions is not None else request.method,
            request.path,
            keyed_query(request.query, self.rules),
            Headers(fill_fields(request, self.rules, conditions)),
            host=request.host,
            authority=request.authority,
            version=request.version,
            kinds=request.kinds,
            arrival=request.arrival,
        )
        asked.client = request.client
        asked.scheme = request.scheme
        return Exchange.child(engine, fill, asked)

    def forget(self, key: Key, fill: Fill) -> None:
        """Nobody can join a fill any more."""
        if self._fills.get(key) is fill:
            del self._fills[key]

    def pass_for_a_while(self, key: Key) -> None:
        """Answers to a key are not for everybody: don't make its requests wait for each other."""
        if len(self._passed) >= _MOST_PASSED:
            self._passed.clear()
        self._passed[key] = self._seconds() + _PASSED

    def _pass(self, exchange: Exchange, decision: Forward) -> None:
        exchange.note = decision
        self._inner.start(exchange)

    def after(self, exchange: Exchange) -> None:
        """A client-response hook: what a response that passed by means for what is stored (RFC 9111 4.4)."""
        decision, response = exchange.note, exchange.response
        if not isinstance(decision, Forward) or response is None or exchange.fault is not None:
            return
        exchange.note = None
        request = exchange.request
        if request.method not in _SAFE:
            for uri in invalidates(request, response, self.rules):
                self.store.purge(uri)
        if self._name:
            field = status_of_forward(self._name, decision.fwd)
            response.headers.fields = [*response.headers.fields, field]
