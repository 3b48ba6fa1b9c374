"""HTTP/2 requests: what is read, what is refused and how, and what is recognised when it comes again."""

from __future__ import annotations

import pytest

from revproxy.fault import (
    CLIENT_BAD_BODY,
    CLIENT_BAD_PATH,
    CLIENT_BAD_REQUEST,
    CLIENT_CONNECT_REFUSED,
    CLIENT_EXPECTATION,
    CLIENT_HEAD_TOO_LARGE,
    CLIENT_MISDIRECTED,
    CLIENT_TARGET_TOO_LONG,
    Fault,
    ProtocolError,
)
from revproxy.http.fields import CACHED, Pair, known_fields, known_pairs
from revproxy.http.h1 import RequestParser
from revproxy.http.h2requests import REMEMBERED, REPEATED, H2RequestReader, Malformed
from tests.http.h2kit import KEY, STRANGER, TRUSTED, arrival, error_of, head_of, read, reader, rules, section

BAD = (Malformed, CLIENT_BAD_REQUEST)


def answered(fault: Fault) -> tuple[type, Fault]:
    return ProtocolError, fault


# -- what is read


def test_a_plain_request() -> None:
    fields = section((b"x-one", b"two"), (b"accept", b""), authority=b"Example.COM:8443", path=b"/a%7eb?x=%41")
    request = read(fields)
    assert (request.method, request.path, request.query) == (b"GET", b"/a~b", b"x=%41")
    assert (request.raw_target, request.target) == (b"/a%7eb?x=%41", b"/a~b?x=%41")
    assert (request.host, request.authority, request.version) == (b"example.com", b"Example.COM:8443", 20)
    assert [f[:3] for f in request.headers.fields] == [
        (b"host", b"Example.COM:8443", b"Host: Example.COM:8443"),
        (b"x-one", b"two", b"x-one: two"),
        (b"accept", b"", b"accept: "),
    ]
    assert (request.length, request.keep_alive, request.expects_continue, request.upgrade) == (0, True, False, None)
    assert (request.client, request.scheme, request.arrival) == ("192.0.2.7", b"https", STRANGER)


def test_what_a_backend_gets() -> None:
    request = read(section((b"x-one", b"two"), (b"x-forwarded-for", b"1.2.3.4"), method=b"PUT"), ended=False)
    assert head_of(request) == (
        b"PUT / HTTP/1.1\r\nHost: a\r\nx-one: two\r\nTransfer-Encoding: chunked\r\nX-Forwarded-Host: a\r\n"
        b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"
        b"Via: 2.0 revproxy\r\nX-Request-ID: id\r\n\r\n"
    )


def test_te_trailers_goes_on_as_our_own() -> None:
    head = head_of(read(section((b"te", b"trailers"))))
    assert b"TE: trailers\r\nConnection: TE\r\n" in head
    assert head.lower().count(b"te: trailers") == 1


def test_asterisk() -> None:
    request = read(section(method=b"OPTIONS", path=b"*"))
    assert (request.path, request.query, request.target) == (b"*", None, b"*")


def test_pseudo_fields_come_in_any_order() -> None:
    pairs = section(method=b"HEAD", path=b"/x")
    for turn in range(4):
        request = read(pairs[turn:] + pairs[:turn])
        assert (request.method, request.path, request.host) == (b"HEAD", b"/x", b"a")


def test_host_in_the_place_of_authority() -> None:
    request = read(section((b"x", b"1"), (b"host", b"B:1"), authority=None))
    assert (request.host, request.authority) == (b"b", b"B:1")
    assert [f[2] for f in request.headers.fields] == [b"x: 1", b"host: B:1"]


def test_a_host_that_says_the_same_gives_way_to_authority() -> None:
    request = read(section((b"x", b"1"), (b"host", b"EXAMPLE.com"), authority=b"example.com"))
    assert [f[2] for f in request.headers.fields] == [b"Host: example.com", b"x: 1"]


