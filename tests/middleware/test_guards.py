"""Caps, shedding and bans on the way of real requests."""

from __future__ import annotations

import pytest

from revproxy.limits.shed import TICK
from tests.h2kit import GET, LISTEN, RST_STREAM, H2Client, frame
from tests.kit import ADDRESS, OK, get, logged, ok, post, toml

BIG = f'respond = {{ body = "{"x" * 16_000}" }}'
TWO = """
[[routes]]
match = { path = "/low" }
priority = "low"
upstream = "app"

[[routes]]
match = { path = "/health" }
priority = "critical"
upstream = "app"
"""


def faults(scenario):
    return [record.fault for record in scenario.log]


# -- caps


def test_one_request_too_many_in_all(play):
    scenario = play(toml("limits = { requests = 2 }"))
    clients = [scenario.client(f"203.0.113.{at}") for at in range(3)]
    backend = scenario.backend(ADDRESS)
    for client in clients:
        client.send(get())
    clients[2].expect_response(503, None, {b"Retry-After": b"1"})
    assert scenario.log[-1].detail == "2 under way"
    backend.connections[0].send(OK)
    clients[0].expect_response(200, b"ok")
    clients[2].send(get(b"/again"))
    backend.connections[0].expect_request(b"GET", b"/")
    backend.connections[0].expect_request(b"GET", b"/again")
    backend.connections[0].send(OK)
    clients[2].expect_response(200, b"ok")
    backend.connections[1].send(OK)
    clients[1].expect_response(200, b"ok")
    assert faults(scenario) == ["too-many-requests", "", "", ""]


