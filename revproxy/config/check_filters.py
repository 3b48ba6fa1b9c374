"""What has to agree in a route's ``filter``: numbers of rules; the rules are :mod:`revproxy.config.check`'s."""

from __future__ import annotations

from collections.abc import Iterator

from revproxy.config.errors import Key
from revproxy.config.filters import MOST_BODY, Filter
from revproxy.config.structure import Found
from revproxy.filters.rules import RULES

_BUILT_IN = frozenset(rule.id for rule in RULES)


def check_filter(key: Key, written: Filter) -> Iterator[Found]:
    """Rules of the operator's that have one number, exceptions for rules that are none, and too long a body."""
    if written.body > MOST_BODY:
        problem = f"is more than is looked at of a body: {MOST_BODY >> 10}KB"
        yield Found((*key, "body"), problem, found=str(written.body))
    own: dict[int, int] = {}
    for at, rule in enumerate(written.rules):
        if rule.id in own:
            yield Found((*key, "rules", at, "id"), f"{rule.id} is also the number of rules[{own[rule.id]}]")
        own.setdefault(rule.id, at)
        if not rule.in_:
            text = "is empty: the rule would look nowhere; write places, or leave it out for all of them"
            yield Found((*key, "rules", at, "in"), text)
    for at, number in enumerate(written.except_):
        if number and number not in _BUILT_IN and number not in own:
            place: Key = (*key, "except", *([at] if len(written.except_) > 1 else []))
            yield Found(place, f"no rule has the number {number}", found=str(number))
