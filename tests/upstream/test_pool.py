"""Connections to backends: kept, used again, limited, waited for."""

from __future__ import annotations

from tests.kit import ADDRESS, OK, get, post, toml


def busy(scenario, count):
    """So many clients with a request each on its way."""
    clients = [scenario.client() for _ in range(count)]
    for at, client in enumerate(clients):
        client.send(get(b"/%d" % at))
    return clients


def answer(connection, at):
    connection.expect_request(b"GET", b"/%d" % at)
    connection.send(OK)


def test_the_connection_used_last_is_used_first(play):
    scenario = play(toml())
    backend = scenario.backend(ADDRESS)
    clients = busy(scenario, 3)
    for at in (1, 2, 0):
        answer(backend.connections[at], at)
        clients[at].expect_response(200, b"ok")
    for at in (0, 2, 1):  # last in, first out
        scenario.client().send(get(b"/again"))
        backend.connections[at].expect_head(b"GET", b"/again")
    backend.expect_connections(3)


def test_clients_share_connections(play):
    scenario = play(toml())
    backend = scenario.backend(ADDRESS)
    for at in range(3):
        client = scenario.client()
        client.send(get(b"/%d" % at, b"Connection: close"))
        answer(backend.connection, at)
        client.expect_response(200, b"ok")
        client.expect_closed()
    backend.expect_connections(1)


def test_idle_connections_are_closed_in_time(play):
    scenario = play(toml("", 'pool = { idle_time = "60s" }'))
    backend = scenario.backend(ADDRESS)
    (client,) = busy(scenario, 1)
    answer(backend.connection, 0)
    scenario.advance(59)
    client.send(get(b"/0"))
    answer(backend.connection, 0)
    scenario.advance(59.9)
    backend.connection.expect_nothing()
    scenario.advance(0.2)
    backend.connection.expect_closed()
    client.send(get(b"/0"))
    backend.expect_connections(2)


def test_so_many_idle_connections_are_kept(play):
    scenario = play(toml("", "pool = { idle = 2 }"))
    backend = scenario.backend(ADDRESS)
    busy(scenario, 3)
    for at in range(3):
        answer(backend.connections[at], at)
    assert [connection.ended for connection in backend.connections] == ["", "", "closed"]


def test_no_idle_connection_is_kept_where_none_may_be(play):
    scenario = play(toml("", "pool = { idle = 0 }"))
    backend = scenario.backend(ADDRESS)
    (client,) = busy(scenario, 1)
    answer(backend.connection, 0)
    client.expect_response(200, b"ok")
    backend.connection.expect_closed()


def test_old_connections_are_not_kept(play):
    scenario = play(toml("", 'pool = { age = "100s", idle_time = "60s" }'))
    backend = scenario.backend(ADDRESS)
    (client,) = busy(scenario, 1)
    for _ in range(2):
        answer(backend.connection, 0)
        scenario.advance(50)
        client.send(get(b"/0"))
    answer(backend.connection, 0)
    backend.connection.expect_closed()
    backend.expect_connections(1)


def test_the_cap_makes_requests_wait_in_turn(play):
    scenario = play(toml("", "max_connections = 1"))
    backend = scenario.backend(ADDRESS)
    clients = busy(scenario, 3)
    backend.expect_connections(1)
    for at, client in enumerate(clients):
        answer(backend.connection, at)
        client.expect_response(200, b"ok")
    backend.expect_connections(1)
    assert len(backend.attempts) == 1


def test_a_waiting_request_gets_a_fresh_connection_when_one_goes(play):
    scenario = play(toml("", "max_connections = 1"))
    backend = scenario.backend(ADDRESS)
    first, second = busy(scenario, 2)
    backend.expect_request(b"GET", b"/0")
    backend.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    first.expect_response(200, b"ok")
    backend.expect_connections(2)
    answer(backend.connection, 1)
    second.expect_response(200, b"ok")


def test_a_full_queue_is_503(play):
    scenario = play(toml("", "max_connections = 1\nqueue = 1"))
    backend = scenario.backend(ADDRESS)
    clients = busy(scenario, 3)
    clients[2].expect_response(503, headers={b"Retry-After": b"1"})
    assert [record.fault for record in scenario.log] == ["backend-queue-full"]
    for at in range(2):
        answer(backend.connection, at)
        clients[at].expect_response(200, b"ok")


