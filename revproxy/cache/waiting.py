"""The sinks of exchanges that wait for a backend that was asked on their behalf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from revproxy.cache.policy import Ask
from revproxy.fault import Fault

if TYPE_CHECKING:
    from revproxy.cache.fill import Fill
    from revproxy.exchange import Exchange


@define(eq=False, slots=True)
class Waiter:
    """An exchange that waits for a fill; its sink until there is something to send.

    :ivar fwd: why a backend is asked for it, as Cache-Status has it.
    :ivar collapsed: it waits for another's request.
    """

    exchange: Exchange
    ask: Ask
    fwd: str
    fill: Fill | None = None
    collapsed: bool = False

    def detach(self) -> Exchange:
        """It waits no more: its exchange, which has no sink now."""
        self.fill = None
        exchange = self.exchange
        if exchange.sink is self:
            exchange.sink = None
        return exchange

    def write_body(self, data: bytes) -> None:
        """A request for the cache has no body."""

    def end(self, trailers: Any = ()) -> None:
        """Nor has it an end."""

    def abort(self, fault: Fault) -> None:
        """The client is gone, or the exchange failed."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill.left(self)

    def pause_reading(self, why: int) -> None:
        """There is nothing to read yet."""

    def resume_reading(self, why: int) -> None:
        """There is nothing to read yet."""


class Direct:
    """The sink of the one who leads where nothing is stored: all verbs go to the backend's side."""

    __slots__ = ("_fill",)

    def __init__(self, fill: Fill) -> None:
        self._fill = fill

    def write_body(self, data: bytes) -> None:
        """A request for the cache has no body."""

    def end(self, trailers: Any = ()) -> None:
        """Nor has it an end."""

    def abort(self, fault: Fault) -> None:
        """The client is gone, or the exchange failed."""
        self._fill.left(self)

    def pause_reading(self, why: int) -> None:
        """The client can't take more."""
        sink = self._fill.sink
        if sink is not None:
            sink.pause_reading(why)

    def resume_reading(self, why: int) -> None:
        """That reason is gone."""
        sink = self._fill.sink
        if sink is not None:
            sink.resume_reading(why)
