"""Accept-Encoding as clients send it, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.coding.negotiate import LONGEST, REMEMBERED, Negotiator, choose, weights

OURS = (b"zstd", b"br", b"gzip")

TABLE: list[tuple[bytes, bytes | None]] = [
    # what browsers, libraries and tools send
    (b"gzip, deflate, br, zstd", b"zstd"),
    (b"gzip, deflate, br", b"br"),
    (b"gzip, deflate", b"gzip"),
    (b"gzip,deflate", b"gzip"),
    (b"identity", None),
    (b"", None),
    (b"deflate", None),
    (b"br;q=1.0, gzip;q=0.8, *;q=0.1", b"br"),
    # weights go before our order; equal ones by our order
    (b"gzip;q=1.0, zstd;q=0.5", b"gzip"),
    (b"gzip;q=0.5, br;q=0.5", b"br"),
    (b"gzip;q=0.501, br;q=0.5", b"gzip"),
    (b"gzip;q=0.001", b"gzip"),
    (b"gzip;q=0", None),
    (b"gzip;q=0.000, br;q=0.", None),
    (b"zstd;q=0, gzip", b"gzip"),
    # identity
    (b"identity, gzip", b"gzip"),
    (b"identity;q=1, gzip;q=0.5", None),
    (b"identity;q=0.5, gzip;q=0.4", None),
    (b"identity;q=0.5, gzip;q=0.5", b"gzip"),
    (b"identity;q=0, br", b"br"),
    (b"identity;q=0", None),
    (b"identity;q=0, deflate", None),
    # the wildcard stands for those that are not named, identity too
    (b"*", b"zstd"),
    (b"*;q=0", None),
    (b"*;q=0, gzip", b"gzip"),
    (b"*, zstd;q=0", b"br"),
    (b"gzip;q=0.3, *;q=0.8", b"zstd"),
    (b"gzip, *;q=0.5", b"gzip"),
    (b"zstd;q=0.5, br;q=0.5, gzip;q=0.5, *;q=0.8", None),
    # case, white space, empty members
    (b"GZip", b"gzip"),
    (b"BR ; Q=0.5 ,, ,\tgzip\t;\tq=0.4", b"br"),
    (b" , ,", None),
    # the old name
    (b"x-gzip", b"gzip"),
    (b"gzip, x-gzip;q=0", None),
    # named twice: the lesser weight
    (b"gzip;q=0, gzip", None),
    (b"gzip, gzip;q=0", None),
    (b"br;q=0.9, gzip;q=0.5, br;q=0.2", b"gzip"),
    # malformed: refused, and not taken in by the wildcard
    (b"gzip;q=2", None),
    (b"gzip;q=1.001", None),
    (b"gzip;q=0.1234", None),
    (b"gzip;q=-1", None),
    (b"gzip;q=", None),
    (b"gzip;q", None),
    (b"gzip;", None),
    (b"gzip;q=.5", None),
    (b"gzip;q=1e0", None),
    (b"gzip; q = 1", None),
    (b"gzip;level=9", None),
    (b"gzip;q=1;q=1", None),
    (b"gzip br", None),
    (b"zstd;q=x, *", b"br"),
    (b'"gzip"', None),
    (b"\xff\xfe", None),
    (b"gzip\x00", None),
    (b"gzipped, brotli, zstandard", None),
    # too long to be read
    (b"gzip," + b"a," * 300, None),
]


@pytest.mark.parametrize(("value", "coding"), TABLE)
def test_choice(value: bytes, coding: bytes | None) -> None:
    assert choose(value, OURS) == coding
    negotiator = Negotiator(OURS)
    assert [negotiator.choose(value) for _ in range(2)] == [coding, coding]


def test_no_field_is_plain() -> None:
    assert Negotiator(OURS).choose(None) is None


def test_only_what_is_offered() -> None:
    assert choose(b"*", ()) is None
    assert choose(b"zstd, gzip;q=0.1", (b"gzip",)) == b"gzip"


@given(
    st.lists(st.sampled_from([b"gzip", b"br", b"*", b"identity", b";", b"q=", b"0", b".5", b"1", b",", b" ", b"\t"]))
)
def test_never_what_was_not_accepted(parts: list[bytes]) -> None:
    value = b"".join(parts)
    coding = choose(value, OURS)
    if coding is not None:
        accepted = weights(value)
        assert accepted.get(coding, accepted.get(b"*", 0)) > 0
        assert coding in value or b"*" in value


@given(st.binary(max_size=700))
def test_anything_is_survived(value: bytes) -> None:
    assert choose(value, OURS) in (None, *OURS)


@given(st.dictionaries(st.sampled_from([*OURS, b"identity", b"deflate"]), st.integers(0, 1000)), st.randoms())
def test_the_highest_weight_wins_in_any_order(given_: dict[bytes, int], chance: object) -> None:
    members = [b"%b;q=%d.%03d" % (name, weight // 1000, weight % 1000) for name, weight in given_.items()]
    chance.shuffle(members)  # type: ignore[attr-defined]
    best = max((given_.get(name, 0) for name in OURS), default=0)
    expected = next((name for name in OURS if best and given_.get(name, 0) == best), None)
    if given_.get(b"identity", 0) > best:
        expected = None
    assert choose(b", ".join(members), OURS) == expected


def test_the_table_is_bounded() -> None:
    negotiator = Negotiator(OURS)
    for number in range(3 * REMEMBERED):
        assert negotiator.choose(b"gzip, x%d" % number) == b"gzip"
    assert negotiator.choose(b"gzip" + b" " * LONGEST) is None
    assert len(negotiator._known) <= REMEMBERED + 1
    assert all(len(value or b"") <= LONGEST for value in negotiator._known)
    assert negotiator.choose(None) is None
