"""Rate limits, as a client-request hook, and before the backends where answers of a cache are not counted.

Rules of this module:

* the decisions are elsewhere and pure (:mod:`revproxy.limits.rate`); here they are carried out;
* limits that count every request come first of what a route's middleware does; those that leave out a cache's
  answers stand between the cache and the route's handler, so that a request that is refused or waits
  takes no backend's place, and a stale response may serve in its stead where it may on an error;
* a request that waits has one timer, and what it counted is given back when its client leaves;
* what clients are told is :attr:`Exchange.quota`: whoever writes the head of the response adds it as the last lines.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred

from revproxy.config.ratelimit import RateLimit, limit_names
from revproxy.fault import HANDLER_FAILED, RATE_LIMITED, ProtocolError
from revproxy.keys import key_reader
from revproxy.limits.client import address_counter
from revproxy.limits.gcra import Gcra
from revproxy.limits.rate import Delayed, Limit, Limits, Read, Refused
from revproxy.limits.ratefields import Policy

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

#: Bytes of a key that is kept as it is; of longer ones a hash is.
_LONGEST = 64
_TOGETHER = b""


def compile_limits(written: Iterable[RateLimit], base: str = ".", before: Iterable[RateLimit] = ()) -> list[Limit]:
    """Limits with their own state, one for each that was written.

    :param before: others whose names are taken.
    :param base: a folder where the user's modules are looked for after Python's own places.
    :raises ValueError: when a callable can't be found, or is none that gives a key at once.
    """
    found, others = tuple(written), tuple(before)
    made = limit_names((*others, *found))[len(others) :]
    return [_limit(each, name, base) for each, name in zip(found, made, strict=True)]


def _limit(written: RateLimit, name: str, base: str) -> Limit:
    rate = written.rate
    burst = written.burst or max(1, rate.number // 10, int(rate.number / rate.seconds))
    return Limit(
        read=limit_key(written, base),
        gcra=Gcra(rate.number, rate.seconds, burst, written.delay or 0.0, written.keys),
        policy=Policy(name, rate.number, rate.seconds),
        fault=RATE_LIMITED if written.status == RATE_LIMITED.status else evolve(RATE_LIMITED, status=written.status),
        detail=f"{name}: {rate.number}/{rate.unit} by {written.by}",
        waiting=written.waiting if written.delay is not None else 0,
        hits=written.hits,
        tells_all=written.fields == "all",
        tells_refused=written.fields != "off",
    )


def limit_key(written: RateLimit, base: str = ".") -> Read:
    """Reads what a limit counts by. :raises ValueError: as :func:`compile_limits` does."""
    counted = address_counter(written.ipv4, written.ipv6)

    whole = written.ipv4 == 32

    def client(exchange: Exchange) -> Hashable:
        address = exchange.request.client
        return address if whole and ":" not in address else counted(address)

    if written.by == "client":
        return client
    if written.by == "route":
        return lambda exchange: _TOGETHER
    read = _certificate if written.by == "client_certificate" else key_reader(written.by, base)
    missing = written.missing

    def key(exchange: Exchange) -> Hashable:
        found = read(exchange)
        if found is None:
            return client(exchange) if missing == "client" else _TOGETHER if missing == "route" else None
        return found if len(found) <= _LONGEST else blake2b(found, digest_size=16).digest()

    return key


def _certificate(exchange: Exchange) -> bytes | None:
    tls = exchange.request.arrival.tls
    return None if tls is None or tls.client is None else bytes.fromhex(tls.client.fingerprint)


class RateLimiting:
    """A client-request hook: counts a request, lets it wait, or refuses it.

    :ivar limits: that it has to pass. :ivar seconds: the clock.
    """

    __slots__ = ("_reactor", "limits", "seconds")

    def __init__(self, limits: Limits, reactor: Any) -> None:
        self.limits = limits
        self._reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds

    def __call__(self, exchange: Exchange) -> Deferred[None] | None:
        return self.carry_out(exchange, self.limits.decide(exchange, self.seconds()))

    def carry_out(self, exchange: Exchange, made: bytes | Refused | Delayed) -> Deferred[None] | None:
        """What was decided: a request goes on, waits, or fails. :raises ProtocolError: where it is refused."""
        if isinstance(made, bytes):
            exchange.quota += made
            return None
        exchange.quota += made.told
        if isinstance(made, Refused):
            raise ProtocolError(made.limit.fault, made.limit.detail, made.after)
        return self._wait(made)

    def _wait(self, made: Delayed) -> Deferred[None]:
        limits, queue = self.limits, made.limit.queue
        queue.length += 1

        def left(waiting: Deferred[None]) -> None:
            timer.cancel()
            queue.length -= 1
            limits.give_back(made.keys)

        def over() -> None:
            queue.length -= 1
            waiting.callback(None)

        waiting: Deferred[None] = Deferred(left)
        timer = self._reactor.callLater(made.seconds, over)
        return waiting


class Limited:
    """A handler before another one: for limits that leave out a cache's answers."""

    __slots__ = ("_decide", "_inner", "_limiting", "_seconds")

    def __init__(self, inner: Any, limiting: RateLimiting) -> None:
        self._inner = inner
        self._limiting = limiting
        self._decide = limiting.limits.decide
        self._seconds = limiting.seconds

    def start(self, exchange: Exchange) -> None:
        """4: the inner handler, as soon as the limits let it."""
        self._carry_out(exchange, self._decide(exchange, self._seconds()))

    def _carry_out(self, exchange: Exchange, made: bytes | Refused | Delayed) -> None:
        try:
            waiting = self._limiting.carry_out(exchange, made)
        except ProtocolError as e:
            exchange.fail(e.fault, e.detail, e.retry_after)
            return
        if waiting is None:
            self._inner.start(exchange)
            return
        exchange.waiting = waiting
        waiting.addCallback(self._go, exchange).addErrback(_given_up)

    def _go(self, nothing: None, exchange: Exchange) -> None:
        exchange.waiting = None
        try:
            self._inner.start(exchange)
        except Exception:
            exchange.broke(HANDLER_FAILED)


class FirstLimited(Limited):
    """The same where nothing comes before it: a request is counted at its arrival, which saves a look at the clock."""

    __slots__ = ()

    def start(self, exchange: Exchange) -> None:
        """4: the inner handler, as soon as the limits let it."""
        made = self._decide(exchange, exchange.started)
        if type(made) is bytes:
            exchange.quota = made
            self._inner.start(exchange)
        else:
            self._carry_out(exchange, made)


def _given_up(failure: Any) -> None:
    failure.trap(CancelledError)
