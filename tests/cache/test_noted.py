"""Responses to POST for later GETs: the decision, and whole conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from revproxy.cache.noted import Noted, may_store_posted
from revproxy.cache.policy import Forward
from revproxy.cache.rules import Rules
from revproxy.cache.stored import Stored
from revproxy.config.model import Middleware
from tests.cache.kit import DATE, NOW, request, response
from tests.cache.talk import Talk, cache_of, config
from tests.kit import hooked, ok, post

Start = Callable[..., Talk]
FRESH = b"Cache-Control: max-age=60"
HERE = b"Content-Location: /"
BY_METHOD = Forward("method", "")


def decided(
    *lines: str, asked: tuple[str, ...] = (), query: bytes | None = None, status: int = 200, rules: Rules | None = None
) -> bool:
    posted = Noted(BY_METHOD, request(*asked, method=b"POST", path=b"/a", query=query, length=5), NOW, 0)
    made = may_store_posted(
        posted, response(f"Date: {DATE}", *lines, status=status), rules or Rules(), (b"/", b"/app"), NOW
    )
    return isinstance(made, Stored)


MAX_AGE = "Cache-Control: max-age=60"


@pytest.mark.parametrize(
    "where", ["/a", "a", "http://example.com/a", "http://EXAMPLE.com:80/a#x", "//example.com/a", "/x/../a", "/app/a"]
)
def test_a_representation_of_the_target(where: str) -> None:
    assert decided(f"Content-Location: {where}", MAX_AGE)


@pytest.mark.parametrize(
    "where", ["/b", "/a?", "/a?x", "https://example.com/a", "http://example.org/a", "http://example.com:81/a", "/a/"]
)
def test_of_something_else(where: str) -> None:
    assert not decided(f"Content-Location: {where}", MAX_AGE)


def test_only_with_explicit_freshness() -> None:
    here = "Content-Location: /a"
    assert decided(here, "Expires: Sun, 06 Nov 1994 08:59:37 GMT")
    assert decided(here, "Cache-Control: s-maxage=5")
    assert not decided(here)
    assert not decided(here, "Last-Modified: Sun, 06 Nov 1993 08:49:37 GMT")
    assert not decided(here, rules=Rules(default_ttl={0: 60}))
    assert not decided(here, "Cache-Control: max-age=60, no-store")
    assert not decided(here, "Cache-Control: max-age=60, private")


def test_what_else_speaks_against_it() -> None:
    here = "Content-Location: /a"
    assert not decided(here, here, MAX_AGE)
    assert not decided(MAX_AGE)
    assert not decided(here, MAX_AGE, status=201)
    assert not decided(here, MAX_AGE, "Set-Cookie: a=b", rules=Rules(store_set_cookie=True))
    assert not decided(here, MAX_AGE, "Vary: *")
    assert not decided(here, MAX_AGE, asked=("Cache-Control: no-store",))
    assert not decided(here, MAX_AGE, asked=("Authorization: x",))
    assert decided(here, "Cache-Control: public, max-age=60", asked=("Authorization: x",))
    assert not decided(here, MAX_AGE, asked=("If-Match: x",))
    assert not decided(here, MAX_AGE, asked=("X-Preview: 1",), rules=Rules(bypass_headers=(b"x-preview",)))


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Forwarded-Prefix", "X-Original-URL"])
def test_what_no_key_holds(name: str) -> None:
    assert not decided("Content-Location: /a", MAX_AGE, asked=(f"{name}: x",))


def test_parameters_that_no_key_holds() -> None:
    assert decided("Content-Location: /a?x=1", MAX_AGE, query=b"x=1", rules=Rules(query_ignore=(b"y",)))
    assert not decided("Content-Location: /a?x=1", MAX_AGE, query=b"x=1", rules=Rules(query_ignore=(b"x",)))


# -- conversations


def posts(t: Talk, answer: bytes, body: bytes = b"data", *fields: bytes) -> Any:
    client = t.client()
    client.send(post(body, *fields))
    connection = t.busy()
    connection.expect_request(b"POST", b"/", body)
    connection.send(answer)
    return client


def test_a_get_is_answered_with_it(talk: Start) -> None:
    t = talk()
    t.store(b"old")
    client = posts(t, ok(b"new", FRESH, HERE, b"Surrogate-Key: a", b"X-A: 1"))
    assert client.expect_response(200, b"new").all(b"Cache-Status") == [b"revproxy; fwd=method"]
    hit = t.hit(b"new")
    assert hit.all(b"X-A") == [b"1"]
    assert hit.all(b"Surrogate-Key") == []
    assert len(hit.all(b"Cache-Status")) == 1
    t.scenario.advance(60)
    t.miss().close()


def test_a_long_one(talk: Start) -> None:
    t = talk()
    body = bytes(range(256)) * 1000
    client = t.client()
    client.send(post(b"data"))
    connection = t.busy()
    connection.expect_request(b"POST", b"/", b"data")
    whole = ok(body, FRESH, HERE)
    connection.send(whole[:1000])
    connection.send(whole[1000:])
    client.expect_response(200, body)
    t.hit(body)
    assert cache_of(t).store.filling == 0


def test_one_that_is_cut_is_not_stored(talk: Start) -> None:
    t = talk()
    client = t.client()
    client.send(post(b"data"))
    connection = t.busy()
    connection.expect_request(b"POST", b"/", b"data")
    connection.send(ok(b"x" * 100, FRESH, HERE)[:-10])
    connection.close()
    assert client.ended == "reset"
    assert cache_of(t).store.filling == 0
    assert cache_of(t).store.entries == 0


def test_one_that_another_post_overtook_is_not_stored(talk: Start) -> None:
    t = talk()
    first = t.client()
    first.send(post(b"one"))
    asked = t.busy()
    asked.expect_request(b"POST", b"/", b"one")
    posts(t, ok(b"two"), b"two").expect_response(200, b"two")
    asked.send(ok(b"one", FRESH, HERE))
    first.expect_response(200, b"one")
    assert cache_of(t).store.entries == 0


def test_posts_to_elsewhere_do_not_matter(talk: Start) -> None:
    t = talk()
    first = t.client()
    first.send(post(b"one"))
    asked = t.busy()
    asked.expect_request(b"POST", b"/", b"one")
    other = t.client()
    other.send(post(b"two", path=b"/other"))
    connection = t.busy()
    connection.expect_request(b"POST", b"/other", b"two")
    connection.send(ok(b"two"))
    other.expect_response(200, b"two")
    asked.send(ok(b"one", FRESH, HERE))
    first.expect_response(200, b"one")
    t.hit(b"one")


def test_one_that_another_post_overtakes_in_its_body_is_not_stored(talk: Start) -> None:
    t = talk()
    first = t.client()
    first.send(post(b"one"))
    asked = t.busy()
    asked.expect_request(b"POST", b"/", b"one")
    answer = ok(b"x" * 100, FRESH, HERE)
    asked.send(answer[:-10])
    posts(t, ok(b"two"), b"two").expect_response(200, b"two")
    asked.send(answer[-10:])
    first.expect_response(200, b"x" * 100)
    assert cache_of(t).store.entries == 0


def test_what_hooks_make_of_it_is_stored(talk: Start, play_once: Any) -> None:
    def mark(exchange: Any) -> None:
        exchange.response.headers.add(b"X-Mark", b"1")
        exchange.request.path = b"/elsewhere"

    t = talk(scenario=play_once(hooked(config(), Middleware(at="backend-response", call=mark))))
    posts(t, ok(b"new", FRESH, HERE)).expect_response(200, b"new")
    assert t.hit(b"new").all(b"X-Mark") == [b"1"]


# -- HEAD


HEAD_200 = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "x"\r\nCache-Control: max-age=1000\r\n'


@pytest.mark.parametrize(
    ("cache", "path", "field"),
    [
        ("{}", b"/", b"X-HTTP-Method-Override: GET"),
        ("{}", b"/", b"If-Match: *"),
        ('{ bypass = { cookie = ["session"] } }', b"/", b"Cookie: session=1"),
        ('{ query_ignore = ["utm_*"] }', b"/?utm_source=x", b"X-A: 1"),
    ],
)
def test_heads_that_do_not_speak_for_all(talk: Start, cache: str, path: bytes, field: bytes) -> None:
    t = talk(cache)
    t.store(b"body", FRESH, b"X-Mine: no")
    t.scenario.advance(60)
    client = t.ask(path, field, method=b"HEAD")
    connection = t.busy()
    connection.expect_request(b"HEAD", path)
    connection.send(HEAD_200 + b"X-Mine: yes\r\n\r\n")
    client.expect_head(200, {b"X-Mine": b"yes"})
    t.miss().close()


def test_heads_count_as_hooks_made_them(talk: Start, play_once: Any) -> None:
    def hide(exchange: Any) -> None:
        exchange.response.headers.remove(b"x-secret")

    t = talk(scenario=play_once(hooked(config(), Middleware(at="backend-response", call=hide))))
    t.store(b"body", FRESH)
    t.scenario.advance(60)
    client = t.ask(method=b"HEAD")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n"
    head += b"X-Secret: 1\r\nX-New: 1\r\nCache-Tag: a\r\n\r\n"
    t.answer(
        head,
        method=b"HEAD",
    )
    client.expect_head(200)
    hit = t.hit()
    assert (hit.all(b"X-Secret"), hit.all(b"X-New"), hit.all(b"Cache-Tag")) == ([], [b"1"], [])
