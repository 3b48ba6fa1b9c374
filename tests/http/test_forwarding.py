"""What a backend gets of a request, and a client of a response."""

from __future__ import annotations

import pytest

from revproxy.http.forwarding import (
    client_address,
    forwarded_lines,
    given_request_id,
    hidden_names,
    plain_address,
    request_head,
    request_section,
    response_fields,
)
from revproxy.http.h1 import RequestParser, parse_response
from revproxy.http.mapping import Names
from revproxy.http.message import Arrival, Request, Response, field

STRANGER = Arrival(
    peer="192.0.2.7",
    peer_port=5555,
    port=8080,
    scheme=b"http",
    forwarded=forwarded_lines("192.0.2.7", 8080, b"http", "revproxy"),
    local="127.0.0.1:8080",
)
TRUSTED = Arrival(
    peer="10.0.0.1",
    port=8443,
    scheme=b"https",
    trusted=True,
    forwarded=forwarded_lines("10.0.0.1", 8443, b"https", "revproxy"),
    local="127.0.0.1:8443",
)
OURS = [
    b"X-Forwarded-Host: a",
    b"X-Forwarded-For: 192.0.2.7",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Port: 8080",
    b"Via: 1.1 revproxy",
    b"X-Request-ID: id-1",
]


def request(
    *fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"a", arrival: Arrival = STRANGER
) -> Request:
    lines = [line, *([] if host is None else [b"Host: " + host]), *fields]
    parsed = RequestParser(underscores="pass").parse(b"\r\n".join(lines))
    parsed.arrival = arrival
    parsed.client = arrival.peer
    return parsed


def sent(of: Request, **options: object) -> list[bytes]:
    """The lines of the head that a backend gets, after the request line."""
    head = request_head(of, request_section(of, **options), b"id-1")  # type: ignore[arg-type]  # options of several types
    start, fields = head.split(b"\r\n", 1)
    assert head.endswith(b"\r\n\r\n")
    assert start == of.method + b" " + of.target + b" HTTP/1.1"
    again = RequestParser(underscores="pass").parse(head[:-4])
    assert (again.length, again.upgrade) == (of.length, of.upgrade)
    return fields[:-4].split(b"\r\n")


# -- where a request came from


