"""Fixed answers and redirects."""

from __future__ import annotations

import pytest

from tests.kit import get, post, toml


def ask(play, route, sent=None, server=""):
    scenario = play(toml(server, route=route))
    client = scenario.client()
    client.send(sent or get())
    return client


def test_a_fixed_answer(play):
    route = 'respond = { status = 418, body = "tea", content_type = "text/x", headers = { x-a = "1" } }'
    client = ask(play, route)
    client.expect_response(
        418, b"tea", {b"Content-Type": b"text/x", b"X-A": b"1", b"Content-Length": b"3", b"Server": None}
    )
    client.expect_nothing()


def test_an_empty_answer(play):
    client = ask(play, "respond = {}")
    client.expect_response(200, b"", {b"Content-Type": None, b"Content-Length": b"0"})


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(play, status):
    client = ask(play, f"respond = {{ status = {status} }}", get() * 2)
    for _ in range(2):
        client.expect_response(status, b"", {b"Transfer-Encoding": None})
    client.expect_nothing()


def test_a_body_is_read_and_dropped(play):
    client = ask(play, 'respond = { body = "hi" }', post(b"body") * 2)
    for _ in range(2):
        client.expect_response(200, b"hi")
    client.expect_nothing()


def test_every_answer_has_a_date(play):
    assert ask(play, "respond = {}").expect_response(200).get(b"Date") is not None


@pytest.mark.parametrize(
    ("redirect", "path", "location"),
    [
        ('{ scheme = "https" }', b"/a?b", b"https://example.com/a?b"),
        ('{ scheme = "https", port = 8443 }', b"/", b"https://example.com:8443/"),
        ('{ scheme = "https", port = 443 }', b"/", b"https://example.com/"),
        ('{ host = "www.example.com" }', b"/a?b", b"http://www.example.com/a?b"),
        ('{ path = "/new$path" }', b"/a?b", b"http://example.com:8080/new/a?b"),
        ('{ to = "https://x.example$path?from=$host" }', b"/a", b"https://x.example/a?from=example.com"),
        ('{ to = "/there" }', b"/a", b"/there"),
    ],
)
def test_redirects(play, redirect, path, location):
    client = ask(play, f"redirect = {redirect}", get(path, host=b"example.com:8080"))
    client.expect_response(308, b"", {b"Location": location, b"Content-Length": b"0"})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_statuses_of_redirects(play, status):
    client = ask(play, f'redirect = {{ scheme = "https", status = {status} }}')
    client.expect_response(status, headers={b"Location": b"https://example.com/"})


def test_http_to_https_by_what_a_trusted_proxy_says(play):
    more = '[[routes]]\nmatch = { scheme = "http" }\nredirect = { scheme = "https" }'
    config = toml(
        'trusted_proxies = ["203.0.113.7"]', route='match = { scheme = "https" }\nrespond = { body = "x" }', more=more
    )
    scenario = play(config)
    for peer, status in [("203.0.113.7", 200), ("192.0.2.1", 308)]:
        client = scenario.client(peer)
        client.send(get(b"/", b"X-Forwarded-Proto: https"))
        client.expect_response(status)


def test_a_redirect_from_an_old_client_without_a_host(play):
    client = ask(play, 'redirect = { scheme = "https" }', b"GET /a HTTP/1.0\r\n\r\n")
    location = client.expect_response(308).get(b"Location")
    assert location is not None
    assert location.startswith(b"https://192.0.2.1")


def test_no_redirect_to_another_host_by_doubled_slashes(play):
    client = ask(play, 'redirect = { path = "$path" }', get(b"//evil.example/x"))
    location = client.expect_response(308).get(b"Location")
    assert location == b"http://example.com//evil.example/x"
