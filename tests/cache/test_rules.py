"""The compiled options of a route."""

from __future__ import annotations

import pytest

from revproxy.cache.rules import Rules, is_named, ttl_of


@pytest.mark.parametrize(
    ("ttls", "status", "seconds"),
    [
        ({404: 1, 4: 2, 0: 3}, 404, 1),
        ({404: 1, 4: 2, 0: 3}, 403, 2),
        ({404: 1, 4: 2, 0: 3}, 200, 3),
        ({4: 2}, 200, None),
    ],
)
def test_ttls(ttls, status, seconds):
    assert ttl_of(ttls, status) == seconds


def test_names():
    assert is_named(b"utm_x", (b"a", b"utm_*")) and is_named(b"a", (b"a",)) and is_named(b"x", (b"*",))
    assert not is_named(b"ab", (b"a",)) and not is_named(b"utm", (b"utm_*",)) and not is_named(b"a", ())


def test_what_is_computed():
    rules = Rules(bypass_headers=(b"X-No",), key_headers=(b"X-Key",), targeted=(b"My-CC",))
    assert b"x-no" in rules.watched and b"cookie" not in rules.watched
    assert rules.key_headers == (b"x-key",) and rules.targeted == (b"my-cc",)
    assert b"cookie" in Rules(bypass_cookies=(b"a",)).watched
    assert not rules.parses_query and Rules(query_only=()).parses_query
    with pytest.raises(AttributeError):
        rules.grace = 1
