"""When failures are enough to stop using a backend, as tables and against a model."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.config.upstreams import Passive
from revproxy.upstream.passive import Outlier

STREAK = Passive(failures=3, error_rate=None)
RATE = Passive(failures=None, error_rate=0.5, minimum=4, window=10.0)


def play(rules, story):
    """What came of each failure; ``"."`` in the story is an answer, ``"x"`` a failure, one a second."""
    outlier = Outlier(rules)
    came = []
    for at, word in enumerate(story):
        if word == ".":
            outlier.streak = 0
        elif word == "x":
            came.append(outlier.failed(float(at), at + 1))
    return came


TABLE = [
    (STREAK, "xx", [None, None]),
    (STREAK, "xxx", [None, None, "3 failures in a row"]),
    (STREAK, "xx.xx", [None] * 4),
    (STREAK, "xx.xxx", [None] * 4 + ["3 failures in a row"]),
    (RATE, "xxx", [None] * 3),
    (RATE, "xxxx", [None] * 3 + ["4 of 4 requests failed"]),
    (RATE, "x.x.x.", [None, None, "3 of 5 requests failed"]),
    (RATE, "x...x...x.", [None] * 3),  # fewer than half
    (RATE, "......x.x.", [None, None]),  # what was before the first failure is not in the window
    (RATE, "x.x" + "." * 9 + "x.x.x", [None] * 4 + ["3 of 5 requests failed"]),  # a new window
    (Passive(failures=None, error_rate=None), "x" * 50, [None] * 50),
]


@pytest.mark.parametrize(("rules", "story", "expected"), TABLE)
def test_table(rules, story, expected):
    assert play(rules, story) == expected


def test_the_first_failure_is_enough_where_that_was_asked_for():
    assert play(Passive(failures=1), "x") == ["1 failures in a row"]


def test_requests_that_are_out_are_no_failures():
    outlier = Outlier(RATE)
    assert [outlier.failed(0.0, 20) for _ in range(3)] == [None] * 3
    assert outlier.failed(0.0, 27) is not None  # 4 of 8: those since the window began
    other = Outlier(RATE)
    assert [other.failed(0.0, 20 + 4 * at) for at in range(4)] == [None] * 4


def test_each_ejection_is_twice_as_long_up_to_a_bound():
    outlier = Outlier(Passive(eject=10.0, eject_most=60.0))
    now = 0.0
    for seconds in (10, 20, 40, 60, 60):
        assert outlier.eject(now) == seconds
        assert outlier.left(now) == seconds
        assert outlier.left(now + seconds + 1) == 0
        now += seconds


@pytest.mark.parametrize(("well", "seconds"), [(19.0, 20.0), (20.0, 20.0), (20.1, 10.0)])
def test_who_was_well_for_twice_that_time_begins_anew(well, seconds):
    outlier = Outlier(Passive(eject=10.0))
    outlier.eject(0.0)
    outlier.returned(12.0)
    assert outlier.eject(12.0 + well) == seconds


def test_never_overflows():
    outlier = Outlier(Passive(eject=1.0, eject_most=300.0))
    now = 0.0
    for _ in range(5000):
        now += outlier.eject(now)
    assert outlier.eject(now) == 300.0


def test_what_was_counted_before_an_ejection_is_forgotten():
    outlier = Outlier(STREAK)
    assert [outlier.failed(0.0, at) for at in (1, 2)] == [None, None]
    outlier.eject(0.0)
    outlier.failed(1.0, 3)
    outlier.returned(10.0)
    assert [outlier.failed(10.0, at) for at in (4, 5)] == [None, None]
    assert outlier.failed(10.0, 6) is not None


@given(
    failures=st.none() | st.integers(1, 6),
    rate=st.none() | st.sampled_from([0.1, 0.5, 1.0]),
    minimum=st.integers(1, 8),
    story=st.lists(st.tuples(st.sampled_from("x.o"), st.sampled_from([0.0, 0.5, 3.0, 20.0])), max_size=60),
)
def test_model(failures, rate, minimum, story):
    """Against all that ever happened, counted anew for each failure; ``o`` is sent and never answered."""
    outlier = Outlier(Passive(failures=failures, error_rate=rate, minimum=minimum, window=10.0))
    now, streak = 0.0, 0
    began, window = None, []
    for asked, (word, seconds) in enumerate(story, 1):
        now += seconds
        if began is not None:
            window.append(word)
        if word == ".":
            streak = outlier.streak = 0
        elif word == "x":
            if began is None or now - began > 10.0:
                began, window = now, ["x"]
            streak += 1
            bad = window.count("x")
            rated = rate is not None and len(window) >= minimum and bad >= rate * len(window)
            reason = outlier.failed(now, asked)
            assert (reason is not None) == ((failures is not None and streak >= failures) or rated)
            if reason is not None:
                outlier.eject(now)
                began, window, streak = None, [], 0
