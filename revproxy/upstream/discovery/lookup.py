"""From names to addresses and services: what is asked, in which order, and what the answers say.

Rules of this module:

* A and AAAA are asked at once; a family that fails keeps its last addresses while the other one answers;
* aliases are followed (RFC 1034, section 3.6.2), no more than :data:`_ALIASES`, and the least TTL of all counts;
* with name servers of one's own only these are asked; else this machine's files say who is (:mod:`.system`);
* reading answers is pure; strangers' records and addresses that no backend can have are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.names import dns

from revproxy.threads import in_thread
from revproxy.upstream.discovery.nameserver import NameServers, NoSuchName, Server
from revproxy.upstream.discovery.report import NoAnswer
from revproxy.upstream.discovery.system import System, read_system

_ALIASES = 8
#: A TTL with the highest bit set counts as 0 (RFC 2181, section 8).
_TTL = 2**31


class Asks(Protocol):
    """Who answers questions; :class:`NameServers` does."""

    def ask(self, name: str, kind: int) -> Coroutine[Deferred[Any], Any, dns.Message]:
        """The answer for a name and a record type. :raises NoAnswer: when there is none."""


@frozen
class Found:
    """Addresses, sorted, and the seconds for which they hold."""

    addresses: tuple[str, ...]
    lasts: float


@frozen
class Services:
    """SRV records (at least one), the addresses that came with them by lower-case name, and the seconds they hold."""

    records: tuple[dns.Record_SRV, ...]
    addresses: dict[str, Found]
    lasts: float


class Lookup:
    """Finds addresses and services.

    :param servers: the name servers to ask; without any, this machine's.
    :param ask_at: makes what asks, from servers.
    :param system: reads what this machine says about a name; it may block.
    """

    __slots__ = ("_ask_at", "_kept", "_reactor", "_servers", "_system")

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[Server] = (),
        *,
        ask_at: Callable[[Sequence[Server]], Asks] | None = None,
        system: Callable[[str], System] = read_system,
    ) -> None:
        self._reactor = reactor
        self._servers = tuple(servers)
        self._ask_at = ask_at or (lambda servers: NameServers(reactor, servers))
        self._system = system
        self._kept: dict[tuple[str, int], tuple[str, ...]] = {}

    async def addresses(self, name: str) -> Found:
        """The addresses of a host, at least one. :raises NoAnswer: when there is none."""
        system = await self._how(name)
        if system.hosts:
            return Found(_usable(system.hosts), 0)
        asks = self._ask_at(system.servers)
        why = "no addresses"
        for candidate in system.candidates(name):
            try:
                found = await self._both(asks, candidate)
            except NoSuchName as error:
                why = str(error)
                continue
            if found.addresses:
                return found
            why = "no addresses"
        raise NoAnswer(why)

    async def services(self, name: str) -> Services:
        """The SRV records of a service, at least one. :raises NoAnswer: when there is none."""
        system = await self._how(name)
        asks = self._ask_at(system.servers)
        why = "no SRV records"
        for candidate in system.candidates(name):
            try:
                records, additional, lasts = await _follow(asks, candidate, dns.SRV)
            except NoSuchName as error:
                why = str(error)
                continue
            if records:
                return Services(tuple(map(_payload, records)), by_name(additional), lasts)
            why = "no SRV records"
        raise NoAnswer(why)

    def forget(self, names: Iterable[str]) -> None:
        """Keep no addresses but those of these names."""
        kept = {name.rstrip(".").lower() for name in names}
        self._kept = {key: addresses for key, addresses in self._kept.items() if key[0] in kept}

    async def _how(self, name: str) -> System:
        if self._servers:
            return System(self._servers)
        return await in_thread(self._reactor, self._system, name)

    async def _both(self, asks: Asks, name: str) -> Found:
        kinds = (dns.A, dns.AAAA)
        asked = [Deferred.fromCoroutine(_follow(asks, name, kind)) for kind in kinds]
        addresses: list[str] = []
        lasts: list[float] = []
        failed: list[tuple[int, NoAnswer]] = []
        unknown = 0
        results: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
        for kind, (good, result) in zip(kinds, results, strict=True):
            key = (name.lower(), kind)
            if good:
                records, _, seconds = result
                found = self._kept[key] = _usable(map(_address, records))
                addresses += found
                if found:
                    lasts.append(seconds)
            elif result.check(NoSuchName):
                self._kept.pop(key, None)
                unknown += 1
            elif result.check(NoAnswer):
                failed.append((kind, result.value))
            else:
                result.raiseException()
        if failed and not addresses:
            raise failed[0][1]
        if unknown == len(kinds):
            raise NoSuchName("NXDOMAIN")
        for kind, _ in failed:
            addresses += self._kept.get((name.lower(), kind), ())
        return Found(_usable(addresses), min(lasts, default=0))


async def _follow(asks: Asks, name: str, kind: int) -> tuple[list[dns.RRHeader], list[dns.RRHeader], float]:
    """The records of a name, whatever its aliases; what came with them; and the seconds for which they hold."""
    lasts = float(_TTL)
    for _ in range(_ALIASES):
        message = await asks.ask(name, kind)
        last, records, seconds = follow(message.answers, name, kind)
        lasts = min(lasts, seconds)
        if records or last.lower() == name.lower():
            return records, message.additional, lasts
        name = last
    raise NoAnswer("too many aliases")


def follow(answers: Iterable[dns.RRHeader], name: str, kind: int) -> tuple[str, list[dns.RRHeader], float]:
    """Where the aliases of ``name`` lead within an answer: the last name, its records, and the least TTL on the way."""
    aliases: dict[str, dns.RRHeader] = {}
    by_owner: dict[str, list[dns.RRHeader]] = {}
    for record in answers:
        if record.cls != dns.IN:
            continue
        owner = _text(record.name)
        if record.type == dns.CNAME:
            aliases.setdefault(owner.lower(), record)
        elif record.type == kind:
            by_owner.setdefault(owner.lower(), []).append(record)
    lasts = float(_TTL)
    for _ in range(_ALIASES):
        alias = aliases.get(name.lower())
        if alias is None or name.lower() in by_owner:
            break
        lasts = min(lasts, _ttl(alias))
        name = _text(_payload(alias).name)
    records = by_owner.get(name.lower(), [])
    return name, records, min([lasts, *map(_ttl, records)])


def by_name(records: Iterable[dns.RRHeader]) -> dict[str, Found]:
    """The addresses in a section, by lower-case name."""
    found: dict[str, tuple[list[str], list[float]]] = {}
    for record in records:
        if record.cls == dns.IN and record.type in (dns.A, dns.AAAA):
            addresses, lasts = found.setdefault(_text(record.name).lower(), ([], []))
            addresses.append(_address(record))
            lasts.append(_ttl(record))
    good = {name: Found(_usable(addresses), min(lasts)) for name, (addresses, lasts) in found.items()}
    return {name: item for name, item in good.items() if item.addresses}


def _usable(addresses: Iterable[str]) -> tuple[str, ...]:
    """Sorted, each once, without those that are nobody's: ``0.0.0.0`` and ``::``, which blocklists give, groups', and
    those of a single link, which endpoint strings can't name."""
    known = {ip_address(text) for text in addresses if "%" not in text}
    good = [address for address in known if not (address.is_unspecified or address.is_multicast)]
    return tuple(map(str, sorted(good, key=lambda address: (address.version, int(address)))))


def _address(record: dns.RRHeader) -> str:
    return str(ip_address(_payload(record).address))


def _payload(record: dns.RRHeader) -> Any:
    return record.payload


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "backslashreplace")


def _ttl(record: dns.RRHeader) -> float:
    return float(record.ttl) if record.ttl < _TTL else 0.0
