"""Which patterns take time in proportion to the text, however hostile it is, and how they are compiled.

Rules of this module:

* one pattern means the same to both engines: google-re2, which is linear by itself, where it is installed,
  and :mod:`re`, which backtracks;
* for :mod:`re` a proof is needed: from each place of a text no more than :data:`STEPS` steps are taken.
  Every repetition has a bound, nothing looks around or back, and what can be tried at one place is counted;
* patterns match bytes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from re import _constants as op, _parser  # type: ignore[attr-defined]  # what the standard library compiles with
from typing import Any, Protocol

from attrs import evolve, frozen

try:
    import re2
except ImportError:
    re2 = None

#: Steps from one place of a text, for :mod:`re`; one takes some 5 to 20 ns.
STEPS = 3000
#: Steps of what is tried at the beginning of a text only.
ONCE = 20_000
#: Bytes of a pattern.
LONGEST = 2000
#: What a count is cut at: far more than is allowed.
_MANY = 10**9

_ALL = (1 << 256) - 1


def _mask(members: bytes) -> int:
    mask = 0
    for byte in members:
        mask |= 1 << byte
    return mask


_CATEGORIES = {
    op.CATEGORY_DIGIT: _mask(b"0123456789"),
    op.CATEGORY_SPACE: _mask(b" \t\n\r\f\v"),
    op.CATEGORY_WORD: _mask(b"0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
}
_CATEGORIES |= {
    op.CATEGORY_NOT_DIGIT: _ALL & ~_CATEGORIES[op.CATEGORY_DIGIT],
    op.CATEGORY_NOT_SPACE: _ALL & ~_CATEGORIES[op.CATEGORY_SPACE],
    op.CATEGORY_NOT_WORD: _ALL & ~_CATEGORIES[op.CATEGORY_WORD],
}


#: To :mod:`re`, these are other classes, with a bracket behind.
_POSIX_CLASS = re.compile(r"\[:\^?[a-z]{1,10}:\]")
#: What ``$`` has to be told from.
_DOLLAR = re.compile(rb"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)
#: Texts that are asked for, for one pattern.
_ALTERNATIVES = 32


class Matcher(Protocol):
    """A compiled pattern of either engine."""

    def search(self, text: bytes, pos: int = 0, endpos: int = ..., /) -> Any: ...


class NotLinear(ValueError):
    """A pattern that is none, or that could take long. The text says why."""


@frozen
class Cost:
    """What a pattern costs at most.

    :param steps: characters that are compared from one place of a text, with all that is tried again.
    :param ways: ends that what follows is tried from.
    :param once: the same steps of what is tried at the beginning of a text only.
    :param first: the bytes that a match begins with, as bits.
    :param empty: whether it can match nothing.
    """

    steps: int
    ways: int
    once: int
    first: int
    empty: bool


def cost(pattern: str, *, ignore_case: bool = False) -> Cost:
    """What ``pattern`` costs :mod:`re`. :raises NotLinear: when that has no bound."""
    # what ends the pattern is not tried again: it has matched
    return _sequence(list(_parsed(pattern)), ignore_case, 0)


def compile_pattern(pattern: str, *, ignore_case: bool = False, engine: str | None = None) -> Matcher:
    """``pattern`` compiled for bytes.

    :param engine: ``"re"`` or ``"re2"``; by default re2 where it is installed.
    :raises NotLinear: when it is no pattern, or might take long.
    """
    if engine is None:
        engine = "re" if re2 is None else "re2"
    raw = _bytes(pattern)
    if engine == "re2":
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.case_sensitive = not ignore_case
        options.log_errors = False
        options.max_mem = 1 << 24
        try:
            found: Matcher = re2.compile(raw, options)
        except re2.error as e:
            text = e.args[0] if e.args else ""
            raise NotLinear(text.decode("latin-1") if isinstance(text, bytes) else str(text)) from None
        return found
    found_cost = cost(pattern, ignore_case=ignore_case)
    if found_cost.steps > STEPS:
        raise NotLinear(f"up to {found_cost.steps} steps at each byte of a text, {STEPS} are allowed; use lower bounds")
    if found_cost.once > ONCE:
        raise NotLinear(f"up to {found_cost.once} steps for a text, {ONCE} are allowed; use lower bounds")
    # re2's is the end of the text only, that of re also before a last line feed
    raw = _DOLLAR.sub(lambda match: rb"\Z" if match[0] == b"$" else match[0], raw)
    return _compiled(raw, re.IGNORECASE if ignore_case else 0)


def literals(pattern: str) -> tuple[str, ...]:
    """Texts in lower case of which every match of ``pattern`` has one, in whatever case; none where none are known."""
    try:
        found = _needed(list(_parsed(pattern)))
    except NotLinear:  # written for the other engine
        found = ()
    return found if len(found) <= _ALTERNATIVES else ()


def _needed(items: list[Any]) -> tuple[str, ...]:
    """Of what follows one another: that whose shortest text is the longest."""
    best: tuple[str, ...] = ()
    run = ""
    for kind, argument in [*items, (op.AT, None)]:
        if kind is op.LITERAL:
            run += chr(argument).lower() if argument < 128 else chr(argument)
            continue
        best = max(best, (run,) if run else (), _inside(kind, argument), key=_shortest)
        if kind is not op.AT:
            run = ""
    return best


def _inside(kind: Any, argument: Any) -> tuple[str, ...]:
    if kind is op.SUBPATTERN:
        return _needed(list(argument[3]))
    if kind is op.BRANCH:
        arms = [_needed(list(arm)) for arm in argument[1]]
        return tuple(text for arm in arms for text in arm) if all(arms) else ()
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT) and argument[0]:
        return _needed(list(argument[2]))
    return ()


def _shortest(texts: tuple[str, ...]) -> int:
    return min(map(len, texts), default=0)


@lru_cache(maxsize=1024)
def _compiled(raw: bytes, flags: int) -> Matcher:
    return re.compile(raw, flags)


def _bytes(pattern: str) -> bytes:
    if len(pattern) > LONGEST:
        raise NotLinear(f"longer than {LONGEST} characters")
    try:
        return pattern.encode("ascii")
    except UnicodeEncodeError:
        raise NotLinear(r"has characters beyond ASCII: texts are bytes, write them as \xHH") from None


def _parsed(pattern: str) -> Any:
    raw = _bytes(pattern)
    if _POSIX_CLASS.search(pattern):
        raise NotLinear('has a class of POSIX; write its characters, such as "[0-9]" for "[[:digit:]]"')
    try:
        re.compile(raw)
        tree = _parser.parse(raw)
    except (re.error, RecursionError, OverflowError, ValueError) as e:
        raise NotLinear(str(e)) from None
    if tree.state.flags & ~re.IGNORECASE:
        raise NotLinear("has flags; none but (?i) is understood")
    return tree


def _sequence(items: list[Any], fold: bool, follow: int) -> Cost:
    """:param follow: the bytes that what comes after begins with, as bits; 0 where the pattern ends."""
    costs: list[Cost] = []
    for kind, argument in reversed(items):
        here = _item(kind, argument, fold, follow)
        if here.ways > 1 and not follow & _characters(kind, argument, fold):
            # where it could have ended earlier, what follows fails at its first byte
            here = evolve(here, steps=min(_MANY, here.steps + here.ways), ways=1)
        costs.append(here)
        follow = here.first | (follow if here.empty else 0)
    steps, ways, once, first, empty = 0, 1, 0, 0, True
    for here in reversed(costs):
        if empty:
            first |= here.first
            empty = here.empty
        steps = min(_MANY, steps + ways * here.steps)
        once = max(once, here.once)
        ways = min(_MANY, ways * here.ways)
    if items and items[0] == (op.AT, op.AT_BEGINNING):
        return Cost(1, ways, max(once, steps), first, empty)
    return Cost(max(1, steps), ways, once, first, empty)


def _characters(kind: Any, argument: Any, fold: bool) -> int:
    """Of a repetition of single bytes which they are; all, where it is something else."""
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT) and len(argument[2]) == 1:
        inner = argument[2][0]
        if inner[0] in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            return _set(inner[0], inner[1], fold)
    return _ALL


def _item(kind: Any, argument: Any, fold: bool, follow: int) -> Cost:
    if kind in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
        return Cost(1, 1, 0, _set(kind, argument, fold), False)
    if kind is op.AT:
        return Cost(1, 1, 0, 0, True)
    if kind is op.SUBPATTERN:
        _, flags, _, inner = argument
        if flags & ~re.IGNORECASE:
            raise NotLinear("has flags; none but (?i) is understood")
        return _sequence(list(inner), fold or bool(flags & re.IGNORECASE), follow)
    if kind is op.BRANCH:
        return _branch([_sequence(list(arm), fold, follow) for arm in argument[1]])
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, most, inner = argument
        if most is op.MAXREPEAT:
            raise NotLinear('a repetition without a bound; write "{0,50}" for "*", "{1,50}" for "+"')
        once = _sequence(list(inner), fold, _ALL)
        again = once.first if most > 1 else 0
        return _repeat(int(least), int(most), _sequence(list(inner), fold, follow | again))
    names = {op.ASSERT: "looks ahead or behind", op.ASSERT_NOT: "looks ahead or behind", op.GROUPREF: "refers back"}
    raise NotLinear(names.get(kind, f"has what can't be bounded ({str(kind).lower()})"))


def _repeat(least: int, most: int, inner: Cost) -> Cost:
    steps, ways, paths = 0, 0, 1
    if inner.empty and most > 1:
        raise NotLinear("repeats what may be empty")
    for count in range(most + 1):
        if count >= least:
            ways = min(_MANY, ways + paths)
        if count < most:
            steps = min(_MANY, steps + paths * inner.steps)
            paths = min(_MANY, paths * inner.ways)
        if ways == _MANY or steps == _MANY:
            break
    return Cost(steps + 1, max(1, ways), inner.once, inner.first, least == 0 or inner.empty)


def _branch(arms: list[Cost]) -> Cost:
    """Only those arms cost more than a look that can begin with the same byte."""
    steps = ways = 0
    first = 0
    for arm in arms:
        first |= arm.first
    for byte in range(256):
        bit = 1 << byte
        together = [arm for arm in arms if arm.empty or arm.first & bit]
        steps = max(steps, sum(arm.steps for arm in together))
        ways = max(ways, sum(arm.ways for arm in together))
    once = sum(arm.once for arm in arms)
    return Cost(
        min(_MANY, steps + len(arms)), min(_MANY, max(1, ways)), min(_MANY, once), first, any(arm.empty for arm in arms)
    )


def _set(kind: Any, argument: Any, fold: bool) -> int:
    if kind is op.ANY:
        return _ALL & ~(1 << 10)
    if kind is op.LITERAL:
        mask = 1 << argument
    elif kind is op.NOT_LITERAL:
        return _ALL & ~_folded(1 << argument, fold)
    else:
        mask, inverted = 0, False
        for name, value in argument:
            if name is op.NEGATE:
                inverted = True
            elif name is op.LITERAL:
                mask |= 1 << value
            elif name is op.RANGE:
                mask |= (1 << (value[1] + 1)) - (1 << value[0])
            else:
                mask |= _CATEGORIES[value]
        mask = _folded(mask, fold)
        return _ALL & ~mask if inverted else mask
    return _folded(mask, fold)


def _folded(mask: int, fold: bool) -> int:
    if fold:
        upper, lower = mask & _mask(bytes(range(65, 91))), mask & _mask(bytes(range(97, 123)))
        mask |= upper << 32 | lower >> 32
    return mask
