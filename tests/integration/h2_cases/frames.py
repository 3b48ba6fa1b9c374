"""Section 6 of RFC 7540: each type of frame."""

from __future__ import annotations

from tests.integration.h2_cases.streams import PROTOCOL, STREAM_CLOSED, more
from tests.integration.h2_cases.verdicts import (
    Case,
    acknowledged,
    answered,
    case,
    connection_error,
    first,
    has_body,
    one_byte,
    ponged,
    require,
    some_data,
    stream_error,
)
from tests.integration.h2peer import (
    ACK,
    END_HEADERS,
    END_STREAM,
    LARGEST_WINDOW,
    PADDED,
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

FRAME_SIZE_ERROR, FLOW = Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR
WINDOW = Setting.INITIAL_WINDOW_SIZE


def _post(peer: Peer, *extra: tuple[str, str]) -> bytes:
    return headers(1, peer.block("POST", *extra), END_HEADERS)


def _overpadded(block: bytes) -> bytes:
    """HEADERS whose padding is longer than what is left of them."""
    return headers(1, bytes([len(block) + 2]) + block, END_STREAM | END_HEADERS | PADDED)


def _in_order(peer: Peer) -> None:
    peer.write(settings((WINDOW, 100), (WINDOW, 1)))
    acknowledged(peer)
    peer.write(headers(1, peer.block()))
    one_byte(peer)


def _no_echo(peer: Peer) -> None:
    peer.write(ping(b"answered", ACK), ping(b"question"))
    got = first(peer, Type.PING, "PING(ACK, b'question')")
    require(bool(got.flags & ACK) and got.payload == b"question", "PING(ACK, b'question')", peer)


def _one_byte_window(peer: Peer) -> None:
    peer.write(settings((WINDOW, 1)))
    acknowledged(peer)
    peer.write(headers(1, peer.block()))
    one_byte(peer)


def _connection_overflow(peer: Peer) -> None:
    peer.write(window_update(0, LARGEST_WINDOW), window_update(0, LARGEST_WINDOW))
    require(first(peer, Type.GOAWAY, "GOAWAY(FLOW_CONTROL_ERROR)").code == FLOW, "GOAWAY(FLOW_CONTROL_ERROR)", peer)


def _stream_overflow(peer: Peer) -> None:
    expected = "RST_STREAM(FLOW_CONTROL_ERROR) of stream 1"
    peer.write(headers(1, peer.block(), END_HEADERS))
    peer.write(window_update(1, LARGEST_WINDOW), window_update(1, LARGEST_WINDOW))
    got = first(peer, Type.RST_STREAM, expected)
    require(got.stream == 1 and got.code == FLOW, expected, peer)


def _opened_window(peer: Peer) -> None:
    peer.write(settings((WINDOW, 0)))
    acknowledged(peer)
    peer.write(headers(1, peer.block()), settings((WINDOW, 1)))
    one_byte(peer)


def _negative_window(peer: Peer) -> None:
    peer.write(settings((WINDOW, 3)))
    acknowledged(peer)
    peer.write(headers(1, peer.block()))
    some_data(peer)
    peer.write(settings((WINDOW, 2)))  # 3 were sent: the window is -1
    acknowledged(peer)
    peer.write(window_update(1, 2))
    one_byte(peer)


CASES: tuple[Case, ...] = (
    case("http2/6.1/1", "DATA of stream 0", lambda p: data(0, b"test", END_STREAM), connection_error(PROTOCOL)),
    case(
        "http2/6.1/2",
        "DATA of a stream that is half-closed",
        lambda p: headers(1, p.block("POST")) + data(1, b"test", END_STREAM),
        stream_error(STREAM_CLOSED),
    ),
    case(
        "http2/6.1/3",
        "DATA with more padding than there is",
        lambda p: _post(p, ("content-length", "4")) + data(1, b"\x06Test", END_STREAM | PADDED),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.2/1",
        "HEADERS that go on, then PRIORITY",
        lambda p: headers(1, p.block(), 0) + priority(1, dependency()) + continuation(1, more(p)),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.2/2",
        "HEADERS that go on, then HEADERS of another stream",
        lambda p: headers(1, p.block(), 0) + headers(3, p.block()) + continuation(1, more(p)),
        connection_error(PROTOCOL),
    ),
    case("http2/6.2/3", "HEADERS of stream 0", lambda p: headers(0, p.block()), connection_error(PROTOCOL)),
    case(
        "http2/6.2/4",
        "HEADERS with more padding than there is",
        lambda p: _overpadded(p.block()),
        stream_error(PROTOCOL),
    ),
    case("http2/6.3/1", "PRIORITY of stream 0", lambda p: priority(0, dependency()), connection_error(PROTOCOL)),
    case(
        "http2/6.3/2",
        "PRIORITY of 4 bytes",
        lambda p: headers(1, p.block()) + priority(1, b"\x80\x00\x00\x01"),
        stream_error(FRAME_SIZE_ERROR),
    ),
    case("http2/6.4/1", "RST_STREAM of stream 0", lambda p: reset(0), connection_error(PROTOCOL)),
    case("http2/6.4/2", "RST_STREAM of an idle stream", lambda p: reset(1), connection_error(PROTOCOL)),
    case(
        "http2/6.4/3",
        "RST_STREAM of 3 bytes",
        lambda p: headers(1, p.block()) + frame(Type.RST_STREAM, 0, 1, bytes(3)),
        stream_error(FRAME_SIZE_ERROR),
    ),
    case(
        "http2/6.5/1",
        "SETTINGS that acknowledge and have a payload",
        lambda p: frame(Type.SETTINGS, ACK, 0, bytes(1)),
        connection_error(FRAME_SIZE_ERROR),
    ),
    case(
        "http2/6.5/2",
        "SETTINGS of a stream",
        lambda p: frame(Type.SETTINGS, 0, 1, b"\x00\x03\x00\x00\x00\x64"),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.5/3",
        "SETTINGS of 3 bytes",
        lambda p: frame(Type.SETTINGS, 0, 0, b"\x00\x03\x00"),
        stream_error(PROTOCOL, FRAME_SIZE_ERROR),
    ),
    case(
        "http2/6.5.2/1",
        "ENABLE_PUSH of 2",
        lambda p: settings((Setting.ENABLE_PUSH, 2)),
        connection_error(PROTOCOL),
    ),
    case("http2/6.5.2/2", "INITIAL_WINDOW_SIZE of 2^31", lambda p: settings((WINDOW, 1 << 31)), connection_error(FLOW)),
    case(
        "http2/6.5.2/3",
        "MAX_FRAME_SIZE below 2^14",
        lambda p: settings((Setting.MAX_FRAME_SIZE, (1 << 14) - 1)),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.5.2/4",
        "MAX_FRAME_SIZE of 2^24",
        lambda p: settings((Setting.MAX_FRAME_SIZE, 1 << 24)),
        connection_error(PROTOCOL),
    ),
    case("http2/6.5.2/5", "a setting that is unknown", lambda p: settings((0xFF, 1)) + ping(), ponged()),
    Case("http2/6.5.3/1", "of one setting twice, the last one counts", _in_order, fitting=has_body(1)),
    case("http2/6.5.3/2", "SETTINGS are acknowledged", lambda p: settings((Setting.ENABLE_PUSH, 0)), acknowledged),
    case("http2/6.7/1", "PING is answered with its payload", lambda p: ping(b"payload!"), ponged(b"payload!")),
    Case("http2/6.7/2", "an answer to a PING is not answered", _no_echo),
    case("http2/6.7/3", "PING of a stream", lambda p: frame(Type.PING, 0, 1, bytes(8)), connection_error(PROTOCOL)),
    case(
        "http2/6.7/4", "PING of 6 bytes", lambda p: frame(Type.PING, 0, 0, bytes(6)), connection_error(FRAME_SIZE_ERROR)
    ),
    case("http2/6.8/1", "GOAWAY of a stream", lambda p: frame(Type.GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL)),
    case("http2/6.9/1", "WINDOW_UPDATE by 0", lambda p: window_update(0, 0), connection_error(PROTOCOL)),
    case(
        "http2/6.9/2",
        "WINDOW_UPDATE of a stream by 0",
        lambda p: headers(1, p.block(), END_HEADERS) + window_update(1, 0),
        stream_error(PROTOCOL),
    ),
    case(
        "http2/6.9/3",
        "WINDOW_UPDATE of 3 bytes",
        lambda p: frame(Type.WINDOW_UPDATE, 0, 0, b"\x00\x00\x01"),
        connection_error(FRAME_SIZE_ERROR),
    ),
    Case("http2/6.9.1/1", "no more DATA than the window of a stream", _one_byte_window, fitting=has_body(1)),
    Case("http2/6.9.1/2", "the connection's window grows beyond 2^31-1", _connection_overflow),
    Case("http2/6.9.1/3", "a stream's window grows beyond 2^31-1", _stream_overflow),
    Case("http2/6.9.2/1", "a new INITIAL_WINDOW_SIZE holds for open streams", _opened_window, fitting=has_body(1)),
    Case("http2/6.9.2/2", "a window below zero", _negative_window, fitting=has_body(5)),
    case(
        "http2/6.9.2/3",
        "INITIAL_WINDOW_SIZE above the largest window",
        lambda p: settings((WINDOW, 1 << 31)),
        connection_error(FLOW),
    ),
    case(
        "http2/6.10/1",
        "several CONTINUATIONs",
        lambda p: headers(1, p.block(), END_STREAM) + continuation(1, more(p), 0) + continuation(1, more(p)),
        answered,
    ),
    case(
        "http2/6.10/2",
        "CONTINUATION that goes on, then DATA",
        lambda p: headers(1, p.block("POST"), 0) + continuation(1, more(p), 0) + data(1, b"test", END_STREAM),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.10/3",
        "CONTINUATION of stream 0",
        lambda p: headers(1, p.block(), END_STREAM) + continuation(0, more(p)),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.10/4",
        "CONTINUATION after HEADERS that were complete",
        lambda p: headers(1, p.block()) + continuation(1, more(p)),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.10/5",
        "CONTINUATION after the last CONTINUATION",
        lambda p: headers(1, p.block(), END_STREAM) + continuation(1, more(p)) + continuation(1, more(p)),
        connection_error(PROTOCOL),
    ),
    case(
        "http2/6.10/6",
        "CONTINUATION after DATA",
        lambda p: (
            headers(1, p.block("POST"), 0)
            + data(1, b"test", END_STREAM)
            + continuation(1, more(p), 0)
            + continuation(0, more(p))
        ),
        connection_error(PROTOCOL),
    ),
)
