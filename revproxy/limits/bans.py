"""Who is not let in for a while, and what leads to it.

Rules of this module:

* what is banned is what counts as one client (:func:`~revproxy.limits.client.counted`); networks that are
  spared never are;
* a rule looks at the last ``within`` seconds exactly. It remembers at most ``count`` times of an address, and
  :data:`EVENTS` in all; then those of the address that was quiet the longest go, so that a flood from many
  addresses can't hide one that goes on;
* bans are bounded, too: beyond :data:`BANS` the oldest is lifted. Those that were written stay;
* who is banned again soon after a ban is banned for twice as long, up to :data:`LONGEST`;
* a ban is one line in the log when it begins and one when it ends; under a flood, so many a second and a count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from revproxy.limits.client import counted, counted_by_hand

#: Times that a rule remembers, of all addresses: some 5 MB.
EVENTS = 50_000
#: Addresses that are banned at the same time: some 40 MB.
BANS = 100_000
#: Seconds that a ban may grow to, and those after a ban in which the next one is longer.
LONGEST, REPEATED = 86400.0, 3600.0

Exempt = Callable[[str], bool]
Changed = Callable[[str, str], None]


class Ban(NamedTuple):
    """One ban: of whom, until when (seconds of the clock; ``inf`` for ever), why, and for how long it was meant."""

    address: str
    until: float
    why: str
    seconds: float


class Rule:
    """So many bad ends within a time are a ban.

    :param faults: words of faults. :param statuses: of answers. :param count: how many.
    :param within: seconds. :param ban: seconds.
    """

    __slots__ = ("_events", "_times", "ban", "count", "faults", "statuses", "within")

    def __init__(self, faults: frozenset[str], statuses: frozenset[int], count: int, within: float, ban: float) -> None:
        self.faults = faults
        self.statuses = statuses
        self.count = count
        self.within = within
        self.ban = ban
        self._times: dict[str, deque[float]] = {}
        self._events = 0

    @property
    def events(self) -> int:
        """How many times are remembered."""
        return self._events

    def saw(self, address: str, word: str, status: int, now: float) -> bool:
        """A request or connection of an address ended so: whether that is a ban."""
        if word not in self.faults and status not in self.statuses:
            return False
        table = self._times
        times = table.pop(address, None)
        if times is None:
            times = deque()
        before = now - self.within
        while times and times[0] <= before:
            times.popleft()
            self._events -= 1
        times.append(now)
        self._events += 1
        if len(times) >= self.count:
            self._events -= len(times)
            return True
        table[address] = times  # at the end: it is the last that was heard of
        while self._events > EVENTS:
            quiet = next(iter(table))
            self._events -= len(table.pop(quiet))
        return False


class BanList:
    """Addresses that are not let in.

    :param rules: what leads to a ban. :param spared: whether an address may not be banned.
    :param seconds: a clock. :param began: told of every ban (the address, why and for how long).
    :param ended: told when one is over (the address, why).
    :ivar by_status: a rule asks for statuses: then every answer has to be told.
    """

    __slots__ = (
        "_bans", "_began", "_ended", "_past", "_rules", "_seconds", "_spared", "_swept", "_written", "by_status",
    )  # fmt: skip

    def __init__(
        self,
        rules: Iterable[Rule],
        seconds: Callable[[], float],
        spared: Exempt | None = None,
        began: Changed | None = None,
        ended: Changed | None = None,
    ) -> None:
        self._rules = tuple(rules)
        self._seconds = seconds
        self._spared: list[Exempt] = [] if spared is None else [spared]
        self._began = began
        self._ended = ended
        self._bans: dict[str, Ban] = {}
        self._past: dict[str, tuple[float, float]] = {}  # when the last one ended, and how long it was
        self._written: Exempt | None = None
        self._swept = float("-inf")
        self.by_status = any(rule.statuses for rule in self._rules)

    # -- who is let in

    def holds(self, address: str) -> bool:
        """Whether an address is banned. Two empty calls while nobody is, five otherwise."""
        if not self._bans and self._written is None:
            return False
        return self._holds(address)

    def _holds(self, address: str) -> bool:
        key = counted(address)
        ban = self._bans.get(key)
        if ban is not None:
            if self._seconds() < ban.until:
                return True
            self._over(ban)
        written = self._written
        return written is not None and written(address) and not self.spares(address)

    def why(self, address: str) -> str:
        """Why it is banned: for the log."""
        ban = self._bans.get(counted(address))
        return "written in the configuration" if ban is None else ban.why

    def spares(self, address: str) -> bool:
        """Whether an address is never banned."""
        return any(spared(address) for spared in self._spared)

    def spare(self, exempt: Exempt) -> None:
        """Never ban these, either."""
        self._spared.append(exempt)

    def always(self, written: Exempt) -> None:
        """Never let these in: what the configuration says."""
        self._written = written

    # -- what leads to it

    def saw(self, address: str, word: str, status: int) -> bool:
        """A request or a connection of an address ended with a fault's word or a status; whether it is banned now."""
        key = ""
        banned = False
        for rule in self._rules:
            if word in rule.faults or status in rule.statuses:
                if not key:
                    key = counted(address)
                    if not address or key in self._bans or self.spares(address):
                        return False
                if rule.saw(key, word, status, self._seconds()):
                    what = word or str(status)
                    seconds = self._longer(key, rule.ban)
                    self._ban(key, seconds, f"{rule.count} in {rule.within:g} s, the last: {what}")
                    banned = True
        return banned

    def _longer(self, key: str, seconds: float) -> float:
        ended, before = self._past.get(key, (float("-inf"), 0.0))
        if self._seconds() < ended + REPEATED:
            return max(seconds, min(LONGEST, before * 2))
        return seconds

    # -- by hand

    def ban(self, address: str, seconds: float, why: str = "") -> bool:
        """Ban an address for so many seconds; ``False`` when it is spared. Takes the place of the ban there is.

        :param address: of IPv4 or IPv6, which stands for its /64; such a /64; or ``unknown``, clients that no trusted
            proxy names.
        :raises ValueError: for all else: names, and networks, which stand in ``addresses`` of the configuration.
        """
        if not address or self.spares(address.partition("/")[0]):
            return False
        self._ban(counted_by_hand(address), seconds, why)
        return True

    def _ban(self, key: str, seconds: float, why: str) -> None:
        self._sweep()
        bans = self._bans
        known = bans.pop(key, None)
        ban = bans[key] = Ban(key, self._seconds() + seconds, why, seconds)
        if len(bans) > BANS:
            self._over(bans[next(iter(bans))])
        if known is None and self._began is not None:
            self._began(key, f"for {seconds:g} s{': ' if why else ''}{ban.why}")

    def lift(self, address: str) -> bool:
        """Let an address in again; ``False`` when it was not banned. What was written in the configuration stays."""
        ban = self._bans.get(address) or self._bans.get(counted(address))
        if ban is None:
            return False
        self._over(ban, "lifted")
        self._past.pop(ban.address, None)
        return True

    def list(self) -> tuple[Ban, ...]:
        """The bans that are in force; the oldest comes first."""
        now = self._seconds()
        return tuple(ban for ban in self._bans.values() if ban.until > now)

    def sweep(self) -> None:
        """Say of those that are over that they are, and forget them; at most once a second."""
        self._sweep()

    def _sweep(self) -> None:
        now = self._seconds()
        if now - self._swept < 1.0:
            return
        self._swept = now
        for ban in [ban for ban in self._bans.values() if ban.until <= now]:
            self._over(ban)
        for key in [key for key, (ended, _) in self._past.items() if now >= ended + REPEATED]:
            del self._past[key]

    def _over(self, ban: Ban, how: str = "over") -> None:
        del self._bans[ban.address]
        past = self._past
        past.pop(ban.address, None)
        past[ban.address] = (min(ban.until, self._seconds()), ban.seconds)
        if len(past) > BANS:
            del past[next(iter(past))]
        if self._ended is not None:
            self._ended(ban.address, how)
