"""Rate limits of whole configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from revproxy.cache.handler import Cache
from revproxy.config.compile import compile_config
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.model import Middleware
from revproxy.config.ratelimit import RateLimit, limit_names
from revproxy.http.message import ClientIdentity, TlsInfo
from tests.certificates import authority
from tests.drive import World
from tests.h2kit import LISTEN, H2Client
from tests.kit import ADDRESS, OK, get, hooked, load, ok, toml


def world(limit: str, server: str = "", more: str = "") -> World:
    return World(load(toml(server, route=f'upstream = "app"\nrate_limit = {limit}\n{more}')))


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def statuses(place: World, times: int, *fields: str, **options: Any) -> list[int]:
    return [status(place.get("/", "example.com", *fields, **options)) for _ in range(times)]


def test_a_refusal_says_when_to_come_back_and_who_was_stopped_by_what() -> None:
    place = world('{ rate = "1000/h", burst = 2, name = "api" }')
    assert statuses(place, 2) == [200, 200]
    answer = place.get("/")
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: 4\r\n" in answer
    assert b'\r\nRateLimit-Policy: "api";q=1000;w=3600\r\nRateLimit: "api";r=0;t=4\r\n' in answer
    record = place.records[-1]
    assert (record.fault, record.status, record.client) == ("rate-limited", 429, "192.0.2.7")
    assert record.detail == "api: 1000/hour by client"
    assert statuses(place, 1, peer="192.0.2.8") == [200]
    place.advance(4)
    assert statuses(place, 2) == [200, 429]


def test_allowed_responses_tell_as_well_and_may_be_told_not_to() -> None:
    lines = b'\r\nRateLimit-Policy: "per-second";q=100;w=1\r\nRateLimit: "per-second";r=99;t=1\r\n'
    assert lines in world('"100/s"').get("/")
    for fields, refused in (("refused", True), ("off", False)):
        place = world(f'{{ rate = "1/m", fields = "{fields}" }}')
        assert b"RateLimit" not in place.get("/")
        answer = place.get("/")
        assert (b"RateLimit" in answer) == refused and b"\r\nRetry-After: 60\r\n" in answer
        assert place.table.routes[0].plain and place.table.routes[0].response_hooks == ()


def test_without_a_limit_there_is_nothing_of_it() -> None:
    route = World(load(toml())).table.routes[0]
    assert route.plain and route.at_once is None and route.response_hooks == ()


@pytest.mark.parametrize("more", ["", "compress = { gzip = 1, minimum = 0 }"])
def test_heads_that_repeat_have_the_fields_of_each_response(play_once: Any, more: str) -> None:
    scenario = play_once(toml(route=f'upstream = "app"\nrate_limit = {{ rate = "1/h", burst = 9 }}\n{more}'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    fields = [b"Date: Sun, 06 Nov 1994 08:49:37 GMT", b"Content-Type: text/plain", b"Vary: Accept-Encoding"]
    for left in range(8, -1, -1):
        client.send(get())
        backend.expect_request(b"GET", b"/")
        backend.send(ok(b"x" * 50, *fields))
        seconds = 3600 * (9 - left) if left else 3600
        limit = b'"per-hour";r=%d;t=%d' % (left, seconds)
        client.expect_response(200, b"x" * 50, headers={b"RateLimit": limit, b"Vary": b"Accept-Encoding"})
    client.send(get())
    client.expect_response(429, headers={b"Retry-After": b"3600"})


def test_a_stream_has_them_too(play: Any) -> None:
    scenario = play(toml(route='upstream = "app"\nrate_limit = "10/s"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    client.expect_response(200, b"abc", headers={b"RateLimit": b'"per-second";r=9;t=1'})


@pytest.mark.parametrize(("rate", "burst"), [("10/s", 10), ("1000/h", 100), ("600/m", 60), ("5/m", 1), ("1/d", 1)])
def test_what_may_come_at_once_where_nothing_is_said(rate: str, burst: int) -> None:
    place = world(f'"{rate}"')
    answers = [place.get("/").split()[1] for _ in range(burst + 1)]
    assert answers == [b"200"] * burst + [b"429"]


def test_what_it_counts_by() -> None:
    place = world('{ rate = "1/h", by = "header:x-key" }')
    assert statuses(place, 2, "X-Key: a") == [200, 429]
    assert statuses(place, 2, "X-Key: " + "b" * 5000) == [200, 429]
    assert statuses(place, 1, "X-Key: " + "b" * 4999) == [200]
    assert statuses(place, 2) == [200, 429], "without the field by client"
    assert statuses(place, 1, peer="192.0.2.9") == [200]
    assert statuses(world('{ rate = "1/h", by = "header:x-key", missing = "pass" }'), 3) == [200] * 3
    place = world('{ rate = "1/h", by = "header:x-key", missing = "route" }')
    assert statuses(place, 1) + statuses(place, 1, peer="192.0.2.9") == [200, 429]
    place = world('{ rate = "1/h", by = "route" }')
    assert statuses(place, 1) + statuses(place, 1, peer="192.0.2.9") == [200, 429]


def test_it_counts_by_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    listen = '[[listen]]\nendpoint = "tcp:8443"\ntls = { certificates = ".", client = "ca.pem" }\n'
    route = 'upstream = "app"\nrate_limit = { rate = "1/h", by = "client_certificate" }'
    place = World(load_text(toml(route=route, more=listen), base=str(tmp_path)))
    one, other = (TlsInfo("a", client=ClientIdentity("", (), f"{n:064x}", "0A", b"")) for n in (1, 2))
    assert statuses(place, 2, tls=one) + statuses(place, 1, tls=other) + statuses(place, 2) == [200, 429, 200, 200, 429]


@pytest.mark.parametrize(
    ("by", "one", "other", "none"),
    [
        ("header:x-key", ("/", "X-Key: a"), ("/", "X-Key: b"), ("/",)),
        ("cookie:sid", ("/", "Cookie: x=1; sid=a"), ("/", "Cookie: sid=b; x=1"), ("/", "Cookie: x=1")),
        ("query:k", ("/?k=a",), ("/?x=1&k=b",), ("/?x=1",)),
        ("path", ("/a?x=1",), ("/b",), None),
        ("tests.middleware.test_rate:tenant", ("/", "X-Key: A"), ("/", "X-Key: b"), ("/",)),
        ("tests.middleware.test_rate:tenant", ("/", "X-Key: a"), ("/", "X-Key: B"), ("/", "X-Key: raise")),
    ],
)
@pytest.mark.parametrize("more", ["", ', delay = "1s", burst = 1'])
def test_each_key_has_its_own_count_through_the_whole_proxy(
    by: str, one: tuple[str, ...], other: tuple[str, ...], none: tuple[str, ...] | None, more: str
) -> None:
    """``none`` has no such key and is counted by its client. With a delay what is too early has no answer yet."""
    place = world(f'{{ rate = "1/s", by = "{by}"{more} }}')

    def ask(path: str, *fields: str, peer: str = "192.0.2.7") -> int:
        answer = place.get(path, "example.com", *fields, peer=peer)
        return status(answer) if answer else 0

    again = 0 if more else 429
    assert [ask(*one), ask(*one, peer="192.0.2.8"), ask(*other), ask(*other)] == [200, again, 200, again]
    if none is not None:
        assert [ask(*none), ask(*none), ask(*none, peer="192.0.2.8")] == [200, again, 200]
    place.advance(1.01)
    assert [ask(*one), ask(*other), ask(*one)] == [200, 200, again]


def tenant(exchange: Any) -> str | None:
    """A callable of a user's: the key in lower case."""
    found = exchange.request.headers.get(b"x-key")
    if found == b"raise":
        raise ValueError(found)
    return None if found is None else found.decode().lower()


