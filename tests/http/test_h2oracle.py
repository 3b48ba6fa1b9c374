"""Whatever is accepted from HTTP/2 is one HTTP/1.1 request, and the same one for everybody who reads it.

The head that a backend gets is compared with a model of its own, that is written from the RFCs and
shares no code with what it judges, and is read by our parser and by h11, each with a body of the
announced length and a second request behind it: all have to see the same two requests.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

import h11
from hypothesis import HealthCheck, given, settings, strategies as st

from revproxy.fault import ProtocolError
from revproxy.http.fields import Pair
from revproxy.http.h1 import ChunkedReader, RequestParser
from revproxy.http.h2requests import H2RequestReader
from revproxy.http.message import Arrival, Request
from tests.examples import at_least, examples
from tests.http.h2kit import KEY, STRANGER, TRUSTED, head_of, rules

bounded = settings(
    max_examples=examples(300),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

#: Written by us, whatever a client said.
OURS = (
    b"host content-length transfer-encoding te connection upgrade expect x-forwarded-host x-forwarded-for"
    b" x-forwarded-proto x-forwarded-port x-request-id forwarded via"
).split()
#: A client's that are not passed on: about its connection, or about who it is.
DROPPED = (
    b"te proxy-authorization proxy-authenticate expect x-real-ip x-original-url x-rewrite-url true-client-ip"
    b" x-client-ip forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-request-id"
    b" x-forwarded-prefix"
).split()
FORBIDDEN = b"connection keep-alive proxy-connection transfer-encoding upgrade http2-settings".split()

ODD = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"\x0b", b"\x7f", b"\x80", b"\xa0", b"_", b"A"]
ODD += [b"#", b"?", b"@", b"%", b"/", b"\\", b"..", b"/../", b"\r\n\r\nGET /x HTTP/1.1\r\nHost: b\r\n\r\n"]
ODD += [b" HTTP/1.1"]
ODD += [b"\r\nTransfer-Encoding: chunked", b"\r\nContent-Length: 3", b"chunked", b"0", b"+1", b": ", b"://"]

NAMES = (
    b"x accept cookie cookie content-length te host expect via a_b user-agent trailer date sec-websocket-key".split()
)
ODD_NAMES = b"x accept cookie cookie content-length te host expect via a_b user-agent trailer date".split()
ODD_NAMES = b":path X transfer_encoding content_length x_forwarded_for location age sec-websocket-key".split()
names = st.one_of(st.sampled_from(NAMES), st.sampled_from([*FORBIDDEN, *DROPPED, *ODD_NAMES]))
values = st.one_of(
    st.sampled_from([b"", b"1", b"a, b", b"chunked", b"trailers", b"5", b"0", b"a=b", b"100-continue", b"websocket"]),
    st.sampled_from([b"close", b"a", b"A", b"x: y", b"caf\xe9", b"a\tb", b"1.2.3.4", b"https://a/?b"]),
)
plain_names = st.sampled_from(b"x accept cookie user-agent x-odd!#$%&'*+-.^`|~9 trailer proxy-authorization".split())
plain_values = st.sampled_from([b"", b"1", b"a=b; c", b"caf\xe9", b"a\tb c", b"x: y", b'"q, \\"', b"chunked", b"\xff"])


def pseudo(name: bytes, *choices: bytes | None) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    return st.sampled_from([[] if value is None else [(name, value)] for value in choices])


odd_starts = st.tuples(
    pseudo(b":method", b"GET", b"GET", b"POST", b"HEAD", b"OPTIONS", b"X-1!", b"get", b"CONNECT"),
    pseudo(b":scheme", b"https", b"https", b"https", b"https", b"http", None, b"x"),
    pseudo(b":path", b"/", b"/a%7e/b?c=%20", b"//a", b"/[]{}|^", b"/?", b"*", b"/%2e", b"https://a/", b"", None),
    pseudo(b":authority", b"a", b"a", b"A.example:80", b"[::1]:8", b"a.", b"a@b", None),
    pseudo(b":protocol", None, None, None, None, None, None, b"websocket", b"x/1"),
)


plain_starts = st.tuples(
    pseudo(b":method", b"GET", b"POST", b"HEAD", b"X-1!"),
    pseudo(b":scheme", b"https", b"HTTPS"),
    pseudo(b":path", b"/", b"/a%7e/b?c=%20", b"//a", b"/[]{}|^", b"/?", b"/a;b=c//%2F?"),
    pseudo(b":authority", b"a", b"A.example:80", b"[::1]:8", b"a."),
)
connects = st.tuples(
    pseudo(b":method", b"CONNECT"),
    pseudo(b":scheme", b"https"),
    pseudo(b":path", b"/", b"/chat?a"),
    pseudo(b":authority", b"a", b"A.example:80"),
    pseudo(b":protocol", b"websocket", b"x"),
)
starts = st.one_of(plain_starts, plain_starts, connects, odd_starts)


@st.composite
def sections(draw: st.DrawFn) -> list[Pair]:
    """Nearly valid, with up to two changes."""
    pairs = draw(st.permutations([pair for part in draw(starts) for pair in part]))
    if draw(st.booleans()):
        pairs = pairs + draw(st.lists(st.tuples(plain_names, plain_values), max_size=8))
    else:
        pairs = pairs + draw(st.lists(st.tuples(names, values), max_size=4))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        if not pairs:
            break
        at = draw(st.integers(0, len(pairs) - 1))
        kind = draw(st.sampled_from(["odd", "odd", "repeat", "delete", "swap", "host", "length"]))
        if kind == "odd":
            part = draw(st.integers(0, 1))
            text = pairs[at][part]
            cut = draw(st.integers(0, len(text)))
            text = text[:cut] + draw(st.sampled_from(ODD)) + text[cut:]
            pairs[at] = (text, pairs[at][1]) if part == 0 else (pairs[at][0], text)
        elif kind == "repeat":
            pairs = [*pairs[: at + 1], *pairs[at:]]
        elif kind == "host":
            authority = dict(pairs).get(b":authority", b"a")
            pairs = [*pairs, (b"host", draw(st.sampled_from([authority, authority.swapcase(), b"other"])))]
        elif kind == "length":
            pairs = [*pairs, (b"content-length", draw(st.sampled_from([b"0", b"3", b"03"])))]
        elif kind == "delete":
            pairs = pairs[:at] + pairs[at + 1 :]
        else:
            pairs = pairs[at:] + pairs[:at]
    return [(name, value, draw(st.sampled_from([False, False, True]))) for name, value in pairs]


noise_names = st.one_of(names, st.binary(max_size=6))
noise = st.lists(st.tuples(noise_names, st.one_of(values, st.binary(max_size=9)), st.booleans()), max_size=10)


def model(pairs: list[Pair], ended: bool) -> dict[str, Any]:
    """What RFC 9113 says that an accepted section means."""
    pseudo = {name: value for name, value, _ in pairs if name.startswith(b":")}
    rest = [(name, value) for name, value, _ in pairs if not name.startswith(b":")]
    host = pseudo.get(b":authority") or next(value for name, value in rest if name == b"host")
    fields: list[tuple[bytes, bytes]] = []
    for name, value in rest:
        before = dict(fields)
        if name == b"cookie" and name in before:
            joined = b"; ".join(filter(None, [before[name], value]))
            fields = [(n, joined if n == name else v) for n, v in fields]
        elif name not in DROPPED and b"_" not in name and name not in (b"host", b"content-length"):
            fields.append((name, value))
    length = next((int(value) for name, value in rest if name == b"content-length"), 0 if ended else None)
    method = pseudo[b":method"]
    if method == b"CONNECT":
        method, length = b"GET", 0
        if pseudo[b":protocol"].lower() == b"websocket":
            fields = [f for f in fields if f[0] != b"sec-websocket-key"]
            if b"sec-websocket-version" not in dict(fields):
                fields.append((b"sec-websocket-version", b"13"))
            fields.append((b"sec-websocket-key", KEY))
    return {
        "method": method,
        "path": pseudo[b":path"],
        "host": host,
        "fields": fields,
        "length": length,
        "upgrade": pseudo[b":protocol"].lower() if b":protocol" in pseudo else None,
        "expects": any(name == b"expect" for name, _ in rest) and length != 0,
        "trailers": any(name == b"te" for name, _ in rest),
    }


def check_valid(pairs: list[Pair], ended: bool) -> None:
    """What no accepted section has (RFC 9113 8.2, 8.3)."""
    started = False
    for name, value, _ in pairs:
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value), "a control byte"
        assert value == value.strip(b" \t"), "white space around a value"
        if name.startswith(b":"):
            assert not started, "a late pseudo-field"
            assert name in (b":method", b":scheme", b":path", b":authority", b":protocol")
            assert [p[0] for p in pairs].count(name) == 1, "a pseudo-field twice"
            assert b" " not in value
        else:
            started = True
            assert re.fullmatch(rb"[!#$%&'*+.^_`|~0-9a-z-]+", name), "no name"
            assert name not in FORBIDDEN
            assert name != b"te" or value == b"trailers"
    given = {name: value for name, value, _ in pairs}
    assert {b":method", b":scheme", b":path"} <= set(given)
    assert given[b":path"].startswith(b"/") or (given[b":path"], given[b":method"]) == (b"*", b"OPTIONS")
    assert (b":protocol" in given) == (given[b":method"] == b"CONNECT")
    hosts = {value.lower() for name, value, _ in pairs if name in (b":authority", b"host")}
    assert len(hosts) == 1
    lengths = [value for name, value, _ in pairs if name == b"content-length"]
    assert len(lengths) <= 1
    assert not (ended and lengths and int(lengths[0]))


NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"


def body_of(length: int | None) -> bytes:
    return b"3\r\nabc\r\n0\r\n\r\n" if length is None else b"G" * length


def by_h11(sent: bytes) -> tuple[h11.Request, bytes, bytes]:
    """The first request with its body, and the target of the second."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(sent)
    first = connection.next_event()
    assert isinstance(first, h11.Request)
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        body += bytes(event.data)
    rest, _ = connection.trailing_data
    after = h11.Connection(h11.SERVER)
    after.receive_data(rest)
    second = after.next_event()
    assert isinstance(second, h11.Request)
    return first, body, second.target


