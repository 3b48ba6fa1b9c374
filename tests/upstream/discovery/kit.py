"""What the tests of discovery share: name servers in memory, a clock, and what was reported and logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.names import dns

from revproxy.config import model
from revproxy.upstream.discovery.lookup import Lookup
from revproxy.upstream.discovery.system import System

RECORDS = {dns.A: dns.Record_A, dns.AAAA: dns.Record_AAAA, dns.CNAME: dns.Record_CNAME, dns.SRV: dns.Record_SRV}
KINDS = {"A": dns.A, "AAAA": dns.AAAA, "CNAME": dns.CNAME, "SRV": dns.SRV}
SERVER = ("10.0.0.53", 53)


def record(line: str) -> dns.RRHeader:
    """A record such as ``"api.internal 30 A 10.0.0.1"`` or ``"_x._tcp.a 30 SRV 1 2 9000 b.a"``."""
    name, ttl, word, *data = line.split()
    kind = KINDS[word]
    data = [word if word != "." else "" for word in data]
    payload = RECORDS[kind](*data, ttl=int(ttl)) if kind != dns.SRV else dns.Record_SRV(*data, ttl=int(ttl))
    return dns.RRHeader(name.encode(), kind, dns.IN, int(ttl), payload)


def message(*lines: str, additional: Sequence[str] = ()) -> dns.Message:
    """A message with these answers."""
    answer = dns.Message(answer=1)
    answer.answers = [record(line) for line in lines]
    answer.additional = [record(line) for line in additional]
    return answer


class Zone:
    """Name servers in memory.

    :ivar says: what is answered by name and word, such as ``("api.internal", "A")``: lines, a message, an exception, or
        a Deferred; what is not there has no records. :ivar asked: all questions.
    """

    def __init__(self, **says: Any) -> None:
        self.says: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.servers: list[Any] = []

    def at(self, servers: Any) -> Zone:
        self.servers.append(tuple(servers))
        return self

    async def ask(self, name: str, kind: int) -> dns.Message:
        key = (name, next(word for word, number in KINDS.items() if number == kind))
        self.asked.append(key)
        said = self.says.get(key, [])
        if isinstance(said, Deferred):
            said = await said
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, dns.Message) else message(*said)


class Watched:
    """A source that is watched.

    :ivar told: each list that was reported. :ivar log: what was logged.
    """

    def __init__(self, source: Any, clock: Clock, log: list[str]) -> None:
        self.source = source
        self.clock = clock
        self.log = log
        self.told: list[tuple[model.Backend, ...]] = []

    def start(self) -> Watched:
        self.source.start(self.told.append)
        return self

    def endpoints(self) -> list[str]:
        """The endpoints of the last list."""
        return [backend.endpoint for backend in self.told[-1]]

    def next_in(self) -> float | None:
        """Seconds to the only timer, or ``None``."""
        calls = self.clock.getDelayedCalls()
        assert len(calls) <= 1
        return round(calls[0].getTime() - self.clock.seconds(), 3) if calls else None


def lookup(zone: Zone, clock: Clock, *, system: System | None = None) -> Lookup:
    """A lookup that asks a zone."""
    if system is None:
        return Lookup(clock, [SERVER], ask_at=zone.at)
    return Lookup(clock, ask_at=zone.at, system=lambda name: system)


@contextmanager
def logged() -> Iterator[list[str]]:
    """Gather what is logged, as text."""
    lines: list[str] = []

    def take(event: Any) -> None:
        if str(event.get("log_namespace", "")).startswith("revproxy."):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(take)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(take)
