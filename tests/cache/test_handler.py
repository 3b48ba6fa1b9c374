"""What is answered from the store, what is asked for, and what passes by: whole conversations."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from revproxy.cache.handler import Cache
from revproxy.config.model import Middleware
from revproxy.http.blocks import ResponseBlock
from revproxy.http.message import Answer, Headers
from tests.cache.talk import Talk, config
from tests.kit import hooked, ok, post

Start = Callable[..., Talk]
FRESH = b"Cache-Control: max-age=60"


def cache_of(talk: Talk) -> Cache:
    handler = talk.scenario.engine.table.routes[0].handler
    assert isinstance(handler, Cache)
    return handler


# -- misses and hits


def test_miss_then_hit(play: Any) -> None:
    scenario = play(config())
    t = Talk(scenario, scenario.backend("tcp:127.0.0.1:9000"))
    client = t.ask(b"/a?b=1")
    t.answer(ok(b"one", FRESH, b"X-Own: 1"), b"/a?b=1")
    first = client.expect_response(200, b"one", {b"Age": None})
    assert first.get(b"cache-status") == b"revproxy; fwd=uri-miss; ttl=60; stored"
    scenario.advance(7)
    again = t.hit(b"one", b"/a?b=1")
    assert again.get(b"Age") == b"7"
    assert again.get(b"Date") == first.get(b"Date")
    assert again.get(b"X-Own") == b"1"
    assert again.get(b"Content-Length") == b"3"
    assert again.get(b"Cache-Status") == b"revproxy; hit; ttl=53"


def test_the_head_of_a_hit_is_of_its_second(talk: Start) -> None:
    t = talk()
    t.store()
    client = t.client()
    for seconds, age, ttl in ((0, 0, 60), (0.5, 0, 59), (0.5, 1, 59), (0.25, 1, 58), (58, 59, 0)):
        t.scenario.advance(seconds)
        t.ask(client=client)
        response = client.expect_response(200, b"body")
        assert response.get(b"Age") == b"%d" % age
        assert response.get(b"Cache-Status") == b"revproxy; hit; ttl=%d" % ttl
    t.scenario.advance(1.0)
    t.miss()


@pytest.mark.usefixtures("nothing_goes_round")
def test_the_heads_that_were_kept_do_not_wait_for_the_collector(talk: Start) -> None:
    t = talk()
    t.store()
    cache = cache_of(t)
    client = t.client()
    alive = []
    for _ in range(3):
        t.ask(client=client)
        client.expect_response(200, b"body")
        alive.append(sum(isinstance(each, ResponseBlock) for each in gc.get_objects()))
        t.scenario.advance(1)
    assert len(cache._ready) == 1
    assert alive[1:] == [alive[0]] * 2


def test_the_heads_that_are_kept_are_bounded(talk: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revproxy.cache.handler._READY", 3)
    t = talk()
    for number in range(8):
        path = b"/%d" % number
        t.store(b"%d" % number, path=path)
        t.hit(b"%d" % number, path)
    assert len(cache_of(t)._ready) <= 3
    for number in range(8):
        t.hit(b"%d" % number, b"/%d" % number)


@pytest.mark.parametrize("status", [204, 301, 404])
def test_other_statuses(talk: Start, status: int) -> None:
    t = talk()
    client = t.ask()
    body = b"" if status == 204 else b"body"
    length = b"" if status == 204 else b"Content-Length: 4\r\n"
    t.answer(b"HTTP/1.1 %d Word\r\nCache-Control: max-age=60\r\n%b\r\n%b" % (status, length, body))
    client.expect_response(status, body)
    response = t.hit(body, status=status)
    assert response.first[2] == b"Word"
    assert response.get(b"Content-Length") == (None if status == 204 else b"4")


def test_empty_body(talk: Start) -> None:
    t = talk()
    t.store(b"")
    assert t.hit(b"").get(b"Content-Length") == b"0"


def test_pipelined_hits(talk: Start) -> None:
    t = talk()
    t.store()
    client = t.client()
    client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" * 3)
    for _ in range(3):
        client.expect_response(200, b"body")


def test_http_10(talk: Start) -> None:
    t = talk()
    t.store(b"x" * 200_000)
    client = t.client()
    client.send(b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n")
    client.expect_response(200, b"x" * 200_000, {b"Connection": b"close"})


def test_head(talk: Start) -> None:
    t = talk()
    client = t.ask(method=b"HEAD")
    t.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\n", method=b"HEAD")
    client.expect_response(200, b"", head=True)
    t.miss().close()  # the answer to HEAD is not stored
    t.store()
    client = t.ask(method=b"HEAD")
    client.expect_response(200, b"", {b"Content-Length": b"4", b"Age": b"0"}, head=True)
    client.expect_nothing()


def test_head_validates_by_get(talk: Start) -> None:
    t = talk()
    t.store(b"body", FRESH, b'ETag: "a"')
    t.scenario.advance(61)
    client = t.ask(method=b"HEAD")
    t.answer(ok(b"other", FRESH), If_None_Match=b'"a"')
    client.expect_response(200, b"", {b"Content-Length": b"5"}, head=True)
    t.hit(b"other")


# -- what passes by


def test_requests_with_a_body_pass(talk: Start) -> None:
    t = talk()
    t.store()
    client = t.client()
    client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi")
    connection = t.busy()
    connection.expect_request(b"GET", b"/", b"hi")
    connection.send(ok(b"own", FRESH))
    response = client.expect_response(200, b"own")
    assert response.get(b"Cache-Status") == b"revproxy; fwd=bypass"
    t.hit()


def test_upgrades_pass(talk: Start) -> None:
    t = talk(route='upgrade = ["websocket"]')
    client = t.ask(b"/", b"Connection: Upgrade", b"Upgrade: websocket")
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    client.expect_head(101)
    client.expect(b"hello")
    client.send(b"there")
    connection.expect(b"there")
    connection.close()


def test_upload_that_comes_slowly(talk: Start) -> None:
    t = talk()
    client = t.client()
    client.send(b"PUT / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    connection = t.busy()
    connection.expect_head(b"PUT", b"/")
    connection.expect_body(b"ab")
    client.send(b"1\r\nc\r\n0\r\n\r\n")
    connection.expect_body(b"c")
    connection.expect_end()
    connection.send(ok(b"done"))
    client.expect_response(200, b"done")


def test_bypass(talk: Start) -> None:
    t = talk('{ bypass = { header = ["x-preview"], cookie = ["session*"], query = ["draft"] } }')
    t.store()
    t.hit(b"body", b"/", b"Cookie: theme=dark")
    for path, field in ((b"/", b"X-Preview: 1"), (b"/", b"Cookie: session_id=1"), (b"/?draft=1", b"X: y")):
        client = t.miss(path, field)
        t.answer(ok(b"own", FRESH), path)
        assert client.expect_response(200, b"own").get(b"Cache-Status") == b"revproxy; fwd=bypass"
    t.hit()


def test_cacheable_but_private(talk: Start) -> None:
    t = talk()
    for field in (b"Cache-Control: private, max-age=60", b"Cache-Control: no-store", b"Vary: *", b"Set-Cookie: a=b"):
        client = t.miss()
        t.answer(ok(b"own", field))
        response = client.expect_response(200, b"own")
        assert response.get(b"Cache-Status") == b"revproxy; fwd=uri-miss"


def test_set_cookie_where_it_is_asked_for(talk: Start) -> None:
    t = talk("{ store_set_cookie = true }")
    t.store(b"body", FRESH, b"Set-Cookie: a=b")
    assert t.hit().get(b"Set-Cookie") == b"a=b"


def test_tags_are_not_for_clients(talk: Start) -> None:
    t = talk()
    client = t.miss()
    t.answer(ok(b"body", FRESH, b"Surrogate-Key: a b", b"Cache-Tag: c"))
    client.expect_response(200, b"body", {b"Surrogate-Key": None, b"Cache-Tag": None})
    response = t.hit()
    assert not response.all(b"Surrogate-Key") + response.all(b"Cache-Tag")


# -- keys and variants


def test_keys(talk: Start) -> None:
    t = talk('{ key_headers = ["x-tenant"], query_ignore = ["utm_*"], query_sort = true }')
    t.store(b"a", path=b"/?a=1&b=2", asked=(b"X-Tenant: a",))
    client = t.ask(b"/?utm_source=x&b=2&a=1", b"X-Tenant: a")
    client.expect_response(200, b"a")
    client = t.ask(b"/?utm_source=x&b=2&a=1", b"X-Tenant: b")
    t.answer(ok(b"b", FRESH), b"/?a=1&b=2", x_tenant=b"b")
    client.expect_response(200, b"b")
    t.hit(b"a", b"/?a=1&b=2", b"X-Tenant: a")
    t.hit(b"b", b"/?a=1&b=2", b"X-Tenant: b")


def test_hosts_do_not_mix(talk: Start) -> None:
    t = talk()
    t.store()
    client = t.client()
    client.send(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
    t.answer(ok(b"other", FRESH))
    client.expect_response(200, b"other")
    t.hit()


def test_what_no_key_holds_does_not_reach_the_backend(talk: Start) -> None:
    t = talk()
    client = t.miss(b"/", b"X-Forwarded-Prefix: /evil", b"X-Original-URL: /evil", b"X-HTTP-Method-Override: DELETE")
    request = t.answer(ok(b"body", FRESH))
    client.expect_response(200, b"body")
    for name in (b"X-Forwarded-Prefix", b"X-Original-URL", b"X-HTTP-Method-Override"):
        assert not request.all(name)


def test_vary(talk: Start) -> None:
    t = talk()
    vary = b"Vary: Accept-Language"
    t.store(b"en", FRESH, vary, asked=(b"Accept-Language: en",))
    t.store(b"de", FRESH, vary, asked=(b"Accept-Language: de",))
    t.hit(b"en", b"/", b"Accept-Language: en")
    t.hit(b"de", b"/", b"Accept-Language: DE")
    client = t.miss()
    t.answer(ok(b"none", FRESH, vary))
    assert client.expect_response(200, b"none").get(b"Cache-Status") == b"revproxy; fwd=vary-miss; ttl=60; stored"
    t.hit(b"none")


# -- what the request asks


@pytest.mark.parametrize("field", [b"Cache-Control: no-cache", b"Cache-Control: max-age=0", b"Pragma: no-cache"])
def test_requests_for_what_is_younger(talk: Start, field: bytes) -> None:
    t = talk()
    t.store()
    t.scenario.advance(1)
    client = t.miss(b"/", field)
    t.answer(ok(b"new", FRESH))
    assert client.expect_response(200, b"new").get(b"Cache-Status") == b"revproxy; fwd=request; ttl=60; stored"
    t.hit(b"new")


def test_they_are_not_heard_where_that_is_said(talk: Start) -> None:
    t = talk("{ honour_client = false }")
    t.store()
    t.hit(b"body", b"/", b"Cache-Control: no-cache")


def test_no_store_in_a_request(talk: Start) -> None:
    t = talk()
    client = t.miss(b"/", b"Cache-Control: no-store")
    t.answer(ok(b"own", FRESH))
    client.expect_response(200, b"own")
    t.store()


def test_only_if_cached(talk: Start) -> None:
    t = talk()
    client = t.ask(b"/", b"Cache-Control: only-if-cached")
    client.expect_response(504)
    assert t.asked == 0
    t.store()
    t.hit(b"body", b"/", b"Cache-Control: only-if-cached")


def test_authorized(talk: Start) -> None:
    t = talk()
    auth = b"Authorization: Basic x"
    client = t.miss(b"/", auth)
    t.answer(ok(b"own", FRESH))
    client.expect_response(200, b"own")
    t.store()
    client = t.miss(b"/", auth)
    t.answer(ok(b"own", FRESH))
    client.expect_response(200, b"own")
    t.hit()
    t.store(b"all", b"Cache-Control: public, max-age=60", path=b"/p", asked=(auth,))
    t.hit(b"all", b"/p")
    t.hit(b"all", b"/p", auth)


# -- stale


def test_validation_by_304(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"', b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT")
    t.scenario.advance(11)
    client = t.miss()
    modified = b"Sun, 06 Nov 1994 08:49:37 GMT"
    t.answer(
        b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nCache-Control: max-age=20\r\nX-New: 1\r\n\r\n',
        If_None_Match=b'"a"',
        If_Modified_Since=modified,
    )
    response = client.expect_response(200, b"body", {b"Age": b"0", b"X-New": b"1"})
    assert response.get(b"Cache-Status") == b"revproxy; fwd=stale; fwd-status=304; ttl=20"
    t.scenario.advance(15)
    assert t.hit().get(b"Age") == b"15"


def test_validation_by_200(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    client = t.miss()
    t.answer(ok(b"new", FRESH, b'ETag: "b"'), If_None_Match=b'"a"')
    client.expect_response(200, b"new")
    t.hit(b"new")
    assert cache_of(t).store.entries == 1


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found"])
def test_validation_by_what_is_not_stored_ends_the_old_one(talk: Start, status: bytes) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    client = t.miss()
    t.answer(ok(b"own", b"Cache-Control: private", status=status))
    client.expect_response(int(status[:3]), b"own")
    assert cache_of(t).store.entries == 0


def test_validation_that_is_denied_keeps_the_old_one(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    client = t.miss()
    t.answer(ok(b"slow down", status=b"429 Too Many Requests"))
    client.expect_response(429)
    assert cache_of(t).store.entries == 1


def test_a_304_about_something_else(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    client = t.miss()
    t.answer(b'HTTP/1.1 304 Not Modified\r\nETag: "other"\r\n\r\n', If_None_Match=b'"a"')
    client.expect_nothing()
    t.answer(ok(b"new", FRESH), If_None_Match=None)
    client.expect_response(200, b"new")
    t.hit(b"new")


@pytest.mark.parametrize("validator", [b'ETag: "a"', b"X-None: 1"])
def test_errors_and_stale_if_error(talk: Start, validator: bytes) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10, stale-if-error=20", validator)
    t.scenario.advance(11)
    for status in (500, 502, 503, 504):
        client = t.miss()
        t.answer(ok(b"oops", status=b"%d Oops" % status))
        response = client.expect_response(200, b"body", {b"Age": b"11"})
        assert response.get(b"Cache-Status") == b"revproxy; fwd=stale; fwd-status=%d" % status
    client = t.miss()
    t.answer(ok(b"oops", status=b"501 Oops"))
    client.expect_response(501, b"oops")
    t.scenario.advance(20)
    client = t.miss()
    t.answer(ok(b"oops", status=b"500 Oops"))
    client.expect_response(500, b"oops")


def test_an_error_with_a_long_body_is_left_at_once(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10, stale-if-error=20", b'ETag: "a"')
    t.scenario.advance(11)
    client = t.miss()
    t.answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\nonly this")
    client.expect_response(200, b"body")
    assert t.backend.connections[-1].ended == "reset"


def test_no_backend(talk: Start) -> None:
    t = talk('{ disconnected = "100s" }')
    t.store(b"body", b"Cache-Control: max-age=10")
    t.store(b"never", b"Cache-Control: max-age=10, must-revalidate", path=b"/must")
    t.scenario.advance(11)
    t.backend.refuse()
    t.backend.connections[-1].close()
    response = t.ask().expect_response(200, b"body", {b"Age": b"11"})
    assert response.get(b"Cache-Status") == b"revproxy; fwd=stale"
    t.ask(b"/must").expect_response(502)
    t.ask(b"/other").expect_response(502)
    t.scenario.advance(100)
    t.ask().expect_response(502)
    t.backend.accept()
    client = t.miss()
    t.answer(ok(b"back", FRESH))
    client.expect_response(200, b"back")


def test_error_pages_are_not_stored(talk: Start) -> None:
    t = talk('{ ttl = { any = "60s" } }')
    t.backend.refuse()
    t.ask().expect_response(502)
    assert cache_of(t).store.entries == 0
    t.backend.accept()
    t.store()


def test_the_seconds_of_a_retry_pass_through(talk: Start) -> None:
    t = talk(upstream='breaker = { error_rate = "50%", minimum = 1, open = "30s" }')
    client = t.ask()
    t.answer(ok(b"oops", status=b"500 Oops"))
    client.expect_response(500)
    client = t.ask(b"/other")
    response = client.expect_response(503)
    assert response.get(b"Retry-After") == b"30"


def test_stale_while_revalidate(talk: Start) -> None:
    t = talk()
    t.store(b"old", b"Cache-Control: max-age=10, stale-while-revalidate=20", b'ETag: "a"')
    t.scenario.advance(11)
    assert t.ask().expect_response(200, b"old").get(b"Cache-Status") == b"revproxy; hit; ttl=-1"
    assert t.asked == 2
    for _ in range(5):
        t.hit(b"old")  # one validation is enough
    t.answer(ok(b"new", FRESH, b'ETag: "b"'), If_None_Match=b'"a"')
    t.hit(b"new")
    assert cache_of(t).store.entries == 1
    assert len(cache_of(t).pending) == 0


def test_stale_while_revalidate_is_tried_again(talk: Start) -> None:
    t = talk('{ grace = "1h" }')
    t.store(b"old", b"Cache-Control: max-age=10")
    t.scenario.advance(11)
    for asked in range(2, 5):
        t.ask().expect_response(200, b"old")
        assert t.asked == asked
        t.answer(ok(b"oops", status=b"503 Busy"), If_None_Match=None)
    t.ask().expect_response(200, b"old")
    t.busy().expect_request(b"GET", b"/")
    t.backend.connections[-1].send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nCache-Control: max-age=9\r\n\r\nnew")
    t.ask().expect_response(200, b"old")
    t.backend.connections[-1].send(b" whole")
    t.hit(b"new whole")


# -- clients with conditions of their own


def test_conditions_on_hits(talk: Start) -> None:
    t = talk()
    t.store(b"body", FRESH, b'ETag: "a"', b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", b"Content-Type: text/x")
    response = t.hit(b"", b"/", b'If-None-Match: W/"a", "b"', status=304)
    assert response.get(b"ETag") == b'"a"'
    assert response.get(b"Content-Type") is None
    t.hit(b"", b"/", b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", status=304)
    t.hit(b"body", b"/", b'If-None-Match: "b"')
    t.hit(b"body", b"/", b"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT")
    client = t.miss(b"/", b'If-Match: "b"')
    t.answer(ok(b"no", status=b"412 Precondition Failed"), If_Match=b'"b"')
    client.expect_response(412)


def test_conditions_on_a_miss(talk: Start) -> None:
    t = talk()
    clients = [t.ask(b"/", b'If-None-Match: "a"'), t.ask(b"/", b'If-None-Match: "b"'), t.ask()]
    t.answer(ok(b"body", FRESH, b'ETag: "a"'), If_None_Match=None)
    clients[0].expect_response(304)
    for client in clients[1:]:
        client.expect_response(200, b"body")
    assert t.asked == 1
    t.hit(b"", b"/", b'If-None-Match: "a"', status=304)


def test_conditions_on_a_miss_of_what_is_not_stored(talk: Start) -> None:
    t = talk()
    client = t.ask(b"/", b'If-None-Match: "a"')
    t.answer(ok(b"body", b"Cache-Control: private", b'ETag: "a"'), If_None_Match=None)
    client.expect_response(200, b"body")
    client = t.ask(b"/", b'If-None-Match: "a"')
    t.answer(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', If_None_Match=b'"a"')
    client.expect_response(304)


def test_conditions_and_validation(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    client = t.miss(b"/", b'If-None-Match: "client"')
    t.answer(b"HTTP/1.1 304 Not Modified\r\n\r\n", If_None_Match=b'"a"')
    client.expect_response(200, b"body")
    t.scenario.advance(11)
    client = t.miss(b"/", b'If-None-Match: "a"')
    t.answer(b"HTTP/1.1 304 Not Modified\r\n\r\n", If_None_Match=b'"a"')
    client.expect_response(304)
    t.scenario.advance(11)
    client = t.miss(b"/", b'If-None-Match: "new"')
    t.answer(ok(b"new", b"Cache-Control: max-age=10", b'ETag: "new"'), If_None_Match=b'"a"')
    client.expect_response(304)  # what it has is what came
    t.hit(b"new")


# -- hooks


def at(point: str, policy: Any) -> Middleware:
    return Middleware(at=point, call=policy)  # type: ignore[arg-type]


def test_each_point_runs_where_it_should(talk: Start, play_once: Any) -> None:
    ran: list[str] = []

    def note(word: str) -> Any:
        def hook(exchange: Any) -> None:
            ran.append(word)
            if word == "client response":
                exchange.response.headers.set(b"X-Client", b"1")
            elif word == "backend response":
                exchange.response.headers.set(b"X-Backend", b"1")

        return hook

    points = ("client request", "backend request", "backend response", "client response")
    middleware = [at(point.replace(" ", "-"), note(point)) for point in points]
    t = talk(scenario=play_once(hooked(config(), *middleware)))
    t.store()
    assert ran == [*points]
    ran.clear()
    for _ in range(2):
        assert (t.hit().get(b"X-Backend"), t.hit().get(b"X-Client")) == (b"1", b"1")
    assert ran == ["client request", "client response"] * 4
    ran.clear()
    client = t.client()
    client.send(post(b""))
    t.answer(ok(b"done"), method=b"POST")
    client.expect_response(200, b"done", {b"X-Backend": b"1", b"X-Client": b"1"})
    assert ran == [*points]


def test_hooks_that_answer(talk: Start, play_once: Any) -> None:
    def only_with_key(exchange: Any) -> Any:
        if b"x-key" not in exchange.request.headers:
            return Answer(403, Headers.of([(b"Cache-Control", b"max-age=60")]), b"no")
        return None

    for point in ("client-request", "backend-request", "backend-response"):
        t = talk(scenario=play_once(hooked(config('{ ttl = { any = "60s" } }'), at(point, only_with_key))))
        client = t.ask()
        if point == "backend-response":
            t.answer(ok(b"body", FRESH))
        client.expect_response(403, b"no")
        assert cache_of(t).store.entries == 0
        t.store(asked=(b"X-Key: 1",))


def test_what_a_hook_answers_is_for_one(talk: Start, play_once: Any) -> None:
    waiting: list[Deferred[Any]] = []

    def wait(exchange: Any) -> Any:
        waiting.append(Deferred())
        return waiting[-1]

    t = talk(scenario=play_once(hooked(config(), at("backend-request", wait))))
    one, other = t.ask(), t.ask()
    assert len(waiting) == 1
    waiting[0].callback(Answer(401, Headers(), b"who?"))
    one.expect_response(401, b"who?")
    other.expect_nothing()
    assert len(waiting) == 2
    waiting[1].callback(None)
    t.scenario.advance(0)
    t.answer(ok(b"body", FRESH))
    other.expect_response(200, b"body")


def test_a_client_response_hook_that_waits(talk: Start, play_once: Any) -> None:
    waiting: list[Deferred[Any]] = []

    def wait(exchange: Any) -> Any:
        waiting.append(Deferred())
        return waiting[-1]

    t = talk(scenario=play_once(hooked(config(), at("client-response", wait), at("client-response", wait))))
    body = b"x" * 300_000
    client = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    response = ok(body, FRESH)
    connection.send(response[:200_000])
    client.expect_nothing()
    waiting.pop().callback(None)
    t.scenario.advance(0)
    connection.send(response[200_000:])
    waiting.pop().callback(None)
    t.scenario.advance(0)
    client.expect_response(200, body)
    hit = t.ask()
    waiting.pop().callback(None)
    t.scenario.advance(0)
    hit.expect_nothing()
    waiting.pop().callback(None)
    t.scenario.advance(0)
    hit.expect_response(200, body)
    gone = t.ask()
    gone.reset()
    refused = t.ask()
    waiting.pop().callback(Answer(403, Headers(), b"no"))
    refused.expect_response(403, b"no")


def test_mapped_locations(talk: Start) -> None:
    t = talk(route='match = { path = "/api/*" }\nrewrite = { strip_prefix = "/api" }')
    client = t.ask(b"/api/old")
    t.answer(ok(b"", FRESH, b"Location: /new", status=b"301 Moved"), b"/old")
    client.expect_response(301, headers={b"Location": b"/api/new"})
    client = t.ask(b"/api/old")
    client.expect_response(301, headers={b"Location": b"/api/new"})
    assert t.asked == 1


# -- logs


def test_the_log_knows_who_was_asked(talk: Start) -> None:
    t = talk()
    t.store()
    t.hit()
    waiting = [t.ask(b"/two"), t.ask(b"/two")]
    t.answer(ok(b"two", FRESH), b"/two")
    for client in waiting:
        client.expect_response(200, b"two")
    assert [record.backend for record in t.scenario.log] == ["tcp:127.0.0.1:9000", "", "tcp:127.0.0.1:9000", ""]
    assert [record.status for record in t.scenario.log] == [200] * 4
    assert [record.sent for record in t.scenario.log] == [4, 4, 3, 3]
    assert t.scenario.log[0].retries == 0
    assert [record.connect is None for record in t.scenario.log] == [False, True, True, True]


def test_status_can_be_off_or_tell_the_key(talk: Start) -> None:
    t = talk("{ status_key = true }")
    t.store(path=b"/a?b")
    response = t.hit(b"body", b"/a?b")
    assert response.get(b"Cache-Status") == b'revproxy; hit; ttl=60; key="http://example.com/a?b"'
    t = talk('{ status = "off" }')
    t.store()
    assert t.hit().get(b"Cache-Status") is None


# -- stores


def test_routes_share_a_store_unless_they_have_one(play_once: Any) -> None:
    text = config(route='match = { path = "/a/*" }') + (
        '[[routes]]\nmatch = { path = "/b/*" }\nupstream = "app"\ncache = {}\n'
        '[[routes]]\nname = "own"\nmatch = { path = "/c/*" }\nupstream = "app"\ncache = { size = "1MB" }\n'
        '[cache]\nsize = "2MB"\nlargest = "1MB"\n'
    )
    table = play_once(text).engine.table
    one, other, own = (route.handler for route in table.routes)
    assert one.store is other.store is table.stores[""]
    assert one.pending is other.pending
    assert own.store is table.stores["own"]
    assert (one.store.budget, one.store.largest) == (2 * 1024**2 - 2 * 1024**2 // 5, 1024**2)
    assert (own.store.budget, own.store.largest) == (1024**2 - 1024**2 // 5, 1024**2)