def by_us(sent: bytes) -> tuple[Request, bytes, bytes]:
    parser = RequestParser(max_fields=200, max_target=20_000)
    head, _, rest = sent.partition(b"\r\n\r\n")
    first = parser.parse(head)
    if first.length is None:
        chunks = ChunkedReader()
        body = chunks.feed(rest)
        assert chunks.done
        rest = chunks.rest
    else:
        body, rest = rest[: first.length], rest[first.length :]
    return first, body, parser.parse(rest.removesuffix(b"\r\n\r\n")).target


def check_sent(request: Request, pairs: list[Pair], ended: bool, host: bytes | None, forwarded: bool) -> None:
    """The head that a backend gets says what the section says, to everybody."""
    meant = model(pairs, ended)
    stranger = not request.arrival.trusted
    sent = head_of(request, rules(host, forwarded), upgrade=((meant["upgrade"] or b"").partition(b"/")[0],))
    assert sent.count(b"\r\n\r\n") == 1
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", sent)
    assert sent.count(b"\r") == sent.count(b"\n") == sent.count(b"\r\n")
    length = meant["length"]
    if length is not None and length > 1000:
        return
    body = body_of(length)
    ours, our_body, our_next = by_us(sent + body + NEXT)
    theirs, their_body, their_next = by_h11(sent + body + NEXT)
    assert our_next == their_next == b"/next"
    assert our_body == their_body == (b"abc" if length is None else body)
    assert ours.method == theirs.method == meant["method"]
    assert ours.target == ours.raw_target == theirs.target == request.target
    if b"%" not in meant["path"]:
        assert request.target == meant["path"]
    assert unquote_to_bytes(request.target) == unquote_to_bytes(meant["path"])
    assert request.raw_target == meant["path"]
    read = [(name, value) for name, value in theirs.headers]
    assert read == [(name, value) for name, value in ours.headers.items()]
    assert [value for name, value in read if name == b"host"] == [host or meant["host"]]
    assert request.host == re.sub(rb"\.?(:\d*)?$", b"", meant["host"].lower())
    once = dict(read)
    if stranger:
        passed = [f for f in read if f[0] not in OURS]
        assert passed == [f for f in meant["fields"] if f[0] not in OURS]
        vias = [value for name, value in meant["fields"] if name == b"via"]
        assert [value for name, value in read if name == b"via"] == [*vias, b"2.0 revproxy"]
        assert [value for name, value in read if name == b"x-forwarded-for"] == [b"192.0.2.7"]
    assert ours.length == length
    for name in (b"content-length", b"transfer-encoding", b"upgrade", b"connection", b"te", b"expect", b"x-request-id"):
        assert sum(n == name for n, _ in read) <= 1, name
    assert (b"transfer-encoding" in once) == (length is None)
    assert (b"expect" in once) == meant["expects"]
    options = {option.strip() for option in once.get(b"connection", b"").split(b",")} - {b""}
    assert options == ({b"Upgrade"} if meant["upgrade"] else set()) | ({b"TE"} if meant["trailers"] else set())
    assert once.get(b"upgrade") == meant["upgrade"]
    assert once.get(b"te") == (b"trailers" if meant["trailers"] else None)


