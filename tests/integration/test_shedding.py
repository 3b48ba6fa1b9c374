"""A process that can't keep up: with shedding, those who are let in are served in time.

The test prints its figures: ``pytest -rP``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.integration.harness import Stage

#: Seconds that each request keeps the reactor busy, and clients that ask again and again: without shedding each of them
#: waits for all others.
BUSY, CLIENTS = 0.005, 100
_HOOK = f"""
import time

def busy(exchange):
    time.sleep({BUSY})
"""
_CONFIG = """
[server]
{shed}

[[listen]]
endpoint = "LISTEN:backlog=1024"

[[routes]]
match = {{ path = "/work" }}
middleware = ["busy:busy"]
respond = 200

[[routes]]
match = {{ path = "/health" }}
{priority}
respond = 200
"""


async def _ask(port: int, path: bytes, end: float, took: dict[int, list[float]], rest: float) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        began = time.monotonic()
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        status = int(head[9:12])
        assert (b"retry-after: 1\r\n" in head.lower()) == (status == 503)
        took.setdefault(status, []).append(time.monotonic() - began)
        await asyncio.sleep(rest if status == 200 else 0.1)
    writer.close()


async def _load(port: int, seconds: float) -> Iterator[dict[int, list[float]]]:
    work: dict[int, list[float]] = {}
    health: dict[int, list[float]] = {}
    end = time.monotonic() + seconds
    asking = [_ask(port, b"/work", end, work, 0.0) for _ in range(CLIENTS)]
    await asyncio.gather(*asking, _ask(port, b"/health", end, health, 0.05))
    # the first half is for the share to settle
    return ({status: took[len(took) // 2 :] for status, took in found.items()} for found in (work, health))


def _median(took: list[float]) -> float:
    return sorted(took)[len(took) // 2]


@pytest.mark.slow
def test_those_who_are_let_in_are_served_in_time(stage: Stage) -> None:
    (stage.folder / "busy.py").write_text(_HOOK)
    medians = {}
    for shed in ("", 'shed = { lag = "50ms" }'):
        proxy = stage.configured(
            _CONFIG.format(shed=shed, priority='priority = "critical"' if shed else ""), name=f"proxy{len(medians)}"
        )
        work, health = asyncio.run(_load(proxy.port, 4.0))
        medians[shed] = _median(work[200])
        counts = {status: len(took) for status, took in sorted(work.items())}
        print(
            f"{shed or 'no shedding'}: {counts}; half of those let in within {medians[shed] * 1000:.0f} ms, "
            f"of the health checks within {_median(health[200]) * 1000:.0f} ms"
        )
        assert health.keys() == {200}
        if shed:
            assert counts[503] > counts[200] > 20
            proxy.says("shedding load: the reactor is [0-9]+ ms late")
            proxy.says("no load is shed any more: [0-9]+ requests were refused", 10)
        else:
            assert work.keys() == {200}
    without, limited = medians.values()
    assert without > 0.3
    assert limited < without / 2
