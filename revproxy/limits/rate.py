"""Several rate limits at once: which requests pass, and what their clients are told.

Rules of this module:

* all or nothing: a request that one limit refuses is counted by none of them;
* a limit that has no key for a request (see ``missing``) does not count it;
* a request waits as long as the limit that asks for the longest wait;
* pure: keys are read by functions that are handed in, the time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from revproxy.fault import Fault
from revproxy.limits.gcra import Gcra, Verdict
from revproxy.limits.ratefields import UP, Fields, Numbers, Policy, Told, whole

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

#: Reads what a limit counts by; ``None``: this request is not counted.
Read = Callable[["Exchange"], Hashable]


@frozen(eq=False)
class Limit:
    """One limit, compiled.

    :param read: its key. :param gcra: its state. :param policy: what clients are told of it.
    :param fault: how a refused request fails, and :param detail: what of that is logged.
    :param waiting: how many requests may wait at once. :param hits: whether answers of a cache count.
    :param tells_all: clients are told on every response, :param tells_refused: on refusals.
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


@frozen
class Refused:
    """A request that is refused. :param after: whole seconds after which it would pass. :param told: for the client."""

    limit: Limit
    after: int
    told: Told | None


@frozen
class Delayed:
    """A request that has to wait. :param keys: of each limit, to give back what it took when it does not go on."""

    seconds: float
    keys: tuple[Hashable, ...]
    told: Told | None


class Limits:
    """Limits that a request has to pass all of.

    :ivar limits: they. :ivar waiting: how many requests wait, for whoever makes them wait to keep.
    """

    __slots__ = ("_alone", "_fields", "_first", "_known", "_rested", "_tells", "limits", "waiting")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.limits = tuple(limits)
        self.waiting = 0
        self._tells = any(limit.tells_all for limit in limits)
        self._fields = Fields([limit.policy for limit in limits])
        self._known = self._fields.known
        self._alone = self.limits[0] if len(limits) == 1 else None
        # most requests come from clients that have their whole burst
        self._rested = -1.0
        self._first: Told | None = None
        if self._alone is not None and self._tells:
            gcra = self._alone.gcra
            self._rested = reset = gcra.interval
            self._first = self._fields.told((_numbers(self._alone, Verdict(True, 0.0, gcra.left(reset), reset)),))

    @property
    def tells(self) -> bool:
        """Whether there are responses on which clients are told anything."""
        return any(limit.tells_all or limit.tells_refused for limit in self.limits)

    def decide(self, exchange: Exchange, now: float) -> Told | Refused | Delayed | None:
        """Count a request, or refuse it.

        :return: what a request that goes on at once tells its client, or ``None`` for nothing.
        """
        alone = self._alone
        if alone is not None:
            key = alone.read(exchange)
            if key is None:
                return None
            gcra = alone.gcra
            reset = gcra.pass_now(key, now)
            if reset < 0.0:
                return self._not_yet((key,), (gcra.check(key, now),), now)
            if not self._tells:
                return None
            if reset == self._rested:
                return self._first
            left = gcra.left(reset)
            numbers = ((left, int(reset + UP)),) if left else ((0, whole(gcra.until_next(reset))),)
            told = self._known.get(numbers)
            return self._fields.told(numbers) if told is None else told
        keys = tuple(limit.read(exchange) for limit in self.limits)
        verdicts = tuple(
            None if key is None else limit.gcra.look(key, now) for limit, key in zip(self.limits, keys, strict=True)
        )
        if all(verdict is None or verdict.allowed for verdict in verdicts):
            verdicts = tuple(
                None if key is None else limit.gcra.check(key, now)
                for limit, key in zip(self.limits, keys, strict=True)
            )
        return self._not_yet(keys, verdicts, now)

    def _not_yet(
        self, keys: tuple[Hashable, ...], verdicts: tuple[Verdict | None, ...], now: float
    ) -> Told | Refused | Delayed | None:
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
            return self._told(verdicts, None)
        if allowed and self.waiting < slowest.waiting:
            return Delayed(longest, keys, self._told(verdicts, None))
        if allowed:
            # it would have to wait, and too many do: all give back what they counted
            for limit, key in zip(self.limits, keys, strict=True):
                if key is not None:
                    limit.gcra.give_back(key)
        slowest.gcra.refuse(slowest_key, now)
        return Refused(slowest, max(1, whole(longest)), self._told(verdicts, longest))

    def _told(self, verdicts: tuple[Verdict | None, ...], refused: float | None) -> Told | None:
        """What clients are told. :param refused: seconds after which a request that is refused would not be."""
        numbers: list[tuple[int, int] | None] = []
        for limit, verdict in zip(self.limits, verdicts, strict=True):
            if verdict is None or not (limit.tells_all if refused is None else limit.tells_refused):
                numbers.append(None)
            elif refused is not None and not (verdict.allowed and verdict.wait == 0.0):
                # the same moment as Retry-After
                numbers.append((0, max(1, whole(verdict.wait))))
            else:
                numbers.append(_numbers(limit, verdict))
        made: Numbers = tuple(numbers)
        return self._fields.told(made)

    def give_back(self, keys: tuple[Hashable, ...]) -> None:
        """A request that waited does not go on."""
        for limit, key in zip(self.limits, keys, strict=True):
            if key is not None:
                limit.gcra.give_back(key)


def _numbers(limit: Limit, verdict: Verdict) -> tuple[int, int]:
    """What is left, and for how long; nothing is left until the next request is allowed."""
    remaining, reset = verdict.remaining, verdict.reset
    return remaining, whole(reset if remaining else limit.gcra.until_next(reset))
