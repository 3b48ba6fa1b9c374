"""Reading HTTP/2 frames from a client (RFC 9113 4, 6).

Rules of this module:

* a frame type is a method; what is wrong in it is an error of its stream (RST_STREAM) or of the
  connection (GOAWAY, and the end), as RFC 9113 says;
* a request that is taken back in the bytes that it came with is never begun: a flood of them (CVE-2023-44487) costs
  their field blocks. Bytes are looked through for that from the start, and after a reset, until a request is finished;
* frames are bounded by what everybody has to take, and field blocks by ``limits.head``;
* whatever a peer may repeat for nothing is bounded by an :class:`~revproxy.downstream.calm.Allowance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revproxy.downstream.calm import FRAMES, FRAMES_AGAIN, SETTINGS_COST, Allowance
from revproxy.downstream.h2windows import WindowedHttp2
from revproxy.fault import CLIENT_GONE
from revproxy.http.h2frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEAD,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW,
    WINDOW_UPDATE,
    FrameError,
    frame,
    read_number,
    read_settings,
    taken_back,
    unpad,
)
from revproxy.http.hpack import BlockWriter
from revproxy.http.message import Arrival
from revproxy.wire import AT_ONCE, NEVER, QUEUED

if TYPE_CHECKING:
    from revproxy.engine import Engine

CONTINUATIONS = 16  # frames of one field block
_LITTLE = 1 / 12  # of a request that is begun: what another frame takes
EARNEST = 1024  # bytes of DATA that make a frame good that carries nothing
TINY = 1024  # a smaller WINDOW_UPDATE is worth no frame


class ReadingHttp2(WindowedHttp2):
    """A connection that understands frames. Subclasses define ``_fields``: a whole field block is there.

    :ivar blocks: makes field blocks for the client.
    """

    __slots__ = (
        "_block", "_block_ended", "_block_frames", "_block_id", "_calm", "_initial", "_taken_back", "blocks",
    )  # fmt: skip

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine, arrival)
        self.dataReceived: Any = self._read_preface
        self.blocks = BlockWriter()
        self._block: list[bytes] = []
        self._block_id = 0
        self._block_frames = 0
        self._block_ended = False
        self._initial = WINDOW
        self._calm = Allowance(FRAMES, FRAMES_AGAIN)
        self._taken_back: frozenset[int] = frozenset()

    # -- reading frames

    def _read_preface(self, data: bytes) -> None:
        """What comes is the client's preface (RFC 9113 3.4)."""
        data = self._buffer + data
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self._fatal(PROTOCOL_ERROR, "no connection preface")
            return
        if len(data) < len(PREFACE) + HEAD.size:
            self._buffer = data
            return
        if data[len(PREFACE) + 3] != SETTINGS or data[len(PREFACE) + 4] & ACK:
            self._fatal(PROTOCOL_ERROR, "no SETTINGS after the preface")
            return
        self._buffer = b""
        self.dataReceived = self._read
        self._read(data[len(PREFACE) :])

    def _read(self, data: bytes, again: bool = False) -> None:
        """What comes is frames. :param again: these have waited for their turn, and were looked through."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if self._wary and not again:
            self._taken_back = taken_back(data)
        nothing = self._taken_back
        at = 0
        size = len(data)
        begun = 0.0
        head = HEAD.unpack_from
        try:
            while size - at >= 9:
                high, low, kind, flags, stream = head(data, at)
                length = high << 8 | low
                end = at + 9 + length
                if end > size:
                    if length > FRAME:
                        raise FrameError(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
                    break
                if length > FRAME:
                    raise FrameError(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
                payload = data[at + 9 : end]
                at = end
                if self._block_id and kind != CONTINUATION:
                    raise FrameError(PROTOCOL_ERROR, "a field block was interrupted")
                begun += _LITTLE if kind != HEADERS or stream in nothing else 1
                if begun > AT_ONCE:
                    self._take_turns(data[at - length - 9 :])
                    return
                if kind == HEADERS:
                    self._headers(flags, stream & 0x7FFFFFFF, payload)
                elif kind == DATA:
                    self._data(flags, stream & 0x7FFFFFFF, payload)
                elif kind == WINDOW_UPDATE:
                    self._window_update(stream & 0x7FFFFFFF, payload)
                else:
                    self._other(kind, flags, stream & 0x7FFFFFFF, payload)
                if self._closing or self.transport is None:
                    return
        except FrameError as e:
            self._fatal(e.code, e.detail)
            return
        if at == size:
            if self._block_id == 0:
                self._partial_at = NEVER
        else:
            self._buffer = data[at:] if at else data
            now = self.moved_at = self.clock.seconds()
            if at or self._partial_at == NEVER:
                self._partial_at = now
                self._sweep_soon()

    def _take_turns(self, rest: bytes) -> None:
        """Those were many requests, or very many frames: others get their turn before the rest."""
        self._buffer = rest
        self._partial_at = NEVER
        self.dataReceived = self._wait
        self.pause_reading(QUEUED)
        self.engine.turns.wait(self, self._next_turn)

    def _wait(self, data: bytes) -> None:
        self._buffer += data

    def _next_turn(self) -> None:
        if self.dataReceived != self._wait or self.transport is None:
            return
        self.dataReceived = self._read
        data, self._buffer = self._buffer, b""
        self._read(data, True)
        if self.dataReceived == self._read:
            self.resume_reading(QUEUED)

    def _other(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """The frames that are rare, each of them worth something of the allowance."""
        if kind == RST_STREAM:
            self._rst_stream(stream, payload)
            return
        if kind == CONTINUATION:
            self._continuation(flags, stream, payload)
            return
        if self._calm.spend(self.clock.seconds(), SETTINGS_COST if kind == SETTINGS else 1.0):
            self._flood("frames that carry nothing")
        elif kind == SETTINGS:
            self._settings(flags, stream, payload)
        elif kind == PING:
            if stream:
                raise FrameError(PROTOCOL_ERROR, "PING on a stream")
            if len(payload) != 8:
                raise FrameError(FRAME_SIZE_ERROR, f"PING of {len(payload)} bytes")
            if not flags & ACK:
                self.send(frame(PING, ACK, 0, payload))
        elif kind == PRIORITY:  # obsolete: accepted, and ignored (RFC 9113 5.3.2)
            if not stream:
                raise FrameError(PROTOCOL_ERROR, "PRIORITY on no stream")
            if len(payload) != 5:
                self._stream_wrong(stream, FRAME_SIZE_ERROR, f"PRIORITY of {len(payload)} bytes")
            elif int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream:
                self._stream_wrong(stream, PROTOCOL_ERROR, "a stream that depends on itself")
        elif kind == GOAWAY:
            if stream:
                raise FrameError(PROTOCOL_ERROR, "GOAWAY on a stream")
            if len(payload) < 8:
                raise FrameError(FRAME_SIZE_ERROR, f"GOAWAY of {len(payload)} bytes")
            self._leave()
        elif kind == PUSH_PROMISE:
            raise FrameError(PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        # what nobody knows is ignored (RFC 9113 5.5)

    # -- field blocks

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & (PRIORITISED | PADDED):
            payload = unpad(payload, flags)
            if flags & PRIORITISED:
                if len(payload) < 5:
                    raise FrameError(FRAME_SIZE_ERROR, "HEADERS too short for its priority")
                if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
                    raise FrameError(PROTOCOL_ERROR, "a stream that depends on itself")
                payload = payload[5:]
        if not stream_id & 1:
            raise FrameError(PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        if flags & END_HEADERS:
            self._fields(stream_id, payload, flags & END_STREAM != 0)
            return
        self._block = [payload]
        self._block_id = stream_id
        self._block_ended = flags & END_STREAM != 0
        self._block_frames = 0
        self._partial_at = self.clock.seconds()
        self._sweep_soon()

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._block_id or stream_id != self._block_id:
            raise FrameError(PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._block.append(payload)
        self._block_frames += 1
        if self._block_frames > CONTINUATIONS or sum(map(len, self._block)) > self.engine.server.limits.head:
            # CVE-2024-27316: what is not decoded can't be answered, nor passed over
            self._flood("a field block without end")
            return
        if flags & END_HEADERS:
            block = b"".join(self._block)
            self._block = []
            self._block_id = 0
            self._partial_at = NEVER
            self._fields(stream_id, block, self._block_ended)

    def _fields(self, stream_id: int, block: bytes, ended: bool) -> None:
        """A whole field block."""

    # -- bodies and windows

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._room -= size
        if self._room < 0:
            raise FrameError(FLOW_CONTROL_ERROR, "more than the connection's window")
        body = unpad(payload, flags) if flags & PADDED else payload
        ended = flags & END_STREAM != 0
        if body:
            self._calm.earned(min(1.0, size / EARNEST))
        elif not ended and self._calm.spend(self.clock.seconds()):
            self._flood("empty DATA")
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self.give_back(size)
            self._is_closed(stream_id, "DATA")
        elif not stream.asking:
            self.give_back(size)
            self.stream_error(stream, STREAM_CLOSED, "DATA after the end of the request")
        else:
            stream.data(body, size, ended)

    def _is_closed(self, stream_id: int, what: str) -> None:
        """A frame for a stream that is not there. :raises FrameError: unless we reset it a short while ago."""
        self._is_known(stream_id, what)
        if stream_id <= self._last_id and stream_id not in self._late:
            raise FrameError(STREAM_CLOSED, f"{what} on a closed stream")

    def _is_known(self, stream_id: int, what: str) -> None:
        """:raises FrameError: for a stream that was never opened, unless the client was told that it is too late."""
        if not stream_id & 1 or (stream_id > self._last_id and not self._leaving):
            raise FrameError(PROTOCOL_ERROR, f"{what} on stream {stream_id}, which is idle")

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        more = read_number(payload) & 0x7FFFFFFF
        if more < TINY and self._calm.spend(self.clock.seconds()):
            self._flood("small WINDOW_UPDATE")
            return
        if not stream_id:
            if not more:
                raise FrameError(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self.window += more
            if self.window > LARGEST_WINDOW:
                raise FrameError(FLOW_CONTROL_ERROR, "the connection's window is too large")
            if self._ready:
                self._pump()
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._is_known(stream_id, "WINDOW_UPDATE")
        elif not more:
            self.stream_error(stream, PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        elif not stream.widen(more):
            self.stream_error(stream, FLOW_CONTROL_ERROR, "the stream's window is too large")
        elif stream.waiting:
            self.pump(stream)

    # -- settings, resets and errors

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise FrameError(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise FrameError(FRAME_SIZE_ERROR, "an acknowledgement with settings")
            return
        said = dict(read_settings(payload))  # of several values of one setting the last counts (RFC 9113 6.5.3)
        initial = said.get(INITIAL_WINDOW_SIZE, self._initial)
        if initial != self._initial:
            change = initial - self._initial
            self._initial = initial
            for one in list(self._streams.values()):
                if not one.widen(change):
                    raise FrameError(FLOW_CONTROL_ERROR, "a window that is too large")
                if one.waiting and change > 0:
                    self._ready[one] = None
        if HEADER_TABLE_SIZE in said:
            for name, value in read_settings(payload):  # the smallest in between counts, too (RFC 7541 4.2)
                if name == HEADER_TABLE_SIZE:
                    self.blocks.limit(value)
        self.send(frame(SETTINGS, ACK, 0, b""))
        if self._ready:
            self._pump()

    def _rst_stream(self, stream_id: int, payload: bytes) -> None:
        read_number(payload)
        self._is_known(stream_id, "RST_STREAM")
        self._wary = True
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.lost(CLIENT_GONE, "the stream was reset")
            self.forget(stream)
        elif stream_id in self._taken_back and stream_id in self._late:
            self._late.remove(stream_id)  # from here on nothing more may come for it
        if self._resets.spend(self.clock.seconds()):
            self._flood("streams that are reset")

    def _stream_wrong(self, stream_id: int, code: int, detail: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self.stream_error(stream, code, detail)
        else:
            self._refuse(stream_id, code)
