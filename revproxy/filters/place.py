"""The rules for texts of one place, and which of them are tried on a text.

Rules of this module:

* a text is searched only by rules of whose needed literals it has one;
* searching is an iterator of short steps: a value and its rules, or 4 KB of a longer one and a rule.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from revproxy.accesslog_format import printable
from revproxy.filters.decode import folded, forms, unquoted
from revproxy.filters.linear import Matcher
from revproxy.filters.report import Report
from revproxy.filters.rules import Rule
from revproxy.filters.signs import rarest

#: Bytes of a head that are glanced at; in more something is to be looked for without.
GLANCED = 4096
#: Rules that are tried on each part of a text without another look at which of them could find something there.
_FEW = 6
#: Bytes of the longest value whose rules are tried in one step.
_STEP = 512
#: Bytes of a longer one that are searched in a step, and what of these is searched again with the next: matches are
#: found that are not longer.
_WINDOW, _OVERLAP = 4096, 1024


class Place:
    """The rules for texts of one place, and the literals that say which of them to try.

    Each literal stands under its rarest byte that is no letter or digit, and is looked for only in texts with that
    byte: of 260, a usual query is asked for 40. (Text is asked as ``str``: ``in`` of ``bytes`` takes 8 times as long.)
    """

    __slots__ = ("_gates", "_other", "_rules", "_ungated", "_words")

    def __init__(self, rules: Sequence[tuple[Rule, Matcher]]) -> None:
        self._rules = rules
        self._ungated = 0
        needed: dict[str, int] = {}
        for at, (rule, _) in enumerate(rules):
            if not rule.needs:
                self._ungated |= 1 << at
            for need in rule.needs:
                needed[need] = needed.get(need, 0) | 1 << at
        self._gates: dict[int, list[tuple[str, int]]] = {}
        words = []
        for need, bits in needed.items():
            byte = rarest(need)
            if byte:
                self._gates.setdefault(ord(byte), []).append((need, bits))
            else:
                words.append((need, bits))
        self._words = tuple(words)
        self._other = bytes(byte for byte in range(256) if byte not in self._gates)

    def gate(self, text: bytes) -> int:
        """Which rules could find something in a lower-case text, as bits."""
        found = self._ungated
        string = str(text, "latin-1")
        for literal, rules in self._words:
            if literal in string:
                found |= rules
        for byte in set(text.translate(None, self._other)):
            for literal, rules in self._gates[byte]:
                if literal in string:
                    found |= rules
        return found

    def among(self, text: bytes) -> int:
        """Which rules could find something in parts of a coded text, as bits; all, where telling takes long.

        What separates the parts is to be something else: it is no separator of commands.
        """
        if len(text) > GLANCED:
            return -1
        text = unquoted(text).lower()
        return -1 if folded(text) else self.gate(text)

    @property
    def needs(self) -> list[str]:
        """What one of has to be there; an empty one where there are rules that need nothing."""
        needs = [need for rule, _ in self._rules for need in rule.needs]
        return [*needs, ""] if self._ungated else needs

    def search(self, text: bytes, where: str, name: bytes, report: Report, among: int = -1) -> Iterator[None]:
        """Try the rules that could find something in a decoded value, and in its other forms; a step at a time.

        :param among: those that could find something in a text that this one is a part of.
        """
        first = True
        for made in forms(text):
            if made is None:
                if len(text) > _STEP:
                    yield
                continue
            if first and among >= 0 and among.bit_count() <= _FEW:
                chosen = among
            else:
                chosen = self.gate(made)
            first = False
            while chosen:
                lowest = chosen & -chosen
                chosen ^= lowest
                rule, matcher = self._rules[lowest.bit_length() - 1]
                if rule.id in report.hits:
                    continue
                if len(made) <= _STEP:
                    match = matcher.search(made)
                else:
                    match = yield from _long_search(matcher, made)
                if match is not None:
                    place = f"{where} {printable(name[:32])}" if name else where
                    report.add(rule, place, match.group())
        yield


def _long_search(matcher: Matcher, text: bytes) -> Generator[None, None, Any]:
    """Search a long text window by window; longer matches than :data:`_OVERLAP` may be cut short."""
    size = len(text)
    at = 0
    while True:
        end = min(size, at + _WINDOW)
        match = matcher.search(text, at, end)
        # a search takes the end of its window for that of the text
        if match is not None and match.end() == end < size:
            match = matcher.search(text, match.start(), min(size, end + _OVERLAP))
        yield
        if match is not None or end == size:
            return match
        at = end - _OVERLAP
