"""Caps against a count by hand."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis.strategies import integers, lists, none, sampled_from, tuples

from revproxy.limits.caps import ADDRESS, ALL, Cap

ADDRESSES = sampled_from(["a", "b", "c"])
LIMIT = none() | integers(1, 4)


@given(LIMIT, LIMIT, lists(tuples(sampled_from(["in", "out"]), ADDRESSES), max_size=60))
def test_never_more_than_may_be_and_nothing_is_left(
    most: int | None, each: int | None, steps: list[tuple[str, str]]
) -> None:
    cap = Cap(most, each)
    there: Counter[str] = Counter()
    for step, address in steps:
        if step == "in":
            full = most is not None and there.total() >= most
            full_for = each is not None and there[address] >= each
            word = cap.take(address)
            assert word == (ALL if full else ADDRESS if full_for else "")
            there[address] += not word
        elif there[address]:
            cap.give_back(address)
            there[address] -= 1
        assert cap.under_way == there.total()
    for address in there.elements():
        cap.give_back(address)
    assert (cap.under_way, cap.addresses) == (0, 0)
