"""Compression of responses, as a backend-response hook and a filter of the body.

Rules of this module:

* whether and how is decided in :mod:`revproxy.coding.decide`; here bodies go through encoders;
* a body that is all there is compressed whole, and its length is known; any other is a stream: what has
  come can be decoded by the client as soon as the backend has nothing more right now;
* the reactor is never held up: what takes longer than half a millisecond is done in a thread, one piece at
  a time, in order. Meanwhile the backend is not read, so no more than a read or two is held;
* when the exchange ends while a thread is at work, what comes of that is dropped, and the encoder with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from revproxy.coding.decide import STALE, Compression, Decision, accepted_by, compile_compression
from revproxy.coding.encoders import Encoder
from revproxy.config.coding import Compress
from revproxy.fault import HOOK_FAILED
from revproxy.http.blocks import ResponseBlock
from revproxy.http.message import LENGTH, OURS, Headers, Response
from revproxy.threads import in_thread
from revproxy.wire import FILTER, READ

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

#: Bytes of the largest body that is compressed whole, and that a thread gets at once.
WHOLE = 256 * 1024
#: A piece that is shorter is all that the backend has right now. A full read of chunks is a little less.
FULL = READ * 3 // 4
#: Seconds for which what may have a sequel is held back: a full read, and a piece that comes right after a flush.
#: Each flush costs 5 to 20 bytes and a write: a body in many small pieces would grow, not shrink.
LINGER = 0.005

#: What browsers accept who ask for a stream of events.
_EVENTS = b"text/event-stream"
# What follows the bytes that an encoder was fed.
_MORE, _FLUSH, _FINISH = range(3)


class Compressing:
    """A backend-response hook; it has to be the last of them, since it looks at what they made of the head."""

    __slots__ = ("_compression",)

    def __init__(self, compression: Compression) -> None:
        self._compression = compression

    def __call__(self, exchange: Exchange) -> None:
        response = exchange.response
        assert response is not None
        decision = self._compression.decide(exchange.request, response, exchange.asked)
        if decision is not None:
            length = response.length
            decision.apply(response)
            if decision.coding is not None:
                exchange.filter = Recoder(exchange, decision, length)

    def at_once(self, exchange: Exchange, response: Response, body: bytes) -> bytes | None:
        """A body that is there whole, under a head that repeats, where no other hook has a say.

        What was made of the head is found by the head, and no filter is made: 2 us beside the compression itself,
        where copying the head, running the hook and a filter took 12.

        :return: as :attr:`revproxy.routing.Route.at_once` says.
        """
        block = response.block
        if type(block) is not ResponseBlock:
            return None
        request = exchange.request
        asked = request.headers if exchange.asked is None else exchange.asked
        known = request.block
        if known is not None and known.fields is asked.fields:
            accepts = known.accepts
            if accepts is None:
                accepts = known.accepts = accepted_by(asked)
        else:
            accepts = accepted_by(asked)
        if accepts[1]:
            return None
        compression = self._compression
        recoded = block.recoded
        if block.recoder is not compression:
            block.recoder = compression
            recoded = block.recoded = {}
        made = recoded.get(accepts[0])
        if made is None:
            made = compression.repeated(request, response, asked, accepts[0], recoded)
            if made is None:
                return None
        coding = made[1]
        if coding is not None:
            if len(body) > coding.inline:
                return None
            try:
                body = coding.compress(body)
            except Exception:
                return None  # it will raise again, where that is told
        exchange.response = made[0]
        return body


def compressing(written: Compress) -> Compressing:
    """A hook of these settings.

    :raises revproxy.coding.encoders.MissingPackage: for a coding that is named and not installed.
    """
    return Compressing(compile_compression(written))


def narrowing(written: Compress) -> Callable[[Exchange], None]:
    """A client-request hook before a cache: Accept-Encoding says only what would be chosen from it.

    So the cache has one variant for each coding, and not one for each browser's list of them. Who wants nothing
    transformed (RFC 9111 5.2.1.6) is one who accepts no coding: its answer is not the one of those who accept some.
    """
    compression = compile_compression(written)
    usual, lasting = compression.usual.choose, compression.lasting.choose

    def hook(exchange: Exchange) -> None:
        headers = exchange.request.headers
        accepted, forbidden = accepted_by(headers)
        if accepted is None:
            return
        chosen = None
        if not forbidden:
            chosen = (lasting if headers.get(b"accept") == _EVENTS else usual)(accepted)
        # none of ours: without the field any coding would do (RFC 9110 12.5.3)
        wanted = b"identity" if chosen is None else chosen
        if accepted != wanted:
            headers.set(b"Accept-Encoding", wanted)

    return hook


def remember_asked(exchange: Exchange) -> None:
    """A backend-request hook, for before all others: what these change is not what the client accepts."""
    exchange.asked = Headers(exchange.request.headers.fields)


class Recoder:
    """The filter that compresses one body.

    :param decision: with whose coding. :param length: bytes of the body, ``None`` when that is not known.
    """

    __slots__ = (
        "_away", "_coding", "_decision", "_encoder", "_ended", "_exchange", "_flushed", "_kept", "_left", "_pumping",
        "_reactor", "_timer", "_unflushed",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, decision: Decision, length: int | None) -> None:
        self._exchange: Exchange | None = exchange
        self._reactor = exchange.engine.reactor
        assert decision.coding is not None
        self._decision = decision
        self._coding = decision.coding
        self._encoder: Encoder | None = None
        self._left = length
        self._kept: deque[bytes | memoryview] = deque()
        self._away = False  # a thread is at work
        self._pumping = False
        self._ended: Sequence[Any] | None = None
        self._unflushed = False
        self._flushed = -LINGER  # reactor seconds of the last flush
        self._timer: Any = None

    # -- what the exchange calls

    def begin(self, first: bytes, ended: bool) -> None:
        exchange = self._exchange
        assert exchange is not None
        coding = self._coding
        if (ended or len(first) == self._left) and len(first) <= WHOLE:
            if len(first) > coding.inline:
                compressed = in_thread(self._reactor, coding.compress, first)
                compressed.addCallback(self._pass_whole, ended).addErrback(self._broke)
                return
            try:
                whole = coding.compress(first)
            except Exception:
                self._broke()
            else:
                self._pass_whole(whole, ended)
            return
        made = b""
        size = len(first)
        try:
            encoder = self._encoder = coding.encoder()
            if 0 < size <= coding.piece:
                made = _encode(encoder, first, self._then(size))
        except Exception:
            self._broke()
            return
        if ended:
            self._ended = ()
        if size > coding.piece:
            self._keep(first)
        elif self._left is not None:
            self._left -= size
        self._unflushed = FULL <= size <= coding.piece
        exchange.pass_head(made, False)
        if self._kept:
            self._pump()
        elif self._unflushed and self._exchange is not None:
            self._wait()

    def feed(self, data: bytes) -> None:
        if self._away or self._kept or len(data) > self._coding.piece:
            self._keep(data)
            self._pump()
            return
        if self._left is not None:
            self._left -= len(data)
        self._work(data, self._then(len(data)))

    def end(self, trailers: Sequence[Any]) -> None:
        self._ended = [f for f in trailers if f[0] not in STALE]
        if not self._away and not self._kept:
            self._work(b"", _FINISH)

    def drop(self) -> None:
        self._exchange = None
        self._kept.clear()
        self._stop_timer()

    # -- a whole body

    def _pass_whole(self, body: bytes, ended: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        self._exchange = exchange.filter = None
        response = exchange.response
        assert response is not None
        if not ended:
            size = response.length = len(body)
            line = b"Content-Length: %d" % size
            headers = response.headers
            headers.fields = [*headers.fields, (b"content-length", line[16:], line, LENGTH | OURS)]
            response.kinds |= LENGTH
        else:
            # the client's side counts; and a head that is repeated is serialised once, unless a hook changed it
            decision = self._decision
            made_for = decision.head
            if made_for is not None and (made_for.status, made_for.reason) == (response.status, response.reason):
                response.block = decision
        exchange.pass_head(body, ended)

    # -- a stream

    def _then(self, size: int) -> int:
        """What follows the last ``size`` bytes that came."""
        if self._left == 0 or self._ended is not None:
            return _FINISH
        if size < FULL:
            now = self._reactor.seconds()
            if now - self._flushed >= LINGER:
                self._flushed = now
                return _FLUSH
        return _MORE

    def _work(self, data: bytes | memoryview, then: int) -> None:
        """Compress what does not take long."""
        try:
            made = _encode(self._encoder, data, then)
        except Exception:
            self._broke()
        else:
            self._pass(made, then)

    def _keep(self, data: bytes) -> None:
        """Put ``data`` where a thread gets it from, in pieces of a bounded size."""
        if self._left is not None:
            self._left -= len(data)
        if len(data) <= WHOLE:
            self._kept.append(data)
        else:
            view = memoryview(data)
            self._kept.extend(view[at : at + WHOLE] for at in range(0, len(data), WHOLE))

    def _pump(self) -> None:
        """Work off what is kept; meanwhile the backend is not read."""
        exchange = self._exchange
        if exchange is None or self._pumping or self._away:
            return
        kept = self._kept
        self._pumping = True
        while kept and not self._away:
            parts = [kept.popleft()]
            size = len(parts[0])
            while kept and size + len(kept[0]) <= WHOLE:
                size += len(kept[0])
                parts.append(kept.popleft())
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            then = _MORE if kept else self._then(size)
            if size <= self._coding.piece:
                self._work(data, then)
                continue
            self._away = True
            if exchange.sink is not None:
                exchange.sink.pause_reading(FILTER)
            # where the reactor has no threads, it is done at once
            in_thread(self._reactor, _encode, self._encoder, data, then).addCallback(self._back, then).addErrback(
                self._broke
            )
        self._pumping = False
        if self._away:
            return
        if self._ended is not None and self._exchange is not None:
            self._work(b"", _FINISH)
        if exchange.sink is not None:
            exchange.sink.resume_reading(FILTER)

    def _back(self, made: bytes, then: int) -> None:
        self._away = False
        if self._exchange is not None:
            self._pass(made, then)
            self._pump()

    def _pass(self, made: bytes, then: int) -> None:
        exchange = self._exchange
        assert exchange is not None
        if then == _FINISH:
            # from here on the exchange ends as any other
            self._exchange = exchange.filter = None
            self._stop_timer()
            if made:
                exchange.pass_body(made)
            if self._ended is not None:
                exchange.response_end(self._ended)
            return
        if made:
            exchange.pass_body(made)
        self._unflushed = then == _MORE
        if self._unflushed and self._exchange is not None:
            self._wait()

    def _wait(self) -> None:
        """What is not flushed is not for long."""
        if self._timer is None:
            self._timer = self._reactor.callLater(LINGER, self._linger)

    def _linger(self) -> None:
        self._timer = None
        if self._unflushed and not self._away and not self._kept:
            self._flushed = self._reactor.seconds()
            self._work(b"", _FLUSH)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _broke(self, failure: Any = None) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.broke(HOOK_FAILED, failure)


def _encode(encoder: Any, data: bytes | memoryview, then: int) -> bytes:
    made: bytes = encoder.feed(data) if data else b""
    if then == _FLUSH:
        made += encoder.flush()
    elif then == _FINISH:
        made += encoder.finish()
    return made
