"""HTTP dates and Age."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.dates import parse_age, parse_date
from tests.cache.kit import NOW


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT", id="9110-5.6.7-imf"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", id="9110-5.6.7-rfc850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", id="9110-5.6.7-asctime"),
        pytest.param(b"SUN, 06 NOV 1994 08:49:37 gMT", id="9111-4.2-any-case"),
        pytest.param(b"Mon, 06 Nov 1994 08:49:37 GMT", id="a-wrong-weekday-is-not-looked-at"),
    ],
)
def test_dates(text):
    assert parse_date(text, NOW) == NOW


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 UTC", id="9111-4.2-zone"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 CET", id="9111-4.2-another-zone"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 +0000", id="offset"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37", id="no-zone"),
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06  Nov  1994 08:49:37 GMT",
        b"Sun, 06-Nov-1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08.49.37 GMT",
        b"Sun, 06 Nov 1994 8:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 31 Nov 1994 08:49:37 GMT",
        b"Sun, 29 Feb 1993 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Now 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"0",
        b"-1",
        b"",
        b"x" * 100_000,
    ],
)
def test_what_is_no_date(text):
    assert parse_date(text, NOW) is None


def test_years_of_two_digits_are_those_nearest():
    """RFC 9110 5.6.7: more than 50 years ahead means the past."""
    for this, digits, year in [
        (b"2026", b"26", b"2026"),
        (b"2026", b"94", b"1994"),
        (b"2026", b"76", b"2076"),
        (b"2026", b"77", b"1977"),
        (b"2026", b"00", b"2000"),
        (b"2095", b"10", b"2110"),
        (b"2095", b"60", b"2060"),
    ]:
        now = parse_date(b"Mon, 15 Jun " + this + b" 12:00:00 GMT", 0)
        assert now is not None
        found = parse_date(b"Sunday, 06-Nov-" + digits + b" 08:49:37 GMT", now)
        assert found == parse_date(b"Sun, 06 Nov " + year + b" 08:49:37 GMT", now)


def test_the_zone_of_this_machine_does_not_matter(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert parse_date(b"Sun Nov  6 08:49:37 1994", NOW) == NOW
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(0, 253402300799))
def test_every_second_is_read_back(second):
    assert parse_date(formatdate(second, usegmt=True).encode(), second) == second


@given(st.binary(max_size=60) | st.from_regex(rb"[a-z]{3}, [0-9]{2} [a-z]{3} [0-9]{4} [0-9:]{8} gmt", fullmatch=True))
def test_garbage_never_raises(text):
    found = parse_date(text, NOW)
    assert found is None or isinstance(found, int)


@pytest.mark.parametrize(
    ("values", "age"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([b"7200"], 7200, id="9111-5.1"),
        pytest.param([b"abc"], 0, id="9111-5.1-invalid-ignored"),
        pytest.param([b"-7200"], 0, id="negative-ignored"),
        pytest.param([b"7200.0"], 0, id="decimal-ignored"),
        pytest.param([b"7200,0"], 7200, id="9111-5.1-first-member"),
        pytest.param([b"7200 , 0"], 7200, id="9111-5.1-first-member-spaces"),
        pytest.param([b"0", b"7200"], 0, id="9111-5.1-first-line"),
        pytest.param([b"99999999999999"], 2**31, id="9111-1.2.2-overflow"),
    ],
)
def test_age(values, age):
    assert parse_age(values) == age