def test_the_constant_block() -> None:
    assert forwarded_lines("1.2.3.4", 80, b"http", "p") == (
        b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nVia: 1.1 p\r\n"
    )
    assert forwarded_lines("1.2.3.4", 0, b"http", "p", "2.0").endswith(b"\r\nVia: 2.0 p\r\n")
    assert forwarded_lines("", 0, b"https", None) == b"X-Forwarded-For: unknown\r\nX-Forwarded-Proto: https\r\n"
    assert forwarded_lines("::ffff:1.2.3.4", 0, b"http", None).startswith(b"X-Forwarded-For: 1.2.3.4\r\n")
    assert forwarded_lines("fe80::1%eth0", 0, b"http", None).startswith(b"X-Forwarded-For: fe80::1\r\n")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4:80\t", "1.2.3.4"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[2001:DB8:0::1]:443", "2001:db8::1"),
        ('"[::1]:80"', "::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("1.2.3", None),
        ("01.2.3.4", None),
        ("1.2.3.4:", None),
        ("1.2.3.4:x", None),
        ("[1.2.3.4", None),
        ("[]", None),
        ("example.com", None),
        ("1.2.3.4 5.6.7.8", None),
        ("\u0661.2.3.4", None),
        ("16909060", None),
    ],
)
def test_plain_addresses(text: str, address: str | None) -> None:
    assert plain_address(text) == address


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], "10.0.0.1"),
        ([b"X-Forwarded-For: 192.0.2.9"], "192.0.2.9"),
        ([b"X-Forwarded-For: 6.6.6.6, 192.0.2.9"], "192.0.2.9"),
        ([b"X-Forwarded-For: 6.6.6.6, 192.0.2.9, 10.0.0.2"], "192.0.2.9"),
        ([b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-For: 192.0.2.9:1234, 10.0.0.2"], "192.0.2.9"),
        ([b"X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([b"X-Forwarded-For: [2001:db8::9]:80"], "2001:db8::9"),
        ([b"X-Forwarded-For: 192.0.2.9, unknown, 10.0.0.2"], "unknown"),
        ([b"X-Forwarded-For: 192.0.2.9, <script>"], "unknown"),
        ([b"X-Forwarded-For: 192.0.2.9, \xff"], "unknown"),
        ([b"X-Forwarded-For: unknown"], "unknown"),
        ([b"X-Forwarded-For: _hidden"], "unknown"),
        ([b"X-Forwarded-For: 192.0.2.007"], "unknown"),
        ([b"X-Real-IP: 192.0.2.9"], "unknown"),
        ([b"Forwarded: for=192.0.2.9"], "unknown"),
        ([b"Forwarded: for=192.0.2.8", b"X-Forwarded-For: 192.0.2.9"], "192.0.2.9"),
        ([b"X-Forwarded-Proto: https", b"X-Request-ID: a"], "10.0.0.1"),
        ([b"X: 1"], "10.0.0.1"),
        ([b"X-Forwarded-For: 192.0.2.9,,"], "192.0.2.9"),
        ([b"X-Forwarded-For:"], "unknown"),
    ],
)
def test_the_clients_address(lines: list[bytes], client: str) -> None:
    assert client_address(request(*lines, arrival=TRUSTED), lambda a: a.startswith("10.")) == client
    assert client_address(request(*lines), lambda a: True) == "192.0.2.7"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"7f3a-44/x=_~.:@+", True),
        (b"a" * 128, True),
        (b"a" * 129, False),
        (b"", False),
        (b"a b", False),
        (b'a"b', False),
        (b"a\\b", False),
        (b"<b>", False),
        (b"\xe9", False),
    ],
)
def test_request_ids(value: bytes, kept: bool) -> None:
    line = b"X-Request-ID: " + value
    assert given_request_id(request(line, arrival=TRUSTED)) == (value if kept else None)
    assert given_request_id(request(line)) is None
    assert given_request_id(request(line, line, arrival=TRUSTED)) is None


# -- requests of strangers


def test_a_plain_request_keeps_its_fields_in_order_and_case() -> None:
    assert sent(request(b"ACCEPT:  x", b"Cookie: a=b", b"accept: y", line=b"GET /p?q HTTP/1.1")) == [
        b"Host: a",
        b"ACCEPT: x",
        b"Cookie: a=b",
        b"accept: y",
        *OURS,
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic x",
        b"Proxy-Authenticate: Basic",
        b"HTTP2-Settings: x",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Connection:",
        b"Upgrade: h2c",
        b"TE: gzip",
        b"X-Forwarded-For: 6.6.6.6",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil",
        b"X-Forwarded-Port: 1",
        b"X-Forwarded-Prefix: /evil",
        b"X-Real-IP: 6.6.6.6",
        b"True-Client-IP: 6.6.6.6",
        b"X-Client-IP: 6.6.6.6",
        b"X-Original-URL: /admin",
        b"X-Rewrite-URL: /admin",
        b"Forwarded: for=6.6.6.6",
        b"X-Request-ID: evil",
        b"x-forwarded-for: 6.6.6.6",
        b"X_Forwarded_For: 6.6.6.6",
        b"Content_Length: 5",
        b"Transfer_Encoding: chunked",
    ],
)
@pytest.mark.parametrize("slow", [[], [b"Connection: x-other"]])
def test_hop_by_hop_fields_and_what_strangers_say_of_themselves_end_here(line: bytes, slow: list[bytes]) -> None:
    assert sent(request(line, b"X: 1", *slow)) == [b"Host: a", b"X: 1", *OURS]


