"""Several rate limits at once: which requests pass, and what their clients are told.

Rules of this module:

* all or nothing: a request that one limit refuses is counted by none of them;
* a limit that has no key for a request (see ``missing``) does not count it;
* a request waits as long as the limit that asks for the longest wait;
* what goes on at once is decided in one pass over the limits; where one says no, what was counted is taken back, and
  all else is decided in a pass that knows all cases;
* pure: keys are read by functions that are handed in, the time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from attrs import Factory, frozen

from revproxy.fault import Fault
from revproxy.limits.gcra import Gcra, Verdict, whole
from revproxy.limits.ratefields import Fields, Numbers, Policy

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

#: Reads what a limit counts by; ``None``: this request is not counted.
Read = Callable[["Exchange"], Hashable]

_NOTHING: tuple[int | None, int | None] = (None, None)


def _tells_nothing(reset: float) -> tuple[int | None, int | None]:
    return _NOTHING


class Queue:
    """Requests that wait for one limit, on whatever route. :ivar length: how many do, for whoever makes them wait."""

    __slots__ = ("length",)

    def __init__(self) -> None:
        self.length = 0


@frozen(eq=False)
class Limit:
    """One limit, compiled.

    :param read: its key. :param gcra: its state. :param policy: what clients are told of it.
    :param fault: how a refused request fails, and :param detail: what of that is logged.
    :param waiting: how many requests may wait at once. :param hits: whether answers of a cache count.
    :param tells_all: clients are told on every response, :param tells_refused: on refusals.
    :ivar queue: those that wait.
    """

    read: Read
    gcra: Gcra
    policy: Policy
    fault: Fault
    detail: str
    waiting: int = 0
    hits: bool = True
    tells_all: bool = True
    tells_refused: bool = True
    queue: Queue = Factory(Queue)


@frozen
class Refused:
    """A request that is refused. :param after: whole seconds after which it would pass. :param told: to the client."""

    limit: Limit
    after: int
    told: bytes


@frozen
class Delayed:
    """A request that has to wait. :param keys: of each limit, to give back what it took when it does not go on."""

    limit: Limit
    seconds: float
    keys: tuple[Hashable, ...]
    told: bytes


class Limits:
    """Limits that a request has to pass all of.

    :ivar limits: they.
    :ivar decide: ``decide(exchange, now)`` counts a request, or refuses it: gives the lines that one that goes on at
        once tells its client, maybe none. 1.5 us for one limit, 4.5 for two, 3 more where numbers change.
    """

    __slots__ = (
        "_fields", "_known", "_numbers", "_pass", "_read", "_rest", "_rested", "_steps", "_tells", "decide",
        "limits",
    )  # fmt: skip

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.limits = tuple(limits)
        self._tells = any(limit.tells_all for limit in limits)
        self._fields = Fields([limit.policy for limit in limits])
        self._known = self._fields.known
        first = self.limits[0]
        self._read, self._pass, self._numbers = first.read, first.gcra.pass_now, first.gcra.told
        self._rest = first.gcra.interval
        self._steps = tuple(
            (
                limit.read,
                limit.gcra.pass_now,
                limit.gcra.interval,
                limit.gcra.told if limit.tells_all else _tells_nothing,
                limit.gcra.told(limit.gcra.interval) if limit.tells_all else _NOTHING,
            )
            for limit in limits
        )
        # most requests come from clients that have their whole burst
        rested: Numbers = tuple([number for *_, pair in self._steps for number in pair])
        self._rested = self._fields.told(rested)
        self.decide: Callable[[Exchange, float], bytes | Refused | Delayed] = (
            self._decide_several if len(self.limits) > 1 else self._decide_one
        )

    @property
    def tells(self) -> bool:
        """Whether there are responses on which clients are told anything."""
        return any(limit.tells_all or limit.tells_refused for limit in self.limits)

    def _decide_one(self, exchange: Exchange, now: float) -> bytes | Refused | Delayed:
        key = self._read(exchange)
        if key is None:
            return b""
        reset = self._pass(key, now)
        if reset == self._rest:
            return self._rested
        if reset < 0.0:
            return self._slowly([key], now)
        if not self._tells:
            return b""
        numbers = self._numbers(reset)
        return self._known.get(numbers) or self._fields.told(numbers)

    def _decide_several(self, exchange: Exchange, now: float) -> bytes | Refused | Delayed:
        keys: list[Hashable] = []
        numbers: list[int | None] = []
        rested = True
        for read, pass_now, interval, told, rest in self._steps:
            key = read(exchange)
            keys.append(key)
            if key is None:
                rested = False
                numbers += _NOTHING
                continue
            reset = pass_now(key, now)
            if reset == interval:
                numbers += rest
            elif reset < 0.0:
                return self._back_out(exchange, keys, now)
            else:
                rested = False
                numbers += told(reset)
        if rested or not self._tells:
            return self._rested
        made = tuple(numbers)
        return self._known.get(made) or self._fields.told(made)

    def _back_out(self, exchange: Exchange, keys: list[Hashable], now: float) -> bytes | Refused | Delayed:
        """The last of the keys may not pass at once: nothing is counted, and then it is decided slowly."""
        at = len(keys) - 1
        for limit, key in zip(self.limits[:at], keys[:at], strict=True):
            if key is not None:
                limit.gcra.take_back(key, now)
        keys += [limit.read(exchange) for limit in self.limits[at + 1 :]]
        return self._slowly(keys, now)

    def _slowly(self, keys: Sequence[Hashable], now: float) -> bytes | Refused | Delayed:
        verdicts = tuple(
            None if key is None else limit.gcra.look(key, now) for limit, key in zip(self.limits, keys, strict=True)
        )
        if all(verdict is None or verdict.allowed for verdict in verdicts):
            verdicts = tuple(
                None if key is None else limit.gcra.check(key, now)
                for limit, key in zip(self.limits, keys, strict=True)
            )
        return self._not_yet(tuple(keys), verdicts)

    def _not_yet(self, keys: tuple[Hashable, ...], verdicts: tuple[Verdict | None, ...]) -> bytes | Refused | Delayed:
        slowest: Limit | None = None
        slowest_key: Hashable = None
        longest = 0.0
        allowed = True
        for limit, key, verdict in zip(self.limits, keys, verdicts, strict=True):
            if verdict is None or (verdict.allowed and not allowed):
                continue
            if (allowed and not verdict.allowed) or verdict.wait > longest:
                slowest, slowest_key, longest, allowed = limit, key, verdict.wait, verdict.allowed
        if slowest is None:
            return self._tell(verdicts, None)
        if allowed and slowest.queue.length < slowest.waiting:
            return Delayed(slowest, longest, keys, self._tell(verdicts, None))
        if allowed:
            # it would have to wait, and too many do: all give back what they counted
            for limit, key in zip(self.limits, keys, strict=True):
                if key is not None:
                    limit.gcra.give_back(key)
        slowest.gcra.refuse(slowest_key)
        return Refused(slowest, max(1, whole(longest)), self._tell(verdicts, longest))

    def _tell(self, verdicts: tuple[Verdict | None, ...], refused: float | None) -> bytes:
        """What clients are told. :param refused: seconds after which a request that is refused would not be."""
        numbers: list[int | None] = []
        for limit, verdict in zip(self.limits, verdicts, strict=True):
            if verdict is None or not (limit.tells_all if refused is None else limit.tells_refused):
                numbers += _NOTHING
            elif refused is not None and not (verdict.allowed and verdict.wait == 0.0):
                # the same moment as Retry-After
                numbers += (0, max(1, whole(verdict.wait)))
            else:
                numbers += limit.gcra.told(verdict.reset)
        return self._fields.told(tuple(numbers))

    def give_back(self, keys: tuple[Hashable, ...]) -> None:
        """A request that waited does not go on."""
        for limit, key in zip(self.limits, keys, strict=True):
            if key is not None:
                limit.gcra.give_back(key)
