"""What requests that pass the cache by mean for what is stored: whole conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cache.talk import Talk, config
from tests.kit import ok, post

Start = Callable[..., Talk]
FRESH = b"Cache-Control: max-age=60"


def test_head_freshens(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10")
    t.scenario.advance(11)
    client = t.ask(method=b"HEAD")
    t.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\nX-New: 1\r\n\r\n", method=b"HEAD")
    client.expect_response(200, b"", head=True)
    assert t.hit().get(b"X-New") == b"1"
    client = t.ask(b"/", b"Cache-Control: no-cache", method=b"HEAD")
    t.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\n", method=b"HEAD")
    client.expect_response(200, b"", head=True)
    t.miss().close()  # it is another by now


def test_posts_pass_and_invalidate(talk: Start) -> None:
    t = talk()
    for path in (b"/", b"/made", b"/other", b"/elsewhere"):
        t.store(path, path=path)
    client = t.client()
    client.send(post(b"data"))
    connection = t.busy()
    connection.expect_request(b"POST", b"/", b"data")
    connection.send(
        ok(b"done", b"Location: /made", b"Content-Location: /other", b"Link: </elsewhere>", status=b"201 Created")
    )
    response = client.expect_response(201, b"done")
    assert response.get(b"Cache-Status") == b"revproxy; fwd=method"
    for path in (b"/", b"/made", b"/other"):
        t.store(path, path=path)
    t.hit(b"/elsewhere", b"/elsewhere")


@pytest.mark.parametrize("status", [b"500 Oops", b"404 Not Found"])
def test_failed_posts_invalidate_nothing(talk: Start, status: bytes) -> None:
    t = talk()
    t.store()
    client = t.client()
    client.send(post(b"data"))
    connection = t.busy()
    connection.expect_request(b"POST", b"/", b"data")
    connection.send(ok(b"no", status=status))
    client.expect_response(int(status[:3]), b"no")
    t.hit()


def test_a_post_makes_what_is_being_asked_for_out_of_date(talk: Start) -> None:
    t = talk()
    reader = t.miss()
    reading = t.busy()
    reading.expect_request(b"GET", b"/")
    writer = t.client()
    writer.send(post(b"data"))
    t.busy().expect_request(b"POST", b"/", b"data")
    t.backend.connections[-1].send(ok(b"done"))
    writer.expect_response(200, b"done")
    later = t.miss()  # it does not wait for what was asked for before
    reading.send(ok(b"old", FRESH))
    reader.expect_response(200, b"old")
    t.answer(ok(b"new", FRESH))
    later.expect_response(200, b"new")
    t.hit(b"new")


def test_posts_invalidate_by_public_locations(talk: Start) -> None:
    t = talk(route='match = { path = "/api/*" }\nrewrite = { strip_prefix = "/api" }')
    client = t.ask(b"/api/made")
    t.answer(ok(b"old", FRESH), b"/made")
    client.expect_response(200, b"old")
    client = t.client()
    client.send(post(b"", path=b"/api/make"))
    t.answer(ok(b"done", b"Location: /made", status=b"201 Created"), b"/make", b"POST")
    client.expect_response(201, headers={b"Location": b"/api/made"})
    client = t.ask(b"/api/made")
    t.answer(ok(b"new", FRESH), b"/made")
    client.expect_response(200, b"new")


def test_a_post_by_one_route_changes_what_another_stored(talk: Start, play_once: Any) -> None:
    text = config(route='match = { path = "/*", method = ["GET"] }') + (
        '[[routes]]\nmatch = { path = "/*", method = ["POST"] }\nupstream = "app"\ncache = {}\n'
    )
    t = talk(scenario=play_once(text))
    t.store()
    client = t.client()
    client.send(post(b""))
    t.answer(ok(b"done"), method=b"POST")
    client.expect_response(200, b"done")
    t.miss().close()


@pytest.mark.parametrize("status", ["revproxy", ""])
def test_tags_of_what_passes_by_are_not_for_clients(talk: Start, status: str) -> None:
    t = talk("{ bypass = { header = ['x-pass'] }%s }" % ("" if status else ", status = 'off'"))
    for method, fields in ((b"POST", (b"Content-Length: 0",)), (b"HEAD", ()), (b"GET", (b"X-Pass: 1",))):
        client = t.ask(b"/", *fields, method=method)
        t.busy()._at = len(t.busy().received)
        t.backend.connections[-1].send(ok(b"" if method == b"HEAD" else b"x", b"Cache-Tag: a", b"Surrogate-Key: b"))
        message = client.expect_response(200)
        assert message.get(b"Cache-Tag") is None and message.get(b"Surrogate-Key") is None
        assert bool(message.get(b"Cache-Status")) == bool(status)
