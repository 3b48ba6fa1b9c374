"""A backend connection between two exchanges: resting in its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revproxy.wire import Wire, ignore

if TYPE_CHECKING:
    from revproxy.upstream.pool import Pool


#: Seconds that a close may take.
CLOSING = 10.0


class PooledWire(Wire):
    """A wire that belongs to a pool.

    :ivar used: exchanges it has carried. :ivar born: reactor seconds of its making.
    :ivar rested: reactor seconds when it last came to rest in the pool.
    """

    __slots__ = ("born", "pool", "rested", "used")

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.reactor)
        self.pool: Any = pool
        self.used = 0
        self.born: float = pool.reactor.seconds()
        self.rested: float = self.born
        self.dataReceived: Any = self._rest

    def rest(self, seconds: float) -> None:
        """Wait in the pool, for so long at most."""
        self.dataReceived = self._rest
        now = self.rested = self.clock.seconds()
        at = self.deadline = now + seconds
        if at < self._due:
            self.set_deadline(seconds)

    def retire(self) -> None:
        """Close a connection that nobody uses."""
        self.dataReceived = ignore
        self.close()
        if self.transport is not None:  # what waits to be sent may wait for ever
            self.set_deadline(CLOSING)

    def _rest(self, data: bytes) -> None:
        # nobody asked: whatever it is, it must not become the answer to the next request
        self._forget()
        self.cut()

    def _forget(self) -> None:
        if self in self.pool.idle:
            self.pool.idle.remove(self)
