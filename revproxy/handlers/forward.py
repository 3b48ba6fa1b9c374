"""The handler that ends a route at a backend: pick one, take a connection, try again where that is safe."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from revproxy.config.upstreams import Retry
from revproxy.exchange import Exchange
from revproxy.fault import (
    BACKEND_FIRST_BYTE_TIMEOUT,
    BACKEND_NONE,
    BACKEND_RESET,
    BACKEND_STATUS,
    BACKEND_TOTAL_TIMEOUT,
    BACKEND_UNSENT,
    CIRCUIT_OPEN,
    HANDLER_FAILED,
    Fault,
)
from revproxy.handlers.rules import Rules
from revproxy.hooks import run_hooks
from revproxy.stream import ASKED, ASKING, DONE, TUNNEL
from revproxy.upstream.backend import Backend
from revproxy.upstream.breaker import CLOSED
from revproxy.upstream.group import Upstream
from revproxy.upstream.http1 import BackendConnection
from revproxy.upstream.retry import IDEMPOTENT, Policy
from revproxy.wire import NO_PEER, PEER_FULL

_log = Logger()


class Forward(Rules):
    """Forwards exchanges to an upstream; ``hide`` and ``forwarded`` are as in :class:`Rules`.

    :param retry: when a request is sent once more; the defaults when left out.
    :ivar first_byte: seconds for a response head. :ivar per_try: the same where the request may be
        sent again, or ``None``.
    """

    __slots__ = ("first_byte", "per_try", "retry")

    def __init__(
        self,
        upstream: Upstream,
        hide: frozenset[bytes] = frozenset(),
        forwarded: bool = False,
        retry: Policy | None = None,
    ) -> None:
        super().__init__(upstream, hide, forwarded)
        self.retry = Policy(Retry()) if retry is None else retry
        self.first_byte = upstream.timeouts.first_byte
        self.per_try = self.retry.per_try

    def start(self, exchange: Exchange) -> None:
        """4: a backend for the exchange, and a connection to it."""
        upstream = self.upstream
        if upstream.special:
            self._start_specially(exchange)
            return
        backend = upstream.single or upstream.balancer.pick(upstream.ready, exchange)
        if backend is None:
            exchange.fail(BACKEND_NONE)
        else:
            self._begin(exchange, backend)

    def _begin(self, exchange: Exchange, backend: Backend) -> None:
        exchange.backend = backend
        backend.active += 1
        backend.requests += 1
        route = exchange.route
        if route is not None and route.backend_request:
            run_hooks(exchange, route.backend_request, 0, lambda: self._use(exchange, backend, False))
        else:
            self._use(exchange, backend, False)

    def _start_specially(self, exchange: Exchange) -> None:
        upstream = self.upstream
        if upstream.timeouts.total is not None:
            self._limit_total(exchange, upstream.timeouts.total)
        if upstream.watch.breaker is not None:
            seconds = upstream.watch.admit()
            if seconds:
                exchange.fail(CIRCUIT_OPEN, retry_after=seconds)
                return
        backend = upstream.choose(exchange)
        if backend is not None:
            self._begin(exchange, backend)
        elif upstream.has_room_later(()):
            sticky = upstream.sticky
            upstream.room.join(
                exchange,
                lambda: upstream.choose(exchange),
                lambda backend: self._begin(exchange, backend),
                None if sticky is None else sticky.find(exchange),
            )
        else:
            exchange.fail(BACKEND_NONE)

    def _limit_total(self, exchange: Exchange, seconds: float) -> None:
        def late() -> None:
            if exchange.state < TUNNEL:
                if exchange.state == ASKED and exchange.backend is not None:
                    self.upstream.watch.failed(exchange.backend, BACKEND_TOTAL_TIMEOUT.word)
                exchange.fail(BACKEND_TOTAL_TIMEOUT, f"not done within {seconds:g} s")

        timer = exchange.engine.reactor.callLater(seconds, late)

        def finished(exchange: Exchange) -> None:
            if timer.active():
                timer.cancel()

        exchange.when_finished(finished)

    # -- 5: a connection to the backend

    def _use(self, exchange: Exchange, backend: Backend, fresh: bool) -> None:
        exchange.tries += 1
        pool = backend.pool
        connection = None
        if not fresh and pool.idle:
            request = exchange.request
            if request.method in IDEMPOTENT and request.length is not None and request.length <= self.retry.body:
                connection = pool.take()
            else:
                connection = pool.take_proven(exchange.engine.seconds())
        if connection is not None:
            connection.begin(exchange, self)
        else:
            self._connect(exchange, backend)

    def _connect(self, exchange: Exchange, backend: Backend) -> None:
        began = exchange.engine.seconds()

        def connected(connection: BackendConnection) -> None:
            exchange.waiting = None
            exchange.connect_time = exchange.engine.seconds() - began
            if exchange.state == DONE:
                backend.pool.put(connection)
            else:
                connection.begin(exchange, self)

        def failed(failure: Any) -> None:
            exchange.waiting = None
            if exchange.state == DONE or failure.check(CancelledError):
                return
            self.failed(exchange, failure.value.fault, failure.value.detail, reused=False, untouched=True)

        waiting = backend.pool.connect(exchange)
        exchange.waiting = waiting

        def broke(failure: Any) -> None:
            _log.failure("forwarding to {backend} failed", failure=failure, backend=backend.name)
            exchange.fail(HANDLER_FAILED)  # which cuts the connection, too: it is the sink

        waiting.addCallbacks(connected, failed).addErrback(broke)

    # -- 7: what came of it

    def patience(self, method: bytes) -> float:
        """Seconds that a backend has for a response head."""
        if self.per_try is not None and method in self.retry.methods:
            return self.per_try
        return self.first_byte

    def may_repeat(self, method: bytes, reused: bool, size: int) -> bool:
        """Whether a request's body, of which ``size`` bytes are there, is worth keeping, to be sent again."""
        retry = self.retry
        return size <= retry.body and (method in retry.methods or (reused and method in IDEMPOTENT))

    def came(self, exchange: Exchange, status: int, seconds: float, now: float) -> bool:
        """A response head came: ``True`` when it is a failed try, and the request is to be sent :meth:`again`."""
        self.upstream.answered(exchange.backend, status, seconds, now)
        if status not in self.retry.statuses or self._verdict(exchange, BACKEND_STATUS, False) != "paid":
            return False
        return self._is_anywhere_left(exchange) and self._pay(exchange)

    def again(self, exchange: Exchange) -> None:
        """The try whose response was not wanted is over: send the request to another backend."""
        self._try(exchange, False)

    def failed(self, exchange: Exchange, fault: Fault, detail: str, *, reused: bool, untouched: bool) -> None:
        """A try failed: once more, or an error for the client."""
        if exchange.state == DONE:
            return
        upstream = self.upstream
        # a backend that closes a connection at rest is well, and so is one that did not wait for a client's body
        closed = reused and (fault is BACKEND_RESET or fault is BACKEND_UNSENT)
        waited = exchange.state == ASKING and (fault is BACKEND_RESET or fault is BACKEND_FIRST_BYTE_TIMEOUT)
        if fault.blame == "backend" and not closed and not waited:
            upstream.watch.failed(exchange.backend, f"{fault.word} ({detail})" if detail else fault.word)
        verdict = self._verdict(exchange, fault, reused) if untouched else "no"
        if verdict == "free":
            exchange.repeats += 1
            exchange.tries -= 1
            self._try(exchange, True)
        elif verdict == "no" or not self._is_anywhere_left(exchange):
            exchange.fail(fault, detail)
        elif self._pay(exchange):
            self._try(exchange, False)
        else:
            exchange.fail(fault, f"{detail}; not tried again: the budget of retries is spent")

    def _verdict(self, exchange: Exchange, fault: Fault, reused: bool) -> str:
        return self.retry.verdict(
            fault,
            method=exchange.request.method,
            reused=reused,
            replayable=exchange.received == 0 or exchange.replay is not None or exchange.held is not None,
            tries=exchange.tries,
        )

    def _is_anywhere_left(self, exchange: Exchange) -> bool:
        """Note that the backend was tried; whether there is another, or the same one after a pause."""
        exchange.tried = (*exchange.tried, exchange.backend)
        breaker = self.upstream.watch.breaker
        if breaker is not None and breaker.state != CLOSED:
            return False
        return self.retry.backoff is not None or self.upstream.has_others(exchange.tried)

    def _pay(self, exchange: Exchange) -> bool:
        upstream = self.upstream
        return upstream.budget.spend(self.retry.budget, exchange.engine.seconds(), upstream.requests, upstream.live)

    def _try(self, exchange: Exchange, fresh: bool) -> None:
        replay, exchange.replay = exchange.replay, None
        if replay is not None and exchange.held is None:
            exchange.held = [chunk for chunk in replay if chunk]
            exchange.held_size = exchange.received
        if exchange.state == ASKING and exchange.held_size:
            exchange.client.resume_reading(NO_PEER | PEER_FULL)  # who was full is gone
        upstream = self.upstream
        before, exchange.backend = exchange.backend, None  # who waits takes nobody's place
        if before is not None:
            before.active -= 1
            if before.freed is not None:
                before.freed(before)
        backend = upstream.choose(exchange, exchange.tried)
        if backend is not None:
            self._take(exchange, backend, fresh)
            return
        if upstream.has_room_later(exchange.tried):
            upstream.room.join(
                exchange,
                lambda: upstream.choose(exchange, exchange.tried),
                lambda backend: self._take(exchange, backend, fresh),
                exchange.tried or None,
            )
        elif self.retry.backoff is not None and exchange.tried:
            self._pause(exchange, self.retry.backoff)
        else:
            exchange.fail(BACKEND_NONE)

    def _take(self, exchange: Exchange, backend: Backend, fresh: bool) -> None:
        exchange.backend = backend
        backend.active += 1
        backend.requests += 1
        self._use(exchange, backend, fresh)

    def _pause(self, exchange: Exchange, seconds: float) -> None:
        """Every backend was tried: all of them again, after a while."""
        upstream = self.upstream
        seconds *= 2.0 ** min(max(0, exchange.tries - len(upstream.backends)), 16) * (0.5 + upstream.chance.random())

        def go() -> None:
            exchange.waiting = None
            exchange.tried = ()
            self._try(exchange, False)

        def forget(waiting: Deferred[Any]) -> None:
            timer.cancel()

        timer = exchange.engine.reactor.callLater(seconds, go)
        waiting: Deferred[Any] = Deferred(forget)
        waiting.addErrback(lambda failure: None)  # it was cancelled
        exchange.waiting = waiting