def test_several_limits_by_different_keys_count_all_or_nothing() -> None:
    client = world('[{ rate = "3/h", burst = 3 }, { rate = "1/h", by = "cookie:sid" }]')
    assert statuses(client, 3, "Cookie: sid=a") == [200, 429, 429]
    assert statuses(client, 1, "Cookie: sid=b") + statuses(client, 1, "Cookie: sid=c") == [200, 200]
    answer = client.get("/", "example.com", "Cookie: sid=d")
    assert status(answer) == 429 and b'RateLimit: "per-hour";r=0;t=1200, "per-hour-2";r=1;t=0\r\n' in answer


def test_in_http2_they_are_fields_as_well(play_once: Any) -> None:
    scenario = play_once(LISTEN.replace("[[routes]]", '[[routes]]\nrate_limit = { rate = "2/h", burst = 2 }'))
    client, backend = H2Client(scenario.client()), scenario.backend(ADDRESS)
    for limit in (b'"per-hour";r=1;t=1800', b'"per-hour";r=0;t=1800'):
        stream = client.begin()
        backend.expect_request(b"GET", b"/")
        backend.send(ok(b"ok", b"RateLimit: its-own"))
        head = client[stream].heads[0]
        assert head[b"ratelimit-policy"] == b'"per-hour";q=2;w=3600' and head[b"ratelimit"] == limit
    stream = client.begin()
    answer = client[stream]
    assert answer.status == b"429" and answer.heads[0][b"ratelimit"] == b'"per-hour";r=0;t=1800'


