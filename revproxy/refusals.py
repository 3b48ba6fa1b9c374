"""Connections that were refused: logged one by one, unless there is a flood of them.

Rules of this module:

* peers decide how many there are, so they don't decide how many lines there are;
* each kind of refusal is counted by itself: a flood of one hides no other.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from revproxy.fault import Fault

#: Seconds between two lines of one kind.
EVERY = 10.0


class Refusals:
    """The log of refused connections.

    :param seconds: the clock. :param log: where the lines go.
    """

    __slots__ = ("_log", "_refused", "_seconds")

    def __init__(self, seconds: Callable[[], float], log: Logger) -> None:
        self._log = log
        self._seconds = seconds
        self._refused: dict[str, tuple[int, float]] = {}

    def refused(self, fault: Fault, peer: str, detail: str = "") -> None:
        """Log a refused connection; under a flood one line in a while for each kind of refusal, with the count."""
        word = fault.word
        count, at = self._refused.get(word, (0, float("-inf")))
        count += 1
        now = self._seconds()
        if now - at >= EVERY:
            self._log.warn(
                "{n} connection(s) refused, the last from {peer}: {w}{detail}",
                n=count,
                peer=peer or "a local client",
                w=word,
                detail=f": {detail[:200]}" if detail else "",
            )
            count, at = 0, now
        self._refused[word] = (count, at)
