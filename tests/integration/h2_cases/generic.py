"""What every server has to take: one case for each kind of frame, request and field representation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.integration.h2_cases.verdicts import (
    Case,
    acknowledged,
    answered,
    case,
    ended,
    ponged,
    preface,
    some_data,
)
from tests.integration.h2peer import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY_FLAG,
    Peer,
    Setting,
    continuation,
    data,
    dependency,
    goaway,
    headers,
    ping,
    priority,
    reset,
    settings,
    text,
    window_update,
)

#: Fields that change nothing, in each representation (RFC 7541 section 6). ``user-agent`` is number 58 of the static
#: table, which fits the prefix of an index with indexing, and not those without.
_VALUE, _VALUE_HUFFMAN = text(b"h2case"), text(b"h2case", huffman=True)
_AGENT, _AGENT_NEVER, _AGENT_INDEXED, _AGENT_EMPTY = b"\x0f\x2b", b"\x1f\x2b", b"\x7a", b"\xba"
_TEST, _TEST_HUFFMAN = text(b"x-test") + _VALUE, text(b"x-test", huffman=True) + _VALUE_HUFFMAN
_SIZE_0, _SIZE_128, _SIZE_4096 = b"\x20", b"\x3f\x61", b"\x3f\xe1\x1f"


def _post(peer: Peer, *extra: tuple[str, str]) -> bytes:
    return headers(1, peer.block("POST", *extra), END_HEADERS)


def _with(field: bytes) -> Callable[[Peer], bytes]:
    """A request with one more field, as it is on the wire."""
    return lambda peer: headers(1, peer.block() + field)


def _pieces(block: bytes, *cuts: int) -> Iterator[bytes]:
    """HEADERS and CONTINUATION of a block cut there."""
    places = [0, *cuts, len(block)]
    for number, (begin, end) in enumerate(pairwise(places)):
        last = END_HEADERS if end == len(block) else 0
        yield continuation(1, block[begin:end], last) if number else headers(1, block[begin:end], END_STREAM | last)


def _closed_then_priority(peer: Peer) -> None:
    peer.write(headers(1, peer.block()))
    ended(peer)
    peer.write(priority(1, dependency()), ping())
    ponged()(peer)


_NO_WINDOW = settings((Setting.INITIAL_WINDOW_SIZE, 0))

CASES: tuple[Case, ...] = (
    Case(
        "generic/1/1",
        "the server's first frame is SETTINGS",
        lambda peer: (peer.write(PREFACE, settings((Setting.INITIAL_WINDOW_SIZE, 65_535))), preface(peer))[-1],
        opened=False,
    ),
    case("generic/2/1", "PRIORITY on an idle stream", lambda p: priority(1, dependency()) + ping(), ponged()),
    case(
        "generic/2/2",
        "WINDOW_UPDATE on a half-closed stream lets data flow",
        lambda p: _NO_WINDOW + headers(1, p.block()) + window_update(1, 1),
        some_data,
    ),
    case(
        "generic/2/3",
        "PRIORITY on a half-closed stream disturbs nothing",
        lambda p: _NO_WINDOW + headers(1, p.block()) + priority(1, dependency()) + window_update(1, 1),
        some_data,
    ),
    case(
        "generic/2/4",
        "RST_STREAM on a half-closed stream",
        lambda p: headers(1, p.block()) + reset(1) + ping(),
        ponged(or_closed=True),
    ),
    Case("generic/2/5", "PRIORITY on a closed stream", _closed_then_priority),
    case("generic/3.1/1", "one DATA frame", lambda p: _post(p) + data(1, b"test", END_STREAM), answered),
    case(
        "generic/3.1/2",
        "several DATA frames",
        lambda p: _post(p) + data(1, b"test") + data(1, b"test", END_STREAM),
        answered,
    ),
    case(
        "generic/3.1/3",
        "DATA with padding",
        lambda p: _post(p) + data(1, b"\x05test" + bytes(5), END_STREAM | PADDED),
        answered,
    ),
    case("generic/3.2/1", "HEADERS", lambda p: headers(1, p.block()), answered),
    case(
        "generic/3.2/2",
        "HEADERS with padding",
        lambda p: headers(1, b"\x08" + p.block() + bytes(8), END_STREAM | END_HEADERS | PADDED),
        answered,
    ),
    case(
        "generic/3.2/3",
        "HEADERS with a priority",
        lambda p: headers(1, dependency() + p.block(), END_STREAM | END_HEADERS | PRIORITY_FLAG),
        answered,
    ),
    case(
        "generic/3.3/1",
        "PRIORITY of the least weight",
        lambda p: priority(1, dependency(weight=0)) + headers(1, p.block()),
        answered,
    ),
    case(
        "generic/3.3/2",
        "PRIORITY of the greatest weight",
        lambda p: priority(1, dependency(weight=255)) + headers(1, p.block()),
        answered,
    ),
    case(
        "generic/3.3/3",
        "PRIORITY that depends on another stream",
        lambda p: priority(3, dependency(1, 0)) + headers(1, p.block()),
        answered,
    ),
    case(
        "generic/3.3/4",
        "PRIORITY that is exclusive",
        lambda p: priority(1, dependency(weight=0, exclusive=True)) + headers(1, p.block()),
        answered,
    ),
    case(
        "generic/3.3/5",
        "PRIORITY on a stream does not use up those below it",
        lambda p: priority(3, dependency()) + headers(1, p.block()),
        answered,
    ),
    case(
        "generic/3.4/1",
        "RST_STREAM on an open stream",
        lambda p: headers(1, p.block(), END_HEADERS) + reset(1) + ping(),
        ponged(or_closed=True),
    ),
    case(
        "generic/3.5/1",
        "SETTINGS with every setting is acknowledged",
        lambda p: settings((1, 4096), (2, 1), (3, 100), (4, 65_535), (5, 16_384), (6, 100)),
        acknowledged,
    ),
    case("generic/3.7/1", "PING is answered with its payload", lambda p: ping(b"payload!"), ponged(b"payload!")),
    case(
        "generic/3.8/1",
        "GOAWAY: PING is answered still, or the connection closed",
        lambda p: goaway(debug=b"over") + ping(b"payload!"),
        ponged(b"payload!", or_closed=True),
    ),
    case("generic/3.9/1", "WINDOW_UPDATE of the connection", lambda p: window_update(0, 1) + ping(), ponged()),
    case(
        "generic/3.9/2",
        "WINDOW_UPDATE of a stream",
        lambda p: headers(1, p.block()) + window_update(1, 1),
        answered,
    ),
    case("generic/3.10/1", "one CONTINUATION", lambda p: b"".join(_pieces(p.block(), 5)), answered),
    case("generic/3.10/2", "several CONTINUATIONs", lambda p: b"".join(_pieces(p.block(), 5, 10)), answered),
    case("generic/4/1", "GET is answered", lambda p: headers(1, p.block()), answered),
    case("generic/4/2", "HEAD is answered", lambda p: headers(1, p.block("HEAD")), answered),
    case("generic/4/3", "POST is answered", lambda p: _post(p) + data(1, b"test", END_STREAM), answered),
    case(
        "generic/4/4",
        "POST with trailers is answered",
        lambda p: _post(p, ("trailer", "x-test")) + data(1, b"test") + headers(1, p.encode([("x-test", "ok")])),
        answered,
    ),
    case("generic/5/1", "an indexed field", _with(_AGENT_EMPTY), answered),
    case("generic/5/2", "indexing, a known name", _with(_AGENT_INDEXED + _VALUE), answered),
    case("generic/5/3", "indexing, a known name, Huffman", _with(_AGENT_INDEXED + _VALUE_HUFFMAN), answered),
    case("generic/5/4", "indexing, a new name", _with(b"\x40" + _TEST), answered),
    case("generic/5/5", "indexing, a new name, Huffman", _with(b"\x40" + _TEST_HUFFMAN), answered),
    case("generic/5/6", "no indexing, a known name", _with(_AGENT + _VALUE), answered),
    case("generic/5/7", "no indexing, a known name, Huffman", _with(_AGENT + _VALUE_HUFFMAN), answered),
    case("generic/5/8", "no indexing, a new name", _with(b"\x00" + _TEST), answered),
    case("generic/5/9", "no indexing, a new name, Huffman", _with(b"\x00" + _TEST_HUFFMAN), answered),
    case("generic/5/10", "never indexed, a known name", _with(_AGENT_NEVER + _VALUE), answered),
    case("generic/5/11", "never indexed, a known name, Huffman", _with(_AGENT_NEVER + _VALUE_HUFFMAN), answered),
    case("generic/5/12", "never indexed, a new name", _with(b"\x10" + _TEST), answered),
    case("generic/5/13", "never indexed, a new name, Huffman", _with(b"\x10" + _TEST_HUFFMAN), answered),
    case("generic/5/14", "a table size update", lambda p: headers(1, _SIZE_0 + p.block()), answered),
    case(
        "generic/5/15",
        "two table size updates",
        lambda p: headers(1, _SIZE_128 + _SIZE_4096 + p.block()),
        answered,
    ),
)
