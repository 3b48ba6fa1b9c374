"""Draws by weight."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from revproxy.upstream.balance import Chance
from revproxy.upstream.balance.chance import Lots, drawn
from tests.upstream.balance.kit import Asked, group, make, shares


@pytest.mark.parametrize("weights", [(1, 1), (1, 1, 1), (5, 1, 1), (1, 2, 3, 4), (1000, 1), (2**31, 2**31)])
def test_shares_are_weights(weights):
    backends = group(*weights)
    found = shares(make("random"), backends, 10_000)
    for backend in backends:
        assert found[backend.name] == pytest.approx(backend.full_weight / sum(weights), abs=0.015)


@pytest.mark.parametrize("warm", [(0.1, 1.0, 1.0), (0.01, 0.01, 0.02), (1.0, 0.5, 0.25)])
def test_shares_of_a_slow_start(warm):
    backends = group(2, 3, 1)
    for backend, part in zip(backends, warm, strict=True):
        backend.weight *= part
    total = sum(backend.weight for backend in backends)
    found = shares(make("random"), backends, 10_000)
    for backend in backends:
        assert found[backend.name] == pytest.approx(backend.weight / total, abs=0.015)


def test_among_what_was_not_tried():
    backends = group(1, 5, 2, 2)
    balancer = make("random")
    found = Counter(balancer.pick(backends, Asked(), backends[1:2]).name for _ in range(5000))
    assert found["a"] / 5000 == pytest.approx(1 / 5, abs=0.02) and not found["b"]


@pytest.mark.parametrize("part", [1.0, 0.3])
def test_two_are_different_and_the_second_goes_by_the_weights_of_the_rest(part):
    backends = group(6, 3, 1)
    backends[0].weight *= part
    lots = Lots(random.Random(1))
    found = Counter("".join(one.name for one in lots.two(backends)) for _ in range(20_000))
    weight = {backend.name: backend.weight for backend in backends}
    total = sum(weight.values())
    assert set(found) == {"ab", "ac", "ba", "bc", "ca", "cb"}
    for (first, second), count in found.items():
        expected = weight[first] / total * weight[second] / (total - weight[first])
        assert count / 20_000 == pytest.approx(expected, abs=0.012)


class Highest(random.Random):
    """Chance at its upper end, where sums of floats round up."""

    def random(self) -> float:
        return 1 - 2**-53


@pytest.mark.parametrize("weights", [(1, 1), (3, 7, 2), (2**31, 1, 1), (3, 1), (1, 1, 2**31)])
def test_the_end_of_the_range(weights):
    backends = group(*weights)
    lots = Lots(Highest())
    assert lots.one(backends) is backends[-1]
    first, second = lots.two(backends)
    assert first is backends[-1] and second is not first
    assert drawn(backends, Highest()) is backends[-1]


def test_groups_of_the_past_are_let_go():
    lots = Lots(random.Random(1))
    for number in range(50):
        lots.one(group(1, number + 1))
    assert len(lots._groups) <= 4


def test_a_group_like_another_is_another():
    balancer = Chance(random.Random(1))
    assert shares(balancer, group(1, 1), 1000)["a"] < 0.6
    assert shares(balancer, group(9, 1), 1000)["a"] > 0.8
