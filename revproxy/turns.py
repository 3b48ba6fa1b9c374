"""Costly work of one kind, so much of it in a turn of the reactor.

Rules of this module:

* a burst of work that nobody has a right to at once (handshakes, requests behind a client's own first one) is spread
  over turns, in the order in which it came: between two portions everybody else is served;
* who waits is here once, and leaves with its connection, so that no more wait than there are connections;
* as long as no more comes than there is room for in a turn, nothing waits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

_log = Logger()


class Turns:
    """Gives out turns.

    :param clock: the reactor. :param most: how many in one of its turns; up to twice that, where some waited.

    Whoever wants to work asks :meth:`now`. Without a turn it calls :meth:`wait`, and asks again when it is called.
    """

    __slots__ = ("_call", "_clock", "_given", "_left", "_most", "_waiting")

    def __init__(self, clock: Any, most: int) -> None:
        self._clock = clock
        self._most = most
        self._left = most
        self._given = False
        self._call: Any = None
        self._waiting: OrderedDict[object, Callable[[], None]] = OrderedDict()

    def now(self) -> bool:
        """Whether it is the caller's turn."""
        if self._given:
            self._given = False
            return True
        if self._waiting or not self._left:
            return False
        self._left -= 1
        if self._call is None:
            self._call = self._clock.callLater(0, self._turn)
        return True

    def wait(self, who: object, again: Callable[[], None]) -> None:
        """Have ``again`` called when it is somebody's turn; who waits already keeps its place."""
        self._waiting[who] = again
        if self._call is None:
            self._call = self._clock.callLater(0, self._turn)

    def forget(self, who: object) -> None:
        """It is gone."""
        self._waiting.pop(who, None)

    def rest(self) -> None:
        """Let go of the timer, if nobody waits."""
        if self._call is not None and not self._waiting:
            self._call.cancel()
            self._call = None
            self._left = self._most

    def _turn(self) -> None:
        self._call = None
        self._left = self._most
        waiting = self._waiting
        for _ in range(min(self._most, len(waiting))):
            if not waiting:
                return
            _, again = waiting.popitem(last=False)
            self._given = True
            try:
                again()
            except Exception:
                _log.failure("while something had its turn")
            self._given = False
        if waiting and self._call is None:
            self._call = self._clock.callLater(0, self._turn)
