"""Heads and framing: what is refused and how, what is read, and that cutting changes nothing."""

from __future__ import annotations

import pytest

from revproxy.fault import (
    BACKEND_BAD_BODY,
    BACKEND_BAD_RESPONSE,
    CLIENT_BAD_BODY,
    CLIENT_BAD_PATH,
    CLIENT_BAD_REQUEST,
    CLIENT_BAD_VERSION,
    CLIENT_CONNECT_REFUSED,
    CLIENT_EXPECTATION,
    CLIENT_HEAD_TOO_LARGE,
    CLIENT_TARGET_TOO_LONG,
    Fault,
    ProtocolError,
)
from revproxy.http import h1
from revproxy.http.fields import CACHED, known_fields
from revproxy.http.h1 import (
    CHUNKED,
    UNTIL_CLOSE,
    ChunkedReader,
    RequestParser,
    chunk,
    find_flaw,
    last_chunk,
    parse_response,
    response_framing,
    split_host,
)
from revproxy.http.message import FORWARDED, UNDERSCORE, Request, Response, field


def parse(*lines: bytes, **options: object) -> Request:
    return RequestParser(**options).parse(b"\r\n".join(lines))  # type: ignore[arg-type]  # options of several types


def get(*fields: bytes, **options: object) -> Request:
    return parse(b"GET / HTTP/1.1", b"Host: a", *fields, **options)


def post(*fields: bytes) -> Request:
    return parse(b"POST / HTTP/1.1", b"Host: a", *fields)


def fault_of(head: bytes, **options: object) -> Fault:
    """The same fault on a fresh parser and on one that has seen the same head before."""
    parser = RequestParser(**options)  # type: ignore[arg-type]  # options of several types
    faults = []
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            parser.parse(head)
        faults.append(caught.value.fault)
    assert faults[0] is faults[1]
    return faults[0]


def test_a_plain_request() -> None:
    request = parse(b"GET /a%7eb?x=%41 HTTP/1.1", b"Host: Example.COM:8080", b"X-One:  two\t", b"Accept:")
    assert (request.method, request.path, request.query) == (b"GET", b"/a~b", b"x=%41")
    assert request.raw_target == b"/a%7eb?x=%41"
    assert request.target == b"/a~b?x=%41"
    assert (request.host, request.authority, request.version) == (b"example.com", b"Example.COM:8080", 11)
    assert list(request.headers.items()) == [(b"host", b"Example.COM:8080"), (b"x-one", b"two"), (b"accept", b"")]
    assert [f[2] for f in request.headers.fields] == [b"Host: Example.COM:8080", b"X-One: two", b"Accept: "]
    assert (request.length, request.keep_alive, request.expects_continue, request.upgrade) == (0, True, False, None)


