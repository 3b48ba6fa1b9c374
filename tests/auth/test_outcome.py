"""What comes of a look at credentials: claims as texts, and which of several refusals is told."""

from __future__ import annotations

import pytest

from revproxy.auth.outcome import ANSWERED, BROKEN, FORBIDDEN, MISSING, WRONG, Identity, Refusal, merged, most_telling
from revproxy.fault import AUTH_FORBIDDEN, AUTH_MISSING


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s", b"x"),
        ("n", b"7"),
        ("t", b"true"),
        ("l", b"a,1,false"),
        ("d", b'{"x": {"y": "z"}}'),
        ("d.x.y", b"z"),
        ("d.x.none", b""),
        ("s.x", b""),
        ("https://e/roles", b"r"),
        ("mixed", b'["a", ["b"]]'),
        ("null", b""),
        ("none", b""),
    ],
)
def test_claims_are_texts(name, text):
    claims = {"s": "x", "n": 7, "t": True, "l": ["a", 1, False], "d": {"x": {"y": "z"}}, "https://e/roles": ["r"],
              "mixed": ["a", ["b"]], "null": None}  # fmt: skip
    assert Identity(b"u", "jwt", claims).claim(name) == text


def test_the_refusal_that_says_most_is_told():
    by_rank = [Refusal(rank, AUTH_MISSING) for rank in (MISSING, WRONG, FORBIDDEN, BROKEN, ANSWERED)]
    for number in range(1, 6):
        assert most_telling(by_rank[:number]) is by_rank[number - 1]
        assert most_telling(by_rank[:number][::-1]) is by_rank[number - 1]


def test_of_two_that_say_as_much_it_is_one_that_can_be_met():
    certificate = Refusal(MISSING, AUTH_FORBIDDEN)
    password = Refusal(MISSING, AUTH_MISSING, challenge=b"Basic")
    assert most_telling([certificate, password]) is password


def test_several_together_are_one():
    one = Identity(b"host", "client_certificate")
    two = Identity(b"alice", "jwt", {"a": 1}, ((b"x", b"1", b"X: 1", 0),))
    both = merged([one, two])
    assert (both.user, both.method, both.claims, both.fields) == (
        b"alice",
        "client_certificate+jwt",
        {"a": 1},
        two.fields,
    )
    assert merged([two, Identity(b"", "forward")]).user == b"alice"
    assert merged([two]) is two


@pytest.mark.parametrize(
    "value",
    ["a\r\nX: 1", "ad\0min", "admin\x7f", " admin", "admin ", "\tadmin", ["x,admin"], ["x", " admin"], ["x\n", "y"]],
)
def test_a_claim_that_no_field_carries_as_it_is_tells_nothing(value):
    assert Identity(b"u", "jwt", {"c": value}).claim("c") == b""