def test_cookies_are_joined_in_the_place_of_the_first() -> None:
    crumbs = [(b"x", b"1"), (b"cookie", b"a=b"), (b"y", b"2"), (b"cookie", b"c=d"), (b"cookie", b"e")]
    request = read(section(*crumbs))
    assert [f[2] for f in request.headers.fields] == [b"Host: a", b"x: 1", b"cookie: a=b; c=d; e", b"y: 2"]
    # without white space at the end, which no value has
    for empty, joined in (([b"", b""], b""), ([b"", b"a", b""], b"a"), ([b"a", b"", b"b"], b"a; b")):
        assert read(section(*[(b"cookie", crumb) for crumb in empty])).headers.get(b"cookie") == joined


@pytest.mark.parametrize(
    ("fields", "ended", "length"),
    [
        ([], True, 0),
        ([], False, None),
        ([(b"content-length", b"0")], True, 0),
        ([(b"content-length", b"0")], False, 0),
        ([(b"content-length", b"7")], False, 7),
    ],
)
def test_length(fields: list[tuple[bytes, bytes]], ended: bool, length: int | None) -> None:
    assert read(section(*fields, method=b"POST"), ended).length == length


def test_expect() -> None:
    assert read(section((b"expect", b"100-Continue"), method=b"PUT"), ended=False).expects_continue
    assert not read(section((b"expect", b"100-continue"), method=b"PUT"), ended=True).expects_continue
    assert error_of(section((b"expect", b"x"))) == answered(CLIENT_EXPECTATION)


def test_the_parsers_rules_hold() -> None:
    odd = section((b"x_y", b"1"), (b"transfer_encoding", b"chunked"), path=b"//a")
    assert [f[0] for f in read(odd).headers.fields] == [b"host"]
    assert read(odd, merge_slashes=True).path == b"/a"
    assert [f[0] for f in read(odd, underscores="pass").headers.fields] == [b"host", b"x_y", b"transfer_encoding"]
    assert b"transfer_encoding" not in head_of(read(odd, underscores="pass"))
    assert error_of(odd, underscores="refuse") == answered(CLIENT_BAD_REQUEST)


# -- what is refused

