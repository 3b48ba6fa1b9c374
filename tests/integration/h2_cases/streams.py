"""Sections 3 to 5 of RFC 7540: the preface, frames as such, header blocks in general, streams and their states."""

from __future__ import annotations

from tests.integration.h2_cases.verdicts import (
    Case,
    Unfit,
    answered,
    case,
    closed,
    connection_error,
    ended,
    first,
    ponged,
    preface,
    stream_error,
)
from tests.integration.h2peer import (
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    INITIAL_WINDOW,
    PREFACE,
    PRIORITY_FLAG,
    Code,
    Peer,
    Setting,
    Type,
    continuation,
    data,
    dependency,
    frame,
    headers,
    ping,
    priority,
    reset,
    settings,
    window_update,
)

PROTOCOL, STREAM_CLOSED = Code.PROTOCOL_ERROR, Code.STREAM_CLOSED
#: What no field is too large for, and yet takes some room: 4,000 bytes, 3,500 on the wire.
BULK = "x" * 4000


def more(peer: Peer, count: int = 1) -> bytes:
    """A fragment of a header block with large fields."""
    return peer.encode([(f"x-bulk-{number}", BULK) for number in range(count)])


def _frame_size(peer: Peer) -> int:
    """The largest payload that the server takes, in bytes."""
    return peer.settings.get(Setting.MAX_FRAME_SIZE, FRAME_SIZE)


def _window(peer: Peer) -> int:
    """What can be sent on a first stream for sure. h2spec doesn't look, and breaks another rule than it means to."""
    return min(peer.settings.get(Setting.INITIAL_WINDOW_SIZE, INITIAL_WINDOW), INITIAL_WINDOW)


def _can_be_too_large(peer: Peer) -> None:
    # h2spec can't send it either, and counts that as a failure
    if _frame_size(peer) == (1 << 24) - 1:
        raise Unfit("the server takes frames of any length")


def _too_large(peer: Peer) -> None:
    peer.write(_post(peer), data(1, b"x" * (_frame_size(peer) + 1), END_STREAM))
    stream_error(Code.FRAME_SIZE_ERROR)(peer)


def _post(peer: Peer) -> bytes:
    return headers(1, peer.block("POST"), END_HEADERS)


def _unfinished(peer: Peer) -> bytes:
    return headers(1, peer.block(), 0)


def _preface(peer: Peer) -> None:
    peer.write(PREFACE, settings((Setting.INITIAL_WINDOW_SIZE, 65_535)))
    preface(peer)


def _no_preface(peer: Peer) -> None:
    peer.write(b"THIS IS NOT HOW HTTP/2 BEGINS\r\n\r\n")
    connection_error(PROTOCOL)(peer)


def _closed_then_data(peer: Peer) -> None:
    peer.write(headers(1, peer.block()))
    ended(peer)
    peer.write(data(1, b"test", END_STREAM))
    stream_error(STREAM_CLOSED)(peer)


def _closed_then_headers(peer: Peer) -> None:
    # the very same bytes again: what they index is in the table by now, and they still decode
    opening = headers(1, peer.block())
    peer.write(opening)
    ended(peer)
    peer.write(opening)
    connection_error(STREAM_CLOSED)(peer)


def _closed_then_continuation(peer: Peer) -> None:
    peer.write(headers(1, peer.block()))
    ended(peer)
    peer.write(continuation(1, more(peer)))
    connection_error(STREAM_CLOSED, PROTOCOL)(peer)


def _limited(peer: Peer) -> None:
    if Setting.MAX_CONCURRENT_STREAMS not in peer.settings:
        raise Unfit("the server sets no limit of streams")


def _too_many(peer: Peer) -> None:
    # no window: no stream can end
    peer.write(settings((Setting.INITIAL_WINDOW_SIZE, 0)))
    block = peer.block()
    for number in range(peer.settings[Setting.MAX_CONCURRENT_STREAMS] + 1):
        peer.write(headers(2 * number + 1, block))
    stream_error(PROTOCOL, Code.REFUSED_STREAM)(peer)


def _goaway_comes(peer: Peer) -> None:
    peer.write(frame(Type.PING, 0, 3, bytes(8)))
    first(peer, Type.GOAWAY, "GOAWAY")


_UNKNOWN = frame(0x16, 0, 0, bytes(8))

