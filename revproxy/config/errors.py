"""What is wrong with a configuration: values, all of them at once.

Rules of this module:

* a :class:`Problem` names the key, the line, what was found and what would be right, in one line
  of text without control characters;
* a suggestion is made when a known word is near, and left out when none is.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence

from attrs import frozen

Key = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 80


@frozen(kw_only=True)
class Problem:
    """One thing that is wrong.

    :param key: the key path as text, such as ``routes[2].match.path`` (counted from 0); ``""`` for the whole file.
    :param text: what is wrong and what would be right, in one line.
    :param line: line of the source, counted from 1; ``None`` where there are no lines.
    :param source: name of the file, or ``""``.
    :param found: the value as it was written, shortened; ``""`` when something is missing.
    :param expected: what would be right, ``""`` when ``text`` says all.
    :param suggestion: the nearest known word, or ``None``.
    """

    key: str
    text: str
    line: int | None = None
    source: str = ""
    found: str = ""
    expected: str = ""
    suggestion: str | None = None

    def __str__(self) -> str:
        where = self.source
        if self.line is not None:
            where = f"{where}:{self.line}" if where else f"line {self.line}"
        return ": ".join(part for part in (where, self.key, self.text) if part)


class ConfigError(Exception):
    """A configuration that can't be used.

    :ivar errors: every problem, in the order of the file; ``str()`` has one line for each.
    """

    def __init__(self, errors: Sequence[Problem]) -> None:
        self.errors: list[Problem] = sorted(errors, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(map(str, self.errors)))


class Wrong(Exception):
    """A value that is not what its key asks for; says nothing about where it stands."""

    def __init__(self, text: str, *, found: str = "", expected: str = "", suggestion: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.found = found
        self.expected = expected
        self.suggestion = suggestion


def wrong(value: object, what: str, expected: str = "", suggestion: str | None = None) -> Wrong:
    """The refusal ``VALUE what; expected; did you mean …?``, in the wording that all of them share."""
    shown = show(value)
    parts = [f"{shown} {what}", expected]
    if suggestion is not None:
        parts.append(f"did you mean {show(suggestion)}?")
    return Wrong("; ".join(filter(None, parts)), found=shown, expected=expected, suggestion=suggestion)


def show(value: object) -> str:
    """A value as an operator wrote it: one line, shortened, control characters escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        short = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
        text = json.dumps(short, ensure_ascii=False)
        return text if text.isprintable() else json.dumps(short)
    if isinstance(value, dict):
        return "a table" if value else "an empty table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def either(words: Iterable[object]) -> str:
    """The words as ``"a", "b" or "c"``."""
    shown = [show(word) for word in words]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is nearest to ``word``, or ``None`` when none is near."""
    names = list(known)
    folded = {name.lower().replace("-", "_"): name for name in names}
    key = word.lower().replace("-", "_")
    if key in folded:
        return folded[key]
    found = difflib.get_close_matches(key, folded, n=1, cutoff=0.66)
    if found:
        return folded[found[0]]
    # Singular and plural, and a word cut short, are too far apart for a ratio when they are short.
    if len(key) >= 3:
        starts = [name for low, name in folded.items() if low.startswith(key) or (key.startswith(low) and len(low) > 2)]
        if len(starts) == 1:
            return starts[0]
    return None


def key_text(key: Key) -> str:
    """A key path as it is shown: ``routes[2].match.path``, with quotes where TOML needs them."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else show(part)
            text += f".{name}" if text else name
    return text
