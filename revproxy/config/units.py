"""Durations, sizes and rates: text with a unit, and back.

Rules of this module:

* durations are seconds (``float``), sizes bytes (``int``), rates bytes or events a second (``float``);
* sizes count in 1024, whether they are written ``KB`` or ``KiB``, in either case;
* units of time are lower case only, since ``M`` could be anything;
* what ``format_*`` writes, ``parse_*`` reads back as the same value.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple

_TIMES = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)}
_SIZES = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
_NUMBER = r"([0-9]{1,19}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(_NUMBER + r"(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(_NUMBER + r"([kmgt]?)i?b", re.ASCII | re.IGNORECASE)
_REQUESTS = re.compile(r"([0-9]{1,15})/(s|m|h|d)", re.ASCII)
_RATE = re.compile(_NUMBER + r"(?:([kmgt]?)i?(b))?/(s|m|h|d)", re.ASCII | re.IGNORECASE)

#: Ten years: more than that is a slip, and timers have to be able to hold it.
LONGEST = 3650 * 86400.0
#: The largest size, in bytes.
LARGEST = 2**63 - 1


def parse_duration(text: str) -> float:
    """Seconds from ``"250ms"``, ``"5s"``, ``"2m"``, ``"1h"``, ``"1d"`` or ``"1.5s"``.

    :raises ValueError: when it is none, or longer than :data:`LONGEST`.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration: {text!r}")
    seconds = float(Fraction(match[1]) * _TIMES[match[2]])
    if seconds > LONGEST:
        raise ValueError(f"longer than {format_duration(LONGEST)}: {text!r}")
    return seconds


def parse_size(text: str) -> int:
    """Bytes from ``"512B"``, ``"64KB"``, ``"1MB"``, ``"1.5GB"`` (all counted in 1024).

    :raises ValueError: when it is none, is no whole number of bytes, or is over :data:`LARGEST`.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    size = Fraction(match[1]) * _SIZES[match[2].lower() + "b"]
    if size.denominator != 1:
        raise ValueError(f"not a whole number of bytes: {text!r}")
    if size > LARGEST:
        raise ValueError(f"too large: {text!r}")
    return int(size)


def parse_rate(text: str) -> float:
    """Events or bytes a second from ``"100/s"``, ``"1000/m"``, ``"240B/s"`` or ``"1MB/s"``.

    :raises ValueError: when it is none.
    """
    match = _RATE.fullmatch(text)
    if match is None or match[4] not in _TIMES:
        raise ValueError(f"not a rate: {text!r}")
    factor = _SIZES[match[2].lower() + "b"] if match[3] else 1
    return float(Fraction(match[1]) * factor / _TIMES[match[4]])


class Requests(NamedTuple):
    """So many requests in a second, minute, hour or day.

    :param number: 1 to 10**9. :param unit: ``"second"``, ``"minute"``, ``"hour"`` or ``"day"``.
    """

    number: int = 1
    unit: str = "second"

    @property
    def seconds(self) -> int:
        """The unit in seconds."""
        return int(_TIMES[self.unit[0]])


#: More requests in a unit of time than that are no limit.
MOST_REQUESTS = 10**9


def parse_requests(text: str) -> Requests:
    """A whole number of requests in a unit of time: ``"100/s"``, ``"1000/h"``.

    :raises ValueError: when it is none, zero, or over :data:`MOST_REQUESTS`.
    """
    match = _REQUESTS.fullmatch(text)
    if match is None:
        raise ValueError(f"not a rate of requests: {text!r}")
    count = int(match[1])
    if not 1 <= count <= MOST_REQUESTS:
        raise ValueError(f"out of range: {text!r}")
    return Requests(count, {"s": "second", "m": "minute", "h": "hour", "d": "day"}[match[2]])


def format_duration(seconds: float) -> str:
    """The shortest way to write it: ``5.0`` is ``"5s"``. Less than a nanosecond is lost."""
    exact = Fraction(seconds).limit_denominator(10**9)
    for unit in ("d", "h", "m", "s", "ms"):
        amount = exact / _TIMES[unit]
        if amount.denominator == 1 and (amount != 0 or unit == "s"):
            return f"{amount.numerator}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def format_size(size: int) -> str:
    """The shortest exact way to write it: ``65536`` is ``"64KB"``."""
    for unit in ("tb", "gb", "mb", "kb"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit.upper()}"
    return f"{size}B"


def format_rate(rate: float) -> str:
    """Bytes a second as text: ``240.0`` is ``"240B/s"``."""
    if not math.isfinite(rate):
        raise ValueError(f"not a rate: {rate!r}")
    if rate == int(rate):
        return f"{format_size(int(rate))}/s"
    return f"{rate:.9f}".rstrip("0").rstrip(".") + "B/s"
