"""Which requests are refused when there are too many of them: a share that follows how late everything is.

Rules of this module:

* a controller is told a pressure at every tick: how late the reactor is, or how many wait, in times of what is
  allowed. Nobody is refused before it was above 1 for :data:`PATIENCE` seconds, and more than once in a row: a
  collection of garbage or a burst is no overload;
* from then on it steers towards 1, by what is wrong and by how that changes, and in factors: a tick multiplies the
  part that is let in. So the loop is as stable with eight times too much as with one and a half;
* what matters least goes first: the share of ``low`` requests rises before that of ``normal`` ones and falls after
  it, as far as there are any;
* which ones are refused is no chance: of a share of a third, every third.

Delay as the measure, and a target that has to be missed for a while, are CoDel's (RFC 8289); the proportional and
the integral part are PIE's (RFC 8033), in logarithms; priorities are DAGOR's (Zhou et al., Overload Control for Scaling
WeChat Microservices, 2018).
"""

from __future__ import annotations

from math import exp, log

#: Seconds between two ticks.
TICK = 0.05
#: Seconds in which every tick was too much.
PATIENCE = 0.2
#: What is wrong, and its change, count so much.
_WRONG, _CHANGE = 0.1, 0.5
#: A tick that comes late counts for so many at most.
_LATE = 4.0
#: Pressure beyond these is as good as these.
_LITTLE, _MUCH = 0.3, 10.0
#: Shares below it are none.
_LEAST = 0.02
#: Somebody always gets through, else nobody would know that it is over.
MOST = 0.98


class Share:
    """A share of requests, spread evenly. :ivar part: 0 to 1. :ivar asked: whether there were any since the tick."""

    __slots__ = ("_owed", "asked", "part")

    def __init__(self) -> None:
        self.part = 0.0
        self.asked = False
        self._owed = 0.0

    def takes(self) -> bool:
        """Whether the next one is of the share."""
        self.asked = True
        self._owed += self.part
        if self._owed >= 1.0:
            self._owed -= 1.0
            return True
        return False

    def let_in(self, factor: float) -> None:
        """Let so many times as many in."""
        self.part = min(MOST, 1.0 - (1.0 - self.part) * factor)
        if self.part < _LEAST:
            self.part = self._owed = 0.0


class Controller:
    """Turns pressure into shares.

    :ivar pressure: the last. :ivar low: of requests that matter less. :ivar normal: of all others but critical ones.
    :ivar active: whether any are refused.
    """

    __slots__ = ("_before", "_late", "active", "low", "normal", "pressure")

    def __init__(self) -> None:
        self.pressure = 0.0
        self.low = Share()
        self.normal = Share()
        self.active = False
        self._late = 0.0  # seconds
        self._before = 0.0

    def tick(self, pressure: float, elapsed: float = TICK) -> None:
        """What it was since the last tick. :param pressure: in times of what is allowed. :param elapsed: seconds."""
        wrong = log(min(max(pressure, _LITTLE), _MUCH))
        again = self.pressure > 1.0
        self.pressure = pressure
        self._late = self._late + elapsed if pressure > 1.0 else 0.0
        if self.active:
            self._steer(_WRONG * min(elapsed / TICK, _LATE) * wrong + _CHANGE * (wrong - self._before))
        elif again and self._late >= PATIENCE:
            # whether there are low ones is known a tick later: before the first share nobody asks
            self.low.asked = True
            self._steer(max(_WRONG * wrong, 2 * _LEAST))
        self._before = wrong
        self.low.asked = self.normal.asked = False

    def _steer(self, by: float) -> None:
        low, normal = self.low, self.normal
        if by > 0:
            share = low if low.asked and low.part < MOST else normal
        else:
            share = normal if normal.part else low
        share.let_in(exp(-by))
        self.active = bool(low.part or normal.part)
