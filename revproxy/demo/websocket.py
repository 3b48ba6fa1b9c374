"""A WebSocket server that echoes, on the bare connection after an upgrade (RFC 6455).

Rules of this module:

* frames and messages above :data:`MAX_MESSAGE` bytes end the connection with 1009;
* what a client may not send (no mask, reserved bits, fragmented or long control frames, bad
  UTF-8, a continuation of nothing) ends it with 1002 or 1007;
* no extensions and no subprotocols are offered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

#: Largest frame, and largest message out of several frames, in bytes.
MAX_MESSAGE = 1024 * 1024

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FrameError(Exception):
    """A frame that breaks the rules; ``code`` is the close code to send (RFC 6455 section 7.4.1)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def accept_key(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` for a client's key (RFC 6455 section 4.2.2).

    Raises ValueError when the key is not 16 bytes in base64.
    """
    try:
        raw = base64.b64decode(key, validate=True)
    except binascii.Error:
        raise ValueError("Sec-WebSocket-Key is not base64") from None
    if len(raw) != 16:
        raise ValueError("Sec-WebSocket-Key is not 16 bytes long")
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def xor(data: bytes, mask: bytes) -> bytes:
    """Return ``data`` masked, or unmasked, with four bytes (RFC 6455 section 5.3)."""
    if not data:
        return b""
    whole = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(data), "big")


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes | None = None) -> bytes:
    """Return one frame; clients give a ``mask`` of four bytes, servers none (RFC 6455 section 5.2)."""
    size = len(payload)
    masked = 0x80 if mask is not None else 0
    if size < 126:
        head = bytes([opcode | (0x80 if final else 0), masked | size])
    elif size < 65536:
        head = struct.pack("!BBH", opcode | (0x80 if final else 0), masked | 126, size)
    else:
        head = struct.pack("!BBQ", opcode | (0x80 if final else 0), masked | 127, size)
    if mask is None:
        return head + payload
    return head + mask + xor(payload, mask)


def take_frame(buffer: bytearray) -> tuple[int, bool, bytes] | None:
    """Take one client frame off the front of ``buffer``: opcode, final, payload; None: not whole yet.

    Raises FrameError for a frame that may not be sent.
    """
    if len(buffer) < 2:
        return None
    first, second = buffer[0], buffer[1]
    opcode, final, size = first & 0x0F, bool(first & 0x80), second & 0x7F
    if first & 0x70:
        raise FrameError(1002, "reserved bits are set")
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise FrameError(1002, "unknown opcode")
    if not second & 0x80:
        raise FrameError(1002, "frame is not masked")
    if opcode >= CLOSE and (size > 125 or not final):
        raise FrameError(1002, "control frame is long or fragmented")
    start = 2
    if size == 126:
        start = 4
    elif size == 127:
        start = 10
    if len(buffer) < start + 4:
        return None
    if start > 2:
        size = int.from_bytes(buffer[2:start], "big")
    if size > MAX_MESSAGE:
        raise FrameError(1009, "frame is too large")
    end = start + 4 + size
    if len(buffer) < end:
        return None
    payload = xor(bytes(buffer[start + 4 : end]), bytes(buffer[start : start + 4]))
    del buffer[:end]
    return opcode, final, payload


class WebSocketEcho(Protocol):
    """Sends every message back, answers pings, and closes when asked to."""

    transport: Any

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._message: bytearray | None = None
        self._kind = TEXT
        self._closing = False

    def dataReceived(self, data: bytes) -> None:
        """Take frames as they come in, in pieces of any size."""
        if self._closing:
            return
        self._buffer += data
        try:
            while not self._closing and (taken := take_frame(self._buffer)) is not None:
                self._frame(*taken)
        except FrameError as error:
            self._close(error.code, error.reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what was half received."""
        self._buffer.clear()
        self._message = None

    def _frame(self, opcode: int, final: bool, payload: bytes) -> None:
        if opcode == PING:
            self.transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1000
            self._close(code if _may_be_sent(code) and len(payload) != 1 else 1002, "")
        elif opcode != PONG:
            self._data(opcode, final, payload)

    def _data(self, opcode: int, final: bool, payload: bytes) -> None:
        if opcode == CONTINUATION:
            if self._message is None:
                raise FrameError(1002, "continuation of nothing")
        elif self._message is not None:
            raise FrameError(1002, "new message inside another")
        else:
            self._message, self._kind = bytearray(), opcode
        self._message += payload
        if len(self._message) > MAX_MESSAGE:
            raise FrameError(1009, "message is too large")
        if not final:
            return
        message, self._message = bytes(self._message), None
        if self._kind == TEXT:
            try:
                message.decode("utf-8")
            except UnicodeDecodeError:
                raise FrameError(1007, "text is not UTF-8") from None
        self.transport.write(frame(self._kind, message))

    def _close(self, code: int, reason: str) -> None:
        self._closing = True
        self._buffer.clear()
        self.transport.write(frame(CLOSE, code.to_bytes(2, "big") + reason.encode()))
        self.transport.loseConnection()


def _may_be_sent(code: int) -> bool:
    """Whether a close code may appear in a frame (RFC 6455 section 7.4)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))
