"""A first look at short texts: whether any rule could find something in them, or they have other forms.

Rules of this module:

* it never says no where a rule would find something; where it says yes, :mod:`revproxy.filters.engine` looks closely;
* what is looked for stands under a byte that usual texts have seldom, and only bytes that a text has are asked for:
  3 us for the path of a usual request, 6 us for its query and cookies, where asking for each literal took 40;
* its cost is bounded by the length of a text times the literals of a byte: long texts are not for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from revproxy.filters.decode import FOLDED

#: Bytes that texts have often, the most frequent first.
_COMMON = "/ .=-_:&,;?+()"


def rarest(literal: str) -> str:
    """The character of a literal that usual texts have least; empty where all are letters and digits."""
    odd = [character for character in literal if not (character.isascii() and character.isalnum())]
    return max(odd, key=_rarity) if odd else ""


class Signs:
    """Literals, and the signs of other forms, to be looked for at once.

    :param literals: in lower case, of Latin-1 characters, none empty.
    """

    __slots__ = ("_other", "_tests", "_words")

    def __init__(self, literals: Iterable[str]) -> None:
        branches = {ord(byte): [pattern] for byte, pattern in FOLDED.items()}
        endings: dict[int, list[str]] = {}
        words = []
        for literal in sorted(literals):
            byte = rarest(literal)
            if not byte:
                words.append(literal)
            elif literal.endswith(byte) and len(literal) > 1:
                endings.setdefault(ord(byte), []).append(literal)
            else:
                branches.setdefault(ord(byte), []).append(_following(literal, byte))
        for at, found in endings.items():
            branches.setdefault(at, []).append(_ending(found))
        self._words = tuple(words)
        self._tests: dict[int, Callable[[bytes], object]] = {
            byte: re.compile(re.escape(bytes((byte,))) + b"(?:%b)" % b"|".join(found)).search
            for byte, found in branches.items()
        }
        self._other = bytes(byte for byte in range(256) if byte not in branches)

    def seen(self, text: bytes) -> bool:
        """Whether a lower-case text has any of them."""
        tests = self._tests
        for byte in set(text.translate(None, self._other)):
            if tests[byte](text):
                return True
        if self._words:
            string = str(text, "latin-1")  # ``in`` of bytes takes 8 times as long
            for word in self._words:
                if word in string:
                    return True
        return False


def _following(literal: str, byte: str) -> bytes:
    """What follows the byte, and only then what stands before it: most texts differ in the next byte already."""
    before, _, after = literal.partition(byte)
    following = _escaped(after)
    return following + b"(?<=%b)" % _escaped(literal) if before else following


def _ending(literals: list[str]) -> bytes:
    """What stands before the byte; first its last character, in which most texts differ."""
    last = b"".join(sorted({_escaped(literal[-2]) for literal in literals}))
    whole = b"|".join(b"(?<=%b)" % _escaped(literal) for literal in literals)
    return b"(?<=[%b]%b)(?:%b)" % (last, _escaped(literals[0][-1]), whole)


def _escaped(text: str) -> bytes:
    return re.escape(text.encode("latin-1"))


def _rarity(character: str) -> int:
    at = _COMMON.find(character)
    return len(_COMMON) if at < 0 else at
