"""HTTP/1.1 to backends: framing, failures and time."""

from __future__ import annotations

import pytest

from tests.kit import ADDRESS, OK, SECOND, get, ok, post, toml

OTHER = b"GET /next HTTP/1.1\r\nHost: example.com\r\n\r\n"
TWO = f'backends = ["{ADDRESS}", "{SECOND}"]'

# -- framing


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_statuses_without_a_body(play, status):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get() + OTHER)
    length = b"Content-Length: 10\r\n" if status.startswith(b"304") else b""
    backend.send(b"HTTP/1.1 %b\r\n%bETag: x\r\n\r\n" % (status, length))
    client.expect_response(int(status[:3]), b"", {b"ETag": b"x", b"Transfer-Encoding": None})
    backend.expect_request(b"GET", b"/")
    backend.expect_request(b"GET", b"/next")
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.expect_connections(1)


def test_a_response_without_length_ends_with_the_connection(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    client.expect_head(200, {b"Transfer-Encoding": b"chunked"})
    client.expect_body(b"abc")
    backend.send(b"def")
    client.expect_body(b"def")
    client.expect_unfinished()
    backend.connection.close()
    client.expect_end()
    client.send(OTHER)
    backend.expect_connections(2)
    backend.expect_request(b"GET", b"/next")


def test_a_response_of_http_1_0_ends_with_the_connection(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
    backend.connection.close()
    assert client.expect_response(200, b"abc").first[0] == b"HTTP/1.1"
    client.expect_nothing()


def test_an_empty_response_without_length(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\n\r\n")
    backend.connection.close()
    client.expect_response(200, b"")
    client.expect_nothing()


def test_http_1_0_with_keep_alive_is_used_again(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get() + OTHER)
    backend.send(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
    client.expect_response(200, b"ok")
    backend.expect_request(b"GET", b"/")
    backend.expect_request(b"GET", b"/next")
    backend.expect_connections(1)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n",
        b"HTTP/1.0 200 OK\r\n",
    ],
)
def test_a_backend_that_will_close_is_not_used_again(play, head):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(head + b"Content-Length: 2\r\n\r\nok")
    client.expect_response(200, b"ok", {b"Connection": None})
    assert backend.connection.ended == "closed"
    client.send(OTHER)
    backend.expect_connections(2)
    backend.expect_request(b"GET", b"/next")


def test_surplus_bytes_are_dropped_with_the_connection(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
    client.expect_response(200, b"ok")
    client.expect_nothing()
    assert backend.connection.ended
    client.send(OTHER)
    backend.expect_connections(2)
    backend.expect_request(b"GET", b"/next")
    backend.send(ok(b"real"))
    client.expect_response(200, b"real")


def test_surplus_bytes_after_chunks_and_after_204(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nforged")
    client.expect_response(200, b"ok")
    client.send(get())
    backend.expect_connections(2)
    backend.send(b"HTTP/1.1 204 No Content\r\n\r\nforged")
    client.expect_response(204)
    client.send(OTHER)
    backend.expect_connections(3)
    client.expect_nothing()


def test_what_an_idle_backend_says_is_no_answer(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.send(ok(b"forged"))
    assert backend.connection.ended == "reset"
    client.expect_nothing()
    client.send(OTHER)
    backend.expect_connections(2)
    backend.send(ok(b"real"))
    client.expect_response(200, b"real")


def test_head_with_a_body_all_the_same(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(method=b"HEAD"))
    backend.send(OK)
    client.expect_response(200, head=True, headers={b"Content-Length": b"2"})
    client.expect_nothing()
    client.send(OTHER)
    backend.expect_connections(2)


def test_chunk_extensions_and_forbidden_trailers_of_a_backend_stay_behind(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;a=b\r\nok\r\n0;c\r\nx-t: 1\r\nContent-Length: 7\r\n\r\n"
    )
    client.expect_response(200, b"ok", trailers=[(b"x-t", b"1")])
    assert b"a=b" not in client.received


# -- malformed and contradictory: 502

BROKEN = {
    "no status line": b"hello\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "other version": b"HTTP/2.0 200 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok\r\n\r\n",
    "bare CR in a value": b"HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length +2": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "coding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 201 + b"\r\n",
    "too large a head": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    "too many interim responses": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_responses_are_502(play, name):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(BROKEN[name])
    while client.unread.startswith(b"HTTP/1.1 103"):
        client.expect_response(103)
    message = client.expect_response(502)
    assert b"127.0.0.1" not in message.body
    assert backend.connection.ended == "reset"
    client.expect_nothing()
    assert [(record.status, record.fault) for record in scenario.log] == [(502, "backend-bad-response")]


def test_a_backend_that_closes_within_its_head_is_502(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nConte")
    backend.connection.close()
    client.expect_response(502)
    client.expect_nothing()


def test_a_backend_that_closes_a_fresh_connection_without_an_answer_is_502(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"body"))
    backend.connection.close()
    client.expect_response(502)
    assert [(record.fault, record.retries) for record in scenario.log] == [("backend-reset", 0)]
    backend.expect_connections(1)


# -- a response cut short is never shown as whole

HEADS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "to the end": b"HTTP/1.1 200 OK\r\n\r\nabc",
}


@pytest.mark.parametrize("client_version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    ("framing", "how"),
    [("length", "close"), ("chunked", "close"), ("length", "reset"), ("chunked", "reset"), ("to the end", "reset")],
)
def test_a_response_cut_short_cuts_the_client(play, framing, how, client_version):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % client_version)
    backend.send(HEADS[framing])
    client.expect_head(200)
    client.expect_body(b"abc")
    getattr(backend.connection, how)()
    client.expect_unfinished()
    client.expect_reset()
    assert [record.fault for record in scenario.log] == ["backend-body-cut"]


@pytest.mark.parametrize("rest", [b"x\r\n", b"3\r\nabcX", b"0\r\nbad name: x\r\n\r\n", b"-1\r\n"])
def test_a_chunked_response_that_breaks_cuts_the_client(play, rest):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(HEADS["chunked"])
    client.expect_head(200)
    client.expect_body(b"abc")
    backend.send(rest)
    client.expect_unfinished()
    assert client.ended == "reset"
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["backend-bad-body"]


def test_a_response_whose_head_and_broken_body_come_together(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(HEADS["chunked"] + b"x\r\n")
    if client.ended != "reset":  # nothing had to be shown yet: a 502 says more
        client.expect_response(502)
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["backend-bad-body"]


# -- time


def test_no_first_byte_is_504(play):
    scenario = play(toml("", 'timeouts = { first_byte = "60s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    scenario.advance(59.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(504)
    client.expect_nothing()
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["backend-first-byte-timeout"]


def test_the_first_byte_counts_from_the_end_of_the_request(play):
    scenario = play(toml('minimum_rate = "off"', 'timeouts = { first_byte = "10s" }'))
    client, _backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 5", method=b"POST"))
    for part in (b"a", b"b", b"c", b"d", b"e"):
        scenario.advance(9)
        client.send(part)
    scenario.advance(9)
    client.expect_nothing()
    scenario.advance(1.1)
    client.expect_response(504)
    client.expect_nothing()


def test_the_first_byte_counts_on_a_connection_from_the_pool(play):
    scenario = play(toml("", 'timeouts = { first_byte = "10s" }\npool = { idle_time = "60s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200)
    scenario.advance(5)
    client.send(get())
    scenario.advance(9.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(504)
    backend.expect_connections(1)


def test_interim_responses_do_not_end_the_wait(play):
    scenario = play(toml("", 'timeouts = { first_byte = "10s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    client.expect_response(103)
    scenario.advance(60)
    client.expect_response(504)


def test_a_body_that_stops_cuts_the_client(play):
    scenario = play(toml("", 'timeouts = { idle = "60s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
    scenario.advance(59)
    backend.send(b"cd")
    scenario.advance(59)
    client.expect_head(200)
    client.expect_body(b"abcd")
    client.expect_open()
    scenario.advance(1.1)
    client.expect_reset()
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["backend-idle-timeout"]


def test_a_backend_that_we_pause_is_not_late(play_once):
    scenario = play_once(toml('minimum_rate = "off"', 'timeouts = { idle = "60s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    client.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000)
    scenario.advance(600)
    client.resume_reading()
    client.expect_head(200)
    client.expect_body(b"x" * 200_000)
    scenario.advance(59)
    client.expect_open()
    scenario.advance(2)
    client.expect_reset()


def test_a_backend_that_does_not_take_the_body_is_504(play_once):
    scenario = play_once(toml("", 'timeouts = { idle = "60s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 1000000", method=b"POST"))
    backend.connection.stop_reading()
    client.send(b"x" * 300_000)
    scenario.advance(59)
    client.expect_nothing()
    scenario.advance(2)
    client.expect_response(504)
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["backend-send-timeout"]


def test_total_bounds_a_whole_exchange(play):
    scenario = play(toml("", 'timeouts = { total = "100s", idle = "60s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    client.expect_head(200)
    for _ in range(9):
        scenario.advance(11)
        backend.send(b"x")
    client.expect_open()
    scenario.advance(1.1)
    assert client.ended == "reset"
    assert [record.fault for record in scenario.log] == ["backend-total-timeout"]


def test_total_before_the_head_is_504(play):
    scenario = play(toml("", 'timeouts = { total = "10s", first_byte = "60s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    scenario.advance(9.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(504)
    assert backend.connection.ended == "reset"


def test_no_connection_in_time_is_504(play_once):
    scenario = play_once(toml("", 'timeouts = { connect = "5s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    client.send(get())
    scenario.advance(4.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(504)
    assert [record.fault for record in scenario.log] == ["backend-connect-timeout"]


def test_refused_is_502(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get() + OTHER)
    for _ in range(2):
        message = client.expect_response(502)
        assert b"127.0.0.1" not in message.body
    assert [record.fault for record in scenario.log] == ["backend-connect"] * 2
    backend.accept()
    client.send(OTHER)
    backend.send(OK)
    client.expect_response(200, b"ok")


@pytest.mark.parametrize("request_bytes", [get(), post(b"body")])
def test_another_backend_is_tried_when_one_refuses(play, request_bytes):
    scenario = play(toml("", TWO))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    first.refuse()
    for _ in range(4):
        client.send(request_bytes)
        second.connection.expect_head(request_bytes.partition(b" ")[0], b"/")
        second.connection._body()
        second.send(OK)
        client.expect_response(200, b"ok")


def test_when_all_refuse_it_is_502_after_one_try_each(play):
    scenario = play(toml("", TWO))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    first.refuse()
    second.refuse()
    client.send(get())
    client.expect_response(502)
    assert (len(first.attempts), len(second.attempts)) == (1, 1)


# -- a backend that leaves during an upload


def test_a_backend_that_leaves_during_an_upload_is_502(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 10", method=b"POST") + b"abc")
    backend.connection.reset()
    client.expect_response(502)
    client.send(b"defghij" + OTHER)
    backend.expect_connections(2)
    backend.expect_request(b"GET", b"/next")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_a_backend_that_answers_and_leaves_during_an_upload(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 10", method=b"POST") + b"abc")
    backend.send(ok(b"too much", b"Connection: close", status=b"413 Content Too Large"))
    backend.connection.close()
    client.expect_response(413, b"too much")
    client.send(b"defghij" + OTHER)
    backend.expect_connections(2)
    backend.expect_request(b"GET", b"/next")