MALFORMED = {
    "no method": section(method=None),
    "no scheme": section(scheme=None),
    "no path": section(path=None),
    "nothing": [],
    "two methods": [*section(), (b":method", b"GET", False)],
    "method twice in front": [(b":method", b"GET", False), *section()],
    "two paths": [(b":path", b"/", False), *section()],
    "two authorities": [(b":authority", b"a", False), *section()],
    "unknown pseudo": section(other=b"x"),
    "response pseudo": section(status=b"200"),
    "empty pseudo": [(b":", b"", False), *section()],
    "late pseudo": [*section(path=None), (b"x", b"1", False), (b":path", b"/", False)],
    "upper pseudo": [(b":Path", b"/", False), *section(path=None)],
    "protocol without connect": section(protocol=b"websocket"),
    "empty method": section(method=b""),
    "method with a space": section(method=b"GET /admin HTTP/1.1"),
    "method with a line": section(method=b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"),
    "method with a colon": section(method=b"GET:"),
    "empty path": section(path=b""),
    "path without slash": section(path=b"a"),
    "absolute form": section(path=b"https://b/"),
    "authority form": section(path=b"b:80"),
    "asterisk of get": section(path=b"*"),
    "asterisk and more": section(method=b"OPTIONS", path=b"*a"),
    "question mark": section(path=b"?a"),
    "path with a space": section(path=b"/ HTTP/1.1"),
    "path with a line": section(path=b"/ HTTP/1.1\r\nHost: b\r\n\r\nGET /x"),
    "path with a line feed": section(path=b"/\nx"),
    "path with nul": section(path=b"/\0"),
    "path with a tab": section(path=b"/\t"),
    "path with a fragment": section(path=b"/#a"),
    "path beyond ascii": section(path=b"/\xe9"),
    "scheme with junk": section(scheme=b"https://b/x?"),
    "scheme with a line": section(scheme=b"https\r\nx: y"),
    "empty scheme": section(scheme=b""),
    "empty authority": section(authority=b""),
    "userinfo": section(authority=b"u:p@a"),
    "authority with a path": section(authority=b"a/b"),
    "authority with a query": section(authority=b"a?b"),
    "authority with a space": section(authority=b"a b"),
    "authority with a line": section(authority=b"a\r\nx: y"),
    "authority with a port too big": section(authority=b"a:65536"),
    "authority with two ports": section(authority=b"a:1:2"),
    "authority of two": section(authority=b"a,b"),
    "another host": section((b"host", b"b")),
    "another port": section((b"host", b"a:81")),
    "empty host": section((b"host", b"")),
    "host with a path": section((b"host", b"a/b"), authority=None),
    "two hosts alike": section((b"host", b"a"), (b"host", b"a")),
    "two hosts without authority": section((b"host", b"a"), (b"host", b"b"), authority=None),
    "upper name": section((b"X-Upper", b"1")),
    "upper content-length": section((b"Content-Length", b"0")),
    "empty name": section((b"", b"1")),
    "name with a space": section((b"x ", b"1")),
    "name with a colon": section((b"x: y\r\nz", b"1")),
    "colon at the end": section((b"transfer-encoding:", b"chunked")),
    "colon in front": section((b":x", b"1")),
    "name with a line": section((b"x\r\ny", b"1")),
    "name with nul": section((b"x\0", b"1")),
    "name beyond ascii": section((b"x\xe9", b"1")),
    "value with a line": section((b"x", b"1\r\ntransfer-encoding: chunked")),
    "value with a cr": section((b"x", b"1\r2")),
    "value with a lf": section((b"x", b"1\n2")),
    "value ends in crlf": section((b"x", b"1\r\n")),
    "value with nul": section((b"x", b"1\x002")),
    "value with del": section((b"x", b"\x7f")),
    "space in front": section((b"x", b" 1")),
    "tab in front": section((b"x", b"\t1")),
    "space behind": section((b"x", b"1 ")),
    "only a space": section((b"x", b" ")),
    "cookie with a line": section((b"cookie", b"a"), (b"cookie", b"b\r\nc: d")),
    "connection": section((b"connection", b"keep-alive")),
    "connection that names a field": section((b"connection", b"x-forwarded-for")),
    "keep-alive": section((b"keep-alive", b"1")),
    "proxy-connection": section((b"proxy-connection", b"keep-alive")),
    "transfer-encoding": section((b"transfer-encoding", b"chunked")),
    "identity": section((b"transfer-encoding", b"identity")),
    "upgrade": section((b"upgrade", b"websocket")),
    "http2-settings": section((b"http2-settings", b"AAA")),
    "te gzip": section((b"te", b"gzip")),
    "te list": section((b"te", b"trailers, gzip")),
    "te empty": section((b"te", b"")),
    "te, second": section((b"te", b"trailers"), (b"te", b"deflate")),
    "two lengths alike": section((b"content-length", b"0"), (b"content-length", b"0")),
    "list of lengths": section((b"content-length", b"0, 0")),
    "signed length": section((b"content-length", b"+1")),
    "length of no digits": section((b"content-length", b"")),
    "huge length": section((b"content-length", b"9" * 19)),
    "length without a body": section((b"content-length", b"1")),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str) -> None:
    known_pairs.clear()
    assert error_of(MALFORMED[case], ended=True) == BAD
    assert error_of(MALFORMED[case], ended=True, by=TRUSTED) == BAD


@pytest.mark.parametrize("case", sorted(set(MALFORMED) - {"length without a body"}))
def test_malformed_with_a_body_to_come(case: str) -> None:
    assert error_of(MALFORMED[case], ended=False) == BAD


ANSWERED = {
    "long target": (section(path=b"/" + b"a" * 8192), CLIENT_TARGET_TOO_LONG),
    "dot segment": (section(path=b"/a/../b"), CLIENT_BAD_PATH),
    "escaped dot segment": (section(path=b"/a/%2e%2E/b"), CLIENT_BAD_PATH),
    "broken escape": (section(path=b"/%zz"), CLIENT_BAD_PATH),
    "no authority": (section(authority=None), CLIENT_BAD_REQUEST),
    "other scheme": (section(scheme=b"ftp"), CLIENT_BAD_REQUEST),
    "scheme of another connection": (section(scheme=b"http"), CLIENT_MISDIRECTED),
    "connect": (section(method=b"CONNECT", scheme=None, path=None, authority=b"b:443"), CLIENT_CONNECT_REFUSED),
    "too many fields": (section(*[(b"x", b"1")] * 100), CLIENT_HEAD_TOO_LARGE),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_answered(case: str) -> None:
    fields, fault = ANSWERED[case]
    assert error_of(fields) == answered(fault)


def test_scheme() -> None:
    assert read(section(scheme=b"HTTPS")).scheme == b"https"
    # a proxy that we trust ended the TLS of its client
    assert read(section(scheme=b"https"), by=arrival(trusted=True, scheme=b"http")).scheme == b"http"
    assert error_of(section(scheme=b"https"), by=arrival(scheme=b"http")) == answered(CLIENT_MISDIRECTED)
    assert error_of(section(scheme=b"ftp"), by=TRUSTED) == answered(CLIENT_BAD_REQUEST)


def test_the_limit_of_fields() -> None:
    assert len(read(section(*[(b"x", b"1")] * 99)).headers) == 100
    assert len(read(section((b"host", b"a"), *[(b"x", b"1")] * 99, authority=None)).headers) == 100
    # the pieces of a cookie are one field
    assert len(read(section(*[(b"cookie", b"a=b")] * 150, *[(b"x", b"1")] * 98)).headers) == 100
    assert error_of(section(*[(b"cookie", b"a=b")] * 150, *[(b"x", b"1")] * 99)) == answered(CLIENT_HEAD_TOO_LARGE)


def test_pairs_can_not_be_mistaken_for_one_another() -> None:
    """Name and value that give the same line as a field accepted before, by HTTP/1.1 or here."""
    RequestParser().parse(b"GET / HTTP/1.1\r\nHost: a\r\nx: y: z\r\nX-Up: 1\r\nx-sp:  1")
    read(section((b"x", b"y: z")))
    for name, value in ((b"x: y", b"z"), (b"X-Up", b"1"), (b"x-sp", b" 1")):
        assert error_of(section((name, value))) == BAD


# -- extended CONNECT


def connect(*fields: tuple[bytes, bytes], **pseudo: bytes | None) -> list[Pair]:
    return section(*fields, **{"method": b"CONNECT", "protocol": b"websocket", "path": b"/chat?a", **pseudo})


def test_websocket_becomes_a_handshake() -> None:
    fields = connect((b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"chat"), (b"origin", b"https://a"))
    request = read(fields, ended=False)
    assert (request.method, request.target, request.length) == (b"GET", b"/chat?a", 0)
    assert (request.upgrade, request.headers.get(b"sec-websocket-key")) == (b"websocket", KEY)
    head = head_of(request)
    parsed = RequestParser().parse(head.removesuffix(b"\r\n\r\n"))
    assert (parsed.method, parsed.target, parsed.upgrade, parsed.length) == (b"GET", b"/chat?a", b"websocket", 0)
    # RFC 6455 4.2.1
    assert parsed.headers.get_all(b"host") == [b"a"]
    assert parsed.headers.get_all(b"upgrade") == [b"websocket"]
    assert parsed.headers.get_all(b"connection") == [b"Upgrade"]
    assert parsed.headers.get_all(b"sec-websocket-key") == [KEY]
    assert parsed.headers.get_all(b"sec-websocket-version") == [b"13"]
    assert parsed.headers.get_all(b"sec-websocket-protocol") == [b"chat"]
    assert parsed.headers.get_all(b"origin") == [b"https://a"]
    assert b"content-length" not in parsed.headers
    assert b"transfer-encoding" not in parsed.headers


def test_a_handshake_has_one_key_and_a_version() -> None:
    request = read(connect((b"sec-websocket-key", b"x"), (b"sec-websocket-key", b"y"), protocol=b"WebSocket"), False)
    assert request.headers.get_all(b"sec-websocket-key") == [KEY]
    assert request.headers.get_all(b"sec-websocket-version") == [b"13"]
    assert read(connect((b"sec-websocket-version", b"8")), False).headers.get_all(b"sec-websocket-version") == [b"8"]


def test_every_handshake_has_its_own_key() -> None:
    keys = iter([b"a" * 16, b"b" * 16])
    one = H2RequestReader(RequestParser(), lambda size: next(keys))
    fields = connect()
    first, second = one.read(fields, False, STRANGER), one.read(fields, False, STRANGER)
    assert first.headers.get(b"sec-websocket-key") != second.headers.get(b"sec-websocket-key")
    by = rules()
    assert head_of(first, by) != head_of(second, by)


def test_another_protocol_is_only_asked_for() -> None:
    request = read(connect(protocol=b"Connect-UDP"), False)
    assert (request.method, request.upgrade) == (b"GET", b"connect-udp")
    assert b"sec-websocket-key" not in request.headers
    head = head_of(request, upgrade=(b"connect-udp",))
    assert b"Upgrade: connect-udp\r\nConnection: Upgrade\r\n" in head


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (connect(scheme=None), BAD),
        (connect(path=None), BAD),
        (connect(authority=None), BAD),
        (connect((b"host", b"a"), authority=None), BAD),
        (connect(path=b"*"), BAD),
        (connect(path=b"a"), BAD),
        (connect(protocol=b""), BAD),
        (connect(protocol=b"a b"), BAD),
        (connect(protocol=b"websocket\r\nx: y"), BAD),
        (connect((b"content-length", b"1")), BAD),
        (connect((b"content-length", b"0")), BAD),
        (connect((b"upgrade", b"websocket")), BAD),
        (connect(protocol=None), BAD),
        (connect(protocol=None, scheme=None), BAD),
        (connect(protocol=b"h2c"), answered(CLIENT_CONNECT_REFUSED)),
        (connect(scheme=b"http"), answered(CLIENT_MISDIRECTED)),
    ],
)
def test_refused_connects(fields: list[Pair], error: tuple[type, Fault]) -> None:
    assert error_of(fields, ended=False) == error


