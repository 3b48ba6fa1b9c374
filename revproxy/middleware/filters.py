"""Request filters as a client-request hook: what the rules find is logged, and from a score on refused.

Rules of this module:

* what is found is decided in :mod:`revproxy.filters.engine`; here requests are refused and bodies waited for;
* a refusal is a fault, and its detail names each hit. What is let through with hits has the same detail in its line;
* a body's beginning is waited for only where there are rules for it;
* what takes long goes on in slices of later turns (:mod:`revproxy.slices`), and so much of it waits at most.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from revproxy.config.filters import Filter, FilterRule
from revproxy.fault import FILTER_BUSY, FILTERED, ProtocolError
from revproxy.filters.engine import RuleSet
from revproxy.filters.linear import literals
from revproxy.filters.media import CODINGS, LINES, codings, readable, reading
from revproxy.filters.report import Report
from revproxy.filters.rules import PLACES, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.defer import Deferred

    from revproxy.exchange import Exchange


def filtering(written: Filter, hidden: frozenset[str] = frozenset()) -> Callable[[Exchange], Deferred[Any] | None]:
    """A client-request hook, for before everything that works with what a request says.

    :param hidden: places of which the log shows no text: ``query k``.
    """
    rules = _rule_set(written.rules, written.except_, written.paranoia)
    threshold, limit = written.threshold, written.body
    blocks = written.mode == "block"

    def settle(exchange: Exchange, report: Report) -> None:
        if report:
            detail = report.detail(threshold, hidden)
            if blocks and report.score >= threshold:
                raise ProtocolError(FILTERED, detail)
            exchange.detail = detail

    def look(exchange: Exchange, steps: Iterator[None]) -> Deferred[Any] | None:
        slices = exchange.engine.slices
        if slices.full:
            raise ProtocolError(FILTER_BUSY)
        return slices.run(steps)

    def hook(exchange: Exchange) -> Deferred[Any] | None:
        request = exchange.request
        size = rules.glance(request)
        if not size and (request.length == 0 or not limit):
            return None
        report = Report()
        if size:
            looking = look(exchange, rules.head(request, report))
            if looking is not None:
                return looking.addCallback(lambda _: headed(exchange, report))
        return headed(exchange, report)

    def headed(exchange: Exchange, report: Report) -> Deferred[Any] | None:
        request = exchange.request
        if request.length == 0 or not limit or (blocks and report.score >= threshold):
            settle(exchange, report)
            return None
        headers = request.headers
        ways = reading(LINES.join(headers.get_all(b"content-type")))
        if not ways:
            settle(exchange, report)
            return None
        coded = codings(headers.get_all(b"content-encoding"))
        if coded:
            report.skipped("a coded body")
        compressed = not coded.isdisjoint(CODINGS)

        def arrived(prefix: bytes) -> Deferred[Any] | None:
            if exchange.received > limit or (request.length or 0) > limit:
                report.skipped(f"the body after {limit} bytes")
            if compressed:
                prefix = readable(prefix)
            looking = look(exchange, rules.body(ways, prefix, report))
            if looking is not None:
                return looking.addCallback(lambda _: settle(exchange, report))
            settle(exchange, report)
            return None

        return exchange.body_prefix(limit).addCallback(arrived)

    return hook


@lru_cache(maxsize=64)
def _rule_set(own: tuple[FilterRule, ...], without: tuple[int, ...], level: int) -> RuleSet:
    """Routes that are filtered alike share one."""
    made = []
    for rule in own:
        places = 0
        for place in rule.in_:
            places |= PLACES[place]
        made.append(Rule(rule.id, rule.name, rule.score, rule.pattern, literals(rule.pattern), places))
    return RuleSet(made, without, level)
