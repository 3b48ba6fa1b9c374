"""An HTTP/2 client for conversations in memory; it reads frames and field blocks with code that is not the proxy's."""

from __future__ import annotations

from collections import defaultdict
from struct import pack, unpack
from typing import Any

from attrs import define, field
from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"example.com"), (b":path", b"/"))
POST = ((b":method", b"POST"), *GET[1:])

LISTEN = """
[[listen]]
endpoint = "tcp:8080"
http2 = true

[upstreams.app]
backends = ["tcp:127.0.0.1:9000"]

[[routes]]
upstream = "app"
"""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame, as it is written and whether it is allowed or not."""
    return pack(">I", len(payload))[1:] + bytes((kind, flags)) + pack(">I", stream) + payload


@define
class Answer:
    """What came on one stream."""

    heads: list[dict[bytes, bytes]] = field(factory=list)
    body: bytes = b""
    trailers: dict[bytes, bytes] = field(factory=dict)
    ended: bool = False
    reset: int | None = None
    pieces: list[int] = field(factory=list)

    @property
    def status(self) -> bytes:
        return self.heads[-1][b":status"]


class H2Client:
    """The client's end of an HTTP/2 connection.

    :param peer: a client of a scenario. :param settings: what its SETTINGS say.
    :ivar answers: by stream. :ivar goaways: (last stream, error code) of each GOAWAY. :ivar pings: answers to PING.
    """

    def __init__(self, peer: Any, settings: dict[int, int] | None = None, *, begin: bool = True) -> None:
        self.peer = peer
        self.answers: dict[int, Answer] = defaultdict(Answer)
        self.goaways: list[tuple[int, int]] = []
        self.pings: list[bytes] = []
        self.settings: list[dict[int, int]] = []
        self.windows: dict[int, int] = defaultdict(int)
        self.encoder = Encoder()
        self._decoder = Decoder()
        self._at = 0
        self._next = 1
        self._block: tuple[int, int, bytes] | None = None
        if begin:
            said = b"".join(pack(">HI", *item) for item in (settings or {}).items())
            self.send(PREFACE + frame(SETTINGS, 0, 0, said))

    def send(self, data: bytes) -> None:
        """Send bytes, and read what comes back."""
        self.peer.send(data)
        self.read()

    def head(self, stream: int, fields: Any, ended: bool = True) -> bytes:
        """A HEADERS frame."""
        return frame(HEADERS, END_HEADERS | (END_STREAM if ended else 0), stream, self.encoder.encode(fields))

    def begin(self, fields: Any = GET, *, ended: bool = True) -> int:
        """Send a request's head; gives its stream."""
        stream = self._next
        self._next += 2
        self.send(self.head(stream, fields, ended))
        return stream

    def data(self, stream: int, body: bytes, ended: bool = False) -> None:
        """Send a part of a body."""
        self.send(frame(DATA, END_STREAM if ended else 0, stream, body))

    def widen(self, stream: int, more: int) -> None:
        """Take more."""
        self.send(frame(WINDOW_UPDATE, 0, stream, pack(">I", more)))

    def __getitem__(self, stream: int) -> Answer:
        self.read()
        return self.answers[stream]

    def read(self) -> None:
        """Read the frames that came."""
        received = self.peer.received
        while len(received) - self._at >= 9:
            size = int.from_bytes(received[self._at : self._at + 3], "big")
            kind, flags, stream = unpack(">BBI", received[self._at + 3 : self._at + 9])
            end = self._at + 9 + size
            if end > len(received):
                return
            payload = received[self._at + 9 : end]
            self._at = end
            self._frame(kind, flags, stream, payload)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        answer = self.answers[stream] if stream else Answer()
        if kind == DATA:
            assert not answer.ended
            answer.body += payload
            answer.pieces.append(len(payload))
            answer.ended = bool(flags & END_STREAM)
        elif kind in (HEADERS, CONTINUATION):
            if kind == HEADERS:
                self._block = (stream, flags, payload)
            else:
                assert self._block is not None
                self._block = (stream, self._block[1] | flags, self._block[2] + payload)
            if self._block[1] & END_HEADERS:
                self._fields(answer, self._block[2], bool(self._block[1] & END_STREAM))
        elif kind == RST_STREAM:
            answer.reset = unpack(">I", payload)[0]
        elif kind == GOAWAY:
            self.goaways.append(unpack(">II", payload[:8]))
        elif kind == PING:
            assert flags & ACK
            self.pings.append(payload)
        elif kind == SETTINGS and not flags & ACK:
            self.settings.append(dict(unpack(">HI", payload[i : i + 6]) for i in range(0, size_of(payload), 6)))
        elif kind == WINDOW_UPDATE:
            self.windows[stream] += unpack(">I", payload)[0]

    def _fields(self, answer: Answer, block: bytes, ended: bool) -> None:
        fields = {}
        for name, value in self._decoder.decode(block, raw=True):
            fields[bytes(name)] = bytes(value)
        if b":status" in fields:
            answer.heads.append(fields)
        else:
            answer.trailers = fields
        answer.ended = ended


def size_of(payload: bytes) -> int:
    return len(payload)
