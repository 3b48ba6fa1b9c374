"""The WebSocket echo: frames, handshake, and what ends a connection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from twisted.internet.testing import StringTransport

from revproxy.demo.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MAX_MESSAGE,
    PING,
    PONG,
    TEXT,
    FrameError,
    WebSocketEcho,
    accept_key,
    frame,
    take_frame,
    xor,
)
from tests.demo.test_backend import Client

MASK = b"\x12\x34\x56\x78"
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: demo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def connect() -> tuple[WebSocketEcho, Any]:
    """Return an echo and the transport it writes to."""
    echo, transport = WebSocketEcho(), StringTransport()
    echo.makeConnection(transport)
    return echo, transport


def masked(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    return frame(opcode, payload, final=final, mask=MASK)


def closed(code: int) -> bytes:
    """Return how a close frame with ``code`` begins after its two bytes of head."""
    return code.to_bytes(2, "big")


def test_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("key", [b"", b"dGhl", b"not base64!", b"dGhlIHNhbXBsZSBub25jZQ"])
def test_accept_key_refuses_others(key: bytes) -> None:
    with pytest.raises(ValueError, match="Sec-WebSocket-Key"):
        accept_key(key)


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4), st.sampled_from([TEXT, BINARY]), st.booleans())
def test_frames_survive_a_round(payload: bytes, mask: bytes, opcode: int, final: bool) -> None:
    buffer = bytearray(frame(opcode, payload, final=final, mask=mask) + b"rest")
    assert take_frame(buffer) == (opcode, final, payload)
    assert buffer == b"rest"


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_masking_twice_gives_the_same(data: bytes, mask: bytes) -> None:
    assert xor(xor(data, mask), mask) == data
    assert all(byte ^ mask[i % 4] == out for i, (byte, out) in enumerate(zip(data, xor(data, mask), strict=True)))


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_wait_until_they_are_whole(size: int) -> None:
    whole = masked(BINARY, b"x" * size)
    for cut in {0, 1, 2, 5, 9, 13, len(whole) - 1}:
        if cut < len(whole):
            assert take_frame(bytearray(whole[:cut])) is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"unmasked"), 1002),
        (bytes([0xC1, 0x80]), 1002),
        (bytes([0x83, 0x80]), 1002),
        (bytes([PING, 0x80]), 1002),
        (bytes([0x80 | PING, 0x80 | 126]), 1002),
        (bytes([0x82, 0xFF]) + (MAX_MESSAGE + 1).to_bytes(8, "big") + MASK, 1009),
    ],
)
def test_bad_frames_are_refused_by_their_head(data: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        take_frame(bytearray(data))
    assert caught.value.code == code


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_conversation(step: int) -> None:
    echo, transport = connect()
    sent = (
        masked(TEXT, "grüß".encode())
        + masked(BINARY, bytes(range(256)))
        + masked(TEXT, b"one ", final=False)
        + masked(PING, b"p")
        + masked(CONTINUATION, b"two ", final=False)
        + masked(CONTINUATION, b"three")
        + masked(PONG, b"ignored")
        + masked(CLOSE, closed(1000) + b"bye")
        + masked(TEXT, b"too late")
    )
    for start in range(0, len(sent), step):
        echo.dataReceived(sent[start : start + step])
    assert transport.value() == (
        frame(TEXT, "grüß".encode())
        + frame(BINARY, bytes(range(256)))
        + frame(PONG, b"p")
        + frame(TEXT, b"one two three")
        + frame(CLOSE, closed(1000))
    )
    assert transport.disconnecting


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(CONTINUATION, b"of nothing"), 1002),
        (masked(TEXT, b"a", final=False) + masked(TEXT, b"b"), 1002),
        (masked(TEXT, b"\xff"), 1007),
        (masked(CLOSE, b"x"), 1002),
        (masked(CLOSE, closed(1005)), 1002),
        (masked(CLOSE, closed(3000)), 3000),
        (masked(CLOSE), 1000),
        (frame(TEXT, b"unmasked"), 1002),
    ],
)
def test_what_ends_a_connection(data: bytes, code: int) -> None:
    echo, transport = connect()
    echo.dataReceived(data)
    assert transport.value()[:1] == bytes([0x80 | CLOSE])
    assert transport.value()[2:4] == closed(code)
    assert transport.disconnecting


def test_message_of_the_largest_size_and_one_above() -> None:
    echo, transport = connect()
    echo.dataReceived(masked(BINARY, b"x" * MAX_MESSAGE))
    assert transport.value() == frame(BINARY, b"x" * MAX_MESSAGE)
    transport.clear()
    echo.dataReceived(masked(BINARY, b"x" * MAX_MESSAGE, final=False))
    assert not transport.disconnecting
    echo.dataReceived(masked(CONTINUATION, b"x"))
    assert transport.value()[2:4] == closed(1009)


def test_handshake_then_echo_in_one_read() -> None:
    client = Client()
    answer = client.send(HANDSHAKE + masked(TEXT, b"early"))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert rest == frame(TEXT, b"early")
    assert client.send(masked(TEXT, b"later")) == frame(TEXT, b"later")
    client.clock.advance(3600)
    assert not client.transport.disconnecting
    client.send(masked(CLOSE, closed(1000)))
    assert client.transport.disconnecting
    client.leave()


def test_reading_stops_while_the_client_does_not_read() -> None:
    client = Client()
    client.send(HANDSHAKE)
    client.channel.pauseProducing()
    assert client.transport.producerState == "paused"
    client.channel.resumeProducing()
    assert client.transport.producerState == "producing"


@pytest.mark.parametrize(
    ("without", "status"),
    [(b"Upgrade: websocket", 426), (b"Version: 13", 426), (b"Key: dGhlIHNhbXBsZSBub25jZQ==", 400)],
)
def test_handshake_refused(without: bytes, status: int) -> None:
    client = Client()
    request = HANDSHAKE.replace(without, without.split(b":")[0] + b": x")
    assert client.send(request).startswith(b"HTTP/1.1 %d " % status)