READER = RequestParser(max_fields=100)


def outcome(one: H2RequestReader, pairs: list[Pair], ended: bool, by: Arrival) -> Any:
    """What a reader says, to compare it with another's."""
    try:
        request = one.read(pairs, ended, by)
    except ProtocolError as error:
        return type(error), error.fault
    names = [name for name in Request.__slots__ if name not in ("block", "headers")]
    return [getattr(request, name) for name in names] + [request.headers.fields]


def judge(pairs: list[Pair], ended: bool, by: Arrival, host: bytes | None, forwarded: bool) -> bool:
    one = H2RequestReader(READER, lambda size: bytes(range(size)))
    try:
        request = one.read(pairs, ended, by)
    except ProtocolError:
        return False
    check_valid(pairs, ended)
    check_sent(request, pairs, ended, host, forwarded)
    return True


def test_what_is_sent_on_is_what_was_said() -> None:
    verdicts = [0, 0]

    @bounded
    @given(
        sections(),
        st.booleans(),
        st.sampled_from([STRANGER, STRANGER, TRUSTED]),
        st.sampled_from([None, None, b"backend:9000"]),
        st.booleans(),
    )
    def run(pairs: list[Pair], ended: bool, by: Arrival, host: bytes | None, forwarded: bool) -> None:
        verdicts[judge(pairs, ended, by, host, forwarded)] += 1

    run()
    assert min(verdicts) > at_least(75), verdicts


