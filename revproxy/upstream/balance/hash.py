"""Equal keys go to the same backend: consistent hashing with bounded loads.

Every backend has points on a ring of 64-bit numbers, many by weight; a key belongs to the backend of the
next point (Karger et al., "Consistent Hashing and Random Trees", 1997). When one goes, its keys spread over the
others and no other key moves.

A backend that has ``load`` times its share of what is in flight is passed over for the next on the ring
(Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016), so that no key,
however hot, and nobody who chooses his keys brings down one backend.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Any

from revproxy.upstream.balance.chance import GROUPS
from revproxy.upstream.balance.round_robin import RoundRobin
from revproxy.upstream.balance.weighted import B

#: Points of a backend for each unit of weight, while weights are small: shares of equal ones differ by about
#: 1 / sqrt(POINTS), 8 %.
POINTS = 160

#: Points of the heaviest backend, and of a whole group, at most. Above, a unit of weight gets half as many, or a
#: quarter, and so on. 1600 take 2 ms to make, and 0.4 ms to sort anew when one comes or goes; 50,000 80 and 30 ms.
MOST = 8 * POINTS
MOST_TOGETHER = 65536

_NO_BOUND = float("inf")
_EIGHT = Struct(">8Q")


def points_of(name: str, count: int) -> list[int]:
    """The points of a backend, sorted. Fewer are a part of more: another weight moves no more keys than it has to."""
    start = blake2b(name.encode("utf-8", "surrogatepass") + b"\0")
    found: list[int] = []
    for number in range((count + 7) // 8):
        block = start.copy()
        block.update(number.to_bytes(4, "big"))
        found += _EIGHT.unpack(block.digest())
    return sorted(found[:count])


class Hash:
    """Keys to backends.

    :param key: reads an exchange's key; those that have none take turns.
    :param load: times the mean that a backend may have in flight, by weight; ``None`` for no bound.
    :param heaviest: the highest weight that was written. How many points a unit of weight gets goes by it and by
        the most that was seen since, and never by who is there now: otherwise keys of all would move when one goes.
    """

    __slots__ = ("_halved", "_key", "_load", "_owners", "_points", "_rings", "_turns")

    observe = None

    def __init__(self, key: Callable[[Any], bytes | None] | None, load: float | None = None, heaviest: int = 1) -> None:
        self._key = key
        self._load = load
        self._turns = RoundRobin()
        self._halved = 0
        self._fit(heaviest, heaviest)
        self._points: dict[str, list[int]] = {}
        self._owners: dict[int, str] = {}
        # the group stands in its entry, so that no other object has its identity meanwhile
        self._rings: dict[int, tuple[Sequence[Any], list[int], dict[str, Any]]] = {}

    def pick(
        self, backends: Sequence[B], exchange: Any = None, tried: Collection[B] = (), trace: list[str] | None = None
    ) -> B | None:
        """The backend that the key belongs to, or the next on the ring that was not tried and has room."""
        if len(backends) == 1 and not tried:
            return backends[0]
        key = None if self._key is None or exchange is None else self._key(exchange)
        if key is None or not backends:
            if trace is not None:
                trace.append("hash: no key")
            return self._turns.pick(backends, exchange, tried, trace)
        _, points, members = self._rings.get(id(backends)) or self._ring(backends)
        place = bisect(points, int.from_bytes(blake2b(key, digest_size=8).digest(), "big"))
        if place == len(points):
            place = 0
        owner: B = members[self._owners[points[place]]]
        load = self._load
        share = _NO_BOUND  # requests in flight for a unit of weight
        if load is not None and (owner.active or tried):  # an idle one has room whatever the others have
            active = 1
            weight: float = 0
            for backend in backends:
                active += backend.active
                weight += backend.weight
            share = load * active / weight
        if owner.active < share * owner.weight and trace is None and not tried:
            return owner
        return self._walk(points, members, place, share, tried, trace)

    def _walk(
        self,
        points: list[int],
        members: dict[str, B],
        place: int,
        share: float,
        tried: Collection[B],
        trace: list[str] | None,
    ) -> B | None:
        """Along the ring from ``place``. When none has room, as may be when some were tried, the first that is left."""
        owners = self._owners
        seen = set()
        first: B | None = None
        for at in range(place, place + len(points)):
            name = owners[points[at - len(points)]]
            if name in seen:
                continue
            seen.add(name)
            backend = members[name]
            if backend in tried:
                why = "was tried"
            elif backend.active < share * backend.weight:  # the capacity is this rounded up, and one is to come
                if trace is not None:
                    trace.append(f"hash: {name}")
                return backend
            else:
                first = backend if first is None else first
                why = f"has {backend.active} in flight, its share is {share * backend.weight:.1f}"
            if trace is not None:
                trace.append(f"hash: {name} {why}")
            if len(seen) == len(members):
                break
        return first

    def _ring(self, backends: Sequence[Any]) -> tuple[Sequence[Any], list[int], dict[str, Any]]:
        weights = [backend.full_weight for backend in backends]
        self._fit(max(weights), sum(weights))
        if len(self._rings) >= GROUPS:
            del self._rings[next(iter(self._rings))]
        members = {backend.name: backend for backend in backends}
        self._forget(members)
        points: list[int] = []
        for name, backend in members.items():
            points += self._points_of(name, backend.full_weight)
        points.sort()
        ring = self._rings[id(backends)] = (backends, points, members)
        return ring

    def _points_of(self, name: str, weight: int) -> list[int]:
        count = max(weight * POINTS >> self._halved, 1)
        found = self._points.get(name)
        if found is None or len(found) != count:
            found = self._points[name] = points_of(name, count)
            self._owners.update(dict.fromkeys(found, name))
        return found

    def _fit(self, heaviest: int, total: int) -> None:
        """Halve the points of a unit until there are not too many, and never double them again."""
        while heaviest * POINTS >> self._halved > MOST or total * POINTS >> self._halved > MOST_TOGETHER:
            self._halved += 1
            self._rings = {}

    def _forget(self, members: Collection[str]) -> None:
        """Let go of the points of backends that are gone, once they are more than those that are there."""
        kept = set(members).union(*(ring[2] for ring in self._rings.values()))
        if len(self._points) > 2 * len(kept):
            self._points = {name: points for name, points in self._points.items() if name in kept}
            # not of the points that are left: a ring may have more of a backend whose weight was lowered since
            self._owners = {point: name for point, name in self._owners.items() if name in kept}
