"""S3-FIFO: who leaves first, and how often what is asked for is there."""

from __future__ import annotations

import random
from bisect import bisect
from collections import OrderedDict
from itertools import accumulate

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.fifo import LOOKS, MOST, Node, S3Fifo


class Named(Node):
    __slots__ = ("name",)

    def __init__(self, name: int, size: int = 1) -> None:
        self.name = name
        self.size = size
        self.queue = None

    def fingerprint(self) -> int:
        return hash(self.name)


def filled(count: int, budget: int = 100) -> tuple[S3Fifo[Named], list[Named]]:
    queues: S3Fifo[Named] = S3Fifo(budget)
    nodes = [Named(n) for n in range(count)]
    for node in nodes:
        queues.add(node)
    return queues, nodes


def names(queues: S3Fifo[Named]) -> list[int]:
    return [node.name for node in queues.walk()]


def test_what_was_never_hit_leaves_in_the_order_of_its_coming() -> None:
    queues, nodes = filled(20)
    assert [queues.evict() for _ in range(21)] == [*nodes, None]
    assert len(queues) == 0 and queues.small.bytes == queues.main.bytes == 0


def test_two_hits_in_the_small_queue_lead_to_the_main_queue_and_one_does_not() -> None:
    queues, nodes = filled(20)
    nodes[0].frequency = 1
    nodes[1].frequency = 2
    assert [queues.evict(), queues.evict()] == [nodes[0], nodes[2]]
    assert nodes[1].queue is queues.main and nodes[1].frequency == 0


def test_who_comes_back_soon_goes_to_the_main_queue_but_only_once() -> None:
    queues, nodes = filled(20)
    assert queues.evict() is nodes[0] and queues.evict() is nodes[1]
    back = Named(0)
    queues.add(back)
    assert back.queue is queues.main
    queues.remove(back)
    again = Named(0)
    queues.add(again)
    assert again.queue is queues.small


def in_main(*frequencies: int) -> tuple[S3Fifo[Named], list[Named]]:
    queues: S3Fifo[Named] = S3Fifo(100)
    nodes = [Named(n) for n in range(len(frequencies))]
    for node, frequency in zip(nodes, frequencies, strict=True):
        queues.main.push(node)
        node.frequency = frequency
    return queues, nodes


def test_the_main_queue_gives_a_round_for_each_hit() -> None:
    queues, _ = in_main(1, 0, 3, 0, 2)
    evicted = [queues.evict() for _ in range(5)]
    assert [node.name for node in evicted if node] == [1, 3, 0, 4, 2]


def test_one_eviction_looks_at_no_more_than_some() -> None:
    queues, nodes = in_main(*[MOST] * (LOOKS + 10))
    assert queues.evict() is nodes[LOOKS]
    assert sum(node.frequency for node in queues.walk()) == MOST * (LOOKS + 9) - LOOKS
    queues, nodes = filled(LOOKS + 20)
    for node in nodes:
        node.frequency = MOST
    assert queues.evict() is nodes[LOOKS]


def test_a_replacement_takes_over_queue_and_hits() -> None:
    queues, nodes = in_main(2, 0)
    new = Named(7)
    queues.add(new, nodes[0])
    assert new.queue is queues.main and new.frequency == 2 and nodes[0].queue is None and len(queues) == 2


def test_a_new_size_counts() -> None:
    queues, nodes = filled(3)
    queues.resize(nodes[1], 5)
    assert queues.small.bytes == 7
    queues.remove(nodes[1])
    assert queues.small.bytes == 2
    queues.resize(nodes[1], 9)
    assert queues.small.bytes == 2 and nodes[1].size == 9


def test_a_node_is_in_the_share_of_the_bytes_not_of_the_number() -> None:
    queues: S3Fifo[Named] = S3Fifo(1000)
    hot, large, small = Named(0, 50), Named(1, 200), Named(2, 1)
    queues.main.push(hot)
    hot.frequency = 0
    queues.add(large)
    queues.add(small)
    assert [queues.evict(), queues.evict(), queues.evict()] == [large, hot, small]
    queues.set_budget(0)
    assert queues.share == 0


def test_what_is_remembered_is_bounded_by_what_there_is() -> None:
    queues: S3Fifo[Named] = S3Fifo(1000)
    for n in range(5000):
        queues.add(Named(n))
        if len(queues) > 200:
            queues.evict()
        assert queues.remembered <= 200 and len(queues.ghosts) <= queues.remembered
    assert queues.remembered == 200
    for _ in range(200):
        assert queues.forget()
    assert not queues.forget() and not queues.ghosts


