"""HTTP/2 responses: what HPACK is given."""

from __future__ import annotations

import pytest

from revproxy.http import serialise
from revproxy.http.blocks import ResponseBlock
from revproxy.http.fields import Pair
from revproxy.http.h1 import parse_response
from revproxy.http.h2responses import accept_of, accepts, response_fields_h2, switching_response, trailer_fields_h2
from revproxy.http.message import Headers, Response, field
from revproxy.http.serialise import response_lines

DATE = b"Thu, 01 Jan 1970 00:00:01 GMT"


def parsed(*lines: bytes, status: bytes = b"200 OK") -> Response:
    return parse_response(b"\r\n".join([b"HTTP/1.1 " + status, b"Date: " + DATE, *lines]), 100)[0]


def fields_of(*lines: bytes, status: bytes = b"200 OK") -> list[Pair]:
    """All but the status and the date."""
    pairs = response_fields_h2(parsed(*lines, status=status))
    assert pairs[:2] == [(b":status", status[:3], False), (b"date", DATE, False)]
    return pairs[2:]


def test_names_are_lower_case_and_in_order() -> None:
    assert fields_of(b"X-Two: b ", b"Content-Type: text/plain", b"X-One:") == [
        (b"x-two", b"b", False),
        (b"content-type", b"text/plain", False),
        (b"x-one", b"", False),
    ]


def test_what_is_about_a_connection_stays_behind() -> None:
    lines = [
        b"Connection: close",
        b"Keep-Alive: 1",
        b"Proxy-Connection: x",
        b"Upgrade: x",
        b"Transfer-Encoding: chunked",
    ]
    assert fields_of(*lines, b"Proxy-Authenticate: Basic", b"TE: x", b"X: 1") == [(b"x", b"1", False)]


def test_user_code_says_nothing_about_a_connection_either() -> None:
    response = Response(200, Headers([field(b"Connection", b"close"), field(b"Date", DATE), field(b"X", b"1")]))
    assert response_fields_h2(response)[1:] == [(b"date", DATE, False), (b"x", b"1", False)]


def test_content_length_is_what_the_response_says() -> None:
    assert fields_of(b"Content-Length: 5", b"X: 1") == [(b"content-length", b"5", False), (b"x", b"1", False)]
    response = parsed(b"Content-Length: 5", b"X: 1")
    response.length = 7
    assert response_fields_h2(response)[2:] == [(b"x", b"1", False), (b"content-length", b"7", False)]
    response.length = None
    assert response_fields_h2(response)[2:] == [(b"x", b"1", False)]
    response.length = 5
    response.headers.add(b"Content-Length", b"5")
    assert response_fields_h2(response)[2:] == [(b"content-length", b"5", False), (b"x", b"1", False)]


def test_date_is_added_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialise.time, "time", lambda: 1.5)
    for response in (Response(204), Response(204, Headers([field(b"X", b"1")]))):
        assert response_fields_h2(response)[-1] == (b"date", DATE, False)
        assert b"Date: " + DATE in response_lines(response)
    monkeypatch.setattr(serialise.time, "time", lambda: 2.0)
    assert response_fields_h2(Response(204))[-1] == (b"date", DATE.replace(b":01 ", b":02 "), False)


@pytest.mark.parametrize(
    ("line", "marked"),
    [
        (b"Set-Cookie: a=b", True),
        (b"Authorization: x", True),
        (b"WWW-Authenticate: Digest nonce=1", True),
        (b"X-CSRF-Token: x", True),
        (b"Location: /a?code=1", True),
        (b"Location: /a", False),
        (b"ETag: x", False),
    ],
)
def test_secrets_are_marked(line: bytes, marked: bool) -> None:
    assert [pair[2] for pair in fields_of(line)] == [marked]
    assert [pair[2] for pair in trailer_fields_h2(parsed(line).headers.fields)] == [False, marked]


def test_interim_responses_have_no_date_and_no_length() -> None:
    response = parse_response(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nContent-Length: 0", 100)[0]
    assert response_fields_h2(response) == [(b":status", b"103", False), (b"link", b"</a>", False)]
    assert response_fields_h2(Response(100)) == [(b":status", b"100", False)]
    with pytest.raises(ValueError, match="101"):
        response_fields_h2(Response(101))


def test_a_repeated_head_is_made_once() -> None:
    shared = ResponseBlock(parsed(b"Content-Length: 1", b"X: 1"), 1, True, None).response
    first = response_fields_h2(shared)
    assert response_fields_h2(shared) is first
    assert response_lines(shared).endswith(b"X: 1\r\n")  # neither form is in the other's way
    assert response_fields_h2(shared) is first
    # a hook may change its own copy, or replace the fields
    copy = shared.copy()
    assert response_fields_h2(copy) == first
    shared.headers.add(b"Y", b"2")
    assert response_fields_h2(shared) == [*first, (b"y", b"2", False)]


def test_a_date_of_ours_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    response = parse_response(b"HTTP/1.1 200 OK\r\nX: 1", 100)[0]
    shared = ResponseBlock(response, 0, True, None).response
    monkeypatch.setattr(serialise.time, "time", lambda: 1.0)
    first = response_fields_h2(shared)
    monkeypatch.setattr(serialise.time, "time", lambda: 2.0)
    assert response_fields_h2(shared) != first


@pytest.mark.parametrize("status", [100, 199, 200, 204, 304, 599, 999])
def test_every_status(status: int) -> None:
    assert response_fields_h2(Response(status))[0] == (b":status", b"%d" % status, False)


def test_trailers() -> None:
    trailers = [field(b"X-Sum", b"1"), field(b"Connection", b"x"), field(b"Content-Length", b"1")]
    assert trailer_fields_h2(trailers) == [(b"x-sum", b"1", False)]


def test_a_switch_is_200() -> None:
    lines = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: x", b"Sec-WebSocket-Protocol: chat"]
    response = parsed(*lines, b"Content-Length: 0", status=b"101 Switching Protocols")
    assert switching_response(response) == [
        (b":status", b"200", False),
        (b"date", DATE, False),
        (b"sec-websocket-protocol", b"chat", True),
    ]


def test_accept() -> None:
    # RFC 6455 1.3
    key, accept = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert accept_of(key) == accept
    given = b"Sec-WebSocket-Accept: " + accept
    assert accepts(parsed(given, status=b"101 x"), key)
    assert not accepts(parsed(given, status=b"101 x"), b"AAAAAAAAAAAAAAAAAAAAAA==")
    assert not accepts(parsed(given, given, status=b"101 x"), key)
    assert not accepts(parsed(status=b"101 x"), key)
