"""Rates and bursts, exactly; and what is kept when clients are many."""

from __future__ import annotations

import random
import time
import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from revproxy.limits.gcra import Gcra

EPOCH = 1_800_000_000.0


def test_a_burst_and_then_the_rate() -> None:
    gcra = Gcra(10, 1, 3)
    assert [gcra.check("a", EPOCH).remaining for _ in range(3)] == [2, 1, 0]
    refused = gcra.check("a", EPOCH)
    assert not refused.allowed and refused.wait == pytest.approx(0.1, rel=1e-4) and refused.remaining == 0
    assert refused.reset == pytest.approx(0.3)
    assert gcra.check("b", EPOCH).allowed
    assert not gcra.check("a", EPOCH + 0.09).allowed
    assert gcra.check("a", EPOCH + 0.1).allowed
    assert not gcra.check("a", EPOCH + 0.1).allowed
    assert gcra.check("a", EPOCH + 10).remaining == 2


def test_who_waits_as_long_as_it_is_told_is_let_through() -> None:
    chance = random.Random(7)
    for _ in range(200):
        burst = chance.randint(1, 50)
        gcra = Gcra(chance.randint(1, 10**5), chance.choice([1, 60, 3600, 86400]), burst)
        now = EPOCH + chance.random() * 1e6
        while (verdict := gcra.check("k", now)).allowed:
            pass
        assert gcra.look("k", now + verdict.reset + 1e-6).remaining == burst
        assert gcra.check("k", now + verdict.wait + 1e-6).allowed


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 10_000), st.sampled_from([1, 60, 3600]), st.integers(1, 20),
    st.lists(st.floats(0, 3, allow_nan=False), max_size=60),
)  # fmt: skip
def test_it_says_what_exact_arithmetic_says(count: int, seconds: int, burst: int, gaps: list[float]) -> None:
    """Against the virtual scheduling algorithm in fractions: but for ties, which rounding decides."""
    gcra = Gcra(count, seconds, burst)
    interval = Fraction(seconds, count)
    now, tat = EPOCH, Fraction(0)
    for gap in gaps:
        now += gap * float(interval)
        exact = Fraction(now)
        early = max(tat, exact) - exact - interval * (burst - 1)
        verdict = gcra.check("k", now)
        if abs(early) > interval * Fraction(1, 100_000):
            assert verdict.allowed == (early <= 0)
        if verdict.allowed:
            tat = max(tat, exact) + interval
            left = (interval * burst - (tat - exact)) / interval
            assert abs(verdict.remaining - left) < 1.001 and verdict.remaining <= left + Fraction(1, 1000)
        else:
            assert abs(Fraction(verdict.wait) - early) < interval / 1000


