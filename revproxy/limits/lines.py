"""Lines of one kind in the log: each gets one, until there are too many in a second; then a count."""

from __future__ import annotations

from typing import Any

#: Lines of a kind in one second.
LINES = 20


class Lines:
    """A bound on the lines of one kind. :param rest: the line for the others, with ``{n}``. :param log: a logger."""

    __slots__ = ("_at", "_count", "_log", "_rest")

    def __init__(self, rest: str, log: Any) -> None:
        self._rest = rest
        self._log = log
        self._count = 0
        self._at = float("-inf")

    def allow(self, now: float) -> bool:
        """Whether one more may be written, at this time in seconds."""
        if now - self._at >= 1.0:
            if self._count > LINES:
                self._log.warn(self._rest, n=self._count - LINES)
            self._at = now
            self._count = 0
        self._count += 1
        return self._count <= LINES