FRAMING = {
    "length and coding": [b"Content-Length: 3", b"Transfer-Encoding: chunked"],
    "coding and length": [b"Transfer-Encoding: chunked", b"Content-Length: 0"],
    "two lengths alike": [b"Content-Length: 5", b"Content-Length: 5"],
    "two zero lengths": [b"Content-Length: 0", b"content-length: 0"],
    "two lengths": [b"Content-Length: 5", b"Content-Length: 6"],
    "list of lengths": [b"Content-Length: 5,5"],
    "list with a space": [b"Content-Length: 5, 5"],
    "plus": [b"Content-Length: +5"],
    "minus": [b"Content-Length: -5"],
    "minus zero": [b"Content-Length: -0"],
    "hexadecimal": [b"Content-Length: 0x5"],
    "underscore": [b"Content-Length: 1_0"],
    "decimal": [b"Content-Length: 5.0"],
    "exponent": [b"Content-Length: 1e1"],
    "empty length": [b"Content-Length:"],
    "blank length": [b"Content-Length: \t "],
    "inner space": [b"Content-Length: 1 0"],
    "overflow of 64 bits": [b"Content-Length: 18446744073709551617"],
    "19 digits": [b"Content-Length: 9999999999999999999"],
    "no-break space": [b"Content-Length: \xa05"],
    "arabic digit": ["Content-Length: \u0665".encode()],
    "form feed": [b"Content-Length: \x0c5"],
    "gzip, chunked": [b"Transfer-Encoding: gzip, chunked"],
    "chunked, identity": [b"Transfer-Encoding: chunked, identity"],
    "chunked, gzip": [b"Transfer-Encoding: chunked, gzip"],
    "chunked, chunked": [b"Transfer-Encoding: chunked, chunked"],
    "chunked and a comma": [b"Transfer-Encoding: chunked,"],
    "a comma and chunked": [b"Transfer-Encoding: ,chunked"],
    "chunked twice": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "gzip then chunked": [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
    "chunked then nothing": [b"Transfer-Encoding: chunked", b"Transfer-Encoding:"],
    "identity": [b"Transfer-Encoding: identity"],
    "empty coding": [b"Transfer-Encoding:"],
    "empty coding and length": [b"Transfer-Encoding:", b"Content-Length: 3"],
    "unknown coding": [b"Transfer-Encoding: xchunked"],
    "quoted": [b'Transfer-Encoding: "chunked"'],
    "single quotes": [b"Transfer-Encoding: 'chunked'"],
    "parameter": [b"Transfer-Encoding: chunked;q=1"],
    "vertical tab before": [b"Transfer-Encoding: \x0bchunked"],
    "form feed after": [b"Transfer-Encoding: chunked\x0c"],
    "next line before": [b"Transfer-Encoding: \x85chunked"],
    "no-break space after": [b"Transfer-Encoding: chunked\xa0"],
    "DEL after": [b"Transfer-Encoding: chunked\x7f"],
    "Kelvin sign": ["Transfer-Encoding: chun\u212aed".encode()],
    "cow": [b"Transfer-Encoding: cow"],
}


@pytest.mark.parametrize("fields", FRAMING.values(), ids=FRAMING)
def test_framing_that_two_readers_could_see_differently_is_refused(fields: list[bytes]) -> None:
    assert fault_of(b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", *fields])) is CLIENT_BAD_REQUEST


def test_framing_that_is_accepted() -> None:
    assert post(b"Content-Length: 5").length == 5
    assert post(b"Content-Length:\t 0005 \t").length == 5
    assert post(b"Content-Length: 999999999999999999").length == 10**18 - 1
    assert post(b"Transfer-Encoding:chunKED").length is None
    assert post(b"Transfer-Encoding:\tchunked \t").length is None
    assert post().length == 0


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    head = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked"
    assert fault_of(head) is CLIENT_BAD_REQUEST


FIELDS = {
    "bare CR in a value": b"X: a\rb",
    "bare LF in a value": b"X: a\nb",
    "NUL in a value": b"X: a\0b",
    "CR at the end": b"X: a\r",
    "LF before a name": b"\nX: a",
    "obs-fold": b" folded",
    "obs-fold with a tab": b"\tfolded: x",
    "space before the colon": b"X : a",
    "tab before the colon": b"X\t: a",
    "no colon": b"X",
    "empty line": b"",
    "empty name": b": a",
    "space in the name": b"X Y: a",
    "no token": b"X(Y): a",
    "slash in the name": b"X/Y: a",
    "NUL in the name": b"X\0: a",
    "obs-text in the name": b"X\xe9: a",
    "no-break space before the colon": b"Content-Length\xa0: 5",
    "vertical tab in a value": b"X: a\x0bb",
    "form feed in a value": b"X: a\x0cb",
    "escape": b"X: \x1b[0m",
    "DEL in a value": b"X: a\x7f",
    "SOH": b"X: \x01",
}


@pytest.mark.parametrize("line", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("name", [b"", b"Content-Length: 0\r\n"])
def test_malformed_field_lines_are_refused_in_requests_and_responses(line: bytes, name: bytes) -> None:
    assert fault_of(b"GET / HTTP/1.1\r\nHost: a\r\n" + name + line) is CLIENT_BAD_REQUEST
    with pytest.raises(ProtocolError) as caught:
        parse_response(b"HTTP/1.1 200 OK\r\n" + name + line, 100)
    assert caught.value.fault is BACKEND_BAD_RESPONSE


def test_obs_text_and_tabs_in_values_pass() -> None:
    assert get(b"X: \xe9\t\xff!").headers.get(b"x") == b"\xe9\t\xff!"


HOSTS = {
    "none": [],
    "two": [b"Host: a", b"Host: b"],
    "two alike": [b"Host: a", b"host: a"],
    "empty": [b"Host:"],
    "blank": [b"Host: \t"],
    "list": [b"Host: a, b"],
    "list without space": [b"Host: a,b"],
    "space": [b"Host: a b"],
    "userinfo": [b"Host: user@a"],
    "userinfo with a password": [b"Host: a:1@b"],
    "path": [b"Host: a/b"],
    "query": [b"Host: a?b"],
    "fragment": [b"Host: a#b"],
    "backslash": [b"Host: a\\b"],
    "scheme": [b"Host: http://a"],
    "port too large": [b"Host: a:65536"],
    "six digits": [b"Host: a:000080"],
    "two ports": [b"Host: a:80:80"],
    "port with a sign": [b"Host: a:+80"],
    "port with a letter": [b"Host: a:8o"],
    "only a port": [b"Host: :80"],
    "escape": [b"Host: a%2eb"],
    "obs-text": ["Host: b\u00fccher.example".encode()],
    "no-break space": [b"Host: a\xa0"],
    "only a dot": [b"Host: ."],
    "two dots at the end": [b"Host: a.."],
    "dot first": [b"Host: .a"],
    "empty label": [b"Host: a..b"],
    "IPv6 unclosed": [b"Host: [::1"],
    "IPv6 bare": [b"Host: ::1"],
    "IPv6 empty": [b"Host: []"],
    "IPv6 no address": [b"Host: [:::::]"],
    "IPv6 only dots": [b"Host: [.]"],
    "IPv6 too long": [b"Host: [1:2:3:4:5:6:7:8:9]"],
    "IPv6 zone": [b"Host: [fe80::1%25eth0]"],
    "IPv6 bare zone": [b"Host: [fe80::1%eth0]"],
    "IPv6 then a name": [b"Host: [::1]a"],
    "IPvFuture": [b"Host: [v1.a]"],
    "asterisk": [b"Host: *"],
    "quote": [b'Host: "a"'],
    "semicolon": [b"Host: a;b"],
}


@pytest.mark.parametrize("fields", HOSTS.values(), ids=HOSTS)
def test_missing_double_and_malformed_hosts_are_refused(fields: list[bytes]) -> None:
    assert fault_of(b"\r\n".join([b"GET / HTTP/1.1", *fields])) is CLIENT_BAD_REQUEST


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"Example.com", b"example.com"),
        (b"example.com.", b"example.com"),
        (b"example.com.:80", b"example.com"),
        (b"a:", b"a"),
        (b"a:65535", b"a"),
        (b"127.0.0.1:8080", b"127.0.0.1"),
        (b"[::1]", b"[::1]"),
        (b"[2001:DB8::A]:443", b"[2001:db8::a]"),
        (b"[::ffff:1.2.3.4]", b"[::ffff:1.2.3.4]"),
        (b"under_score.example", b"under_score.example"),
        (b"xn--bcher-kva.example", b"xn--bcher-kva.example"),
    ],
)
def test_hosts_are_lower_case_without_port_and_final_dot(value: bytes, host: bytes) -> None:
    assert split_host(value) == host
    request = parse(b"GET / HTTP/1.1", b"Host: " + value)
    assert (request.host, request.authority) == (host, value)


