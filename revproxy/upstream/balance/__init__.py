"""Which backend takes a request. Pure: no I/O, no clock.

A balancer has one verb, ``pick(backends, exchange, tried)``: one of ``backends`` that is not in
``tried``, or ``None``. Rules of this package:

* who is eligible is decided before: tiers, health, draining and caps are the caller's, and every
  member of ``backends`` may be picked;
* ``backends`` is a tuple, and the same object until its members or their full weights change. What is
  kept about a group goes by its identity; a few groups may alternate (:data:`~.chance.GROUPS`);
* nothing is kept about requests: ``active`` counts those in flight, and the caller counts;
* what a balancer notes about a backend, it notes in the backend's own scratch.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from revproxy.upstream.balance.chance import Chance as Chance
from revproxy.upstream.balance.hash import Hash as Hash
from revproxy.upstream.balance.least_requests import LeastRequests as LeastRequests
from revproxy.upstream.balance.round_robin import RoundRobin as RoundRobin
from revproxy.upstream.balance.two_choices import TwoChoices as TwoChoices
from revproxy.upstream.balance.weighted import Balancer as Balancer, Weighted as Weighted

if TYPE_CHECKING:
    from revproxy.config import model
    from revproxy.exchange import Exchange


def balancer(
    written: model.Upstream, key: Callable[[Exchange], bytes | None] | None, chance: random.Random
) -> Balancer:
    """A balancer of the kind that was written.

    :param key: for ``hash``, what :func:`revproxy.keys.key_reader` gives; without one, backends take turns.
    """
    match written.balance:
        case "round-robin":
            return RoundRobin()
        case "least-requests":
            return LeastRequests()
        case "two-choices":
            return TwoChoices(chance)
        case "random":
            return Chance(chance)
        case "hash":
            heaviest = max((backend.weight for backend in written.backends), default=1)
            return Hash(key, written.hash.load, heaviest)
