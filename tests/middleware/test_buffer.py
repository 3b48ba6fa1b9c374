"""Bodies that are held for backends that can't stand slow clients."""

from __future__ import annotations

from tests.kit import ADDRESS, OK, get, post, toml

REQUEST = 'upstream = "app"\nbuffer = { request = "100KB" }'
RESPONSE = 'upstream = "app"\nbuffer = { response = "1MB" }'


def test_the_backend_is_bothered_when_the_request_is_whole(play):
    scenario = play(toml(route=REQUEST))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 6", method=b"POST") + b"abc")
    assert backend.attempts == []
    client.send(b"def")
    backend.expect_request(b"POST", b"/", b"abcdef")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_a_whole_request_is_not_held(play):
    scenario = play(toml(route=REQUEST))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get() + post(b"abc"))
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.expect_request(b"POST", b"/", b"abc")


def test_a_larger_request_streams_from_there_on(play_once):
    scenario = play_once(toml(route=REQUEST))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 300000", method=b"POST"))
    client.send(b"x" * 90_000)
    assert backend.attempts == []
    assert client.is_read
    client.send(b"x" * 20_000)
    backend.expect_head(b"POST", b"/")
    backend.connection.expect_body(b"x" * 110_000)
    client.send(b"x" * 190_000)
    backend.connection.expect_body(b"x" * 190_000)
    backend.connection.expect_end()


def test_a_client_that_waits_is_told_to_go_on(play):
    scenario = play(toml(route=REQUEST))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 3", b"Expect: 100-continue", method=b"POST"))
    client.expect_response(100)
    client.send(b"abc")
    backend.expect_request(b"POST", b"/", b"abc", {b"Expect": None})
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_a_slow_client_is_late_before_the_backend_knows_of_it(play):
    scenario = play(toml('timeouts = { body = "5s" }', route=REQUEST))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 3", method=b"POST") + b"a")
    scenario.advance(5.1)
    client.expect_response(408)
    assert backend.attempts == []


def test_a_response_is_taken_ahead_of_a_slow_client(play_once):
    scenario = play_once(toml('minimum_rate = "off"', route=RESPONSE))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    client.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)
    assert backend.connection.is_read
    assert client.waiting > 500_000
    other = scenario.client()
    other.send(get(b"/other"))
    backend.expect_connections(1)  # it was free again
    client.resume_reading()
    client.expect_response(200, b"x" * 500_000)


def test_a_larger_response_is_taken_so_far_ahead(play_once):
    scenario = play_once(toml('minimum_rate = "off"', route=RESPONSE))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    client.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
    assert not backend.connection.is_read
    assert 900_000 < client.waiting < 1_400_000
    client.resume_reading()
    client.expect_response(200, b"x" * 5_000_000)
