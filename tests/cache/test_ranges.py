"""RFC 9110 14: which bytes are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.ranges import MOST, content_range, parse_range, part_heads


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        pytest.param(b"bytes=0-1", ((0, 2),), id="9110-14.1.2-first-last"),
        pytest.param(b"bytes=1-", ((1, 10),), id="9110-14.1.2-no-last"),
        pytest.param(b"bytes=-1", ((9, 10),), id="9110-14.1.2-suffix"),
        pytest.param(b"bytes=-99", ((0, 10),), id="9110-14.1.2-suffix-of-more"),
        pytest.param(b"bytes=8-99", ((8, 10),), id="9110-14.1.2-last-beyond"),
        pytest.param(b"BYTES=0-0", ((0, 1),), id="9110-14.1-unit-case"),
        pytest.param(b"bytes=0-1, 4-5 ,,-1", ((0, 2), (4, 6), (9, 10)), id="9110-14.2-several"),
        pytest.param(b"bytes=8-9,0-1", ((8, 10), (0, 2)), id="9110-15.3.7.2-in-their-order"),
        pytest.param(b"bytes=0-1,50-60", ((0, 2),), id="9110-14.1.2-those-that-exist"),
        pytest.param(b"bytes=10-", (), id="9110-15.5.17-none"),
        pytest.param(b"bytes=10-20,30-", (), id="9110-15.5.17-none-of-several"),
        pytest.param(b"bytes=-0", (), id="9110-14.1.2-empty-suffix"),
        pytest.param(b"bytes=9999999999999999999-", (), id="huge"),
        pytest.param(b"bytes=5-4", None, id="9110-14.1.2-last-before-first"),
        pytest.param(b"bytes=-", None, id="nothing"),
        pytest.param(b"bytes=", None, id="empty"),
        pytest.param(b"bytes=,", None, id="empty-list"),
        pytest.param(b"bytes=a-b", None, id="9110-14.2-malformed-is-ignored"),
        pytest.param(b"bytes=0-1,x", None, id="one-malformed"),
        pytest.param(b"bytes=0--1", None, id="minus"),
        pytest.param(b"bytes 0-1", None, id="no-equals"),
        pytest.param(b"items=0-1", None, id="9110-14.2-unit-unknown"),
        pytest.param(b"bytes=0-5,4-9", None, id="9110-14.2-overlapping"),
        pytest.param(
            b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(10)), tuple((n, n + 1) for n in range(10)), id="ten"
        ),
        pytest.param(b"bytes=" + b",".join([b"0-0"] * 17), None, id="9110-17.15-the-same-often"),
    ],
)
def test_ranges(value, parts):
    assert parse_range(value, 10) == parts


def test_there_are_bounds():
    many = b"bytes=" + b",".join(b"%d-%d" % (2 * n, 2 * n) for n in range(MOST + 1))
    assert parse_range(many, 100) is None
    assert parse_range(b"bytes=0-0" + b" " * 600, 100) is None
    assert parse_range(b"bytes=0-", 0) == ()


def test_content_range():
    """RFC 9110 14.4."""
    assert content_range((0, 500), 1234) == b"bytes 0-499/1234"


def test_parts_are_framed():
    """RFC 9110 14.6."""
    heads, tail = part_heads(((0, 2), (4, 6)), 10, b"B", b"text/plain")
    assert heads == [
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n",
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-5/10\r\n\r\n",
    ]
    assert tail == b"\r\n--B--\r\n"
    assert part_heads(((0, 2),), 10, b"B", None)[0] == [b"\r\n--B\r\nContent-Range: bytes 0-1/10\r\n\r\n"]


@given(
    st.binary(max_size=60) | st.text("0123456789-, ", max_size=40).map(lambda t: b"bytes=" + t.encode()),
    st.integers(0, 50),
)
def test_whatever_is_asked_the_parts_are_in_the_body_and_cost_no_more(value, length):
    parts = parse_range(value, length)
    assert parts is None or (
        len(parts) <= MOST
        and all(0 <= start < stop <= length for start, stop in parts)
        and sum(stop - start for start, stop in parts) <= length
    )
