"""Closing a client's connection: never a reset for a client that is still sending or reading.

Rules of this module:

* what it was answered would be lost in a reset. The write side is closed, the rest is read and
  dropped within bounds, then the socket is closed;
* no close waits for ever, and none is a matter of how much is left: as long as a client takes that at the
  minimum rate (or, without one, something in the time a connection may be idle), it is waited for;
* what is left is what waits in this process and in the kernel: a reset throws both away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revproxy.downstream.pace import PacedWire
from revproxy.http.h1 import ChunkedReader
from revproxy.wire import NEVER, ignore

if TYPE_CHECKING:
    from revproxy.engine import Engine

DRAIN = 256 * 1024  # bytes of an unwanted body that are read to keep the connection
DRAIN_TIME = 5.0  # seconds that may take, and seconds a closing connection lingers


class ClosingWire(PacedWire):
    """A client's wire that can end in peace. ``_buffer`` holds bytes that nobody has parsed."""

    __slots__ = ("_buffer", "_chunks", "_dropped")

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._buffer = b""
        self._chunks: ChunkedReader | None = None
        self._dropped = 0

    def _finish_close(self) -> None:
        if self._buffer:
            self._linger()
            return
        self.dataReceived = ignore
        self.close()
        self._bound_close()

    def _linger(self) -> None:
        """Close, but let the client read what it was answered first."""
        self._buffer = b""
        self._reading_body = False
        self._chunks = None
        self.dataReceived = self._discard
        self._dropped = 0
        self.resume_reading(self._pausing)
        self.half_close()
        self._bound_close()

    def _bound_close(self) -> None:
        if self.transport is None:
            return
        self._measure_reading()
        if self._raw_send is not None:
            self._set_phase(DRAIN_TIME)
        elif self._waiting() and self._minimum_rate() is not None:
            self._set_phase(NEVER)
        else:
            self._set_phase(self.engine.keep_alive)

    def _late_close(self) -> None:
        """A close took its time: whoever still takes what is left gets more, and all others none."""
        if self._raw_send is None:
            self.cut()
            return
        left = self.unsent()
        if not left:
            self.close()  # no reset: the client may not have read what it has
            return
        self._measure_reading()
        if self._minimum_rate() is not None:
            self._set_phase(DRAIN_TIME)
            self.expired()  # the clock of reading says whether
            return
        patience = self._stall_at + self.engine.keep_alive - self.clock.seconds()
        if patience <= 0:
            taken = self.bytes_out - left
            if taken <= self._stall_base:
                self.cut()
                return
            self._stall_at = self.clock.seconds()
            self._stall_base = taken
            patience = self.engine.keep_alive
        self._set_phase(patience)

    def _discard(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > DRAIN:
            self.cut()