def test_clients_that_a_trusted_proxy_does_not_name_are_one() -> None:
    place = world('{ rate = "1/h" }', server='trusted_proxies = ["192.0.2.7"]')
    assert statuses(place, 1, "X-Forwarded-For: unknown") == [200]
    assert statuses(place, 1, "X-Real-IP: 192.0.2.1") == [429]
    assert statuses(place, 2) == [200, 429], "the proxy itself is another"


def test_an_ipv6_network_is_one_client() -> None:
    place = world('"1/h"')
    assert statuses(place, 1, peer="2001:db8::1") + statuses(place, 1, peer="2001:db8::ffff") == [200, 429]
    assert statuses(place, 1, peer="2001:db8:0:1::1") == [200]
    assert statuses(place, 1, peer="::ffff:192.0.2.1") + statuses(place, 1, peer="192.0.2.1") == [200, 429]


def test_another_status_and_the_server_for_all_routes() -> None:
    place = world('{ rate = "1/h", by = "query:k", status = 503 }', server='rate_limit = { rate = "3/h", burst = 3 }')
    assert statuses(place, 2) == [200, 503]
    answer = place.get("/?k=1")
    assert b'RateLimit: "per-hour";r=1;t=2400, "per-hour-2";r=0;t=3600\r\n' in answer
    assert status(place.get("/?k=2")) == 200
    answer = place.get("/?k=3")
    assert status(answer) == 429 and b"Retry-After: 1200\r\n" in answer
    assert place.records[-1].detail == "per-hour: 3/hour by client"


def test_names_are_made_where_none_is_written() -> None:
    written = [
        RateLimit(rate="1/s"),
        RateLimit(rate="2/s", name="per-second-2"),
        RateLimit(rate="3/s"),
        RateLimit(rate="1/d"),
    ]
    assert limit_names(written) == ["per-second", "per-second-2", "per-second-3", "per-day"]


def test_a_callable_that_is_none() -> None:
    config = load(toml(route='upstream = "app"\nrate_limit = { rate = "1/s", by = "no_such:thing" }'))
    with pytest.raises(ConfigError, match="no_such"):
        compile_config(config, World(load(toml())))
    config = load(toml('rate_limit = { rate = "1/s", by = "no_such:thing" }'))
    with pytest.raises(ConfigError, match=r"server\.rate_limit.*no_such"):
        compile_config(config, World(load(toml())))


# -- waiting


DELAY = 'upstream = "app"\nrate_limit = { rate = "10/s", burst = 1, delay = "250ms", by = "route" }'


def test_requests_wait_their_turn(play_once: Any) -> None:
    scenario = play_once(toml(route=DELAY))
    clients, backend = [scenario.client() for _ in range(4)], scenario.backend(ADDRESS)
    for client in clients:
        client.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    clients[0].expect_response(200, b"ok")
    clients[3].expect_response(429, headers={b"Retry-After": b"1"})
    for client in clients[1:3]:
        scenario.advance(0.09)
        client.expect_nothing()
        scenario.advance(0.011)
        backend.expect_request(b"GET", b"/")
        backend.send(OK)
        client.expect_response(200, b"ok", headers={b"RateLimit": b'"per-second";r=0;t=1'})


def test_who_leaves_gives_its_turn_back() -> None:
    place = World(load(toml(route=DELAY)))
    assert status(place.get("/")) == 200
    for _ in range(20):
        assert place.get("/") == b"", "it waits, and leaves"
    assert not [call for call in place.getDelayedCalls() if call.getTime() < place.seconds() + 1]
    assert status(place.get("/", wait=0.101)) == 200


# -- beside a cache


CACHED = 'cache = true\nrate_limit = { rate = "2/h", burst = 2, hits = false }\nupstream = "app"'
FRESH = (b"Cache-Control: max-age=60",)


def test_what_a_cache_answers_is_not_counted(play_once: Any) -> None:
    scenario = play_once(toml(route=CACHED))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for path, left in ((b"/1", 1), (b"/2", 0)):
        client.send(get(path))
        backend.expect_request(b"GET", path)
        backend.send(ok(b"ok", *FRESH))
        limit = b'"per-hour";r=%d;t=1800' % left
        client.expect_response(200, b"ok", headers={b"RateLimit": limit})
        for _ in range(5):
            client.send(get(path))
            client.expect_response(200, b"ok", headers={b"RateLimit": None})
    client.send(get(b"/3"))
    client.expect_response(429, headers={b"Retry-After": b"1800", b"RateLimit": b'"per-hour";r=0;t=1800'})
    client.send(get(b"/1"))
    client.expect_response(200, b"ok")
    client.send(get(b"/", b"Content-Length: 0", method=b"POST"))
    client.expect_response(429, headers={b"RateLimit": b'"per-hour";r=0;t=1800'})


