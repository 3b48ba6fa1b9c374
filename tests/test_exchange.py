"""The life of a request apart from any protocol: its states, its record, and what it says of a failure."""

from __future__ import annotations

from tests.kit import ADDRESS, OK, get, ok, post, toml


def test_a_record_for_each_exchange(play):
    scenario = play(toml(route='name = "mine"\nupstream = "app"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"body", b"Referer: here", b"User-Agent: me", path=b"/a%62?q"))
    scenario.advance(1)
    request_id = backend.expect_request(b"POST", b"/ab?q", b"body").get(b"X-Request-ID")
    backend.send(b"HTTP/1.1 201 Created\r\nContent-Length: 6\r\n\r\nabc")
    scenario.advance(2)
    backend.send(b"def")
    (record,) = scenario.log
    assert record.client == "203.0.113.7"
    assert (record.method, record.scheme, record.host) == (b"POST", b"http", b"example.com")
    assert (record.target, record.version, record.status) == (b"/a%62?q", 11, 201)
    assert (record.sent, record.received) == (6, 4)
    assert record.request_id == request_id
    assert (record.route, record.upstream, record.backend) == ("mine", "app", ADDRESS)
    assert (record.connect, record.first_byte, record.total) == (0, 1, 3)
    assert (record.fault, record.retries) == ("", 0)
    assert (record.referer, record.user_agent) == (b"here", b"me")


def test_times_of_a_connection_that_was_slow_to_come(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    client.send(get())
    scenario.advance(2)
    backend.accept()
    scenario.advance(1)
    backend.send(OK)
    (record,) = scenario.log
    assert (record.connect, record.first_byte, record.total) == (2, 3, 3)


def test_a_pooled_connection_takes_no_connect_time(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(2):
        client.send(get())
        backend.send(OK)
    assert scenario.log[1].connect is None


def test_request_ids_are_all_different(play):
    scenario = play(toml(route="respond = {}"))
    client = scenario.client()
    client.send(get() * 50)
    assert len({record.request_id for record in scenario.log}) == 50


def test_a_handler_that_breaks_is_500(play):
    scenario = play(toml())
    route = scenario.engine.table.routes[0]

    class Broken:
        def start(self, exchange):
            raise ValueError("secret")

    route.handler = Broken()
    client = scenario.client()
    client.send(get())
    assert b"secret" not in client.expect_response(500).body
    assert [record.fault for record in scenario.log] == ["handler-failed"]
    assert any("secret" in error for error in scenario.errors)
    scenario.errors.clear()


def test_bytes_of_a_response_cut_short_are_counted(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    backend.connection.reset()
    (record,) = scenario.log
    assert (record.status, record.sent, record.fault) == (200, 3, "backend-body-cut")


def test_an_error_after_a_waiting_request_body(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    client.send(get(b"/", b"Content-Length: 8", method=b"POST") + b"body")
    backend.refuse()
    client.expect_response(502)
    client.send(b"rest" + get(b"/next"))
    client.expect_response(502)
    client.expect_nothing()


# -- stopping


def test_draining_closes_idle_connections_and_lets_busy_ones_finish(play):
    scenario = play(toml())
    backend = scenario.backend(ADDRESS)
    idle, busy, fresh = scenario.client(), scenario.client(), scenario.client()
    idle.send(get())
    backend.send(OK)
    idle.expect_response(200)
    busy.send(get(b"/busy"))
    done: list[None] = []
    scenario.engine.drain(30).addCallback(done.append)
    scenario.reactor.settle()
    idle.expect_closed()
    fresh.expect_closed()
    busy.expect_nothing()
    assert not done
    backend.send(ok(b"done"))
    busy.expect_response(200, b"done", {b"Connection": b"close"})
    busy.expect_closed()
    for client in (idle, busy, fresh):
        client.close()
    assert done


def test_draining_ends(play):
    scenario = play(toml())
    client = scenario.client()
    client.send(get())
    done: list[None] = []
    scenario.engine.drain(30).addCallback(done.append)
    scenario.advance(29.9)
    client.expect_nothing()
    scenario.advance(0.2)
    assert client.ended == "reset"
    assert done
    assert len(scenario.log) == 1


def test_pipelined_requests_after_the_drain_began_are_not_served(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/1") + get(b"/2"))
    scenario.engine.drain(30)
    backend.send(OK)
    client.expect_response(200, b"ok", {b"Connection": b"close"})
    client.expect_closed()
    assert [record.target for record in scenario.log] == [b"/1"]
