"""Retries never multiply an outage: the budget as a table and under any load."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.upstream.budget import SAVED, TRICKLE, Budget


class Load:
    """A budget and what its upstream was sent."""

    def __init__(self, share=0.2, live=0):
        self.budget = Budget()
        self.share = share
        self.live = live
        self.now = 0.0
        self.requests = 0
        self.retries = 0

    def ask(self):
        """A retry, when there is one: that is a request, too."""
        granted = self.budget.spend(self.share, self.now, self.requests, self.live)
        self.requests += granted
        self.retries += granted
        return granted


def exhausted(share=0.2, live=0):
    """One with nothing left but what comes."""
    load = Load(share)
    while load.ask():
        pass
    load.live = live
    load.retries = 0
    return load


def test_no_bound():
    budget = Budget()
    assert all(budget.spend(None, 0.0, 1, 1) for _ in range(10_000))


def test_an_outage_from_the_start():
    """Each request that is in flight may be tried once more, and a hundred others."""
    budget = Budget()
    assert sum(budget.spend(0.2, 0.0, 500, 50) for _ in range(1000)) == 50 + SAVED


def test_a_quiet_time_gives_a_little_each_second():
    load = exhausted(live=1)
    load.now = 5.0
    assert sum(load.ask() for _ in range(1000)) == 5 * TRICKLE
    load.now = 1e9
    assert sum(load.ask() for _ in range(1000)) == SAVED


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_its_share_of_the_requests(share):
    load = exhausted(share, live=1000)
    for _ in range(1000):
        load.requests += 1
        load.ask()
    assert load.retries == pytest.approx(1000 * share, abs=1)


def test_what_was_saved_is_bounded_by_what_is_in_flight():
    load = exhausted(live=7)
    load.requests += 1_000_000
    assert sum(load.ask() for _ in range(100)) == 7


def test_a_count_that_falls_costs_nothing_but_time():
    load = exhausted(live=10)
    load.requests += 1000
    assert load.ask()
    load.requests -= 500
    assert sum(load.ask() for _ in range(50)) == 9


def test_time_that_runs_back_gives_nothing():
    load = exhausted(live=1)
    load.now = -50.0
    assert not load.ask()


@given(
    share=st.sampled_from([0.0, 0.1, 0.2, 1.0]),
    steps=st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 60), st.integers(1, 40), st.sampled_from([0.0, 0.1, 5.0])),
        max_size=40,
    ),
)
def test_never_more_than_promised(share, steps):
    """Of any load: the share of all requests, one for each in flight, the savings and the trickle."""
    budget = Budget()
    now, first, retries, most_live = 0.0, 0, 0, 0
    for fresh, failures, live, seconds in steps:
        now += seconds
        first += fresh
        most_live = max(most_live, live)
        for _ in range(failures):
            retries += budget.spend(share, now, first + retries, live)
        assert retries <= share * first + most_live + SAVED + TRICKLE * now + 1


@given(st.lists(st.integers(0, 30), max_size=30))
def test_a_fifth_is_never_refused_to_a_load_that_is_steady(failures):
    """Whoever fails no more than one in five is always tried again, whatever failed before."""
    load = exhausted()
    for count in failures:
        load.requests += 5 * count
        load.live = count
        assert all(load.ask() for _ in range(count))
