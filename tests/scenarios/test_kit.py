"""The kit itself: it must notice what goes wrong, and show it."""

from __future__ import annotations

import pytest
from twisted.logger import Logger

from revproxy.config.errors import ConfigError
from revproxy.testing import Scenario, Unexpected
from tests.kit import ADDRESS, OK, get, post, toml


@pytest.fixture
def scenario(play_once):
    return play_once(toml())


def test_a_failed_expectation_shows_the_whole_conversation(scenario):
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/a"))
    scenario.advance(1.5)
    backend.send(OK)
    with pytest.raises(Unexpected) as caught:
        client.expect_response(404)
    text = str(caught.value)
    assert "expected status 404, but it is 200" in text
    for part in (
        "0.000  client 1",
        "-> | b'GET /a",
        f"{ADDRESS} #1",
        "<- | b'GET /a",
        "1.5 s pass",
        "1.500",
        "HTTP/1.1 200 OK",
    ):
        assert part in text


def test_single_bytes_are_shown_together(play_once):
    scenario = play_once(
        toml(),
    )
    client = scenario.client()
    for byte in get():
        client.send(bytes([byte]))
    assert repr(get()) in scenario.conversation()


@pytest.mark.parametrize(
    "expect",
    [
        lambda client, backend: client.expect(b"HTTP/1.1 404"),
        lambda client, backend: client.expect_nothing(),
        lambda client, backend: client.expect_closed(),
        lambda client, backend: client.expect_reset(),
        lambda client, backend: client.expect_response(200, b"no"),
        lambda client, backend: client.expect_response(200, b"ok", {b"X": b"1"}),
        lambda client, backend: client.expect_response(200, b"ok", {b"Date": None}),
        lambda client, backend: client.expect_response(200, b"ok", trailers=[(b"x", b"1")]),
        lambda client, backend: backend.expect_request(b"PUT", b"/"),
        lambda client, backend: backend.expect_request(b"POST", b"/x"),
        lambda client, backend: backend.expect_request(b"POST", b"/", b"other"),
        lambda client, backend: backend.expect_connections(2),
    ],
)
def test_what_is_not_as_expected_raises(scenario, expect):
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"body"))
    backend.send(OK)
    with pytest.raises(Unexpected):
        expect(client, backend)


def test_an_unfinished_message_is_not_a_whole_one(scenario):
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")
    with pytest.raises(Unexpected, match="not complete"):
        client.expect_response(200, b"ok")


def test_nobody_connected(scenario):
    with pytest.raises(Unexpected, match="nobody connected"):
        scenario.backend(ADDRESS).expect_request(b"GET", b"/")


def test_errors_that_are_logged_are_found():
    scenario = Scenario(toml())
    Logger().error("something {what}", what="broke")
    with pytest.raises(Unexpected, match="something broke"):
        scenario.finish()


def test_a_connection_that_is_left_is_found():
    scenario = Scenario(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    scenario.engine.table.upstreams["app"].backends[0].pool.open += 1
    with pytest.raises(Unexpected, match="a connection is left"):
        scenario.finish()
    backend.connection.expect_head(b"GET", b"/")


def test_a_request_that_is_still_counted_is_found():
    scenario = Scenario(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200)
    scenario.engine.table.upstreams["app"].backend(ADDRESS).active = 1
    with pytest.raises(Unexpected, match="1 requests are counted that are over"):
        scenario.finish()


def test_a_timer_that_is_left_is_found():
    scenario = Scenario(toml())
    scenario.reactor.callLater(5, int)
    with pytest.raises(Unexpected, match="timers are left"):
        scenario.finish()


def test_a_wrong_configuration_is_said():
    with pytest.raises(ConfigError, match="endpiont"):
        Scenario('[[listen]]\nendpiont = "tcp:80"\n')


def test_time_passes_timer_by_timer(scenario):
    seen: list[float] = []

    def again():
        seen.append(scenario.reactor.seconds())
        scenario.reactor.callLater(1, again)

    call = scenario.reactor.callLater(1, again)
    scenario.advance(3.5)
    assert seen == [1, 2, 3]
    assert not call.active()
    for left in scenario.reactor.getDelayedCalls():
        left.cancel()


def test_a_transport_pauses_its_producer_and_resumes_it(scenario):
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    client.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)
    assert not backend.connection.is_read
    before = client.waiting
    client.read_some(10_000)
    assert client.waiting == before - 10_000
    assert not backend.connection.is_read
    client.resume_reading()
    client.expect_response(200, b"x" * 500_000)
    assert backend.connection.is_read


def test_a_backend_that_reads_no_more_is_no_timer_that_is_left(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"", b"Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 5"))
    backend.connection.stop_reading()
    client.send(b"hello")
    backend.connection.send(OK)
    client.expect_response(200, b"ok")
    scenario.finish()


def test_a_reset_ends_a_close_that_waits_for_the_peer(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"", b"Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 5"))
    backend.connection.stop_reading()
    client.send(b"hello")
    backend.connection.send(OK + b"more")  # what nobody asked for: the connection is closed
    client.expect_response(200, b"ok")
    backend.connection.reset()
    scenario.finish()
