"""The circuit breaker of an upstream: closed, open, half-open. A decision, pure.

Rules of this module:

* closed: everything passes, and failures are counted in windows that begin with a failure;
* open: nothing passes until the time is over;
* half-open: so many probes pass; when all succeed it closes, when one fails it opens again. A probe
  that never tells (its client left) is replaced after as long as it had been open.

Source: M. Nygard, Release It!, "Circuit Breaker".
"""

from __future__ import annotations

from revproxy.config.upstreams import Breaker

CLOSED, OPEN, HALF_OPEN = range(3)


class CircuitBreaker:
    """Whether an upstream is asked at all.

    :ivar state: ``CLOSED``, ``OPEN`` or ``HALF_OPEN``. :ivar why: the reason of the last change of state, as text.
    """

    __slots__ = ("_asked", "_began", "_failures", "_let", "_passed", "_rules", "_since", "state", "why")

    def __init__(self, rules: Breaker) -> None:
        self._rules = rules
        self.state = CLOSED
        self.why = ""
        self._began = float("-inf")
        self._failures = 0
        self._asked = 0
        self._since = 0.0
        self._let = 0
        self._passed = 0

    def admit(self, now: float) -> float:
        """0 when a request may pass, else the seconds after which it is worth asking again."""
        if self.state == CLOSED:
            return 0.0
        left = self._since + self._rules.open - now
        if self.state == OPEN:
            if left > 0:
                return left
            self.state = HALF_OPEN
            self.why = f"open for {self._rules.open:g} s, {self._rules.probes} requests are tried"
            self._restart(now)
        elif self._let >= self._rules.probes:
            if left > 0:
                return left
            self._restart(now)
        self._let += 1
        return 0.0

    def _restart(self, now: float) -> None:
        self._since = now
        self._let = 0
        self._passed = 0

    def succeeded(self) -> bool:
        """A request was answered well: whether that changed the state."""
        if self.state != HALF_OPEN:
            return False
        self._passed += 1
        if self._passed < self._rules.probes:
            return False
        self.state = CLOSED
        self.why = f"{self._passed} requests were answered"
        self._began = float("-inf")
        return True

    def failed(self, now: float, asked: int) -> bool:
        """A request failed: whether that changed the state.

        :param asked: requests that were sent to the upstream in all its life.
        """
        rules = self._rules
        if self.state == OPEN:
            return False
        if self.state == HALF_OPEN:
            self.why = "a request that was tried failed"
            return self._open(now)
        if now - self._began > rules.window:
            self._began = now
            self._failures = 0
            self._asked = asked - 1
        self._failures += 1
        requests = max(asked - self._asked, self._failures)
        if requests < rules.minimum or self._failures < rules.error_rate * requests:
            return False
        self.why = f"{self._failures} of {requests} requests failed"
        return self._open(now)

    def _open(self, now: float) -> bool:
        self.state = OPEN
        self._since = now
        return True
