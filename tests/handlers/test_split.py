"""Requests shared out to several handlers."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from attrs import define
from hypothesis import given, strategies as st

from revproxy.config.model import Split as Written
from revproxy.handlers.split import Split
from tests.kit import ADDRESS, OK, SECOND, get, toml

KEYS = [b"user-%d" % number for number in range(5000)]


@define
class Asked:
    key: bytes | None = None


@define
class Handler:
    started: list

    def start(self, exchange):
        self.started.append(exchange)


def split(weights, keyed=True, seed=1):
    handlers = {name: Handler([]) for name in weights}
    key = (lambda exchange: exchange.key) if keyed else None
    return Split(Written(upstreams=weights), handlers, key, random.Random(seed))


def ways(splitter, keys=KEYS):
    return [splitter.choose(Asked(key)) for key in keys]


CHANCES = [lambda number: Asked(KEYS[number]), lambda number: Asked()]


@pytest.mark.parametrize("ask", CHANCES, ids=["by key", "by chance"])
@pytest.mark.parametrize("weights", [{"a": 1, "b": 1}, {"a": 95, "b": 5}, {"a": 1, "b": 2, "c": 7}, {"a": 3, "b": 0}])
def test_shares_are_weights(weights, ask):
    splitter = split(weights)
    found = Counter(splitter.choose(ask(number)) for number in range(5000))
    for name, weight in weights.items():
        assert found[name] / 5000 == pytest.approx(weight / sum(weights.values()), abs=0.02)
        assert weight or not found[name]


def test_without_a_reader_chance_decides():
    assert len(set(ways(split({"a": 1, "b": 1}, keyed=False), [b"k"] * 50))) == 2


def test_equal_keys_go_the_same_way_in_any_order_and_process():
    found = ways(split({"a": 3, "b": 1, "c": 2}))
    assert found == ways(split({"c": 2, "b": 1, "a": 3}, seed=9))


@pytest.mark.parametrize(
    ("before", "after", "draws", "gives"),
    [
        ({"a": 95, "b": 5}, {"a": 80, "b": 20}, {"b"}, {"a"}),
        ({"a": 80, "b": 20}, {"a": 0, "b": 20}, {"b"}, {"a"}),
        ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 1}, {"a"}, {"b", "c"}),
        ({"a": 2, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}, {"b", "c"}, {"a"}),
        ({"a": 2, "b": 2, "c": 1}, {"a": 2, "b": 2, "c": 0}, {"a", "b"}, {"c"}),
        ({"a": 1, "b": 2}, {"a": 100, "b": 200}, set(), set()),
    ],
)
def test_no_more_keys_move_than_the_shares_change(before, after, draws, gives):
    splitter = split(before)
    old = ways(splitter)
    splitter.set_weights(after)
    moved = [(one, other) for one, other in zip(old, ways(splitter), strict=True) if one != other]
    assert {one for one, _ in moved} == gives
    assert {other for _, other in moved} == draws
    share = [{name: weights[name] / sum(weights.values()) for name in before} for weights in (before, after)]
    least = sum(max(share[1][name] - share[0][name], 0) for name in before)
    assert len(moved) / len(KEYS) == pytest.approx(least, abs=0.02)


def test_weights_at_run_time():
    splitter = split({"a": 9, "b": 1, "c": 0})
    splitter.set_weights({"c": 5})
    assert splitter.weights == {"a": 9, "b": 1, "c": 5}
    splitter.weights["a"] = 0  # a copy
    assert splitter.weights["a"] == 9
    splitter.set_weights({"a": 0, "b": 0})
    assert set(ways(splitter)) == {"c"}


@pytest.mark.parametrize(
    "wrong", [{"x": 1}, {"a": 1, "x": 1}, {"a": 0, "b": 0}, {"a": -1}, {"a": 0.5}, {"a": True}, {"a": "1"}, {"a": None}]
)
def test_wrong_weights_change_nothing(wrong):
    splitter = split({"a": 1, "b": 1})
    before = ways(splitter)
    with pytest.raises(ValueError):
        splitter.set_weights(wrong)
    assert splitter.weights == {"a": 1, "b": 1}
    assert ways(splitter) == before


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 2**31), min_size=1), st.binary())
def test_never_one_without_weight(weights, key):
    if not any(weights.values()):
        with pytest.raises(ValueError):
            split(weights)
        return
    splitter = split(weights)
    assert weights[splitter.choose(Asked(key))] > 0
    assert weights[splitter.choose(Asked())] > 0


def test_it_hands_over_and_says_why():
    splitter = split({"a": 1, "b": 1})
    asked, trace = Asked(b"k"), []
    name = splitter.choose(asked, trace)
    assert name in trace[0] and "by key" in trace[0] and "a=1 b=1" in trace[0]
    splitter.start(asked)
    assert splitter._handlers[name].started == [asked]


def test_on_the_wire(play):
    more = f'[upstreams.canary]\nbackends = ["{SECOND}"]'
    route = 'split = { upstreams = { app = 1, canary = 1 }, by = "cookie:sid" }'
    scenario = play(toml(route=route, more=more))
    client = scenario.client()
    asked = {}
    for sid in (b"1", b"2", b"3", b"4", b"5", b"6", b"1", b"2", b"3"):
        client.send(get(b"/", b"Cookie: sid=" + sid))
        for record in (scenario.backend(ADDRESS), scenario.backend(SECOND)):
            for connection in record.connections:
                if connection.unread:
                    connection.expect_request(b"GET", b"/")
                    connection.send(OK)
        client.expect_response(200, b"ok")
        assert asked.setdefault(sid, scenario.log[-1].backend) == scenario.log[-1].backend
    assert set(asked.values()) == {ADDRESS, SECOND}