def test_http_1_0_needs_no_host() -> None:
    request = parse(b"GET / HTTP/1.0")
    assert (request.host, request.authority, request.version, request.keep_alive) == (b"", b"", 10, False)
    assert parse(b"GET / HTTP/1.0", b"Host:").host == b""
    assert parse(b"GET http://A/x HTTP/1.0").host == b"a"
    assert fault_of(b"GET / HTTP/1.0\r\nHost: a, b") is CLIENT_BAD_REQUEST
    assert fault_of(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a") is CLIENT_BAD_REQUEST
    assert fault_of(b"GET http://a/ HTTP/1.0\r\nHost:") is CLIENT_BAD_REQUEST


ABSOLUTE = [
    (b"http://a", b"a", b"/", None),
    (b"http://a/", b"a", b"/", None),
    (b"HTTP://A/b?c", b"a", b"/b", b"c"),
    (b"hTTps://a:80/b", b"a:80", b"/b", None),
    (b"http://a?c", b"a", b"/", b"c"),
    (b"http://a?c/d", b"a", b"/", b"c/d"),
    (b"http://[::1]:8/b", b"[::1]:8", b"/b", None),
    (b"http://a//b", b"a", b"//b", None),
]


@pytest.mark.parametrize(("target", "host", "path", "query"), ABSOLUTE)
def test_absolute_targets(target: bytes, host: bytes, path: bytes, query: bytes | None) -> None:
    request = parse(b"GET " + target + b" HTTP/1.1", b"Host: " + host)
    assert (request.path, request.query, request.raw_target) == (path, query, target)
    assert request.authority == host


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://a/", b"b"),
        (b"http://a/", b"a:80"),
        (b"http://a:81/", b"a:80"),
        (b"http://a./", b"a"),
        (b"http://user@a/", b"a"),
        (b"http://user:pass@a/", b"a"),
        (b"http://a@b/", b"a"),
        (b"http:///x", b"a"),
        (b"http://", b"a"),
        (b"http://:80/", b"a"),
        (b"http://a\\b/", b"a"),
        (b"http:\\\\a\\", b"a"),
        (b"http:/a", b"a"),
        (b"http:a", b"a"),
        (b"ftp://a/", b"a"),
        (b"file:///etc/passwd", b"a"),
        (b"xhttp://a/", b"a"),
        (b"http://a%2f/", b"a"),
        (b"http://a:99999/", b"a:99999"),
        (b"a:80", b"a"),
        (b"example", b"a"),
        (b"?x", b"a"),
        (b"*", b"a"),
        (b"*/x", b"a"),
        (b"\\x", b"a"),
        (b"%2f", b"a"),
    ],
)
def test_targets_that_are_no_path_and_no_url_or_disagree_with_host_are_refused(target: bytes, host: bytes) -> None:
    assert fault_of(b"GET " + target + b" HTTP/1.1\r\nHost: " + host) is CLIENT_BAD_REQUEST


def test_options_asterisk() -> None:
    request = parse(b"OPTIONS * HTTP/1.1", b"Host: a")
    assert (request.path, request.query) == (b"*", None)
    assert parse(b"OPTIONS http://a HTTP/1.1", b"Host: a").path == b"*"
    assert parse(b"OPTIONS http://a/ HTTP/1.1", b"Host: a").path == b"/"
    assert parse(b"OPTIONS http://a?x HTTP/1.1", b"Host: a").path == b"/"


