"""Where in a TOML text a key stands, for messages only.

Rules of this module:

* it runs after ``tomllib`` has accepted the text, decides nothing and reads no values;
* it never raises: where it loses its way, keys get the line of the nearest table around them;
* one pass over the text, made only when there is something to report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from revproxy.config.errors import Key

_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
  | (?P<string>\"\"\"(?:\\.|[^\\])*?\"{3,5}|'''.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
  | (?P<newline>\n)
  | (?P<mark>[\[\]{},.=])
  | (?P<word>[^\s\[\]{},.=\#"']+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}
#: Tables within tables beyond this get the line of the one around them.
_DEPTH = 60

Token = tuple[str, str, int]


class Lines:
    """The lines of the keys of one text.

    :param text: a TOML document; a broken one gives fewer lines, not an error.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Key, int] = {}
        self._tokens = list(_tokens(text))
        self._at = 0
        self._document()

    def line(self, key: Key) -> int:
        """The line of a key path, or of the nearest table around it; 1 when nothing is known."""
        while key:
            found = self._lines.get(key)
            if found is not None:
                return found
            key = key[:-1]
        return 1

    def _peek(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "", 0)

    def _mark(self, *marks: str) -> bool:
        kind, text, _ = self._peek()
        return kind == "mark" and text in marks

    def _document(self) -> None:
        table: Key = ()
        counts: dict[Key, int] = {}
        while self._at < len(self._tokens):
            kind, _, line = self._peek()
            if kind == "newline":
                self._at += 1
            elif self._mark("["):
                self._at += 1
                array = self._mark("[")
                self._at += array
                table = self._header(array, line, counts)
                self._skip_line()
            elif self._pair(table, counts, 0):
                self._skip_line()
            else:
                self._at += 1

    def _header(self, array: bool, line: int, counts: dict[Key, int]) -> Key:
        names = self._names()
        table: Key = ()
        for position, name in enumerate(names):
            table += (name,)
            self._lines.setdefault(table, line)
            if array and position == len(names) - 1:
                counts[table] = counts.get(table, -1) + 1
            if table in counts:
                table += (counts[table],)
                self._lines.setdefault(table, line)
        self._lines[table] = line
        return table

    def _names(self) -> list[str]:
        """A dotted key; empty when there is none here."""
        names: list[str] = []
        while True:
            kind, text, _ = self._peek()
            if kind == "word":
                names.append(text)
            elif kind == "string":
                names.append(_unquote(text))
            else:
                return names
            self._at += 1
            if not self._mark("."):
                return names
            self._at += 1

    def _pair(self, table: Key, counts: dict[Key, int], depth: int) -> bool:
        line = self._peek()[2]
        names = self._names()
        if not names or not self._mark("="):
            return False
        self._at += 1
        key = table
        for name in names:
            key += (name,)
            self._lines.setdefault(key, line)
            if key in counts:
                key += (counts[key],)
        self._value(key, depth)
        return True

    def _value(self, key: Key, depth: int) -> None:
        if self._mark("["):
            self._array(key, depth)
        elif self._mark("{"):
            self._inline(key, depth)
        else:
            # A value may hold dots and words ("1.5", "2020-01-01 10:00"), but no comma or bracket.
            while self._peek()[0] in ("word", "string") or self._mark("."):
                self._at += 1

    def _array(self, key: Key, depth: int) -> None:
        self._at += 1
        index = 0
        while self._at < len(self._tokens):
            kind, _, line = self._peek()
            if self._mark("]"):
                self._at += 1
                return
            if kind == "newline" or self._mark(","):
                index += kind == "mark"
                self._at += 1
                continue
            self._lines.setdefault((*key, index), line)
            self._nested((*key, index), depth)

    def _inline(self, key: Key, depth: int) -> None:
        self._at += 1
        while self._at < len(self._tokens):
            if self._mark("}"):
                self._at += 1
                return
            if depth > _DEPTH or not self._pair(key, {}, depth + 1):
                self._at += 1

    def _nested(self, key: Key, depth: int) -> None:
        before = self._at
        if depth <= _DEPTH:
            self._value(key, depth + 1)
        if self._at == before:
            self._at += 1

    def _skip_line(self) -> None:
        while self._at < len(self._tokens) and self._peek()[0] != "newline":
            self._at += 1


def _tokens(text: str) -> Iterator[Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind not in ("comment", "other"):
            yield kind, match[0], line
        line += match[0].count("\n")


def _unquote(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1]
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    if digits:
        value = int(digits, 16)
        return chr(value) if value < 0x110000 else match[0]
    return _ESCAPES.get(match[3], match[3])


def locate(source: str, key: Key) -> int | None:
    """The line of a key in a file, ``None`` when it can't be read."""
    try:
        with open(source, encoding="utf-8") as file:
            return Lines(file.read()).line(key)
    except (OSError, ValueError):
        return None
