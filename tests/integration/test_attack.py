"""Many kinds of attackers at once, each with an address of its own, beside clients that mean well.

Each test prints its figures: ``pytest -rP``.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.attacked import Good, standing

_CONFIG = """
[server]
timeouts = { head = "2s", body = "3s", keep_alive = "3s" }
minimum_rate = { rate = "1KB/s", over = "2s" }
rate_limit = { rate = "20/s", burst = 40 }
[server.limits]
connections_per_address = 16
requests_per_address = 8
[server.bans]
rules = [
  { when = "client-h2-flood", count = 1, ban = "60s" },
  { when = "client-gone", count = 100, within = "10s", ban = "60s" },
  { when = "refused", count = 5, within = "10s", ban = "60s" },
  { when = "no-route", count = 5, within = "10s", ban = "60s" },
]
"""
#: Parts of all attackers, in hundredths.
KINDS = {
    "flood:h1": 14, "idle:h1": 6, "idle:tls": 4, "slow-head:h1": 8, "slow-head:tls": 4, "slow-head:h2c": 2,
    "slow-body:h1": 6, "slow-body:tls": 2, "slow-body:h2c": 2, "slow-reader:h1": 4, "slow-reader:h2c": 2,
    "opener:h1": 8, "opener:tls": 2, "scanner:h1": 14, "large-head:h1": 6, "heavy:h1": 4, "rapid-reset:h2c": 6,
    "rapid-reset:h2": 2, "buster:h1": 4,
}  # fmt: skip
GOOD = 20
#: What is asked of it: seconds within which 99 of 100 are served, bytes that it may grow. The short form runs beside
#: other tests on machines that have much to do: there it is for errors, memory and the log, and finds a hang.
SERVED, SERVED_SHORT, GROWN = 0.25, 3.0, 64 << 20


def test_the_parts_are_a_whole() -> None:
    assert sum(KINDS.values()) == 100


@pytest.mark.parametrize(
    ("attackers", "seconds"), [(200, 5), pytest.param(1000, 20, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_attack(tmp_path: Path, attackers: int, seconds: float) -> None:
    with standing(tmp_path, _CONFIG, "filter = true") as stand:
        proxy = stand.proxy
        good = Good(proxy.port, GOOD, 0.1)
        time.sleep(0.5)
        before = most = proxy.memory()
        kinds = ",".join(f"{kind}:{part * attackers // 100}" for kind, part in KINDS.items())
        attack = stand.attack(kinds, seconds)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            most = max(most, proxy.memory())
            time.sleep(0.1)
        good.stop()
        accounts = stand.account(attack, 20)
        faults = Counter(str(line["fault"]) for line in stand.lines())
        said = re.findall(r"\S+ is banned for .*|.*connection\(s\) refused.*|.*shed.*", proxy.err)
        bans = [line for line in said if "is banned" in line]
        words = Counter(line.rpartition("last: ")[2] for line in bans)
        print(
            f"{attackers} attackers, {seconds} s: {len(good.took)} good requests, p50 {good.at(0.5) * 1000:.0f} ms, "
            f"p99 {good.at(0.99) * 1000:.0f} ms, {max(good.took) * 1000:.0f} ms at most, troubles {good.troubles[:5]}; "
            f"{(most - before) / 1e6:+.1f} MB; bans {dict(words)}; log {dict(faults)}; "
            f"{len(proxy.err.splitlines())} lines"
        )
        for kind, account in accounts.items():
            print(f"  {kind}: {account}")
        print("  " + "\n  ".join(line for line in said if "is banned" not in line))
        assert good.troubles == []
        assert len(good.took) > GOOD * seconds * (5 if attackers > 200 else 1)
        assert good.at(0.99) < (SERVED if attackers > 200 else SERVED_SHORT)
        assert most - before < GROWN
        if attackers > 200:  # whoever is slow is cut, and comes back
            slow = [kind for kind in accounts if kind.startswith(("idle", "slow-head", "slow-body"))]
            assert len(slow) == 8 and all(accounts[kind]["gone"] for kind in slow)
        # the log says who was stopped, and by what
        assert {"client-h2-flood", "client-gone", "rate-limited"} & words.keys()  # what came first of many requests
        assert {"client-head-too-large", "no-route"} <= faults.keys()
        if attackers > 200:  # else there may be no time for so many
            assert {"client-head-too-large", "no-route"} <= words.keys()
            assert any("too-many-connections-from-address" in line for line in said)
        assert all(
            re.match(r"127\.0\.\d+\.\d+ is banned for 60 s: [0-9]+ in [16]0 s, the last: [a-z0-9-]+$", b) for b in bans
        )
        assert not any("127.1." in line for line in bans)
        assert {"client-head-timeout", "client-body-slow", "client-reads-slowly"} <= faults.keys()
