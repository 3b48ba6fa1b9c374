"""RateLimit-Policy and RateLimit."""

from __future__ import annotations

from revproxy.http.message import field
from revproxy.limits.gcra import whole
from revproxy.limits.ratefields import Fields, Policy, fields_of, pairs_of

FIELDS = Fields([Policy("burst", 100, 60), Policy("daily", 1000, 86400)])


def values(*numbers: int | None) -> list[tuple[bytes, bytes]]:
    return [f[:2] for f in fields_of(FIELDS.told(numbers))]


def test_both_are_lists_of_strings_with_parameters() -> None:
    assert values(50, 30, 999, 86400) == [
        (b"ratelimit-policy", b'"burst";q=100;w=60, "daily";q=1000;w=86400'),
        (b"ratelimit", b'"burst";r=50;t=30, "daily";r=999;t=86400'),
    ]


def test_a_limit_that_does_not_count_a_request_is_left_out() -> None:
    assert values(None, None, 0, 1) == [
        (b"ratelimit-policy", b'"daily";q=1000;w=86400'),
        (b"ratelimit", b'"daily";r=0;t=1'),
    ]
    assert FIELDS.told((None,) * 4) == b""


def test_fields_are_made_once_for_their_numbers_and_not_without_bound() -> None:
    fields = Fields([Policy("a", 1, 1)])
    first = fields.told((1, 1))
    assert fields.told((1, 1)) is first
    for n in range(5000):
        fields.told((n, 1))
    assert len(fields.known) <= 2048


def test_seconds_are_rounded_up_but_for_rounding_itself() -> None:
    assert [whole(x) for x in (0.0, 1e-9, 0.01, 1.0, 1.0000000001, 1.01, 359.9999)] == [0, 0, 1, 1, 1, 2, 360]


def test_they_are_lines_fields_and_pairs_alike() -> None:
    lines = FIELDS.told((1, 2, None, None))
    assert lines == b'RateLimit-Policy: "burst";q=100;w=60\r\nRateLimit: "burst";r=1;t=2\r\n'
    assert fields_of(lines) == [
        field(b"RateLimit-Policy", b'"burst";q=100;w=60'),
        field(b"RateLimit", b'"burst";r=1;t=2'),
    ]
    pairs = pairs_of(lines)
    assert pairs == [(b"ratelimit-policy", b'"burst";q=100;w=60', False), (b"ratelimit", b'"burst";r=1;t=2', False)]
    assert pairs_of(b"".join([lines])) is pairs, "HPACK knows lists that come again"


def test_the_fields_of_two_sets() -> None:
    both = FIELDS.told((1, 2, None, None)) + FIELDS.told((None, None, 3, 4))
    assert [f[1] for f in fields_of(both)] == [
        b'"burst";q=100;w=60',
        b'"burst";r=1;t=2',
        b'"daily";q=1000;w=86400',
        b'"daily";r=3;t=4',
    ]
