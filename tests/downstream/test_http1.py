"""HTTP/1.1 from clients: keep-alive, pipelining, framing, refusals, limits and time."""

from __future__ import annotations

import pytest

from tests.kit import ADDRESS, OK, get, ok, post, toml

RESPOND = 'respond = { body = "hi" }'

# -- one request after another


def test_a_connection_carries_many_requests(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for path in (b"/1", b"/2", b"/3"):
        client.send(get(path))
        backend.expect_request(b"GET", path)
        backend.send(ok(path))
        client.expect_response(200, path)
    client.expect_nothing()
    backend.expect_connections(1)


def test_pipelined_requests_are_answered_in_order(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/1") + post(b"body", path=b"/2") + get(b"/3"))
    backend.expect_request(b"GET", b"/1")
    backend.connection.expect_nothing()
    backend.send(ok(b"one"))
    client.expect_response(200, b"one")
    backend.expect_request(b"POST", b"/2", b"body")
    backend.send(ok(b"two"))
    client.expect_response(200, b"two")
    backend.expect_request(b"GET", b"/3")
    backend.send(ok(b"three"))
    client.expect_response(200, b"three")
    client.expect_nothing()


@pytest.mark.parametrize("count", [20, 400])
def test_pipelined_requests_answered_locally_take_no_recursion(play_once, count):
    scenario = play_once(toml(route=RESPOND))
    client = scenario.client()
    client.send(b"".join(get(b"/%d" % at) for at in range(count)))
    for _ in range(count):
        client.expect_response(200, b"hi")
    client.expect_nothing()
    assert [record.target for record in scenario.log] == [b"/%d" % at for at in range(count)]


def test_pipelined_requests_answered_in_one_read_by_a_backend_keep_order(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    count = 30
    client.send(b"".join(get(b"/%d" % at) for at in range(count)))
    for at in range(count):
        backend.expect_request(b"GET", b"/%d" % at)
        backend.send(ok(b"%d" % at))
    for at in range(count):
        client.expect_response(200, b"%d" % at)


def test_what_is_pipelined_is_held_within_a_bound(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/1"))
    client.send(get(b"/n", b"x: " + b"y" * 8000) * 20)
    assert not client.is_read
    backend.expect_request(b"GET", b"/1")
    backend.send(ok(b"one"))
    client.expect_response(200, b"one")
    for _ in range(20):
        backend.expect_request(b"GET", b"/n")
        backend.send(OK)
        client.expect_response(200, b"ok")
    assert client.is_read


def test_connection_close_from_the_client_is_honoured(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Connection: close"))
    backend.expect_request(b"GET", b"/", headers={b"Connection": None})
    backend.send(OK)
    client.expect_response(200, b"ok", {b"Connection": b"close"})
    client.expect_closed()


def test_nothing_after_connection_close_is_served(play):
    scenario = play(toml(route=RESPOND))
    client = scenario.client()
    client.send(get(b"/", b"Connection: close") + get(b"/2"))
    client.expect_response(200, b"hi", {b"Connection": b"close"})
    client.expect_closed()
    assert len(scenario.log) == 1


def test_an_empty_line_before_a_request_is_passed_over(play_once):
    scenario = play_once(toml(route=RESPOND))
    client = scenario.client()
    client.send(b"\r\n" + get())
    client.expect_response(200, b"hi")


def test_empty_lines_before_a_request_are_passed_over(play):
    scenario = play(toml(route=RESPOND))
    client = scenario.client()
    client.send(b"\r\n" + get())
    client.expect_response(200, b"hi")
    client.send(b"\r\n" + get())
    client.expect_response(200, b"hi")


# -- HTTP/1.0


def test_http_1_0_closes(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(b"GET /old HTTP/1.0\r\n\r\n")
    backend.expect_request(b"GET", b"/old", headers={b"Host": b"192.0.2.1:8080"})
    backend.send(OK)
    client.expect_response(200, b"ok", {b"Connection": b"close"})
    client.expect_closed()


def test_http_1_0_with_keep_alive(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(2):
        client.send(b"GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n")
        backend.expect_request(b"GET", b"/")
        backend.send(OK)
        client.expect_response(200, b"ok", {b"Connection": b"keep-alive"})
    client.expect_nothing()


def test_http_1_0_gets_a_chunked_body_decoded_and_the_end_by_close(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(b"GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n")
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n")
    client.expect_response(200, b"hello", {b"Transfer-Encoding": None, b"Connection": b"close"})
    client.expect_closed()


# -- targets and methods


def test_head_has_the_length_and_no_body(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(method=b"HEAD") + get(b"/next"))
    backend.expect_request(b"HEAD", b"/")
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    client.expect_response(200, head=True, headers={b"Content-Length": b"1000"})
    backend.expect_request(b"GET", b"/next")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_head_of_a_fixed_answer(play):
    scenario = play(toml(route=RESPOND))
    client = scenario.client()
    client.send(get(method=b"HEAD") + get())
    client.expect_response(200, head=True, headers={b"Content-Length": b"2"})
    client.expect_response(200, b"hi")


def test_head_of_a_response_without_length_has_no_framing(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(method=b"HEAD"))
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.expect_response(200, head=True, headers={b"Content-Length": None})
    client.expect_nothing()
    client.send(get())
    backend.expect_request(b"HEAD", b"/")
    backend.expect_request(b"GET", b"/")


def test_options_asterisk(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"*", method=b"OPTIONS"))
    backend.expect_request(b"OPTIONS", b"*")
    backend.send(b"HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n")
    client.expect_response(204, b"", {b"Allow": b"GET", b"Content-Length": None})
    client.expect_nothing()


def test_absolute_form_becomes_origin_form(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"http://example.com/a?b=c"))
    backend.expect_request(b"GET", b"/a?b=c", headers={b"Host": b"example.com"})
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_unknown_methods_pass(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(method=b"BREW"))
    backend.expect_request(b"BREW", b"/")
    backend.send(ok(b"teapot", status=b"418 I'm a teapot"))
    client.expect_response(418, b"teapot")


@pytest.mark.parametrize("status", [b"100", b"199", b"999", b"600"])
def test_statuses_from_100_to_999_pass(play, status):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    if status < b"200":
        backend.send(b"HTTP/1.1 %b Odd\r\n\r\n" % status)
        client.expect_response(int(status))
        backend.send(OK)
        client.expect_response(200, b"ok")
    else:
        backend.send(ok(b"x", status=status + b" Odd"))
        assert client.expect_response(int(status), b"x").first == (b"HTTP/1.1", status, b"Odd")


def test_what_browsers_send_raw_passes(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b'/a?q=[{}]|^`"<>\\'))
    backend.expect_request(b"GET", b'/a?q=[{}]|^`"<>\\')
    backend.send(OK)
    client.expect_response(200, b"ok")


# -- bodies


def test_chunked_both_ways_with_trailers(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(
        get(b"/", b"Transfer-Encoding: chunked", method=b"POST")
        + b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nx-t: 1\r\n\r\n"
    )
    backend.expect_request(b"POST", b"/", b"hello world", trailers=[(b"x-t", b"1")])
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nx-u: 2\r\n\r\n")
    client.expect_response(200, b"abcdef", trailers=[(b"x-u", b"2")])
    client.send(get(b"/again"))
    backend.expect_request(b"GET", b"/again")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_a_body_passes_as_it_comes(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 9", method=b"POST"))
    backend.expect_head(b"POST", b"/", {b"Content-Length": b"9"})
    for part in (b"abc", b"def"):
        client.send(part)
        backend.connection.expect_body(part)
    client.send(b"ghi" + get(b"/2"))
    backend.connection.expect_body(b"ghi")
    backend.connection.expect_end()
    backend.connection.expect_nothing()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
    client.expect_head(200)
    client.expect_body(b"abc")
    client.expect_unfinished()
    backend.send(b"def")
    client.expect_body(b"def")
    client.expect_end()
    backend.expect_request(b"GET", b"/2")


# -- strict: refused, closed, and nothing reached a backend

BAD = {
    "length and coding": get(b"/", b"Content-Length: 3", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n",
    "two lengths": get(b"/", b"Content-Length: 3", b"Content-Length: 3", method=b"POST") + b"abc",
    "length +5": get(b"/", b"Content-Length: +5", method=b"POST") + b"abcde",
    "length 0x5": get(b"/", b"Content-Length: 0x5", method=b"POST") + b"abcde",
    "length 5,5": get(b"/", b"Content-Length: 5,5", method=b"POST") + b"abcde",
    "length overflow": get(b"/", b"Content-Length: 99999999999999999999", method=b"POST"),
    "empty length": get(b"/", b"Content-Length:", method=b"POST"),
    "coding gzip": get(b"/", b"Transfer-Encoding: gzip", method=b"POST"),
    "coding gzip, chunked": get(b"/", b"Transfer-Encoding: gzip, chunked", method=b"POST"),
    "coding chunked twice": get(b"/", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", method=b"POST"),
    "coding in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare CR in a value": get(b"/", b"x: a\rb"),
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF between fields": b"GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n",
    "NUL": get(b"/", b"x: a\0b"),
    "obs-fold": get(b"/", b"x: a", b" b"),
    "space before the colon": get(b"/", b"x : a"),
    "empty name": get(b"/", b": a"),
    "name that is no token": get(b"/", b"x(y): a"),
    "control byte in a value": get(b"/", b"x: a\x01b"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": get(b"/", b"Host: example.com"),
    "malformed host": get(host=b"exa mple"),
    "host with a user": get(host=b"user@example.com"),
    "host is not the target's": get(b"http://other.example/"),
    "method that is no token": get(method=b"G(T"),
    "fragment": get(b"/a#b"),
    "control in the target": get(b"/a\x01"),
    "space in the target": get(b"/a b"),
    "DEL in the target": get(b"/a\x7f"),
    "byte over 0x7f in the target": get(b"/\xc3\xa4"),
    "dot segment": get(b"/a/../b"),
    "encoded dot segment": get(b"/a/%2e%2E/b"),
    "dot segment between encoded slashes": get(b"/a%2F..%2Fb"),
    "dot segment between backslashes": get(b"/a%5C..%5Cb"),
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "version in lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
}
BAD_VERSIONS = {version: b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version for version in (b"1.2", b"2.0", b"0.9", b"3.0")}


@pytest.mark.parametrize("name", BAD)
def test_what_is_malformed_is_refused_and_reaches_no_backend(play, name):
    _refused(play, BAD[name], 400)


@pytest.mark.parametrize("version", BAD_VERSIONS)
def test_other_versions_are_505(play, version):
    _refused(play, BAD_VERSIONS[version], 505)


def test_connect_is_refused(play):
    scenario = play(toml())
    client = scenario.client()
    client.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\nsecret")
    message = client.expect_response(405, headers={b"Connection": b"close"})
    assert message.get(b"Allow") is not None
    client.expect_closed()
    assert scenario.log[0].fault == "client-connect-refused"


def test_other_expectations_are_417(play):
    _refused(play, post(b"x", b"Expect: 200-ok"), 417)


def _refused(play, data, status):
    scenario = play(toml())
    client = scenario.client()
    # the request behind it must never be served: where it begins is not known
    client.send(data + get(b"/smuggled"))
    client.expect_response(status, headers={b"Connection": b"close"})
    client.expect_closed()
    assert scenario.backend(ADDRESS).attempts == []
    assert [(record.status, record.fault[:6]) for record in scenario.log] == [(status, "client")]


BAD_CHUNKS = {
    "sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "overflow": b"ffffffffffffffff\r\nabc",
    "too many digits": b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    "junk": b"3 \r\nabc\r\n0\r\n\r\n",
    "empty": b"\r\nabc\r\n0\r\n\r\n",
    "missing CRLF": b"3\r\nabcd\r\n0\r\n\r\n",
    "bare LF": b"3\nabc\n0\n\n",
    "long extension": b"3;" + b"x" * 600 + b"\r\nabc\r\n0\r\n\r\n",
    "forbidden trailer": b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    "malformed trailer": b"3\r\nabc\r\n0\r\nx y: 5\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_a_malformed_chunked_body_is_refused_and_never_whole_for_the_backend(play, name):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + BAD_CHUNKS[name] + get(b"/smuggled"))
    client.expect_response(400, headers={b"Connection": b"close"})
    client.expect_closed()
    for connection in backend.connections:
        assert connection.ended == "reset"
        assert b"\r\n0\r\n\r\n" not in connection.received
        assert b"smuggled" not in connection.received
    assert [record.fault for record in scenario.log] == ["client-bad-body"]


def test_a_chunked_body_that_breaks_after_the_answer_began_cuts_the_connection(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n")
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    client.expect_head(200)
    client.expect_body(b"abc")
    client.send(b"zz\r\n")
    client.expect_reset()
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["client-bad-body"]


def test_underscored_names_are_dropped(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"x_y: 1", b"x-y: 2"))
    backend.expect_request(b"GET", b"/", headers={b"x_y": None, b"x-y": b"2"})


# -- limits


def test_head_too_large_is_431(play):
    _refused_whole(play, 'limits = { head = "1KB" }', get(b"/", b"x: " + b"y" * 1100), 431)


def test_head_that_never_ends_is_431(play):
    _refused_whole(play, 'limits = { head = "1KB" }', get(b"/", b"x: " + b"y" * 5000)[:-4], 431)


def test_too_many_fields_are_431(play):
    _refused_whole(play, "limits = { fields = 5 }", get(b"/", *[b"x: y"] * 5), 431)


def test_target_too_long_is_414(play):
    _refused_whole(play, 'limits = { target = "100B" }', get(b"/" + b"x" * 100), 414)


def test_target_that_never_ends_is_414(play):
    _refused_whole(play, 'limits = { target = "100B" }', b"GET /" + b"x" * 300, 414)


def test_declared_body_too_large_is_413(play):
    scenario = play(toml('limits = { body = "10B" }'))
    client = scenario.client()
    client.send(post(b"12345678901"))
    client.expect_response(413)
    assert scenario.backend(ADDRESS).attempts == []


def test_body_of_the_limit_passes(play):
    scenario = play(toml('limits = { body = "10B" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"1234567890"))
    backend.expect_request(b"POST", b"/", b"1234567890")


def test_actual_body_too_large_is_413_and_never_whole_for_the_backend(play):
    scenario = play(toml('limits = { body = "10B" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"5\r\nhello\r\n")
    backend.expect_head(b"POST", b"/")
    client.send(b"6\r\n world\r\n")
    client.expect_response(413)
    assert backend.connection.ended == "reset"
    client.send(b"0\r\n\r\n" + get(b"/next"))
    backend.expect_request(b"GET", b"/next")


def _refused_whole(play, server, data, status):
    scenario = play(toml(server))
    client = scenario.client()
    client.send(data)
    client.expect_response(status, headers={b"Connection": b"close"})
    client.expect_closed()
    assert scenario.backend(ADDRESS).attempts == []
    assert [record.status for record in scenario.log] == [status]


def test_requests_per_connection(play):
    scenario = play(toml("limits = { requests_per_connection = 2 }", route=RESPOND))
    client = scenario.client()
    client.send(get() * 3)
    client.expect_response(200, b"hi", {b"Connection": None})
    client.expect_response(200, b"hi", {b"Connection": b"close"})
    client.expect_closed()


def test_connections_in_all(play_once):
    scenario = play_once(toml("limits = { connections = 2 }", route=RESPOND))
    first, second = scenario.client("192.0.2.5"), scenario.client("192.0.2.6")
    third = scenario.client("192.0.2.7")
    third.expect_response(503, headers={b"Connection": b"close", b"Retry-After": b"1"})
    third.expect_closed()
    first.close()
    fourth = scenario.client("192.0.2.7")
    for client in (second, fourth):
        client.send(get())
        client.expect_response(200, b"hi")


def test_connections_per_address(play_once):
    scenario = play_once(toml("limits = { connections_per_address = 1 }", route=RESPOND))
    first = scenario.client("192.0.2.5")
    refused = scenario.client("192.0.2.5")
    refused.expect_response(503, headers={b"Connection": b"close"})
    refused.expect_closed()
    other = scenario.client("192.0.2.6")
    other.expect_nothing()
    first.reset()
    again = scenario.client("192.0.2.5")
    again.send(get())
    again.expect_response(200, b"hi")


# -- time


def test_time_for_a_head(play):
    scenario = play(toml('timeouts = { head = "10s" }'))
    client = scenario.client()
    client.send(b"GET / HTTP/1.1\r\n")
    scenario.advance(9.9)
    client.send(b"Host: a\r\n")
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(408, headers={b"Connection": b"close"})
    client.expect_closed()
    assert scenario.log[0].fault == "client-head-timeout"


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(play):
    scenario = play(toml('timeouts = { head = "10s" }'))
    client = scenario.client()
    scenario.advance(9.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_closed()
    assert scenario.log == []


def test_time_for_the_head_of_a_later_request(play):
    scenario = play(toml('timeouts = { head = "10s", keep_alive = "75s" }', route=RESPOND))
    client = scenario.client()
    client.send(get())
    client.expect_response(200, b"hi")
    scenario.advance(70)
    client.send(b"GET /")
    scenario.advance(9.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(408)
    client.expect_closed()


def test_time_for_a_pipelined_head_that_does_not_end(play):
    scenario = play(toml('timeouts = { head = "10s", keep_alive = "75s" }', route=RESPOND))
    client = scenario.client()
    client.send(get() + b"GET /2 HTTP/1.1\r\nHo")
    client.expect_response(200, b"hi")
    scenario.advance(10.1)
    client.expect_response(408)
    client.expect_closed()


def test_keep_alive_ends(play):
    scenario = play(toml('timeouts = { keep_alive = "75s" }', route=RESPOND))
    client = scenario.client()
    for _ in range(2):
        client.send(get())
        client.expect_response(200, b"hi")
        scenario.advance(74)
    client.expect_nothing()
    scenario.advance(1.1)
    client.expect_closed()
    assert len(scenario.log) == 2


@pytest.mark.parametrize("behind", [b"", b"\r", b"\r\n", b"\r\n\r"])
def test_empty_lines_keep_no_connection(play_once, behind):
    scenario = play_once(toml('timeouts = { keep_alive = "20s", head = "10s" }', route=RESPOND))
    client = scenario.client()
    client.send(get() + behind)
    client.expect_response(200, b"hi")
    for _ in range(2):
        scenario.advance(9)
        client.send(b"\n" if behind.endswith(b"\r") else b"\r")
        client.send(b"\r" if behind.endswith(b"\r") else b"\n")
    assert not client.ended
    scenario.advance(2)
    assert client.unread == b""
    client.expect_closed()


@pytest.mark.parametrize("before", [b"", b"\r", b"\r\n", b"\r\n\r"])
def test_a_head_behind_empty_lines_has_its_time(play_once, before):
    scenario = play_once(toml('timeouts = { keep_alive = "60s", head = "10s" }', route=RESPOND))
    client = scenario.client()
    client.send(get() + before)
    client.expect_response(200, b"hi")
    scenario.advance(5)
    client.send((b"\n" if before.endswith(b"\r") else b"") + b"GET / HT")
    scenario.advance(9)
    client.expect_nothing()
    scenario.advance(2)
    client.expect_response(408)
    client.expect_closed()


def test_gap_in_a_body_is_408(play):
    scenario = play(toml('timeouts = { body = "30s" }\nminimum_rate = "off"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 10", method=b"POST") + b"a")
    scenario.advance(29)
    client.send(b"b")
    scenario.advance(29)
    client.expect_nothing()
    scenario.advance(1.1)
    client.expect_response(408, headers={b"Connection": b"close"})
    client.expect_closed()
    assert backend.connection.ended == "reset"
    assert scenario.log[0].fault == "client-body-timeout"


def test_minimum_rate_of_a_body(play):
    scenario = play(toml('minimum_rate = { rate = "100B/s", over = "10s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 100000", method=b"POST"))
    for _ in range(5):
        client.send(b"x" * 250)
        scenario.advance(2)
    client.expect_nothing()  # 125 bytes a second
    for _ in range(5):
        client.expect_nothing()
        client.send(b"x" * 150)
        scenario.advance(2)
    client.expect_response(408, headers={b"Connection": b"close"})
    client.expect_closed()
    assert backend.connection.ended == "reset"
    assert scenario.log[0].fault == "client-body-slow"


def test_the_body_clock_stands_while_the_backend_does_not_read(play_once):
    scenario = play_once(toml("", 'timeouts = { idle = "300s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 1000000", method=b"POST"))
    backend.connection.stop_reading()
    client.send(b"x" * 400_000)
    assert not client.is_read
    scenario.advance(120)
    client.expect_nothing()
    backend.connection.resume_reading()
    assert client.is_read
    client.send(b"x" * 600_000)
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_the_body_clock_stands_while_the_backend_is_connecting(play_once):
    scenario = play_once(toml("", 'timeouts = { connect = "300s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    client.send(get(b"/", b"Content-Length: 200000", method=b"POST") + b"x" * 100_000)
    assert not client.is_read
    scenario.advance(120)
    client.expect_nothing()
    backend.accept()
    client.send(b"x" * 100_000)
    backend.expect_request(b"POST", b"/", b"x" * 200_000)


def test_no_client_clock_runs_while_the_backend_is_silent(play):
    scenario = play(toml("", 'timeouts = { first_byte = "1h", idle = "1h" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"done"))
    scenario.advance(1000)
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    scenario.advance(1000)
    backend.send(b"cd")
    client.expect_response(200, b"abcd")


def test_a_client_that_does_not_read_is_cut(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    client.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 400_000)
    assert not backend.connection.is_read
    # this transport says no more than "empty": the 64 KB it may hold get the time that the rate allows
    scenario.advance(65536 / 240 - 1)
    assert not client.ended
    scenario.advance(2)
    assert client.ended == "reset"
    assert backend.connection.ended == "reset"
    assert scenario.log[0].fault == "client-reads-slowly"


@pytest.mark.parametrize("fields", [[], [b"Connection: close"]])
def test_a_client_that_never_takes_the_end_of_its_answer_is_cut(play_once, fields):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", *fields))
    client.stop_reading()
    backend.send(ok(b"x" * 50_000))
    scenario.advance(200)
    assert client.ended == "reset"
    assert not scenario.engine.connections


def test_a_client_that_reads_again_in_time_is_kept(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 800000\r\n\r\n")
    for _ in range(8):
        client.stop_reading()
        backend.send(b"x" * 100_000)
        scenario.advance(9)
        client.resume_reading()
    client.expect_response(200, b"x" * 800_000)


def test_minimum_rate_can_be_off_for_a_route(play_once):
    scenario = play_once(toml(route='upstream = "app"\nminimum_rate = "off"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    client.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
    scenario.advance(3000)
    client.resume_reading()
    client.expect_response(200, b"x" * 200_000)


# -- clients that leave


def test_a_client_that_leaves_cancels_the_backends_work(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.expect_request(b"GET", b"/")
    client.close()
    backend.connection.expect_reset()
    assert scenario.log[0].fault == "client-gone"


def test_a_client_that_leaves_within_its_body(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 10", method=b"POST") + b"abc")
    client.reset()
    backend.expect_head(b"POST", b"/")
    backend.connection.expect_body(b"abc")
    backend.connection.expect_reset()
    assert scenario.log[0].fault == "client-gone"


def test_a_client_that_leaves_while_the_backend_is_connecting(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    client.send(get())
    client.reset()
    assert backend.attempts[0].state == "given up"
    assert [record.fault for record in scenario.log] == ["client-gone"]


def test_a_client_that_leaves_within_the_response(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    client.reset()
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["client-gone"]


def test_a_heap_of_requests_leaves_others_their_turn(play_once):
    scenario = play_once(toml(route="respond = 204"))
    client, other = scenario.client(), scenario.client()
    turns = []
    later = scenario.reactor.callLater

    def count(delay, call, *args, **kwargs):
        if getattr(call, "__name__", "") == "_turn":
            turns.append(delay)
        return later(delay, call, *args, **kwargs)

    scenario.reactor.callLater = count
    client.send(get() * 100)
    for _ in range(100):
        client.expect_response(204)
    client.expect_nothing()
    assert turns == [0] * 12
    other.send(get())
    other.expect_response(204)
