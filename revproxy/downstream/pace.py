"""Time and backpressure on a client's connection: who is too slow, and who has to wait.

Rules of this module:

* a connection has one deadline (:class:`~revproxy.wire.Wire`); several clocks share it, and
  ``expired`` asks each of them;
* a clock stands while *we* pause the client or the backend is silent: what a client can't help
  is not held against it;
* what a client took of a response is what left this process and the kernel's send queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from revproxy.exchange import Exchange
from revproxy.fault import CLIENT_BODY_SLOW, CLIENT_BODY_TIMEOUT, CLIENT_READS_SLOWLY, TUNNEL_IDLE, Fault
from revproxy.wire import NEVER, PEER_FULL, READ, Wire

if TYPE_CHECKING:
    from revproxy.engine import Engine

# How what is written is framed.
PLAIN, CHUNKED, TUNNEL = range(3)


class PacedWire(Wire):
    """A wire with the clocks of a client: phase, body gap, minimum rate, reading, tunnel.

    Subclasses define ``phase_expired`` and ``give_up``.
    """

    __slots__ = (
        "_after", "_body_at", "_mode", "_phase_at", "_reading_body", "_stall_at", "_stall_base", "_window_at",
        "_window_bytes", "engine", "exchange",
    )  # fmt: skip

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.reactor)
        self.engine = engine
        self.exchange: Exchange | None = None
        self._mode = PLAIN
        self._reading_body = False
        self._phase_at = NEVER  # when the head, the idle time, draining or lingering has taken too long
        self._body_at = 0.0  # when the last bytes of a body or tunnel moved
        self._window_at = 0.0  # since when the rate of the body is measured
        self._window_bytes = 0
        self._stall_at = NEVER  # since when the rate of reading is measured
        self._stall_base = 0
        self._after: Callable[[], None] | None = None  # for when the answer is out

    # -- backpressure: the client does not take what we have

    def full(self) -> None:
        exchange = self.exchange
        if exchange is None or exchange.sink is None:
            return
        route = exchange.route
        if route is not None and 0 < self.queued() < route.buffer_response:
            return
        self._measure_reading()
        exchange.sink.pause_reading(PEER_FULL)

    def drained(self) -> None:
        self._stall_at = NEVER
        exchange = self.exchange
        if self._after is not None and exchange is None:
            self._sent()
        if exchange is not None and exchange.sink is not None:
            exchange.sink.resume_reading(PEER_FULL)

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call it when the answer is out, but for what may wait for the socket; at once, if nothing comes of it."""
        if self.exchange is None:
            call()
        else:
            self._after = call

    def _sent(self) -> None:
        """The answer is out, or nobody is there for it."""
        call, self._after = self._after, None
        if call is not None:
            call()

    def _waiting(self) -> bool:
        """Whether something waits to be sent, as far as the transport can tell."""
        return self.is_full if self._raw_send is None else self.queued() > 0

    def _reading_window(self, rate: tuple[float, float]) -> float:
        # a transport that only says "empty" is not asked before it can be
        return rate[1] if self._raw_send is not None else max(rate[1], READ / rate[0])

    def _measure_reading(self) -> None:
        """From now on the client has to take something."""
        if self._stall_at == NEVER:
            now = self._stall_at = self.clock.seconds()
            self._stall_base = self.bytes_out - self.unsent()
            rate = self._minimum_rate()
            if rate is not None and now + self._reading_window(rate) < self.deadline:
                self.set_deadline(self._reading_window(rate))

    # -- clocks

    def _set_phase(self, seconds: float) -> None:
        self._phase_at = self.clock.seconds() + seconds
        if seconds != NEVER:
            self.set_deadline(seconds)

    def _minimum_rate(self) -> tuple[float, float] | None:
        exchange = self.exchange
        if exchange is not None and exchange.route is not None:
            return exchange.route.minimum_rate
        rate = self.engine.server.minimum_rate
        return None if rate is None else (rate.rate, rate.over)

    def _restart_body_clock(self) -> None:
        self._body_at = self._window_at = self.clock.seconds()
        self._window_bytes = 0
        rate = self._minimum_rate()
        timeout = self.engine.server.timeouts.body
        self.set_deadline(timeout if rate is None else min(timeout, rate[1]))

    def resume_reading(self, why: int) -> None:
        paused = self._pausing
        super().resume_reading(why)
        # whoever was not paused had its time: a hook that waits for a body says so with each piece of it
        if paused and self._reading_body and not self._pausing:
            self._restart_body_clock()

    def expired(self) -> None:
        now = self.clock.seconds()
        if now >= self._phase_at:
            self._phase_at = NEVER
            self.phase_expired()
            return
        due = [self._phase_at]
        if self._mode == TUNNEL:
            due.append(self._body_at + self.engine.server.timeouts.tunnel)
            if now >= due[-1]:
                self.give_up(TUNNEL_IDLE)
                return
        rate = self._minimum_rate()
        if self._reading_body and not self._pausing and not self._awaits_continue():
            due.append(self._body_at + self.engine.server.timeouts.body)
            if now >= due[-1]:
                self.give_up(CLIENT_BODY_TIMEOUT)
                return
            if rate is not None:
                if now >= self._window_at + rate[1]:
                    if self._window_bytes < rate[0] * (now - self._window_at):
                        self.give_up(CLIENT_BODY_SLOW)
                        return
                    self._window_at = now
                    self._window_bytes = 0
                due.append(self._window_at + rate[1])
        if self._stall_at != NEVER and rate is not None:
            window = self._reading_window(rate)
            if now >= self._stall_at + window:
                left = self.unsent()
                taken = self.bytes_out - left
                if left and taken - self._stall_base < rate[0] * (now - self._stall_at):
                    self.give_up(CLIENT_READS_SLOWLY)
                    return
                self._stall_at = now if left else NEVER
                self._stall_base = taken
            due.append(self._stall_at + window)
        first = min(due)
        if first != NEVER:
            self.set_deadline(first - now)

    def _awaits_continue(self) -> bool:
        exchange = self.exchange
        return exchange is not None and exchange.request.expects_continue and not exchange.received

    def phase_expired(self) -> None:
        """The current phase took too long."""

    def give_up(self, fault: Fault) -> None:
        """The client is too slow."""
