"""What the operator wrote about request filters; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from revproxy.config.words import Count, LinearPattern, Name, OwnRuleId, RuleId, SizeOrZero

Place = Literal["path", "query", "cookies", "headers", "agent", "body", "files"]
PLACES: tuple[Place, ...] = ("path", "query", "cookies", "headers", "agent", "body", "files")
#: Bytes of a body that may be looked at: one step of that many holds the reactor 40 ms at worst, of the default 3.
MOST_BODY = 128 << 10


@frozen(kw_only=True)
class FilterRule:
    """A rule of the operator's: what ``pattern`` finds in one of the places ``in`` adds ``score``.

    Numbers up to 9999 are those of the built-in rules. Patterns match decoded bytes, whatever their case.
    """

    id: OwnRuleId
    name: Name
    pattern: LinearPattern
    in_: tuple[Place, ...] = PLACES
    score: Count = 5


@frozen(kw_only=True)
class Filter:
    """Looks for attacks in requests; each rule that finds one adds its score.

    From ``threshold`` on a request is refused, or in the mode ``"detect"`` only logged. ``paranoia`` of 2 has rules
    that harmless requests meet, too. ``except`` names rules that are not used; ``body`` is how many bytes of a body
    are looked at.
    """

    threshold: Count = 5
    mode: Literal["block", "detect"] = "block"
    paranoia: Literal[1, 2] = 1
    except_: tuple[RuleId, ...] = ()
    body: SizeOrZero = 16 * 1024
    rules: tuple[FilterRule, ...] = ()
