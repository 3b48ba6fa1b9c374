"""The user's own hooks: at four points, plain, with a Deferred or async; in time, late or broken."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from revproxy.config.model import Middleware
from revproxy.fault import CLIENT_BAD_REQUEST, ProtocolError
from revproxy.http.message import Answer, Headers
from revproxy.middleware.policy import load_object
from tests.kit import ADDRESS, OK, get, hooked, ok, post, toml

POINTS = ("client-request", "backend-request", "backend-response", "client-response")
STYLES = ("plain", "deferred", "fired", "async")
NO = Answer(403, Headers.of([(b"X-Why", b"because")]), b"no")


class Hook:
    """A hook in one of the styles; the waiting ones wait for :meth:`go`."""

    def __init__(self, style, result=None):
        self.style = style
        self.result = result
        self.calls = []
        self.waiting = []
        self.cancelled = 0

    def __call__(self, exchange):
        self.calls.append(exchange)
        if self.style == "plain":
            return self.give()
        deferred = Deferred(self.cancel)
        if self.style == "fired":
            deferred.callback(self.give())
            return deferred
        self.waiting.append(deferred)
        return deferred if self.style == "deferred" else self.wait(deferred)

    def cancel(self, deferred):
        self.cancelled += 1

    async def wait(self, deferred):
        return await deferred

    def give(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def go(self):
        for deferred in self.waiting:
            try:
                deferred.callback(self.give())
            except Exception as e:
                deferred.errback(e)
        self.waiting = []


def start(play, hook, at="client-request", route='upstream = "app"', **written):
    scenario = play(hooked_config(hook, at, route, **written))
    return scenario, scenario.client(), scenario.backend(ADDRESS)


def hooked_config(hook, at="client-request", route='upstream = "app"', **written):
    return hooked(toml(route=route), Middleware(call=hook, at=at, **written))


# -- go on


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("at", POINTS)
def test_going_on(play, at, style):
    hook = Hook(style)
    scenario, client, backend = start(play, hook, at)
    client.send(post(b"body"))
    before = at.endswith("request")
    if before and hook.waiting:
        client.expect_nothing()
        assert not backend.connections or not backend.connection.received
        hook.go()
        scenario.reactor.settle()
    backend.expect_request(b"POST", b"/", b"body")
    backend.send(OK)
    if not before and hook.waiting:
        client.expect_nothing()
        hook.go()
        scenario.reactor.settle()
    client.expect_response(200, b"ok")
    assert len(hook.calls) == 1
    client.send(get(b"/next"))
    scenario.reactor.settle()
    hook.go()
    scenario.reactor.settle()
    backend.expect_connections(1)
    backend.expect_request(b"GET", b"/next")


# -- answer


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("at", POINTS)
def test_answering(play, at, style):
    hook = Hook(style, NO)
    scenario, client, backend = start(play, hook, at)
    client.send(get())
    hook.go()
    scenario.reactor.settle()
    if at.endswith("request"):
        assert all(not connection.received for connection in backend.connections)
    else:
        backend.expect_request(b"GET", b"/")
        backend.send(ok(b"secret"))
        hook.go()
        scenario.reactor.settle()
    client.expect_response(403, b"no", {b"X-Why": b"because"})
    client.expect_nothing()
    assert b"secret" not in client.received
    assert [(record.status, record.fault) for record in scenario.log] == [(403, "")]
    client.send(get(b"/next"))
    hook.go()
    scenario.reactor.settle()
    if at.endswith("request"):
        client.expect_response(403, b"no")


@pytest.mark.parametrize("at", POINTS[2:])
def test_answering_while_the_backend_still_sends(play, at):
    _, client, backend = start(play, Hook("plain", NO), at)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsecret")
    client.expect_response(403, b"no")
    client.expect_nothing()
    assert backend.connection.ended == "reset"


def test_the_first_answer_ends_it(play):
    second = Hook("plain")
    scenario = play(hooked(toml(), Middleware(call=Hook("deferred", NO)), Middleware(call=second)))
    client = scenario.client()
    client.send(get())
    first = scenario.config.routes[0].middleware[0].call
    first.go()
    client.expect_response(403, b"no")
    assert second.calls == []


def test_client_response_hooks_see_our_own_answers(play):
    def mark(exchange):
        exchange.response.headers.set(b"X-Mark", b"%d" % exchange.response.status)

    _, client, backend = start(play, mark, "client-response")
    backend.refuse()
    client.send(get())
    client.expect_response(502, headers={b"X-Mark": b"502"})
    scenario = play(hooked_config(mark, "client-response", 'respond = { body = "hi" }'))
    client = scenario.client()
    client.send(get())
    client.expect_response(200, b"hi", {b"X-Mark": b"200"})


def test_hooks_change_what_passes(play):
    def change(exchange):
        exchange.request.headers.set(b"X-Tenant", b"a")
        exchange.request.path = b"/changed"
        exchange.context["seen"] = True

    _, client, backend = start(play, change)
    client.send(get(b"/x"))
    backend.expect_request(b"GET", b"/changed", headers={b"X-Tenant": b"a"})


# -- waiting and the body


@pytest.mark.parametrize("style", ["deferred", "async"])
def test_a_hook_that_waits_pauses_the_upload(play_once, style):
    hook = Hook(style)
    scenario, client, backend = start(play_once, hook, timeout=None)
    client.send(get(b"/", b"Content-Length: 400000", method=b"POST"))
    client.send(b"x" * 400_000)
    assert not client.is_read
    scenario.advance(200)
    client.expect_nothing()
    hook.go()
    scenario.reactor.settle()
    backend.expect_request(b"POST", b"/", b"x" * 400_000)
    backend.send(OK)
    client.expect_response(200, b"ok")


@pytest.mark.parametrize("at", POINTS[2:])
def test_a_hook_that_waits_pauses_the_download(play_once, at):
    hook = Hook("deferred")
    scenario, client, backend = start(play_once, hook, at, timeout=None)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000)
    assert not backend.connection.is_read
    client.expect_nothing()
    hook.go()
    scenario.reactor.settle()
    client.expect_response(200, b"x" * 400_000)


@pytest.mark.parametrize("at", POINTS[2:])
@pytest.mark.parametrize("framing", ["length", "chunked", "to the end"])
def test_what_comes_while_a_response_hook_waits_is_not_lost(play, at, framing):
    hook = Hook("deferred")
    scenario, client, backend = start(play, hook, at)
    client.send(get())
    head, body = {
        "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"abcdef"),
        "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"6\r\nabcdef\r\n0\r\n\r\n"),
        "to the end": (b"HTTP/1.1 200 OK\r\n\r\n", b"abcdef"),
    }[framing]
    backend.send(head)
    backend.send(body)
    if framing == "to the end":
        backend.connection.close()
    client.expect_nothing()
    hook.go()
    scenario.reactor.settle()
    client.expect_response(200, b"abcdef")
    client.expect_nothing()


def test_a_client_that_leaves_cancels_the_hook(play):
    hook = Hook("deferred")
    scenario, client, backend = start(play, hook)
    client.send(get())
    client.reset()
    assert hook.cancelled == 1
    assert backend.attempts == []
    assert [record.fault for record in scenario.log] == ["client-gone"]


@pytest.mark.parametrize("at", POINTS[2:])
def test_a_backend_that_leaves_while_a_response_hook_waits(play, at):
    hook = Hook("deferred")
    scenario, client, backend = start(play, hook, at)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
    backend.connection.reset()
    hook.go()
    scenario.reactor.settle()
    if client.ended != "reset":  # where nothing was shown yet, a page says more than a cut
        client.expect_response(502)
    assert len(scenario.log) == 1


# -- late and broken


@pytest.mark.parametrize("style", ["deferred", "async"])
@pytest.mark.parametrize("at", POINTS)
def test_a_late_hook_that_fails_closed(play, at, style):
    hook = Hook(style)
    scenario, client, backend = start(play, hook, at, timeout=2.0)
    client.send(get())
    if not at.endswith("request"):
        backend.send(OK)
    scenario.advance(1.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(503)
    assert hook.cancelled == 1
    assert [record.fault for record in scenario.log] == ["hook-timeout"]
    scenario.errors.clear()


@pytest.mark.parametrize("style", ["deferred", "async"])
@pytest.mark.parametrize("at", POINTS)
def test_a_late_hook_that_fails_open(play, at, style):
    hook = Hook(style)
    scenario, client, backend = start(play, hook, at, timeout=2.0, fail="open")
    client.send(get())
    if not at.endswith("request"):
        backend.send(OK)
    scenario.advance(2.1)
    if at.endswith("request"):
        backend.send(OK)
    client.expect_response(200, b"ok")
    assert [record.fault for record in scenario.log] == [""]
    scenario.errors.clear()


@pytest.mark.parametrize("result", [ValueError("secret"), "text"], ids=["raises", "gives nonsense"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("at", POINTS)
def test_a_broken_hook_that_fails_closed(play_once, at, style, result):
    hook = Hook(style, result)
    if style == "fired" and isinstance(result, Exception):
        hook.style = "plain"
    scenario, client, backend = start(play_once, hook, at)
    client.send(get())
    if not at.endswith("request"):
        backend.send(ok(b"secret"))
    hook.go()
    scenario.reactor.settle()
    message = client.expect_response(500)
    assert b"secret" not in message.body
    client.expect_nothing()
    assert [record.fault for record in scenario.log] == ["hook-failed"]
    scenario.errors.clear()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("at", POINTS)
def test_a_broken_hook_that_fails_open(play_once, at, style):
    hook = Hook("plain" if style == "fired" else style, ValueError("why"))
    scenario, client, backend = start(play_once, hook, at, fail="open")
    client.send(get())
    if not at.endswith("request"):
        backend.send(OK)
    hook.go()
    scenario.reactor.settle()
    if at.endswith("request"):
        backend.send(OK)
    client.expect_response(200, b"ok")
    assert any("why" in error for error in scenario.errors)
    scenario.errors.clear()


def test_a_hook_may_refuse_by_a_fault(play):
    _, client, backend = start(play, Hook("plain", ProtocolError(CLIENT_BAD_REQUEST, "my rule")), fail="open")
    client.send(get())
    client.expect_response(400)
    assert backend.attempts == []


# -- body_prefix


def prefix(limit, seen, answer=None):
    async def hook(exchange):
        seen.append(await exchange.body_prefix(limit))
        return answer

    return hook


def test_the_prefix_of_a_body(play):
    seen: list[bytes] = []
    _, client, backend = start(play, prefix(4, seen))
    client.send(get(b"/", b"Content-Length: 8", method=b"POST") + b"ab")
    assert backend.attempts == []
    client.send(b"cdef")
    assert seen == [b"abcd"]
    backend.expect_head(b"POST", b"/")
    client.send(b"gh")
    backend.connection.expect_body(b"abcdefgh")
    backend.connection.expect_end()
    backend.send(OK)
    client.expect_response(200, b"ok")


@pytest.mark.parametrize("sent", [get(), post(b"ab"), post(b"abcd")])
def test_the_prefix_of_a_short_body(play, sent):
    seen: list[bytes] = []
    _, client, backend = start(play, prefix(4, seen))
    client.send(sent)
    assert seen == [sent.partition(b"\r\n\r\n")[2]]
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_the_prefix_of_a_chunked_body_with_trailers(play):
    seen: list[bytes] = []
    _, client, backend = start(play, prefix(100, seen))
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"2\r\nab\r\n2\r\ncd\r\n0\r\nx-t: 1\r\n\r\n")
    assert seen == [b"abcd"]
    backend.expect_request(b"POST", b"/", b"abcd", trailers=[(b"x-t", b"1")])


def test_the_prefix_asks_a_client_that_waits_to_go_on(play):
    seen: list[bytes] = []
    _, client, backend = start(play, prefix(100, seen))
    client.send(get(b"/", b"Content-Length: 4", b"Expect: 100-continue", method=b"POST"))
    client.expect_response(100)
    client.send(b"body")
    assert seen == [b"body"]
    backend.expect_request(b"POST", b"/", b"body", {b"Expect": None})
    backend.send(OK)
    client.expect_response(200, b"ok")
    client.expect_nothing()


def test_an_answer_after_the_prefix(play):
    seen: list[bytes] = []
    _, client, backend = start(play, prefix(100, seen, NO))
    client.send(post(b"body") + get(b"/next"))
    client.expect_response(403, b"no")
    client.expect_response(403, b"no")
    assert seen == [b"body", b""]
    assert backend.attempts == []


def test_a_prefix_larger_than_what_is_held_otherwise(play_once):
    seen: list[bytes] = []
    _, client, backend = start(play_once, prefix(300_000, seen))
    client.send(get(b"/", b"Content-Length: 500000", method=b"POST"))
    client.send(b"x" * 500_000)
    assert [len(found) for found in seen] == [300_000]
    backend.expect_request(b"POST", b"/", b"x" * 500_000)


def test_a_slow_client_within_the_prefix_is_late(play):
    scenario, client, backend = start(play, prefix(100, []), timeout=None)
    client.send(get(b"/", b"Content-Length: 4", method=b"POST") + b"ab")
    scenario.advance(11)
    client.expect_response(408)
    client.expect_closed()
    assert backend.attempts == []


def test_a_client_that_leaves_within_the_prefix(play):
    scenario, client, _ = start(play, prefix(100, []), timeout=None)
    client.send(get(b"/", b"Content-Length: 4", method=b"POST") + b"ab")
    client.reset()
    assert [record.fault for record in scenario.log] == ["client-gone"]


# -- names


def test_load_object():
    assert load_object("tests.middleware.test_policy:NO.status") == 403
    for wrong in ("no_such_module:x", "os:no_such_name", "os:path.no_such_name"):
        with pytest.raises(ValueError, match="no_such"):
            load_object(wrong)


def test_a_hook_by_name(play):
    scenario = play(toml(route='upstream = "app"\nmiddleware = ["tests.middleware.test_policy:refuse"]'))
    client = scenario.client()
    client.send(get())
    client.expect_response(403, b"no")


def refuse(exchange):
    return NO
