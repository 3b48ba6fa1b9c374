"""Windows, the order of what is sent, and the ends of streams on a client's HTTP/2 connection (RFC 9113 5.2, 5.4.2).

Rules of this module:

* streams with something to send take turns, a frame each, as long as the client's windows and the transport take it;
* what a client may send grows by what backends took, in steps that are worth a frame;
* a stream that was reset keeps nothing; that it had to be is trouble, which is bounded.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from revproxy.downstream.calm import RESETS, RESETS_AGAIN, Allowance
from revproxy.downstream.h2closing import ClosingHttp2
from revproxy.downstream.h2stream import Http2Stream
from revproxy.fault import CLIENT_BAD_BODY, Fault
from revproxy.http.h2frames import FRAME, NO_ERROR, WINDOW, rst_stream, window_update
from revproxy.http.message import Arrival
from revproxy.wire import NEVER

if TYPE_CHECKING:
    from revproxy.engine import Engine

CONNECTION_RECEIVE = 1024 * 1024  # bytes of bodies that a client may send before backends have taken any
_LATE = 200  # streams that are over and may still be sent to


class WindowedHttp2(ClosingHttp2):
    """A connection whose streams share windows.

    :ivar window: bytes of all streams that the client lets us send. :ivar largest: of one frame, whatever more
        it takes: smaller frames leave room for other streams.
    """

    __slots__ = ("_credit", "_done", "_late", "_resets", "_room", "largest", "window")

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine, arrival)
        self.window = WINDOW
        self.largest = FRAME
        self._room = CONNECTION_RECEIVE
        self._credit = 0
        self._resets = Allowance(RESETS, RESETS_AGAIN)
        self._late: deque[int] = deque(maxlen=_LATE)  # reset by us: the client may not know yet
        self._done: deque[int] = deque(maxlen=_LATE)

    # -- what the client may send

    def give_back(self, size: int, stream_id: int = 0) -> None:
        """The client may send so much more, on the connection and on a stream."""
        self._credit += size
        out = window_update(stream_id, size) if stream_id else b""
        if self._credit >= CONNECTION_RECEIVE // 4:
            out += window_update(0, self._credit)
            self._room += self._credit
            self._credit = 0
        if out and not self._closing:
            self.send(out)

    # -- what we may send

    def pump(self, stream: Http2Stream) -> None:
        """Send what waits on a stream, as far as the windows and the transport take it."""
        self._ready[stream] = None
        if not self.is_full:
            self._pump()

    def _pump(self) -> None:
        """A frame of each stream in turn, as long as anything can be sent."""
        ready = self._ready
        while ready and not self.is_full and self.transport is not None:
            out = []
            moved = []
            for stream in list(ready):
                data = stream.next_frame()
                if data:
                    out.append(data)
                    moved.append(stream)
                if not data or not stream.waiting:
                    del ready[stream]  # its window's growth brings it back
            if self.window <= 0:
                # the connection's window is used up: whoever waits is asked again when it grows
                for stream in self._streams.values():
                    if stream.waiting and stream.window > 0:
                        ready[stream] = None
            if not out:
                return
            self.send(b"".join(out))
            for stream in moved:
                stream.moved()

    def full(self) -> None:
        """The transport holds enough: streams keep what comes."""
        if self._stall_at == NEVER:
            self._stall_at = self.clock.seconds()
            self._stall_base = self.bytes_out - self.unsent()
            self._sweep_soon()

    def drained(self) -> None:
        self._stall_at = NEVER
        if self._closing:
            return
        for stream in self._streams.values():
            if stream.waiting:
                self._ready[stream] = None
        self._pump()

    # -- the ends of streams

    def reset(self, stream: Http2Stream, code: int, blamed: bool) -> None:
        """End a stream from our side. :param blamed: it is the client's doing, and counts as trouble."""
        self._late.append(stream.stream_id)
        self.send(rst_stream(stream.stream_id, code))
        stream.lost()
        self.forget(stream)
        if blamed and self._resets.spend(self.clock.seconds()):
            self._flood("streams that have to be reset")

    def stream_error(self, stream: Http2Stream, code: int, detail: str, fault: Fault = CLIENT_BAD_BODY) -> None:
        """The client broke the rules of a stream: it is reset, and its exchange ends."""
        self._late.append(stream.stream_id)
        self.send(rst_stream(stream.stream_id, code))
        stream.lost(fault, detail)
        self.forget(stream)
        if self._resets.spend(self.clock.seconds()):
            self._flood("streams that have to be reset")

    def _refuse(self, stream_id: int, code: int) -> None:
        """A stream that never was."""
        self._late.append(stream_id)
        self.send(rst_stream(stream_id, code))
        if self._resets.spend(self.clock.seconds()):
            self._flood("streams that have to be reset")

    def too_slow(self, stream: Http2Stream) -> None:
        """The client was given up on this stream: nothing more is waited for, and no further requests are taken.

        The others are finished; a connection that did nothing else ends at once, as in HTTP/1.1.
        """
        if stream.stream_id in self._streams:
            self.reset(stream, NO_ERROR, False)
        if not self._closing:
            self._leave()

    def finished(self, stream: Http2Stream) -> None:
        """A stream was ended by both sides."""
        self._done.append(stream.stream_id)
        self._resets.earned()
        self.forget(stream)

    def forget(self, stream: Http2Stream) -> None:
        """A stream is over."""
        if self._streams.pop(stream.stream_id, None) is None:
            return
        self._ready.pop(stream, None)
        self._watched.pop(stream, None)
        if self._streams:
            return
        if self._leaving or self._leave_at != NEVER:
            self._leave()
        elif not self._closing:
            timeout = self.engine.keep_alive
            seconds = self.engine.seconds
            at = self._idle_at = seconds() + timeout
            if self._stall_at != NEVER or self._partial_at != NEVER:
                self._sweep_soon()
            else:
                self.deadline = at
                if at < self._due:
                    self.set_deadline(timeout)