REQUEST_LINES = {
    "empty": (b"", CLIENT_BAD_REQUEST),
    "HTTP/0.9": (b"GET /", CLIENT_BAD_REQUEST),
    "no version": (b"GET / ", CLIENT_BAD_REQUEST),
    "two spaces": (b"GET  / HTTP/1.1", CLIENT_BAD_REQUEST),
    "two spaces before the version": (b"GET /  HTTP/1.1", CLIENT_BAD_REQUEST),
    "space at the start": (b" GET / HTTP/1.1", CLIENT_BAD_REQUEST),
    "space at the end": (b"GET / HTTP/1.1 ", CLIENT_BAD_REQUEST),
    "space in the target": (b"GET /a b HTTP/1.1", CLIENT_BAD_REQUEST),
    "tabs": (b"GET\t/\tHTTP/1.1", CLIENT_BAD_REQUEST),
    "tab in the target": (b"GET /a\tb HTTP/1.1", CLIENT_BAD_REQUEST),
    "bare CR": (b"GET / HTTP/1.1\r", CLIENT_BAD_REQUEST),
    "bare LF": (b"GET / HTTP/1.1\nX: a", CLIENT_BAD_REQUEST),
    "bare LF first": (b"\nGET / HTTP/1.1", CLIENT_BAD_REQUEST),
    "NUL in the target": (b"GET /\0 HTTP/1.1", CLIENT_BAD_REQUEST),
    "vertical tab in the target": (b"GET /\x0b HTTP/1.1", CLIENT_BAD_REQUEST),
    "DEL in the target": (b"GET /\x7f HTTP/1.1", CLIENT_BAD_REQUEST),
    "obs-text in the target": (b"GET /\x80 HTTP/1.1", CLIENT_BAD_REQUEST),
    "UTF-8 in the query": ("GET /?\u00e9 HTTP/1.1".encode(), CLIENT_BAD_REQUEST),
    "fragment": (b"GET /#a HTTP/1.1", CLIENT_BAD_REQUEST),
    "fragment in the query": (b"GET /?a#b HTTP/1.1", CLIENT_BAD_REQUEST),
    "no method": (b" / HTTP/1.1", CLIENT_BAD_REQUEST),
    "method no token": (b"G(T / HTTP/1.1", CLIENT_BAD_REQUEST),
    "method with a colon": (b"GET: / HTTP/1.1", CLIENT_BAD_REQUEST),
    "method with obs-text": (b"G\xcbT / HTTP/1.1", CLIENT_BAD_REQUEST),
    "HTTP/2.0": (b"GET / HTTP/2.0", CLIENT_BAD_VERSION),
    "HTTP/2 preface": (b"PRI * HTTP/2.0", CLIENT_BAD_VERSION),
    "HTTP/1.2": (b"GET / HTTP/1.2", CLIENT_BAD_VERSION),
    "HTTP/0.9 said": (b"GET / HTTP/0.9", CLIENT_BAD_VERSION),
    "HTTP/1.10": (b"GET / HTTP/1.10", CLIENT_BAD_VERSION),
    "HTTP/01.1": (b"GET / HTTP/01.1", CLIENT_BAD_VERSION),
    "lower case": (b"GET / http/1.1", CLIENT_BAD_REQUEST),
    "half a version": (b"GET / HTTP/1", CLIENT_BAD_REQUEST),
    "another protocol": (b"GET / RTSP/1.0", CLIENT_BAD_REQUEST),
    "version with junk": (b"GET / HTTP/1.1x", CLIENT_BAD_REQUEST),
    "arabic version": ("GET / HTTP/\u0661.1".encode(), CLIENT_BAD_REQUEST),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1", CLIENT_CONNECT_REFUSED),
    "CONNECT with a path": (b"CONNECT / HTTP/1.1", CLIENT_CONNECT_REFUSED),
    "dot segment": (b"GET /a/../b HTTP/1.1", CLIENT_BAD_PATH),
    "dot segment, absolute": (b"GET http://a/a/../b HTTP/1.1", CLIENT_BAD_PATH),
    "escaped NUL": (b"GET /%00 HTTP/1.1", CLIENT_BAD_PATH),
}


@pytest.mark.parametrize(("line", "fault"), REQUEST_LINES.values(), ids=REQUEST_LINES)
def test_request_lines_that_are_refused(line: bytes, fault: Fault) -> None:
    assert fault_of(line + b"\r\nHost: a") is fault


def test_unknown_methods_and_what_browsers_send_raw_pass() -> None:
    assert parse(b"PURGE!x / HTTP/1.1", b"Host: a").method == b"PURGE!x"
    assert parse(b"get / HTTP/1.1", b"Host: a").method == b"get"
    request = parse(b'GET /[]{}|^"<>`\\?[]{}|^"<>`\\? HTTP/1.1', b"Host: a")
    assert (request.path, request.query) == (b'/[]{}|^"<>`\\', b'[]{}|^"<>`\\?')
    assert parse(b"GET /? HTTP/1.1", b"Host: a").query == b""
    assert parse(b"GET /?%00%zz/../ HTTP/1.1", b"Host: a").query == b"%00%zz/../"


