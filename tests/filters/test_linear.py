"""Patterns that are let through take bounded time at each byte; others are refused with the reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from revproxy.filters import linear
from revproxy.filters.linear import NotLinear, compile_pattern, cost, literals
from revproxy.filters.rules import RULES, Rule


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a*b", "a repetition without a bound"),
        ("(a+)+$", "a repetition without a bound"),
        ("(?:a{0,9}){0,9}", "repeats what may be empty"),
        (r"(a)\1", "refers back"),
        ("a(?=b)", "looks ahead or behind"),
        ("(?<!a)b", "looks ahead or behind"),
        ("(?:a|ab|aba){1,30}c", "steps at each byte"),
        ("[ab]{1,60}[ab]{1,60}[ab]{1,60}c", "steps at each byte"),
        ("^[ab]{1,90}[ab]{1,90}[ab]{1,90}c", "steps for a text"),
        ("(", "missing"),
        ("(?m)a", "flags"),
        ("(?s:a)", "flags"),
        ("é", "beyond ASCII"),
        ("[[:digit:]]-leak", 'write its characters, such as "[0-9]"'),
        ("[a[:^space:]]", "class of POSIX"),
        ("a" * 3000, "longer than"),
    ],
)
def test_what_may_take_long_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(NotLinear, match=re.escape(why)):
        compile_pattern(pattern, engine="re")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("union (?:all )?select", b"1 union all select 2"),
        (r"^/old(?:/|$)", b"/old/x"),
        (r"[^ ]{1,80}=[0-9]{1,8}\b", b"a=5"),
        ("a.{0,50}b", b"a---b"),
        ("(?i)AbC", b"xaBc"),
        (r"\x00\xff", b"\x00\xff"),
    ],
)
@pytest.mark.parametrize("engine", ["re", "re2"])
def test_what_is_bounded_matches_in_both_engines(pattern: str, text: bytes, engine: str) -> None:
    matcher = compile_pattern(pattern, engine=engine)
    assert matcher.search(text) and not matcher.search(b"-")


def test_re2_takes_repetitions_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_pattern("a.*b", engine="re2").search(b"a--b")
    with pytest.raises(NotLinear):
        compile_pattern(r"(a)\1", engine="re2")
    monkeypatch.setattr(linear, "re2", None)
    with pytest.raises(NotLinear):
        compile_pattern("a.*b")


@pytest.mark.parametrize("engine", ["re", "re2"])
def test_case_is_ignored_where_asked(engine: str) -> None:
    assert compile_pattern("Abc", ignore_case=True, engine=engine).search(b"aBC")
    assert not compile_pattern("Abc", engine=engine).search(b"aBC")


def test_what_follows_a_repetition_counts() -> None:
    """Where what follows can't begin with what is repeated, nothing is tried again."""
    apart, alike = cost("[a-z]{1,50}=[a-z]{1,50}!"), cost("[a-z]{1,50}a[a-z]{1,50}!")
    assert apart.steps < 250 < 2000 < alike.steps
    assert cost("[a-z]{0,9}|[a-z]{0,9}x", ignore_case=True).first & 1 << ord("A")
    assert cost("^[ab]{1,50}[ab]{1,50}c").steps == 1


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("cheap {1,5}pills", ("cheap",)),
        ("^/export\\.(?:php|cgi)$", ("/export.",)),
        ("Needle", ("needle",)),
        ("(?:ab|c[0-9])x", ("ab", "c")),
        ("(?:ab|[0-9])x", ("x",)),
        ("(?:abc){1,3}d?", ("abc",)),
        ("a\\bcd", ("acd",)),
        ("\\xc9A", ("\xc9a",)),
        ("[ab]{2}", ()),
        ("(?:abc)?", ()),
        ("a*", ()),
        ("(?P<x>a", ()),
    ],
)
def test_literals_that_every_match_has(pattern: str, texts: tuple[str, ...]) -> None:
    assert literals(pattern) == texts


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("rule", RULES[::4], ids=lambda rule: str(rule.id))
def test_every_match_has_one_of_its_literals(rule: Rule, data: st.DataObject) -> None:
    found = literals(rule.pattern)
    raw = re.compile(rule.pattern.encode())
    text = raw.search(data.draw(st.from_regex(raw)))
    assert text is not None
    assert not found or any(each.encode("latin-1") in text[0].lower() for each in found)


@pytest.mark.parametrize("pattern", ["[[:digit:]]-leak", "[^[:space:]a]b]c", r"\pL{2}-leak", r"\Q[a]\E-leak"])
def test_what_only_re2_reads_needs_no_text(pattern: str) -> None:
    assert literals(pattern) == ()
    assert compile_pattern(pattern, engine="re2")


@pytest.mark.parametrize("engine", ["re", "re2"])
def test_an_end_is_that_of_the_text(engine: str) -> None:
    matcher = compile_pattern(r"secret$|[$]x|\$y|[]$]z|[^]$]w", engine=engine)
    texts = (b"secret", b"secret\n", b"$x", b"$y", b"]z", b"]w", b"$w", b"-w")
    assert [text for text in texts if matcher.search(text)] == [b"secret", b"$x", b"$y", b"]z", b"-w"]