def test_connection_names_further_fields() -> None:
    lines = [
        b"Connection: X-One, ,x-TWO",
        b"X-One: 1",
        b"x-two: 2",
        b"X-Three: 3",
        b"Connection: close, x-four",
        b"X-Four: 4",
    ]
    assert sent(request(*lines)) == [b"Host: a", b"X-Three: 3", *OURS]


def test_connection_names_nothing_away_that_matters() -> None:
    names = b"host, content-length, x-forwarded-for, x-forwarded-proto, x-forwarded-host, forwarded, x-request-id, via"
    found = sent(request(b"Connection: " + names, b"Via: 1.0 other", b"Content-Length: 3", line=b"POST / HTTP/1.1"))
    assert sorted(found) == sorted([b"Host: a", b"Via: 1.0 other", b"Content-Length: 3", *OURS])


def test_connection_names_away_no_field_of_a_hook() -> None:
    parsed = request(b"Connection: x-user", b"X-User: admin")
    parsed.headers.set(b"X-User", b"guest")
    assert b"X-User: guest" in sent(parsed)


def test_a_hooks_fields_reach_the_backend_but_do_not_double_ours() -> None:
    parsed = request(b"X-Real-IP: 6.6.6.6")
    parsed.headers.set(b"X-Real-IP", b"192.0.2.7")
    parsed.headers.add(b"X-Forwarded-For", b"192.0.2.8")
    parsed.headers.add(b"Connection", b"close")
    assert sent(parsed) == [b"Host: a", b"X-Real-IP: 192.0.2.7", *OURS]


def test_framing_is_written_anew() -> None:
    def framing(*lines: bytes) -> list[bytes]:
        found = sent(request(*lines, line=b"POST / HTTP/1.1"))
        return [line for line in found if line.lower().startswith((b"content-length", b"transfer-encoding"))]

    assert framing(b"content-length: 007") == [b"Content-Length: 7"]
    assert framing(b"Content-Length: 0") == [b"Content-Length: 0"]
    assert framing(b"transfer-encoding: CHUNKED") == [b"Transfer-Encoding: chunked"]
    assert framing() == []
    changed = request(b"Content-Length: 7", line=b"POST / HTTP/1.1")
    changed.length = None
    assert b"Transfer-Encoding: chunked" in sent(changed)


@pytest.mark.parametrize("value", [b"trailers", b"gzip;q=0.5, Trailers"])
def test_te_trailers_is_kept(value: bytes) -> None:
    found = sent(request(b"TE: " + value, b"Connection: TE"))
    assert [line for line in found if line[:2] in (b"TE", b"Co")] == [b"TE: trailers", b"Connection: TE"]


def test_upgrade() -> None:
    lines = (b"Connection: Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: x")
    found = sent(request(*lines))
    assert found[:3] == [b"Host: a", b"Sec-WebSocket-Key: x", b"X-Forwarded-Host: a"]
    assert found[3:5] == [b"Upgrade: websocket", b"Connection: Upgrade"]
    refused = request(*lines)
    refused.upgrade = None
    assert sent(refused) == [b"Host: a", b"Sec-WebSocket-Key: x", *OURS]
    both = sent(request(b"TE: trailers", b"Connection: Upgrade, TE", b"Upgrade: websocket"))
    assert b"Connection: Upgrade, TE" in both


def test_expect_goes_on_where_it_counts() -> None:
    line = b"POST / HTTP/1.1"
    assert b"Expect: 100-continue" in sent(request(b"expect: 100-Continue", b"Content-Length: 1", line=line))
    assert b"Expect: 100-continue" not in sent(request(b"Expect: 100-continue", line=line))


