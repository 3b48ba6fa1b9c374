"""The generic cell rate algorithm: a rate with a burst, one number for each key (ITU-T I.371, annex A.1).

A key's number is its theoretical arrival time (TAT): when its next request would be due, if they all came evenly.
A request is allowed when it is not earlier than that by more than the burst allows. So

* over any time t no more than ``burst + rate * t`` requests of a key pass;
* a key whose TAT is past has its whole burst, as one that never asked: it needs no entry.

What is kept is bounded by ``keys``, whatever clients do. What is dropped first, when there is no room:

* keys whose TAT is past: nothing is lost. Each new key looks at two of the oldest;
* of the sixteen oldest, those that were never refused, the half that asked least: they get their burst back, and that
  is all that cycling through addresses is good for;
* only where all sixteen were refused, the one that waits least. Its TAT goes into a table of fixed size that is shared
  by hash, four cells to a key: what a cell says is at least the TAT, so no one who is limited is forgotten, and who
  shares all four cells with such keys is taken for one of them. With half as many dropped as are kept (100,000) that
  happens to about 8 in 100 new keys, with a tenth as many to 4 in 10,000. Cells run out by themselves, as TATs do.

Times are seconds in floats, counted from the first: a wall clock's floats (2**-22 s apart) would be too coarse for
1,000,000 requests a second. A millionth of an interval is allowed for rounding.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

#: How many of the oldest keys are looked at when there is no room, and when there is.
_SAMPLE = 16
_SWEEP = 2
_ROWS = 4
_ROUNDING = 1e-6


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
    :param keys: how many are kept, at most. A key takes about 200 bytes (those of an IPv4 address as text included).
    """

    __slots__ = (
        "_full", "_furthest", "_keys", "_latest", "_order", "_origin", "_over", "_per_second", "_shadow",
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
        self._tats: dict[Hashable, float] = {}
        self._order: deque[Hashable] = deque()  # each key of _tats once
        self._over: set[Hashable] = set()  # keys that were refused since they had their whole burst
        self._shadow: Shadow | None = None
        self._origin: float | None = None

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._tats)

    def pass_now(self, key: Hashable, now: float) -> float:
        """Count a request of ``key`` at ``now`` (seconds of any clock) if it may go on at once. 0.4 us.

        :return: :attr:`Verdict.reset`, or -1 where it may not, which counts nothing.
        """
        if self._origin is None:
            self._origin = now
        now -= self._origin
        tats = self._tats
        tat = tats.get(key)
        if tat is None:
            tat = self._forgotten(key, now)
            if tat - now > self._tolerance:
                return -1.0
            self._add(key, now)
        elif tat <= now:
            if self._over:
                self._over.discard(key)
            tats[key] = now + self.interval
            return self.interval
        elif tat - now > self._tolerance:
            return -1.0
        tats[key] = tat = tat + self.interval
        return tat - now

    def left(self, reset: float) -> int:
        """:attr:`Verdict.remaining`, of what :meth:`pass_now` gave."""
        return int((self._full - reset) * self._per_second + _ROUNDING)

    def check(self, key: Hashable, now: float) -> Verdict:
        """Count a request of ``key`` at ``now`` (seconds of any clock), unless it is refused."""
        if self._origin is None:
            self._origin = now
        now -= self._origin
        tat = self._tats.get(key)
        if tat is None:
            tat = self._forgotten(key, now)
            if tat - now > self._latest:
                return Verdict(False, tat - now - self._tolerance, 0, tat - now)
            self._add(key, now)
        elif tat <= now:
            tat = now
            if self._over:
                self._over.discard(key)
        ahead = tat - now
        if ahead > self._latest:
            return self._refuse(key, now, ahead)
        self._tats[key] = tat + self.interval
        wait = ahead - self._tolerance
        ahead += self.interval
        if wait > 0.0:
            return Verdict(True, wait, 0, ahead)
        return Verdict(True, 0.0, int((self._full - ahead) * self._per_second + _ROUNDING), ahead)

    def look(self, key: Hashable, now: float) -> Verdict:
        """What :meth:`check` would say, with the state as it is now; nothing is counted."""
        if self._origin is None:
            self._origin = now
        now -= self._origin
        tat = self._tats.get(key)
        if tat is None:
            tat = self._forgotten(key, now)
        ahead = max(0.0, tat - now)
        if ahead > self._furthest:
            ahead = self._full
        left = max(0, int((self._full - ahead) * self._per_second + _ROUNDING))
        wait = max(0.0, ahead - self._tolerance)
        return Verdict(ahead <= self._latest, wait, left, ahead)

    def give_back(self, key: Hashable) -> None:
        """A request that was counted did not go on."""
        tat = self._tats.get(key)
        if tat is not None:
            self._tats[key] = tat - self.interval

    def refuse(self, key: Hashable, now: float) -> None:
        """A request was refused for ``key``: it is not forgotten before those that were not."""
        if self._origin is not None and key in self._tats and self._tats[key] > now - self._origin:
            self._over.add(key)

    def _refuse(self, key: Hashable, now: float, ahead: float) -> Verdict:
        if ahead > self._furthest:  # the clock was set back
            ahead = self._full
            self._tats[key] = now + ahead
        self._over.add(key)
        return Verdict(False, ahead - self._tolerance, 0, ahead)

    def until_next(self, reset: float) -> float:
        """Seconds after which a next request is allowed, of the ``reset`` of one that left none."""
        return reset - self._tolerance

    # -- what is kept

    def _add(self, key: Hashable, now: float) -> None:
        """There will be a key that is not kept yet."""
        if len(self._tats) >= self._keys:
            self._make_room(now)
        elif self._order:
            self._sweep(now)
        self._order.append(key)

    def _forgotten(self, key: Hashable, now: float) -> float:
        """The TAT of a key that is not kept, ``now`` or later."""
        if self._shadow is None:
            return now
        return max(now, min(self._shadow.get(key), now + self._full))

    def _sweep(self, now: float) -> None:
        order, tats = self._order, self._tats
        for _ in range(min(_SWEEP, len(order))):
            key = order.popleft()
            if tats[key] > now:
                order.append(key)
            else:
                del tats[key]
                self._over.discard(key)

    def _make_room(self, now: float) -> None:
        order, tats, over = self._order, self._tats, self._over
        sample = [order.popleft() for _ in range(min(_SAMPLE, len(order)))]
        dropped = [key for key in sample if tats[key] <= now]
        if not dropped:
            dropped = sorted([key for key in sample if key not in over], key=tats.__getitem__)
            dropped = dropped[: (len(dropped) + 1) // 2]
        if not dropped:
            dropped = [min(sample, key=tats.__getitem__)]
            if self._shadow is None:
                self._shadow = Shadow(self._keys)
            self._shadow.put(dropped[0], tats[dropped[0]])
        for key in dropped:
            del tats[key]
            over.discard(key)
        order.extend(key for key in sample if key in tats)


class Shadow:
    """Times of keys in a table of a fixed size: what it says of a key is what was put for it, or later.

    :param keys: about twice as many as it is to tell apart well; 32 to 64 bytes for each, 2 MB at most.
    """

    __slots__ = ("_cells", "_mask", "_shift")

    def __init__(self, keys: int) -> None:
        bits = max(6, keys.bit_length())
        bits = min(bits, 16)  # four times that is what a hash has
        self._mask = (1 << bits) - 1
        self._shift = bits
        self._cells = tuple(array("d", bytes(8 << bits)) for _ in range(_ROWS))

    def put(self, key: Hashable, time: float) -> None:
        """Remember the time of a key."""
        at = hash(key)
        for row in self._cells:
            cell = at & self._mask
            if row[cell] < time:
                row[cell] = time
            at >>= self._shift

    def get(self, key: Hashable) -> float:
        """The time of a key or one that is later, 0 for none."""
        at = hash(key)
        least = float("inf")
        for row in self._cells:
            least = min(least, row[at & self._mask])
            at >>= self._shift
        return least
