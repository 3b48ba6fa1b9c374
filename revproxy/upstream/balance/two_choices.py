"""The better of two, by what they took lately and what they have to do.

A backend costs ``latency * (active + 1) / weight``. Its latency is a peak EWMA, as Finagle's
``PeakEwma`` has it: a higher one counts at once, a lower one moves the average by the time that has passed
since the last, with a time constant of :data:`DECAY`. While nothing is heard of a backend its latency falls,
so that one that was slow is asked again some time.

What is not known does not count. A backend of which nothing was heard yet is compared with the other by its
requests in flight alone, as if it were as fast: it is asked at once, but holds no more than its share while
its first answers are out (a latency of 0 would draw every request to it, a very high one would keep it out for
as long as its first request takes). For the same reason silence makes a latency fall to the other's and not
below: after a long rest a slow backend is nothing worse than unknown.

Two, drawn by weight, and not the best of all: Mitzenmacher, "The Power of Two Choices in Randomized Load
Balancing" (2001). Proxies that know the same don't all go to the same backend.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from math import exp
from typing import Any

from revproxy.upstream.balance.chance import Lots, drawn
from revproxy.upstream.balance.weighted import B, Weighted, untried

#: Time constant of the latency's average, in seconds.
DECAY = 10.0

#: The least latency: 0 is for those that none is known of.
LEAST = 1e-6


class TwoChoices:
    """The better of two that are drawn by weight."""

    __slots__ = ("_lots",)

    def __init__(self, chance: random.Random) -> None:
        self._lots = Lots(chance)

    def observe(self, backend: Weighted, seconds: float, now: float) -> None:
        """A request took ``seconds``, until reactor seconds ``now``."""
        known = backend.ewma
        if seconds < known:
            age = now - backend.ewma_at
            seconds += (known - seconds) * exp(-age / DECAY) if age > 0 else known - seconds
        backend.ewma = seconds if seconds > LEAST else LEAST
        backend.ewma_at = now

    def pick(
        self, backends: Sequence[B], exchange: Any = None, tried: Collection[B] = (), trace: list[str] | None = None
    ) -> B | None:
        """The better of two; the one drawn first when they are equal."""
        if tried:
            left = untried(backends, tried)
            if len(left) < 2:
                return left[0] if left else None
            first = drawn(left, self._lots.chance)
            left.remove(first)
            second = drawn(left, self._lots.chance)
        else:
            if len(backends) < 2:
                return backends[0] if backends else None
            first, second = self._lots.two(backends)
        now = 0.0 if exchange is None else exchange.started
        picked = second if is_better(second, first, now) else first
        if trace is not None:
            trace.append(f"two choices: {first.name} ({_known(first)}) or {second.name} ({_known(second)})")
            trace.append(f"two choices: {picked.name} costs less")
        return picked


def is_better(one: Weighted, other: Weighted, now: float) -> bool:
    """Whether ``one`` costs less than ``other`` at reactor seconds ``now``."""
    first = one.ewma
    second = other.ewma
    if first and second:
        age = now - one.ewma_at
        faded = first * exp(-age / DECAY) if age > 0 else first
        age = now - other.ewma_at
        second_faded = second * exp(-age / DECAY) if age > 0 else second
        if faded < second_faded:
            first = min(first, second_faded)
            second = second_faded
        else:
            second = min(second, faded)
            first = faded
    if not first or not second or first == second:
        return (one.active + 1) * other.weight < (other.active + 1) * one.weight
    return first * (one.active + 1) * other.weight < second * (other.active + 1) * one.weight


def _known(backend: Weighted) -> str:
    latency = f"{backend.ewma * 1000:.1f} ms" if backend.ewma else "nothing known"
    return f"{latency}, {backend.active} in flight"
