"""What balancers and backends ask of each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar


class Weighted(Protocol):
    """What a balancer asks of a backend.

    :ivar name: what it is known by, also after a restart and in another process.
    :ivar weight: its share now, above 0 and never above ``full_weight``: a slow start moves it bit by bit.
    :ivar full_weight: its share once it is warm.
    :ivar active: requests in flight there; kept by whoever sends them.
    """

    name: str
    weight: float
    full_weight: int
    active: int
    #: Scratch of round robin: how much it is its turn.
    current: float
    #: Scratch of two choices: latency in seconds, 0 while none is known, and the reactor seconds it is of.
    ewma: float
    ewma_at: float


B = TypeVar("B", bound=Weighted)


class Balancer(Protocol):
    """See :mod:`revproxy.upstream.balance` for what callers promise."""

    @property
    def observe(self) -> Callable[[Any, float, float], None] | None:
        """``observe(backend, seconds, now)`` takes a measured latency; ``None`` where nobody wants to know."""

    def pick(
        self, backends: Sequence[B], exchange: Any = None, tried: Collection[B] = (), trace: list[str] | None = None
    ) -> B | None:
        """One of ``backends`` that is not in ``tried``, or ``None`` when there is none.

        :param exchange: whose turn it is: its ``started`` is the time, and keys are read from it.
        :param trace: collects why.
        """


def untried(backends: Sequence[B], tried: Collection[B]) -> list[B]:
    """Those that are left, in their order."""
    return [backend for backend in backends if backend not in tried]
