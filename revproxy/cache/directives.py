"""Cache-Control: what it says, as bits and seconds (RFC 9111 5.2, 5861, 8246).

Rules of this module:

* names ignore case, arguments may be tokens or quoted, unknown directives say nothing (5.2, 5.2.3);
* the first of several values counts (4.2.1); seconds that are none count as 0, so that what is
  malformed is stale; too many are 2**31 (1.2.2);
* what restricts is believed in any form (``no-store=1``), what permits only in its own;
* lines are read one by one, so that a quote left open in one hides nothing in the next; what comes
  after such a quote can restrict, and has no seconds that count;
* reading is linear in the field's length, never raises, and is remembered for short fields;
* of more than :data:`_MOST` members the rest is not read, but taken to restrict everything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Directives without seconds, of responses and requests. Bits, so that one test covers several.
NO_STORE = 1 << 0
NO_CACHE = 1 << 1
PRIVATE = 1 << 2
PUBLIC = 1 << 3
MUST_REVALIDATE = 1 << 4
PROXY_REVALIDATE = 1 << 5
MUST_UNDERSTAND = 1 << 6
NO_TRANSFORM = 1 << 7
IMMUTABLE = 1 << 8
ONLY_IF_CACHED = 1 << 9
S_MAXAGE = 1 << 10  # there is one: it implies PROXY_REVALIDATE (RFC 9111 5.2.2.10)

#: Seconds that stand for ever (RFC 9111 1.2.2).
FOREVER = 2**31

_FLAGS = {
    b"no-store": NO_STORE,
    b"must-revalidate": MUST_REVALIDATE,
    b"proxy-revalidate": PROXY_REVALIDATE,
    b"no-transform": NO_TRANSFORM,
    b"only-if-cached": ONLY_IF_CACHED,
    b"public": PUBLIC,
    b"must-understand": MUST_UNDERSTAND,
    b"immutable": IMMUTABLE,
}
#: Flags that allow something: they count only when they are well-formed.
PERMITS = PUBLIC | MUST_UNDERSTAND | IMMUTABLE
_SECONDS = {
    b"max-age": "max_age",
    b"s-maxage": "s_maxage",
    b"stale-while-revalidate": "stale_while_revalidate",
    b"stale-if-error": "stale_if_error",
    b"max-stale": "max_stale",
    b"min-fresh": "min_fresh",
}
_MEMBER = re.compile(rb'((?:[^,"]++|"(?:[^"\\]|\\.)*+")*+)(,|"|\Z)', re.DOTALL)
_NAME = re.compile(rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)

_REMEMBERED = 1024  # fields
_SHORT = 256  # bytes of a field that is remembered
_MOST = 128  # members of all lines


class Directives:
    """What a Cache-Control field, or a targeted one, says.

    :ivar bits: NO_STORE, NO_CACHE and so on, or-ed together.
    :ivar max_age: seconds, ``None`` where it is not given; so are ``s_maxage``,
        ``stale_while_revalidate``, ``stale_if_error``, ``max_stale`` (``FOREVER`` without a value)
        and ``min_fresh``.
    :ivar withheld: lower-case names of the fields that ``private`` and ``no-cache`` list; their
        bits are set only where they list none.
    """

    __slots__ = (
        "bits", "max_age", "max_stale", "min_fresh", "s_maxage", "stale_if_error", "stale_while_revalidate",
        "withheld",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bits = 0
        self.max_age: int | None = None
        self.s_maxage: int | None = None
        self.stale_while_revalidate: int | None = None
        self.stale_if_error: int | None = None
        self.max_stale: int | None = None
        self.min_fresh: int | None = None
        self.withheld: frozenset[bytes] = frozenset()

    def flag(self, name: bytes) -> int:
        """The bit of a directive that takes no argument, 0 for any other name."""
        return _FLAGS.get(name, 0)

    def give(self, name: bytes, seconds: int) -> bool:
        """Set the seconds of a directive unless they are set; whether the name is one of those."""
        attribute = _SECONDS.get(name)
        if attribute is None:
            return False
        if getattr(self, attribute) is None:
            setattr(self, attribute, seconds)
            if name == b"s-maxage":
                self.bits |= S_MAXAGE
        return True

    def withhold(self, bit: int, names: bytes | None) -> None:
        """``private`` or ``no-cache``: all of the response, or the comma-separated ``names``."""
        listed = frozenset(n for part in (names or b"").split(b",") if (n := part.strip(b" \t").lower()))
        if listed:
            self.withheld |= listed
        else:
            self.bits |= bit

    def __repr__(self) -> str:
        said = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}
        return f"<Directives {said}>"


def parse_seconds(text: bytes) -> int | None:
    """Delta-seconds (RFC 9111 1.2.2), at most ``FOREVER``; ``None`` for anything else."""
    if not text.isdigit():
        return None
    if len(text) > 10:
        text = text.lstrip(b"0")
        if len(text) > 10:
            return FOREVER
    return min(int(text or b"0"), FOREVER)


def _read(member: bytes, said: Directives, broken: bool) -> None:
    """One directive; ``broken`` when a quote before it was left open."""
    named = _NAME.match(member)
    if named is None:
        return
    name = named[1].lower()
    rest = member[named.end() :].rstrip(b" \t")
    argument: bytes | None = None
    formed = not broken
    if rest[:1] == b"=" and not rest[1:].startswith((b" ", b"\t")):
        argument = rest[1:]
        if argument[:1] == b'"':
            formed = formed and len(argument) > 1 and argument[-1:] == b'"'
            argument = _ESCAPED.sub(rb"\1", argument[1:-1]) if formed else None
    elif rest:
        formed = False
    if name in _SECONDS:
        seconds = parse_seconds(argument) if formed and argument is not None else None
        if name == b"max-stale" and not rest and formed:
            seconds = FOREVER
        said.give(name, seconds or 0)
    elif name == b"private" or name == b"no-cache":
        said.withhold(PRIVATE if name == b"private" else NO_CACHE, argument if formed else None)
    else:
        bit = _FLAGS.get(name, 0)
        if not bit & PERMITS or (formed and not rest):
            said.bits |= bit


def _parse(lines: Sequence[bytes]) -> Directives:
    said = Directives()
    if sum([line.count(b",") + 1 for line in lines]) > _MOST:
        said.bits = NO_STORE | NO_CACHE | PRIVATE
        return said
    for line in lines:
        if b'"' not in line:
            for member in line.split(b","):
                _read(member, said, False)
            continue
        at = 0
        while at <= len(line):
            found = _MEMBER.match(line, at)
            assert found is not None  # it matches the empty text, too
            if found[2] == b'"':  # left open: what restricts is still believed
                for number, member in enumerate(line[at:].split(b",")):
                    _read(member, said, number > 0 or b'"' in member)
                break
            _read(found[1], said, False)
            at = found.end() + (not found[2])
    return said


_remembered: dict[bytes, Directives] = {}
#: Of a message without the field.
SILENT = Directives()


def parse_directives(lines: Sequence[bytes]) -> Directives:
    """The directives of a field's lines (RFC 9111 5.2). Shared between callers: not to be changed."""
    if not lines:
        return SILENT
    text = lines[0] if len(lines) == 1 else b"\n".join(lines)
    said = _remembered.get(text)
    if said is None:
        said = _parse(lines)
        if len(text) <= _SHORT:
            if len(_remembered) >= _REMEMBERED:
                _remembered.clear()
            _remembered[text] = said
    return said
