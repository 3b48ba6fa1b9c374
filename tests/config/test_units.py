"""Units: what is read, what is refused, and that writing and reading agree."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("2m", 120),
        ("1h", 3600),
        ("1d", 86400),
        ("1.5s", 1.5),
        ("0s", 0),
        ("3650d", 315360000),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "5 s", "5S", "-5s", "+5s", "5s ", ".5s", "5.s", "1e3s", "1h30m", "٥s", "3651d", "1_0s", "infs"],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512),
        ("64KB", 65536),
        ("64kb", 65536),
        ("64KiB", 65536),
        ("1MB", 1 << 20),
        ("1.5GB", 3 << 29),
        ("1TB", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64K", "-1KB", "1 KB", "0.5B", "9999999999TB", "1PB", "1KBB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|bytes|large"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/s", 100), ("240B/s", 240), ("1MB/s", 1 << 20), ("1200/m", 20), ("7200/h", 2), ("0.5/s", 0.5)],
)
def test_rates(text: str, rate: float) -> None:
    assert units.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "100", "/s", "100/", "100/S", "100/ms", "100 /s", "K/s", "5K/s", "-5/s"])
def test_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        units.parse_rate(text)


@given(st.integers(0, int(units.LONGEST * 1000)))
def test_durations_survive(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@given(st.integers(0, units.LARGEST))
def test_sizes_survive(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


@given(st.integers(0, 10**12))
def test_rates_survive(rate: int) -> None:
    assert units.parse_rate(units.format_rate(rate)) == rate


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (units.parse_duration, units.parse_size, units.parse_rate):
        try:
            assert parse(text) >= 0
        except ValueError:
            pass
