"""One request of an HTTP/2 connection: the client's side of an exchange (RFC 9113 5.1, 8).

Rules of this module:

* it offers the verbs of a MessageStream; frames are made here, and the connection sends them;
* what the client can't take yet (its windows, the connection's buffer) waits here, and above
  :data:`HIGH` bytes the backend is not read;
* the client may send as much as the backend took: while anybody pauses this stream, no window is given back;
* a stream is over when both sides have ended it, or one has reset it; whoever is left of the
  exchange is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from revproxy.downstream.closing import DRAIN, DRAIN_TIME
from revproxy.downstream.h2pace import PacedStream
from revproxy.exchange import Exchange
from revproxy.fault import Fault
from revproxy.http.h2frames import (
    CANCEL,
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEAD,
    INTERNAL_ERROR,
    LARGEST_WINDOW,
    NO_ERROR,
    PROTOCOL_ERROR,
    headers,
    window_update,
)
from revproxy.http.h2responses import response_fields_h2, switching_response, trailer_fields_h2
from revproxy.http.message import Field, Response
from revproxy.limits.ratefields import pairs_of
from revproxy.stream import DONE
from revproxy.wire import PEER_FULL

if TYPE_CHECKING:
    from revproxy.downstream.http2 import Http2Connection

HIGH = 64 * 1024  # bytes that wait for the client; above, the backend is not read
RECEIVE = 256 * 1024  # bytes that a client may send before the backend has taken any


class Http2Stream(PacedStream):
    """A MessageStream over one HTTP/2 stream.

    :ivar window: bytes that the client lets us send.
    :ivar waiting: bytes that wait for windows. :ivar length: of the body, as far as the client said so.
    """

    __slots__ = (
        "_at", "_ending", "_held", "_owed", "_queue", "_trailers", "_unsaid", "length", "received", "room",
        "stream_id", "unacked", "waiting", "window",
    )  # fmt: skip

    def __init__(self, connection: Http2Connection, stream_id: int, window: int) -> None:
        super().__init__(connection)
        self.stream_id = stream_id
        self.window = window
        self.room = RECEIVE
        self._unsaid = 0  # bytes that came and were not given back to the stream yet
        self._owed = 0  # and to the connection
        self.received = 0
        self.length: int | None = None
        self.waiting = 0
        self._queue: deque[bytes] | None = None
        self._at = 0  # bytes of the first piece that are out
        self._ending = False
        self._trailers: Sequence[Field] = ()
        self._held: list[bytes] | None = None

    @property
    def transport(self) -> Any:
        """The connection's: where it came from and to."""
        return self.connection.transport

    # -- the response

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        if self.over:
            return
        connection = self.connection
        status = response.status
        if status < 200:
            self._interim(response, first)
            return
        block = connection.blocks.write(response_fields_h2(response))
        hsts = connection.hsts
        if hsts and b"strict-transport-security" not in response.headers:
            block += connection.blocks.write(hsts)
        if self.exchange is not None and self.exchange.quota:
            block += connection.blocks.write(pairs_of(self.exchange.quota))
        out = headers(self.stream_id, block, ended and not first, connection.largest)
        if not first:
            if ended:
                self.over = True
            connection.send(out)
            if ended:
                self._ended()
            return
        size = len(first)
        if (
            self._queue is None
            and size <= self.window
            and size <= connection.window
            and size <= connection.largest
            and not connection.is_full
        ):
            # head and body in one write: what nearly every response comes to
            self.window -= size
            connection.window -= size
            self._taken += size
            flags = END_STREAM if ended else 0
            connection.send(b"%b%b%b" % (out, HEAD.pack(size >> 8, size & 255, DATA, flags, self.stream_id), first))
            if ended:
                self.over = True
                self._ended()
            return
        connection.send(out)
        self._ending = ended
        self._enqueue(first)

    def _interim(self, response: Response, first: bytes) -> None:
        connection = self.connection
        exchange = self.exchange
        assert exchange is not None
        if response.status == 101:
            self.tunnel = True
            self.extended = False
            block = connection.blocks.write(switching_response(response))
            connection.send(headers(self.stream_id, block, False, connection.largest))
            self._body_at = connection.clock.seconds()
            connection.watch(self)
            if first:
                self._enqueue(first)
            held, self._held = self._held, None
            if held is not None:
                exchange.request_body(b"".join(held))
            self._give_back()
            if not self.asking and self.exchange is exchange:
                self._request_over(exchange)
            return
        if self.extended:
            return
        if response.status == 100 and self.asking:
            exchange.request.expects_continue = False
            self._restart_body_clock()
        block = connection.blocks.write(response_fields_h2(response))
        connection.send(headers(self.stream_id, block, False, connection.largest))

    def write_body(self, data: bytes) -> None:
        if not self.over:
            if self.tunnel:
                self._body_at = self.connection.clock.seconds()
            self._enqueue(data)

    def end(self, trailers: Sequence[Field] = ()) -> None:
        if self.over:
            return
        self._ending = True
        self._trailers = trailers
        if self._queue is None:
            self._send_end()

    def abort(self, fault: Fault) -> None:
        self.exchange = None
        if self.connection.has(self):
            self.over = True
            self.connection.reset(self, CANCEL if fault.blame == "client" else INTERNAL_ERROR, fault.blame == "client")

    # -- what waits for windows

    def _enqueue(self, data: bytes) -> None:
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        queue.append(data)
        self.waiting += len(data)
        self.connection.pump(self)
        if self._queue is not None:
            self._slow_down()

    def _slow_down(self) -> None:
        """The client takes less than comes: measure it, and let the backend wait."""
        if self._stall_at is None:
            self._stall_at = self.connection.clock.seconds()
            self._taken = 0
            self.connection.watch(self)
        exchange = self.exchange
        if exchange is not None and exchange.sink is not None:
            route = exchange.route
            buffered = 0 if route is None else route.buffer_response
            if self.waiting >= max(buffered, HIGH) or (self.connection.is_full and self.waiting >= buffered):
                exchange.sink.pause_reading(PEER_FULL)

    def next_frame(self) -> bytes:
        """A DATA frame of what waits, as large as the windows allow; ``b""`` when they allow nothing."""
        queue = self._queue
        connection = self.connection
        if queue is None:
            return b""
        data = queue[0]
        at = self._at
        size = min(len(data) - at, self.window, connection.window, connection.largest)
        if size <= 0:
            return b""
        if at + size < len(data):
            self._at = at + size
            data = data[at : at + size]
        else:
            self._at = 0
            queue.popleft()
            if at:
                data = data[at:]
        self.window -= size
        connection.window -= size
        self.waiting -= size
        self._taken += size
        flags = 0
        if not queue:
            self._queue = None
            self._stall_at = None
            if self._ending and not self._trailers:
                flags = END_STREAM
                self.over = True
        return HEAD.pack(size >> 8, size & 255, DATA, flags, self.stream_id) + data

    def moved(self) -> None:
        """Some of what waited went out."""
        if self.over:
            self._ended()
            return
        if self._queue is None and self._ending:
            self._send_end()
            return
        exchange = self.exchange
        if self.waiting < HIGH // 2 and exchange is not None and exchange.sink is not None:
            exchange.sink.resume_reading(PEER_FULL)

    def _send_end(self) -> None:
        connection = self.connection
        self.over = True
        if self._trailers:
            block = connection.blocks.write(trailer_fields_h2(self._trailers))
            connection.send(headers(self.stream_id, block, True, connection.largest))
        else:
            connection.send(HEAD.pack(0, 0, DATA, END_STREAM, self.stream_id))
        self._ended()

    def _ended(self) -> None:
        """Our side is over: so is the stream, unless it is a tunnel that the client still sends on."""
        exchange = self.exchange
        if self.tunnel and self.asking and exchange is not None and exchange.state != DONE:
            return
        self.exchange = None
        self._settle()
        if self.connection.after:
            self._sent()
        if not self.asking:
            self.connection.finished(self)
        elif self.tunnel or self._left() > DRAIN:
            # RFC 9113 8.1: the rest of the request is not needed
            self.connection.reset(self, NO_ERROR, False)
        else:
            # what is little is taken, so that a client need not know what a reset without an error is
            self._drain_until = self.connection.clock.seconds() + DRAIN_TIME
            self.connection.watch(self)

    def _left(self) -> int:
        """Bytes of the request's body to come, as far as is known."""
        return 0 if self.length is None else self.length - self.received

    # -- the request's body

    def data(self, body: bytes, size: int, ended: bool) -> None:
        """A DATA frame came: ``size`` is what it takes of the windows."""
        connection = self.connection
        self.room -= size
        if self.room < 0:
            connection.stream_error(self, FLOW_CONTROL_ERROR, "more than the stream's window")
            return
        self.received += len(body)
        length = self.length
        if length is not None and (self.received > length or (ended and self.received < length)):
            connection.stream_error(
                self, PROTOCOL_ERROR, f"{self.received} bytes of body where Content-Length says {length}"
            )
            return
        if ended:
            self.asking = False
        exchange = self.exchange
        if exchange is None:  # answered before
            connection.give_back(size)
            if ended:
                connection.finished(self)
            elif self.room < RECEIVE - DRAIN // 2:
                connection.reset(self, NO_ERROR, False)
            return
        self._body_at = connection.clock.seconds()
        self._window_bytes += size
        self._unsaid += size
        self._owed += size
        if body:
            if not self.extended:
                exchange.request_body(body)
            elif self._held is None:
                self._held = [body]
            else:
                self._held.append(body)
        if not self._pausing and not self.extended:
            self._give_back()
        if ended and self.exchange is exchange and not self.extended:
            self._request_over(exchange)

    def trailers(self, fields: Sequence[Field]) -> None:
        """The request ends with these."""
        if self.length is not None and self.received < self.length:
            self.connection.stream_error(self, PROTOCOL_ERROR, "a body shorter than Content-Length says")
            return
        exchange = self.exchange
        self.asking = False
        if exchange is None:
            self.connection.finished(self)
            return
        self._request_over(exchange, fields)

    def _request_over(self, exchange: Exchange, trailers: Sequence[Field] = ()) -> None:
        exchange.request_end(trailers)
        if self.exchange is exchange and exchange.state == DONE and self.tunnel:
            self.exchange = None
            self._settle()
            if not self.over:
                self.end()
            else:
                self.connection.finished(self)

    def _give_back(self) -> None:
        """The backend took it: others may send as much at once, this stream when half of its window is used."""
        if self._owed:
            owed, self._owed = self._owed, 0
            self.connection.give_back(owed)
        if self._unsaid >= RECEIVE // 2 and self.asking and not self._pausing:
            size, self._unsaid = self._unsaid, 0
            self.room += size
            self.connection.send(window_update(self.stream_id, size))

    def _settle(self) -> None:
        """The stream is over: what was held up on it is no burden for the connection any more."""
        if self._owed:
            owed, self._owed = self._owed, 0
            self.connection.give_back(owed)

    def pause_reading(self, why: int) -> None:
        self._pausing |= why

    def resume_reading(self, why: int) -> None:
        if self._pausing & why:
            self._pausing &= ~why
            if not self._pausing:
                if self.asking:
                    self._restart_body_clock()
                self._give_back()

    # -- the client's windows

    def widen(self, more: int) -> bool:
        """The client takes more of this stream; ``False`` when that is more than there can be."""
        self.window += more
        return self.window <= LARGEST_WINDOW

    def lost(self, fault: Fault | None = None, detail: str = "") -> None:
        """The stream is gone, and the client with it."""
        self.over = True
        self.asking = False
        self._queue = None
        exchange, self.exchange = self.exchange, None
        self._settle()
        if exchange is not None:
            if fault is None:
                exchange.client_gone()
            else:
                exchange.client_gone(fault, detail)
        if self.connection.after:
            self._sent()
