"""The circuit breaker: open, half-open, closed, and that it never stays open for good."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.config.upstreams import Breaker
from revproxy.upstream.breaker import CLOSED, HALF_OPEN, OPEN, CircuitBreaker

RULES = Breaker(error_rate=0.5, minimum=4, window=10.0, open=5.0, probes=2)


def opened(now=0.0, rules=RULES):
    breaker = CircuitBreaker(rules)
    for asked in range(1, rules.minimum + 1):
        changed = breaker.failed(now, asked)
    assert changed
    return breaker


def test_what_is_well_passes():
    breaker = CircuitBreaker(RULES)
    for now in range(100):
        assert breaker.admit(float(now)) == 0
        assert not breaker.succeeded()
    assert breaker.state == CLOSED


@pytest.mark.parametrize(
    ("failures", "state"),
    [
        # (time, requests so far)
        ([(0, 1), (0, 2), (0, 3)], CLOSED),  # too few
        ([(0, 1), (0, 2), (0, 3), (0, 4)], OPEN),
        ([(0, 1), (0, 5)], CLOSED),  # 2 of 5
        ([(0, 1), (0, 4)], OPEN),  # 2 of 4
        ([(0, 1), (0, 2), (0, 3), (10.1, 4)], CLOSED),  # a new window
        ([(0, 1), (0, 2), (0, 3), (9.9, 4)], OPEN),
        ([(0, 1000), (0, 1001), (0, 1002), (0, 1003)], OPEN),  # what was before does not help
    ],
)
def test_failures_open_it(failures, state):
    breaker = CircuitBreaker(RULES)
    changes = [breaker.failed(now, asked) for now, asked in failures]
    assert breaker.state == state
    assert changes == [False] * (len(failures) - 1) + [state == OPEN]
    assert bool(breaker.why) == (state == OPEN)


def test_open_says_how_long():
    breaker = opened(100.0)
    assert breaker.admit(100.0) == 5.0
    assert breaker.admit(104.5) == pytest.approx(0.5)
    assert breaker.admit(104.999) > 0
    assert breaker.state == OPEN
    assert breaker.admit(105.0) == 0
    assert breaker.state == HALF_OPEN


def test_failures_of_what_was_sent_before_change_nothing_while_it_is_open():
    breaker = opened()
    assert not breaker.failed(1.0, 5)
    assert not breaker.succeeded()
    assert breaker.admit(4.0) == 1.0  # not longer


def test_so_many_probes_close_it():
    breaker = opened()
    assert [breaker.admit(5.0) for _ in range(4)] == [0, 0, 5.0, 5.0]
    assert [breaker.succeeded(), breaker.succeeded(), breaker.succeeded()] == [False, True, False]
    assert breaker.state == CLOSED
    assert breaker.why == "2 requests were answered"
    assert breaker.admit(5.0) == 0


def test_one_that_fails_opens_it_again():
    breaker = opened()
    breaker.admit(5.0)
    breaker.admit(5.0)
    assert not breaker.succeeded()
    assert breaker.failed(6.0, 5)
    assert breaker.state == OPEN
    assert breaker.admit(6.0) == 5.0


def test_probes_that_never_tell_are_replaced():
    breaker = opened()
    assert [breaker.admit(5.0), breaker.admit(5.0)] == [0, 0]
    assert breaker.admit(9.0) == 1.0
    assert [breaker.admit(10.0), breaker.admit(10.0)] == [0, 0]
    assert breaker.admit(10.0) == 5.0


def test_it_counts_anew_after_it_closed():
    breaker = opened()
    breaker.admit(5.0)
    breaker.admit(5.0)
    breaker.succeeded()
    breaker.succeeded()
    assert [breaker.failed(6.0, asked) for asked in (7, 8, 9)] == [False] * 3
    assert breaker.failed(6.0, 10)


@given(
    minimum=st.integers(1, 6),
    probes=st.integers(1, 4),
    events=st.lists(st.tuples(st.sampled_from(["ask", "good", "bad"]), st.sampled_from([0.0, 0.3, 2.0, 7.0]))),
)
def test_model(minimum, probes, events):
    rules = Breaker(error_rate=0.5, minimum=minimum, window=10.0, open=5.0, probes=probes)
    breaker = CircuitBreaker(rules)
    now, asked, out = 0.0, 0, 0
    admitted = []  # times since it last opened
    opened_at = None
    for event, seconds in events:
        now += seconds
        before = breaker.state
        if event == "ask":
            left = breaker.admit(now)
            assert 0 <= left <= rules.open
            if left == 0:
                asked += 1
                out += 1
                if breaker.state == HALF_OPEN:
                    admitted.append(now)
                    # never more than the probes within the time that it is open for
                    assert sum(now - at < rules.open for at in admitted) <= probes
            else:
                assert breaker.state != CLOSED
                assert breaker.admit(now + left + 1e-6) == 0 or breaker.state == HALF_OPEN
                return  # time has moved on
        elif out:
            out -= 1
            changed = breaker.succeeded() if event == "good" else breaker.failed(now, asked)
            assert changed == (breaker.state != before)
            if breaker.state == OPEN and before != OPEN:
                opened_at, admitted = now, []
            if breaker.state == OPEN:
                assert opened_at is not None
            if event == "bad":
                assert breaker.state != HALF_OPEN
    # whatever happened: given time and answers it closes
    for _ in range(2):
        now += rules.open + 0.1
        for _ in range(probes):
            assert breaker.admit(now) == 0
            breaker.succeeded()
    assert breaker.state == CLOSED
