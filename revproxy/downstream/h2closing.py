"""How a client's HTTP/2 connection ends, and who is too slow on it (RFC 9113 5.4.1, 6.8).

Rules of this module:

* an end in peace is announced: the client learns which requests were not looked at, the others are
  finished, and what it was answered is never lost in a reset;
* an error of the connection is one line in the log, a last word, and the end of whatever went on;
* the connection has one timer. It runs while it is idle, and once a second while somebody is slow; a
  connection whose streams only wait for backends has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from revproxy.downstream.closing import DRAIN, DRAIN_TIME
from revproxy.downstream.h2stream import Http2Stream
from revproxy.fault import CLIENT_H2_FLOOD, CLIENT_H2_PROTOCOL, STOPPED, Fault
from revproxy.http.h2frames import DATA, ENHANCE_YOUR_CALM, LARGEST_WINDOW, NO_ERROR, PROTOCOL_ERROR, goaway
from revproxy.http.message import Arrival
from revproxy.wire import NEVER, Wire

if TYPE_CHECKING:
    from revproxy.engine import Engine

_LEAVING = 1.0  # seconds between the first and the last GOAWAY of a stop
_SWEEP = 1.0  # seconds between two looks at who is slow


class ClosingHttp2(Wire):
    """A connection that can end. ``_buffer`` holds a frame that is not complete.

    :ivar moved_at: when bytes of such a frame came.
    :ivar after: by stream, what to call when its answer is out; ``None`` until somebody asks for that.
    """

    __slots__ = (
        "_buffer", "_closing", "_dropped", "_idle_at", "_last_id", "_leave_at", "_leaving", "_partial_at", "_ready",
        "_stall_at", "_stall_base", "_streams", "_watched", "after", "arrival", "engine", "moved_at",
    )  # fmt: skip

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine.reactor)
        self.engine = engine
        self.arrival = arrival
        self._buffer = b""
        self._streams: dict[int, Http2Stream] = {}
        self._watched: dict[Http2Stream, None] = {}  # somebody may be slow there
        self._ready: dict[Http2Stream, None] = {}  # something waits there, and there is a window for it
        self._last_id = 0
        self._leaving = False  # the last GOAWAY is out
        self._leave_at = NEVER
        self._closing = False
        self._dropped = 0
        self._idle_at = NEVER
        self._partial_at = NEVER  # since when a frame or a field block is not complete
        self.moved_at = 0.0
        self._stall_at = NEVER
        self._stall_base = 0
        self.after: dict[Http2Stream, Callable[[], None]] | None = None

    def lost(self, reason: Any) -> None:
        self._end_streams()
        self.engine.closed(self, self.arrival.peer)
        self.engine.turns.forget(self)
        self._buffer = b""
        self._watched.clear()

    def half_closed(self) -> None:
        if self._streams:
            self.cut()
        elif self._closing:
            self.close()
        else:
            self._finish_close()  # it may not have read yet what it was answered

    def stop(self) -> None:
        """No more requests: those under way are finished, the client is told so (RFC 9113 6.8)."""
        if self._closing or self._leave_at != NEVER:
            return
        if not self._streams:
            self._leave()
            return
        # what is on its way to us already is still taken; the last word follows
        self.send(goaway(LARGEST_WINDOW, NO_ERROR))
        self._leave_at = self.clock.seconds() + _LEAVING
        self._sweep_soon()

    def stopped(self) -> None:
        """No more time: whatever goes on here ends now."""
        for stream in self._streams.values():
            if stream.exchange is not None and stream.exchange.fault is None:
                stream.exchange.fault = STOPPED
        self.send(goaway(self._last_id, NO_ERROR))
        self.cut()

    def _leave(self) -> None:
        """The last word: streams after this one were not looked at."""
        if not self._leaving:
            self._leaving = True
            self._leave_at = NEVER
            self.send(goaway(self._last_id, NO_ERROR))
        if not self._streams:
            self._finish_close()

    def _finish_close(self) -> None:
        """Close, but let the client read what it was answered first."""
        if self._closing:
            return
        self._closing = True
        self._buffer = b""
        self.dataReceived = self._discard
        self.resume_reading(self._pausing)
        self.half_close()
        if self._stall_at == NEVER:
            self._measure_reading()
        self.set_deadline(DRAIN_TIME if self._raw_send is not None or not self.queued() else self.engine.keep_alive)

    def _discard(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > DRAIN:
            self.cut()

    def _flood(self, what: str) -> None:
        self._fatal(ENHANCE_YOUR_CALM, what, CLIENT_H2_FLOOD)

    def _fatal(self, code: int, detail: str, fault: Fault = CLIENT_H2_PROTOCOL) -> None:
        """The connection ends: one line in the log, a last word to the client, and whatever went on is cancelled."""
        if self._closing:
            return
        self.engine.refused(fault, self.arrival.peer, detail)
        self.send(goaway(self._last_id, code))
        self._end_streams()
        self._finish_close()

    def _end_streams(self) -> None:
        streams, self._streams = self._streams, {}
        self._ready.clear()
        self._watched.clear()
        for stream in streams.values():
            stream.lost()

    # -- time

    def watch(self, stream: Http2Stream) -> None:
        """Somebody may be slow on this stream: look at it once a second."""
        self._watched[stream] = None
        self._sweep_soon()

    def _sweep_soon(self) -> None:
        if self.deadline == NEVER or self.deadline > self.clock.seconds() + _SWEEP:
            self.set_deadline(_SWEEP)

    def expired(self) -> None:
        now = self.clock.seconds()
        if self._closing:
            self._late_close(now)
            return
        if self._leave_at <= now:
            self._leave()
            return
        if self._partial_at != NEVER and now >= self._partial_at + self._patience():
            self._fatal(PROTOCOL_ERROR, "a frame or a field block took too long")
            return
        if self._stall_at != NEVER and not self._takes(now):
            self.cut()
            return
        for stream in list(self._watched):
            if not stream.check(now):
                self._watched.pop(stream, None)
        if self._closing or self.transport is None:
            return
        if self._watched or self._partial_at != NEVER or self._stall_at != NEVER or self._leave_at != NEVER:
            self.set_deadline(_SWEEP)
        elif self._streams:
            return
        elif now >= self._idle_at:
            self._leave()
        else:
            self.set_deadline(self._idle_at - now)

    def _patience(self) -> float:
        """Seconds that the rest of a frame may take; that of a body that is measured is a matter of its stream."""
        timeouts = self.engine.server.timeouts
        begun = self._buffer
        if len(begun) < 9 or begun[3] != DATA:
            return timeouts.head
        if self._streams.get(int.from_bytes(begun[5:9], "big") & 0x7FFFFFFF) in self._watched:
            return NEVER
        return max(timeouts.head, timeouts.body) * 2

    def coming(self, stream_id: int) -> int:
        """Bytes that are there of a DATA frame of this stream that is not complete."""
        begun = self._buffer
        if len(begun) > 9 and begun[3] == DATA and int.from_bytes(begun[5:9], "big") & 0x7FFFFFFF == stream_id:
            return len(begun) - 9
        return 0

    def _takes(self, now: float) -> bool:
        """Whether the client reads what the transport holds, at the least rate."""
        rate = self.engine.server.minimum_rate
        if rate is not None:
            least, over = rate.rate, rate.over
        elif self._closing:  # a byte in the time that a connection may be idle
            over = self.engine.keep_alive
            least = 1 / over
        else:
            return True
        if now < self._stall_at + over:
            return True
        taken = self.bytes_out - self.unsent()
        if taken - self._stall_base < least * (now - self._stall_at):
            return False
        self._stall_at = now
        self._stall_base = taken
        return True

    def _measure_reading(self) -> None:
        """From now on the client has to take something."""
        self._stall_at = self.clock.seconds()
        self._stall_base = self.bytes_out - self.unsent()

    def _late_close(self, now: float) -> None:
        """A close took its time: whoever still takes what is left gets more (:mod:`revproxy.downstream.closing`)."""
        if self._raw_send is None:
            self.cut()
        elif not self.unsent():
            self.close()
        elif self._takes(now):
            self.set_deadline(DRAIN_TIME)
        else:
            self.cut()
