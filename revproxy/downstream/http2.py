"""HTTP/2 from clients: the requests of one connection, each with its stream (RFC 9113 8).

Rules of this module:

* reading frames is in :mod:`~revproxy.downstream.h2reading`, windows are in :mod:`~revproxy.downstream.h2windows`,
  time and the end in :mod:`~revproxy.downstream.h2closing`; here is what becomes of a field block;
* framing and stream states are our own, HPACK is a library's (:mod:`revproxy.http.hpack`): a small request takes
  180 to 255 us in jh2's or h2's connection object, and floods have to be seen before a library has worked on them;
* a request that is malformed resets its stream, one that is only refused is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from revproxy.downstream.calm import REQUEST_WORTH
from revproxy.downstream.h2connect import ConnectExchange
from revproxy.downstream.h2reading import ReadingHttp2
from revproxy.downstream.h2stream import RECEIVE, Http2Stream
from revproxy.downstream.h2windows import CONNECTION_RECEIVE
from revproxy.exchange import Exchange
from revproxy.fault import CLIENT_BAD_REQUEST, CLIENT_HEAD_TOO_LARGE, CLIENT_MISDIRECTED, ProtocolError
from revproxy.http.forwarding import forwarded_lines
from revproxy.http.h2frames import (
    COMPRESSION_ERROR,
    ENABLE_CONNECT_PROTOCOL,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    WINDOW,
    FrameError,
    settings,
    window_update,
)
from revproxy.http.h2requests import H2RequestReader, Malformed
from revproxy.http.hpack import BlockReader, TooLarge, Undecodable
from revproxy.http.message import Arrival, Headers, Request
from revproxy.wire import NEVER

if TYPE_CHECKING:
    from revproxy.engine import Engine

STREAMS = 100  # requests that a client may have under way at once
_BLOCKS = 4  # decoded bytes of a block, in times of limits.head: up to there it is answered with 431


class Http2Connection(ReadingHttp2):
    """A client connection in HTTP/2, with one :class:`Http2Stream` for each request under way.

    :param engine: what all connections share.
    :param arrival: how this connection reached us.
    """

    __slots__ = ("_decoder", "_directed", "_requests", "_served", "hsts")

    def __init__(self, engine: Engine, arrival: Arrival) -> None:
        via = engine.server.via
        if via is not None:
            said = forwarded_lines(arrival.peer, arrival.port, arrival.scheme, via, "2.0")
            arrival = evolve(arrival, forwarded=said)
        super().__init__(engine, arrival)
        self.hsts: Any = [(b"strict-transport-security", arrival.hsts, False)] if arrival.hsts else None
        self._decoder = BlockReader(engine.server.limits.head * _BLOCKS, engine.server.limits.head)
        self._requests = H2RequestReader(engine.parser)
        self._served = 0
        tls = arrival.tls
        self._directed = None if tls is None or tls.server_name is None else tls.server_name.encode("ascii")

    def connected(self) -> None:
        self.engine.opened(self, self.arrival.peer)
        timeout = self.engine.server.timeouts.head
        self._idle_at = self.clock.seconds() + timeout
        self.set_deadline(timeout)
        first = settings(
            {
                MAX_CONCURRENT_STREAMS: STREAMS,
                INITIAL_WINDOW_SIZE: RECEIVE,
                MAX_HEADER_LIST_SIZE: self.engine.server.limits.head,
                ENABLE_CONNECT_PROTOCOL: 1,
            }
        )
        self.send(first + window_update(0, CONNECTION_RECEIVE - WINDOW))

    def _fields(self, stream_id: int, block: bytes, ended: bool) -> None:
        """A whole field block: a request begins, or ends with trailers."""
        try:
            fields = self._decoder.read(block)
        except TooLarge:
            self._flood("a field block that is too large once it is decoded")
            return
        except Undecodable as e:
            raise FrameError(COMPRESSION_ERROR, str(e)) from None
        if stream_id <= self._last_id:
            self._trailers(stream_id, fields, ended)
            return
        if self._leaving:
            return  # the client was told that it is not looked at
        self._last_id = stream_id
        if stream_id in self._taken_back:
            self._late.append(stream_id)  # what else comes for it is passed over
            return
        if len(self._streams) >= STREAMS:
            self._refuse(stream_id, REFUSED_STREAM)
            return
        self._calm.earned(REQUEST_WORTH)
        self._begin(stream_id, fields, ended)

    def _begin(self, stream_id: int, fields: Any, ended: bool) -> None:
        """A head is there: its exchange begins (step 1)."""
        engine = self.engine
        arrival = self.arrival
        stream = Http2Stream(self, stream_id, self._initial)
        if ended:
            stream.asking = False
        try:
            if self._decoder.over:
                raise ProtocolError(CLIENT_HEAD_TOO_LARGE, f"fields over {engine.server.limits.head} bytes")
            request = self._requests.read(fields, ended, arrival)
        except ProtocolError as e:
            self._malformed(stream, fields, e)
            return
        self._open(stream)
        self._served += 1
        limit = engine.max_requests
        if (limit is not None and self._served >= limit) or engine.stopping:
            self._leave()
        if arrival.trusted:
            engine.resolve_client(request)
        exchange = (Exchange if request.upgrade is None else ConnectExchange)(engine, stream, request)
        stream.exchange = exchange
        if not ended and request.upgrade is None:
            stream.length = request.length
        if self._directed is not None and request.host != self._directed and not self._is_ours(request):
            exchange.fail(
                CLIENT_MISDIRECTED, f"the connection is for {self.arrival.tls and self.arrival.tls.server_name}"
            )
        elif request.upgrade is not None:
            if ended:
                exchange.fail(CLIENT_BAD_REQUEST, "an extended CONNECT that ends its stream")
                return
            stream.extended = True
            exchange.start()
        elif ended:
            exchange.start()
        else:
            stream.begin_body()
            exchange.start(b"", False)

    def _open(self, stream: Http2Stream) -> None:
        if not self._streams and self._stall_at == NEVER:
            self.deadline = NEVER  # busy: nothing is due
        self._streams[stream.stream_id] = stream

    def _is_ours(self, request: Request) -> bool:
        """Whether a host that the connection was not made for may be asked for on it (RFC 9113 9.1.1)."""
        tls = self.arrival.tls
        if tls is not None and tls.may_serve(request.host):
            self._directed = request.host  # the next request will most likely ask for it, too
            return True
        return False

    def _malformed(self, stream: Http2Stream, fields: Any, error: ProtocolError) -> None:
        """What came is no request: answered where that can be done, else its stream is reset."""
        said = {name: value for name, value, _ in fields[:32]}
        request = Request(
            said.get(b":method") or b"-",
            b"/",
            None,
            Headers(),
            raw_target=(said.get(b":path") or b"-")[:2048],
            version=20,
            arrival=self.arrival,
        )
        self._open(stream)
        exchange = stream.exchange = Exchange(self.engine, stream, request)
        if isinstance(error, Malformed):
            self.stream_error(stream, PROTOCOL_ERROR, error.detail, error.fault)
        else:
            exchange.fail(error.fault, error.detail)

    def _trailers(self, stream_id: int, fields: Any, ended: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id in self._done:
                raise FrameError(STREAM_CLOSED, "HEADERS on a closed stream")
            if stream_id not in self._late:
                raise FrameError(PROTOCOL_ERROR, f"HEADERS on stream {stream_id} after {self._last_id}")
        elif not stream.asking:
            self.stream_error(stream, STREAM_CLOSED, "HEADERS after the end of the request")
        elif not ended or stream.tunnel or stream.extended:
            self.stream_error(stream, PROTOCOL_ERROR, "HEADERS within a body")
        else:
            try:
                trailers = self._requests.read_trailers(fields)
            except ProtocolError as e:
                self.stream_error(stream, PROTOCOL_ERROR, e.detail)
                return
            stream.trailers(trailers)
