"""Whether the failures of a backend are enough to stop using it for a while: a decision, pure.

Rules of this module:

* two signs: failures in a row, and a share of failures within a window. An answer ends a row;
* a window begins with a failure, so that a backend without any costs nothing;
* an ejection lasts twice as long as the one before, unless the backend was well in between for
  twice the time that one took;
* how many may be ejected at a time is the group's decision (:mod:`revproxy.upstream.group`).

Source: what HAProxy calls ``observe`` and Envoy outlier detection.
"""

from __future__ import annotations

from revproxy.config.upstreams import Passive


class Outlier:
    """The failures of one backend.

    :ivar streak: failures in a row; whoever sees an answer sets it to 0.
    :ivar times: ejections in a row, the last one included.
    """

    __slots__ = ("_asked", "_began", "_failures", "_last", "_rules", "_until", "streak", "times")

    def __init__(self, rules: Passive) -> None:
        self._rules = rules
        self.streak = 0
        self.times = 0
        self._began = float("-inf")
        self._failures = 0
        self._asked = 0
        self._until = float("-inf")
        self._last = 0.0

    def failed(self, now: float, asked: int) -> str | None:
        """A failure: why the backend should be ejected, or ``None``.

        :param now: seconds. :param asked: requests that the backend was sent in all its life.
        """
        rules = self._rules
        self.streak += 1
        if now - self._began > rules.window:
            self._began = now
            self._failures = 0
            self._asked = asked - 1
        self._failures += 1
        if rules.failures is not None and self.streak >= rules.failures:
            return f"{self.streak} failures in a row"
        requests = max(asked - self._asked, self._failures)
        if rules.error_rate is not None and requests >= rules.minimum and self._failures >= rules.error_rate * requests:
            return f"{self._failures} of {requests} requests failed"
        return None

    def eject(self, now: float) -> float:
        """It is ejected: for how many seconds."""
        rules = self._rules
        if now - self._until > 2 * self._last:
            self.times = 0
        seconds = min(rules.eject * 2.0 ** min(self.times, 32), rules.eject_most)
        self.times += 1
        self._last = seconds
        self._until = now + seconds
        self.streak = 0
        self._began = float("-inf")
        return seconds

    def left(self, now: float) -> float:
        """Seconds of its ejection that are left."""
        return max(0.0, self._until - now)

    def returned(self, now: float) -> None:
        """It serves again, from ``now`` on."""
        self._until = now
        self.streak = 0
        self._began = float("-inf")
