"""Backends and exchanges as far as balancers look at them."""

from __future__ import annotations

import random
from collections import Counter

from attrs import define, field

from revproxy.upstream.balance import Chance, Hash, LeastRequests, RoundRobin, TwoChoices


@define(eq=False)
class One:
    name: str
    full_weight: int = 1
    weight: float = field()
    active: int = 0
    current: float = 0
    ewma: float = 0.0
    ewma_at: float = 0.0

    @weight.default
    def _warm(self) -> float:
        return self.full_weight


@define
class Asked:
    """An exchange: its time and its key."""

    started: float = 0.0
    key: bytes | None = None


#: What makes a balancer of each kind, given chance.
KINDS = {
    "round-robin": lambda chance: RoundRobin(),
    "least-requests": lambda chance: LeastRequests(),
    "two-choices": TwoChoices,
    "random": Chance,
    "hash": lambda chance: Hash(lambda exchange: exchange.key, 1.25),
}


def make(kind, seed=1):
    return KINDS[kind](random.Random(seed))


def group(*weights):
    """Backends a, b, c … of these weights."""
    return tuple(One(chr(97 + at), weight) for at, weight in enumerate(weights))


def names(balancer, backends, count, tried=(), held=False):
    """The names of ``count`` picks in a row; ``held`` requests stay in flight."""
    found = []
    for _ in range(count):
        picked = balancer.pick(backends, Asked(), tried)
        if held:
            picked.active += 1
        found.append("-" if picked is None else picked.name)
    return "".join(found)


def shares(balancer, backends, count, ask=lambda number: Asked()):
    """How much of ``count`` picks each gets, by name."""
    found = Counter(balancer.pick(backends, ask(number)).name for number in range(count))
    return {backend.name: found[backend.name] / count for backend in backends}
