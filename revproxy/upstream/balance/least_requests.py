"""The backend that has the least to do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from revproxy.upstream.balance.weighted import B, untried

_MOST = float("inf")


class LeastRequests:
    """The fewest requests in flight for the weight, with the one to come: ``(active + 1) / weight``.

    Those that have equally little take turns. Under load shares follow the weights; while most are
    idle the heavy ones take all, because there a request is done soonest.
    """

    __slots__ = ("_next",)

    observe = None

    def __init__(self) -> None:
        self._next = 0  # behind the one picked last

    def pick(
        self, backends: Sequence[B], exchange: Any = None, tried: Collection[B] = (), trace: list[str] | None = None
    ) -> B | None:
        """The backend with the least to do; among equals the first behind the one picked last."""
        if tried:
            backends = untried(backends, tried)
        elif len(backends) == 1:
            return backends[0]
        if not backends:
            return None
        turn = self._next
        best = 0
        least = _MOST
        for at, backend in enumerate(backends):
            load = (backend.active + 1) / backend.weight
            if load < least:
                least = load
                best = at
            elif load == least and best < turn <= at:
                best = at
        self._next = best + 1
        picked = backends[best]
        if trace is not None:
            trace.append(
                f"least requests: {picked.name} has {picked.active} in flight for a weight of {picked.weight:g}"
            )
        return picked
