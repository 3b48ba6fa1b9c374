"""HTTP/2 frames: numbers, names and bytes, without I/O and without state (RFC 9113 4, 6, 7).

Rules of this module:

* a frame is made in one step; the nine bytes of its head are one ``struct`` call;
* what a peer may have said wrong in one frame alone is found here, and is a :class:`FrameError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

# Error codes (RFC 9113 7).
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(
    7
)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(7, 12)

# Settings (RFC 9113 6.5.2, RFC 8441 3).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL = 8

FRAME = 16 * 1024  # bytes of the largest frame that everybody takes, and of the largest that we take
WINDOW = 65535  # bytes of a window before anybody says otherwise
LARGEST_WINDOW = 2**31 - 1

#: (length >> 8, length & 255, type, flags, stream)
HEAD = Struct(">HBBBI")
_SETTING = Struct(">HI")
_TWO = Struct(">II")
_LONG = Struct(">I")


class FrameError(Exception):
    """A peer broke the rules of the connection: it ends with this error code. ``detail`` is for the log."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of any kind."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*item) for item in values.items()]))


def window_update(stream: int, more: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return HEAD.pack(0, 4, WINDOW_UPDATE, 0, stream) + _LONG.pack(more)


def rst_stream(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return HEAD.pack(0, 4, RST_STREAM, 0, stream) + _LONG.pack(code)


def goaway(last: int, code: int, why: bytes = b"") -> bytes:
    """A GOAWAY frame: streams up to ``last`` were or may be looked at."""
    return frame(GOAWAY, 0, 0, _TWO.pack(last, code) + why)


def headers(stream: int, block: bytes, ended: bool, largest: int) -> bytes:
    """A field block as one HEADERS frame, with CONTINUATION frames where it is larger than ``largest``."""
    flags = END_STREAM if ended else 0
    size = len(block)
    if size <= largest:
        return HEAD.pack(size >> 8, size & 255, HEADERS, flags | END_HEADERS, stream) + block
    frames = [frame(HEADERS, flags, stream, block[:largest])]
    at = largest
    while at < size:
        piece = block[at : at + largest]
        at += largest
        frames.append(frame(CONTINUATION, END_HEADERS if at >= size else 0, stream, piece))
    return b"".join(frames)


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The settings of a SETTINGS frame, each checked by itself (RFC 9113 6.5.2).

    :raises FrameError: for a value that is not allowed.
    """
    if len(payload) % 6:
        raise FrameError(FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
    for name, value in _SETTING.iter_unpack(payload):
        if name == ENABLE_PUSH and value > 1:
            raise FrameError(PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH {value}")
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise FrameError(FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE {value}")
        if name == MAX_FRAME_SIZE and not FRAME <= value < 1 << 24:
            raise FrameError(PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE {value}")
        if name == ENABLE_CONNECT_PROTOCOL and value > 1:
            raise FrameError(PROTOCOL_ERROR, f"SETTINGS_ENABLE_CONNECT_PROTOCOL {value}")
        yield name, value


def taken_back(data: bytes) -> frozenset[int]:
    """The streams for which there is an RST_STREAM in these bytes, which begin with a frame."""
    found = []
    at, last = 0, len(data) - HEAD.size
    head = HEAD.unpack_from
    while at <= last:
        high, low, kind, _, stream = head(data, at)
        if kind == RST_STREAM:
            found.append(stream & 0x7FFFFFFF)
        at += HEAD.size + (high << 8 | low)
    return frozenset(found)


def read_number(payload: bytes) -> int:
    """The only number of a WINDOW_UPDATE or RST_STREAM frame. :raises FrameError: when it is not that."""
    if len(payload) != 4:
        raise FrameError(FRAME_SIZE_ERROR, f"a frame of {len(payload)} bytes instead of 4")
    number: int = _LONG.unpack(payload)[0]
    return number


def unpad(payload: bytes, flags: int) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding. :raises FrameError: for too much of it."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise FrameError(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