# -- what comes again


def test_the_same_list_again_is_the_same_block() -> None:
    one, by = reader(), rules()
    fields = section((b"x", b"1"), path=b"/a?b")
    first = one.read(fields, True, STRANGER)
    head = head_of(first, by)
    second = one.read(fields, True, STRANGER)
    assert second is not first
    assert second.block is first.block
    assert second.block is not None
    assert second.block.sender is by
    assert (second.path, second.query, second.raw_target) == (b"/a", b"b", b"/a?b")
    assert head_of(second, by) == head


def test_the_same_fields_with_another_path_are_the_same_block() -> None:
    one = reader()
    first = one.read(section((b"x", b"1"), (b"cookie", b"a"), path=b"/a"), True, STRANGER)
    second = one.read(section((b"x", b"1"), (b"cookie", b"a"), path=b"/b?c", method=b"HEAD"), True, STRANGER)
    assert second.block is first.block
    assert (second.method, second.path, second.query) == (b"HEAD", b"/b", b"c")
    by = rules()
    assert head_of(second, by).replace(b"HEAD /b?c", b"GET /a") == head_of(first, by)


def test_what_differs_is_no_repetition() -> None:
    one = reader()
    fields = section((b"x", b"1"))
    first = one.read(fields, True, STRANGER)
    for again, ended, by in (
        (fields, False, STRANGER),
        (fields, True, arrival()),
        (section((b"x", b"2")), True, STRANGER),
        (section((b"x", b"1"), authority=b"b"), True, STRANGER),
        (section((b"x", b"1"), (b"host", b"a"), authority=None), True, STRANGER),
    ):
        other = one.read(again, ended, by)
        assert other.block is not first.block
        assert other.headers.fields == read(again, ended, by).headers.fields
        assert other.length == (0 if ended else None)
        assert other.arrival is by


