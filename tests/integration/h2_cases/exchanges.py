"""Sections 7 and 8 of RFC 7540: error codes, and requests that are malformed."""

from __future__ import annotations

from tests.integration.h2_cases.streams import PROTOCOL
from tests.integration.h2_cases.verdicts import Case, Verdict, case, connection_error, ponged, stream_error
from tests.integration.h2peer import (
    END_HEADERS,
    END_STREAM,
    Peer,
    Type,
    data,
    frame,
    goaway,
    headers,
    ping,
    reset,
)

Fields = list[tuple[str, str]]
_MALFORMED: Verdict = stream_error(PROTOCOL)


def with_field(peer: Peer, name: str, value: str) -> bytes:
    """A request with one more field."""
    return headers(1, peer.encode([*peer.fields(), (name, value)]))


def without(peer: Peer, *names: str) -> bytes:
    """A request without some of its pseudo-fields."""
    return headers(1, peer.encode([field for field in peer.fields() if field[0] not in names]))


def _again(peer: Peer, name: str) -> bytes:
    return with_field(peer, name, dict(peer.fields())[name])


def _post(peer: Peer, *extra: tuple[str, str]) -> bytes:
    return headers(1, peer.block("POST", *extra), END_HEADERS)


def _empty_path(peer: Peer) -> bytes:
    return headers(1, peer.encode([(name, "" if name == ":path" else value) for name, value in peer.fields()]))


CASES: tuple[Case, ...] = (
    case(
        "http2/7/1",
        "GOAWAY with an unknown code: PING is answered still, or the connection closed",
        lambda p: goaway(0xFF) + ping(b"payload!"),
        ponged(b"payload!", or_closed=True),
    ),
    case("http2/7/2", "RST_STREAM with an unknown code", lambda p: _post(p) + reset(1, 0xFF) + ping(), ponged()),
    case(
        "http2/8.1/1",
        "trailers that don't end the stream",
        lambda p: _post(p) + data(1, b"test") + headers(1, p.encode([("x-test", "ok")]), END_HEADERS),
        _MALFORMED,
    ),
    case("http2/8.1.2/1", "a name in upper case", lambda p: with_field(p, "X-TEST", "ok"), _MALFORMED),
    case("http2/8.1.2.1/1", "an unknown pseudo-field", lambda p: with_field(p, ":test", "ok"), _MALFORMED),
    case("http2/8.1.2.1/2", "a pseudo-field of responses", lambda p: with_field(p, ":status", "200"), _MALFORMED),
    case(
        "http2/8.1.2.1/3",
        "a pseudo-field in trailers",
        lambda p: _post(p) + data(1, b"test") + headers(1, p.encode([(":method", "POST")]), END_HEADERS),
        _MALFORMED,
    ),
    case(
        "http2/8.1.2.1/4",
        "pseudo-fields after a field",
        lambda p: headers(1, p.encode([("x-test", "ok"), *p.fields()])),
        _MALFORMED,
    ),
    case("http2/8.1.2.2/1", "connection", lambda p: with_field(p, "connection", "keep-alive"), _MALFORMED),
    case(
        "http2/8.1.2.2/2",
        "te that is not trailers alone",
        lambda p: headers(1, p.block("GET", ("trailers", "test"), ("te", "trailers, deflate"))),
        _MALFORMED,
    ),
    case("http2/8.1.2.3/1", "an empty :path", _empty_path, _MALFORMED),
    # h2spec leaves out :scheme as well in this one
    case("http2/8.1.2.3/2", "no :method", lambda p: without(p, ":method", ":scheme"), _MALFORMED),
    case("http2/8.1.2.3/3", "no :scheme", lambda p: without(p, ":scheme"), _MALFORMED),
    case("http2/8.1.2.3/4", "no :path", lambda p: without(p, ":path"), _MALFORMED),
    case("http2/8.1.2.3/5", ":method twice", lambda p: _again(p, ":method"), _MALFORMED),
    case("http2/8.1.2.3/6", ":scheme twice", lambda p: _again(p, ":scheme"), _MALFORMED),
    case("http2/8.1.2.3/7", ":path twice", lambda p: _again(p, ":path"), _MALFORMED),
    case(
        "http2/8.1.2.6/1",
        "content-length and DATA of another length",
        lambda p: _post(p, ("content-length", "1")) + data(1, b"test", END_STREAM),
        _MALFORMED,
    ),
    case(
        "http2/8.1.2.6/2",
        "content-length and several DATA of another length",
        lambda p: _post(p, ("content-length", "1")) + data(1, b"test") + data(1, b"test", END_STREAM),
        _MALFORMED,
    ),
    case(
        "http2/8.2/1",
        "PUSH_PROMISE",
        lambda p: frame(Type.PUSH_PROMISE, END_HEADERS, 1, b"\x00\x00\x00\x03" + p.block()),
        connection_error(PROTOCOL),
    ),
)
