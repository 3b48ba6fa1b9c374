"""The queue of an upstream: exchanges that wait until a backend has room for them.

Rules of this module:

* who came first is served first, unless it has to wait for one backend in particular;
* the queue has a length, and a wait has a time; both end in 503;
* a client that leaves leaves the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from revproxy.fault import BACKEND_QUEUE_FULL, BACKEND_QUEUE_TIMEOUT

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.upstream.backend import Backend

#: How many of those in front are asked: one that waits for a backend in particular must not hold up the rest.
_LOOK_AHEAD = 32

#: Finds a backend that has room, or ``None``; then ``(backend)`` goes on with it.
Find = Callable[[], "Backend | None"]
Go = Callable[["Backend"], None]


class WaitingRoom:
    """Exchanges that wait.

    :param length: how many may. :param seconds: for how long.
    """

    __slots__ = ("_length", "_pumping", "_queue", "_reactor", "_seconds")

    def __init__(self, reactor: Any, length: int, seconds: float) -> None:
        self._reactor = reactor
        self._length = length
        self._seconds = seconds
        self._queue: deque[_Place] = deque()
        self._pumping = False

    def __len__(self) -> int:
        return len(self._queue)

    def join(self, exchange: Exchange, find: Find, go: Go, *, alike: bool = False) -> None:
        """Wait until ``find`` gives a backend; a failure of the exchange when that takes too long.

        :param alike: where one of these finds none, no other one does: a pump asks one of them, not each.
        """
        if len(self._queue) >= self._length:
            exchange.fail(BACKEND_QUEUE_FULL, f"{len(self._queue)} requests wait already")
            return
        place = _Place(exchange, find, go, alike)
        place.timer = self._reactor.callLater(self._seconds, self._late, place)
        exchange.waiting = Deferred(lambda waiting: self._leave(place))
        exchange.waiting.addErrback(lambda failure: None)  # it was cancelled
        self._queue.append(place)

    def _leave(self, place: _Place) -> None:
        if place in self._queue:
            self._queue.remove(place)
        if place.timer.active():
            place.timer.cancel()
        place.exchange.waiting = None

    def _late(self, place: _Place) -> None:
        self._leave(place)
        place.exchange.fail(BACKEND_QUEUE_TIMEOUT, f"no backend had room within {self._seconds:g} s")

    def pump(self) -> None:
        """Somewhere is room: whoever can go on goes on."""
        if self._pumping or not self._queue:
            return
        self._pumping = True  # going on may free a backend at once and come back here
        try:
            while self._next():
                pass
        finally:
            self._pumping = False

    def _next(self) -> bool:
        asked = False
        for place in tuple(islice(self._queue, _LOOK_AHEAD)):
            if place.alike:
                if asked:
                    continue
                asked = True
            backend = place.find()
            if backend is not None:
                self._leave(place)
                place.go(backend)
                return True
        return False


class _Place:
    """One exchange in the queue."""

    __slots__ = ("alike", "exchange", "find", "go", "timer")

    def __init__(self, exchange: Exchange, find: Find, go: Go, alike: bool) -> None:
        self.alike = alike
        self.exchange = exchange
        self.find = find
        self.go = go
        self.timer: Any = None
