"""A client that speaks HTTP/2 frame by frame, also wrongly: for tests of what a server makes of it.

Rules of this module:

* it checks nothing that it writes: every length, flag, stream identifier and header block is the caller's to get
  wrong. Functions make the bytes of one frame (RFC 9113 section 4.1), :class:`Peer` sends bytes and reads frames;
* what is written leaves in one piece, with the next read at the latest: what a server does then depends on the
  bytes and not on how the kernel cut them;
* nothing waits without a limit: :class:`Silent` says that nothing came in time, :class:`Gone` that the server closed
  (in whatever way: a reset is as good as an orderly end).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Flags of frames; a bit means different things on different types.
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20
#: The window that streams and the connection begin with, and the largest that there may be, in bytes.
INITIAL_WINDOW, LARGEST_WINDOW = 65_535, 2**31 - 1
#: The largest payload that every server takes, in bytes.
FRAME_SIZE = 16_384


class Type(IntEnum):
    """Types of frames (RFC 9113 section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Code(IntEnum):
    """Error codes (RFC 9113 section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """Settings (RFC 9113 section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Silent(Exception):
    """Nothing came in time."""


class Gone(Exception):
    """The server closed the connection."""


class Server(NamedTuple):
    """Who is asked: where it listens, whether by TLS, and a path that it answers with a body of 5 bytes or more."""

    host: str
    port: int
    tls: bool = True
    path: str = "/"

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"


class Frame(NamedTuple):
    """A frame as it came. ``type`` is a number, as there are more types than :class:`Type` has."""

    type: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or GOAWAY."""
        at = 4 if self.type == Type.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")

    @property
    def ends(self) -> bool:
        """Whether it is the last of its stream from the server."""
        return self.type in (Type.DATA, Type.HEADERS) and bool(self.flags & END_STREAM)

    def __str__(self) -> str:
        name = Type(self.type).name if self.type in iter(Type) else f"type {self.type}"
        text = f"{name}(stream {self.stream}, flags {self.flags:#04x}, {len(self.payload)} bytes)"
        if self.type in (Type.RST_STREAM, Type.GOAWAY):
            code = Code(self.code).name if self.code in iter(Code) else f"{self.code:#x}"
            debug = self.payload[8:].decode("latin-1") if self.type == Type.GOAWAY else ""
            text = f"{name}({code}, stream {self.stream}{', ' + debug if debug else ''})"
        return text


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """Return the bytes of a frame; ``length`` is what its header says instead of the payload's."""
    size = len(payload) if length is None else length
    return struct.pack(">IBI", size << 8 | kind, flags, stream) + payload


def data(stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return frame(Type.DATA, flags, stream, payload)


def headers(stream: int, block: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(Type.HEADERS, flags, stream, block)


def continuation(stream: int, block: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(Type.CONTINUATION, flags, stream, block)


def dependency(on: int = 0, weight: int = 255, *, exclusive: bool = False) -> bytes:
    """Return the payload of a PRIORITY frame; ``weight`` is one less than what it means."""
    return struct.pack(">IB", on | exclusive << 31, weight)


def priority(stream: int, payload: bytes) -> bytes:
    return frame(Type.PRIORITY, 0, stream, payload)


def reset(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(Type.RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(Type.SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def ping(payload: bytes = bytes(8), flags: int = 0) -> bytes:
    return frame(Type.PING, flags, 0, payload)


def goaway(code: int = Code.NO_ERROR, last: int = 0, debug: bytes = b"") -> bytes:
    return frame(Type.GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


def window_update(stream: int, increment: int) -> bytes:
    return frame(Type.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def text(value: bytes, *, huffman: bool = False) -> bytes:
    """Return a string of less than 127 bytes as header blocks have it (RFC 7541 section 5.2)."""
    coded = bytes(_HUFFMAN.encode(value)) if huffman else value
    return bytes([len(coded) | huffman << 7]) + coded


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


_CONTEXT = _tls()


class Peer:
    """One connection to a server.

    :param patience: seconds that :meth:`read` waits. :param receive_buffer: size of the socket's, in bytes.
    :param name: for SNI. :param context: by default one that takes any certificate.
    :ivar settings: what the server announced. :ivar seen: every frame that came, for messages.
    :ivar encoder: the state of header compression from here; :ivar decoder: that from there.
    :raises ConnectionError: when the server does not choose h2 by ALPN.
    """

    __slots__ = (
        "_buffer", "_grant", "_unsent", "closed", "decoder", "encoder", "patience", "seen", "server", "settings",
        "socket",
    )  # fmt: skip

    def __init__(
        self,
        server: Server,
        patience: float = 2.0,
        receive_buffer: int | None = None,
        *,
        name: str | None = None,
        context: ssl.SSLContext = _CONTEXT,
    ) -> None:
        self.server, self.patience = server, patience
        self.socket = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(max(patience, 5.0))
        self.socket.connect((server.host, server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.tls:
            if name is None:
                name = server.host if any(letter.isalpha() for letter in server.host) else "localhost"
            secured = context.wrap_socket(self.socket, server_hostname=name)
            self.socket = secured
            if secured.selected_alpn_protocol() != "h2":
                raise ConnectionError(f"{server.authority} does not speak h2")
        self.settings: dict[int, int] = {}
        self.seen: list[Frame] = []
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.closed = False
        self._buffer, self._unsent, self._grant = bytearray(), bytearray(), 0

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def open(self, *pairs: tuple[int, int]) -> Peer:
        """Send the preface and settings, and wait until both sides' settings are acknowledged."""
        self.write(PREFACE, settings(*(pairs or ((Setting.INITIAL_WINDOW_SIZE, INITIAL_WINDOW),))))
        theirs = ours = False
        while not (theirs and ours):
            got = self.read()
            if got.type == Type.GOAWAY:
                raise ConnectionError(str(got))
            if got.type != Type.SETTINGS:
                continue
            if got.flags & ACK:
                ours = True
            else:
                theirs = True
                self.settings.update(struct.iter_unpack(">HI", got.payload))
                self.write(frame(Type.SETTINGS, ACK, 0))
        self.flush()
        return self

    def fields(self, method: str = "GET", *extra: tuple[str, str]) -> list[tuple[str, str]]:
        """The fields of a request that the server answers."""
        scheme = "https" if self.server.tls else "http"
        return [
            (":method", method),
            (":scheme", scheme),
            (":path", self.server.path),
            (":authority", self.server.authority),
            *extra,
        ]

    def encode(self, fields: Iterable[tuple[str, str]]) -> bytes:
        """Compress a header block. The server's state follows only if the block is sent, in order."""
        return bytes(self.encoder.encode(fields))

    def block(self, method: str = "GET", *extra: tuple[str, str]) -> bytes:
        """The header block of a request that the server answers."""
        return self.encode(self.fields(method, *extra))

    def write(self, *frames: bytes) -> None:
        """Send bytes with the next read or flush."""
        for part in frames:
            self._unsent += part

    def flush(self) -> None:
        """Send what was written; a server that closed meanwhile is found out by the next read."""
        if self._unsent:
            out, self._unsent = self._unsent, bytearray()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                self.socket.sendall(out)

    def read(self, patience: float | None = None) -> Frame:
        """Return the next frame. :raises Silent: nothing came in time. :raises Gone: closed."""
        self.flush()
        self.socket.settimeout(self.patience if patience is None else patience)
        buffer = self._buffer
        while len(buffer) < 9 or len(buffer) < 9 + int.from_bytes(buffer[:3], "big"):
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                raise Silent from None
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                self.closed = True
                raise Gone
            buffer += more
        size = int.from_bytes(buffer[:3], "big")
        got = Frame(
            buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big") & LARGEST_WINDOW, bytes(buffer[9 : 9 + size])
        )
        del buffer[: 9 + size]
        self.seen.append(got)
        if got.type == Type.DATA:
            self._consumed(got)
        return got

    def _consumed(self, got: Frame) -> None:
        """Give windows back once much of them is used, and not before: small windows are the caller's matter."""
        self._grant += len(got.payload)
        if self._grant >= INITIAL_WINDOW // 2:
            self.write(window_update(0, self._grant))
            if not got.ends:
                self.write(window_update(got.stream, self._grant))
            self._grant = 0

    def push(self, patience: float) -> None:
        """Send what was written. :raises Silent: when the server takes no more for so many seconds.

        :raises Gone: when it closed, and nothing of what it said before is left to read.
        """
        out, self._unsent = self._unsent, bytearray()
        self.socket.settimeout(patience)
        try:
            self.socket.sendall(out)
        except TimeoutError:
            raise Silent from None
        except (ConnectionError, ssl.SSLError):
            # what came before the end can still be read, as a rule
            self.read(patience)

    def waiting(self) -> list[Frame]:
        """Return the frames that are here already. :raises Gone: closed, and there are none."""
        frames: list[Frame] = []
        while True:
            here = len(self._buffer) >= 9 and len(self._buffer) >= 9 + int.from_bytes(self._buffer[:3], "big")
            pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
            if not here and not pending and not select.select([self.socket], [], [], 0)[0]:
                return frames
            try:
                frames.append(self.read(0.02))
            except Silent:
                return frames
            except Gone:
                if frames:
                    return frames
                raise

    def response(self, stream: int) -> tuple[list[tuple[str, str]], bytes, list[tuple[str, str]]]:
        """Read until a stream ends; return the last head, the body and the trailers. Other streams' frames are lost.

        :raises ConnectionError: when the stream or the connection is cut.
        """
        head: list[tuple[str, str]] = []
        trailers: list[tuple[str, str]] = []
        body = []
        while True:
            got = self.read()
            if got.type == Type.HEADERS:
                fields = [(str(name), str(value)) for name, value in self.decoder.decode(got.payload)]
                if got.stream == stream and head and not fields[0][0].startswith(":"):
                    trailers = fields
                elif got.stream == stream:
                    head = fields
            elif got.type == Type.DATA and got.stream == stream:
                body.append(got.payload)
            elif got.type == Type.GOAWAY or (got.type == Type.RST_STREAM and got.stream == stream):
                raise ConnectionError(str(got))
            if got.stream == stream and got.ends:
                return head, b"".join(body), trailers

    def get(self, stream: int = 1, method: str = "GET", *extra: tuple[str, str]) -> tuple[int, bytes]:
        """Ask for the server's path; return status and body."""
        self.write(headers(stream, self.block(method, *extra)))
        head, body, _ = self.response(stream)
        return int(dict(head)[":status"]), body
