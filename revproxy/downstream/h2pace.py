"""Who is too slow on a stream of an HTTP/2 connection; the rules are those of :mod:`~revproxy.downstream.pace`.

A stream has no timer: its connection looks at it once a second, as long as there is reason to. What came of a frame
that is not complete counts then: frames are the client's to cut, and take as long as its link does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from revproxy.exchange import Exchange
from revproxy.fault import CLIENT_BODY_SLOW, CLIENT_BODY_TIMEOUT, CLIENT_READS_SLOWLY, TUNNEL_IDLE
from revproxy.http.h2frames import CANCEL, NO_ERROR
from revproxy.stream import ASKING, DONE, EARLY


class PacedStream:
    """A stream with the clocks of a client: body gap, minimum rate, reading, tunnel, the rest of what is not wanted.

    :param connection: the :class:`~revproxy.downstream.http2.Http2Connection` that it is one of.
    :ivar exchange: what it takes part in. :ivar asking: the client has not ended its side.
    :ivar over: nothing is sent any more.
    :ivar extended: an extended CONNECT (RFC 8441) that was not accepted yet. :ivar tunnel: one that was.
    """

    __slots__ = (
        "_body_at", "_drain_until", "_pausing", "_stall_at", "_taken", "_window_at", "_window_bytes", "asking",
        "connection", "exchange", "extended", "over", "tunnel",
    )  # fmt: skip

    stream_id: int

    def __init__(self, connection: Any) -> None:
        self.connection: Any = connection  # its streams are of a subclass
        self.exchange: Exchange | None = None
        self.asking = True
        self.over = False
        self.extended = False
        self.tunnel = False
        self._pausing = 0
        self._body_at = 0.0
        self._drain_until = 0.0
        self._window_at = 0.0
        self._window_bytes = 0
        self._stall_at: float | None = None
        self._taken = 0

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call it when nothing of the answer waits here any more; at once, if nothing comes of it."""
        if self.over:
            call()
            return
        connection = self.connection
        if connection.after is None:
            connection.after = {}
        connection.after[self] = call

    def _sent(self) -> None:
        """The answer is out, or nobody is there for it."""
        call = self.connection.after.pop(self, None)
        if call is not None:
            call()

    def begin_body(self) -> None:
        """A body will follow: its clocks run."""
        self._restart_body_clock()

    def _restart_body_clock(self) -> None:
        connection = self.connection
        self._body_at = self._window_at = connection.clock.seconds()
        self._window_bytes = -connection.coming(self.stream_id)
        connection.watch(self)

    def check(self, now: float) -> bool:
        """Whether it has to be looked at again; whoever is too slow is given up."""
        exchange = self.exchange
        if exchange is None:
            if now < self._drain_until:
                return True
            self.connection.reset(self, NO_ERROR, False)
            return False
        timeouts = self.connection.engine.server.timeouts
        if self.tunnel:
            if now >= self._body_at + timeouts.tunnel:
                exchange.fail(TUNNEL_IDLE)
                return False
        rate = self._minimum_rate()
        again = self.tunnel
        if self.asking and not self.tunnel and not self.extended and exchange.state in (ASKING, EARLY):
            again = True
            coming = self.connection.coming(self.stream_id)
            if coming:
                self._body_at = max(self._body_at, self.connection.moved_at)
            if self._pausing or (exchange.request.expects_continue and not exchange.received and not coming):
                self._body_at = self._window_at = now
                self._window_bytes = -coming
            elif now >= self._body_at + timeouts.body:
                exchange.fail(CLIENT_BODY_TIMEOUT)
                self.connection.too_slow(self)
                return False
            elif rate is not None and now >= self._window_at + rate[1]:
                if self._window_bytes + coming < rate[0] * (now - self._window_at):
                    exchange.fail(CLIENT_BODY_SLOW)
                    self.connection.too_slow(self)
                    return False
                self._window_at = now
                self._window_bytes = -coming
        if self._stall_at is not None:
            again = True
            if self.connection.is_full:  # then the whole connection is measured
                self._stall_at = now
                self._taken = 0
            elif rate is not None and now >= self._stall_at + rate[1]:
                if self._taken < rate[0] * (now - self._stall_at):
                    if exchange.state == DONE:  # all of it waits here
                        self.connection.engine.refused(CLIENT_READS_SLOWLY, self.connection.arrival.peer)
                        self.connection.reset(self, CANCEL, True)
                    else:
                        exchange.fail(CLIENT_READS_SLOWLY)
                    self.connection.too_slow(self)
                    return False
                self._stall_at = now
                self._taken = 0
        return again

    def _minimum_rate(self) -> tuple[float, float] | None:
        exchange = self.exchange
        if exchange is not None and exchange.route is not None:
            return exchange.route.minimum_rate
        rate = self.connection.engine.server.minimum_rate
        return None if rate is None else (rate.rate, rate.over)