CASES: tuple[Case, ...] = (
    Case("http2/3.5/1", "the server's first frame is SETTINGS", _preface, opened=False),
    Case("http2/3.5/2", "a wrong preface", _no_preface, opened=False),
    # 4: frames
    case("http2/4.1/1", "a frame of an unknown type", lambda p: _UNKNOWN + ping(), ponged()),
    case("http2/4.1/2", "flags that mean nothing", lambda p: ping(flags=0x16), ponged()),
    case("http2/4.1/3", "the reserved bit", lambda p: frame(Type.PING, 0x16, 1 << 31, bytes(8)), ponged()),
    case(
        "http2/4.2/1",
        "DATA as large as the server says",
        lambda p: _post(p) + data(1, b"x" * min(_frame_size(p), _window(p)), END_STREAM),
        answered,
    ),
    Case("http2/4.2/2", "DATA that is a byte larger", _too_large, fitting=_can_be_too_large),
    case(
        "http2/4.2/3",
        "HEADERS that are larger than the smallest limit of frames",
        lambda p: headers(1, p.block() + more(p, 5)),
        connection_error(Code.FRAME_SIZE_ERROR),
    ),
    case(
        "http2/4.3/1",
        "a header block that ends within a field",
        lambda p: headers(1, b"\x40"),
        connection_error(Code.COMPRESSION_ERROR),
    ),
    case(
        "http2/4.3/2",
        "PRIORITY within a header block",
        lambda p: _unfinished(p) + priority(1, dependency()) + continuation(1, more(p)),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/4.3/3",
        "HEADERS of another stream within a header block",
        lambda p: _unfinished(p) + headers(3, p.block()) + continuation(1, more(p)),
        connection_error(PROTOCOL),
    ),
    # 5: streams
    case("http2/5.1/1", "idle: DATA", lambda p: data(1, b"test", END_STREAM), connection_error(PROTOCOL)),
    case("http2/5.1/2", "idle: RST_STREAM", lambda p: reset(1), connection_error(PROTOCOL)),
    case("http2/5.1/3", "idle: WINDOW_UPDATE", lambda p: window_update(1, 100), connection_error(PROTOCOL)),
    case("http2/5.1/4", "idle: CONTINUATION", lambda p: continuation(1, p.block()), connection_error(PROTOCOL)),
    case(
        "http2/5.1/5",
        "half-closed: DATA",
        lambda p: headers(1, p.block()) + data(1, b"test", END_STREAM),
        stream_error(STREAM_CLOSED),
    ),
    case(
        "http2/5.1/6",
        "half-closed: HEADERS",
        lambda p: headers(1, p.block()) + headers(1, p.block()),
        stream_error(STREAM_CLOSED),
    ),
    case(
        "http2/5.1/7",
        "half-closed: CONTINUATION",
        lambda p: headers(1, p.block()) + continuation(1, p.block()),
        stream_error(STREAM_CLOSED, PROTOCOL),
    ),
    case(
        "http2/5.1/8",
        "closed by RST_STREAM: DATA",
        lambda p: headers(1, p.block(), END_HEADERS) + reset(1) + data(1, b"test", END_STREAM),
        stream_error(STREAM_CLOSED),
    ),
    case(
        "http2/5.1/9",
        "closed by RST_STREAM: HEADERS",
        lambda p: headers(1, p.block(), END_HEADERS) + reset(1) + headers(1, p.block()),
        stream_error(STREAM_CLOSED),
    ),
    case(
        "http2/5.1/10",
        "closed by RST_STREAM: CONTINUATION",
        lambda p: headers(1, p.block(), END_HEADERS) + reset(1) + continuation(1, more(p)),
        stream_error(STREAM_CLOSED, PROTOCOL),
    ),
    Case("http2/5.1/11", "closed by both ends: DATA", _closed_then_data),
    Case("http2/5.1/12", "closed by both ends: HEADERS", _closed_then_headers),
    Case("http2/5.1/13", "closed by both ends: CONTINUATION", _closed_then_continuation),
    case("http2/5.1.1/1", "a stream with an even number", lambda p: headers(2, p.block()), connection_error(PROTOCOL)),
    case(
        "http2/5.1.1/2",
        "a stream with a lower number than one before",
        lambda p: headers(5, p.block()) + headers(3, p.block()),
        connection_error(PROTOCOL),
    ),
    Case("http2/5.1.2/1", "a stream more than the server says", _too_many, fitting=_limited),
    case(
        "http2/5.3.1/1",
        "HEADERS that depend on themselves",
        lambda p: headers(1, dependency(1) + p.block(), END_STREAM | END_HEADERS | PRIORITY_FLAG),
        stream_error(PROTOCOL),
    ),
    case(
        "http2/5.3.1/2",
        "PRIORITY that depends on its own stream",
        lambda p: priority(1, dependency(1)),
        stream_error(PROTOCOL),
    ),
    case("http2/5.4.1/1", "an error closes the connection", lambda p: frame(Type.PING, 0, 3, bytes(8)), closed),
    Case("http2/5.4.1/2", "an error is said by GOAWAY", _goaway_comes, strict=True),
    case("http2/5.5/1", "a frame of an extension", lambda p: _UNKNOWN + ping(), ponged()),
    case(
        "http2/5.5/2",
        "a frame of an extension within a header block",
        lambda p: headers(1, p.block(), END_STREAM) + _UNKNOWN,
        connection_error(PROTOCOL),
    ),
)
