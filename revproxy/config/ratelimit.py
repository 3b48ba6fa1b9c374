"""What the operator wrote about rate limits; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from attrs import field, frozen

from revproxy.config.units import Requests, parse_requests
from revproxy.config.words import (
    Count,
    Duration,
    ErrorStatus,
    Ipv4Prefix,
    Ipv6Prefix,
    LimitKey,
    PolicyName,
    RequestRate,
)


def _requests(value: Requests | str) -> Requests:
    return parse_requests(value) if isinstance(value, str) else value


@frozen(kw_only=True)
class RateLimit:
    """How many requests of one key pass: ``rate``, and ``burst`` of them at once.

    Without a ``burst`` what the rate gives in a second may come at once, or a tenth of its number where that is more,
    and one at least. ``by`` says what the key is, and ``missing`` by what requests without one are counted: by their
    client, all together (``"route"``), or not at all (``"pass"``). Addresses count by their first ``ipv4`` and ``ipv6``
    bits. Requests that come too early are refused with ``status``, or wait up to ``delay`` seconds, ``waiting`` of them
    at most. Where ``hits`` is false, what a cache answers is not counted. ``fields`` says on which responses clients
    are told; ``keys`` are kept at most.
    """

    rate: RequestRate = field(converter=_requests)
    burst: Count | None = None
    by: LimitKey = "client"
    missing: Literal["client", "route", "pass"] = "client"
    ipv4: Ipv4Prefix = 32
    ipv6: Ipv6Prefix = 64
    delay: Duration | None = None
    waiting: Count = 1000
    status: ErrorStatus = 429
    hits: bool = True
    fields: Literal["all", "refused", "off"] = "all"
    keys: Count = 100_000
    name: PolicyName | None = None


def limit_names(written: Sequence[RateLimit]) -> list[str]:
    """What clients know limits by: as written, or made from the rate's time, with a number from the second on."""
    taken = {each.name for each in written if each.name is not None}
    made = []
    for each in written:
        name = each.name
        if name is None:
            name = stem = f"per-{each.rate.unit}"
            number = 1
            while name in taken:
                number += 1
                name = f"{stem}-{number}"
            taken.add(name)
        made.append(name)
    return made