def test_a_walk_sees_everyone_whoever_leaves_or_moves_meanwhile() -> None:
    chance = random.Random(5)
    for _ in range(50):
        queues, nodes = filled(40, budget=40)
        for node in nodes:
            node.frequency = chance.randrange(4)
        gone, seen = set(), set()
        for node in queues.walk():
            seen.add(node.name)
            for _ in range(chance.randrange(2)):
                evicted = queues.evict()
                if evicted is not None:
                    gone.add(evicted.name)
        assert seen | gone == set(range(40))
        assert not queues._cursors


def test_a_walk_that_is_given_up_costs_nothing() -> None:
    queues, _ = filled(5)
    walk = queues.walk()
    next(walk)
    assert queues._cursors
    del walk
    assert not queues._cursors


@given(st.lists(st.tuples(st.sampled_from("ahre"), st.integers(0, 20), st.integers(1, 30)), max_size=120))
def test_rings_and_sums_stay_whole(steps: list[tuple[str, int, int]]) -> None:
    queues: S3Fifo[Named] = S3Fifo(100)
    there: dict[int, Named] = {}
    for verb, name, size in steps:
        node = there.get(name)
        if verb == "a":
            there[name] = Named(name, size)
            queues.add(there[name], node)
        elif verb == "h" and node is not None:
            node.frequency = min(MOST, node.frequency + 1)
        elif verb == "r" and node is not None:
            queues.remove(there.pop(name))
        elif verb == "e":
            evicted = queues.evict()
            assert (evicted is None) == (not there)
            if evicted is not None:
                assert there.pop(evicted.name) is evicted and evicted.queue is None
        assert sorted(names(queues)) == sorted(there) and len(queues) == len(there)
        for queue in (queues.small, queues.main):
            inside = [node for node in there.values() if node.queue is queue]
            assert queue.bytes == sum(node.size for node in inside) and queue.count == len(inside)


# -- against LRU


def requests(count: int, objects: int, alpha: float, *, scan: int, repeats: int) -> list[int]:
    """Zipf with scans over objects that are asked for this often, and by nobody again."""
    chance = random.Random(1)
    weights = list(accumulate(1 / (n + 1) ** alpha for n in range(objects)))
    found: list[int] = []
    fresh = 10**9
    while len(found) < count:
        if scan and chance.random() < 1 / 4000:
            found.extend(n for n in range(fresh, fresh + scan) for _ in range(repeats))
            fresh += scan
        found.append(bisect(weights, chance.random() * weights[-1]))
    return found


def size_of(name: int) -> int:
    return 1000 + name * 2654435761 % 2**32 % 8000


def lru_ratio(asked: list[int], budget: int) -> float:
    there: OrderedDict[int, int] = OrderedDict()
    used = hits = 0
    for name in asked:
        if name in there:
            hits += 1
            there.move_to_end(name)
            continue
        there[name] = size_of(name)
        used += size_of(name)
        while used > budget:
            used -= there.popitem(last=False)[1]
    return hits / len(asked)


def s3_ratio(asked: list[int], budget: int) -> float:
    queues: S3Fifo[Named] = S3Fifo(budget)
    there: dict[int, Named] = {}
    used = hits = 0
    for name in asked:
        node = there.get(name)
        if node is not None:
            hits += 1
            if node.frequency < MOST:
                node.frequency += 1
            continue
        used += size_of(name)
        while used > budget:
            evicted = queues.evict()
            assert evicted is not None
            used -= evicted.size
            del there[evicted.name]
        node = there[name] = Named(name, size_of(name))
        queues.add(node)
    return hits / len(asked)


@pytest.mark.parametrize(
    ("scan", "repeats", "share", "margin"),
    [(0, 1, 0.02, 0.08), (0, 1, 0.1, 0.05), (1000, 1, 0.02, 0.08), (1000, 1, 0.1, 0.08), (1000, 2, 0.1, 0.05)],
)
def test_more_is_there_than_with_lru(scan: int, repeats: int, share: float, margin: float) -> None:
    asked = requests(60_000, 8000, 0.9, scan=scan, repeats=repeats)
    budget = int(share * sum(map(size_of, range(8000))))
    lru, s3 = lru_ratio(asked, budget), s3_ratio(asked, budget)
    print(f"scans of {scan} x {repeats}, room for {share:.0%}: LRU {lru:.3f}, S3-FIFO {s3:.3f}")
    assert s3 >= lru + margin
