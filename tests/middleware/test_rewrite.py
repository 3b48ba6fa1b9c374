"""Rewriting, end to end: what backends get, and what comes back mapped."""

from __future__ import annotations

import pytest

from tests.kit import ADDRESS, OK, get, ok, toml


@pytest.mark.parametrize(
    ("rewrite", "sent", "got"),
    [
        ('{ strip_prefix = "/api" }', b"/api/x?y", b"/x?y"),
        ('{ strip_prefix = "/api" }', b"/api", b"/"),
        ('{ strip_prefix = "/api" }', b"/apix", b"/apix"),
        ('{ add_prefix = "/v1" }', b"/x", b"/v1/x"),
        ('{ strip_prefix = "/api", add_prefix = "/v1" }', b"/api/x", b"/v1/x"),
        ('{ replace = "/one" }', b"/x?y=z", b"/one?y=z"),
        ('{ regex = "^/u/([0-9]+)", to = "/users/$1" }', b"/u/42/x", b"/users/42/x"),
        ('{ query = { set = { a = "1" }, remove = ["b"] } }', b"/x?b=2&c=3&a=0", b"/x?c=3&a=1"),
        ('{ query = { remove = ["b"] } }', b"/x?b=2", b"/x"),
    ],
)
def test_what_the_backend_gets(play, rewrite, sent, got):
    scenario = play(toml(route=f'upstream = "app"\nrewrite = {rewrite}'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(2):
        client.send(get(sent))
        backend.expect_request(b"GET", got)
        backend.send(OK)
        client.expect_response(200, b"ok")
    assert scenario.log[0].target == sent


def test_a_rewritten_path_that_is_none_is_400(play):
    scenario = play(toml(route='upstream = "app"\nrewrite = { regex = "^/x/(.*)$", to = "/$1./y" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/x/."))
    client.expect_response(400)
    assert backend.attempts == []


def test_options_asterisk_is_not_rewritten(play):
    scenario = play(toml(route='upstream = "app"\nrewrite = { add_prefix = "/v1" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"*", method=b"OPTIONS"))
    backend.expect_request(b"OPTIONS", b"*")


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (b"/x?y#z", b"/api/x?y#z"),
        (b"http://127.0.0.1:9000/x", b"http://example.com/api/x"),
        (b"http://example.com/x", b"http://example.com/api/x"),
        (b"http://other.example/x", b"http://other.example/x"),
        (b"x/y", b"x/y"),
        (b"/", b"/api/"),
    ],
)
def test_location_is_mapped_back(play, location, shown):
    scenario = play(toml(route='upstream = "app"\nrewrite = { strip_prefix = "/api" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(2):
        client.send(get(b"/api/old"))
        backend.expect_request(b"GET", b"/old")
        backend.send(ok(b"", b"Location: " + location, b"Content-Location: " + location, status=b"302 Found"))
        client.expect_response(302, b"", {b"Location": shown, b"Content-Location": shown})


def test_refresh_and_cookies_are_mapped_back(play):
    scenario = play(toml("", 'host = "backend"', 'upstream = "app"\nrewrite = { strip_prefix = "/api" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/api/"))
    backend.expect_request(b"GET", b"/", headers={b"Host": b"127.0.0.1:9000"})
    backend.send(
        ok(b"", b"Refresh: 5; url=http://127.0.0.1:9000/x", b"Set-Cookie: a=1; Path=/x; Domain=127.0.0.1; Secure")
    )
    client.expect_response(
        200, b"", {b"Refresh": b"5; url=http://example.com/api/x", b"Set-Cookie": b"a=1; Path=/api/x; Secure"}
    )


def test_two_hosts_get_their_own_names_back(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for host in (b"a.example", b"b.example", b"a.example"):
        client.send(get(host=host))
        backend.send(ok(b"", b"Location: http://127.0.0.1:9000/x", status=b"302 Found"))
        client.expect_response(302, b"", {b"Location": b"http://%b/x" % host})
