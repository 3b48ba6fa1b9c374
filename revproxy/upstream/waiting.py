"""The queue of an upstream: exchanges that wait until a backend has room for them.

Rules of this module:

* who came first is served first, unless it has to wait for one backend in particular;
* the queue has a length, and a wait has a time; both end in 503;
* a client that leaves leaves the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from revproxy.fault import BACKEND_QUEUE_FULL, BACKEND_QUEUE_TIMEOUT

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.upstream.backend import Backend

#: Finds a backend that has room, or ``None``; then ``(backend)`` goes on with it.
Find = Callable[[], "Backend | None"]
Go = Callable[["Backend"], None]


class WaitingRoom:
    """Exchanges that wait, in one line for each thing that they wait for.

    :param length: how many may. :param seconds: for how long.
    """

    __slots__ = ("_count", "_length", "_lines", "_pumping", "_reactor", "_seconds", "_tickets")

    def __init__(self, reactor: Any, length: int, seconds: float) -> None:
        self._reactor = reactor
        self._length = length
        self._seconds = seconds
        self._lines: dict[Hashable, dict[_Place, None]] = {}
        self._count = 0
        self._tickets = 0
        self._pumping = False

    def __len__(self) -> int:
        return self._count

    @property
    def length(self) -> int:
        """How many may wait."""
        return self._length

    def join(self, exchange: Exchange, find: Find, go: Go, wish: Hashable = None) -> None:
        """Wait until ``find`` gives a backend; a failure of the exchange when that takes too long.

        :param wish: of those with the same one, where the first finds nothing no other does.
        """
        if self._count >= self._length:
            exchange.fail(BACKEND_QUEUE_FULL, f"{self._count} requests wait already")
            return
        self._tickets += 1
        place = _Place(exchange, find, go, wish, self._tickets)
        place.timer = self._reactor.callLater(self._seconds, self._late, place)
        exchange.waiting = Deferred(lambda waiting: self._leave(place))
        exchange.waiting.addErrback(lambda failure: None)  # it was cancelled
        self._lines.setdefault(wish, {})[place] = None
        self._count += 1

    def _leave(self, place: _Place) -> None:
        line = self._lines.get(place.wish)
        if line is not None and place in line:
            del line[place]
            self._count -= 1
            if not line:
                del self._lines[place.wish]
        if place.timer.active():
            place.timer.cancel()
        place.exchange.waiting = None

    def _late(self, place: _Place) -> None:
        self._leave(place)
        place.exchange.fail(BACKEND_QUEUE_TIMEOUT, f"no backend had room within {self._seconds:g} s")

    def pump(self) -> None:
        """Somewhere is room: whoever can go on goes on."""
        if self._pumping or not self._count:
            return
        self._pumping = True  # going on may free a backend at once and come back here
        try:
            while self._next():
                pass
        finally:
            self._pumping = False

    def _next(self) -> bool:
        firsts = [next(iter(line)) for line in self._lines.values()]
        if len(firsts) > 1:
            firsts.sort(key=_ticket)
        for place in firsts:
            backend = place.find()
            if backend is not None:
                self._leave(place)
                place.go(backend)
                return True
        return False


class _Place:
    """One exchange in the queue."""

    __slots__ = ("exchange", "find", "go", "ticket", "timer", "wish")

    def __init__(self, exchange: Exchange, find: Find, go: Go, wish: Hashable, ticket: int) -> None:
        self.exchange = exchange
        self.find = find
        self.go = go
        self.wish = wish
        self.ticket = ticket
        self.timer: Any = None


def _ticket(place: _Place) -> int:
    return place.ticket
