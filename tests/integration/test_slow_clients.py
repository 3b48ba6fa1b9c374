"""Clients that are slow on purpose, many of each kind: others don't notice, they are gone in time, they take little.

Each test prints a line of figures: ``pytest -rP``.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.attacked import Good, standing
from tests.integration.harness import until

#: What everything is limited to, in seconds: short, but long enough that all of them are there at once.
LIMIT, LONG = 1.5, 6.0
_CONFIG = """
[server]
timeouts = {{ head = "{limit}s", body = "{limit}s", keep_alive = "{limit}s" }}
minimum_rate = {{ rate = "1KB/s", over = "{limit}s" }}
"""
#: Seconds after twice its limit in which an offender is gone: two looks at who is slow (a second each, in HTTP/2), and
#: two for a machine that has much to do. Twice: what a kernel's buffer took counts for the first window of a reader.
GONE = 4.0
#: Bytes that a slow client may take.
EACH = 256 * 1024
KINDS = ("idle", "slow-head", "slow-body", "slow-reader")


@pytest.mark.parametrize(
    ("hows", "count"),
    [
        (("h1", "tls", "h2"), 34),
        pytest.param(("h1",), 500, marks=pytest.mark.slow),
        pytest.param(("tls",), 500, marks=pytest.mark.slow),
        pytest.param(("h2",), 500, marks=pytest.mark.slow),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_slow_clients(tmp_path: Path, hows: tuple[str, ...], count: int) -> None:
    kinds = [f"{kind}:{how}:{count}" for how in hows for kind in KINDS]
    limit = LIMIT if count < 100 else LONG
    with standing(tmp_path, _CONFIG.format(limit=limit)) as stand:
        proxy = stand.proxy
        good = Good(proxy.port, 4, 0.05)
        time.sleep(0.3)
        before, descriptors = proxy.memory(), proxy.descriptors()
        attack = stand.attack(",".join(kinds), 60, "--once")
        began = time.monotonic()
        most = there = 0

        def gone() -> bool:
            nonlocal most, there
            time.sleep(0.2)  # to look is work for the kernel
            most, there = max(most, proxy.memory()), max(there, proxy.descriptors() - descriptors)
            # what is pooled for the origin stays
            return proxy.descriptors() <= descriptors + 8

        # handshakes take their time, so that some come later
        until(gone, "they are gone", 2 * limit + GONE + count / 100)
        took = time.monotonic() - began
        good.stop()
        attack.signal(15)
        each = (most - before) / (count * len(kinds))
        time.sleep(1.2)  # the access log is written once a second
        faults = Counter(str(line["fault"]) for line in stand.lines())
        print(
            f"{' '.join(kinds)}: gone {took:.1f} s after the last came, {there} descriptors at most, "
            f"{each / 1024:.1f} KB each; others: {len(good.took)} requests, {max(good.took) * 1000:.0f} ms at most; "
            f"{dict(faults)}"
        )
        assert there > count * len(kinds) * (0.25 if count < 100 else 0.9)
        assert good.troubles == []
        assert max(good.took) < 1.0
        assert each < EACH
        assert faults["client-reads-slowly"] >= count * len(hows) * 0.9
        assert faults["client-body-slow"] + faults["client-body-timeout"] >= count * len(hows) * 0.9
