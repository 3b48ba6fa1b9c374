"""Where several things happen at once: who was paused must go on, and nobody's bytes become another's."""

from __future__ import annotations

import pytest
from twisted.internet.task import deferLater

from revproxy.config.model import Middleware
from revproxy.http.message import Answer
from tests.kit import ADDRESS, OK, SECOND, get, hooked, ok, post, toml

BIG = 200_000
UPLOAD = get(b"/up", b"Content-Length: %d" % BIG, method=b"POST")


def goes_on(client, backend):
    """The client's connection carries another exchange."""
    client.send(get(b"/next"))
    backend.expect_request(b"GET", b"/next")
    backend.send(ok(b"next"))
    client.expect_response(200, b"next")
    client.expect_nothing()
    assert client.is_read


def test_an_upload_that_waited_for_a_backend_that_never_came(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    client.send(UPLOAD + b"x" * (BIG - 1000))
    assert not client.is_read
    backend.refuse()
    client.expect_response(502)
    client.send(b"x" * 1000)
    backend.accept()
    goes_on(client, backend)


def test_an_upload_that_waited_for_a_second_backend(play_once):
    scenario = play_once(toml("", f'backends = ["{ADDRESS}", "{SECOND}"]'))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    first.hang()
    client.send(UPLOAD + b"x" * BIG)
    first.refuse()
    second.expect_request(b"POST", b"/up", b"x" * BIG)
    second.send(OK)
    client.expect_response(200, b"ok")


def test_an_upload_that_waited_for_a_hook_that_answers(play_once):
    async def late(exchange):
        await deferLater(exchange.engine.reactor, 1)
        return Answer(403, body=b"no")

    scenario = play_once(hooked(toml(), Middleware(call=late)))
    client = scenario.client()
    client.send(UPLOAD + b"x" * BIG)
    assert not client.is_read
    scenario.advance(1)
    client.expect_response(403, b"no")
    assert client.is_read
    client.send(get(b"/next"))
    scenario.advance(1)
    client.expect_response(403, b"no")


def test_a_backend_that_reads_no_more_and_answers(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(UPLOAD)
    backend.connection.stop_reading()
    client.send(b"x" * (BIG - 1000))
    assert not client.is_read
    backend.send(ok(b"enough", status=b"413 Content Too Large"))
    client.expect_response(413, b"enough")
    assert client.is_read
    client.send(b"x" * 1000)
    goes_on(client, backend)
    backend.expect_connections(2)


def test_a_backend_that_answers_the_whole_of_a_request_it_has_not_read(play_once):
    scenario = play_once(toml("", "max_connections = 1"))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(UPLOAD)
    backend.connection.stop_reading()
    client.send(b"x" * 60_000)
    backend.send(ok(b"enough"))
    client.expect_response(200, b"enough")
    client.send(b"x" * (BIG - 60_000))
    goes_on(client, backend)


def test_a_backend_that_reads_no_more_and_resets(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(UPLOAD)
    backend.connection.stop_reading()
    client.send(b"x" * BIG)
    backend.connection.reset()
    client.expect_response(502)
    goes_on(client, backend)


def test_a_limit_that_is_passed_after_the_answer_began(play):
    scenario = play(toml('limits = { body = "5B" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n")
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    client.expect_head(200)
    client.expect_body(b"abc")
    client.send(b"3\r\ndef\r\n")
    client.expect_reset()
    assert backend.connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["client-body-too-large"]


def test_garbage_behind_a_good_request(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/good") + b"garbage\r\n\r\n" + get(b"/smuggled"))
    backend.expect_request(b"GET", b"/good")
    backend.send(OK)
    client.expect_response(200, b"ok")
    client.expect_response(400, headers={b"Connection": b"close"})
    client.expect_closed()
    backend.connection.expect_nothing()


def test_a_body_that_looks_like_a_request_is_a_body(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(get(b"/smuggled")) + get(b"/next"))
    backend.expect_request(b"POST", b"/", get(b"/smuggled"))
    backend.send(OK)
    client.expect_response(200)
    backend.expect_request(b"GET", b"/next")


def test_the_body_of_a_get_is_framed_like_any_other(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(get(b"/smuggled"), method=b"GET") + get(b"/next"))
    backend.expect_request(b"GET", b"/", get(b"/smuggled"))
    backend.send(OK)
    client.expect_response(200)
    backend.expect_request(b"GET", b"/next")


def test_a_request_body_that_is_dropped_is_never_a_request(play):
    scenario = play(toml(route='match = { path = "/a" }\nrespond = { body = "a" }'))
    client = scenario.client()
    client.send(get(b"/a", b"Content-Length: %d" % len(get(b"/b")), method=b"POST"))
    client.expect_response(200, b"a")
    client.send(get(b"/b") + get(b"/a"))
    client.expect_response(200, b"a")
    client.expect_nothing()
    assert [record.target for record in scenario.log] == [b"/a", b"/a"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_between_two_pipelined_requests(play, how):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/1") + get(b"/2"))
    getattr(client, how)()
    backend.expect_request(b"GET", b"/1")
    backend.connection.expect_reset()
    backend.expect_connections(1)
    assert [record.fault for record in scenario.log] == ["client-gone"]


def test_two_clients_do_not_disturb_each_other(play):
    scenario = play(toml())
    backend = scenario.backend(ADDRESS)
    slow, fast = scenario.client(), scenario.client()
    slow.send(get(b"/slow"))
    slow.stop_reading()
    one = backend.connection
    one.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 100_000)
    for _ in range(3):
        fast.send(get(b"/fast"))
        backend.expect_request(b"GET", b"/fast")
        backend.send(OK)
        fast.expect_response(200, b"ok")
    slow.resume_reading()
    one.send(b"x" * 200_000)
    slow.expect_response(200, b"x" * 300_000)


def test_an_interim_response_in_pieces_with_the_final_one(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    for piece in (b"HTTP/1.1 103 Ea", b"rly\r\n\r\nHTTP/1.1 200 O", b"K\r\nContent-Length: 2\r\n\r", b"\nok"):
        backend.send(piece)
    client.expect_response(103)
    client.expect_response(200, b"ok")
    client.expect_nothing()


def test_a_large_response_while_the_upload_goes_on(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(UPLOAD)
    client.stop_reading()
    backend.connection.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + b"y" * BIG)
    client.send(b"x" * BIG)
    assert not client.is_read
    assert not backend.connection.is_read
    backend.connection.resume_reading()
    backend.expect_request(b"POST", b"/up", b"x" * BIG)
    assert not backend.connection.is_read
    client.resume_reading()
    client.expect_response(200, b"y" * BIG)
    goes_on(client, backend)
    backend.expect_connections(1)
