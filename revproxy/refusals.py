"""Connections that were refused: logged one by one, unless there is a flood of them.

Rules of this module:

* peers decide how many there are, so they don't decide how many lines there are;
* each kind of refusal is counted by itself: a flood of one hides no other;
* every refusal is in the number of some line, at the latest a while after it, or when it is over.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from revproxy.fault import Fault

#: Seconds between two lines of one kind.
EVERY = 10.0


class _Kind:
    """Those of one kind. :ivar count: that are in no line yet. :ivar at: when there was a line, in seconds."""

    __slots__ = ("at", "count", "detail", "peer")

    def __init__(self) -> None:
        self.count = 0
        self.at = float("-inf")
        self.peer = self.detail = ""


class Refusals:
    """The log of refused connections.

    :param clock: the reactor. :param log: where the lines go.
    """

    __slots__ = ("_clock", "_kinds", "_log", "_timer")

    def __init__(self, clock: Any, log: Logger) -> None:
        self._clock = clock
        self._log = log
        self._kinds: dict[str, _Kind] = {}
        self._timer: Any = None

    def refused(self, fault: Fault, peer: str, detail: str = "") -> None:
        """Log a refused connection; under a flood one line in a while for each kind of refusal, with the count."""
        kind = self._kinds.get(fault.word)
        if kind is None:
            kind = self._kinds[fault.word] = _Kind()
        kind.count += 1
        kind.peer, kind.detail = peer, detail
        now = self._clock.seconds()
        if now - kind.at >= EVERY:
            self._tell(fault.word, kind, now)
        elif self._timer is None:
            self._timer = self._clock.callLater(EVERY, self._late)

    def rest(self) -> None:
        """Tell what is left, and let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._late()

    def _late(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for word, kind in self._kinds.items():
            if kind.count:
                self._tell(word, kind, now)

    def _tell(self, word: str, kind: _Kind, now: float) -> None:
        self._log.warn(
            "{n} connection(s) refused, the last from {peer}: {w}{detail}",
            n=kind.count,
            peer=kind.peer or "a local client",
            w=word,
            detail=f": {kind.detail[:200]}" if kind.detail else "",
        )
        kind.count, kind.at = 0, now
