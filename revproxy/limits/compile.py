"""What was written of limits -> what keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from revproxy.config.conditions import in_networks
from revproxy.config.guards import Bans
from revproxy.limits.bans import BanList, Rule
from revproxy.limits.refusals import REFUSALS, REFUSED


def compile_bans(
    written: Bans,
    trusted: Sequence[str],
    seconds: Callable[[], float],
    began: Callable[[str, str], None],
    ended: Callable[[str, str], None],
) -> BanList:
    """The ban list of a proxy. :param trusted: networks of proxies, which are spared. :param began: see BanList."""
    rules = []
    for rule in written.rules:
        words = {word for word in rule.when if not word.isdigit()}
        if REFUSED in words:
            words |= REFUSALS
        statuses = frozenset(int(word) for word in rule.when if word.isdigit())
        rules.append(Rule(frozenset(words), statuses, rule.count, rule.within, rule.ban))
    spared = (*trusted, *written.allow)
    bans = BanList(rules, seconds, in_networks(spared) if spared else None, began, ended)
    if written.addresses:
        bans.always(in_networks(written.addresses))
    return bans