def test_a_connection_keeps_little() -> None:
    one = reader()
    lists = [section((b"x", b"%d" % n)) for n in range(REMEMBERED + 2)]
    blocks = [one.read(fields, True, STRANGER).block for fields in lists]
    for fields, block in zip(lists[2:], blocks[2:], strict=True):
        assert one.read(fields, True, STRANGER).block is block
    assert one.read(lists[0], True, STRANGER).block is not blocks[0]
    for large in (section((b"x", b"a" * REPEATED)), section(path=b"/" + b"a" * REPEATED)):
        assert one.read(large, True, STRANGER).block is not one.read(large, True, STRANGER).block


def test_tables_hold_no_secrets() -> None:
    known_pairs.clear()
    secret = [(b"authorization", b"s3cret"), (b"cookie", b"s3cret"), (b"referer", b"https://a/?s3cret")]
    fields = section(*secret, (b"x-plain", b"1"), path=b"/?s3cret", authority=b"a")
    fields.append((b"x-marked", b"s3cret", True))
    fields.append((b"x-long", b"s3cret" * 50, False))
    read(fields)
    assert list(known_pairs) == [(b"x-plain", b"1", False)]
    assert b"s3cret" not in repr(known_fields).encode()


def test_the_table_is_bounded() -> None:
    known_pairs.clear()
    one = reader()
    for n in range(CACHED + 10):
        one.read(section((b"x", b"%d" % n)), True, STRANGER)
    assert 0 < len(known_pairs) <= CACHED
    known_pairs.clear()


