"""Clocks of a client's connection, on real sockets: what little of an answer waits is measured, and by itself."""

from __future__ import annotations

from typing import Any

import pytest

from revproxy.downstream.closing import DRAIN_TIME
from tests.downstream.test_closing import Socket
from tests.h2kit import POST, H2Client
from tests.kit import ADDRESS, get, logged, toml

SIZE = 50_000  # less than makes a transport full
ROUTES = f"""
respond = {{ body = "{"x" * SIZE}" }}

[[routes]]
match = {{ path = "/upload" }}
upstream = "app"
"""


@pytest.fixture
def client(play_once: Any) -> Any:
    made = Socket(play_once(toml(route=ROUTES)), 4096)
    yield made
    made.socket.close()
    made.turn()


def test_whoever_takes_nothing_of_a_small_rest_is_cut_as_soon(client: Any) -> None:
    client.send(get())
    with logged("revproxy.engine") as lines:
        for _ in range(21):
            client.second(0)
    assert client.ended == "reset"
    assert lines == ["1 connection(s) refused, the last from 192.0.2.5: client-reads-slowly"]


def test_whoever_took_all_of_it_has_the_time_of_an_idle_connection(client: Any) -> None:
    client.send(get())
    for _ in range(74):
        client.second(SIZE)
        assert not client.ended
    client.send(get())
    for _ in range(76 + int(DRAIN_TIME)):
        client.second(SIZE)
    assert client.ended == "closed"


@pytest.mark.parametrize("idle", [5, 60])
def test_a_rest_that_was_taken_long_ago_is_not_held_against_a_client(client: Any, idle: int) -> None:
    client.send(get())
    for _ in range(idle):
        client.second(SIZE)
    client.send(b"POST /upload HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(30):
        client.second(SIZE)
        assert not client.ended
        client.send(b"x" * 300)


@pytest.mark.parametrize("waits", ["", "filter = true", 'buffer = { request = "16KB" }'])
@pytest.mark.parametrize("http2", [False, True])
def test_a_slow_body_is_slow_for_hooks_that_wait_for_it(play_once, waits, http2):
    """Each piece that a hook waited for began the clock anew."""
    server = 'timeouts = { body = "3s" }\nminimum_rate = { rate = "1KB/s", over = "2s" }'
    text = toml(server, route=f'upstream = "app"\n{waits}')
    scenario = play_once(text.replace('endpoint = "tcp:8080"', 'endpoint = "tcp:8080"\nhttp2 = true'))
    scenario.backend(ADDRESS)
    client = scenario.client()
    if http2:
        peer = H2Client(client)
        stream = peer.begin(POST, ended=False)
    else:
        client.send(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(8):
        scenario.advance(0.5)
        if scenario.log:
            break
        if http2:
            peer.data(stream, b"x")
        else:
            client.send(b"x")
    assert [line.fault for line in scenario.log] == ["client-body-slow"]
