"""Balancers at work: a simulation of backends that queue, with arrivals by chance and a fixed seed.

A backend works on ``WORKERS`` requests at a time for each unit of its weight, and queues the rest. Requests come
as a Poisson process; how long one takes is exponentially distributed.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from heapq import heappop, heappush

import pytest

from tests.upstream.balance.kit import KINDS, Asked, group, make

WORKERS = 4
SERVICE = 0.010  # seconds of work, on average
SLOW = 10.0


class Run:
    """One simulation.

    :ivar latencies: seconds of each request, in the order in which they came.
    :ivar picked: when it came and the name of its backend, in the same order.
    """

    def __init__(self, balancer, backends, *, rate, count, slowness, seed=1, keys=None):
        self.latencies = [0.0] * count
        self.picked = []
        chance = random.Random(f"work {seed}")  # not that of the balancer: the same numbers would be no chance
        queues = {backend: deque() for backend in backends}
        busy = dict.fromkeys(backends, 0)
        ends = []
        observe = balancer.observe
        now = 0.0
        started = []

        def work(backend, number):
            busy[backend] += 1
            seconds = chance.expovariate(1 / SERVICE) * slowness(backend.name, now)
            heappush(ends, (now + seconds, number, backend))

        arrival = chance.expovariate(rate)
        while len(self.picked) < count or ends:
            if ends and (len(self.picked) == count or ends[0][0] < arrival):
                now, number, backend = heappop(ends)
                busy[backend] -= 1
                backend.active -= 1
                self.latencies[number] = now - started[number]
                if observe is not None:
                    observe(backend, now - started[number], now)
                if queues[backend]:
                    work(backend, queues[backend].popleft())
            else:
                now = arrival
                number = len(started)
                started.append(now)
                backend = balancer.pick(backends, Asked(now, keys and keys(chance)))
                self.picked.append((now, backend.name))
                backend.active += 1
                if busy[backend] < WORKERS * backend.full_weight:
                    work(backend, number)
                else:
                    queues[backend].append(number)
                arrival = now + chance.expovariate(rate)

    def percentile(self, part):
        return sorted(self.latencies)[int(len(self.latencies) * part)]

    def share(self, name, start=0.0, end=float("inf")):
        """How many of the requests that came between went to ``name``."""
        found = [picked for now, picked in self.picked if start <= now < end]
        return found.count(name) / len(found)


def first_is_slow(name, now):
    return SLOW if name == "a" else 1.0


def any_key(chance):
    return b"%d" % chance.randrange(5000)


def test_one_slow_backend_of_ten(capsys):
    # nine can do 400 requests a second each and one 40: 2200 are 60 % of what they can do together
    runs = {
        kind: Run(make(kind), group(*[1] * 10), rate=2200, count=8000, slowness=first_is_slow, keys=any_key)
        for kind in KINDS
    }
    with capsys.disabled():
        print(f"\n\n{'one of ten is 10x slower':26}{'p50':>9}{'p95':>9}{'p99':>9}{'slow one':>10}")
        for kind, run in runs.items():
            figures = "".join(f"{run.percentile(part) * 1000:6.0f} ms" for part in (0.5, 0.95, 0.99))
            print(f"{kind:26}{figures}{run.share('a'):>10.1%}")
    p99 = {kind: run.percentile(0.99) for kind, run in runs.items()}
    assert p99["two-choices"] < p99["round-robin"] / 5
    assert p99["two-choices"] < p99["random"] / 5
    assert p99["two-choices"] < p99["least-requests"]
    assert p99["least-requests"] < p99["round-robin"] / 5
    assert runs["two-choices"].share("a") < 0.03
    # latency is no matter for the hash, but its bound is
    assert p99["hash"] < p99["round-robin"] / 2


@pytest.mark.parametrize("kind", ["round-robin", "least-requests", "two-choices", "random"])
def test_equal_backends_share_equally(kind):
    backends = group(*[1] * 10)
    run = Run(make(kind), backends, rate=2400, count=8000, slowness=lambda name, now: 1.0)
    for backend in backends:
        assert run.share(backend.name) == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize("kind", ["round-robin", "least-requests", "two-choices", "random"])
def test_backends_of_unequal_strength_share_by_weight(kind):
    backends = group(1, 2, 4)
    # at 80 % of what they can do together
    run = Run(make(kind), backends, rate=2240, count=8000, slowness=lambda name, now: 1.0)
    for backend in backends:
        assert run.share(backend.name) == pytest.approx(backend.full_weight / 7, abs=0.06), backend.name


def test_one_that_was_slow_gets_its_share_back(capsys):
    recovered = 10.0

    def slowness(name, now):
        return SLOW if name == "a" and now < recovered else 1.0

    run = Run(make("two-choices"), group(*[1] * 10), rate=400, count=24_000, slowness=slowness)
    windows = [(start, run.share("a", start, start + 5.0)) for start in range(0, 60, 5)]
    with capsys.disabled():
        print(f"\n\nslow until {recovered:g} s: " + " ".join(f"{start}s {share:.1%}" for start, share in windows))
    assert run.share("a", 2.0, recovered) < 0.02
    assert run.share("a", recovered + 10, recovered + 15) > 0.04
    assert 0.07 < run.share("a", recovered + 20, recovered + 50) < 0.13


def test_a_fresh_one_that_hangs_is_not_overrun():
    """A backend that joins cold and answers nothing has no more in flight than the others, and not a fifth of all."""
    backends = group(*[1] * 10)
    highest = Counter()

    def slowness(name, now):
        for backend in backends:
            highest[backend.name] = max(highest[backend.name], backend.active)
        return 1e6 if name == "a" else 1.0

    balancer = make("two-choices")
    for backend in backends[1:]:
        balancer.observe(backend, SERVICE, 0.0)
    run = Run(balancer, backends, rate=2200, count=3000, slowness=slowness)
    fresh = highest.pop("a")
    assert 0 < fresh <= max(highest.values())
    assert run.share("a") < 0.01