# -- trailers


def trailers(*fields: tuple[bytes, bytes]) -> list[bytes]:
    return [f[2] for f in reader(max_fields=5).read_trailers([(name, value, False) for name, value in fields])]


def test_trailers() -> None:
    assert trailers((b"x-sum", b"1"), (b"a_b", b"2"), (b"etag", b"")) == [b"x-sum: 1", b"etag: "]
    assert trailers() == []


@pytest.mark.parametrize(
    "pair",
    [
        (b":path", b"/"),
        (b":status", b"200"),
        (b"X", b"1"),
        (b"x", b" 1"),
        (b"x", b"1\r\ny: z"),
        (b"", b""),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"x"),
        (b"keep-alive", b"1"),
    ],
)
def test_malformed_trailers(pair: tuple[bytes, bytes]) -> None:
    with pytest.raises(Malformed) as caught:
        trailers((b"x", b"1"), pair)
    assert caught.value.fault is CLIENT_BAD_BODY


@pytest.mark.parametrize("name", [b"content-length", b"host", b"te", b"cookie", b"authorization", b"x-forwarded-for"])
def test_forbidden_trailers(name: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        trailers((name, b"1"))
    assert (type(caught.value), caught.value.fault) == (ProtocolError, CLIENT_BAD_BODY)


def test_trailers_are_bounded() -> None:
    for many in ([(b"x", b"1")] * 6, [(b"x", b"a" * 4096)] * 2):
        with pytest.raises(ProtocolError) as caught:
            trailers(*many)
        assert (type(caught.value), caught.value.fault) == (ProtocolError, CLIENT_BAD_BODY)
