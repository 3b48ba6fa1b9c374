"""How many examples property tests look at: few in `make test`, many in `make test-all`."""

from __future__ import annotations

import os

_SCALE = float(os.environ.get("REVPROXY_EXAMPLES", "0.2"))


def examples(count: int) -> int:
    """So many, on the scale of this run; the environment's REVPROXY_EXAMPLES is the scale."""
    return max(10, int(count * _SCALE))


def at_least(count: int) -> int:
    """Of what ``count`` are expected on the whole scale, so many on this run's."""
    return int(count * _SCALE)
