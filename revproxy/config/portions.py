"""Parsers of words about shares, tiers and statuses; the rules are those of :mod:`revproxy.config.values`."""

from __future__ import annotations

import re
from collections.abc import Callable

from revproxy.config.errors import either, nearest, wrong
from revproxy.limits.refusals import REFUSED, WORDS

#: What a failed try may be: no connection, none of a response, none in time. Statuses come beside.
RETRY_ON = ("connect", "reset", "timeout")

_PERCENT = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,3})?)%", re.ASCII)
_CLASS = re.compile(r"([2-5][0-9]{2})|([2-5])xx", re.ASCII)
_STATUSES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)


def _string(value: object, what: str, expected: str) -> str:
    if not isinstance(value, str):
        raise wrong(value, f"is not {what}", expected)
    return value


def portion(most: float | None) -> Callable[[object], float]:
    """A reader of percentages: up to ``most``, or, without one, from 100 %; gives a number of which 1 is the whole."""
    bounds = 'write a percentage such as "20%"' if most is None else f'write a percentage from "0%" to "{most:.0%}"'

    def parse(value: object) -> float:
        text = _string(value, "a percentage", bounds)
        match = _PERCENT.fullmatch(text)
        if match is None:
            raise wrong(text, "is not a percentage", bounds)
        portion = float(match[1]) / 100
        if (most is not None and portion > most) or (most is None and not 1 <= portion <= 100):
            hint = bounds if most is not None else 'write a percentage from "100%" to "10000%"'
            raise wrong(text, "is out of range", hint)
        return portion

    return parse


def tier(value: object) -> int:
    """``false`` and ``true`` are 0 and 1."""
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, int) or not 0 <= value <= 9:
        raise wrong(
            value, "is not a tier", "write true, or a number up to 9: 1 serves when no 0 is left, 2 when no 1 is"
        )
    return value


def retry_condition(value: object) -> str:
    """One of :data:`RETRY_ON`, or a status, as text."""
    hint = f"write {either(RETRY_ON)} or a status such as 503"
    if isinstance(value, int) and not isinstance(value, bool):
        if not 400 <= value <= 599:
            raise wrong(value, "is no status to try again after", "write one from 400 to 599")
        return str(value)
    text = _string(value, "something to try again after", hint)
    if text not in RETRY_ON:
        if text.isascii() and text.isdigit():
            raise wrong(text, "is not known here", "write a status without quotes")
        raise wrong(text, "is not known here", hint, nearest(text, RETRY_ON))
    return text


def ban_condition(value: object) -> str:
    """``"refused"``, the word of a fault, or a status from 400 on, as text."""
    hint = 'write "refused", the word of a fault such as "no-route", or a status such as 404'
    if isinstance(value, int) and not isinstance(value, bool):
        if not 400 <= value <= 599:
            raise wrong(value, "is no status to ban for", "write one from 400 to 599")
        return str(value)
    text = _string(value, "something to ban for", hint)
    if text != REFUSED and text not in WORDS:
        if text.isascii() and text.isdigit():
            raise wrong(text, "is not known here", "write a status without quotes")
        raise wrong(text, "is not known here", hint, nearest(text, (REFUSED, *WORDS)))
    return text


def status_class(value: object) -> int:
    """``200`` is itself, ``"4xx"`` is 4, ``"any"`` is 0."""
    text = str(value)
    if text == "any":
        return 0
    match = _CLASS.fullmatch(text)
    if match is None:
        raise wrong(value, "is not a status", 'write a status such as 200, a class such as "4xx", or "any"')
    return int(match[1]) if match[2] is None else int(match[2])


def status_range(value: object) -> str:
    """``200`` or ``"200-399"``, as text."""
    hint = 'write a status such as 200, or a range such as "200-399"'
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _string(value, "a status", hint)
    match = _STATUSES.fullmatch(text)
    if match is None or not int(match[1]) <= int(match[2] or match[1]):
        raise wrong(value, "is not a status", hint)
    return text