def test_no_queue_at_all(play):
    scenario = play(toml("", "max_connections = 1\nqueue = 0"))
    clients = busy(scenario, 2)
    clients[1].expect_response(503)


def test_too_long_in_the_queue_is_503(play):
    scenario = play(toml("", 'max_connections = 1\nqueue_time = "5s"'))
    backend = scenario.backend(ADDRESS)
    first, second = busy(scenario, 2)
    scenario.advance(4.9)
    second.expect_nothing()
    scenario.advance(0.2)
    second.expect_response(503, headers={b"Retry-After": b"1"})
    assert [record.fault for record in scenario.log] == ["backend-queue-timeout"]
    answer(backend.connection, 0)
    first.expect_response(200, b"ok")
    second.send(get(b"/1"))
    answer(backend.connection, 1)
    second.expect_response(200, b"ok")


def test_who_leaves_the_queue_takes_no_place(play):
    scenario = play(toml("", "max_connections = 1\nqueue = 1"))
    backend = scenario.backend(ADDRESS)
    _, second = busy(scenario, 2)
    second.reset()
    third = scenario.client()
    third.send(get(b"/2"))
    answer(backend.connection, 0)
    answer(backend.connection, 2)
    third.expect_response(200, b"ok")


def test_a_connection_that_fails_leaves_its_place(play):
    scenario = play(toml("", "max_connections = 1"))
    backend = scenario.backend(ADDRESS)
    backend.hang()
    first, second = busy(scenario, 2)
    backend.refuse()
    first.expect_response(502)
    second.expect_response(502)
    backend.accept()
    third = scenario.client()
    third.send(get(b"/3"))
    answer(backend.connection, 3)
    third.expect_response(200, b"ok")


def test_a_client_that_leaves_while_its_connection_is_made_leaves_its_place(play):
    scenario = play(toml("", "max_connections = 1"))
    backend = scenario.backend(ADDRESS)
    backend.hang()
    first, second = busy(scenario, 2)
    first.reset()
    assert [attempt.state for attempt in backend.attempts] == ["given up", "connecting"]
    backend.accept()
    answer(backend.connection, 1)
    second.expect_response(200, b"ok")


def test_a_tunnel_holds_its_place_until_it_ends(play):
    scenario = play(toml("", "max_connections = 1"))
    backend = scenario.backend(ADDRESS)
    client = scenario.client()
    client.send(get(b"/ws", b"Connection: Upgrade", b"Upgrade: websocket"))
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    (other,) = busy(scenario, 1)
    backend.expect_connections(1)
    client.reset()
    backend.expect_connections(2)
    answer(backend.connection, 0)
    other.expect_response(200, b"ok")


def test_an_idle_connection_that_the_backend_closes_is_forgotten(play):
    scenario = play(toml())
    backend = scenario.backend(ADDRESS)
    (client,) = busy(scenario, 1)
    answer(backend.connection, 0)
    client.expect_response(200, b"ok")
    backend.connection.close()
    client.send(post(b"body"))
    backend.expect_connections(2)
    backend.expect_request(b"POST", b"/", b"body")
    backend.send(OK)
    client.expect_response(200, b"ok")
    assert [record.retries for record in scenario.log] == [0, 0]


def test_unix_sockets(play):
    scenario = play(toml("", 'backends = ["unix:/run/app.sock"]'))
    backend = scenario.backend("unix:/run/app.sock")
    (client,) = busy(scenario, 1)
    answer(backend.connection, 0)
    client.expect_response(200, b"ok")


def test_closing_the_upstream_closes_what_is_idle_and_what_becomes_idle(play):
    scenario = play(toml())
    backend = scenario.backend(ADDRESS)
    clients = busy(scenario, 2)
    answer(backend.connections[0], 0)
    scenario.engine.table.upstreams["app"].close()
    scenario.reactor.settle()
    assert [connection.ended for connection in backend.connections] == ["closed", ""]
    answer(backend.connections[1], 1)
    clients[1].expect_response(200, b"ok")
    assert backend.connections[1].ended == "closed"


def test_a_client_that_nobody_names_is_announced_as_such(play):
    scenario = play(toml('trusted_proxies = ["203.0.113.7"]', 'proxy_protocol = "v1"'))
    scenario.client().send(get(b"/", b"X-Forwarded-For: unknown"))
    assert scenario.backend(ADDRESS).connection.received.startswith(b"PROXY UNKNOWN\r\n")
