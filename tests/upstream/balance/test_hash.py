"""Equal keys to the same backend."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from revproxy.upstream.balance import Hash
from revproxy.upstream.balance.hash import MOST, MOST_TOGETHER, POINTS, points_of
from tests.upstream.balance.kit import Asked, One

KEYS = [b"192.0.2.%d:%d" % (number % 256, number) for number in range(10_000)]


def servers(count, weight=1):
    return tuple(One(f"tcp:10.0.0.{number}:9000", weight) for number in range(count))


def ring(load=None, heaviest=1):
    return Hash(lambda exchange: exchange.key, load, heaviest)


def owners(balancer, backends, keys=KEYS):
    asked = Asked()
    found = []
    for key in keys:
        asked.key = key
        found.append(balancer.pick(backends, asked).name)
    return found


@pytest.mark.parametrize("count", [2, 3, 5, 10, 30])
@pytest.mark.parametrize("weight", [1, 100])
def test_only_keys_of_the_one_that_goes_move(count, weight):
    backends = servers(count, weight)
    balancer = ring(heaviest=weight)
    before = owners(balancer, backends)
    for gone in (backends[0], backends[count // 2]):
        after = owners(balancer, tuple(backend for backend in backends if backend is not gone))
        moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        assert all(old == gone.name for old, _ in moved)
        assert 0 < len(moved) / len(KEYS) <= 1 / count + 0.05


def test_the_heaviest_one_goes_and_only_its_keys_move():
    backends = (One("a", 1000), One("b", 10), One("c", 20))
    balancer = ring()  # nothing known of the weights: they were discovered
    before = owners(balancer, backends)
    after = owners(balancer, backends[1:])
    assert all(old == "a" for old, new in zip(before, after, strict=True) if old != new)
    assert "b" in before and "c" in before


def test_a_weight_that_is_raised_draws_keys_and_moves_no_others():
    backends = servers(5)
    balancer = ring()
    before = owners(balancer, backends)
    backends[2].full_weight = backends[2].weight = 2
    after = owners(balancer, (*backends,))
    again = owners(balancer, backends)
    moved = {new for old, new in zip(before, after, strict=True) if old != new}
    assert moved == {backends[2].name}
    assert Counter(after)[backends[2].name] > 1.5 * Counter(before)[backends[2].name]
    assert again == before  # the same tuple: what was kept about it


def test_shares_of_ten(capsys):
    found = Counter(owners(ring(), servers(10)))
    shares = sorted(count / len(KEYS) for count in found.values())
    with capsys.disabled():
        print(f"\nhash, 10 backends, {len(KEYS)} keys: shares {' '.join(f'{share:.1%}' for share in shares)}")
    assert len(shares) == 10
    assert shares[0] > 0.075 and shares[-1] < 0.125


@pytest.mark.parametrize("weights", [(1, 2, 4), (100, 200, 400), (3, 1, 1, 1)])
def test_shares_are_weights(weights):
    backends = tuple(One(f"tcp:10.0.1.{at}:80", weight) for at, weight in enumerate(weights))
    found = Counter(owners(ring(heaviest=max(weights)), backends))
    for backend in backends:
        assert found[backend.name] / len(KEYS) == pytest.approx(backend.full_weight / sum(weights), rel=0.25)


def test_another_process_agrees():
    backends = servers(7)
    assert owners(ring(), backends, KEYS[:500]) == owners(ring(), backends[::-1], KEYS[:500])


def test_without_a_key_in_turn():
    backends = servers(3)
    balancer = ring(1.25)
    picked = [balancer.pick(backends, asked) for asked in (Asked(), None, Asked(), Asked())]
    assert picked == [*backends, backends[0]]
    assert Hash(None).pick(servers(2), Asked(0.0, b"k")).name == backends[0].name


def test_a_try_that_failed_goes_to_the_next_on_the_ring():
    backends = servers(6)
    balancer = ring(1.25)
    for key in KEYS[:200]:
        asked = Asked(0.0, key)
        owner = balancer.pick(backends, asked)
        second = balancer.pick(backends, asked, (owner,))
        rest = tuple(backend for backend in backends if backend is not owner)
        assert second is balancer.pick(rest, asked)


# -- bounded load


@pytest.mark.parametrize("load", [1.0, 1.25, 2.0])
@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 3)])
def test_one_hot_key_fills_nobody_above_the_bound(load, weights):
    backends = tuple(One(f"tcp:10.0.1.{at}:80", weight) for at, weight in enumerate(weights))
    balancer = ring(load)
    for sent in range(1, 301):
        picked = balancer.pick(backends, Asked(0.0, b"hot"))
        picked.active += 1
        # at most the share of what is in flight, rounded up
        assert picked.active < load * sent * picked.weight / sum(weights) + 1


def test_a_load_below_the_bound_moves_no_key():
    backends = servers(4)
    balancer = ring(1.5)
    before = owners(balancer, backends, KEYS[:500])
    for backend in backends:
        backend.active = 10
    assert owners(balancer, backends, KEYS[:500]) == before


def test_without_a_bound_all_go_to_the_owner():
    backends = servers(4)
    balancer = ring()
    for _ in range(100):
        balancer.pick(backends, Asked(0.0, b"hot")).active += 1
    assert sorted(backend.active for backend in backends) == [0, 0, 0, 100]


def test_a_slow_start_has_room_for_less():
    backends = servers(2)
    balancer = ring(1.0)
    backends[0].weight = 0.1
    for key in KEYS[:110]:
        balancer.pick(backends, Asked(0.0, key)).active += 1
    assert 5 <= backends[0].active <= 11


def test_when_nobody_left_has_room_somebody_is_picked_all_the_same():
    backends = servers(3)
    balancer = ring(1.0)
    backends[1].active = backends[2].active = 50
    trace = []
    picked = balancer.pick(backends, Asked(0.0, b"k"), backends[:1], trace)
    assert picked in backends[1:]
    assert any("was tried" in line for line in trace) and sum("in flight" in line for line in trace) == 2


# -- what is kept


def test_points_of_large_weights_are_bounded():
    backends = (One("a", 2**31), One("b", 2**30), One("c", 1))
    balancer = ring(heaviest=2**31)
    found = Counter(owners(balancer, backends))
    assert len(balancer._owners) <= MOST * 2
    assert found["a"] > found["b"] * 1.5


def test_points_of_large_groups_are_bounded():
    balancer = ring()
    for weight in (1, 100):
        backends = servers(600, weight)
        before = owners(balancer, backends, KEYS[:300])
        assert len(balancer._rings[id(backends)][1]) <= MOST_TOGETHER
        after = owners(balancer, backends[:-300], KEYS[:300])  # not so large any more, and no other keys move
        gone = {backend.name for backend in backends[-300:]}
        assert all(old in gone for old, new in zip(before, after, strict=True) if old != new)


def test_a_weight_of_one_has_its_points():
    balancer = ring()
    balancer.pick(servers(10), Asked(0.0, b"k"))
    assert len(balancer._owners) == 10 * POINTS


@given(st.text(), st.integers(1, 700), st.integers(1, 700))
def test_fewer_points_are_a_part_of_more(name, one, other):
    few, many = sorted((one, other))
    assert set(points_of(name, few)) <= set(points_of(name, many))
    assert len(points_of(name, many)) == many


def test_names_that_come_and_go_are_forgotten():
    balancer = ring()
    for number in range(200):
        balancer.pick((One(f"pod-{number}"), One(f"pod-{number + 1}")), Asked(0.0, b"k"))
    assert len(balancer._rings) <= 4
    assert len(balancer._points) <= 20 and len(balancer._owners) <= 20 * POINTS


def test_a_ring_of_before_still_works_when_names_are_forgotten():
    balancer = ring()
    heavy = (One("a", 8), One("b", 8))
    before = owners(balancer, heavy, KEYS[:2000])
    light = (One("a", 1), One("b", 1))
    for number in range(2):
        balancer.pick((*light, One(f"pod-{number}")), Asked(0.0, b"k"))
    for number in range(20):
        balancer._forget({f"pod-{number}"})
    assert owners(balancer, heavy, KEYS[:2000]) == before