def test_host() -> None:
    assert sent(request(b"X: 1"), host=b"b:9000")[:3] == [b"Host: b:9000", b"X: 1", b"X-Forwarded-Host: a"]
    assert sent(request(b"X: 1", host=b"A.example:81"))[:2] == [b"Host: A.example:81", b"X: 1"]
    absolute = request(line=b"GET http://a/p HTTP/1.0", host=None)
    assert sent(absolute) == [b"Host: a", *OURS]
    nameless = [line for line in OURS if not line.startswith(b"X-Forwarded-Host")]
    assert sent(request(line=b"GET / HTTP/1.0", host=None)) == [b"Host: 127.0.0.1:8080", *nameless]
    assert sent(request(line=b"GET / HTTP/1.0", host=b"")) == [b"Host: 127.0.0.1:8080", *nameless]
    unix = Arrival(forwarded=forwarded_lines("", 0, b"http", None))
    found = sent(request(line=b"GET / HTTP/1.0", host=None, arrival=unix))
    assert found[0] == b"Host: localhost"


def test_an_empty_block_leaves_a_whole_head() -> None:
    of = request(arrival=Arrival())
    assert request_head(of, request_section(of), b"i") == (
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: a\r\nX-Request-ID: i\r\n\r\n"
    )


def test_forwarded_of_a_stranger() -> None:
    def ours(**options: object) -> list[bytes]:
        found = sent(request(b"Forwarded: for=6.6.6.6", **options), forwarded=True)  # type: ignore[arg-type]  # several types
        return [line for line in found if line.startswith(b"Forwarded")]

    assert ours() == [b"Forwarded: for=192.0.2.7;host=a;proto=http"]
    assert ours(host=b"a:81") == [b'Forwarded: for=192.0.2.7;host="a:81";proto=http']
    six = Arrival(peer="2001:DB8::1", scheme=b"https")
    assert ours(arrival=six) == [b'Forwarded: for="[2001:db8::1]";host=a;proto=https']
    assert ours(arrival=Arrival()) == [b"Forwarded: for=unknown;host=a;proto=http"]


# -- requests of trusted proxies


def test_a_trusted_proxys_account_is_continued() -> None:
    lines = (
        b"x-forwarded-for: 192.0.2.9",
        b"X-Forwarded-For: 10.0.0.2",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: public.example",
        b"X-Forwarded-Port: 80",
        b"X-Real-IP: 192.0.2.9",
        b"X-Request-ID: theirs",
        b"Via: 1.1 theirs",
    )
    assert sent(request(*lines, arrival=TRUSTED)) == [
        b"Host: a",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: public.example",
        b"X-Forwarded-Port: 80",
        b"X-Real-IP: 192.0.2.9",
        b"Via: 1.1 theirs",
        b"X-Forwarded-For: 192.0.2.9, 10.0.0.2, 10.0.0.1",
        b"Via: 1.1 revproxy",
        b"X-Request-ID: id-1",
    ]


def test_what_a_trusted_proxy_does_not_say_is_said_by_us() -> None:
    assert sent(request(b"X-Forwarded-For:", arrival=TRUSTED)) == [
        b"Host: a",
        b"X-Forwarded-Host: a",
        b"X-Forwarded-For: 10.0.0.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Port: 8443",
        b"Via: 1.1 revproxy",
        b"X-Request-ID: id-1",
    ]


def test_connection_does_not_cut_a_trusted_account_short() -> None:
    found = sent(request(b"X-Forwarded-For: 192.0.2.9", b"Connection: x-forwarded-for", arrival=TRUSTED))
    assert b"X-Forwarded-For: 192.0.2.9, 10.0.0.1" in found


def test_forwarded_of_a_trusted_proxy() -> None:
    lines = (b"Forwarded: for=192.0.2.9;proto=http", b"forwarded: for=10.0.0.2")
    found = sent(request(*lines, arrival=TRUSTED), forwarded=True)
    assert [line for line in found if line.lower().startswith(b"forwarded")] == [
        b"Forwarded: for=192.0.2.9;proto=http, for=10.0.0.2, for=10.0.0.1;host=a;proto=https"
    ]
    found = sent(request(*lines, arrival=TRUSTED))
    assert [line for line in found if line.lower().startswith(b"forwarded")] == list(lines)


