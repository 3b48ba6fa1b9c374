"""Backends take turns, by weight."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from revproxy.upstream.balance.weighted import B, untried

_LOWEST = float("-inf")


class RoundRobin:
    """Smooth weighted round robin: heavy backends come more often, but never in a row of their weight.

    A pick adds to each backend's ``current`` its weight, and takes from the highest, who is picked,
    what was added to all. Source: nginx's ``ngx_http_upstream_get_peer`` describes the algorithm.
    """

    __slots__ = ()

    observe = None

    def pick(
        self, backends: Sequence[B], exchange: Any = None, tried: Collection[B] = (), trace: list[str] | None = None
    ) -> B | None:
        """The next backend."""
        if tried:
            backends = untried(backends, tried)
        elif len(backends) == 1:
            return backends[0]
        best: B | None = None
        total: float = 0
        highest = _LOWEST
        for backend in backends:
            weight = backend.weight
            total += weight
            backend.current = current = backend.current + weight
            if current > highest:
                best = backend
                highest = current
        if best is not None:
            best.current = highest - total
            if trace is not None:
                trace.append(f"round robin: the turn of {best.name} among {len(backends)}")
        return best
