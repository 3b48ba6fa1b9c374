"""Interim responses, expectations, early answers and upgrades: what is more than one request and one response."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from revproxy.config.model import Middleware
from revproxy.http.message import Answer, Headers
from tests.kit import ADDRESS, OK, get, hooked, ok, post, toml

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = b"Expect: 100-continue"

# -- Expect: 100-continue and other interim responses


def test_100_continue_passes_end_to_end(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 4", EXPECT, method=b"POST"))
    backend.expect_head(b"POST", b"/", {b"Expect": b"100-continue"})
    backend.connection.expect_body(b"")
    client.expect_nothing()
    backend.send(CONTINUE)
    client.expect_response(100)
    client.send(b"body")
    backend.connection.expect_body(b"body")
    backend.connection.expect_end()
    backend.send(OK)
    client.expect_response(200, b"ok", {b"Connection": None})
    client.expect_nothing()


def test_100_continue_chunked(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Transfer-Encoding: chunked", EXPECT, method=b"PUT"))
    backend.expect_head(b"PUT", b"/", {b"Expect": b"100-continue"})
    backend.send(CONTINUE)
    client.expect_response(100)
    client.send(b"4\r\nbody\r\n0\r\n\r\n")
    backend.connection.expect_body(b"body")
    backend.connection.expect_end()
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_a_final_status_without_100_ends_the_connection(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 4", EXPECT, method=b"POST"))
    backend.expect_head(b"POST", b"/")
    backend.send(ok(b"no", status=b"401 Unauthorized"))
    client.expect_response(401, b"no", {b"Connection": b"close"})
    client.expect_closed()
    # a body may or may not follow: the backend's connection can't be used again either
    assert backend.connection.ended


def test_a_client_that_does_not_wait_for_100(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"body", EXPECT))
    backend.expect_request(b"POST", b"/", b"body")
    backend.send(CONTINUE + OK)
    if client.unread.startswith(b"HTTP/1.1 100"):
        client.expect_response(100)
    client.expect_response(200, b"ok")
    client.expect_nothing()


def test_the_client_that_waits_is_not_late(play):
    scenario = play(toml("", 'timeouts = { idle = "1h", first_byte = "1h" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 4", EXPECT, method=b"POST"))
    scenario.advance(300)
    client.expect_nothing()
    backend.send(CONTINUE)
    client.expect_response(100)
    client.send(b"body")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_after_100_the_body_clock_runs(play):
    scenario = play(toml('timeouts = { body = "30s" }\nminimum_rate = "off"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 4", EXPECT, method=b"POST"))
    scenario.advance(20)
    backend.send(CONTINUE)
    client.expect_response(100)
    scenario.advance(29)
    client.expect_nothing()
    scenario.advance(1.1)
    client.expect_response(408)
    client.expect_closed()


def test_a_fixed_answer_to_a_waiting_client_does_not_ask_for_the_body(play):
    scenario = play(toml(route='respond = { status = 403, body = "no" }'))
    client = scenario.client()
    client.send(get(b"/", b"Content-Length: 4", EXPECT, method=b"POST"))
    client.expect_response(403, b"no", {b"Connection": b"close"})
    client.expect_closed()


def test_expect_from_http_1_0_is_ignored(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\nbody")
    backend.expect_request(b"POST", b"/", b"body", {b"Expect": None})
    backend.send(CONTINUE + OK)
    client.expect_response(200, b"ok")
    client.expect_closed()


def test_103_passes(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: close\r\n\r\n")
    client.expect_response(103, headers={b"Link": b"</a.css>; rel=preload", b"Connection": None, b"Date": None})
    backend.send(b"HTTP/1.1 103 Early Hints\r\nLink: </b.js>\r\n\r\n" + OK)
    client.expect_response(103)
    client.expect_response(200, b"ok")
    client.send(get(b"/2"))
    backend.expect_request(b"GET", b"/")
    backend.expect_request(b"GET", b"/2")


def test_http_1_0_clients_get_no_interim_responses(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    backend.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    client.expect_response(200, b"ok")


# -- an answer before the request is complete


def test_an_early_answer_is_delivered_and_the_rest_drained(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 1000", method=b"POST") + b"x" * 10)
    backend.expect_head(b"POST", b"/")
    backend.send(ok(b"enough", status=b"413 Content Too Large"))
    client.expect_response(413, b"enough", {b"Connection": None})
    assert backend.connection.ended, "half a request was sent on it"
    client.send(b"x" * 990 + get(b"/next"))
    backend.expect_connections(2)
    backend.expect_request(b"GET", b"/next")
    backend.send(OK)
    client.expect_response(200, b"ok")
    client.expect_nothing()


def test_an_early_answer_to_a_chunked_body(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n")
    backend.send(ok(b"enough"))
    client.expect_response(200, b"enough")
    client.send(b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n" + get(b"/next"))
    backend.expect_request(b"GET", b"/next")


def test_an_early_answer_of_ours(play):
    scenario = play(toml(route='respond = { body = "hi" }'))
    client = scenario.client()
    client.send(get(b"/", b"Content-Length: 1000", method=b"POST"))
    client.expect_response(200, b"hi")
    client.send(b"x" * 1000 + get())
    client.expect_response(200, b"hi")
    client.expect_nothing()


@pytest.mark.parametrize("route", ['upstream = "app"', 'respond = { body = "enough" }'])
def test_too_much_to_drain_closes_after_the_answer_could_be_read(play_once, route):
    scenario = play_once(toml(route=route))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 100000000", method=b"POST") + b"x" * 10)
    if "upstream" in route:
        backend.send(ok(b"enough"))
    client.expect_response(200, b"enough")
    client.send(b"x" * 300_000)
    client.expect_closed()
    assert not client.gone, "a reset now would take the answer from a client that has not read it yet"
    client.send(b"x" * 100_000)
    assert not client.gone
    client.close()
    assert not scenario.engine.connections


def test_who_never_stops_sending_is_cut(play_once):
    scenario = play_once(toml(route='respond = { body = "enough" }'))
    client = scenario.client()
    client.send(get(b"/", b"Content-Length: 100000000", method=b"POST"))
    client.send(b"x" * 1_000_000)
    assert client.gone
    client.expect_response(200, b"enough")


def test_who_is_slow_to_end_is_closed(play_once):
    scenario = play_once(toml(route='respond = { body = "enough" }'))
    client = scenario.client()
    client.send(get(b"/", b"Content-Length: 1000", method=b"POST"))
    client.expect_response(200, b"enough")
    for _ in range(5):
        client.expect_nothing()
        client.send(b"x")
        scenario.advance(1)
    client.expect_closed()
    assert not client.gone
    for _ in range(76):
        client.send(b"x")
        scenario.advance(1)
    assert client.gone


def test_both_bodies_move_at_once(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n")
    backend.expect_head(b"POST", b"/")
    backend.connection.expect_body(b"abc")
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nABC\r\n")
    client.expect_head(200)
    client.expect_body(b"ABC")
    client.send(b"3\r\ndef\r\n")
    backend.connection.expect_body(b"def")
    backend.send(b"3\r\nDEF\r\n")
    client.expect_body(b"DEF")
    client.send(b"0\r\n\r\n")
    backend.connection.expect_end()
    backend.send(b"0\r\n\r\n")
    client.expect_end()
    client.send(get(b"/next"))
    backend.expect_connections(1)
    backend.expect_request(b"GET", b"/next")


# -- backpressure


def test_a_client_that_does_not_read_pauses_the_backend(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    client.stop_reading()
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 2_000_000)
    assert not backend.connection.is_read
    assert client.waiting <= 256 * 1024
    client.resume_reading()
    client.expect_response(200, b"x" * 2_000_000)
    client.send(get(b"/2"))
    backend.expect_connections(1)


def test_a_backend_that_does_not_read_pauses_the_client(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 2000000", method=b"POST"))
    backend.connection.stop_reading()
    client.send(b"x" * 2_000_000 + get(b"/2"))
    assert not client.is_read
    assert backend.connection.waiting <= 256 * 1024
    backend.connection.resume_reading()
    backend.expect_request(b"POST", b"/", b"x" * 2_000_000)
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.expect_request(b"GET", b"/2")
    assert client.is_read


def test_pipelined_answers_wait_for_a_client_that_does_not_read(play_once):
    body = "x" * 50_000
    scenario = play_once(toml(route=f'respond = {{ body = "{body}" }}'))
    client = scenario.client()
    client.stop_reading()
    client.send(get() * 100)
    assert client.waiting <= 512 * 1024, "answers pile up in memory"
    client.resume_reading()
    for _ in range(100):
        client.expect_response(200, body.encode())


# -- upgrades


def upgrade(protocol: bytes = b"websocket", *fields: bytes) -> bytes:
    return get(b"/chat", b"Connection: Upgrade", b"Upgrade: " + protocol, *fields)


SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)


def open_tunnel(play, server="", upstream=""):
    scenario = play(toml(server, upstream))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade())
    backend.expect_request(b"GET", b"/chat", headers={b"Connection": b"Upgrade", b"Upgrade": b"websocket"})
    backend.send(SWITCH)
    client.expect_response(101, headers={b"Upgrade": b"websocket", b"Sec-WebSocket-Accept": b"x"})
    return scenario, client, backend.connection


def test_websocket(play):
    scenario, client, connection = open_tunnel(play)
    client.send(b"\x81\x85 hello")
    connection.expect(b"\x81\x85 hello")
    connection.send(b"\x81\x05 world")
    client.expect(b"\x81\x05 world")
    client.expect_nothing()
    connection.close()
    client.expect_closed()
    client.close()
    assert [(record.status, record.fault) for record in scenario.log] == [(101, "")]


def test_a_101_names_connection_once(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade())
    backend.send(SWITCH)
    client.expect_response(101, headers={b"Connection": b"Upgrade"})


def test_bytes_behind_the_101_and_behind_the_request(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade() + b"early")
    backend.expect_request(b"GET", b"/chat")
    backend.connection.expect_nothing()
    backend.send(SWITCH + b"first")
    client.expect_response(101)
    client.expect(b"first")
    backend.connection.expect(b"early")
    client.send(b" more")
    backend.connection.expect(b" more")


def test_the_client_ends_its_side_of_a_tunnel(play):
    scenario, client, connection = open_tunnel(play)
    client.send(b"last")
    client.half_close()
    connection.expect(b"last")
    connection.expect_closed()
    connection.send(b"answer")
    client.expect(b"answer")
    client.expect_nothing()
    connection.close()
    client.expect_closed()
    assert [record.fault for record in scenario.log] == [""]


def test_the_backend_ends_its_side_of_a_tunnel(play):
    scenario, client, connection = open_tunnel(play)
    connection.send(b"last")
    connection.half_close()
    client.expect(b"last")
    client.expect_closed()
    client.send(b"answer")
    connection.expect(b"answer")
    connection.expect_nothing()
    client.close()
    connection.expect_closed()
    assert [record.fault for record in scenario.log] == [""]


def test_a_reset_on_the_clients_side_cuts_the_backend(play):
    scenario, client, connection = open_tunnel(play)
    client.reset()
    connection.expect_reset()
    assert len(scenario.log) == 1


def test_a_reset_on_the_backends_side_cuts_the_client(play):
    scenario, client, connection = open_tunnel(play)
    connection.reset()
    client.expect_reset()
    assert len(scenario.log) == 1


def test_backpressure_from_the_client_in_a_tunnel(play_once):
    _, client, connection = open_tunnel(play_once)
    client.stop_reading()
    connection.send(b"x" * 1_000_000)
    assert not connection.is_read
    assert client.waiting <= 256 * 1024
    client.resume_reading()
    client.expect(b"x" * 1_000_000)
    assert connection.is_read


def test_backpressure_from_the_backend_in_a_tunnel(play_once):
    _, client, connection = open_tunnel(play_once)
    connection.stop_reading()
    client.send(b"x" * 1_000_000)
    assert not client.is_read
    assert connection.waiting <= 256 * 1024
    connection.resume_reading()
    connection.expect(b"x" * 1_000_000)
    assert client.is_read


def test_an_idle_tunnel_is_cut(play):
    scenario, client, connection = open_tunnel(play, 'timeouts = { tunnel = "1h" }')
    scenario.advance(3500)
    client.send(b"ping")
    scenario.advance(3500)
    connection.send(b"pong")
    scenario.advance(3500)
    client.expect(b"pong")
    client.expect_nothing()
    scenario.advance(101)
    client.expect_reset()
    assert connection.ended == "reset"
    assert [record.fault for record in scenario.log] == ["tunnel-idle"]


def test_no_other_clock_runs_in_a_tunnel(play):
    scenario, client, connection = open_tunnel(
        play,
        'timeouts = { tunnel = "10h", keep_alive = "1s", body = "1s" }',
        'timeouts = { idle = "1s", first_byte = "1s" }',
    )
    scenario.advance(35000)
    client.send(b"ping")
    connection.expect(b"ping")
    client.expect_nothing()


def test_an_upgrade_that_is_refused_is_an_ordinary_answer(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade())
    backend.send(ok(b"no", status=b"403 Forbidden"))
    client.expect_response(403, b"no")
    client.send(get(b"/next"))
    backend.expect_request(b"GET", b"/chat")
    backend.expect_request(b"GET", b"/next")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_other_protocols_only_where_the_route_names_them(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade(b"spdy/3"))
    backend.expect_request(b"GET", b"/chat", headers={b"Upgrade": None, b"Connection": None})
    backend.send(OK)
    client.expect_response(200, b"ok")

    scenario = play(toml(route='upstream = "app"\nupgrade = ["websocket", "irc"]'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade(b"IRC"))
    backend.expect_request(b"GET", b"/chat", headers={b"Upgrade": b"irc", b"Connection": b"Upgrade"})
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: irc\r\n\r\nhi")
    client.expect_response(101, headers={b"Upgrade": b"irc"})
    client.expect(b"hi")


def test_no_upgrade_where_the_route_names_none(play):
    scenario = play(toml(route='upstream = "app"\nupgrade = []'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade())
    backend.expect_request(b"GET", b"/chat", headers={b"Upgrade": None, b"Connection": None})


def test_h2c_is_dropped(play):
    scenario = play(toml(route='upstream = "app"\nupgrade = ["websocket"]'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"))
    backend.expect_request(b"GET", b"/", headers={b"Upgrade": None, b"Connection": None, b"HTTP2-Settings": None})
    backend.send(OK)
    client.expect_response(200, b"ok")
    client.send(get(b"/", b"Connection: Upgrade", b"Upgrade: h2c, websocket"))
    backend.expect_request(b"GET", b"/", headers={b"Upgrade": b"websocket", b"Connection": b"Upgrade"})


def test_upgrade_without_connection_is_not_forwarded(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Upgrade: websocket"))
    backend.expect_request(b"GET", b"/", headers={b"Upgrade": None, b"Connection": None})


def test_a_101_that_nobody_asked_for_is_502(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(SWITCH)
    client.expect_response(502)
    assert backend.connection.ended == "reset"


def test_a_switch_to_another_protocol_than_asked_for_is_502(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade())
    backend.send(SWITCH.replace(b"websocket", b"spdy/3"))
    client.expect_response(502)
    assert backend.connection.ended == "reset"


@pytest.mark.parametrize("fields", [[b"Content-Length: 4"], [b"Transfer-Encoding: chunked"]])
def test_no_upgrade_of_a_request_with_a_body(play, fields):
    # where the tunnel would begin is not known to everybody alike
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade(b"websocket", *fields))
    backend.expect_head(b"GET", b"/chat", {b"Upgrade": None, b"Connection": None})
    backend.send(SWITCH)
    client.expect_response(502)
    assert backend.connection.ended == "reset"


def test_a_protocol_with_a_version_passes_by_its_name(play):
    scenario = play(toml(route='upstream = "app"\nupgrade = ["irc"]'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade(b"irc/6.9"))
    backend.expect_request(b"GET", b"/chat", headers={b"Upgrade": b"irc/6.9"})
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: irc/6.9\r\n\r\n")
    client.expect_response(101, headers={b"Upgrade": b"irc/6.9"})


# -- hooks for what clients get run for a 101, too


def test_what_browsers_are_told_is_in_a_101(play_once):
    scenario = play_once(
        toml(
            route='upstream = "app"\nrewrite = { strip_prefix = "/chat", add_prefix = "/inner" }\ncookies = true\n'
            'security_headers = true\ncors = { origins = "https://a.example" }\nheaders.response.set = { x-set = "1" }'
        )
    )
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade(b"websocket", b"Origin: https://a.example"))
    cookies = b"Set-Cookie: sid=1; Path=/inner\r\nAccess-Control-Allow-Origin: *\r\n\r\n"
    backend.send(SWITCH[:-2] + cookies + b"first")
    head = client.expect_response(101, headers={b"Upgrade": b"websocket", b"Sec-WebSocket-Accept": b"x"})
    assert head.all(b"set-cookie") == [b"sid=1; Path=/chat; HttpOnly; SameSite=Lax"]
    assert head.all(b"access-control-allow-origin") == [b"https://a.example"]
    assert head.get(b"x-content-type-options") == b"nosniff"
    assert head.get(b"x-set") == b"1"
    client.expect(b"first")
    backend.expect_request(b"GET", b"/inner/")
    client.send(b"up")
    backend.connection.expect(b"up")
    backend.send(b"down")
    client.expect(b"down")


def test_a_services_cookie_is_in_a_101(play_once):
    scenario = play_once(
        toml(
            route='upstream = "app"\nauth = { forward = { upstream = "sso", copy_cookies = "sess" } }',
            more='[upstreams.sso]\nbackends = "tcp:127.0.0.1:9001"',
        )
    )
    client, backend, sso = scenario.client(), scenario.backend(ADDRESS), scenario.backend("tcp:127.0.0.1:9001")
    client.send(upgrade())
    sso.send(ok(b"", b"Set-Cookie: sess=new; Path=/"))
    backend.send(SWITCH)
    assert client.expect_response(101).all(b"set-cookie") == [b"sess=new; Path=/"]


class Later:
    """A client-response hook that waits."""

    def __init__(self):
        self.waiter = Deferred()

    def __call__(self, exchange):
        return self.waiter


def waiting_tunnel(play):
    hook = Later()
    scenario = play(hooked(toml(), Middleware(call=hook, at="client-response")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade() + b"early")
    backend.expect_request(b"GET", b"/chat")
    backend.send(SWITCH + b"one ")
    client.expect_nothing()
    return scenario, client, backend, hook.waiter


def test_a_hook_waits_before_a_tunnel(play):
    scenario, client, backend, waiter = waiting_tunnel(play)
    backend.send(b"two")
    client.send(b" more")
    client.expect_nothing()
    backend.connection.expect_nothing()
    waiter.callback(None)
    scenario.reactor.settle()
    client.expect_response(101)
    client.expect(b"one two")
    backend.connection.expect(b"early more")


def test_a_backend_that_is_done_before_the_hook(play):
    scenario, client, backend, waiter = waiting_tunnel(play)
    backend.connection.half_close()
    client.expect_nothing()
    waiter.callback(None)
    scenario.reactor.settle()
    client.expect_response(101)
    client.expect(b"one ")
    backend.connection.expect(b"early")
    client.close()
    assert [(record.status, record.fault) for record in scenario.log] == [(101, "")]


def test_a_backend_whose_end_comes_although_it_is_not_read(play_once):
    # a record of TLS may hold both the head and the end
    scenario, client, backend, waiter = waiting_tunnel(play_once)
    backend.connection.transport.protocol.readConnectionLost()
    client.expect_nothing()
    waiter.callback(None)
    scenario.reactor.settle()
    client.expect_response(101)
    client.expect(b"one ")
    client.close()
    assert [(record.status, record.fault) for record in scenario.log] == [(101, "")]


def test_a_client_that_leaves_before_the_hook(play):
    scenario, client, backend, waiter = waiting_tunnel(play)
    waiter.addErrback(lambda failure: failure.trap(CancelledError) and None)
    client.reset()
    assert backend.connection.ended == "reset"
    assert len(scenario.log) == 1


@pytest.mark.parametrize(
    ("hook", "status", "fault"),
    [
        (lambda exchange: Answer(403, Headers(), b"no"), 403, ""),
        (lambda exchange: setattr(exchange.response, "status", 200), 500, "hook-failed"),
    ],
)
def test_a_hook_that_lets_no_tunnel_open(play, hook, status, fault):
    scenario = play(hooked(toml(), Middleware(call=hook, at="client-response")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade())
    backend.send(SWITCH + b"secret")
    client.expect_response(status)
    assert b"secret" not in client.received
    assert backend.connection.ended == "reset"
    assert [(record.status, record.fault) for record in scenario.log] == [(status, fault)]


def test_a_hook_that_fails_lets_no_tunnel_open(play_once):
    scenario = play_once(hooked(toml(), Middleware(call=lambda exchange: 1 / 0, at="client-response")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(upgrade())
    backend.send(SWITCH + b"secret")
    client.expect_response(500)
    assert b"secret" not in client.received
    assert backend.connection.ended == "reset"
    scenario.forget()  # its traceback
