"""The handler that ends a route at a backend: pick one, take a connection, try again where that is safe."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from revproxy.exchange import Exchange
from revproxy.fault import BACKEND_NONE, BACKEND_TOTAL_TIMEOUT, HANDLER_FAILED, Fault
from revproxy.hooks import run_hooks
from revproxy.http.forwarding import request_head, request_section, response_fields
from revproxy.http.message import EXPECT, HOP, MAPPED, UPGRADE, Field, Response
from revproxy.stream import ASKING, DONE, TUNNEL
from revproxy.upstream.backend import Backend, Upstream
from revproxy.upstream.http1 import BackendConnection
from revproxy.upstream.retry import IDEMPOTENT, REPLAY, may_retry
from revproxy.wire import NO_PEER

_log = Logger()

_VARYING = EXPECT | UPGRADE  # kinds whose serialised form depends on more than the fields


class Forward:
    """Forwards exchanges to an upstream.

    :param upstream: the live upstream.
    :param hide: lower-case names of response fields that clients never see.
    :param forwarded: whether backends get Forwarded (RFC 7239) too.
    """

    __slots__ = ("_forwarded", "_hide", "_host", "_memo", "upstream")

    def __init__(self, upstream: Upstream, hide: frozenset[bytes] = frozenset(), forwarded: bool = False) -> None:
        self.upstream = upstream
        self._hide = hide
        self._host = upstream.host
        self._forwarded = forwarded
        self._memo = upstream.host != b""

    def start(self, exchange: Exchange) -> None:
        """4: a backend for the exchange, and a connection to it."""
        upstream = self.upstream
        if upstream.timeouts.total is not None:
            self._limit_total(exchange, upstream.timeouts.total)
        backend = upstream.single or upstream.balancer.pick(upstream.backends, exchange)
        if backend is None:
            exchange.fail(BACKEND_NONE)
            return
        exchange.backend = backend
        route = exchange.route
        if route is not None and route.backend_request:
            run_hooks(exchange, route.backend_request, 0, lambda: self._use(exchange, backend, (), False))
        else:
            self._use(exchange, backend, (), False)

    def _limit_total(self, exchange: Exchange, seconds: float) -> None:
        def late() -> None:
            if exchange.state < TUNNEL:
                exchange.fail(BACKEND_TOTAL_TIMEOUT, f"not done within {seconds:g} s")

        timer = exchange.engine.reactor.callLater(seconds, late)

        def finished(exchange: Exchange) -> None:
            if timer.active():
                timer.cancel()

        exchange.on_finished = finished

    def _try(self, exchange: Exchange, tried: tuple[Backend, ...], fresh: bool) -> None:
        upstream = self.upstream
        backend = upstream.balancer.pick(upstream.backends, exchange, tried)
        if backend is None:
            exchange.fail(BACKEND_NONE)
            return
        exchange.backend = backend
        self._use(exchange, backend, tried, fresh)

    def _use(self, exchange: Exchange, backend: Backend, tried: tuple[Backend, ...], fresh: bool) -> None:
        exchange.tries += 1
        pool = backend.pool
        connection = None
        if not fresh and pool.idle:
            request = exchange.request
            if request.method in IDEMPOTENT and request.length is not None and request.length <= REPLAY:
                connection = pool.take()
            else:
                connection = pool.take_proven(exchange.engine.seconds())
        if connection is not None:
            connection.begin(exchange, self)
            return
        self._connect(exchange, backend, tried)

    def _connect(self, exchange: Exchange, backend: Backend, tried: tuple[Backend, ...]) -> None:
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
            self._again(exchange, failure.value.fault, failure.value.detail, (*tried, backend))

        waiting = backend.pool.connect()
        exchange.waiting = waiting

        def broke(failure: Any) -> None:
            _log.failure("forwarding to {backend} failed", failure=failure, backend=backend.name)
            exchange.fail(HANDLER_FAILED)  # which cuts the connection, too: it is the sink

        waiting.addCallbacks(connected, failed).addErrback(broke)

    def failed(self, exchange: Exchange, fault: Fault, detail: str, *, reused: bool, untouched: bool) -> None:
        """A try failed after the connection was there: once more, or an error for the client."""
        if exchange.state == DONE:
            return
        replay = exchange.replay
        exchange.replay = None
        had_body = exchange.received > 0
        if untouched and may_retry(
            fault,
            method=exchange.request.method,
            reused=reused,
            replayable=not had_body or replay is not None or exchange.held is not None,
            tries=exchange.tries,
            most=len(self.upstream.backends) + 1,
            elsewhere=len(self.upstream.backends) > 1,
        ):
            if replay is not None and exchange.held is None:
                exchange.held = [chunk for chunk in replay if chunk]
                exchange.held_size = exchange.received
            if exchange.state == ASKING and exchange.held_size:
                exchange.client.resume_reading(NO_PEER)
            # a backend that closes idle connections is well: once more, on a fresh one
            self._try(exchange, () if reused else (exchange.backend,), True)
        else:
            exchange.fail(fault, detail)

    def _again(self, exchange: Exchange, fault: Fault, detail: str, tried: tuple[Backend, ...]) -> None:
        """No connection came: another backend, while there is one."""
        backends = self.upstream.backends
        if fault.retry == "unsent" and len(tried) < len(backends):
            self._try(exchange, tried, False)
        else:
            exchange.fail(fault, detail)

    # -- the rules of forwarding

    def request_head(self, exchange: Exchange) -> bytes:
        """5: the head that the backend gets."""
        request = exchange.request
        if request.upgrade is not None and (request.length != 0 or not self._may_switch(exchange)):
            request.upgrade = None  # with a body to come, there is no telling where the tunnel begins
        block = request.block
        if (
            self._memo
            and block is not None
            and block.fields is request.headers.fields
            and block.authority is request.authority
            and block.length == request.length
        ):
            if block.sender is self:
                section = block.sent
            else:
                section = request_section(request, self._host, self._forwarded)
                if not request.kinds & _VARYING:
                    block.sender = self
                    block.sent = section
        else:
            host = self._host
            section = request_section(request, exchange.backend.authority if host == b"" else host, self._forwarded)
        return request_head(request, section, exchange.request_id)

    def clean_response(self, exchange: Exchange, response: Response) -> None:
        """7: what of the backend's fields the client gets."""
        names = exchange.backend.names if response.kinds & MAPPED else None
        if names is not None and exchange.route is not None and exchange.route.mapping is not None:
            inner, outer = exchange.route.mapping
            names = evolve(names, inner=inner, outer=outer)
        response.headers.fields = response_fields(response, self._hide, exchange.request, names)

    def clean_trailers(self, trailers: list[Field]) -> list[Field]:
        """7: what of the backend's trailers the client gets."""
        return [f for f in trailers if not f[3] & HOP and f[0] not in self._hide] if trailers else trailers

    def switched(self, exchange: Exchange, response: Response) -> bool:
        """Whether a 101 is an answer to what was asked."""
        asked = exchange.request.upgrade
        given = [item.lower() for item in response.headers.get_list(b"upgrade")]
        if asked is None or not given or given[0].partition(b"/")[0] != asked.partition(b"/")[0]:
            return False
        response.headers.fields = response_fields(response, self._hide)
        return True

    def _may_switch(self, exchange: Exchange) -> bool:
        asked = exchange.request.upgrade
        return asked is not None and exchange.route is not None and asked.partition(b"/")[0] in exchange.route.upgrade