@given(st.integers(1, 1000), st.integers(1, 30), st.lists(st.floats(0, 0.2), min_size=1, max_size=100))
@settings(max_examples=100, deadline=None)
def test_no_more_pass_than_burst_and_rate_allow(rate: int, burst: int, gaps: list[float]) -> None:
    gcra = Gcra(rate, 1, burst)
    now, passed = EPOCH, []
    for gap in gaps:
        now += gap
        if gcra.check("k", now).allowed:
            passed.append(now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + rate * (passed[last] - begin) + 0.01


@pytest.mark.parametrize(("rate", "burst"), [(1000, 100), (1000, 1), (1_000_000, 100)])
@pytest.mark.parametrize("load", [1.0, 1.5, 4.0])
def test_a_rate_is_kept_within_two_in_a_hundred(rate: int, burst: int, load: float) -> None:
    """10 s at the rate and above it, from clients that ask by chance, at a clock's usual resolution."""
    seconds = 10 if rate <= 1000 else 0.01
    gcra, chance = Gcra(rate, 1, burst), random.Random(3)
    now, passed = EPOCH, 0
    while now < EPOCH + seconds:
        now += chance.expovariate(rate * load)
        passed += gcra.check("k", now).allowed
    expected = rate * seconds
    assert passed <= expected * 1.02
    if load > 1:
        # with no burst at all, a request that comes late has lost its turn
        assert passed >= expected * (0.98 if burst > 1 else load / (1 + load) * 0.95)


def test_looking_counts_nothing() -> None:
    gcra = Gcra(1, 1, 2)
    for _ in range(5):
        assert gcra.look("k", EPOCH).remaining == 2
    assert len(gcra) == 0
    gcra.check("k", EPOCH)
    assert gcra.look("k", EPOCH) == (True, 0.0, 1, 1.0)
    gcra.check("k", EPOCH)
    verdict = gcra.look("k", EPOCH + 0.5)
    assert not verdict.allowed and verdict.wait == pytest.approx(0.5, rel=1e-4)


def test_passing_at_once_is_what_checking_says() -> None:
    one, other, chance, now = Gcra(50, 1, 4), Gcra(50, 1, 4), random.Random(5), EPOCH
    for _ in range(500):
        now += chance.expovariate(70)
        reset, verdict = one.pass_now("k", now), other.check("k", now)
        if verdict.allowed:
            assert reset == pytest.approx(verdict.reset) and one.told(reset)[0] == verdict.remaining
        else:
            assert reset == -1.0


def test_delayed_requests_go_on_at_the_rate() -> None:
    gcra = Gcra(10, 1, 1, delay=0.35)
    verdicts = [gcra.check("k", EPOCH) for _ in range(6)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 4 + [False] * 2
    assert [verdict.wait for verdict in verdicts[:4]] == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=1e-4)
    gcra.give_back("k")
    assert gcra.check("k", EPOCH).wait == pytest.approx(0.3, abs=1e-4)
    gcra.give_back("unknown")


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    gcra = Gcra(10, 1, 5)
    for _ in range(6):
        gcra.check("k", EPOCH)
    assert gcra.look("k", EPOCH - 86400).wait <= 0.5
    assert not gcra.check("k", EPOCH - 86400).allowed
    assert gcra.check("k", EPOCH - 86400 + 0.1).allowed


# -- what is kept


def test_keys_that_have_their_burst_back_are_not_kept() -> None:
    gcra = Gcra(1, 1, 5)
    for n in range(1000):
        gcra.check(n, EPOCH)
    assert len(gcra) == 1000
    for n in range(600):
        gcra.check(f"new {n}", EPOCH + 100)
    assert len(gcra) <= 600 + 1


def test_a_flood_of_keys_does_not_grow_it() -> None:
    gcra = Gcra(100, 3600, 10, keys=1000)
    now = EPOCH
    for n in range(5000):
        now += 0.0001
        gcra.check(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", now)
        assert len(gcra) <= 1000
    assert len(gcra._order) == len(gcra) and not gcra._refused


FLOODS = [(1000, 30_000), pytest.param(100_000, 1_000_000, marks=pytest.mark.slow, id="100000-1000000")]


def flood(gcra: Gcra, addresses: int, each: int, every: int, offender: str) -> tuple[int, int]:
    """Addresses that ask ``each`` times and never again, 100 us apart; an offender asks after ``every`` of them.

    :return: how often the offender passed, and how many of the clients that ask for the first time, one after each
        hundred addresses, were refused.
    """
    now, passed, innocents = EPOCH, 0, 0
    for n in range(addresses):
        now += 0.0001
        for _ in range(each):
            if gcra.pass_now(n, now) < 0.0:
                gcra.check(n, now)
        if n % every == 0:
            passed += gcra.check(offender, now).allowed
        if n % 100 == 0:
            innocents += not gcra.check(f"new {n}", now).allowed
    return passed, innocents


@pytest.mark.parametrize(("keys", "addresses"), FLOODS)
@pytest.mark.parametrize("each", [1, 3, 12])
def test_in_a_flood_a_busy_offender_stays_limited_and_nobody_else_is(keys: int, addresses: int, each: int) -> None:
    """Of addresses that are not refused, refused once, and ten times; the offender asks ten times in each round."""
    gcra = Gcra(10, 3600, 2, keys=keys)
    began = time.perf_counter()
    passed, innocents = flood(gcra, addresses, each, keys // 40, "offender")
    took = (time.perf_counter() - began) / addresses / each
    print(f"{addresses} addresses: the offender passed {passed} times, {innocents} refused, {took * 1e6:.1f} us each")
    assert passed == 2 and innocents == 0
    assert (
        keys - 16 <= len(gcra) <= keys and len(gcra._order) == len(gcra) and gcra._refused.keys() <= gcra._tats.keys()
    )


def test_nobody_is_refused_for_what_others_ask_however_many_they_are() -> None:
    gcra, chance, now = Gcra(10, 60, 3, keys=64), random.Random(2), EPOCH
    asked: dict[str, int] = {}
    for _ in range(20_000):
        now += 0.001
        key = f"k{chance.randrange(5000)}"
        asked[key] = asked.get(key, 0) + 1
        assert gcra.check(key, now).allowed or asked[key] > 3
        assert len(gcra) <= 64
    assert len(asked) > 4000


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.lists(st.tuples(st.integers(0, 60), st.floats(0, 2)), max_size=300))
def test_what_passes_in_all_is_the_rate_and_two_bursts_for_each_new_key(
    keys: int, burst: int, asks: list[tuple[int, float]]
) -> None:
    """Whatever is forgotten: it is so only for a key that was not kept, which passed."""
    gcra, now, passed, added = Gcra(1, 10, burst, keys=keys), EPOCH, 0, 0
    for key, gap in asks:
        now += gap
        new = key not in gcra._tats
        allowed = gcra.check(key, now).allowed
        passed += allowed
        added += new
        assert allowed or not new
        assert len(gcra) <= keys
    distinct = len({key for key, _ in asks})
    assert passed <= distinct * (burst + (now - EPOCH) / 10) + burst * added + 1e-6


def test_of_those_that_are_not_limited_the_one_that_asked_least_goes_first() -> None:
    gcra = Gcra(60, 60, 10, keys=100)
    for _ in range(8):
        gcra.check("busy", EPOCH)
    for n in range(2000):
        gcra.check(n, EPOCH)
    assert gcra.look("busy", EPOCH).remaining == 2


@pytest.mark.parametrize(("refused", "most"), [(False, 250), (True, 350)])
def test_a_key_takes_no_more_memory_than_is_said(refused: bool, most: int) -> None:
    gcra = Gcra(1, 86400, 1, keys=50_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(20_000):
            key = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
            gcra.check(key, EPOCH)
            if refused:
                gcra.check(key, EPOCH)
        size = (tracemalloc.get_traced_memory()[0] - before) / 20_000
    finally:
        tracemalloc.stop()
    print(f"{size:.0f} bytes for each key")
    assert size < most
