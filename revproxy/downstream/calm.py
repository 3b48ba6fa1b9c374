"""How much trouble one HTTP/2 connection may make before it is told to calm down (RFC 9113 10.5).

Rules of this module:

* trouble is what costs us work and the peer next to nothing: streams that are taken back at once (CVE-2023-44487), or
  that we are made to take back (CVE-2025-8671), and frames that carry nothing;
* an allowance is used up by trouble and grows back with time, and with what the peer does in earnest, so
  that no honest client ever comes near its end.
"""

from __future__ import annotations

#: Streams that were reset, by either side: at once, and a second.
RESETS, RESETS_AGAIN = 200, 20.0
#: What of these a request makes good that both sides ended: one for each would let every second one be reset.
FINISHED_WORTH = 0.1
#: Frames that carry nothing (PING, SETTINGS, PRIORITY, empty DATA, small WINDOW_UPDATE, …): at once, and a second.
FRAMES, FRAMES_AGAIN = 1000, 50.0
#: What of these a SETTINGS frame counts as, which may change a window of every stream.
SETTINGS_COST = 10.0
#: What of these a request makes good: a client may answer each small response by a few of them.
REQUEST_WORTH = 4.0


class Allowance:
    """So much of a kind of trouble. ``earned`` gives some of it back."""

    __slots__ = ("_again", "_at", "_left", "_most")

    def __init__(self, most: float, again: float) -> None:
        self._most = most
        self._again = again
        self._left = most
        self._at: float | None = None

    def spend(self, now: float, cost: float = 1.0) -> bool:
        """One more, at this time in seconds: whether it is one too many. :param cost: of how many it is worth."""
        if self._at is not None:
            self._left = min(self._most, self._left + (now - self._at) * self._again)
        self._at = now
        self._left -= cost
        return self._left < 0

    def earned(self, worth: float = 1.0) -> None:
        """Something was done in earnest."""
        if self._left < self._most:
            self._left += worth