def test_limits() -> None:
    assert len(get(b"X: a", max_fields=2).headers) == 2
    assert fault_of(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\nY: a", max_fields=2) is CLIENT_HEAD_TOO_LARGE
    assert parse(b"GET /" + b"a" * 9 + b" HTTP/1.1", b"Host: a", max_target=10).path == b"/" + b"a" * 9
    assert fault_of(b"GET /" + b"a" * 10 + b" HTTP/1.1\r\nHost: a", max_target=10) is CLIENT_TARGET_TOO_LONG
    assert fault_of(b"GET /?" + b"a" * 9 + b" HTTP/1.1\r\nHost: a", max_target=10) is CLIENT_TARGET_TOO_LONG


def test_a_line_remembered_by_one_parser_does_not_pass_another_ones_limits() -> None:
    head = b"GET /aaaaaaaaaa//b HTTP/1.1\r\nHost: a"
    assert RequestParser().parse(head).path == b"/aaaaaaaaaa//b"
    assert RequestParser(merge_slashes=True).parse(head).path == b"/aaaaaaaaaa/b"
    assert fault_of(head, max_target=10) is CLIENT_TARGET_TOO_LONG


def test_names_with_underscores() -> None:
    lines = (b"X_A: 1", b"X-B: 2", b"Content_Length: 5")
    dropped = get(*lines)
    assert [f[0] for f in dropped.headers.fields] == [b"host", b"x-b"]
    assert not dropped.kinds & UNDERSCORE
    assert dropped.length == 0
    passed = get(*lines, underscores="pass")
    assert [f[0] for f in passed.headers.fields] == [b"host", b"x_a", b"x-b", b"content_length"]
    assert passed.length == 0
    assert fault_of(b"GET / HTTP/1.1\r\nHost: a\r\nX_A: 1", underscores="refuse") is CLIENT_BAD_REQUEST


@pytest.mark.parametrize(
    ("version", "value", "kept"),
    [
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"x , CLOSE,keep-alive", False),
        (b"1.1", b"closed", True),
        (b"1.1", b"", True),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
    ],
)
def test_keep_alive(version: bytes, value: bytes, kept: bool) -> None:
    assert parse(b"GET / HTTP/" + version, b"Host: a", b"Connection: " + value).keep_alive is kept


def test_expect() -> None:
    assert post(b"Expect: 100-Continue", b"Content-Length: 1").expects_continue
    assert post(b"Expect: 100-continue", b"Transfer-Encoding: chunked").expects_continue
    assert not post(b"Expect: 100-continue").expects_continue
    assert not post(b"Expect: 100-continue", b"Content-Length: 0").expects_continue
    old = parse(b"POST / HTTP/1.0", b"Host: a", b"Expect: 100-continue", b"Content-Length: 1")
    assert not old.expects_continue
    for value in (b"", b"200-ok", b"100-continue, x", b"100-continue;x"):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: " + value
        assert fault_of(head) is CLIENT_EXPECTATION


def test_upgrade() -> None:
    assert get(b"Connection: Upgrade", b"Upgrade: WebSocket").upgrade == b"websocket"
    assert get(b"Connection: keep-alive, upgrade", b"Upgrade: h2c, websocket").upgrade == b"websocket"
    assert get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x").upgrade is None
    assert get(b"Connection: Upgrade", b"Upgrade: H2C/1").upgrade is None
    assert get(b"Upgrade: websocket").upgrade is None
    assert get(b"Connection: Upgrade").upgrade is None
    assert parse(b"GET / HTTP/1.0", b"Host: a", b"Connection: Upgrade", b"Upgrade: websocket").upgrade is None


# -- the tables


def test_secrets_are_not_remembered() -> None:
    secrets = [
        b"Cookie: remembered=1",
        b"Authorization: Bearer remembered",
        b"Proxy-Authorization: Basic remembered",
        b"X-Api-Key: remembered",
        b"Referer: https://a/?token=remembered",
    ]
    parser = RequestParser()
    parser.parse(b"\r\n".join([b"GET /?remembered HTTP/1.1", b"Host: a", *secrets]))
    answer = [b"HTTP/1.1 302 Found", b"Set-Cookie: id=remembered", b"Location: /?code=remembered", b"Location: /plain"]
    parse_response(b"\r\n".join(answer), 100)
    held = [*known_fields, *parser._lines, *h1._hosts, *h1._status_lines]
    assert not [line for line in held if b"remembered" in line]
    assert b"Location: /plain" in known_fields


def test_malformed_lines_are_neither_remembered_nor_logged_whole() -> None:
    with pytest.raises(ProtocolError) as caught:
        get(b"Authorization : Bearer s3cret")
    assert "s3cret" not in caught.value.detail
    assert b"Authorization : Bearer s3cret" not in known_fields