def test_a_limited_cache_can_be_purged_as_any_other() -> None:
    table = World(load(toml(route=CACHED.replace(", hits = false", "")))).table
    assert isinstance(table.routes[0].handler, Cache) and len(table.routes[0].client_request) == 1


def test_a_hook_comes_after_the_limit() -> None:
    calls: list[str] = []
    hook = Middleware(call=lambda exchange: calls.append("hook"))
    place = World(hooked(toml(route='upstream = "app"\nrate_limit = "1/h"'), hook))
    assert statuses(place, 3) == [200, 429, 429] and calls == ["hook"]


def test_otherwise_it_is(play_once: Any) -> None:
    scenario = play_once(toml(route=CACHED.replace(", hits = false", "")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(ok(b"ok", *FRESH))
    client.expect_response(200, b"ok", headers={b"RateLimit": b'"per-hour";r=1;t=1800'})
    client.send(get())
    client.expect_response(200, b"ok", headers={b"RateLimit": b'"per-hour";r=0;t=1800'})
    client.send(get())
    client.expect_response(429)


def test_both_kinds_of_limits_tell_together(play_once: Any) -> None:
    limits = '["1000/h", { rate = "2/d", burst = 2, hits = false }]'
    scenario = play_once(toml(route=f'cache = true\nrate_limit = {limits}\nupstream = "app"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for method in (b"GET", b"POST"):
        client.send(get(b"/", b"Content-Length: 0", method=method))
        backend.expect_request(method, b"/")
        backend.send(ok(b"ok"))
        head = client.expect_response(200, b"ok")
        told = head.all(b"ratelimit")
        assert len(told) == 2 and told[0].startswith(b'"per-hour"') and told[1].startswith(b'"per-day"')
        scenario.advance(50)


def test_what_waits_for_a_backend_may_leave(play_once: Any) -> None:
    limit = '{ rate = "1/s", burst = 1, delay = "5s", hits = false }'
    scenario = play_once(toml(route=f'cache = true\nrate_limit = {limit}\nupstream = "app"'))
    first, second, third, backend = scenario.client(), scenario.client(), scenario.client(), scenario.backend(ADDRESS)
    first.send(get(b"/1"))
    backend.expect_request(b"GET", b"/1")
    backend.send(OK)
    first.expect_response(200, b"ok")
    second.send(get(b"/2"))
    second.expect_nothing()
    second.close()
    third.send(get(b"/3"))
    scenario.advance(1.01)
    backend.expect_request(b"GET", b"/3")
    backend.send(OK)
    third.expect_response(200, b"ok")


def test_those_who_wait_are_counted_for_each_limit_on_whatever_route(play_once) -> None:
    scenario = play_once("""
[server]
rate_limit = { rate = "1/h", burst = 1, by = "route", delay = "10h", waiting = 1 }
[[listen]]
endpoint = "tcp:8080"
[[routes]]
match = { path = "/a" }
respond = 200
[[routes]]
respond = 200
""")
    clients = [scenario.client() for _ in range(4)]
    for client, path in zip(clients, (b"/a", b"/b", b"/a", b"/b"), strict=True):
        client.send(get(path))
    clients[0].expect_response(200)
    assert clients[1].unread == b""
    for client in clients[2:]:
        client.expect_response(429)
    clients[1].close()


def test_who_waits_for_one_limit_takes_no_place_of_another(play_once) -> None:
    limits = ", ".join(
        f'{{ rate = "1/m", burst = 1, delay = "10m", waiting = {many}, by = "header:{name}", missing = "pass", '
        f'name = "{name}" }}'
        for name, many in (("x-a", 5), ("x-b", 1))
    )
    scenario = play_once(f"[[listen]]\nendpoint = 'tcp:8080'\n[[routes]]\nrate_limit = [{limits}]\nrespond = 200")
    clients = [scenario.client() for _ in range(5)]
    for client, name in zip(clients, (b"x-a", b"x-a", b"x-a", b"x-b", b"x-b"), strict=True):
        client.send(get(b"/", name + b": 1"))
    assert [client.unread[9:12] for client in clients] == [b"200", b"", b"", b"200", b""]
    for client in clients:
        client.close()
