"""Regular expressions as they are written: compiled once to see that they are some.

Rules of this module:

* a parser takes what TOML gave (any type) and returns the text, or raises :class:`~revproxy.config.errors.Wrong`.
"""

from __future__ import annotations

import re

from revproxy.config.errors import wrong
from revproxy.config.numbers import plain_name, string
from revproxy.filters.linear import NotLinear, compile_pattern

#: Texts in which a pattern finds nothing at all, at some place, when it may do so nearly everywhere.
_ANYTHING = (b"\x01", b"a b")


def compile_regex(written: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise wrong(written, "is not a regular expression", str(error)) from None


def regex(value: object) -> str:
    text = string(value, "a regular expression")
    compile_regex(text, text)
    return text


def agent_pattern(value: object) -> str:
    text = plain_name(value)
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise wrong(text, "is in no user agent", "fields are bytes of ASCII, or of Latin-1 at most") from None
    if text.startswith("~"):
        compile_regex(text, text[1:])
    return text


def linear_pattern(value: object) -> str:
    text = string(value, "a pattern", "write a regular expression in quotes")
    if not text:
        raise wrong(text, "can't be used here", "write a regular expression that is not empty")
    try:
        pattern = compile_pattern(text, ignore_case=True)
    except NotLinear as error:
        raise wrong(text, "is no pattern of bounded time", str(error)) from None
    if any((match := pattern.search(sample)) is not None and match.start() == match.end() for sample in _ANYTHING):
        raise wrong(
            text, "matches nothing at all, and so every request", 'write what has to be there, such as "a{1,3}"'
        )
    return text
