"""HTTP dates and Age, as seconds since 1970 (RFC 9110 5.6.7, RFC 9111 4.2, 5.1).

Rules of this module:

* all three forms are read, in any case (RFC 9111 4.2); a zone other than GMT makes a date invalid,
  and the zone of this machine never matters;
* what is invalid is ``None``, and what that means is decided elsewhere;
* nothing here raises, whatever is read.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Sequence

from revproxy.cache.directives import parse_seconds

_MONTHS = {name: at for at, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TIME = rb"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF = re.compile(rb"(?:mon|tue|wed|thu|fri|sat|sun), ([0-9]{2}) ([a-z]{3}) ([0-9]{4}) " + _TIME + rb" gmt")
_RFC850 = re.compile(
    rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day, ([0-9]{2})-([a-z]{3})-([0-9]{2}) " + _TIME + rb" gmt"
)
_ASCTIME = re.compile(rb"(?:mon|tue|wed|thu|fri|sat|sun) ([a-z]{3}) ([0-9 ][0-9]) " + _TIME + rb" ([0-9]{4})")
_LONGEST = 40  # bytes; the longest date has 33


_REMEMBERED = 512  # dates
_remembered: dict[bytes, int] = {}


def parse_date(text: bytes, now: float) -> int | None:
    """Seconds since 1970 of an HTTP date, ``None`` when it is none.

    :param now: the wall clock in seconds: what a year of two digits is near to.
    """
    if len(text) > _LONGEST:
        return None
    known = _remembered.get(text)
    if known is not None:
        return known
    sent = text
    text = text.lower()
    lasting = True
    if (match := _IMF.fullmatch(text)) is not None:
        day, month, year, hour, minute, second = match.groups()
    elif (match := _RFC850.fullmatch(text)) is not None:
        day, month, year, hour, minute, second = match.groups()
        lasting = False
        # More than 50 years ahead is the most recent year in the past with these digits (RFC 9110 5.6.7).
        this = int(1970 + now / 31556952)
        full = this - this % 100 + int(year)
        if full > this + 50:
            full -= 100
        elif full <= this - 50:
            full += 100
        year = b"%04d" % full
    elif (match := _ASCTIME.fullmatch(text)) is not None:
        month, day, hour, minute, second, year = match.groups()
    else:
        return None
    number = _MONTHS.get(month)
    if number is None:
        return None
    y, d, h, m, s = int(year), int(day), int(hour), int(minute), int(second)
    if y < 1 or not 1 <= d <= _DAYS[number - 1] or h > 23 or m > 59 or s > 60:
        return None
    if d == 29 and number == 2 and (y % 4 or (not y % 100 and y % 400)):
        return None
    moment = timegm((y, number, d, h, m, s, 0, 1, 0))
    if lasting:  # the same dates come again and again; what a year of two digits means does not last
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        _remembered[sent] = moment
    return moment


def parse_age(values: Sequence[bytes]) -> int:
    """Seconds of the Age field: its first member, 0 when that is invalid or missing (RFC 9111 5.1)."""
    if not values:
        return 0
    return parse_seconds(values[0].partition(b",")[0].strip(b" \t")) or 0
