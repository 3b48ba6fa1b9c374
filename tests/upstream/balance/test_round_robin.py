"""Turns, by weight."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, strategies as st

from revproxy.upstream.balance import RoundRobin
from tests.upstream.balance.kit import group, names


def test_in_turn():
    assert names(RoundRobin(), group(1, 1, 1), 7) == "abcabca"


def test_heavy_ones_come_more_often_and_not_in_a_row():
    assert names(RoundRobin(), group(5, 1, 1), 7) == "aabacaa"


def test_what_was_tried_is_left_out():
    backends = group(1, 1, 1)
    assert names(RoundRobin(), backends, 4, backends[:1]) == "bcbc"


def test_groups_that_alternate_leave_nobody_out():
    backends = group(1, 1, 1)
    balancer = RoundRobin()
    picked = "".join(names(balancer, part, 1) for part in (backends, backends[1:]) * 30)
    found = Counter(picked)
    assert set(found) == set("abc") and min(found.values()) >= 10


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 3))
def test_each_gets_its_share_in_every_round(weights, rounds):
    backends = group(*weights)
    picked = Counter(names(RoundRobin(), backends, sum(weights) * rounds))
    assert picked == {backend.name: backend.full_weight * rounds for backend in backends}


def test_a_slow_start_gets_more_bit_by_bit():
    backends = group(1, 1)
    balancer = RoundRobin()
    counts = []
    for weight in (0.1, 0.5, 1.0):
        backends[1].weight = weight
        counts.append(names(balancer, backends, 220).count("b"))
    assert counts == [20, 73, 110]
