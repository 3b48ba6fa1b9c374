"""Sending what is stored, or being stored, to one client at that client's pace."""

from __future__ import annotations

from collections import deque
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from revproxy.cache.answer import (
    NotModified,
    NotSatisfiable,
    Partial,
    answer_conditional,
    hit_fields,
    not_modified_fields,
    not_satisfiable_fields,
    slices,
)
from revproxy.cache.entry import Entry, Filling
from revproxy.errorpages import reason
from revproxy.fault import Fault
from revproxy.http.message import Field, Headers, Response
from revproxy.stream import ASKED, DONE

if TYPE_CHECKING:
    from revproxy.cache.fill import Fill
    from revproxy.cache.partial import StoredPart
    from revproxy.cache.policy import Ask
    from revproxy.cache.store import Store
    from revproxy.cache.stored import Stored
    from revproxy.exchange import Exchange

#: What is to be sent: bytes of ours, or from one byte of the body to another (``None``: to its end).
Segment = bytes | tuple[int, int | None]


class Reader:
    """The sink of an exchange that is answered from a body in the store; it goes on as the client takes it.

    :ivar source: whose body. :ivar fill: who writes it, ``None`` when it is complete.
    """

    __slots__ = ("_pausing", "_segments", "_store", "exchange", "fill", "source")

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        source: Entry | Filling,
        segments: list[Segment],
        fill: Fill | None = None,
    ) -> None:
        self.exchange = exchange
        self.source = source
        self.fill = fill
        self._store = store
        self._segments: deque[Segment] = deque(segments)
        self._pausing = 0

    def begin(self, response: Response) -> None:
        """Send the head, with the first of the body."""
        exchange = self.exchange
        first = self._next()
        if not self._segments:
            exchange.serve(response, first, True)
            return
        self._store.hold(self.source)
        exchange.sink = self
        exchange.serve(response, first, False)
        self.pump()

    def _next(self) -> bytes:
        """The next bytes to be sent; ``b""`` when there are none, or none yet."""
        segments = self._segments
        while segments:
            segment = segments[0]
            if isinstance(segment, bytes):
                segments.popleft()
                if segment:
                    return segment
                continue
            start, stop = segment
            if start == stop:
                segments.popleft()
                continue
            data = self.source.read(start)
            if stop is not None and len(data) > stop - start:
                data = data[: stop - start]
            start += len(data)
            if start == stop:
                segments.popleft()
            else:
                segments[0] = (start, stop)
            return data
        return b""

    @property
    def is_behind(self) -> bool:
        """Whether the client has not been sent all that is there."""
        segment = self._segments[0] if self._segments else None
        return (
            self._pausing != 0
            or self.exchange.state <= ASKED
            or not isinstance(segment, tuple)
            or segment[0] < self.source.length
        )

    def pump(self) -> None:
        """Send what there is, as far as the client takes it."""
        exchange = self.exchange
        if exchange.sink is not self or exchange.state <= ASKED:
            return  # it is over, or a hook still has the head
        while not self._pausing:
            data = self._next()
            if not data:
                break
            exchange.response_body(data)
            if exchange.state == DONE:
                return
        if not self._segments:
            exchange.sink = None
            self._store.release(self.source)
            exchange.response_end()

    def send(self, data: bytes) -> None:
        """Send what is in no store, to one who is not behind."""
        if self.exchange.sink is self:
            self.exchange.response_body(data)

    def complete(self) -> None:
        """The body has come to its end."""
        self.fill = None
        segments = self._segments
        if segments and isinstance(last := segments[-1], tuple):
            segments[-1] = (last[0], max(last[0], self.source.length))
            if last[0] >= self.source.length:
                segments.pop()
        self.pump()

    # -- the verbs of a sink

    def write_body(self, data: bytes) -> None:
        """Nobody asks for a request's body."""

    def end(self, trailers: Any = ()) -> None:
        """Nor for its end."""

    def abort(self, fault: Fault) -> None:
        """The client is gone, or the exchange failed."""
        self._segments.clear()
        self._store.release(self.source)
        fill, self.fill = self.fill, None
        if fill is not None:
            fill.left(self)

    def pause_reading(self, why: int) -> None:
        """The client can't take more, or a hook has the head."""
        self._pausing |= why

    def resume_reading(self, why: int) -> None:
        """That reason is gone."""
        if not self._pausing & why:
            return
        self._pausing &= ~why
        if self._pausing:
            return
        if self.exchange.state <= ASKED:  # the head leaves after this
            self.exchange.engine.reactor.callLater(0, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        self.pump()
        if self.fill is not None:
            self.fill.paced()


def respond(
    exchange: Exchange,
    store: Store,
    stored: Stored,
    entry: Entry,
    ask: Ask,
    now: float,
    status_field: Field | None,
) -> bool:
    """Answer with a stored response: whole, in parts, or that the client has it.

    ``False`` when that was not done: too much is being read slowly already.
    """
    request = exchange.request
    fields = hit_fields(stored, now, status_field)
    if ask.conditional:
        answer = answer_conditional(stored, request, now)
        if isinstance(answer, NotModified):
            _bare(exchange, 304, not_modified_fields(fields))
            return True
        if isinstance(answer, NotSatisfiable):
            unsatisfied = not_satisfiable_fields(stored)
            if status_field is not None:
                unsatisfied.append(status_field)
            exchange.serve(Response(416, Headers(unsatisfied), reason=reason(416), length=0), b"", True)
            return True
        if isinstance(answer, Partial):
            if not isinstance(entry.body, bytes) and not store.may_hold(entry):
                return False
            cut = slices(fields, answer.parts, entry.length, token_hex(12).encode("ascii"))
            segments: list[Segment] = []
            for before, part in zip(cut.before, cut.parts, strict=True):
                segments += [before, part] if before else [part]
            if cut.after:
                segments.append(cut.after)
            response = Response(206, Headers(cut.fields), reason=reason(206), length=cut.length)
            Reader(exchange, store, entry, segments).begin(response)
            return True
    length = entry.length
    said = None if stored.status == 204 else length
    response = Response(stored.status, Headers(fields), reason=stored.reason, length=said)
    body = entry.body
    if request.method == b"HEAD" or not length:
        exchange.serve(response, b"", True)
    elif isinstance(body, bytes):
        exchange.serve(response, body, True)
    elif store.may_hold(entry):
        Reader(exchange, store, entry, [(0, length)]).begin(response)
    else:
        return False
    return True


def respond_part(
    exchange: Exchange, store: Store, entry: Entry, span: tuple[int, int], now: float, status_field: Field | None
) -> bool:
    """Answer with some of a stored part. ``False`` as :func:`respond` does. :param span: from where to where in it."""
    if not isinstance(entry.body, bytes) and not store.may_hold(entry):
        return False
    stored: StoredPart = entry.meta
    fields = hit_fields(stored, now, status_field)
    start, stop = span
    cut = slices(fields, ((stored.first + start, stored.first + stop),), stored.total, b"")
    response = Response(206, Headers(cut.fields), reason=reason(206), length=cut.length)
    if exchange.request.method == b"HEAD":
        exchange.serve(response, b"", True)
    else:
        Reader(exchange, store, entry, [span]).begin(response)
    return True


def _bare(exchange: Exchange, status: int, fields: list[Field]) -> None:
    exchange.serve(Response(status, Headers(fields), reason=reason(status)), b"", True)
