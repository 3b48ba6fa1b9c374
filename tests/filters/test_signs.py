"""The first look at a text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from revproxy.filters.decode import folded
from revproxy.filters.rules import COOKIES, PATH, QUERY, RULES
from revproxy.filters.signs import Signs, rarest

NEEDS = sorted({need for rule in RULES for need in rule.needs})
LITERALS = {need for rule in RULES if rule.places & (PATH | QUERY | COOKIES) for need in rule.needs}
SIGNS = Signs(LITERALS)


def test_the_rarest_character_stands_for_a_literal() -> None:
    assert [rarest(each) for each in ("../", "/.env", " or", "sqlmap", "a%b/")] == [".", ".", " ", "", "%"]


@pytest.mark.parametrize("need", NEEDS)
def test_every_literal_is_seen(need: str) -> None:
    signs, raw = Signs([need]), need.encode("latin-1")
    for text in (raw, b"xyz" + raw, raw + b"7", b"= " + raw + b"=,"):
        assert signs.seen(text)
    if not folded(raw[1:]):
        assert not signs.seen(raw[1:]) and (folded(raw[:-1]) or not signs.seen(raw[:-1]))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([need.encode("latin-1") for need in NEEDS]),
            st.sampled_from([need[:-1].encode("latin-1") for need in NEEDS]),
            st.sampled_from([need[1:].encode("latin-1") for need in NEEDS]),
            st.binary(max_size=3).map(bytes.lower),
        ),
        max_size=6,
    ).map(b"".join)
)
def test_it_sees_what_asking_for_each_finds(text: bytes) -> None:
    assert SIGNS.seen(text) == (folded(text) or any(each.encode("latin-1") in text for each in LITERALS))