def test_one_request_too_many_of_an_address(play_once):
    scenario = play_once(toml("limits = { requests_per_address = 1 }"))
    one, same, other = (scenario.client(peer) for peer in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"))
    backend = scenario.backend(ADDRESS)
    for client in (one, same, other):
        client.send(get())
    same.expect_response(429, None, {b"Retry-After": b"1"})
    assert (scenario.log[-1].fault, scenario.log[-1].detail) == (
        "too-many-requests-from-address",
        "1 under way of 2001:db8::/64",
    )
    for client, connection in zip((one, other), backend.connections, strict=True):
        connection.send(OK)
        client.expect_response(200, b"ok")


def test_what_waits_for_a_window_is_under_way(play_once):
    scenario = play_once("[server]\nlimits = { requests_per_address = 2 }\n" + LISTEN)
    client, backend = H2Client(scenario.client(), {4: 0}), scenario.backend(ADDRESS)
    waiting = [client.begin() for _ in range(2)]
    for connection in backend.connections:
        connection.send(ok(b"x" * 60_000))
    assert all(record.status == 200 for record in scenario.log)
    assert client[client.begin()].status == b"429"
    client.widen(waiting[0], 60_000)
    assert client[waiting[0]].ended
    third = client.begin()
    assert not client[third].heads, "there is room for one more"
    assert client[client.begin()].status == b"429"
    client.send(frame(RST_STREAM, 0, waiting[1], bytes(4)))
    fourth = client.begin()
    assert not client[fourth].heads
    client.peer.reset()
    again = scenario.client()
    again.send(get(b"/", b"Connection: close"))
    backend.send(OK)
    again.expect_response(200, b"ok")


def test_a_request_whose_answer_waits_on_a_full_connection_is_under_way(play_once):
    route = 'upstream = "app"\nbuffer = { response = "1MB" }'
    scenario = play_once(toml("limits = { requests = 1 }", route=route))
    client, backend, other = scenario.client(), scenario.backend(ADDRESS), scenario.client()
    client.send(get())
    client.stop_reading()
    backend.send(ok(b"x" * 500_000))
    assert scenario.log[-1].status == 200
    other.send(get())
    other.expect_response(503)
    client.resume_reading()
    client.expect_response(200, b"x" * 500_000)
    other.send(get())
    backend.send(OK)
    other.expect_response(200, b"ok")
    client.send(get())
    client.stop_reading()
    backend.send(ok(b"x" * 500_000))
    client.reset()
    other.send(get())
    backend.send(OK)
    other.expect_response(200, b"ok")


def test_what_no_transport_takes_waits_on_its_stream(play_once):
    scenario = play_once("[server]\nlimits = { requests = 20 }\n" + LISTEN.replace('upstream = "app"', BIG))
    peer = scenario.client()
    client = H2Client(peer, {4: 2**31 - 1})
    client.widen(0, 2**31 - 1 - 65535)
    peer.stop_reading()
    client.send(b"".join(client.head(stream, GET) for stream in range(1, 200, 2)))
    scenario.advance(1)
    assert len(peer.transport.unsent) < 300_000
    peer.resume_reading()
    scenario.advance(1)
    assert sum(client[stream].status == b"200" for stream in range(1, 200, 2)) >= 20
    assert all(client[stream].heads for stream in range(1, 200, 2))


def test_a_route_has_caps_of_its_own_beside_the_servers(play_once):
    more = '[[routes]]\nmatch = { path = "/other" }\nupstream = "app"'
    route = (
        'name = "few"\nmatch = { path = "/few" }\nlimits = { requests = 1, requests_per_address = 1 }\nupstream = "app"'
    )
    scenario = play_once(toml("limits = { requests = 3 }", route=route, more=more))
    clients = [scenario.client() for _ in range(5)]
    backend = scenario.backend(ADDRESS)
    for client, path in zip(clients, [b"/few", b"/few", b"/other", b"/other", b"/other"], strict=True):
        client.send(get(path))
    clients[1].expect_response(503)
    clients[4].expect_response(503)
    assert [record.detail for record in scenario.log] == ["1 under way on route few", "3 under way"]
    for client, connection in zip((clients[0], clients[2], clients[3]), backend.connections, strict=True):
        connection.send(OK)
        client.expect_response(200, b"ok")


ENDS = {
    "answered": lambda client, backend: backend.send(OK),
    "client gone": lambda client, backend: client.close(),
    "client reset": lambda client, backend: client.reset(),
    "backend gone": lambda client, backend: backend.connection.close(),
    "backend cut": lambda client, backend: (backend.send(OK[:-1]), backend.connection.close()),
    "too late": lambda client, backend: None,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_place_is_given_back_exactly_once(play_once, end):
    limits = "limits = { requests = 1, requests_per_address = 1 }"
    upstream = 'timeouts = { first_byte = "1s", total = "2s" }'
    scenario = play_once(toml(limits, upstream, 'upstream = "app"\nretry = "off"'))
    backend = scenario.backend(ADDRESS)
    for _ in range(3):
        client = scenario.client()
        client.send(get())
        backend.expect_request(b"GET", b"/")
        second = scenario.client()
        second.send(get())
        second.expect_response(503)
        ENDS[end](client, backend)
        scenario.reactor.pass_time(3)
        client.close()
        scenario.reactor.pass_time(1)


def test_a_tunnel_counts_as_long_as_it_is_there(play_once):
    scenario = play_once(toml("limits = { requests = 1 }"))
    client, backend, other = scenario.client(), scenario.backend(ADDRESS), scenario.client()
    client.send(get(b"/ws", b"Connection: Upgrade", b"Upgrade: websocket"))
    backend.expect_head(b"GET", b"/ws")
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    client.expect_head(101)
    other.send(get())
    other.expect_response(503)
    client.reset()
    scenario.reactor.pass_time(1)
    other.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    other.expect_response(200, b"ok")


def test_a_total_timeout_and_a_cap_both_hear_of_the_end(play_once):
    scenario = play_once(toml("limits = { requests = 1 }", 'timeouts = { total = "5s" }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(2):
        client.send(get())
        backend.expect_request(b"GET", b"/")
        backend.send(OK)
        client.expect_response(200, b"ok")
    scenario.reactor.pass_time(10)
    assert faults(scenario) == ["", ""]


def test_connections_of_an_ipv6_network_count_as_one_clients(play_once):
    scenario = play_once(toml("limits = { connections_per_address = 2 }"))
    clients = [scenario.client(f"2001:db8::{at}") for at in range(1, 4)]
    clients[2].expect_response(503)
    clients[0].close()
    fourth = scenario.client("2001:db8::4")
    fourth.send(get())
    scenario.backend(ADDRESS).send(OK)
    fourth.expect_response(200, b"ok")


# -- shedding


def stall(scenario, seconds, times):
    """The reactor is late: as if something had taken so long, several times."""
    for _ in range(times):
        scenario.reactor.rightNow += TICK + seconds
        scenario.reactor.pass_time(0)


def status(scenario, client, path=b"/"):
    """Ask, and give the status of the answer; a backend that is asked answers."""
    count = len(scenario.log)
    client.send(get(path))
    if len(scenario.log) == count:
        scenario.backend(ADDRESS).expect_request(b"GET", path)
        scenario.backend(ADDRESS).send(OK)
    client.expect_response(scenario.log[-1].status)
    return scenario.log[-1].status


def overload(scenario, client, seconds=0.5, ticks=12, paths=(b"/",)):
    seen = []
    for _ in range(ticks):
        seen += [(path, status(scenario, client, path)) for path in paths]
        stall(scenario, seconds, 1)
    return seen


def test_a_late_reactor_refuses_a_share_and_stops_when_it_is_well(play_once):
    scenario = play_once(toml("shed = true"))
    client = scenario.client()
    assert status(scenario, client) == 200
    with logged("revproxy.middleware.guards") as lines:
        overload(scenario, client)
        statuses = [status(scenario, client) for _ in range(50)]
        assert statuses.count(503) > 10
        shed = next(record for record in scenario.log if record.fault == "shed")
        assert shed.detail.endswith("% are refused")
        scenario.reactor.pass_time(20)
        assert [status(scenario, client) for _ in range(50)] == [200] * 50
    assert len(lines) == 2, lines
    assert lines[0] == "shedding load: the reactor is 500 ms late"
    assert lines[1].startswith("no load is shed any more: ")
    scenario.reactor.pass_time(1)
    assert scenario.reactor.getDelayedCalls() == [] or not any(
        "_tick" in str(call) for call in scenario.reactor.getDelayedCalls()
    )


def test_a_short_stall_refuses_nobody(play_once):
    scenario = play_once(toml("shed = true"))
    client = scenario.client()
    for _ in range(10):
        assert overload(scenario, client, 2.0, 1) == [(b"/", 200)]
        scenario.reactor.pass_time(0.3)


def test_critical_is_never_shed_and_low_goes_first(play_once):
    scenario = play_once(toml('shed = { lag = "50ms" }', more=TWO))
    client = scenario.client()
    overload(scenario, client, 0.3, 4, (b"/", b"/low"))
    low = [status(scenario, client, b"/low") for _ in range(40)]
    normal = [status(scenario, client) for _ in range(40)]
    assert [status(scenario, client, b"/health") for _ in range(40)] == [200] * 40
    assert low.count(503) > 10 > 2 > normal.count(503)


def test_a_long_queue_sheds_requests_for_its_upstream_only(play_once):
    upstream = 'max_requests = 1\nqueue = 10\nqueue_time = "1h"'
    more = '[[routes]]\nmatch = { path = "/fixed" }\nrespond = 200'
    scenario = play_once(toml("shed = true", upstream, more=more))
    clients = [scenario.client() for _ in range(10)]
    for client in clients:
        client.send(get())
    probe = scenario.client()
    for _ in range(40):
        scenario.reactor.pass_time(TICK)
        probe.send(get(b"/fixed"))
        probe.expect_response(200)
    late = scenario.client()
    shed = 0
    for _ in range(10):
        count = len(scenario.log)
        late.send(get())
        if len(scenario.log) > count and scenario.log[-1].fault == "shed":
            shed += 1
            late.expect_response(503)
        else:
            late.close()
            late = scenario.client()
    assert shed > 2


STORED = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=%d%b\r\nContent-Length: 2\r\n\r\nok"


def with_a_long_queue(play, stored, priority="normal", more=""):
    """A route with a cache that holds ``/hot``, 4 of 4 requests waiting for its backend, and nobody else."""
    upstream = 'max_requests = 1\nqueue = 4\nqueue_time = "1h"'
    route = f'upstream = "app"\ncache = true\npriority = "{priority}"\n{more}'
    scenario = play(toml("shed = true", upstream, route))
    client = scenario.client()
    client.send(get(b"/hot"))
    scenario.backend(ADDRESS).send(stored)
    client.expect_response(200)
    for at in range(5):
        scenario.client().send(get(b"/%d" % at))
    for _ in range(40):
        scenario.reactor.pass_time(TICK)
        client.send(get(b"/hot"))
        client.expect_response(200)
    return scenario, client


def misses(scenario, count=40):
    """Ask for what is not stored, each time for something else; the faults of those that were answered."""
    before = len(scenario.log)
    for at in range(count):
        client = scenario.client()
        client.send(get(b"/other/%d" % at))
        client.close()
        scenario.reactor.pass_time(TICK)
    return [record.fault for record in scenario.log[before:]]


def test_a_long_queue_sheds_nothing_that_the_cache_has(play_once):
    scenario, client = with_a_long_queue(play_once, STORED % (1000, b""))
    assert misses(scenario).count("shed") > 10
    for _ in range(20):
        client.send(get(b"/hot"))
        client.expect_response(200)


def test_a_long_queue_sheds_nothing_that_may_be_sent_stale(play_once):
    scenario, _ = with_a_long_queue(play_once, STORED % (10, b", stale-if-error=1000"))
    scenario.reactor.pass_time(9)
    shed = 0
    for _ in range(40):
        shed += misses(scenario, 1) == ["shed"]
        before = len(scenario.log)
        asks = scenario.client()
        asks.send(get(b"/hot"))
        if len(scenario.log) > before:
            assert scenario.log[-1].fault == ""
            asks.expect_response(200, b"ok")
        asks.close()
    assert shed > 5


def test_a_late_reactor_sheds_what_the_cache_has_too(play_once):
    scenario, client = with_a_long_queue(play_once, STORED % (1000, b""))
    for _ in range(12):
        client.send(get(b"/hot"))
        client.expect_response(scenario.log[-1].status)
        stall(scenario, 0.5, 1)
    assert [record.fault for record in scenario.log[-12:]].count("shed") > 2


def test_nothing_critical_is_shed_behind_a_cache(play_once):
    scenario, _ = with_a_long_queue(play_once, STORED % (1000, b""), "critical")
    assert "shed" not in misses(scenario)


def test_what_is_shed_behind_a_cache_is_not_counted_by_a_rate_limit(play_once):
    limit = 'rate_limit = { rate = "1/h", burst = 26, by = "route", hits = false }'
    scenario, _ = with_a_long_queue(play_once, STORED % (1000, b""), more=limit)
    ends = misses(scenario, 30)
    assert ends.count("shed") >= 10
    assert "rate-limited" not in ends


def test_nothing_is_measured_where_nothing_comes(play_once):
    scenario = play_once(toml("shed = true"))
    assert scenario.reactor.getDelayedCalls() == []
    client = scenario.client()
    assert status(scenario, client) == 200
    assert any("_tick" in str(call) for call in scenario.reactor.getDelayedCalls())
    scenario.reactor.pass_time(3 * TICK)
    assert not any("_tick" in str(call) for call in scenario.reactor.getDelayedCalls())


# -- bans

BANS = 'bans = { rules = [{ when = ["refused", 404], count = 2, within = "10s", ban = "60s" }] }'
MISSING = '[[routes]]\nmatch = { path = "/missing" }\nrespond = 404'


def test_a_banned_client_is_dropped_and_let_in_again(play_once):
    scenario = play_once(toml(BANS, more=MISSING))
    client, other = scenario.client(), scenario.client()
    with logged("revproxy.engine") as lines:
        for _ in range(2):
            client.send(get(b"/missing"))
        client.expect_response(404)
        client.expect_response(404)
        client.expect_closed()
        other.expect_closed()  # it was idle
        dropped = scenario.client()
        dropped.expect_reset()
        friend = scenario.client("203.0.113.8")
        assert status(scenario, friend) == 200
        scenario.reactor.pass_time(66)
        assert status(scenario, scenario.client()) == 200
    assert lines == [
        "203.0.113.7 is banned for 60 s: 2 in 10 s, the last: 404",
        "the ban of 203.0.113.7 is over",
    ]


def test_an_answer_under_way_is_finished(play_once):
    scenario = play_once(toml(BANS, more=MISSING))
    busy, client = scenario.client(), scenario.client()
    busy.send(get(b"/long"))
    client.send(get(b"/missing") * 2)
    assert scenario.engine.bans.holds("203.0.113.7")
    backend = scenario.backend(ADDRESS)
    backend.expect_request(b"GET", b"/long")
    backend.send(ok(b"all of it"))
    busy.expect_response(200, b"all of it")
    busy.expect_closed()


def test_malformed_requests_are_refusals(play_once):
    scenario = play_once(toml(BANS))
    for _ in range(2):
        client = scenario.client()
        client.send(b"NONSENSE\r\n\r\n")
        client.expect_response(400)
    assert scenario.engine.bans.holds("203.0.113.7")


def test_behind_a_trusted_proxy_the_client_is_banned(play_once):
    server = 'trusted_proxies = ["203.0.113.7"]\n' + BANS
    scenario = play_once(toml(server, more=MISSING))
    proxy = scenario.client()
    bad, good = b"X-Forwarded-For: 192.0.2.66", b"X-Forwarded-For: 192.0.2.1"
    for _ in range(2):
        proxy.send(get(b"/missing", bad))
        proxy.expect_response(404)
    proxy.send(get(b"/", bad))
    proxy.expect_response(403)
    record = scenario.log[-1]
    assert (record.fault, record.client, record.detail) == ("banned", "192.0.2.66", "2 in 10 s, the last: 404")
    proxy.send(get(b"/", good))
    backend = scenario.backend(ADDRESS)
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    proxy.expect_response(200, b"ok")
    for _ in range(5):
        proxy.send(get(b"/missing"))  # the proxy itself
        proxy.expect_response(404)
    assert not scenario.engine.bans.holds("203.0.113.7")


BANNED = b"X-Forwarded-For: 192.0.2.66"
BEHIND = {
    "no route": (get(b"/nothing", BANNED), ""),
    "too large": (post(b"x" * 100, BANNED, path=b"/few"), ""),
    "still coming": (post(b"x" * 10, BANNED, path=b"/few")[:-1], ""),
    "denied by the server": (get(b"/few", BANNED), 'access.deny = "192.0.2.66"'),
    "ambiguous": (get(b"/few%2Fx", BANNED), ""),
}


@pytest.mark.parametrize("case", BEHIND)
def test_behind_a_trusted_proxy_nothing_is_done_for_a_banned_client_before_it_is_refused(play_once, case):
    sent, server = BEHIND[case]
    bans = 'trusted_proxies = ["203.0.113.7"]\nbans = { addresses = ["192.0.2.64/26"] }\n'
    route = 'match = { path = "/few" }\nlimits = { body = 10 }\nrespond = 200'
    more = '[[routes]]\nmatch = { path = "/few/x" }\nrespond = 200'
    scenario = play_once(toml(bans + server, route=route, more=more))
    client = scenario.client()
    client.send(sent)
    client.expect_response(403)
    record = scenario.log[-1]
    assert (record.fault, record.client, record.route) == ("banned", "192.0.2.66", "")
    assert record.detail == "written in the configuration"


def test_and_so_in_http2(play_once):
    server = '[server]\ntrusted_proxies = ["203.0.113.7"]\nbans.addresses = "192.0.2.66"\n'
    scenario = play_once(server + LISTEN.replace("[[routes]]", '[[routes]]\nmatch.path = "/a"'))
    client = H2Client(scenario.client())
    forwarded = (b"x-forwarded-for", b"192.0.2.66")
    assert client[client.begin((*GET, forwarded))].status == b"403"
    assert client[client.begin(GET)].status == b"404"
    assert faults(scenario) == ["banned", "no-route"]


UNKNOWN = pytest.mark.parametrize("field", [b"X-Forwarded-For: unknown", b"X-Forwarded-For: 192.0.2.1, _hidden",
    b"X-Forwarded-For:", b"X-Real-IP: 192.0.2.1", b"Forwarded: for=192.0.2.1"])  # fmt: skip


@UNKNOWN
def test_a_client_that_a_trusted_proxy_does_not_name_is_not_the_proxy(play_once, field):
    server = 'trusted_proxies = ["203.0.113.7"]\n' + BANS
    scenario = play_once(toml(server, more=MISSING))
    proxy = scenario.client()
    for _ in range(2):
        proxy.send(get(b"/missing", field))
        proxy.expect_response(404)
    proxy.send(get(b"/", field))
    proxy.expect_response(403)
    record = scenario.log[-1]
    assert (record.fault, record.client) == ("banned", "unknown")
    assert [ban.address for ban in scenario.engine.bans.list()] == ["unknown"]
    proxy.send(get(b"/missing"))  # the proxy itself
    proxy.expect_response(404)
    assert scenario.log[-1].client == "203.0.113.7"


@UNKNOWN
def test_unknown_clients_share_a_cap(play_once, field):
    scenario = play_once(toml('trusted_proxies = ["203.0.113.7"]\nlimits = { requests_per_address = 1 }'))
    proxies = [scenario.client() for _ in range(3)]
    proxies[0].send(get(b"/", field))
    proxies[1].send(get(b"/", field))
    proxies[1].expect_response(429)
    proxies[2].send(get())
    assert len(scenario.backend(ADDRESS).connections) == 2


def test_who_is_allowed_is_never_banned(play_once):
    scenario = play_once(toml(BANS[:-2] + ', allow = "203.0.113.0/24" }', more=MISSING))
    client = scenario.client()
    for _ in range(5):
        client.send(get(b"/missing"))
        client.expect_response(404)
    assert scenario.engine.bans.list() == ()


def test_written_addresses_are_never_let_in(play_once):
    scenario = play_once(toml('bans = { addresses = ["203.0.113.0/24"] }'))
    assert scenario.client().gone
    assert status(scenario, scenario.client("198.51.100.1")) == 200


def test_a_banned_client_behind_a_balancer_is_cut(play_once):
    proxied = toml("bans = true").replace('"tcp:8080"', '"tcp:8080"\nproxy_protocol = ["203.0.113.7"]')
    scenario = play_once(proxied)
    scenario.engine.bans.ban("192.0.2.66", 60)
    balanced = scenario.client()
    balanced.send(b"PROXY TCP4 192.0.2.66 192.0.2.1 1234 80\r\n" + get())
    balanced.expect_reset()
    other = scenario.client()
    other.send(b"PROXY TCP4 192.0.2.67 192.0.2.1 1234 80\r\n")
    assert status(scenario, other) == 200


def test_a_balancer_is_never_banned(play_once):
    proxied = toml(BANS, more=MISSING).replace('"tcp:8080"', '"tcp:8080"\nproxy_protocol = ["203.0.113.7"]')
    scenario = play_once(proxied)
    check = scenario.client()
    check.send(b"PROXY UNKNOWN\r\n")
    for _ in range(5):
        check.send(get(b"/missing"))
        check.expect_response(404)
    assert scenario.engine.bans.list() == ()
    other = scenario.client()
    other.send(b"PROXY TCP4 192.0.2.67 192.0.2.1 1234 80\r\n")
    assert status(scenario, other) == 200


def test_banned_by_hand(play_once):
    scenario = play_once(toml("bans = true"))
    client = scenario.client()
    assert scenario.engine.bans.ban("203.0.113.7", 60, "by hand")
    scenario.reactor.settle()
    client.expect_closed()
    assert scenario.client().gone
    assert scenario.engine.bans.lift("203.0.113.7")
    assert status(scenario, scenario.client()) == 200


def test_without_the_table_there_is_no_list(play_once):
    assert play_once(toml()).engine.bans is None