def test_tables_are_bounded_and_survive_being_emptied() -> None:
    parser = RequestParser()
    for i in range(CACHED + 10):
        request = parser.parse(b"GET /%d HTTP/1.1\r\nHost: h%d\r\nX-Number: %d" % (i, i, i))
        assert (request.path, request.host) == (b"/%d" % i, b"h%d" % i)
        assert request.headers.get(b"x-number") == b"%d" % i
        parse_response(b"HTTP/1.1 200 reason %d" % i, 10)
    for table in (known_fields, parser._lines, h1._hosts, h1._status_lines):
        assert 0 < len(table) <= CACHED
    long = b"a" * 300
    parser.parse(b"GET /" + long + b" HTTP/1.1\r\nHost: " + long + b"\r\nX: " + long)
    for table in (known_fields, parser._lines, h1._hosts):
        assert not [key for key in table if long in key]


def test_a_line_of_a_response_means_the_same_in_a_request() -> None:
    for line in (b"Content-Length: 7", b"Transfer-Encoding: gzip", b"Host: a, b", b"Expect: x", b"X_Y: 1"):
        known_fields.pop(line, None)
        parse_response(b"HTTP/1.1 200 OK\r\n" + line, 10)
        assert line in known_fields
    assert post(b"Content-Length: 7").length == 7
    assert fault_of(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip") is CLIENT_BAD_REQUEST
    assert fault_of(b"GET / HTTP/1.1\r\nHost: a, b") is CLIENT_BAD_REQUEST
    assert fault_of(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x") is CLIENT_EXPECTATION
    assert get(b"X_Y: 1").headers.get(b"x_y") is None


def test_forwarded_fields_have_their_kind() -> None:
    assert get(b"X-Forwarded-For: 1.2.3.4").kinds & FORWARDED
    assert not get(b"X-Forwarded: x").kinds & UNDERSCORE


# -- responses


def response(*lines: bytes) -> tuple[Response, int]:
    return parse_response(b"\r\n".join(lines), 100)


def test_a_plain_response() -> None:
    found, minor = response(b"HTTP/1.1 200 Very OK", b"Content-Length: 12", b"Server: x", b"X_Y: z")
    assert (found.status, found.reason, found.length, minor) == (200, b"Very OK", 12, 1)
    assert list(found.headers.items()) == [(b"content-length", b"12"), (b"server", b"x"), (b"x_y", b"z")]


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 100 Continue", 100, b"Continue"),
        (b"HTTP/1.1 999 ", 999, b""),
        (b"HTTP/1.1 204", 204, b""),
        (b"HTTP/1.0 200 caf\xe9 \t", 200, b"caf\xe9 \t"),
    ],
)
def test_status_lines(line: bytes, status: int, reason: bytes) -> None:
    for _ in range(2):
        found, minor = response(line)
        assert (found.status, found.reason, minor) == (status, reason, int(line[7:8]))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 099",
        b"HTTP/1.1 000",
        b"HTTP/1.1 +20",
        b"HTTP/1.1  200",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1\t200\tOK",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 200 a\rb",
        b"HTTP/1.1 200 a\nb",
        b"HTTP/1.1 200 a\0",
        b"HTTP/1.1 200 a\x7f",
    ],
)
def test_status_lines_that_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        response(line)
    assert caught.value.fault is BACKEND_BAD_RESPONSE


