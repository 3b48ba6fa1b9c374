"""Text and numbers as they are written, with their units: what most words of the vocabulary come to.

Rules of this module:

* a parser takes what TOML gave (any type) and returns the value, or raises :class:`~revproxy.config.errors.Wrong`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from revproxy.config.errors import wrong
from revproxy.config.units import MOST_REQUESTS, Requests, parse_duration, parse_rate, parse_requests, parse_size

_DURATION_HINT = 'write a number with a unit such as "250ms", "5s", "2m", "1h"'
_SIZE_HINT = 'write a number with a unit such as "64KB", "1MB", "1GB", or plain bytes'
_REQUESTS_HINT = f'write 1 to {MOST_REQUESTS} requests and a unit, such as "100/s", "20/m", "1000/h", "5000/d"'
_RATE_HINT = 'write a rate such as "100/s", "1000/m", "240B/s", "1MB/s"'


def string(value: object, what: str, expected: str = "") -> str:
    if not isinstance(value, str):
        raise wrong(value, f"is not {what}", expected or "write a string in quotes")
    return value


def plain_name(value: object) -> str:
    text = string(value, "a string")
    if not text or text != text.strip() or not text.isprintable():
        raise wrong(text, "can't be used here", "write a text that is not empty and has no control characters")
    return text


def seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise wrong(value, "is not a duration", _DURATION_HINT, f"{value}s" if value >= 0 else None)
    try:
        return parse_duration(string(value, "a duration", _DURATION_HINT))
    except ValueError as error:
        longer = str(error).startswith("longer")
        raise wrong(value, "is too long" if longer else "is not a duration", _DURATION_HINT) from None


def octets(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < 2**63:
            return value
        raise wrong(value, "is not a size", _SIZE_HINT)
    try:
        return parse_size(string(value, "a size", _SIZE_HINT))
    except ValueError:
        raise wrong(value, "is not a size", _SIZE_HINT) from None


def byte_rate(value: object) -> float:
    try:
        return parse_rate(string(value, "a rate", _RATE_HINT))
    except ValueError:
        raise wrong(value, "is not a rate", _RATE_HINT) from None


def request_rate(value: object) -> Requests:
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong(value, "is not a rate", _REQUESTS_HINT, f"{value}/s" if value > 0 else None)
    try:
        return parse_requests(string(value, "a rate", _REQUESTS_HINT))
    except ValueError:
        raise wrong(value, "is not a rate of requests", _REQUESTS_HINT) from None


def above_zero(parser: Callable[[object], Any]) -> Callable[[object], Any]:
    def parse(value: object) -> Any:
        result = parser(value)
        if not result:
            raise wrong(value, "is too little", "write more than zero")
        return result

    return parse


def integer(least: int, most: int, what: str = "a number") -> Callable[[object], int]:
    bounds = f"from {least} to {most}" if most < 2**31 else f"of {least} or more"

    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(value, f"is not {what}", f"write a whole number {bounds}")
        if not least <= value <= most:
            between = f"from {least} to {most}" if value > most else bounds
            raise wrong(value, "is out of range", f"write a whole number {between}")
        return value

    return parse