# -- responses


def response(*lines: bytes, status: int = 200) -> Response:
    return parse_response(b"\r\n".join([b"HTTP/1.1 %d X" % status, *lines]), 100)[0]


HIDE = hidden_names(["Server", "X-Powered-By"])


def passed(of: Response, *args: object) -> list[bytes]:
    lines = [f[2] for f in response_fields(of, HIDE, *args)]  # type: ignore[arg-type]  # a request and names
    assert [f[2] for f in response_fields(of, HIDE, *args)] == lines  # type: ignore[arg-type]  # a request and names
    return lines


def test_a_plain_response_loses_only_what_is_hidden() -> None:
    lines = (b"Date: now", b"SERVER: x", b"Content-Length: 5", b"x-powered-by: y", b"Vary: a", b"vary: b", b"X_Y: z")
    assert passed(response(*lines)) == [b"Date: now", b"Content-Length: 5", b"Vary: a", b"vary: b", b"X_Y: z"]


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: close",
        b"Keep-Alive: timeout=5",
        b"Transfer-Encoding: chunked",
        b"Proxy-Authenticate: Basic",
        b"Proxy-Connection: close",
        b"Upgrade: h2c",
        b"TE: trailers",
        b"Connection: X-Hop, x-request-id",
    ],
)
def test_hop_by_hop_fields_of_responses(line: bytes) -> None:
    found = passed(response(line, b"X: 1", b"X-Request-ID: r"))
    assert found == [b"X: 1", b"X-Request-ID: r"]


def test_connection_names_fields_of_responses() -> None:
    lines = (b"Connection: X-Hop, content-length", b"x-hop: 1", b"Content-Length: 5", b"X: 1")
    assert passed(response(*lines)) == [b"Content-Length: 5", b"X: 1"]
    hooked = response(b"Connection: x-frame-options")
    hooked.headers.add(b"X-Frame-Options", b"DENY")
    assert passed(hooked) == [b"X-Frame-Options: DENY"]


@pytest.mark.parametrize("status", [100, 103, 204])
def test_responses_that_have_no_body_declare_none(status: int) -> None:
    assert passed(response(b"Content-Length: 5", b"Link: x", status=status)) == [b"Link: x"]


def test_304_keeps_its_length() -> None:
    assert passed(response(b"Content-Length: 5", status=304)) == [b"Content-Length: 5"]


def test_101_keeps_its_upgrade() -> None:
    lines = (b"Connection: upgrade", b"upgrade: websocket", b"Sec-WebSocket-Accept: x")
    found = passed(response(*lines, status=101))
    assert found == [b"Sec-WebSocket-Accept: x", b"upgrade: websocket"]


def test_fields_are_mapped() -> None:
    names = Names(internal=frozenset({b"backend:9000"}), outer=b"/api")
    lines = (b"LOCATION: http://backend:9000/x", b"Set-Cookie: a=b; Path=/", b"set-cookie: c=d", b"Refresh: 1; url=/y")
    assert passed(response(*lines), request(), names) == [
        b"LOCATION: http://a/api/x",
        b"Set-Cookie: a=b; Path=/api/",
        b"set-cookie: c=d",
        b"Refresh: 1; url=/api/y",
    ]
    assert passed(response(*lines)) == list(lines)


def test_a_fields_value_follows_its_line_when_mapped() -> None:
    names = Names(outer=b"/api")
    found = response_fields(response(b"Content-Location: /x"), HIDE, request(), names)
    assert [f[:3] for f in found] == [(b"content-location", b"/api/x", b"Content-Location: /api/x")]


def test_a_hooks_own_location_is_mapped_like_any() -> None:
    made = Response(302)
    made.headers.fields.append(field(b"Location", b"/x"))
    made.kinds = made.headers.fields[0][3]
    assert passed(made, request(), Names(outer=b"/api")) == [b"Location: /api/x"]