def test_a_response_with_too_many_fields_is_refused() -> None:
    parse_response(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2", 2)
    with pytest.raises(ProtocolError) as caught:
        parse_response(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2", 1)
    assert caught.value.fault is BACKEND_BAD_RESPONSE


@pytest.mark.parametrize(
    ("method", "line", "fields", "framing"),
    [
        (b"GET", b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 5),
        (b"GET", b"HTTP/1.1 200 OK", [b"Content-Length: 0"], 0),
        (b"GET", b"HTTP/1.1 200 OK", [], UNTIL_CLOSE),
        (b"GET", b"HTTP/1.0 200 OK", [], UNTIL_CLOSE),
        (b"GET", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: Chunked"], CHUNKED),
        (b"HEAD", b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 0),
        (b"HEAD", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], 0),
        (b"HEAD", b"HTTP/1.1 200 OK", [], 0),
        (b"GET", b"HTTP/1.1 204 No Content", [b"Content-Length: 5"], 0),
        (b"GET", b"HTTP/1.1 204 No Content", [b"Transfer-Encoding: chunked"], 0),
        (b"GET", b"HTTP/1.1 304 Not Modified", [b"Content-Length: 5"], 0),
        (b"POST", b"HTTP/1.1 205 Reset Content", [b"Content-Length: 0"], 0),
        (b"head", b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 5),
    ],
)
def test_framing_of_responses(method: bytes, line: bytes, fields: list[bytes], framing: int) -> None:
    found, minor = response(line, *fields)
    assert response_framing(found, method, minor) == framing


@pytest.mark.parametrize("fields", FRAMING.values(), ids=FRAMING)
def test_responses_with_framing_that_two_readers_could_see_differently_are_refused(fields: list[bytes]) -> None:
    with pytest.raises(ProtocolError) as caught:
        response_framing(response(b"HTTP/1.1 200 OK", *fields)[0], b"GET", 1)
    assert caught.value.fault is BACKEND_BAD_RESPONSE


def test_chunked_from_http_1_0_is_refused() -> None:
    found, minor = response(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked")
    with pytest.raises(ProtocolError) as caught:
        response_framing(found, b"GET", minor)
    assert caught.value.fault is BACKEND_BAD_RESPONSE


# -- half a head


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"


def test_no_part_of_a_good_head_is_flawed() -> None:
    assert [cut for cut in range(len(HEAD)) if find_flaw(HEAD[:cut])] == []
    assert [(known, cut) for cut in range(len(HEAD)) for known in range(cut) if find_flaw(HEAD[:cut], known)] == []


@pytest.mark.parametrize("bad", [b"\0", b"\n", b"\rx", b"\r\r\n", b"\r\r", b"\n\r"])
@pytest.mark.parametrize("tail", [b"", b"y", b"\r", b"\r\n", b"\r\nz"])
def test_what_can_not_become_a_head_is_seen_at_once(bad: bytes, tail: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a"
    assert find_flaw(head + bad + tail)
    assert find_flaw(head + bad + tail, len(head))
    # by the byte it is found as soon as it is there
    text = head + bad + tail
    assert any(find_flaw(text[: cut + 1], cut) for cut in range(1, len(text)))
    assert find_flaw(b"GET / " + bad + tail)


# -- chunked bodies


Outcome = tuple[bytes, list[tuple[bytes, bytes]], bytes, bool]


def read(pieces: list[bytes], **options: object) -> Outcome | Fault:
    """What a reader makes of the pieces, as (body, trailers, rest, done), or its fault."""
    reader = ChunkedReader(**options)  # type: ignore[arg-type]  # options of several types
    body = b""
    for at, piece in enumerate(pieces):
        try:
            body += reader.feed(piece)
        except ProtocolError as error:
            return error.fault
        if reader.done:
            rest = reader.rest + b"".join(pieces[at + 1 :])
            return body, [f[:2] for f in reader.trailers], rest, True
    return body, [], b"", False


def read_every_way(data: bytes, **options: object) -> Outcome | Fault:
    """The outcome, which is the same however ``data`` is cut."""
    whole = read([data], **options)
    cuts = {0, 1, *range(0, len(data), max(1, len(data) // 200))}
    for cut in cuts:
        assert read([data[:cut], data[cut:]], **options) == whole, cut
    assert read([data[at : at + 1] for at in range(len(data))], **options) == whole
    return whole


GOOD = {
    "empty": (b"0\r\n\r\n", b""),
    "one": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "two": (b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", b"hello!"),
    "hexadecimal of both cases": (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
    "leading zeros": (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "16 digits": (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    "CRLF in data": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    "extension": (b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello"),
    "quoted extension": (b'5;a="b;c\\"d"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "longest line": (b"5;" + b"x" * 510 + b"\r\nhello\r\n0\r\n\r\n", b"hello"),
}


@pytest.mark.parametrize(("data", "body"), GOOD.values(), ids=GOOD)
def test_chunked_bodies(data: bytes, body: bytes) -> None:
    assert read_every_way(data) == (body, [], b"", True)
    assert read_every_way(data + b"GET / HTTP/1.1\r\n") == (body, [], b"GET / HTTP/1.1\r\n", True)
    for cut in range(0, len(data), max(1, len(data) // 50)):
        outcome = read([data[:cut]])
        assert isinstance(outcome, tuple)
        assert body.startswith(outcome[0])
        assert not outcome[3]


BAD = {
    "empty size": b"\r\nhello",
    "plus": b"+5\r\nhello\r\n",
    "minus": b"-5\r\nhello\r\n",
    "0x": b"0x5\r\nhello\r\n",
    "underscore": b"1_0\r\n" + b"x" * 16 + b"\r\n",
    "no digit": b"g\r\n",
    "space before": b" 5\r\nhello\r\n",
    "space after": b"5 \r\nhello\r\n",
    "tab after": b"5\t\r\nhello\r\n",
    "space before the extension": b"5 ;a\r\nhello\r\n",
    "junk": b"5 junk\r\nhello\r\n",
    "comma": b"5,5\r\nhello\r\n",
    "17 digits": b"00000000000000005\r\nhello\r\n",
    "overflow of 64 bits": b"10000000000000005\r\nhello\r\n",
    "above 2**62": b"ffffffffffffffff\r\nhello\r\n",
    "2**62": b"4000000000000000\r\nhello\r\n",
    "no CRLF after data": b"5\r\nhello0\r\n\r\n",
    "data longer": b"5\r\nhello!\r\n0\r\n\r\n",
    "LF after data": b"5\r\nhello\n0\r\n\r\n",
    "CR after data": b"5\r\nhello\r0\r\n\r\n",
    "CR CR after data": b"5\r\nhello\r\r\n0\r\n\r\n",
    "two bytes after data": b"5\r\nhelloXX0\r\n\r\n",
    "LF after size": b"5\nhello\r\n0\r\n\r\n",
    "CR after size": b"5\rhello\r\n0\r\n\r\n",
    "LF in extension": b"5;a\nhello\r\n0\r\n\r\n",
    "CR in extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "LF CR in extension": b"5;a\n\r\nhello\r\n0\r\n\r\n",
    "LF in a quoted extension": b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    "NUL in extension": b"5;\0\r\nhello\r\n0\r\n\r\n",
    "control in extension": b"5;\x0b\r\nhello\r\n0\r\n\r\n",
    "line separator": b"5\x85hello\r\n0\r\n\r\n",
    "extension over the bound": b"5;" + b"x" * 511 + b"\r\nhello\r\n0\r\n\r\n",
    "endless size": b"0" * 600,
    "endless extension": b"0;" + b"a" * 600,
    "LF after the last chunk": b"0\n\n",
    "LF at the end": b"0\r\n\n",
    "CR at the end": b"0\r\n\rx",
    "trailer without a colon": b"0\r\nX\r\n\r\n",
    "trailer obs-fold": b"0\r\nX: a\r\n b\r\n\r\n",
    "trailer with LF": b"0\r\nX: a\nY: b\r\n\r\n",
    "trailer with a space": b"0\r\nX : a\r\n\r\n",
    "forbidden trailer Content-Length": b"0\r\nContent-Length: 5\r\n\r\n",
    "forbidden trailer Transfer-Encoding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "forbidden trailer Host": b"0\r\nHost: a\r\n\r\n",
    "forbidden trailer Authorization": b"0\r\nauthorization: a\r\n\r\n",
    "forbidden trailer Cookie": b"0\r\nCookie: a\r\n\r\n",
    "forbidden trailer X-Forwarded-For": b"0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    "forbidden trailer X-Request-ID": b"0\r\nX-Request-ID: 1\r\n\r\n",
    "forbidden trailer X-Forwarded-Ssl": b"0\r\nX-Forwarded-Ssl: on\r\n\r\n",
    "a request in place of trailers": b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
@pytest.mark.parametrize("fault", [CLIENT_BAD_BODY, BACKEND_BAD_BODY], ids=["client", "backend"])
@pytest.mark.parametrize("before", [b"", b"3\r\nabc\r\n"])
def test_chunked_bodies_that_are_refused(data: bytes, fault: Fault, before: bytes) -> None:
    if fault is BACKEND_BAD_BODY and data.startswith(tuple(v for k, v in BAD.items() if k.startswith("forbidden"))):
        assert read_every_way(before + data, fault=fault) == (before[3:6], [], b"", True)
    else:
        assert read_every_way(before + data, fault=fault) is fault


def test_trailers() -> None:
    data = b'0\r\nX-Sum: 5\r\nX_Dropped: 1\r\nEtag: \t"x" \r\n\r\nrest'
    assert read_every_way(data) == (b"", [(b"x-sum", b"5"), (b"etag", b'"x"')], b"rest", True)
    dropped = read_every_way(b"0\r\nSet-Cookie: a=b\r\nX-Sum: 5\r\n\r\n", fault=BACKEND_BAD_BODY)
    assert dropped == (b"", [(b"x-sum", b"5")], b"", True)


def test_bounds_of_trailers() -> None:
    line = b"X: " + b"a" * 15 + b"\r\n"
    assert len(line) == 20
    assert isinstance(read_every_way(b"0\r\n" + line * 5 + b"\r\n", max_trailers=100), tuple)
    assert read_every_way(b"0\r\n" + line * 6 + b"\r\n", max_trailers=100) is CLIENT_BAD_BODY
    assert read_every_way(b"0\r\nX: " + b"a" * 98 + b"\r\n\r\n", max_trailers=100) is CLIENT_BAD_BODY


def test_bound_of_extensions_in_a_body() -> None:
    one = b"1;" + b"x" * 255 + b"\r\n-\r\n"
    assert read([one * 64 + b"0\r\n\r\n"]) == (b"-" * 64, [], b"", True)
    assert read([one * 65 + b"0\r\n\r\n"]) is CLIENT_BAD_BODY


def test_time_is_linear_in_the_number_of_chunks() -> None:
    class Counting(bytes):
        """Counts the bytes that slices copy."""

        copied = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def]  # as bytes has it
            part = bytes.__getitem__(self, key)
            if isinstance(key, slice):
                Counting.copied += len(part)
                return Counting(part)
            return part

    data = b"1\r\nx\r\n" * 2000
    assert ChunkedReader().feed(Counting(data)) == b"x" * 2000
    assert Counting.copied < 2000 * 1200


def test_what_we_write_is_what_we_read() -> None:
    data = chunk(b"a" * 300) + chunk(b"b") + last_chunk((field(b"X-Sum", b"1"),))
    assert read_every_way(data) == (b"a" * 300 + b"b", [(b"x-sum", b"1")], b"", True)
    assert last_chunk() == b"0\r\n\r\n"
