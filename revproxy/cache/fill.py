"""One request to a backend on behalf of all who wait for its response: a miss, or a validation.

Rules of this module:

* it is the client side of an exchange of its own (:meth:`~revproxy.exchange.Exchange.child`), which
  outlives whoever caused it;
* who leads gets the response as it came. Those who joined get it only if it may be shared with them;
  otherwise each goes on alone;
* what is stored is read at the backend's pace, and each reader takes it from the store at its own.
  What is not stored goes to the one who leads, at that one's pace;
* a response that turns out too large for the store goes on to its readers, at the pace of the slowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from revproxy.cache.answer import NotModified, answer_conditional, hit_fields, not_modified_fields
from revproxy.cache.entry import Entry, Filling
from revproxy.cache.policy import DISCONNECTED, ERRORS, Ask, Serve, choose, decide, on_error
from revproxy.cache.serving import Reader, respond
from revproxy.cache.storing import Refusal, freshen, may_store, select_freshened
from revproxy.cache.tags import TAG_FIELDS, tags_of
from revproxy.errorpages import reason
from revproxy.fault import CLIENT_GONE, Fault
from revproxy.http.message import Field, Headers, Request, Response
from revproxy.stream import ASKED, DONE
from revproxy.wire import PEER_FULL

if TYPE_CHECKING:
    from revproxy.cache.handler import Cache
    from revproxy.cache.key import Key
    from revproxy.cache.stored import Stored
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

    def write_body(self, data: bytes) -> None:
        """A request for the cache has no body."""

    def end(self, trailers: Any = ()) -> None:
        """Nor has it an end."""

    def abort(self, fault: Fault) -> None:
        """The client is gone."""
        if self.fill is not None:
            self.fill.left(self)

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


class Fill:
    """A request that fills the cache.

    :param request: as the client sent it; Vary selects by its fields.
    :param entry: what is stored and to be validated, or ``None``.
    :ivar meta: the response's description, once it is being stored.
    """

    __slots__ = (
        "_asked", "_cache", "_child", "_direct", "_ended", "_entry", "_filling", "_held", "_key", "_leader",
        "_readers", "_request", "_waiting", "meta",
    )  # fmt: skip

    def __init__(self, cache: Cache, key: Key, request: Request, entry: Entry | None = None) -> None:
        self._cache = cache
        self._key = key
        self._request = request
        self._entry = entry
        self._waiting: list[Waiter] = []
        self._readers: list[Reader] = []
        self._leader: Exchange | None = None
        self._direct: Exchange | None = None
        self._filling: Filling | None = None
        self._held: list[bytes] = []
        self._ended: Sequence[Any] | None = None
        self._child: Any = None
        self._asked = 0.0
        self.meta: Stored | None = None

    # -- who waits

    def join(self, waiter: Waiter) -> None:
        """Wait for the response."""
        waiter.fill = self
        waiter.exchange.sink = waiter
        self._waiting.append(waiter)

    def attach(self, waiter: Waiter) -> bool:
        """Read along with a response that is coming; ``False`` when it is not for this one."""
        now = self._cache.now()
        if self.meta is None or self._filling is None or not self._filling.open:
            return False
        if not self._suits(self.meta, waiter, now):
            return False
        self._send(waiter, self.meta, self._filling, now)
        return True

    def _suits(self, meta: Stored, waiter: Waiter, now: float) -> bool:
        found = choose((meta,), waiter.exchange.request)
        return found is not None and isinstance(decide(found, waiter.ask, now), Serve)

    def left(self, who: object) -> None:
        """One of those who wait or read is gone."""
        if isinstance(who, Waiter):
            if who in self._waiting:
                self._waiting.remove(who)
            if self._waiting or self.meta is not None or self._entry is not None:
                return
        elif isinstance(who, Reader):
            if who in self._readers:
                self._readers.remove(who)
            self.paced()
            if self._readers or self._waiting or (self._filling is not None and self._filling.open):
                return
        else:
            self._direct = None
        child = self._child
        if child is not None and child.state != DONE:
            self._cache.forget(self._key, self)
            child.client_gone(CLIENT_GONE)

    # -- asking

    @property
    def sink(self) -> Any:
        """The backend's side."""
        return None if self._child is None else self._child.sink

    def start(self, engine: Any, conditions: list[Field] | None) -> None:
        """Ask a backend."""
        cache = self._cache
        self._asked = cache.now()
        self._leader = self._waiting[0].exchange if self._waiting else None
        child = self._child = cache.child(engine, self, self._request, conditions)
        child.state = ASKED
        if self._leader is not None:
            self._leader.origin = child
        child.take(cache.route)

    # -- the verbs of a client side

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        """The head of the response."""
        if response.status < 200:
            for waiter in self._waiting[:1]:
                waiter.exchange.client.write_head(response)
            return
        child = self._child
        now = self._cache.now()
        if child.fault is not None:
            self._failed(child.fault, child.detail, now)
            return
        entry = self._entry
        if entry is not None:
            if response.status == 304:
                self._not_modified(entry, response, now)
                return
            if response.status in ERRORS and self._serve_stale(entry, response.status, now):
                if not self._waiting:
                    self._over()
                    child.client_gone(CLIENT_GONE)
                    return
        self._store(response, first, now)
        self._hand_out(response, first, ended, now)

    def _store(self, response: Response, first: bytes, now: float) -> None:
        cache = self._cache
        fields = response.headers.fields
        made = may_store(self._request, response, cache.rules, self._key, self._asked, now)
        tags = tags_of(fields)
        if any(f[0] in TAG_FIELDS for f in fields):
            response.headers.fields = [f for f in fields if f[0] not in TAG_FIELDS]
        filling = None
        if not isinstance(made, Refusal) and tags is not None:
            made.headers.fields = [f for f in made.headers.fields if f[0] not in TAG_FIELDS]
            filling = cache.store.begin(self._key, made, response.length, tags)
            if filling is not None and first and not filling.write(first):
                filling = None
        if filling is None:
            if self._entry is not None and response.status < 500:
                cache.store.remove(self._entry)
            if isinstance(made, Refusal):
                cache.pass_for_a_while(self._key)
            cache.forget(self._key, self)
            return
        assert not isinstance(made, Refusal)
        self.meta = made
        self._filling = filling

    def _hand_out(self, response: Response, first: bytes, ended: bool, now: float) -> None:
        cache = self._cache
        filling, meta = self._filling, self.meta
        waiting, self._waiting = self._waiting, []
        entry: Entry | None = None
        if ended and filling is not None and meta is not None:
            meta.length = filling.length
            entry = filling.commit()
            self._filling = None
        if ended:
            self._over()
        for waiter in waiting:
            exchange = waiter.exchange
            waiter.fill = None
            exchange.sink = None
            if exchange.state == DONE:
                continue
            if exchange is self._leader:
                self._lead(waiter, response, first, ended, now)
            elif entry is not None and meta is not None and self._suits(meta, waiter, now):
                field = cache.status(waiter, response.status, meta, now, entry=True)
                respond(exchange, cache.store, meta, entry, waiter.ask, now, field)
            elif filling is not None and meta is not None and not ended and self._suits(meta, waiter, now):
                self._send(waiter, meta, filling, now)
            else:
                cache.alone(exchange, waiter.ask, waiter.fwd)
        if not ended and self._direct is None and not self._readers and (filling is None or not filling.open):
            self._child.client_gone(CLIENT_GONE)

    def _lead(self, waiter: Waiter, response: Response, first: bytes, ended: bool, now: float) -> None:
        exchange, meta = waiter.exchange, self.meta
        own = response.copy()
        field = self._cache.status(waiter, response.status, meta, now)
        if field is not None:
            own.headers.fields = [*own.headers.fields, field]
        if waiter.ask.conditional and self._entry is not None and meta is not None:
            answer = answer_conditional(meta, exchange.request, now)
            if isinstance(answer, NotModified):  # its own conditions were not sent
                fields = not_modified_fields(hit_fields(meta, now, field))
                exchange.serve(Response(304, Headers(fields), reason=reason(304)), b"", True)
                return
        if ended:
            exchange.serve(own, b"" if exchange.request.method == b"HEAD" else first, True)
        elif exchange.request.method == b"HEAD":
            exchange.serve(own, b"", True)
        elif self._filling is not None:
            reader = Reader(exchange, self._cache.store, self._filling, [(0, None)], self)
            self._readers.append(reader)
            reader.begin(own)
        else:
            self._direct = exchange
            exchange.sink = Direct(self)
            exchange.serve(own, first, False)

    def _send(self, waiter: Waiter, meta: Stored, filling: Filling, now: float) -> None:
        exchange = waiter.exchange
        fields = hit_fields(meta, now, self._cache.status(waiter, meta.status, meta, now))
        if waiter.ask.conditional and isinstance(answer_conditional(meta, exchange.request, now), NotModified):
            fields = not_modified_fields(fields)
            exchange.serve(Response(304, Headers(fields), reason=reason(304)), b"", True)
            return
        response = Response(meta.status, Headers(fields), reason=meta.reason)
        if exchange.request.method == b"HEAD":
            exchange.serve(response, b"", True)
            return
        reader = Reader(exchange, self._cache.store, filling, [(0, None)], self)
        self._readers.append(reader)
        reader.begin(response)

    def write_body(self, data: bytes) -> None:
        """More of the body."""
        direct = self._direct
        if direct is not None:
            direct.response_body(data)
            return
        filling = self._filling
        if filling is None:
            return
        if filling.open:
            if not filling.write(data):
                self._cache.forget(self._key, self)  # nobody can join any more
            for reader in tuple(self._readers):
                reader.pump()
            self.paced()
        else:
            self._held.append(data)
            self.paced()

    def paced(self) -> None:
        """Of a body that is not stored any more, the slowest reader sets the pace."""
        filling = self._filling
        if filling is None or filling.open:
            return
        if any(reader.is_behind for reader in self._readers):
            if self.sink is not None:
                self.sink.pause_reading(PEER_FULL)
            return
        held, self._held = self._held, []
        for data in held:
            for reader in tuple(self._readers):
                reader.exchange.response_body(data)
        if self._ended is not None:
            self._end_readers(self._ended)
        elif self.sink is not None and not any(reader.is_behind for reader in self._readers):
            self.sink.resume_reading(PEER_FULL)

    def end(self, trailers: Sequence[Any] = ()) -> None:
        """The body is complete."""
        self._over()
        direct, self._direct = self._direct, None
        if direct is not None:
            direct.sink = None
            direct.response_end(trailers)
            return
        filling = self._filling
        if filling is None:
            return
        if filling.open:
            assert self.meta is not None
            self.meta.length = filling.length
            filling.commit()
            readers, self._readers = self._readers, []
            for reader in readers:
                reader.complete()
        else:
            self._ended = trailers
            self.paced()

    def _end_readers(self, trailers: Sequence[Any]) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.fill = None
            exchange = reader.exchange
            exchange.sink = None
            self._cache.store.release(reader.source)
            exchange.response_end(trailers)

    def abort(self, fault: Fault) -> None:
        """The response was cut short: it is not stored, and nobody is shown it as whole."""
        self._over()
        if self._filling is not None:
            self._filling.abort()
        detail = self._child.detail
        direct, self._direct = self._direct, None
        readers, self._readers = self._readers, []
        waiting, self._waiting = self._waiting, []
        for exchange in [
            *([direct] if direct is not None else []),
            *(reader.exchange for reader in readers),
            *(waiter.exchange for waiter in waiting),
        ]:
            exchange.fail(fault, detail)

    def pause_reading(self, why: int) -> None:
        """The request has no body that could come too fast."""

    def resume_reading(self, why: int) -> None:
        """The request has no body."""

    # -- what else may come

    def _over(self) -> None:
        self._cache.forget(self._key, self)
        if self._leader is not None and self._child is not None:
            self._leader.tries = self._child.tries
            self._leader.repeats = self._child.repeats
            self._leader.connect_time = self._child.connect_time

    def _not_modified(self, entry: Entry, response: Response, now: float) -> None:
        cache = self._cache
        stored: Stored = entry.meta
        if select_freshened((stored,), response) is None:
            # it is about something else: once more, without conditions (RFC 9111 4.3.4)
            self._entry = None
            self.start(self._child.engine, [])
            return
        freshened = freshen(stored, self._request, response, cache.rules, self._asked, now)
        if freshened.drop:
            cache.store.remove(entry)
        elif not freshened.refused:
            cache.store.refresh(entry, freshened.stored)
        meta = freshened.stored
        self._over()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.fill = None
            exchange = waiter.exchange
            exchange.sink = None
            if exchange.state == DONE:
                continue
            if exchange is self._leader or self._suits(meta, waiter, now):
                field = cache.status(waiter, 304, meta, now, entry=True)
                respond(exchange, cache.store, meta, entry, waiter.ask, now, field)
            else:
                cache.alone(exchange, waiter.ask, waiter.fwd)

    def _serve_stale(self, entry: Entry, error: int, now: float) -> bool:
        """Give what is stale to those who may have it; whether anybody may."""
        cache = self._cache
        served = False
        for waiter in tuple(self._waiting):
            decision = on_error(entry.meta, waiter.ask, now, error)
            if decision is None:
                continue
            served = True
            self._waiting.remove(waiter)
            waiter.fill = None
            waiter.exchange.sink = None
            cache.hit(waiter.exchange, entry, waiter.ask, now)
        return served or on_error(entry.meta, cache.plain, now, error) is not None

    def _failed(self, fault: Fault, detail: str, now: float) -> None:
        self._over()
        if self._entry is not None:
            self._serve_stale(self._entry, DISCONNECTED, now)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.fill = None
            waiter.exchange.sink = None
            waiter.exchange.fail(fault, detail)
