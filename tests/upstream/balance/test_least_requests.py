"""The least to do."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from revproxy.upstream.balance import LeastRequests
from tests.upstream.balance.kit import group, names


@pytest.mark.parametrize(
    ("weights", "active", "picked"),
    [
        ((1, 1, 1), (2, 0, 1), "b"),
        ((1, 1, 1), (2, 2, 1), "c"),
        ((4, 1), (2, 0), "a"),  # 3/4 before 1
        ((4, 1), (4, 0), "b"),  # 1 before 5/4
        ((4, 1), (3, 0), "a"),  # equal: the first of them
        ((1, 8, 8), (0, 7, 6), "c"),
    ],
)
def test_the_least_for_its_weight(weights, active, picked):
    backends = group(*weights)
    for backend, requests in zip(backends, active, strict=True):
        backend.active = requests
    assert names(LeastRequests(), backends, 1) == picked


def test_equals_take_turns():
    assert names(LeastRequests(), group(1, 1, 1), 7) == "abcabca"


def test_some_that_are_equal_take_turns_fairly():
    backends = group(1, 1, 1, 1)
    backends[0].active = backends[2].active = 1
    assert names(LeastRequests(), backends, 6) == "bdbdbd"


def test_weights_count_while_they_grow():
    backends = group(1, 1)
    backends[0].active = 3
    backends[1].weight = 0.2
    assert names(LeastRequests(), backends, 3, held=True) == "aba"


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 5))
def test_requests_in_flight_follow_the_weights(weights, rounds):
    backends = group(*weights)
    picked = Counter(names(LeastRequests(), backends, sum(weights) * rounds, held=True))
    assert picked == {backend.name: backend.full_weight * rounds for backend in backends}
