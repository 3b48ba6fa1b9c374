"""Regular expressions as they are written: compiled once to see that they are some.

Rules of this module:

* a parser takes what TOML gave (any type) and returns the text, or raises :class:`~revproxy.config.errors.Wrong`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from re import _constants as op, _parser  # type: ignore[attr-defined]  # what the standard library compiles with
from typing import Any

from revproxy.config.errors import show, wrong
from revproxy.config.numbers import plain_name, string
from revproxy.filters.linear import NotLinear, compile_pattern
from revproxy.http.target import normalise_path

_HEX = re.compile("[0-9a-fA-F]{2}")

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


def path_regex(value: object) -> str:
    """A regular expression for paths. :raises Wrong: also for one with what no path has in the form that is matched."""
    text = string(value, "a regular expression")
    compile_path_regex(text, text)
    return text


def compile_path_regex(written: str, pattern: str) -> None:
    """See that something could match. :raises Wrong: it is none, or has what is never in a path that is matched."""
    compile_regex(written, pattern)
    with warnings.catch_warnings():  # told above
        warnings.simplefilter("ignore")
        tree = _parser.parse(pattern)
    for found, right in _never_there(tree, bool(tree.state.flags & re.IGNORECASE)):
        problem = f"asks for {show(found)}, which no path has in the form that is matched"
        raise wrong(written, problem, f"write {show(right)} in its place")


def _never_there(tree: Any, ignores_case: bool) -> Iterator[tuple[str, str]]:
    """What is asked for and in no path, and what is there instead, in a parsed pattern."""
    items = list(tree)
    for at, (kind, value) in enumerate(items):
        if kind is op.LITERAL:
            yield from _escaped(value, value)
            if value == 0x25:
                yield from _escape(items[at + 1 : at + 3], ignores_case)
        elif kind is op.IN and value[0][0] is not op.NEGATE:
            for inner, member in value:
                if inner is op.LITERAL:
                    yield from _escaped(member, member)
                elif inner is op.RANGE:
                    yield from _escaped(*member)
        elif kind is op.SUBPATTERN:
            _, added, taken, inside = value
            yield from _never_there(inside, (ignores_case or bool(added & re.I)) and not taken & re.I)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _never_there(branch, ignores_case)
        elif kind in _WITHIN:
            yield from _never_there(value[_WITHIN[kind]], ignores_case)
        elif kind is op.ATOMIC_GROUP:
            yield from _never_there(value, ignores_case)


#: Where the pattern is in what the parser says of these.
_WITHIN = {
    op.MAX_REPEAT: 2,
    op.MIN_REPEAT: 2,
    op.POSSESSIVE_REPEAT: 2,
    op.ASSERT: 1,
    op.ASSERT_NOT: 1,
}


def _escaped(first: int, last: int) -> Iterator[tuple[str, str]]:
    """A range of characters of which none stands in a path by itself."""
    if not any(chr(code) not in '"<>' for code in range(max(first, 0x21), min(last, 0x7E) + 1)):
        yield chr(first), "".join(f"%{byte:02X}" for byte in chr(first).encode("utf-8", "surrogatepass"))


def _escape(following: list[Any], ignores_case: bool) -> Iterator[tuple[str, str]]:
    """An escape in another form than the one that is matched; ``following`` is what comes behind its "%"."""
    digits = "".join(chr(value) for kind, value in following if kind is op.LITERAL)
    if _HEX.fullmatch(digits):
        normal = normalise_path(b"/x%" + digits.encode("ascii"))
        right = f"%{digits.upper()}" if normal is None else normal[2:].decode("ascii")
        if right != f"%{digits}" and not (ignores_case and right.lower() == f"%{digits}".lower()):
            yield f"%{digits}", right


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
