"""A cache between real sockets: many at once, and long."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.integration.cache_load import LARGEST, Load, Origin, body_of, exchange, serve
from tests.integration.harness import Proxy, Stage

CONFIG = """
[[listen]]
endpoint = "LISTEN"
[access_log]
enabled = false
[upstreams.origin]
backends = ["tcp:127.0.0.1:{port}"]
[cache]
size = "{size}"
largest = "{largest}B"
[[routes]]
upstream = "origin"
cache = {{}}
"""
BUDGET = 64 * 1024**2


def start(stage: Stage, port: int, size: str = "64MB") -> Proxy:
    return stage.configured(CONFIG.format(port=port, size=size, largest=LARGEST))


def test_500_at_once_are_one_request(stage: Stage) -> None:
    """A cold key, and a slow origin: everybody gets all of it, the origin sends it once."""

    async def run() -> None:
        origin = Origin()
        origin.delay = 0.5
        server, port = await serve(origin)
        proxy = await asyncio.to_thread(start, stage, port)
        clients = [await asyncio.open_connection("127.0.0.1", proxy.port, limit=1 << 20) for _ in range(500)]
        request = b"GET /5 HTTP/1.1\r\nHost: cache.example\r\n\r\n"
        responses = await asyncio.gather(*[exchange(*client, request) for client in clients])
        assert {(status, body) for status, _, body in responses} == {(200, body_of("/5", "", 0))}
        assert origin.asked == {"GET": 1}
        collapsed = [fields["cache-status"] for _, fields, _ in responses]
        assert sum("collapsed" in status for status in collapsed) == 499
        for _, writer in clients:
            writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def soak(stage: Stage, requests: int, keys: int) -> None:
    async def run() -> None:
        origin = Origin()
        server, port = await serve(origin)
        proxy = await asyncio.to_thread(start, stage, port)
        base = proxy.memory()
        peak = 0

        def measure(left: int) -> None:
            nonlocal peak
            if left % 1000 == 0:
                peak = max(peak, proxy.memory())

        load = Load(origin, proxy.port, keys, seed=7)
        began = time.monotonic()
        await load.run(requests, 40, measure)
        seconds = time.monotonic() - began
        print(
            f"{requests} requests in {seconds:.0f} s, {dict(load.statuses)}, {load.hits} hits, origin {origin.asked},"
            f" memory {base / 1e6:.0f} -> {peak / 1e6:.0f} MB"
        )
        assert load.wrong == []
        assert sum(load.statuses.values()) == requests
        assert set(load.statuses) <= {200, 206, 304}
        assert load.hits > requests / 50  # lifetimes are in seconds: on a busy machine fewer
        assert peak - base < 1.2 * BUDGET
        server.close()

    asyncio.run(run())


def test_mixed_requests(stage: Stage) -> None:
    soak(stage, 4_000, 300)


@pytest.mark.slow
def test_soak(stage: Stage) -> None:
    """200,000 requests for much more than there is room for; nothing stale, nothing of another, no growth."""
    soak(stage, 200_000, 60_000)
