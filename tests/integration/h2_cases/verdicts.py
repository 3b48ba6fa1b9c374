"""What cases are made of: a table's row, and the verdicts that rows name.

Rules of this module:

* verdicts are as tolerant as h2spec's: a connection error is a GOAWAY with one of the codes, or the end of the
  connection, whatever GOAWAY came before it; a stream error may be a RST_STREAM (of any stream) or a connection
  error as well. Frames of other types are passed over;
* a verdict on the first frame of a type is about the first one, and doesn't wait for a better one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.integration.h2peer import ACK, Code, Frame, Gone, Peer, Silent, Type

Verdict = Callable[[Peer], None]


class Disagrees(AssertionError):
    """The server did otherwise."""

    def __init__(self, expected: str, peer: Peer, end: str) -> None:
        seen = ", ".join(str(got) for got in peer.seen[-6:]) or "nothing"
        super().__init__(f"expected {expected}; there came {seen}, then {end}")


class Unfit(Exception):
    """The server has not what the case is about, as without a limit of streams; h2spec skips it, too."""


class Case(NamedTuple):
    """One case: see the package."""

    number: str
    text: str
    run: Callable[[Peer], None]
    #: Whether settings are exchanged first.
    opened: bool = True
    #: Raises Unfit when the server can't be asked.
    fitting: Callable[[Peer], None] | None = None
    #: What h2spec asks in its strict mode only, and does not count otherwise.
    strict: bool = False


def case(number: str, text: str, write: Callable[[Peer], bytes], verdict: Verdict) -> Case:
    """A case that writes once and judges what comes back."""

    def run(peer: Peer) -> None:
        peer.write(write(peer))
        verdict(peer)

    return Case(number, text, run)


def _until(peer: Peer, expected: str, done: Callable[[Frame], bool], *, closing: bool = False) -> None:
    """Read until a frame will do; ``closing`` takes the end of the connection for good as well."""
    while True:
        try:
            if done(peer.read()):
                return
        except Gone:
            if closing:
                return
            raise Disagrees(expected, peer, "the connection closed") from None
        except Silent:
            raise Disagrees(expected, peer, "silence") from None


def first(peer: Peer, kind: Type, expected: str) -> Frame:
    """The first frame of a type. :raises Disagrees: when none comes."""
    _until(peer, expected, lambda got: got.type == kind)
    return peer.seen[-1]


def require(met: bool, expected: str, peer: Peer) -> None:
    """:raises Disagrees: when the last frame is not as expected."""
    if not met:
        raise Disagrees(expected, peer, "no more was read")


def connection_error(*codes: Code) -> Verdict:
    """A GOAWAY with one of these codes, or the end of the connection."""
    expected = f"GOAWAY({' or '.join(code.name for code in codes)}) or the connection closed"
    return lambda peer: _until(peer, expected, lambda f: f.type == Type.GOAWAY and f.code in codes, closing=True)


def stream_error(*codes: Code) -> Verdict:
    """A RST_STREAM or GOAWAY with one of these codes, or the end of the connection."""
    kinds = (Type.RST_STREAM, Type.GOAWAY)
    expected = f"RST_STREAM or GOAWAY({' or '.join(code.name for code in codes)}) or the connection closed"
    return lambda peer: _until(peer, expected, lambda f: f.type in kinds and f.code in codes, closing=True)


def closed(peer: Peer) -> None:
    """The end of the connection."""
    _until(peer, "the connection closed", lambda got: False, closing=True)


def answered(peer: Peer, stream: int = 1) -> None:
    """The first HEADERS are of this stream."""
    expected = f"HEADERS of stream {stream}"
    require(first(peer, Type.HEADERS, expected).stream == stream, expected, peer)


def ponged(payload: bytes = bytes(8), *, or_closed: bool = False) -> Verdict:
    """The PING with this payload is answered; what was before it has not upset the server."""
    expected = f"PING(ACK, {payload!r})"

    def judge(peer: Peer) -> None:
        if or_closed:
            _until(
                peer,
                f"{expected} or the connection closed",
                lambda f: f.type == Type.PING and bool(f.flags & ACK) and f.payload == payload,
                closing=True,
            )
            return
        got = first(peer, Type.PING, expected)
        require(bool(got.flags & ACK) and got.payload == payload, expected, peer)

    return judge


def acknowledged(peer: Peer) -> None:
    """The first SETTINGS are an acknowledgement."""
    require(bool(first(peer, Type.SETTINGS, "SETTINGS(ACK)").flags & ACK), "SETTINGS(ACK)", peer)


def ended(peer: Peer) -> None:
    """A stream is ended by the server: by its last frame, or by RST_STREAM(NO_ERROR) after it."""
    _until(peer, "the end of the stream", lambda f: f.ends or (f.type == Type.RST_STREAM and f.code == Code.NO_ERROR))


def some_data(peer: Peer) -> None:
    """DATA comes."""
    first(peer, Type.DATA, "DATA")


def one_byte(peer: Peer) -> None:
    """The first DATA has one byte."""
    require(len(first(peer, Type.DATA, "DATA of 1 byte").payload) == 1, "DATA of 1 byte", peer)


def preface(peer: Peer) -> None:
    """The first frame of all is SETTINGS, and no acknowledgement."""
    got = peer.read()
    require(got.type == Type.SETTINGS and not got.flags & ACK, "SETTINGS first", peer)


def has_body(at_least: int) -> Callable[[Peer], None]:
    """:raises Unfit: when the server's path has no body of so many bytes."""

    def look(peer: Peer) -> None:
        with Peer(peer.server, peer.patience) as other:
            size = len(other.open().get()[1])
        if size < at_least:
            raise Unfit(f"the body has {size} bytes, less than {at_least}")

    return look
