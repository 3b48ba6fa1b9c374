"""The generic cell rate algorithm: a rate with a burst, one number for each key (ITU-T I.371, annex A.1).

A key's number is its theoretical arrival time (TAT): when its next request would be due, if they all came evenly.
A request is allowed when it is not earlier than that by more than the burst allows. So

* over any time t no more than ``burst + rate * t`` requests of a key pass;
* a key whose TAT is past has its whole burst, as one that never asked: it needs no entry.

What is kept is bounded by ``keys``, whatever clients do, and nothing is shared between keys: no key is refused for what
others ask. Keys stand in a ring. When one is added, some of those that were looked at longest ago are looked at:

* keys whose TAT has been past for a minute go, and where there is no room those whose TAT is past: nothing is lost;
* where there still is no room, a quarter of those that were looked at goes: those that were refused least since they
  were looked at before (what was before that counts half, and so on), of them those that asked least. They have their
  burst back.

So a key is forgotten only for one that is new, and what passes in all is at most what the rate allows and two bursts
for each new key. And a key that is refused again and again is not forgotten for keys that are refused less often: a new
key moves the ring by four, so of K keys, with N new ones a second, all are looked at every ``K / 4 N`` seconds.

Times are seconds in floats, counted from the first: a wall clock's floats (2**-22 s apart) would be too coarse for
1,000,000 requests a second. A millionth of an interval is allowed for rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

#: How many of the ring are looked at together, which part of them goes where there is no room, and, where there is,
#: after how many new keys the next are.
_SAMPLE = 16
_PART = 4
_EVERY = 8
#: Seconds that a key is kept for which it is not needed: it takes 1 us more to add it again.
_SPARED = 60.0
_ROUNDING = 1e-6
#: What makes cutting off rounding up.
UP = 1.0 - 1e-6


class Verdict(NamedTuple):
    """What comes of a request.

    :param allowed: whether it may go on, after ``wait`` seconds (0 but where requests are delayed).
    :param wait: seconds; of a request that is refused, those after which one would go on at once.
    :param remaining: further requests that would be allowed now, at once.
    :param reset: seconds after which the whole burst is there, when nothing is asked meanwhile.
    """

    allowed: bool
    wait: float
    remaining: int
    reset: float


class Gcra:
    """One limit, for many keys.

    :param count: requests, 1 or more, :param seconds: in so many seconds. :param burst: requests that may come at once.
    :param delay: seconds that a request may be early beyond the burst; it has to wait until it is not.
    :ivar interval: seconds between two requests at the rate.
    :param keys: how many are kept, at most. A key takes 200 to 300 bytes (those of an IPv4 address as text included).
    """

    __slots__ = (
        "_full", "_furthest", "_keys", "_latest", "_look_at", "_order", "_origin", "_per_second", "_refused",
        "_tats", "_tolerance", "interval",
    )  # fmt: skip

    def __init__(self, count: float, seconds: float, burst: int, delay: float = 0.0, keys: int = 100_000) -> None:
        self.interval = seconds / count
        self._per_second = count / seconds
        self._tolerance = self.interval * (burst - 1 + _ROUNDING)
        self._full = self.interval * burst
        self._latest = self._tolerance + delay
        # nothing that was allowed is further ahead, unless the clock was set back
        self._furthest = self._latest + self.interval * (1 + _ROUNDING)
        self._keys = keys
        self._look_at = min(keys, _EVERY)
        self._tats: dict[Hashable, float] = {}
        self._order: deque[Hashable] = deque()  # each key of _tats once
        self._refused: dict[Hashable, int] = {}  # keys of _tats -> refusals, half of what it was at each look
        self._origin: float | None = None

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._tats)

    def pass_now(self, key: Hashable, now: float) -> float:
        """Count a request of ``key`` at ``now`` (seconds of any clock) if it may go on at once. 0.9 us.

        :return: :attr:`Verdict.reset`, or -1 where it may not, which counts nothing.
        """
        if self._origin is None:
            self._origin = now
        now -= self._origin
        tats = self._tats
        tat = tats.get(key)
        if tat is None:
            self._add(key, now)
        elif tat > now:
            if tat - now > self._tolerance:
                return -1.0
            tats[key] = tat = tat + self.interval
            return tat - now
        tats[key] = now + self.interval
        return self.interval

    def told(self, reset: float) -> tuple[int, int]:
        """What is left, and for how many whole seconds, of what :meth:`pass_now` gave.

        Where nothing is left they are those after which a next request is allowed.
        """
        left = int((self._full - reset) * self._per_second + _ROUNDING)
        return (left, int(reset + UP)) if left > 0 else (0, int(reset - self._tolerance + UP))

    def check(self, key: Hashable, now: float) -> Verdict:
        """Count a request of ``key`` at ``now`` (seconds of any clock), unless it is refused."""
        if self._origin is None:
            self._origin = now
        now -= self._origin
        tat = self._tats.get(key, now)
        ahead = tat - now
        if ahead > self._latest:
            if ahead > self._furthest:  # the clock was set back
                ahead = self._full
                self._tats[key] = now + ahead
            self.refuse(key)
            return Verdict(False, ahead - self._tolerance, 0, ahead)
        if key not in self._tats:
            self._add(key, now)
        elif ahead < 0.0:
            tat = now
            ahead = 0.0
        self._tats[key] = tat + self.interval
        wait = max(0.0, ahead - self._tolerance)
        ahead += self.interval
        return Verdict(True, wait, 0 if wait else self._left(ahead), ahead)

    def look(self, key: Hashable, now: float) -> Verdict:
        """What :meth:`check` would say, with the state as it is now; nothing is counted."""
        tat = self._tats.get(key)
        ahead = 0.0 if tat is None or self._origin is None else max(0.0, tat - (now - self._origin))
        if ahead > self._furthest:
            ahead = self._full
        wait = max(0.0, ahead - self._tolerance)
        return Verdict(ahead <= self._latest, wait, max(0, self._left(ahead)), ahead)

    def _left(self, ahead: float) -> int:
        return int((self._full - ahead) * self._per_second + _ROUNDING)

    def give_back(self, key: Hashable) -> None:
        """A request that was counted did not go on."""
        tat = self._tats.get(key)
        if tat is not None:
            self._tats[key] = tat - self.interval

    def take_back(self, key: Hashable, now: float) -> None:
        """A request that :meth:`pass_now` counted at ``now`` did not go on.

        A key that came with it does not stay, so that requests that are refused never push out others.
        """
        tat = self._tats[key] - self.interval
        if self._order[-1] == key and self._origin is not None and tat <= now - self._origin:
            self._order.pop()
            del self._tats[key]
            self._refused.pop(key, None)
        else:
            self._tats[key] = tat

    def refuse(self, key: Hashable) -> None:
        """A request was refused for ``key``, by whoever :meth:`look` told: it is forgotten after others."""
        if key in self._tats:
            self._refused[key] = self._refused.get(key, 0) + 1

    # -- what is kept

    def _add(self, key: Hashable, now: float) -> None:
        """There will be a key that is not kept yet."""
        if len(self._tats) >= self._look_at:
            self._make_room(now)
        self._order.append(key)

    def _make_room(self, now: float) -> None:
        order, tats, refused = self._order, self._tats, self._refused
        sample = [order.popleft() for _ in range(min(_SAMPLE, len(order)))]
        if len(tats) < self._keys:
            past = now - _SPARED
            dropped = [key for key in sample if tats[key] <= past]
            order.extend([key for key in sample if tats[key] > past] if dropped else sample)
        else:
            sample.sort(key=lambda key: (-1 if tats[key] <= now else refused.get(key, 0), tats[key]))
            drops = max(len(sample) // _PART, 1)
            while drops < len(sample) and tats[sample[drops]] <= now:
                drops += 1
            dropped = sample[:drops]
            for key in sample[drops:]:
                order.append(key)
                if key in refused:
                    refused[key] >>= 1
        for key in dropped:
            del tats[key]
            refused.pop(key, None)
        self._look_at = min(self._keys, len(tats) + _EVERY)


def whole(seconds: float) -> int:
    """Seconds as fields have them: rounded up, but for less than a microsecond too much, which is rounding itself."""
    return int(seconds + UP)  # half the time that math.ceil takes
