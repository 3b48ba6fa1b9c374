"""Whatever we accept, h11 accepts and reads alike.

Messages come from a grammar with doubtful words in it, then bytes and lines are inserted, deleted,
replaced and repeated, so that nearly valid ones occur. Where we differ on purpose:

* we drop field names with underscores, h11 keeps them (the parser is told to pass them here);
* h11 lowers the case of Transfer-Encoding's value, we keep values as they came;
* a response to HEAD, or with a status that has no body, may name a coding that h11 doesn't know:
  its body is empty for us all the same;
* h11 takes 101 for an error where it did not ask for an upgrade itself.
"""

from __future__ import annotations

from collections.abc import Callable

import h11
from hypothesis import HealthCheck, given, settings, strategies as st

from revproxy.fault import ProtocolError
from revproxy.http.forwarding import forwarded_lines, request_head, request_section, response_fields
from revproxy.http.h1 import CHUNKED, UNTIL_CLOSE, ChunkedReader, RequestParser, parse_response, response_framing
from revproxy.http.message import CODING, Arrival, Request
from tests.examples import at_least, examples

bounded = settings(
    max_examples=examples(200),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

ODD = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\x85",
    b"\xa0",
]
ODD += [
    b"+",
    b"-",
    b"_",
    b"0",
    b"1",
    b"x",
    b"a",
    b"/",
    b".",
    b"%",
    b"#",
    b"?",
    b"\\",
    b'"',
    b"@",
    b"[",
    b"\r\n ",
    b"\n\n",
]


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message, with up to three changes."""
    message = draw(messages)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(message)))
        kind = draw(st.sampled_from(["insert", "replace", "delete", "repeat"]))
        if kind == "insert":
            message = message[:at] + draw(st.sampled_from(ODD)) + message[at:]
        elif kind == "replace":
            message = message[:at] + draw(st.sampled_from(ODD)) + message[at + 1 :]
        elif kind == "delete":
            message = message[:at] + message[at + draw(st.integers(1, 3)) :]
        else:
            lines = message.split(b"\r\n")
            line = draw(st.integers(0, len(lines) - 1))
            message = b"\r\n".join([*lines[: line + 1], *lines[line:]])
    return message


FIELDS = [
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"content-length:007",
    b"Content-Length: 5, 5",
    b"Content-Length: +5",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding:\tChunked ",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:",
    b"Connection: close",
    b"Connection: keep-alive, X-Odd",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"Trailer: X",
    b"Cookie: a=b; c=d",
    b"X-Odd: \t a\tb \xe9 ",
    b"X-Empty:",
    b"X_Under: score",
    b"X-Forwarded-For: 1.2.3.4, [::1]:5",
    b"Forwarded: for=x",
    b"Set-Cookie: a=b",
    b"Location: http://b/",
]
some_fields = st.lists(st.sampled_from(FIELDS), max_size=4)


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"get", b"X-1!"]))
    host = draw(st.sampled_from([b"a", b"A.example:80", b"[::1]:8", b"a.", b"a, b"]))
    path = draw(
        st.sampled_from(
            [b"/", b"/a%7e?b=%20", b"//a", b"/[]{}|^", b"*", b"http://" + host + b"/x?y", b"http://" + host, b"/%2e"]
        )
    )
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    lines = draw(some_fields)
    lines.insert(draw(st.integers(0, len(lines))), b"Host: " + host)
    return b"\r\n".join([method + b" " + path + b" " + version, *lines])


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    status = draw(st.sampled_from([b"200", b"204", b"304", b"100", b"103", b"404", b"999", b"205"]))
    reason = draw(st.sampled_from([b" OK", b" ", b"", b" caf\xe9 x"]))
    return b"\r\n".join([version + b" " + status + reason, *draw(some_fields)])


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    parts = []
    for data in draw(st.lists(st.sampled_from([b"a", b"hello", b"\r\n", b"0\r\n\r\n", b"x" * 30]), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"000%x"])) % len(data)
        extension = draw(st.sampled_from([b"", b"", b";a", b';a="b;c"', b";\xe9 \t"]))
        parts.append(size + extension + b"\r\n" + data + b"\r\n")
    trailers = draw(st.lists(st.sampled_from([b"X: a", b"Y-Z:", b"Etag: \t\xe9 ", b"X_Y: a"]), max_size=2))
    after = draw(st.sampled_from([b"", b"GET / HTTP/1.1\r\n"]))
    return b"".join(
        [*parts, draw(st.sampled_from([b"0", b"000;x"])), b"\r\n", *[t + b"\r\n" for t in trailers], b"\r\n", after]
    )


def plain(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]


def body_of(length: int) -> bytes:
    return b"3\r\nabc\r\n0\r\n\r\n" if length == CHUNKED else b"x" * length


def events(connection: h11.Connection) -> tuple[bytes, h11.EndOfMessage | None]:
    """The body that h11 has read, and its end."""
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body, event
        else:
            assert event is h11.NEED_DATA, event
            return body, None


def assert_framed_alike(connection: h11.Connection, framing: int) -> None:
    if framing == UNTIL_CLOSE:
        connection.receive_data(b"abc")
        assert events(connection) == (b"abc", None)
        connection.receive_data(b"")
        assert events(connection)[1] is not None
        return
    if framing:
        body = body_of(min(framing, 1000))
        connection.receive_data(body[:-1])
        assert events(connection)[1] is None
        connection.receive_data(body[-1:])
    if framing <= 1000:
        assert events(connection)[1] is not None


def read_by_h11(head: bytes, ours: Request) -> h11.Request:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + b"\r\n\r\n")
    theirs = connection.next_event()
    assert isinstance(theirs, h11.Request)
    assert_framed_alike(connection, CHUNKED if ours.length is None else ours.length)
    return theirs


def counted(check: Callable[[bytes], bool], messages: st.SearchStrategy[bytes]) -> None:
    """Run the check on mutated messages; enough of them have to be accepted and refused."""
    verdicts = [0, 0]

    @bounded
    @given(mutated(messages))
    def run(message: bytes) -> None:
        verdicts[check(message)] += 1

    run()
    assert min(verdicts) > at_least(20), verdicts


def test_requests() -> None:
    parser = RequestParser(underscores="pass")

    def check(head: bytes) -> bool:
        try:
            ours = parser.parse(head)
        except ProtocolError:
            return False
        theirs = read_by_h11(head, ours)
        assert (ours.method, ours.raw_target) == (theirs.method, theirs.target)
        assert ours.version == (11 if theirs.http_version == b"1.1" else 10)
        assert plain(list(ours.headers.items())) == plain(list(theirs.headers))
        return True

    counted(check, request_heads())


def test_what_is_forwarded_is_read_alike_by_backends() -> None:
    parser = RequestParser()
    arrival = Arrival(forwarded=forwarded_lines("192.0.2.7", 80, b"http", "revproxy"))
    trusting = Arrival(forwarded=arrival.forwarded, trusted=True)

    def check(head: bytes) -> bool:
        try:
            ours = parser.parse(head)
        except ProtocolError:
            return False
        for ours.arrival in (arrival, trusting):
            for host in (None, b"backend:9000"):
                sent = request_head(ours, request_section(ours, host, forwarded=True), b"id")
                assert sent.endswith(b"\r\n\r\n")
                theirs = read_by_h11(sent[:-4], ours)
                assert (theirs.method, theirs.target) == (ours.method, ours.target)
                names = [name for name, _ in theirs.headers]
                for name in (b"host", b"x-forwarded-for", b"x-request-id", b"forwarded"):
                    assert names.count(name) == 1, name
                assert host is None or dict(theirs.headers)[b"host"] == host
                options = [option.lower() for option in ours.headers.get_list(b"connection")]
                assert b"x-odd" not in names or b"x-odd" not in options
                assert not {b"keep-alive", b"x_under"} & set(names)
        return True

    counted(check, request_heads())


def test_responses() -> None:
    def check(head: bytes) -> bool:
        verdict = True
        for method in (b"GET", b"HEAD"):
            try:
                ours, minor = parse_response(head, 100)
                framing = response_framing(ours, method, minor) if ours.status >= 200 else None
            except ProtocolError:
                verdict = False
                continue
            if ours.status == 101 or (ours.kinds & CODING and not framing):
                continue
            connection = h11.Connection(h11.CLIENT)
            connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
            connection.send(h11.EndOfMessage())
            connection.receive_data(head + b"\r\n\r\n")
            theirs = connection.next_event()
            assert isinstance(theirs, h11.Response if ours.status >= 200 else h11.InformationalResponse)
            assert (ours.status, ours.reason, b"1.%d" % minor) == (
                theirs.status_code,
                theirs.reason,
                theirs.http_version,
            )
            assert plain(list(ours.headers.items())) == plain(list(theirs.headers))
            if framing is not None:
                assert_framed_alike(connection, framing)
            for line in [f[2] for f in response_fields(ours, frozenset())]:
                assert not line.lower().startswith((b"connection:", b"transfer-encoding:", b"upgrade:"))
        return verdict

    counted(check, response_heads())


def test_chunked_bodies() -> None:
    def check(data: bytes) -> bool:
        reader = ChunkedReader()
        try:
            body = reader.feed(data)
        except ProtocolError:
            return False
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
        assert isinstance(connection.next_event(), h11.Request)
        theirs, end = events(connection)
        assert body == theirs
        assert reader.done is (end is not None)
        if end is not None:
            assert reader.rest == connection.trailing_data[0]
            assert [f[:2] for f in reader.trailers] == [f for f in end.headers if b"_" not in f[0]]
        return True

    counted(check, chunked_bodies())


def test_cutting_a_chunked_body_changes_nothing() -> None:
    def outcome(pieces: list[bytes]) -> object:
        reader = ChunkedReader()
        body = rest = b""
        for piece in pieces:
            if reader.done:
                rest += piece
                continue
            try:
                body += reader.feed(piece)
            except ProtocolError as error:
                return error.fault
            rest = reader.rest
        return body, reader.done, rest, reader.trailers

    def check(data: bytes) -> bool:
        whole = outcome([data])
        assert outcome([data[at : at + 1] for at in range(len(data))]) == whole
        for size in (2, 3, 7):
            assert outcome([data[at : at + size] for at in range(0, len(data), size)]) == whole
        return isinstance(whole, tuple)

    counted(check, chunked_bodies())
