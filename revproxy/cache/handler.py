"""The handler that stands before another one and answers from the store where it can (RFC 9111).

Rules of this module:

* the decisions are elsewhere and pure (:mod:`revproxy.cache.policy` and its neighbours); here they are
  carried out. A hit makes no new exchange, a miss and a validation run as one of their own
  (:class:`~revproxy.cache.fill.Fill`), with the route's backend-side hooks, so that what is stored has
  been through them;
* requests for one key that come while it is being asked for wait for that answer, unless answers to that
  key were not for everybody lately;
* what is not for the cache goes to the inner handler as if there were no cache;
* a hit that asks for nothing special, by the same fields as the request before it on its connection, is
  found by its target, with a head that is made once a second: 2 us where a look-up takes 6.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nextafter
from typing import TYPE_CHECKING, Any

from revproxy.cache.answer import hit_fields
from revproxy.cache.directives import NO_STORE
from revproxy.cache.entry import Entry
from revproxy.cache.fill import Fill
from revproxy.cache.key import Key, fill_request, make_key, printable_key
from revproxy.cache.noted import Noted
from revproxy.cache.partial import find_part, range_within
from revproxy.cache.pending import Pending, Slot, slot_of
from revproxy.cache.policy import (
    FRESH,
    PLAIN,
    Ask,
    Forward,
    GatewayTimeout,
    Revalidate,
    Serve,
    choose,
    decide,
    read_request,
)
from revproxy.cache.rules import Rules
from revproxy.cache.serving import respond, respond_part
from revproxy.cache.status import status_of_forward, status_of_hit
from revproxy.cache.store import Store
from revproxy.cache.stored import SHARED, Stored
from revproxy.cache.waiting import Waiter
from revproxy.exchange import Exchange
from revproxy.fault import BACKEND_FAILING, ONLY_IF_CACHED
from revproxy.http.blocks import ResponseBlock
from revproxy.http.message import DATE, Field, Headers, Request, Response
from revproxy.routing import Route

if TYPE_CHECKING:
    from revproxy.engine import Engine

#: Seconds for which requests for a key are not made to wait for each other, after an answer that was not for everybody.
_PASSED = 60.0
_MOST_PASSED = 10_000
#: Errors in a row after which those who wait for the same get one, too.
_TURNS = 3
#: What can't be sent from the store.
_HELD = Forward("bypass", "too much is being read slowly", store=False)
#: Hits that are kept ready; about 1.5 KB each. They are not in the store's sum, so large ones are left out.
_READY = 512
_LARGEST_READY = 4096
#: Larger bodies are not sent in one write.
_AT_ONCE = 64 * 1024
#: Path, query, authority and scheme of a request.
_Target = tuple[bytes, bytes | None, bytes, bytes]


class Cache:
    """Answers exchanges from a store, or has them answered by ``inner``.

    :param inner: the handler of what is not stored.
    :param store: where responses are; several routes may share one, and then share ``pending``, too.
    :param route: what backends are asked by: the hooks of the route's backend side, and ``inner``.
    :param seconds: the reactor's clock. :param offset: what makes it the wall clock.
    """

    __slots__ = (
        "_fills", "_inner", "_is_simple", "_name", "_offset", "_passed", "_ready", "_seconds", "pending", "route",
        "rules", "store",
    )  # fmt: skip

    def __init__(
        self,
        inner: Any,
        rules: Rules,
        store: Store,
        route: Route,
        seconds: Callable[[], float],
        offset: float = 0.0,
        pending: Pending | None = None,
    ) -> None:
        self._inner = inner
        self.rules = rules
        self.store = store
        self.route = route
        self.pending = Pending() if pending is None else pending
        self._name = rules.status_name
        self._seconds = seconds
        self._offset = offset
        # whether keys are of the target alone
        self._is_simple = not (rules.key_headers or rules.key_cookies or rules.bypass_query)
        self._fills: dict[Slot, Fill] = {}
        # by hashes: nothing worse than a wait that is left out comes of two that are the same
        self._passed: dict[int, float] = {}
        self._ready: dict[_Target, tuple[float, Key, Stored, Response]] = {}

    def now(self) -> float:
        """The wall clock."""
        return self._seconds() + self._offset

    def start(self, exchange: Exchange) -> None:
        """4: from the store, with others who wait for the same, or by the inner handler."""
        request = exchange.request
        block, fields = request.block, request.headers.fields
        if block is not None and block.plain_for is self.rules and block.fields is fields:
            ready = self._ready.get((request.path, request.query, request.authority, request.scheme))
            if ready is not None and request.method == b"GET":
                until, key, stored, response = ready
                route = exchange.route
                hooked = route is not None and (route.client_request or route.client_response)
                now = self.now() if hooked else exchange.started + self._offset
                entries = self.store.variants(key)
                if now < until and now < stored.serve_until and len(entries) == 1 and entries[0].meta is stored:
                    self.store.hit(entries[0])
                    if hooked:
                        response = response.copy()
                    exchange.serve(response, entries[0].body, True)  # type: ignore[arg-type]  # that short it is one
                    return
        ask = read_request(request, self.rules)
        if ask.forward is not None:
            self._pass(exchange, ask.forward)
            return
        if block is not None and ask is PLAIN and self._is_simple and block.fields is fields:
            block.plain_for = self.rules
        key = make_key(request, self.rules)
        now = self._seconds() + self._offset
        entries = self.store.variants(key)
        if not entries:
            self._miss(exchange, ask, key, None, decide(None, ask, now), ())
            return
        found: Entry | None = entries[0]
        if len(entries) == 1:
            chosen = choose((entries[0].meta,), request)
            if chosen is None:
                found = None
        else:
            chosen = choose([each.meta for each in entries], request)
            found = next((each for each in entries if each.meta is chosen), None)
        decision = decide(chosen, ask, now, varied=chosen is None)
        if found is not None and isinstance(decision, Serve):
            self.store.hit(found)
            if decision is FRESH and ask is PLAIN and found.length <= _AT_ONCE and request.method == b"GET":
                response = self._head(found, found.meta, now, request, bool(found.meta.vary) or len(entries) > 1)
                exchange.serve(response, found.body, True)  # type: ignore[arg-type]  # that short it is one
            elif not respond(exchange, self.store, found.meta, found, ask, now, self._hit_field(found.meta, now)):
                self._pass(exchange, _HELD)
            if decision.validate:
                self._validate(exchange, key, found)
        else:
            self._miss(exchange, ask, key, found, decision, entries[-1].meta.vary)

    # -- hits

    def _head(self, entry: Entry, stored: Stored, now: float, request: Request, chosen: bool) -> Response:
        """The head of a whole response. :param chosen: by more than its target, so that it is not kept ready."""
        fields = hit_fields(stored, now, self._hit_field(stored, now))
        length = None if stored.status == 204 else entry.length
        head = Response(stored.status, Headers(fields), reason=stored.reason, length=length, kinds=DATE)
        if chosen or not self._is_simple or entry.size - entry.length > _LARGEST_READY:
            return head
        # until one of the two numbers in it changes: at a whole second of age, after one of what is left
        until = min(stored.born + stored.age(now) + 1, nextafter(stored.fresh_until - stored.ttl(now), inf))
        if len(self._ready) >= _READY:
            self._ready.clear()
        block = ResponseBlock(head, 0, True, None)
        target = (request.path, request.query, request.authority, request.scheme)
        self._ready[target] = (until, stored.key, stored, block.response)
        del block.response  # each knowing the other they would wait for the collector, thousands of them
        return head

    def _hit_field(self, stored: Stored, now: float) -> Field | None:
        if not self._name:
            return None
        key = printable_key(stored.key) if self.rules.status_key else None
        return status_of_hit(self._name, stored.ttl(now), key)

    # -- asking

    def _miss(
        self,
        exchange: Exchange,
        ask: Ask,
        key: Key,
        entry: Entry | None,
        decision: Forward | Revalidate | GatewayTimeout | Serve,
        names: tuple[bytes, ...],
    ) -> None:
        if entry is None and ask.conditional and self._serve_part(exchange, ask, key):
            return
        if isinstance(decision, GatewayTimeout):
            exchange.fail(ONLY_IF_CACHED, decision.why)
            return
        assert not isinstance(decision, Serve)
        conditions: list[Field] | None = None
        if isinstance(decision, Revalidate):
            conditions = decision.conditions
        elif entry is not None:
            if ask.authorized and not entry.meta.bits & SHARED:
                entry = None  # another's
            else:
                conditions = []
        if exchange.request.method == b"HEAD" and isinstance(decision, Forward):
            self._pass(exchange, decision)
            return
        waiter = Waiter(exchange, ask, decision.fwd)
        own = bool(ask.bits & NO_STORE)
        if ask.conditional and entry is None and not own:
            # the whole is asked for, to be stored; but a part, and what is not stored anyway, as the client does
            own = b"range" in exchange.request.headers or self._is_passed(key, ask)
            conditions = None if own else []
        if own:
            self._begin(waiter, key, entry, conditions, None)
        else:
            self._collapse(waiter, key, entry, conditions, names)

    def _serve_part(self, exchange: Exchange, ask: Ask, key: Key) -> bool:
        request, now = exchange.request, self.now()
        entry = find_part(self.store, key, request, ask, now)
        span = None if entry is None else range_within(entry.meta, request, now)
        if entry is None or span is None:
            return False
        self.store.hit(entry)
        return respond_part(exchange, self.store, entry, span, now, self._hit_field(entry.meta, now))

    def _is_passed(self, key: Key, ask: Ask) -> bool:
        return bool(self._passed) and self._passed.get(hash((key, ask.authorized)), 0.0) > self.now()

    def _collapse(
        self,
        waiter: Waiter,
        key: Key,
        entry: Entry | None,
        conditions: list[Field] | None,
        names: tuple[bytes, ...],
    ) -> None:
        """Wait for another's answer, or ask."""
        ask, headers = waiter.ask, waiter.exchange.request.headers
        slot = slot_of(key, ask.authorized, names, headers)
        running = self._fills.get(slot)
        if running is not None and running.meta is not None and running.meta.vary != names:
            # now it is known by what its response was chosen
            waiter.collapsed = True
            if not ask.bits and running.attach(waiter):
                return
            waiter.collapsed = False
            slot = slot_of(key, ask.authorized, running.meta.vary, headers)
            running = self._fills.get(slot)
        if running is not None and not ask.bits:
            waiter.collapsed = True
            if running.meta is None:
                running.join(waiter)
                return
            if running.attach(waiter):
                return
            waiter.collapsed = False
        elif running is None and not self._is_passed(key, ask):
            self._begin(waiter, key, entry, conditions, slot)
            return
        self._begin(waiter, key, entry, conditions, None)

    def _begin(
        self, waiter: Waiter, key: Key, entry: Entry | None, conditions: list[Field] | None, slot: Slot | None
    ) -> None:
        fill = Fill(self, key, waiter.exchange.request, entry, slot)
        if entry is None and (conditions is not None or not waiter.ask.conditional):
            rest = fill.complete(waiter.ask)
            if rest is not None:
                conditions = rest
                waiter.fwd = "partial"
        fill.join(waiter)
        if slot is not None:
            self._fills[slot] = fill
        fill.start(waiter.exchange.engine, conditions)

    def _validate(self, exchange: Exchange, key: Key, entry: Entry) -> None:
        """Validate what was sent stale, unless that is being done (RFC 5861 3)."""
        slot = slot_of(key, False, entry.meta.vary, exchange.request.headers)
        if slot in self._fills:
            return
        decision = decide(entry.meta, PLAIN, float("inf"))
        fill = self._fills[slot] = Fill(self, key, exchange.request, entry, slot)
        fill.start(exchange.engine, decision.conditions if isinstance(decision, Revalidate) else [])

    # -- for fills

    def alone(self, waiter: Waiter) -> None:
        """Ask for one that had waited for what was not for it."""
        waiter.collapsed = False
        self._begin(waiter, make_key(waiter.exchange.request, self.rules), None, None, None)

    def in_turn(self, waiters: list[Waiter], key: Key, failures: int, error: Response) -> None:
        """Ask for the first of those who had waited for what was an error; the others wait for that one's answer.

        :param failures: so many errors in a row were for others of them: the last ones' answer, after some.
        """
        if failures >= _TURNS:
            after = error.headers.get(b"retry-after")
            seconds = int(after) if after is not None and after.isdigit() else 1
            for waiter in waiters:
                waiter.exchange.fail(BACKEND_FAILING, f"{error.status} to {failures} others", seconds)
            return
        first = waiters[0]
        entries = self.store.variants(key)
        names = entries[-1].meta.vary if entries else ()
        slot = slot_of(key, first.ask.authorized, names, first.exchange.request.headers)
        fill = Fill(self, key, first.exchange.request, None, None if slot in self._fills else slot)
        fill.failures = failures
        first.collapsed = False
        for waiter in waiters:
            fill.join(waiter)
        if fill.slot is not None:
            self._fills[slot] = fill
        fill.start(first.exchange.engine, [])

    def again(self, waiter: Waiter, key: Key, met: Stored, now: float) -> None:
        """One had waited for what was chosen for others, ``met``: with those that are like it, or alone."""
        request = waiter.exchange.request
        if met.serve_until <= now or choose((met,), request) is not None:
            self.alone(waiter)
            return
        waiter.collapsed = False
        self._collapse(waiter, key, None, None, met.vary)

    def status(
        self,
        waiter: Waiter,
        meta: Stored | None,
        now: float,
        *,
        validated: bool = False,
        error: int | None = None,
    ) -> Field | None:
        """Cache-Status of an answer that a backend was asked for.

        :param meta: what is stored of it. :param validated: by a 304. :param error: what came instead, 0 for nothing.
        """
        if not self._name:
            return None
        return status_of_forward(
            self._name,
            waiter.fwd,
            fwd_status=304 if validated else error or None,
            stored=meta is not None and not validated,
            collapsed=True if waiter.collapsed else None,
            ttl=None if meta is None else meta.ttl(now),
            key=printable_key(meta.key) if meta is not None and self.rules.status_key else None,
        )

    def child(self, engine: Engine, fill: Fill, request: Request, conditions: list[Field] | None) -> Exchange:
        """The exchange of a fill: the request as every client's that it stands for.

        :param conditions: the preconditions in the place of the client's; ``None`` leaves it these.
        """
        return Exchange.child(engine, fill, fill_request(request, self.rules, conditions))

    def forget(self, fill: Fill) -> None:
        """Nobody can join a fill any more."""
        slot = fill.slot
        if slot is not None:
            fill.slot = None
            if self._fills.get(slot) is fill:
                del self._fills[slot]

    def do_not_wait(self, fill: Fill) -> None:
        """Answers to a key are not for everybody: don't make its requests wait for each other for a while."""
        if fill.slot is not None:  # otherwise it was a request that asked for something special
            if len(self._passed) >= _MOST_PASSED:
                self._passed.clear()
            self._passed[hash(fill.slot[:2])] = self.now() + _PASSED

    def wait_again(self, fill: Fill) -> None:
        """They are now."""
        if self._passed and fill.slot is not None:
            self._passed.pop(hash(fill.slot[:2]), None)

    # -- what passes by

    def _pass(self, exchange: Exchange, decision: Forward) -> None:
        exchange.note = decision
        request = exchange.request
        if request.method == b"POST" or request.method == b"HEAD":
            exchange.note = Noted(decision, request, self.now(), self.pending.purges)
        self._inner.start(exchange)
