"""What is remembered of one message must not reach another."""

from __future__ import annotations

from typing import Any

import pytest

from revproxy.config.model import Middleware
from tests.kit import ADDRESS, OK, get, hooked, toml


@pytest.mark.parametrize("point", ["backend-response", "client-response"])
def test_a_status_that_a_hook_sets_stays_with_its_response(play_once: Any, point: Any) -> None:
    def hide(exchange: Any) -> None:
        if exchange.request.path == b"/secret":
            exchange.response.status = 404
            exchange.response.reason = b"Not Found"

    scenario = play_once(hooked(toml(), Middleware(call=hide, at=point)))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for path, status in [(b"/", 200), (b"/", 200), (b"/", 200), (b"/secret", 404), (b"/", 200), (b"/secret", 404)]:
        client.send(get(path))
        backend.expect_request(b"GET", path)
        backend.send(OK)
        client.expect_response(status, b"ok")


def test_a_head_that_repeats_is_still_one_to_each_method(play_once: Any) -> None:
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(3):
        client.send(get())
        backend.expect_request(b"GET", b"/")
        backend.send(OK)
        client.expect_response(200, b"ok")
        client.send(get(method=b"HEAD"))
        backend.expect_request(b"HEAD", b"/")
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        client.expect_response(200, b"", head=True)


def test_the_host_of_an_absolute_target_is_not_the_next_requests(play_once: Any) -> None:
    more = '[[routes]]\nmatch = { host = "secret.example" }\nrespond = { body = "secret" }'
    scenario = play_once(toml(route='respond = { body = "public" }', more=more))
    client = scenario.client()
    client.send(b"GET http://secret.example/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    client.expect_response(200, b"secret")
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    client.expect_response(200, b"public")


def test_framing_is_what_the_body_has_whatever_a_hook_does_to_the_fields(play_once: Any) -> None:
    def meddle(exchange: Any) -> None:
        headers = exchange.response.headers
        if exchange.request.path == b"/removed":
            headers.remove(b"content-length")
        elif exchange.request.path == b"/other":
            headers.set(b"Content-Length", b"5")
        else:
            headers.set(b"Transfer-Encoding", b"chunked")

    scenario = play_once(hooked(toml(), Middleware(call=meddle, at="client-response")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for path in (b"/removed", b"/other", b"/coding"):
        client.send(get(path))
        backend.expect_request(b"GET", path)
        backend.send(OK)
        client.expect_response(200, b"ok", {b"content-length": b"2", b"transfer-encoding": None})


def test_trailers_hide_backends_too(play_once: Any) -> None:
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nServer: x\r\nX-Powered-By: y\r\nx-t: 1\r\n\r\n"
    )
    client.expect_response(200, b"ok", trailers=[(b"x-t", b"1")])


def test_a_fresh_connection_takes_the_place_of_an_idle_one_at_the_cap(play_once: Any) -> None:
    scenario = play_once(toml(upstream="max_connections = 1"))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.connection.close()
    client.send(get())
    backend.expect_connections(2)
    backend.send(OK)
    client.expect_response(200, b"ok")
    client.send(get(method=b"POST"))  # a backend that closes idle ones: a fresh one is needed
    scenario.advance(0.1)
    backend.expect_connections(3)
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_who_leaves_the_queue_while_its_connection_is_made_is_forgotten(play_once: Any) -> None:
    scenario = play_once(toml(upstream='max_connections = 1\nqueue_time = "1s"'))
    first, second, backend = scenario.client(), scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    first.send(get(b"/1"))
    second.send(get(b"/2"))
    first.reset()
    second.reset()
    scenario.advance(6)
    assert [record.fault for record in scenario.log] == ["client-gone", "client-gone"]


def test_early_data_before_a_switch_does_not_stop_the_tunnel(play_once: Any) -> None:
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Connection: Upgrade", b"Upgrade: websocket") + b"x" * 70_000)
    backend.expect_head(b"GET", b"/")
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    client.expect_head(101)
    client.send(b"y" * 1000)
    backend.connection.expect(b"x" * 70_000 + b"y" * 1000)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_hook_that_breaks_the_request_is_a_500(play_once: Any, fresh: bool) -> None:
    def breaks(exchange: Any) -> None:
        if exchange.request.path == b"/bad":
            exchange.request.path = "/x"

    scenario = play_once(hooked(toml(), Middleware(call=breaks)))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    if not fresh:
        client.send(get())
        backend.send(OK)
        client.expect_response(200)
    client.send(get(b"/bad"))
    client.expect_response(500)
    assert scenario.errors
    scenario.errors.clear()


def test_a_client_that_waits_for_100_from_a_silent_backend_is_answered(play_once: Any) -> None:
    scenario = play_once(toml(upstream='timeouts = { first_byte = "2s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Expect: 100-continue", b"Content-Length: 4", method=b"POST"))
    backend.expect_head(b"POST", b"/")
    scenario.advance(1.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(504)
    assert [record.fault for record in scenario.log] == ["backend-first-byte-timeout"]


def test_a_client_that_does_not_wait_for_100_is_not_hurried(play_once: Any) -> None:
    scenario = play_once(toml("minimum_rate = 'off'", 'timeouts = { first_byte = "2s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Expect: 100-continue", b"Content-Length: 4", method=b"POST"))
    scenario.advance(1.5)
    client.send(b"bo")
    scenario.advance(5)
    client.send(b"dy")
    backend.expect_request(b"POST", b"/", b"body")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_what_is_too_large_to_be_repeated_goes_out_like_a_post(play_once: Any) -> None:
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200, b"ok")
    scenario.advance(1)
    client.send(get(b"/", b"Content-Length: 70000", method=b"PUT") + b"x" * 70_000)
    backend.expect_connections(2)
    backend.expect_request(b"PUT", b"/", b"x" * 70_000)
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_a_backend_head_with_a_bare_line_feed_is_502_at_once(play_once: Any) -> None:
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
    client.expect_response(502)


def test_a_backends_via_and_alternatives_are_hidden(play_once: Any) -> None:
    scenario = play_once(toml("via_response = true"))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(b'HTTP/1.1 200 OK\r\nVia: 1.1 backend-7\r\nAlt-Svc: h2="10.0.0.7:1"\r\nContent-Length: 2\r\n\r\nok')
    client.expect_response(200, b"ok", {b"via": b"1.1 revproxy", b"alt-svc": None})


def test_a_prefix_whose_hook_was_too_slow_is_forgotten(play_once: Any) -> None:
    async def slow(exchange: Any) -> None:
        await exchange.body_prefix(100)

    hooks = [Middleware(call=slow, timeout=1.0, fail="open"), Middleware(call=slow, timeout=1.0, fail="open")]
    scenario = play_once(hooked(toml("minimum_rate = 'off'"), *hooks))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 4", method=b"POST") + b"bo")
    scenario.advance(1.1)
    scenario.advance(1.1)
    client.send(b"dy")
    backend.expect_request(b"POST", b"/", b"body")
    backend.send(OK)
    client.expect_response(200, b"ok")
    assert len(scenario.errors) == 2
    scenario.errors.clear()
