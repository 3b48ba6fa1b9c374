"""Reading a request's body in HTTP/1.1 (RFC 9112 6, 7).

Rules of this module:

* a state is the method that takes the next bytes, as in :mod:`~revproxy.downstream.http1`;
* a body in very many chunks takes turns with others' (:mod:`revproxy.turns`): 64 KB of one-byte chunks take 60 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from revproxy.downstream.answering import AnsweringWire
from revproxy.downstream.closing import DRAIN
from revproxy.exchange import Exchange
from revproxy.fault import ProtocolError
from revproxy.http.message import Arrival, Field
from revproxy.wire import QUEUED, ignore

if TYPE_CHECKING:
    from revproxy.engine import Engine

PIPELINED = 64 * 1024  # bytes after the current request that are held unparsed
CHUNKS = 300  # of a body that are read at once: 1 ms


class BodyWire(AnsweringWire):
    """A client's wire that reads bodies. Subclasses define ``_over``."""

    __slots__ = ("_left",)

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine, arrival)
        self._left = 0

    def _read_length(self, data: bytes) -> None:
        """What comes is body, as long as Content-Length says."""
        left = self._left
        size = len(data)
        self._body_at = self.clock.seconds()
        exchange = self.exchange
        if size < left:
            self._left = left - size
            self._window_bytes += size
            if exchange is not None:
                exchange.request_body(data)
            else:
                self._drop(size)
            return
        if size > left:
            self._buffer = data[left:]
            data = data[:left]
        self._body_read(exchange, data, ())

    def _read_chunks(self, data: bytes) -> None:
        """What comes is body in chunks."""
        reader = self._chunks
        assert reader is not None
        self._body_at = self.clock.seconds()
        self._window_bytes += len(data)
        exchange = self.exchange
        try:
            body = reader.feed(data, CHUNKS)
        except ProtocolError as e:
            self._reading_body = False
            self._broken = True
            self.dataReceived = ignore
            if exchange is not None:
                exchange.fail(e.fault, e.detail)
            else:
                self._over()
            return
        if reader.done:
            self._buffer = reader.rest
            self._body_read(exchange, body, reader.trailers)
            return
        if reader.rest:
            self._wait_with_chunks()
        if exchange is None:
            self._drop(len(data))
        elif body:
            exchange.request_body(body)

    def _wait_with_chunks(self) -> None:
        self.dataReceived = self._hold_chunks
        self.pause_reading(QUEUED)
        self.engine.turns.wait(self, self._next_chunks)

    def _hold_chunks(self, data: bytes) -> None:
        """What comes is body in chunks, and too many came at once: others get their turn before the rest."""
        assert self._chunks is not None
        self._chunks.rest += data

    def _next_chunks(self) -> None:
        if self._chunks is not None and self.transport is not None and self.dataReceived == self._hold_chunks:
            self.dataReceived = self._read_chunks
            data, self._chunks.rest = self._chunks.rest, b""
            self.resume_reading(QUEUED)
            self._read_chunks(data)

    def _body_read(self, exchange: Exchange | None, data: bytes, trailers: Sequence[Field]) -> None:
        self._reading_body = False
        self._chunks = None
        self.dataReceived = self._hold
        if exchange is None:
            self._over()
            return
        if data:
            exchange.request_body(data)
        if self.exchange is exchange:
            exchange.request_end(trailers)

    def _hold(self, data: bytes) -> None:
        """What comes is a later request: it waits until the current exchange is over."""
        self._buffer = self._buffer + data if self._buffer else data
        if len(self._buffer) >= PIPELINED:
            self.pause_reading(QUEUED)

    def _drop(self, size: int) -> None:
        """Part of a body that nobody wants came: enough is enough."""
        self._dropped += size
        if self._dropped > DRAIN:
            self._linger()

    # -- the exchange is over
