"""Shares requests out to several handlers, by weight.

Equal keys go the same way, in every process and after a restart. A key goes where its number, drawn for each
name by a hash and divided by the weight, is least (weighted rendezvous hashing: Schindelhauer and Schomaker,
"Weighted Distributed Hash Tables", 2005). So when a weight is raised keys move to that handler only, when
it is lowered from that one only, and no more of them than the shares have changed.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import accumulate
from math import log
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revproxy.config import model
    from revproxy.exchange import Exchange

_WHOLE = 2.0**64


class Split:
    """Hands each exchange to one of several handlers.

    :param handlers: by name; all that ``written`` names are there.
    :param key: reads an exchange's key; without one, and for exchanges that have none, chance decides.
    """

    __slots__ = ("_chance", "_handlers", "_key", "_names", "_parts", "_sums", "_weights")

    def __init__(
        self,
        written: model.Split,
        handlers: Mapping[str, Any],
        key: Callable[[Exchange], bytes | None] | None,
        chance: random.Random,
    ) -> None:
        self._key = key
        self._chance = chance
        self._handlers = {name: handlers[name] for name in written.upstreams}
        self._weights = dict.fromkeys(written.upstreams, 0)
        self.set_weights(written.upstreams)

    @property
    def weights(self) -> dict[str, int]:
        """Weights by name, as they are now; a copy."""
        return dict(self._weights)

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Change weights from the next request on; those of names left out stay.

        :raises ValueError: for unknown names, for what is no whole number from 0 on, and when all would be 0;
            then nothing is changed.
        """
        for name, weight in weights.items():
            if name not in self._weights:
                raise ValueError(f"no {name!r} here; there are {', '.join(self._weights)}")
            if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
                raise ValueError(f"the weight of {name!r} is a whole number from 0 on, not {weight!r}")
        new = self._weights | dict(weights)
        if not any(new.values()):
            raise ValueError("no weight over 0; at least one has to be")
        self._weights = new
        self._names = [name for name, weight in new.items() if weight]
        self._sums = list(accumulate(new[name] for name in self._names))
        # hashes that have begun with the name: one copy and the key are left to do for each request
        self._parts = [(name, new[name], blake2b(name.encode() + b"\0", digest_size=8)) for name in self._names]

    def choose(self, exchange: Exchange, trace: list[str] | None = None) -> str:
        """The name of the one that takes this exchange."""
        names = self._names
        key = None if self._key is None or len(names) == 1 else self._key(exchange)
        if len(names) == 1:
            chosen, why = names[0], "all"
        elif key is None:
            sums = self._sums
            last = len(sums) - 1
            chosen, why = names[bisect(sums, self._chance.random() * sums[last], 0, last)], "by chance"
        else:
            chosen, why = self._by_key(key), "by key"
        if trace is not None:
            trace.append(f"split: {chosen}, {why}, of {' '.join(f'{n}={w}' for n, w in self._weights.items())}")
        return chosen

    def _by_key(self, key: bytes) -> str:
        chosen = ""
        least = float("inf")
        for name, weight, begun in self._parts:
            part = begun.copy()
            part.update(key)
            # exponentially distributed, at a rate of the weight: the least is each one's with its share
            number = -log((int.from_bytes(part.digest(), "big") + 0.5) / _WHOLE) / weight
            if number < least or not chosen:
                chosen = name
                least = number
        return chosen

    def start(self, exchange: Exchange) -> None:
        """4: the handler of the one that is chosen."""
        self._handlers[self.choose(exchange)].start(exchange)
