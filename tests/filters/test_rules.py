"""The built-in rules: what they find in the samples, what they let pass, and that each is linear."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from revproxy.filters.engine import RuleSet
from revproxy.filters.linear import ONCE, STEPS, compile_pattern, cost
from revproxy.filters.rules import OWN, PLACES, RULES, Rule
from tests.filters.kit import judge, samples

ENGINES = ("re", "re2")
THRESHOLD = 5


def rates(rules: RuleSet, suffix: str) -> tuple[float, float]:
    """The detection rate and the false-positive rate, in percent; printed with what is wrong."""
    found = []
    for name in ("attack", "benign"):
        lines = samples(name + suffix)
        stopped = [line for line in lines if judge(rules, line).score >= THRESHOLD]
        wrong = set(lines) - set(stopped) if name == "attack" else set(stopped)
        found.append(100 * len(stopped) / len(lines))
        print(
            f"{name}{suffix}: {len(stopped)} of {len(lines)} stopped ({found[-1]:.2f} %), {len(wrong)} wrongly judged"
        )
    return found[0], found[1]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("suffix", ["", "-held-out"])
def test_attacks_are_found_and_harmless_requests_pass(engine: str, suffix: str) -> None:
    detection, false_positives = rates(RuleSet(engine=engine), suffix)
    assert detection >= 95 and false_positives <= 1


def test_there_are_enough_samples() -> None:
    for name in ("attack", "benign"):
        tuned, held_out = samples(name), samples(f"{name}-held-out")
        assert len(tuned) + len(held_out) >= 400 and 2 * len(held_out) >= len(tuned) - 2
        assert not set(tuned) & set(held_out)


def test_the_engines_agree() -> None:
    backtracking, linear = RuleSet(engine="re"), RuleSet(engine="re2")
    for line in (*samples("attack"), *samples("benign")):
        assert judge(backtracking, line).hits.keys() == judge(linear, line).hits.keys(), line


def test_most_rules_find_a_sample() -> None:
    rules = RuleSet(level=2)
    found = {number for line in (*samples("attack"), *samples("attack-held-out")) for number in judge(rules, line).hits}
    never = {rule.id for rule in RULES} - found
    assert len(never) <= len(RULES) // 8, sorted(never)


def test_numbers_are_told_apart() -> None:
    numbers = [rule.id for rule in RULES]
    assert len(set(numbers)) == len(numbers) and max(numbers) < OWN
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.places and rule.places < 1 << len(PLACES) for rule in RULES)


def test_literals_are_in_lower_case() -> None:
    assert all(need.encode("latin-1") == need.encode("latin-1").lower() for rule in RULES for need in rule.needs)


# -- linear time


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.id))
def test_a_bound_is_proven(rule: Rule) -> None:
    found = cost(rule.pattern)
    assert found.steps <= STEPS and found.once <= ONCE


def hostile(rule: Rule) -> list[bytes]:
    """Texts that begin to match again and again: the rule's literals and pieces of its pattern, repeated."""
    pieces = re.findall(r"[a-z0-9_ ./'\"(<{$-]{2,}", rule.pattern)[:12]
    return (
        [need.encode("latin-1") for need in rule.needs[:12]]
        + [piece.encode() for piece in pieces]
        + [b" ", b"'", b"a", b"("]
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.id))
def test_time_grows_with_the_text_only(rule: Rule) -> None:
    """Eight times the text takes some eight times as long: far from the 64 times of quadratic growth."""
    matcher = compile_pattern(rule.pattern, engine="re")

    def took(text: bytes) -> float:
        best = 1.0
        for _ in range(3):
            before = time.process_time()
            matcher.search(text)
            best = min(best, time.process_time() - before)
        return best

    for piece in hostile(rule):
        short, long = (piece * (size // len(piece)) for size in (2_000, 16_000))
        before = time.process_time()
        found = matcher.search(long)
        if found is None and time.process_time() - before > 30 * 0.0005:  # else it is below the bound, whatever it is
            assert took(long) < 30 * max(took(short), 0.0005), piece


def test_the_measure_would_notice() -> None:
    quadratic = re.compile(rb"a[^b]*b")
    before = time.process_time()
    quadratic.search(b"a" * 2_000)
    short = time.process_time() - before
    before = time.process_time()
    quadratic.search(b"a" * 16_000)
    assert time.process_time() - before > 30 * short


# -- the literals that say whether a rule is tried


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.id))
def test_every_match_has_a_needed_literal(rule: Rule, data: st.DataObject) -> None:
    # drawn for every pattern as a whole; what stands around a match is not drawn
    text = data.draw(st.from_regex(re.compile(rule.pattern.encode()), fullmatch=False))
    found = re.search(rule.pattern.encode(), text)
    assert found is not None
    assert not rule.needs or any(need.encode("latin-1") in text for need in rule.needs), found[0]
