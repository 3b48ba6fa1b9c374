"""HTTP/1.1 from clients: one connection, its requests one after another (RFC 9112).

Rules of this module:

* a state is the method that takes the next bytes: ``_read_head``, ``_read_length``,
  ``_read_chunks``, ``_hold`` (an exchange runs, what follows it waits), ``_drain`` and
  ``_linger`` (nobody wants the rest);
* bytes after a request stay unparsed until its exchange is over, so answers leave in order;
* closing is never a reset for a client that is still sending: what it was answered would be lost.
  The write side is closed, the rest is read and dropped within bounds, then the socket is closed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import format_date_time

from twisted.logger import Logger

from revproxy.exchange import DONE, Exchange
from revproxy.fault import (
    CLIENT_BAD_REQUEST,
    CLIENT_BODY_SLOW,
    CLIENT_BODY_TIMEOUT,
    CLIENT_HEAD_TIMEOUT,
    CLIENT_HEAD_TOO_LARGE,
    CLIENT_READS_SLOWLY,
    CLIENT_TARGET_TOO_LONG,
    TUNNEL_IDLE,
    Fault,
    ProtocolError,
)
from revproxy.http.h1 import ChunkedReader, chunk, find_flaw, last_chunk
from revproxy.http.message import DATE, Arrival, Field, Headers, Request, Response
from revproxy.wire import NEVER, PEER_FULL, QUEUED, Wire, ignore

if TYPE_CHECKING:
    from revproxy.engine import Engine

_log = Logger()

DRAIN = 256 * 1024  # bytes of an unwanted body that are read to keep the connection
DRAIN_TIME = 5.0  # seconds that may take, and seconds a closing connection lingers
PIPELINED = 64 * 1024  # bytes after the current request that are held unparsed

# How what is written is framed.
PLAIN, CHUNKED, TUNNEL = range(3)

_status_lines: dict[tuple[int, bytes], bytes] = {}
_date: tuple[int, bytes] = (0, b"")


def date_line() -> bytes:
    """The Date field line of now, made once a second (RFC 9110 6.6.1)."""
    global _date
    now = int(time.time())
    if now != _date[0]:
        _date = (now, b"Date: " + format_date_time(now).encode("ascii"))
    return _date[1]


def status_line(response: Response) -> bytes:
    """``HTTP/1.1 200 OK``, from a bounded table."""
    key = (response.status, response.reason)
    line = _status_lines.get(key)
    if line is None:
        line = b"HTTP/1.1 %d %b" % key
        if len(_status_lines) >= 512:
            _status_lines.clear()
        _status_lines[key] = line
    return line


class ClientConnection(Wire):
    """A MessageStream over one client connection; one exchange at a time.

    :param engine: what all connections share.
    :param arrival: how this connection reached us.
    """

    __slots__ = (
        "_body_at",
        "_broken",
        "_buffer",
        "_chunks",
        "_close_after",
        "_dropped",
        "_left",
        "_looping",
        "_mode",
        "_phase_at",
        "_reading_body",
        "_served",
        "_stall_at",
        "_stall_base",
        "_window_at",
        "_window_bytes",
        "arrival",
        "engine",
        "exchange",
    )

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine.reactor)
        self.engine = engine
        self.arrival = arrival
        self.exchange: Exchange | None = None
        self.dataReceived: Any = self._read_head
        self._buffer = b""
        self._mode = PLAIN
        self._chunks: ChunkedReader | None = None
        self._left = 0
        self._reading_body = False
        self._close_after = False
        self._broken = False  # where the next request would begin is not known
        self._looping = False
        self._served = 0
        self._dropped = 0
        self._phase_at = NEVER
        self._body_at = 0.0
        self._window_at = 0.0
        self._window_bytes = 0
        self._stall_at = NEVER
        self._stall_base = 0

    # -- the connection

    def connected(self) -> None:
        self.engine.opened(self, self.arrival.peer)
        self._set_phase(self.engine.server.timeouts.head)

    def lost(self, reason: Any) -> None:
        exchange, self.exchange = self.exchange, None
        self.engine.closed(self, self.arrival.peer)
        if exchange is not None:
            exchange.client_gone()
        self._buffer = b""
        self._chunks = None

    def half_closed(self) -> None:
        # A client that closes its write side can't be told from one that left; like nginx and
        # Go we take it for gone. Inside a tunnel the half-close is passed on.
        if self._mode == TUNNEL and self.exchange is not None:
            self.exchange.request_end()
        elif self.exchange is None and self.queued():
            self.close()  # it has its answer coming
        else:
            self.cut()

    def stop(self) -> None:
        """No more requests: an idle connection closes, a busy one after its answer."""
        self._close_after = True
        if self.exchange is None and not self._buffer:
            self._finish_close()

    # -- reading requests

    def _read_head(self, data: bytes) -> bool:
        """What comes is a request head; ``False`` when it is not complete yet."""
        if self._buffer:
            data = self._buffer + data
            fresh = False
        else:
            fresh = True
            if data[:2] == b"\r\n":  # RFC 9112 2.2
                data = data[2:]
                if not data:
                    return False
        end = data.find(b"\r\n\r\n")
        engine = self.engine
        if 0 <= end <= engine.server.limits.head:
            self._buffer = b""
            self._phase_at = NEVER
            try:
                request = engine.parser.parse(data[:end])
            except ProtocolError as e:
                self._refuse(e.fault, e.detail, data)
                return True
            request.arrival = self.arrival
            request.client = self.arrival.peer
            if self.arrival.trusted:
                engine.resolve_client(request)
            self._begin(request, data[end + 4 :])
            return True
        limits = engine.server.limits
        line = data.find(b"\r\n")
        if (len(data) if line < 0 else line) > limits.target + 64 and len(data) > limits.target + 64:
            self._refuse(CLIENT_TARGET_TOO_LONG, "request line too long", data)
        elif len(data) > limits.head:
            self._refuse(CLIENT_HEAD_TOO_LARGE, f"head over {limits.head} bytes", data)
        elif find_flaw(data):
            self._refuse(CLIENT_BAD_REQUEST, "bare CR or LF, or NUL, in a head", data)
        else:
            self._buffer = data
            if fresh and self._served:
                # from the first byte of a head on, however slowly the rest comes
                self._set_phase(engine.server.timeouts.head)
        return False

    def _refuse(self, fault: Fault, detail: str, data: bytes) -> None:
        """What came is no request: say so, log it and close."""
        self._buffer = b""
        self._broken = True
        self._phase_at = NEVER
        # for the log: as much of a request line as there is
        method, _, rest = data[:2048].partition(b"\n")[0].rstrip(b"\r").partition(b" ")
        target = rest.rpartition(b" HTTP/")[0] or rest
        request = Request(
            method or b"-", b"/", None, Headers(), raw_target=target, keep_alive=False, arrival=self.arrival
        )
        exchange = self.exchange = Exchange(self.engine, self, request)
        self.dataReceived = ignore
        exchange.fail(fault, detail)

    def _begin(self, request: Request, rest: bytes) -> None:
        """A head is there: its exchange begins (step 1)."""
        engine = self.engine
        self._served += 1
        limit = engine.server.limits.requests_per_connection
        if not request.keep_alive or engine.stopping or (limit is not None and self._served >= limit):
            self._close_after = True
        exchange = self.exchange = Exchange(engine, self, request)
        length = request.length
        if length == 0:
            if rest:
                self._buffer = rest
            self.dataReceived = self._hold
            exchange.start()
            return
        if length is None:
            reader = self._chunks = ChunkedReader()
            if rest:
                try:
                    body = reader.feed(rest)
                except ProtocolError as e:
                    exchange.client_gone(e.fault, e.detail)
                    self._refuse(e.fault, e.detail, request.raw_target)
                    return
                if reader.done:
                    self._buffer = reader.rest
                    exchange.trailers = reader.trailers
                    self.dataReceived = self._hold
                    exchange.start(body)
                    return
                rest = body
            self.dataReceived = self._read_chunks
        elif len(rest) >= length:
            self._buffer = rest[length:]
            self.dataReceived = self._hold
            exchange.start(rest[:length])
            return
        else:
            self._left = length - len(rest)
            self.dataReceived = self._read_length
        self._reading_body = True
        self._restart_body_clock()
        exchange.start(rest, False)

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
            body = reader.feed(data)
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
        elif exchange is None:
            self._drop(len(data))
        elif body:
            exchange.request_body(body)

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

    def _tunnel(self, data: bytes) -> None:
        """After 101: bytes for the backend."""
        self._body_at = self.clock.seconds()
        exchange = self.exchange
        if exchange is not None:
            exchange.request_body(data)

    def _drop(self, size: int) -> None:
        """Part of a body that nobody wants came: enough is enough."""
        self._dropped += size
        if self._dropped > DRAIN:
            self._linger()

    # -- the exchange is over

    def _over(self) -> None:
        """The answer is out: on to the next request, or to the end."""
        self.exchange = None
        if self._pausing & QUEUED:
            self.resume_reading(QUEUED)
        if self._registered and self.queued():
            self._stalled(True)
        if self._broken:
            self._linger()
        elif self._reading_body:
            if self._close_after:
                self._linger()
            else:
                self._dropped = 0
                self._set_phase(DRAIN_TIME)
        elif self._close_after:
            self._finish_close()
        else:
            self.dataReceived = self._read_head
            if self._buffer:
                if not self._looping:
                    self._looping = True
                    while self._buffer and self.exchange is None and self.dataReceived == self._read_head:
                        data, self._buffer = self._buffer, b""
                        if not self._read_head(data):
                            break
                    self._looping = False
            else:
                timeout = self.engine.server.timeouts.keep_alive
                self._phase_at = self.clock.seconds() + timeout
                self.set_deadline(timeout)

    def _finish_close(self) -> None:
        if self._buffer:
            self._linger()
            return
        self.dataReceived = ignore
        if self._registered and self.queued():
            self._set_phase(DRAIN_TIME)
        self.close()

    def _linger(self) -> None:
        """Close, but let the client read what it was answered first."""
        self._buffer = b""
        self._reading_body = False
        self._chunks = None
        self.dataReceived = self._discard
        self._dropped = 0
        self._pausing and self.resume_reading(self._pausing)
        self._set_phase(DRAIN_TIME)
        self.half_close()

    def _discard(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > DRAIN:
            self.cut()

    # -- the verbs of a MessageStream

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        request = exchange.request
        status = response.status
        lines = [status_line(response)]
        lines += [f[2] for f in response.headers.fields]
        if status < 200:
            self._interim(request, response, lines, first)
            return
        if not response.kinds & DATE and b"date" not in response.headers:
            lines.append(date_line())
        self._mode = PLAIN
        if self._reading_body and request.expects_continue and not exchange.received:
            self._close_after = True  # whether its body follows can't be known (RFC 9110 10.1.1)
        if response.length is None and request.method != b"HEAD" and status != 204 and status != 304:
            if ended:
                lines.append(b"Content-Length: %d" % len(first))
            elif request.version == 10:
                self._close_after = True
            else:
                self._mode = CHUNKED
                lines.append(b"Transfer-Encoding: chunked")
        if self._close_after or self._broken:
            lines.append(b"Connection: close")
        elif request.version == 10:
            lines.append(b"Connection: keep-alive")
        lines.append(b"")
        if first and self._mode == CHUNKED:
            first = chunk(first)
        lines.append(first)
        self.send(b"\r\n".join(lines))
        if ended:
            self._over()

    def _interim(self, request: Request, response: Response, lines: list[bytes], first: bytes) -> None:
        if request.version == 10:
            return
        if response.status == 101:
            self._mode = TUNNEL
            self._close_after = True
            self.dataReceived = self._tunnel
            lines.append(b"Connection: Upgrade")
        elif response.status == 100 and self._reading_body:
            request.expects_continue = False
            self._restart_body_clock()
        self.send(b"\r\n".join([*lines, b"", first]))
        if response.status == 101:
            self._body_at = self.clock.seconds()
            self.set_deadline(self.engine.server.timeouts.tunnel)
            if self._buffer:
                data, self._buffer = self._buffer, b""
                self._tunnel(data)

    def write_body(self, data: bytes) -> None:
        if self._mode == CHUNKED:
            data = chunk(data)
        elif self._mode == TUNNEL:
            self._body_at = self.clock.seconds()
        self.send(data)

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

    def resume_reading(self, why: int) -> None:
        super().resume_reading(why)
        if self._reading_body and not self._pausing:
            self._restart_body_clock()

    # -- backpressure: the client does not take what we have

    def full(self) -> None:
        exchange = self.exchange
        if exchange is None or exchange.sink is None:
            return
        route = exchange.route
        if route is not None and route.buffer_response and 0 < self.queued() < route.buffer_response:
            return
        self._stalled(True)
        exchange.sink.pause_reading(PEER_FULL)

    def drained(self) -> None:
        self._stall_at = NEVER
        exchange = self.exchange
        if exchange is not None and exchange.sink is not None:
            exchange.sink.resume_reading(PEER_FULL)

    def _stalled(self, now: bool) -> None:
        if self._stall_at == NEVER:
            self._stall_at = self.clock.seconds()
            self._stall_base = self.bytes_out - self.unsent()
            rate = self._minimum_rate()
            if rate is not None:
                self.set_deadline(min(rate[1], max(0.0, self.deadline - self._stall_at)))

    # -- time

    def _set_phase(self, seconds: float) -> None:
        self._phase_at = self.clock.seconds() + seconds
        self.set_deadline(seconds)

    def _minimum_rate(self) -> tuple[float, float] | None:
        exchange = self.exchange
        if exchange is not None and exchange.route is not None:
            return exchange.route.minimum_rate
        rate = self.engine.server.minimum_rate
        return None if rate is None else (rate.rate, rate.over)

    def _restart_body_clock(self) -> None:
        self._body_at = self._window_at = self.clock.seconds()
        self._window_bytes = 0
        rate = self._minimum_rate()
        timeout = self.engine.server.timeouts.body
        self.set_deadline(timeout if rate is None else min(timeout, rate[1]))

    def expired(self) -> None:
        now = self.clock.seconds()
        if now >= self._phase_at:
            self._phase_expired()
            return
        due = self._phase_at
        exchange = self.exchange
        if self._mode == TUNNEL:
            due = self._body_at + self.engine.server.timeouts.tunnel
            if now >= due:
                self._give_up(TUNNEL_IDLE)
                return
        rate = self._minimum_rate()
        waits = exchange is not None and exchange.request.expects_continue and not exchange.received
        if self._reading_body and not self._pausing and not waits:
            gap = self._body_at + self.engine.server.timeouts.body
            if now >= gap:
                self._give_up(CLIENT_BODY_TIMEOUT)
                return
            due = min(due, gap)
            if rate is not None:
                if now >= self._window_at + rate[1]:
                    if self._window_bytes < rate[0] * (now - self._window_at):
                        self._give_up(CLIENT_BODY_SLOW)
                        return
                    self._window_at = now
                    self._window_bytes = 0
                due = min(due, self._window_at + rate[1])
        if self._stall_at != NEVER and rate is not None:
            if now >= self._stall_at + rate[1]:
                taken = self.bytes_out - self.unsent()
                if taken - self._stall_base < rate[0] * (now - self._stall_at):
                    self._give_up(CLIENT_READS_SLOWLY)
                    return
                self._stall_at = now
                self._stall_base = taken
            due = min(due, self._stall_at + rate[1])
        if due != NEVER:
            self.set_deadline(due - now)

    def _phase_expired(self) -> None:
        self._phase_at = NEVER
        if self.dataReceived == self._read_head:
            if self._buffer:
                self._refuse(CLIENT_HEAD_TIMEOUT, "the head took too long", self._buffer)
            elif self._registered and self.queued():
                self.cut()
            else:
                self.close()
        elif self._reading_body and self.exchange is None:
            self._linger()
        else:
            self.cut()

    def _give_up(self, fault: Fault) -> None:
        """The client is too slow."""
        exchange = self.exchange
        if exchange is None:
            self.cut()
            return
        self._broken = True
        self._close_after = True
        exchange.fail(fault)
