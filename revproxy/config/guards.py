"""What the operator wrote about overload and bans; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from attrs import frozen

from revproxy.config.words import BanCondition, Count, Duration, Network, Share


@frozen(kw_only=True)
class Shed:
    """Refuses a share of the requests while the proxy can't keep up.

    ``lag`` is how late the reactor may be, in seconds, ``queue`` the part of an upstream's ``queue`` that may wait,
    above 0 to 1; ``None`` does not look at queues. Routes say what matters most: their ``priority``.
    """

    lag: Duration = 0.1
    queue: Share | None = 0.5


@frozen(kw_only=True)
class BanRule:
    """So many bad ends of an address's requests and connections within a time are a ban.

    ``when`` has words of faults, statuses, and ``"refused"`` for all that limits, filters and the rules of HTTP refuse.
    ``within`` and ``ban`` are seconds.
    """

    when: tuple[BanCondition, ...] = ("refused",)
    count: Count = 20
    within: Duration = 60.0
    ban: Duration = 600.0


@frozen(kw_only=True)
class Bans:
    """Addresses that are not let in: those written, and those that rules find. ``allow`` are never banned."""

    rules: tuple[BanRule, ...] = ()
    addresses: tuple[Network, ...] = ()
    allow: tuple[Network, ...] = ()
