"""When a certificate is renewed, and when an order is tried again."""

from __future__ import annotations

from random import Random

from hypothesis import given, strategies as st

from revproxy.tls.acme.schedule import FIRST, MOST, PATIENCE, backoff, is_due, renewal

DAY = 86400.0


@given(st.floats(0, 4e9), st.floats(60, 400 * DAY), st.integers())
def test_renewal_is_after_two_thirds_and_long_before_the_end(start: float, lifetime: float, seed: int) -> None:
    end = start + lifetime
    when = renewal(start, end, Random(seed))
    assert start + lifetime * 0.66 <= when <= start + lifetime * 0.69
    assert is_due(start, end, when + 1e-3 * lifetime) and not is_due(start, end, start + lifetime * 0.66)


def test_many_are_not_renewed_in_one_moment() -> None:
    chance = Random(1)
    found = [renewal(0, 90 * DAY, chance) for _ in range(100)]
    assert max(found) - min(found) > DAY


def test_six_days() -> None:
    assert 4 * DAY <= renewal(0, 6 * DAY, Random(1)) <= 4.2 * DAY


@given(st.integers(1, 10**6), st.none() | st.floats(0, 1e12), st.integers())
def test_backoff_is_bounded(failures: int, pause: float | None, seed: int) -> None:
    wait = backoff(failures, pause, Random(seed))
    assert FIRST <= wait <= PATIENCE
    assert pause is not None or wait <= MOST
    assert pause is None or wait >= min(pause, PATIENCE)


def test_backoff_grows_and_is_jittered() -> None:
    waits = [backoff(n, None, Random(2)) for n in range(1, 14)]
    assert waits == sorted(waits) and waits[-1] > 0.8 * MOST
    assert len({backoff(5, None, Random(seed)) for seed in range(20)}) == 20
