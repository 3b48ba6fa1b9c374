"""One request to a backend on behalf of all who wait for its response: a miss, or a validation.

Rules of this module:

* it is the client side of an exchange of its own (:meth:`~revproxy.exchange.Exchange.child`), which
  outlives whoever caused it;
* who leads gets the response as it came. Those who joined get it only if it may be shared with them;
  otherwise each goes on alone;
* what is stored is read at the backend's pace, and each reader takes it from the store at its own.
  What is not stored goes to the one who leads, at that one's pace;
* a response that turns out too large for the store goes on to its readers, at the pace of the slowest;
* what a hook on the backend's side answers, and error pages, are nobody's but the one's who asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from revproxy.cache.answer import NotModified, answer_conditional, hit_fields, not_modified_fields
from revproxy.cache.entry import Entry, Filling
from revproxy.cache.key import as_get
from revproxy.cache.policy import DISCONNECTED, ERRORS, PLAIN, Serve, choose, decide, on_error
from revproxy.cache.serving import Reader, respond
from revproxy.cache.storing import Refusal, freshen, may_store, select_freshened
from revproxy.cache.tags import TAG_FIELDS, tags_of
from revproxy.cache.waiting import Direct, Waiter
from revproxy.errorpages import reason
from revproxy.fault import CLIENT_GONE, Fault
from revproxy.http.message import Field, Headers, Request, Response
from revproxy.stream import DONE
from revproxy.wire import PEER_FULL

if TYPE_CHECKING:
    from revproxy.cache.handler import Cache
    from revproxy.cache.key import Key
    from revproxy.cache.pending import Slot
    from revproxy.cache.stored import Stored
    from revproxy.engine import Engine
    from revproxy.exchange import Exchange

#: After these the stored response that was to be validated is no longer what there is.
_GONE = frozenset({404, 410})


class Fill:
    """A request that fills the cache.

    :param request: as the client sent it; Vary selects by its fields.
    :param entry: what is stored and to be replaced or validated, or ``None``.
    :param slot: where others find it to join it, ``None`` where nobody may.
    :ivar meta: the response's description, once it is being stored.
    """

    __slots__ = (
        "_asked", "_cache", "_child", "_direct", "_ended", "_entry", "_expired", "_filling", "_held", "_key",
        "_leader", "_purged", "_readers", "_request", "_tags", "_waiting", "_whole", "meta", "slot",
    )  # fmt: skip

    def __init__(
        self, cache: Cache, key: Key, request: Request, entry: Entry | None = None, slot: Slot | None = None
    ) -> None:
        self._cache = cache
        self._key = key
        self._request = request
        self._entry = entry
        self.slot = slot
        self._waiting: list[Waiter] = []
        self._readers: list[Reader] = []
        self._leader: Exchange | None = None
        self._direct: Exchange | None = None
        self._filling: Filling | None = None
        self._held: list[bytes] = []
        self._ended = False
        self._child: Any = None
        self._asked = 0.0
        self._purged = False
        self._whole = False  # whatever the client's conditions are
        self._expired: float | None = None
        self._tags: dict[bytes, float | None] | None = None
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
            # what is being stored, and what nobody waited for at first, is worth it without anybody
            if self._waiting or self.meta is not None or self._leader is None:
                return
        elif isinstance(who, Reader):
            if who in self._readers:
                self._readers.remove(who)
            if self._filling is not None and self._filling.open:
                return
            if self._readers:
                self.paced()
                return
        else:
            self._direct = None
        self._cancel()

    def _cancel(self) -> None:
        """Nobody wants the rest."""
        self._over()
        child = self._child
        self._let_go()
        if child is not None and child.state != DONE:
            child.client_gone(CLIENT_GONE)

    def _let_go(self) -> None:
        """Nothing is kept by what was: the exchanges know this fill, and it knows them."""
        self._child = self._leader = self._direct = self._filling = self._entry = None
        self._held = []

    def purge(self, now: float | None) -> None:
        """What was asked for is out of date when it comes. :param now: only stale since then."""
        if now is None:
            self._purged = True
        elif self._expired is None:
            self._expired = now
        self._cache.forget(self)

    def purge_tag(self, tag: bytes, now: float | None) -> None:
        """The same, if it will bear this tag."""
        if self._tags is None:
            self._tags = {}
        if now is None:
            self._tags[tag] = None
        else:
            self._tags.setdefault(tag, now)

    def _check_tags(self, tags: Iterable[bytes]) -> None:
        purged = self._tags
        if purged is not None:
            for tag in tags:
                if tag in purged:
                    self.purge(purged[tag])

    # -- asking

    @property
    def sink(self) -> Any:
        """The backend's side."""
        return None if self._child is None else self._child.sink

    def start(self, engine: Engine, conditions: list[Field] | None) -> None:
        """Ask a backend."""
        cache = self._cache
        self._asked = cache.now()
        self._leader = self._waiting[0].exchange if self._waiting else None
        self._whole = conditions is not None
        cache.pending.add(self._key[0], self)
        child = self._child = cache.child(engine, self, self._request, conditions)
        if self._leader is not None:
            self._leader.origin = child
        child.take(cache.route)

    # -- the verbs of a client side

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        """The head of the response."""
        if response.status < 200:
            if self._waiting and self._waiting[0].exchange is self._leader:
                self._leader.response_head(response)
            return
        child = self._child
        now = self._cache.now()
        if child.fault is not None:
            self._failed(child.fault, child.detail, response, now)
            return
        entry = self._entry
        if entry is not None:
            if response.status == 304:
                self._not_modified(entry, response, now)
                return
            if response.status in ERRORS and self._serve_stale(entry, response.status, now) and not self._waiting:
                self._cancel()
                return
        shared = self._store(response, first, now)
        self._hand_out(response, shared, first, ended, now)

    def _store(self, response: Response, first: bytes, now: float) -> Stored | None:
        """Begin to store the response; what of it can be shared with those who wait, stored or not."""
        cache, entry = self._cache, self._entry
        fields = response.headers.fields
        made = may_store(as_get(self._request), response, cache.rules, self._key, self._asked, now)
        tags = tags_of(fields)
        if any(f[0] in TAG_FIELDS for f in fields):
            response.headers.fields = [f for f in fields if f[0] not in TAG_FIELDS]
        if isinstance(made, Refusal) or tags is None or self._child.answered:
            if entry is not None and (response.status < 400 or response.status in _GONE):
                cache.store.remove(entry)
            if response.status < 500:
                cache.do_not_wait(self)
            cache.forget(self)
            return None
        made.headers.fields = [f for f in made.headers.fields if f[0] not in TAG_FIELDS]
        self._check_tags(tags)
        if made.serve_until <= now:
            cache.do_not_wait(self)
        else:
            cache.wait_again(self)
        if not self._purged:
            filling = cache.store.begin(self._key, made, response.length, tags)
            if filling is not None and (not first or filling.write(first)):
                filling.expired = self._expired
                self._filling = filling
                self.meta = made
        if self._filling is None:
            cache.forget(self)
        return made

    def _hand_out(self, response: Response, shared: Stored | None, first: bytes, ended: bool, now: float) -> None:
        cache = self._cache
        filling = self._filling
        waiting, self._waiting = self._waiting, []
        entry: Entry | None = None
        if ended:
            if filling is not None and shared is not None:
                shared.length = filling.length
                entry = filling.commit()
                self._filling = None
            self._over()
        for waiter in waiting:
            exchange = waiter.detach()
            if exchange.state == DONE:
                continue
            if exchange is self._leader:
                self._lead(waiter, response, first, ended, now)
            elif shared is None:
                cache.alone(waiter)
            elif not self._suits(shared, waiter, now):
                cache.again(waiter, self._key, shared, now)
            elif entry is not None:
                field = cache.status(waiter, shared, now)
                respond(exchange, cache.store, shared, entry, waiter.ask, now, field)
            elif ended:
                whole = Response(
                    shared.status,
                    Headers(hit_fields(shared, now, cache.status(waiter, None, now))),
                    reason=shared.reason,
                    length=len(first),
                )
                exchange.serve(whole, b"" if exchange.request.method == b"HEAD" else first, True)
            elif filling is not None and filling.open:
                self._send(waiter, shared, filling, now)
            else:
                cache.alone(waiter)
        if ended:
            self._let_go()
        elif self._direct is None and not self._readers and (filling is None or not filling.open):
            self._cancel()

    def _lead(self, waiter: Waiter, response: Response, first: bytes, ended: bool, now: float) -> None:
        exchange, meta = waiter.exchange, self.meta
        own = response.copy()
        field = self._cache.status(waiter, meta, now)
        if field is not None:
            own.headers.fields = [*own.headers.fields, field]
        if waiter.ask.conditional and self._whole and meta is not None:
            if isinstance(answer_conditional(meta, exchange.request, now), NotModified):  # its own were not sent
                _bare(exchange, not_modified_fields(hit_fields(meta, now, field)))
                return
        if exchange.request.method == b"HEAD":
            exchange.serve(own, b"", True)
        elif ended:
            exchange.serve(own, first, True)
        elif self._filling is not None:
            self._read(exchange, own, self._filling)
        else:
            self._direct = exchange
            exchange.sink = Direct(self)
            exchange.serve(own, first, False)

    def _send(self, waiter: Waiter, meta: Stored, filling: Filling, now: float) -> None:
        exchange = waiter.exchange
        fields = hit_fields(meta, now, self._cache.status(waiter, meta, now))
        if waiter.ask.conditional and isinstance(answer_conditional(meta, exchange.request, now), NotModified):
            _bare(exchange, not_modified_fields(fields))
            return
        response = Response(meta.status, Headers(fields), reason=meta.reason, length=self._child.response.length)
        if exchange.request.method == b"HEAD":
            exchange.serve(response, b"", True)
        else:
            self._read(exchange, response, filling)

    def _read(self, exchange: Exchange, response: Response, filling: Filling) -> None:
        reader = Reader(exchange, self._cache.store, filling, [(0, None)], self)
        self._readers.append(reader)
        reader.begin(response)

    def write_body(self, data: bytes) -> None:
        """More of the body."""
        if self._direct is not None:
            self._direct.response_body(data)
            return
        filling = self._filling
        if filling is None:
            return
        if not filling.open:
            self._held.append(data)
            self.paced()
            return
        stored = filling.write(data)
        if not stored:  # too large, or no room: nobody can join any more
            self._cache.do_not_wait(self)
            self._cache.forget(self)
        for reader in tuple(self._readers):
            reader.pump()
        if not stored:
            if self._readers:
                self.paced()
            else:
                self._cancel()

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
                reader.send(data)
        if self._ended:
            readers, self._readers = self._readers, []
            self._let_go()
            for reader in readers:
                reader.complete()
        elif self.sink is not None and not any(reader.is_behind for reader in self._readers):
            self.sink.resume_reading(PEER_FULL)

    def end(self, trailers: Sequence[Any] = ()) -> None:
        """The body is complete."""
        self._over()
        direct, self._direct = self._direct, None
        if direct is not None:
            self._let_go()
            direct.sink = None
            direct.response_end(trailers)
            return
        filling = self._filling
        if filling is None:
            self._let_go()
            return
        if not filling.open:
            self._ended = True
            self.paced()
            return
        assert self.meta is not None
        self.meta.length = filling.length
        filling.commit()
        readers, self._readers = self._readers, []
        self._let_go()
        for reader in readers:
            reader.complete()

    def abort(self, fault: Fault) -> None:
        """The response was cut short: it is not stored, and nobody is shown it as whole."""
        self._over()
        if self._filling is not None:
            self._filling.abort()
        detail = "" if self._child is None else self._child.detail
        direct = self._direct
        readers, self._readers = self._readers, []
        waiting, self._waiting = self._waiting, []
        self._let_go()
        if direct is not None:
            direct.fail(fault, detail)
        for reader in readers:
            reader.fill = None
            reader.exchange.fail(fault, detail)
        for waiter in waiting:
            waiter.detach().fail(fault, detail)

    def pause_reading(self, why: int) -> None:
        """The request has no body that could come too fast."""

    def resume_reading(self, why: int) -> None:
        """The request has no body."""

    # -- what else may come

    def _over(self) -> None:
        self._cache.forget(self)
        self._cache.pending.discard(self._key[0], self)
        leader, child = self._leader, self._child
        if leader is not None and child is not None:
            leader.tries = child.tries
            leader.repeats = child.repeats
            leader.connect_time = child.connect_time

    def _not_modified(self, entry: Entry, response: Response, now: float) -> None:
        cache = self._cache
        stored: Stored = entry.meta
        if select_freshened((stored,), response) is None:
            # it is about something else: once more, without conditions (RFC 9111 4.3.4)
            self._over()
            self._entry = None
            self.start(self._child.engine, [])
            return
        freshened = freshen(stored, as_get(self._request), response, cache.rules, self._asked, now)
        meta = freshened.stored
        self._check_tags(tag.name for tag in entry.tags)
        if freshened.drop:
            cache.store.remove(entry)
        elif not freshened.refused and not self._purged:
            if self._expired is not None:
                meta.expire(self._expired)
            cache.store.refresh(entry, meta)
        if freshened.refused or meta.serve_until <= now:
            cache.do_not_wait(self)
        self._over()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            exchange = waiter.detach()
            if exchange.state == DONE:
                continue
            if exchange is self._leader:
                field = cache.status(waiter, meta, now, validated=True)
                respond(exchange, cache.store, meta, entry, waiter.ask, now, field)
            elif freshened.refused:
                cache.alone(waiter)
            elif self._suits(meta, waiter, now):
                field = cache.status(waiter, meta, now, validated=True)
                respond(exchange, cache.store, meta, entry, waiter.ask, now, field)
            else:
                cache.again(waiter, self._key, meta, now)
        self._let_go()

    def _serve_stale(self, entry: Entry, error: int, now: float) -> bool:
        """Give what is stale to those who may have it; whether anybody may."""
        cache = self._cache
        served = False
        for waiter in tuple(self._waiting):
            if choose((entry.meta,), waiter.exchange.request) is None:
                continue
            if on_error(entry.meta, waiter.ask, now, error) is None:
                continue
            served = True
            self._waiting.remove(waiter)
            exchange = waiter.detach()
            field = cache.status(waiter, None, now, error=error)
            cache.store.hit(entry)
            respond(exchange, cache.store, entry.meta, entry, waiter.ask, now, field)
        return served or on_error(entry.meta, PLAIN, now, error) is not None

    def _failed(self, fault: Fault, detail: str, page: Response, now: float) -> None:
        self._over()
        if self._entry is not None:
            self._serve_stale(self._entry, DISCONNECTED, now)
        after = page.headers.get(b"retry-after")
        seconds = int(after) if after is not None and after.isdigit() else 0
        waiting, self._waiting = self._waiting, []
        self._let_go()
        for waiter in waiting:
            waiter.detach().fail(fault, detail, seconds)


def _bare(exchange: Exchange, fields: list[Field]) -> None:
    exchange.serve(Response(304, Headers(fields), reason=reason(304)), b"", True)
