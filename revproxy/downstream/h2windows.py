"""Windows, the order of what is sent, and the ends of streams on a client's HTTP/2 connection (RFC 9113 5.2, 5.4.2).

Rules of this module:

* streams with something to send take turns, a frame each, as long as the client's windows and the transport take it;
* what a client may send grows by what backends took, in steps that are worth a frame;
* a stream that was reset keeps nothing; that it had to be is trouble, which is bounded.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from revproxy.downstream.calm import FINISHED_WORTH, RESETS, RESETS_AGAIN, Allowance
from revproxy.downstream.h2closing import ClosingHttp2
from revproxy.downstream.h2stream import Http2Stream
from revproxy.fault import CLIENT_BAD_BODY, Fault
from revproxy.http.h2frames import FRAME, NO_ERROR, WINDOW, rst_stream, window_update
from revproxy.http.message import Arrival
from revproxy.wire import NEVER, PEER_FULL

if TYPE_CHECKING:
    from revproxy.engine import Engine

CONNECTION_RECEIVE = 1024 * 1024  # bytes of bodies that a client may send before backends have taken any
_BATCH = 64 * 1024  # bytes of frames that leave in one write
_LATE = 200  # streams that are over and may still be sent to


class WindowedHttp2(ClosingHttp2):
    """A connection whose streams share windows.

    :ivar window: bytes of all streams that the client lets us send. :ivar largest: of one frame, whatever more
        it takes: smaller frames leave room for other streams.
    """

    __slots__ = ("_credit", "_done", "_late", "_resets", "_room", "_wary", "largest", "window")

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine, arrival)
        self.window = WINDOW
        self.largest = FRAME
        self._room = CONNECTION_RECEIVE
        self._credit = 0
        self._resets = Allowance(RESETS, RESETS_AGAIN)
        self._wary = True  # no request was finished yet, or not since one was reset
        self._late: deque[int] = deque(maxlen=_LATE)  # reset by us: the client may not know yet
        self._done: deque[int] = deque(maxlen=_LATE)

    # -- what the client may send

    def give_back(self, size: int) -> None:
        """So many bytes of bodies were taken: the client may send as many again, said in steps."""
        self._credit += size
        if self._credit >= CONNECTION_RECEIVE // 4 and not self._closing:
            credit, self._credit = self._credit, 0
            self._room += credit
            self.send(window_update(0, credit))

    # -- what we may send

    def pump(self, stream: Http2Stream) -> None:
        """Send what waits on a stream, as far as the windows and the transport take it, and it is its turn."""
        self._ready[stream] = None
        if not self.is_full:
            self._pump()

    def _pump(self) -> None:
        """A frame of each stream in turn, as long as anything can be sent.

        Who had its turn goes to the end; who has no window leaves, and is back when it grows. So whatever the
        connection's window is, and however it grows, the next frame takes one look-up.
        """
        ready = self._ready
        out: list[bytes] = []
        moved: list[Http2Stream] = []
        size = 0
        while ready and self.window > 0 and not self.is_full and self.transport is not None:
            stream = next(iter(ready))
            del ready[stream]
            data = stream.next_frame()
            if not data:
                continue
            if stream.waiting:
                ready[stream] = None
            out.append(data)
            moved.append(stream)
            size += len(data)
            if size >= _BATCH or not ready:
                self.send(b"".join(out))
                # they may have more to send by now
                told, out, moved, size = moved, [], [], 0
                for stream in told:
                    stream.moved()
        if out:
            self.send(b"".join(out))
            for stream in moved:
                stream.moved()

    def full(self) -> None:
        """The transport holds enough: streams keep what comes, and no request is taken until it is out."""
        self.pause_reading(PEER_FULL)
        if self._stall_at == NEVER:
            self._measure_reading()
            self._sweep_soon()

    def drained(self) -> None:
        self._stall_at = NEVER
        self.resume_reading(PEER_FULL)
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

    def has(self, stream: Http2Stream) -> bool:
        """Whether a stream is not over."""
        return self._streams.get(stream.stream_id) is stream

    def finished(self, stream: Http2Stream) -> None:
        """A stream was ended by both sides."""
        self._done.append(stream.stream_id)
        self._resets.earned(FINISHED_WORTH)
        self._wary = False
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
