"""HTTP/1.1 from clients: one connection, its requests one after another (RFC 9112).

Rules of this module:

* a state is the method that takes the next bytes: ``_read_head``, ``_read_length``,
  ``_read_chunks``, ``_hold`` (an exchange runs, what follows it waits), ``_tunnel``, and
  ``_discard`` (nobody wants the rest);
* bytes after a request stay unparsed until its exchange is over, so answers leave in order;
* clocks are in :mod:`~revproxy.downstream.pace`, closing in :mod:`~revproxy.downstream.closing`,
  writing in :mod:`~revproxy.downstream.answering`, reading bodies in :mod:`~revproxy.downstream.bodies`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from revproxy.downstream.bodies import CHUNKS, BodyWire
from revproxy.downstream.closing import DRAIN_TIME
from revproxy.downstream.pace import TUNNEL
from revproxy.exchange import Exchange
from revproxy.fault import (
    CLIENT_BAD_REQUEST,
    CLIENT_HEAD_TIMEOUT,
    CLIENT_HEAD_TOO_LARGE,
    CLIENT_MISDIRECTED,
    CLIENT_TARGET_TOO_LONG,
    STOPPED,
    Fault,
    ProtocolError,
)
from revproxy.http.blocks import RequestBlock
from revproxy.http.h1 import ChunkedReader, find_flaw
from revproxy.http.message import Arrival, Headers, Request
from revproxy.stream import DONE
from revproxy.wire import AT_ONCE, NEVER, ignore

if TYPE_CHECKING:
    from revproxy.engine import Engine

REPEATED = 2048  # bytes of a field section that is kept for the next request to repeat
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")


class ClientConnection(BodyWire):
    """A MessageStream over one client connection; one exchange at a time.

    :param engine: what all connections share.
    :param arrival: how this connection reached us.
    """

    __slots__ = ("_directed", "_last", "_looping", "_served")

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        super().__init__(engine, arrival)
        self.dataReceived: Any = self._read_head
        self._looping = False
        self._served = 0
        self._last: RequestBlock | None = None
        tls = arrival.tls
        self._directed = None if tls is None or tls.server_name is None else tls.server_name.encode("ascii")

    # -- the connection

    def connected(self) -> None:
        self.engine.opened(self, self.arrival.peer)
        self._set_phase(self.engine.server.timeouts.head)

    def lost(self, reason: Any) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self._sent()
        self.engine.closed(self, self.arrival.peer)
        self.engine.turns.forget(self)
        self._buffer = b""
        self._chunks = None

    def half_closed(self) -> None:
        # A client that closes its write side can't be told from one that left; like nginx and
        # Go we take it for gone. Inside a tunnel the half-close is passed on.
        if self._mode == TUNNEL and self.exchange is not None:
            self.exchange.request_end()
            if self.exchange is not None and self.exchange.state == DONE:
                self.exchange = None
                self.close()
        elif self.exchange is None:
            self._buffer = b""
            self._finish_close()  # it has its answer coming, as far as it was not read yet
        else:
            self.cut()

    def stop(self) -> None:
        """No more requests: an idle connection closes, a busy one after its answer."""
        self._close_after = True
        if self.exchange is None and not self._buffer:
            self._finish_close()

    def stopped(self) -> None:
        """No more time: whatever goes on here ends now."""
        if self.exchange is not None and self.exchange.fault is None:
            self.exchange.fault = STOPPED
        self.cut()

    # -- reading requests

    def _read_head(self, data: bytes) -> bool:
        """What comes is a request head; ``False`` when it is not complete yet."""
        held = self._buffer
        known = 0  # bytes that were looked at before
        if held:
            data = held + data
            known = len(held)
        if data[0] == 0x0D:  # empty lines before a request (RFC 9112 2.2)
            empty = _EMPTY_LINES.match(data)
            if empty is not None:
                data = data[empty.end() :]
                self._buffer = b""
                known = 0
                if not data:
                    return False
        end = data.find(b"\r\n\r\n", max(0, known - 3))
        engine = self.engine
        if 0 <= end <= engine.server.limits.head:
            self._buffer = b""
            self._phase_at = NEVER
            try:
                request = engine.parser.parse(data[:end], self._last, self.arrival)
            except ProtocolError as e:
                self._refuse(e.fault, e.detail, data)
                return True
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
        elif find_flaw(data, known):
            self._refuse(CLIENT_BAD_REQUEST, "bare CR or LF, or NUL, in a head", data)
        else:
            self._buffer = data
            if self._served and data != b"\r" and held in (b"", b"\r"):
                # from the first byte of a head on, however slowly the rest comes; half an empty line is none
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
        limit = engine.max_requests
        if not request.keep_alive or engine.stopping or (limit is not None and self._served >= limit):
            self._close_after = True
        block = request.block
        if block is not self._last:
            assert block is not None
            self._last = block if len(block.raw) <= REPEATED else None
        exchange = self.exchange = Exchange(engine, self, request)
        if self._directed is not None and request.host != self._directed and not self._is_ours(request):
            self._broken = True
            self.dataReceived = ignore
            exchange.fail(
                CLIENT_MISDIRECTED, f"the connection is for {self.arrival.tls and self.arrival.tls.server_name}"
            )
            return
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
                    body = reader.feed(rest, CHUNKS)
                except ProtocolError as e:
                    self._broken = True
                    self.dataReceived = ignore
                    exchange.fail(e.fault, e.detail)
                    return
                if reader.done:
                    self._buffer = reader.rest
                    exchange.trailers = reader.trailers
                    self.dataReceived = self._hold
                    exchange.start(body)
                    return
                rest = body
            self.dataReceived = self._read_chunks
            if reader.rest:
                self._wait_with_chunks()
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

    def _is_ours(self, request: Request) -> bool:
        """Whether a host that the connection was not made for may be asked for on it (RFC 9110 7.4, 15.5.20)."""
        tls = self.arrival.tls
        if tls is not None and tls.may_serve(request.host):
            self._directed = request.host  # the next request will most likely ask for it, too
            return True
        return False

    def _tunnel(self, data: bytes) -> None:
        """After 101: bytes for the backend."""
        self._body_at = self.clock.seconds()
        exchange = self.exchange
        if exchange is not None:
            exchange.request_body(data)

    def _over(self) -> None:
        """The answer is out: on to the next request, or to the end."""
        self.exchange = None
        if self._after is not None and not self.is_full:
            self._sent()
        if self._pausing:
            self.resume_reading(self._pausing)  # whatever the exchange waited for, it is over
        measured = self._registered and self._waiting()
        if measured:
            self._measure_reading()
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
        elif self.is_full:
            # the client has to take what it was answered before it is answered more
            self._measure_reading()
            self.dataReceived = self._hold
        else:
            self.dataReceived = self._read_head
            if self._buffer:
                if not self._looping:
                    if self.engine.turns.now():
                        self._read_on()
                    else:
                        self._wait()
            else:
                timeout = self.engine.keep_alive
                seconds = self.engine.seconds
                at = self._phase_at = self.deadline = seconds() + timeout
                if at < self._due:
                    self.set_deadline(timeout)
                if measured:
                    self.expired()  # who takes nothing of the rest is not idle

    def _read_on(self) -> None:
        """Take the requests that wait, as far as they are answered at once."""
        self._looping = True
        left = AT_ONCE
        while self._buffer and self.exchange is None and self.dataReceived == self._read_head:
            if not left:
                self._wait()
                break
            left -= 1
            data, self._buffer = self._buffer, b""
            if not self._read_head(data):
                if self._phase_at == NEVER and self.exchange is None:  # there were empty lines only
                    self._set_phase(self.engine.keep_alive)
                break
        self._looping = False

    def _wait(self) -> None:
        """Others get their turn before the requests that wait."""
        self.dataReceived = self._hold
        self.engine.turns.wait(self, self._next_turn)

    def _next_turn(self) -> None:
        """Others had their turn."""
        if self.exchange is None and self.transport is not None and self.dataReceived == self._hold:
            self._over()

    def drained(self) -> None:
        super().drained()
        if self.exchange is None and self.dataReceived == self._hold:
            self._over()

    # -- time

    def phase_expired(self) -> None:
        if self.dataReceived == self._read_head:
            if self._buffer not in (b"", b"\r"):
                self._refuse(CLIENT_HEAD_TIMEOUT, "the head took too long", self._buffer)
            else:
                self._finish_close()
        elif self._reading_body and self.exchange is None:
            self._linger()
        else:
            self._late_close()