@settings(bounded, max_examples=examples(250))
@given(noise, st.booleans())
def test_noise_is_refused_in_one_way(pairs: list[Pair], ended: bool) -> None:
    judge(pairs, ended, STRANGER, None, False)
    # as much of it as can be behind a valid start
    start = [(b":method", b"GET", False), (b":scheme", b"https", False), (b":path", b"/", False)]
    judge([*start, (b":authority", b"a", False), *pairs], ended, STRANGER, None, False)


@bounded
@given(st.lists(st.tuples(plain_names, plain_values, st.booleans()), max_size=12), st.booleans())
def test_what_is_valid_is_accepted(fields: list[Pair], ended: bool) -> None:
    start = [(b":method", b"POST", False), (b":authority", b"a.example", False), (b":scheme", b"https", False)]
    assert judge([*start, (b":path", b"/x?y", False), *fields], ended, STRANGER, None, False)


several = st.lists(st.tuples(sections(), st.booleans(), st.sampled_from([STRANGER, TRUSTED])), min_size=1, max_size=3)


@settings(bounded, max_examples=examples(100))
@given(several, st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=8))
def test_what_was_read_before_changes_nothing(
    asked: list[tuple[list[Pair], bool, Arrival]], order: list[tuple[int, bool]]
) -> None:
    """Any order of sections, as the same list or an equal one, on one connection: as if each was the first."""
    one = H2RequestReader(READER, lambda size: bytes(range(size)))
    by_one = rules()
    for at, copied in order:
        pairs, ended, by = asked[at % len(asked)]
        section = list(pairs) if copied else pairs
        fresh = H2RequestReader(RequestParser(), lambda size: bytes(range(size)))
        said = outcome(one, section, ended, by)
        assert said == outcome(fresh, pairs, ended, by)
        if isinstance(said, list):
            # what Rules remembers with the block is no other request's
            head = head_of(one.read(section, ended, by), by_one)
            assert head == head_of(fresh.read(pairs, ended, by), rules())


@settings(bounded, max_examples=examples(150))
@given(noise, st.integers(0, 3))
def test_trailers_are_refused_or_plain(pairs: list[Pair], more: int) -> None:
    one = H2RequestReader(READER)
    try:
        trailers = one.read_trailers(pairs + [(b"x", b"1", False)] * more)
    except ProtocolError:
        return
    for name, value, line, kind in trailers:
        assert line == name + b": " + value
        assert not kind
        assert re.fullmatch(rb"[!#$%&'*+.^`|~0-9a-z-]+", name)
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value)
        assert name not in (b"content-length", b"transfer-encoding", b"host", b"te", b"cookie", b"connection")
