"""What filters say of a request."""

from __future__ import annotations

from attrs import define, field, frozen

from revproxy.accesslog_format import printable
from revproxy.filters.rules import Rule

#: Bytes of a matched part, and hits, that a report shows.
SHOWN, LISTED = 48, 8


@frozen
class Hit:
    """A rule that found something. :param where: such as ``query id``. :param text: the matched part."""

    rule: Rule
    where: str
    text: bytes

    def __str__(self) -> str:
        text = self.text if len(self.text) <= SHOWN else self.text[:SHOWN] + b"..."
        return f'{self.named()}: "{printable(text)}"'

    def named(self) -> str:
        """Without the matched part."""
        return f"{self.rule.id} {self.rule.name} in {self.where}"


@define(eq=False)
class Report:
    """What is known of one request.

    :ivar score: of all rules that found something. :ivar uninspected: what was not looked at, in words.
    """

    hits: dict[int, Hit] = field(factory=dict)
    score: int = 0
    uninspected: list[str] = field(factory=list)

    def add(self, rule: Rule, where: str, text: bytes) -> None:
        if rule.id not in self.hits:
            self.hits[rule.id] = Hit(rule, where, text)
            self.score += rule.score

    def skipped(self, what: str) -> None:
        if what not in self.uninspected:
            self.uninspected.append(what)

    def __bool__(self) -> bool:
        return bool(self.hits or self.uninspected)

    def detail(self, threshold: int, hidden: frozenset[str] = frozenset()) -> str:
        """For the log: the score, each hit, what was not looked at. :param hidden: places that credentials have."""
        said = [hit.named() if hit.where in hidden else str(hit) for hit in self.hits.values()]
        if len(said) > LISTED:
            said[LISTED:] = [f"{len(said) - LISTED} more"]
        if self.hits:
            said.insert(0, f"score {self.score} of {threshold}")
        if self.uninspected:
            said.append(f"not inspected: {', '.join(self.uninspected)}")
        return "; ".join(said)
