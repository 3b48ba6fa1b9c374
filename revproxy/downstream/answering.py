"""Writing to a client in HTTP/1.1: the verbs of a MessageStream, framing and closing decided here (RFC 9112 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from revproxy.downstream.closing import ClosingWire
from revproxy.downstream.pace import CHUNKED, PLAIN, TUNNEL
from revproxy.fault import Fault
from revproxy.http.h1 import chunk, last_chunk
from revproxy.http.message import Arrival, Field, Request, Response
from revproxy.http.serialise import response_lines
from revproxy.stream import DONE
from revproxy.wire import NEVER, QUEUED, ignore

if TYPE_CHECKING:
    from revproxy.engine import Engine

#: Bytes of a body that are not copied behind a head: that takes longer than to send two buffers.
_LARGE = 16 * 1024


class AnsweringWire(ClosingWire):
    """A client's wire that answers. Subclasses define ``_over`` and ``_tunnel``.

    ``_close_after`` says that this answer is the last; ``_broken`` that where the next request
    would begin is not known.
    """

    __slots__ = ("_broken", "_close_after", "arrival")

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine)
        self.arrival = arrival
        self._close_after = False
        self._broken = False

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        request = exchange.request
        status = response.status
        head = response_lines(response)
        if status < 200:
            self._interim(request, response, head, first)
            return
        head += exchange.quota  # no branch: with nothing it is the same object
        self._mode = PLAIN
        if not self.is_full:
            self.flushed = self.bytes_out
            self._stall_at = NEVER  # what was left of the answer before is measured with this one
        if self._reading_body and request.expects_continue and not exchange.received:
            self._close_after = True  # whether its body follows can't be known (RFC 9110 10.1.1)
        if response.length is None and request.method != b"HEAD" and status != 204 and status != 304:
            if ended:
                head += b"Content-Length: %d\r\n" % len(first)
            elif request.version == 10:
                self._close_after = True
            else:
                self._mode = CHUNKED
                head += b"Transfer-Encoding: chunked\r\n"
                if first:
                    first = chunk(first)
        hsts = self.arrival.hsts
        if hsts and b"strict-transport-security" not in response.headers:
            head += b"Strict-Transport-Security: %b\r\n" % hsts
        if self._close_after or self._broken:
            head += b"Connection: close\r\n"
        elif request.version == 10:
            head += b"Connection: keep-alive\r\n"
        if len(first) < _LARGE:
            self.send(b"%b\r\n%b" % (head, first))
        else:
            self.send_both(head + b"\r\n", first)
        if ended:
            self._over()

    def _interim(self, request: Request, response: Response, head: bytes, first: bytes) -> None:
        if request.version == 10:
            return
        if response.status == 101:
            self._mode = TUNNEL
            self._close_after = True
            self.dataReceived = self._tunnel
            head += b"Connection: Upgrade\r\n"
        elif response.status == 100 and self._reading_body:
            request.expects_continue = False
            self._restart_body_clock()
        self.send(b"%b\r\n%b" % (head, first))
        if response.status == 101:
            self._body_at = self.clock.seconds()
            self.set_deadline(self.engine.server.timeouts.tunnel)
            if self._buffer:
                data, self._buffer = self._buffer, b""
                self._tunnel(data)
            self.resume_reading(QUEUED)

    def write_body(self, data: bytes) -> None:
        if self._mode == CHUNKED:
            data = chunk(data)
        elif self._mode == TUNNEL:
            self._body_at = self.clock.seconds()
        if not self.send(data):
            self.cut()  # gone; while we don't read, nothing else would tell

    def end(self, trailers: Sequence[Field] = ()) -> None:
        if self._mode == TUNNEL:
            assert self.exchange is not None
            if self.exchange.state == DONE:
                self.exchange = None
                self.dataReceived = ignore
                self.close()
            else:
                self.half_close()
            return
        if self._mode == CHUNKED:
            self.send(last_chunk(trailers))
        self._over()

    def abort(self, fault: Fault) -> None:
        self.exchange = None
        self.dataReceived = ignore
        self.cut()

    def give_up(self, fault: Fault) -> None:
        exchange = self.exchange
        if exchange is None:  # it was answered, and logged as that
            self.engine.refused(fault, self.arrival.peer)
            self.cut()
            return
        self._broken = True
        exchange.fail(fault)

    def _over(self) -> None:
        """The answer is out."""

    def _tunnel(self, data: bytes) -> None:
        """After 101: bytes for the backend."""
