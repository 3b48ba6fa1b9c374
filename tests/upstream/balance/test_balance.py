"""What holds for every balancer."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings, strategies as st

from revproxy.config import model
from revproxy.upstream.balance import Chance, Hash, LeastRequests, RoundRobin, TwoChoices, balancer
from tests.examples import examples
from tests.upstream.balance.kit import KINDS, Asked, group, make, names, shares

each = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(
    ("written", "made", "latencies"),
    [
        ("round-robin", RoundRobin, False),
        ("least-requests", LeastRequests, False),
        ("two-choices", TwoChoices, True),
        ("random", Chance, False),
        ("hash", Hash, False),
    ],
)
def test_what_is_written_is_made(written, made, latencies):
    found = balancer(model.Upstream(balance=written), None, random.Random(1))
    assert type(found) is made
    assert (found.observe is not None) == latencies


def test_what_is_written_of_hashing_counts():
    hashing = model.Upstream(
        backends=(model.Backend(endpoint="a"),), balance="hash", hash=model.Hashing(by="path", load=1.0)
    )
    backends = group(1, 1)
    found = balancer(hashing, lambda exchange: exchange.key, random.Random(1))
    for _ in range(10):
        found.pick(backends, Asked(0.0, b"k")).active += 1
    assert [backend.active for backend in backends] == [5, 5]


@each
def test_one_and_none(kind):
    one = group(1)
    balancer = make(kind)
    assert names(balancer, one, 3) == "aaa"
    assert names(balancer, one, 1, one) == "-"
    assert names(balancer, (), 2) == "--"
    assert names(balancer, group(1, 1), 2, tried=()) != "--"


@each
@settings(max_examples=examples(40))
@given(data=st.data())
def test_a_pick_is_one_that_is_left_whenever_one_is(kind, data):
    balancer = make(kind, data.draw(st.integers(0, 99)))
    backends = group(*data.draw(st.lists(st.integers(1, 50), max_size=6)))
    for backend in backends:
        backend.active = data.draw(st.integers(0, 30))
        backend.ewma = data.draw(st.sampled_from([0.0, 1e-6, 0.01, 3.0]))
        backend.weight *= data.draw(st.sampled_from([1.0, 1.0, 0.5, 0.01]))
    for _ in range(3):
        tried = tuple(backend for backend in backends if data.draw(st.booleans()))
        asked = data.draw(st.sampled_from([None, Asked(), Asked(50.0, b"k"), Asked(1e9, b"")]))
        trace = data.draw(st.sampled_from([None, []]))
        picked = balancer.pick(backends, asked, tried, trace)
        if len(tried) == len(backends):
            assert picked is None
        else:
            assert picked in backends and picked not in tried


@each
def test_equal_backends_get_equal_shares(kind):
    backends = group(*[1] * 5)
    found = shares(make(kind), backends, 10_000, lambda number: Asked(0.0, b"%d" % number))
    assert all(0.15 < share < 0.25 for share in found.values()), found


@each
def test_more_weight_gets_more(kind):
    backends = group(1, 2, 4)
    found = shares(make(kind), backends, 10_000, lambda number: Asked(0.0, b"%d" % number))
    assert found["a"] <= found["b"] <= found["c"] and found["c"] > 0.5, found


@each
def test_it_says_why(kind):
    trace = []
    picked = make(kind).pick(group(1, 1, 1), Asked(0.0, b"k"), (), trace)
    assert trace and any(picked.name in line for line in trace)
