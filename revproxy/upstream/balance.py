"""Which backend takes a request. Pure: no I/O, no clock.

A balancer has one verb, ``pick(backends, exchange, tried)``: one of ``backends`` that is not in
``tried``, or ``None``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeVar


class Weighted(Protocol):
    """What a balancer asks of a backend."""

    weight: int
    backup: bool
    #: Scratch of the balancer.
    current: int


B = TypeVar("B", bound=Weighted)


class RoundRobin:
    """Smooth weighted round robin: heavy backends come more often, but never in a row of their weight.

    Source: nginx's ``ngx_http_upstream_get_peer`` describes the algorithm.
    """

    def pick(self, backends: Sequence[B], exchange: Any = None, tried: Collection[B] = ()) -> B | None:
        """The next backend; backups only when nothing else is left."""
        if len(backends) == 1 and not tried:
            return backends[0]
        best: B | None = None
        total = 0
        for backend in backends:
            if backend.backup or backend in tried:
                continue
            backend.current += backend.weight
            total += backend.weight
            if best is None or backend.current > best.current:
                best = backend
        if best is not None:
            best.current -= total
            return best
        return next((backend for backend in backends if backend.backup and backend not in tried), None)
