"""Backends from SRV records (RFC 2782).

Rules of this module:

* the lowest priority serves (tier 0), the next one is its backup (tier 1), and so on, up to tier 9;
* a target's weight is shared by its addresses; weights are whole numbers up to :data:`_HEAVIEST`, in proportion,
  and 0 counts as 1;
* the target ``.`` says that the service is not available: an error like others, so that a slip in a zone takes
  nobody's backends away;
* a target that can't be resolved keeps its last addresses; without any it is left out, and asked for again soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from ipaddress import ip_address
from math import gcd, lcm
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.names.dns import Record_SRV

from revproxy.config import model
from revproxy.config.endpoints import name_server
from revproxy.upstream.discovery.dns import endpoint_at, wire_name
from revproxy.upstream.discovery.lookup import Found, Lookup
from revproxy.upstream.discovery.report import MOST, Answer, Asking, NoAnswer

_HEAVIEST = 100
_LAST_TIER = 9
#: How many targets are asked for at a time.
_AT_ONCE = 8


class SrvSource(Asking):
    """A service name that is asked again when the least TTL of its records and addresses has passed.

    :param lookup: finds services and addresses; made of ``written.servers`` when it is not given.
    :raises ValueError: when the name is none, or a server is no address.
    :ivar hosts: the targets' names, by endpoint string.
    """

    def __init__(self, written: model.Srv, reactor: Any, lookup: Lookup | None = None) -> None:
        self.hosts: dict[str, str] = {}
        self._name = wire_name(written.name)
        self._lookup = lookup or Lookup(reactor, [name_server(server) for server in written.servers])
        self._known: dict[str, tuple[str, ...]] = {}
        super().__init__(f"srv {written.name}", self._look, reactor, at_least=written.at_least, at_most=written.at_most)

    async def _look(self) -> Answer:
        services = await self._lookup.services(self._name)
        records = [record for record in services.records if target_of(record) and record.port]
        if not records:
            raise NoAnswer('the service is not available (target ".")')
        records = sorted(records, key=lambda record: (record.priority, target_of(record), record.port))[:MOST]
        targets = list(dict.fromkeys(map(target_of, records)))
        lasts = services.lasts
        known: dict[str, tuple[str, ...]] = {}
        missing = []
        for target in targets:
            found = services.addresses.get(target)
            if found is None:
                missing.append(target)
            else:
                known[target] = found.addresses
                lasts = min(lasts, found.lasts)
        why = None
        for target, result in zip(missing, await self._addresses(missing), strict=True):
            if isinstance(result, Found):
                known[target] = result.addresses
                lasts = min(lasts, result.lasts)
            else:
                why, lasts = f"{target}: {result}", 0
                if target in self._known:
                    known[target] = self._known[target]
        self._lookup.forget(targets)
        if not known:
            raise NoAnswer(why or "no addresses")
        self._known = known
        found_backends, self.hosts = members(records, known)
        return Answer(found_backends, lasts, self.hosts)

    async def _addresses(self, targets: Sequence[str]) -> list[Found | NoAnswer]:
        results: list[Found | NoAnswer] = []
        for start in range(0, len(targets), _AT_ONCE):
            some = [self._lookup.addresses(f"{target}.") for target in targets[start : start + _AT_ONCE]]
            answers: list[tuple[bool, Any]] = await DeferredList(map(Deferred.fromCoroutine, some), consumeErrors=True)
            for good, result in answers:
                if not good and not result.check(NoAnswer):
                    result.raiseException()
                results.append(result if good else result.value)
        return results


def target_of(record: Record_SRV) -> str:
    """The target's name in lower case, without a final dot; empty for ``.``."""
    return str(record.target.name.decode("ascii", "backslashreplace").rstrip(".").lower())


def members(
    records: Iterable[Record_SRV], addresses: Mapping[str, Sequence[str]]
) -> tuple[tuple[model.Backend, ...], dict[str, str]]:
    """The backends of SRV records, by tier and address, and the targets' names by endpoint string.

    An address and port that stands in several records counts once, in its first tier, with the sum of its weights.
    """
    tiers: dict[int, dict[str, Fraction]] = {}
    hosts: dict[str, str] = {}
    order: dict[str, tuple[int, int, int]] = {}
    ordered = sorted(records, key=lambda record: record.priority)
    priorities = sorted({record.priority for record in ordered if target_of(record) in addresses})
    place = {priority: min(index, _LAST_TIER) for index, priority in enumerate(priorities)}
    for record in ordered:
        if len(order) > MOST:
            break
        target = target_of(record)
        found = addresses.get(target, ())[:MOST]
        for address in found:
            endpoint = endpoint_at(address, record.port)
            tier = place[record.priority]
            if any(endpoint in shares for other, shares in tiers.items() if other < tier):
                continue
            shares = tiers.setdefault(tier, {})
            shares[endpoint] = shares.get(endpoint, Fraction(0)) + Fraction(max(record.weight, 1), len(found))
            hosts.setdefault(endpoint, target)
            number = ip_address(address)
            order[endpoint] = (number.version, int(number), record.port)
    backends = []
    for tier, shares in sorted(tiers.items()):
        endpoints = sorted(shares, key=order.__getitem__)
        for endpoint, weight in zip(endpoints, weights([shares[endpoint] for endpoint in endpoints]), strict=True):
            backends.append(model.Backend(endpoint=endpoint, weight=weight, backup=tier))
    return tuple(backends), hosts


def weights(shares: Sequence[Fraction]) -> list[int]:
    """Whole numbers from 1 to :data:`_HEAVIEST` in proportion to the shares, as small as they can be."""
    factor = lcm(*(share.denominator for share in shares))
    numbers = [int(share * factor) for share in shares]
    divisor = gcd(*numbers)
    heaviest = max(numbers) // divisor
    if heaviest <= _HEAVIEST:
        return [number // divisor for number in numbers]
    return [max(1, round(number * _HEAVIEST / max(numbers))) for number in numbers]
