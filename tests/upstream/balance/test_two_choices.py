"""The better of two."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given, strategies as st

from revproxy.upstream.balance import TwoChoices
from revproxy.upstream.balance.two_choices import DECAY, LEAST, is_better
from tests.upstream.balance.kit import Asked, One, group, make


def seen(latency=0.0, active=0, weight=1, at=100.0, name="x"):
    return One(name, weight, active=active, ewma=latency, ewma_at=at)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # what is known decides
        (seen(0.01), seen(0.02)),
        (seen(0.01, 3), seen(0.05, 0)),
        (seen(0.05, 0), seen(0.01, 5)),
        (seen(0.02, 0, 4), seen(0.01, 0, 1)),
        # what is not known does not
        (seen(0, 0), seen(0.01, 1)),
        (seen(0.01, 1), seen(0, 2)),
        (seen(0.5, 0), seen(0, 1)),
        (seen(0, 0), seen(0, 1)),
        (seen(0, 1, 3), seen(0, 0, 1)),
        # long ago is as good as unknown, and no better
        (seen(9.0, 0, at=0.0), seen(0.01, 1)),
        (seen(0.01, 1), seen(9.0, 2, at=0.0)),
        (seen(0.01, 1), seen(9.0, 2, at=-1e9)),
        (seen(9.0, 0, at=-1e9), seen(9.0, 1, at=-1e9)),
        # but what was fast stays fast
        (seen(0.001, 2, at=40.0), seen(0.01, 0)),
    ],
)
def test_the_better_one(one, other):
    assert is_better(one, other, 100.0)
    assert not is_better(other, one, 100.0)


@pytest.mark.parametrize("equal", [seen(), seen(0.01), seen(0.01, 3, 2), seen(1.0, at=-1e9)])
def test_equals(equal):
    assert not is_better(equal, equal, 100.0)


costs = st.builds(seen, st.floats(0, 100), st.integers(0, 50), st.integers(1, 9), st.floats(0, 200))


@given(costs, costs, st.floats(0, 200))
def test_one_at_most_is_better(one, other, now):
    assert not (is_better(one, other, now) and is_better(other, one, now))


@given(costs, costs, st.floats(0, 200))
def test_a_request_more_is_no_better(one, other, now):
    before = is_better(one, other, now)
    one.active += 1
    assert before or not is_better(one, other, now)


def test_a_peak_counts_at_once_and_fades():
    one, balancer = One("a"), make("two-choices")
    balancer.observe(one, 0.01, 0.0)
    assert one.ewma == 0.01
    balancer.observe(one, 0.5, 1.0)
    assert one.ewma == 0.5 and one.ewma_at == 1.0
    balancer.observe(one, 0.01, 1.0 + DECAY)
    assert one.ewma == pytest.approx(0.01 + 0.49 * exp(-1))
    for second in range(100):
        balancer.observe(one, 0.01, 20.0 + second)
    assert one.ewma == pytest.approx(0.01, abs=0.001)


def test_many_in_one_moment_do_not_wash_a_peak_away():
    one, balancer = One("a"), make("two-choices")
    balancer.observe(one, 0.5, 1.0)
    for _ in range(1000):
        balancer.observe(one, 0.01, 1.0)
    assert one.ewma == 0.5


def test_a_latency_of_nothing_is_known():
    one = One("a")
    make("two-choices").observe(one, 0.0, 1.0)
    assert one.ewma == LEAST


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1))
def test_the_average_is_among_what_was_measured(observations):
    one, balancer = One("a"), make("two-choices")
    now = 0.0
    for seconds, gap in observations:
        now += gap
        balancer.observe(one, seconds, now)
    measured = [seconds for seconds, _ in observations]
    assert max(min(measured), LEAST) * 0.999 <= one.ewma <= max(*measured, LEAST) * 1.001


def test_the_worst_is_picked_only_when_nothing_else_is_left():
    backends = group(1, 1, 1)
    backends[2].active = 9
    balancer = make("two-choices")
    asked = Asked(100.0)
    assert {balancer.pick(backends, asked).name for _ in range(200)} == {"a", "b"}
    assert balancer.pick(backends, asked, backends[:2]) is backends[2]
    assert {balancer.pick(backends, asked, backends[:1]).name for _ in range(50)} == {"b"}


def test_a_fresh_one_is_asked_at_once_but_holds_no_more_than_the_others():
    backends = group(1, 1, 1)
    for backend in backends[:2]:
        backend.ewma, backend.ewma_at, backend.active = 0.01, 100.0, 4
    balancer = make("two-choices")
    for _ in range(200):
        picked = balancer.pick(backends, Asked(100.0))
        picked.active += 1
        if picked is not backends[2]:
            picked.active -= 1
    assert backends[2].active == 5


def test_it_says_why():
    backends = group(1, 1)
    backends[0].ewma, backends[0].ewma_at, backends[0].active = 0.0123, 5.0, 2
    trace = []
    assert make("two-choices").pick(backends, Asked(5.0), (), trace).name == "b"
    text = " ".join(trace)
    assert "a (12.3 ms, 2 in flight)" in text and "b (nothing known, 0 in flight)" in text and "b costs less" in text


def test_latencies_are_wanted():
    assert callable(TwoChoices.observe)
