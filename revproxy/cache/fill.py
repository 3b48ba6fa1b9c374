"""One request to a backend on behalf of all who wait for its response: a miss, or a validation.

Rules of this module:

* it is the client side of an exchange of its own (:meth:`~revproxy.exchange.Exchange.child`), which
  outlives whoever caused it;
* here it is asked, and what comes is stored; who gets it, and how, is :mod:`revproxy.cache.audience`'s;
* what a hook on the backend's side answers, and error pages, are nobody's but the one's who asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from revproxy.cache.audience import Audience
from revproxy.cache.entry import Entry, Filling
from revproxy.cache.key import CONDITIONS, as_get
from revproxy.cache.partial import (
    StoredPart,
    completed,
    drop_parts,
    find_part,
    keep_part,
    may_store_asked,
    rest_of,
)
from revproxy.cache.pending import Purged
from revproxy.cache.policy import ERRORS, PLAIN, on_error
from revproxy.cache.serving import Reader
from revproxy.cache.stored import Stored
from revproxy.cache.storing import Refusal, freshen, may_store, select_freshened
from revproxy.cache.tags import TAG_FIELDS, tags_of
from revproxy.cache.vary import was_written
from revproxy.cache.waiting import Waiter
from revproxy.fault import BACKEND_BAD_RESPONSE, CLIENT_GONE, Fault
from revproxy.http.message import Field, Request, Response
from revproxy.stream import DONE
from revproxy.wire import PEER_FULL

if TYPE_CHECKING:
    from revproxy.cache.handler import Cache
    from revproxy.cache.key import Key
    from revproxy.cache.pending import Slot
    from revproxy.cache.policy import Ask
    from revproxy.engine import Engine

#: After these the stored response that was to be validated is no longer what there is.
_GONE = frozenset({404, 410})


class Fill:
    """A request that fills the cache.

    :param request: as the client sent it; Vary selects by its fields.
    :param entry: what is stored and to be replaced or validated, or ``None``.
    :param slot: where others find it to join it, ``None`` where nobody may.
    :ivar meta: the response's description, once it is being stored.
    :ivar failures: errors that those who asked before for the same who wait had got.
    :ivar whole: the clients' own conditions were not sent to the backend.
    """

    __slots__ = (
        "_asked", "_audience", "_cache", "_child", "_ended", "_entry", "_filling", "_key", "_part", "_purged",
        "_request", "failures", "meta", "slot", "whole",
    )  # fmt: skip

    def __init__(
        self, cache: Cache, key: Key, request: Request, entry: Entry | None = None, slot: Slot | None = None
    ) -> None:
        self._cache = cache
        self._key = key
        self._request = request
        self._entry = entry
        self.slot = slot
        self._audience = Audience(cache, key)
        self._filling: Filling | None = None
        self._part: Entry | None = None  # whose rest is asked for
        self._ended = False
        self._child: Any = None
        self._asked = 0.0
        self._purged = Purged()
        self.failures = 0
        self.whole = False
        self.meta: Stored | None = None

    # -- who waits

    def join(self, waiter: Waiter) -> None:
        """Wait for the response."""
        self._audience.join(self, waiter)

    def attach(self, waiter: Waiter) -> bool:
        """Read along with a response that is coming; ``False`` when it is not for this one."""
        now, meta, filling = self._cache.now(), self.meta, self._filling
        if meta is None or filling is None or not filling.open or not self._audience.suits(meta, waiter, now):
            return False
        self._audience.send(self, waiter, meta, filling, self._child.response.length, now)
        return True

    def left(self, who: object) -> None:
        """One of those who wait or read is gone."""
        audience = self._audience
        audience.remove(who)
        if isinstance(who, Waiter):
            # what is being stored, and what nobody waited for at first, is worth it without anybody
            if audience.waiting or self.meta is not None or audience.leader is None:
                return
        elif isinstance(who, Reader):
            if self._filling is not None and self._filling.open:
                return
            if audience.readers:
                self.paced()
                return
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
        self._child = self._filling = self._entry = self._part = None
        self._audience.let_go()

    def purge(self, now: float | None) -> None:
        """What was asked for is out of date when it comes. :param now: only stale since then."""
        self._purged.mark(now)
        self._cache.forget(self)

    def purge_tag(self, tag: bytes, now: float | None) -> None:
        """The same, if it will bear this tag. Whether it will is not known yet: nobody else joins it."""
        self._purged.mark_tag(tag, now)
        self._cache.forget(self)

    # -- asking

    def complete(self, ask: Ask) -> list[Field] | None:
        """Ask for the rest of a part that is stored, if that may give the whole: the conditions for that."""
        cache = self._cache
        part = find_part(cache.store, self._key, self._request, ask, cache.now())
        rest = None if part is None else rest_of(part.meta)
        if rest is not None:
            self._part = part
        return rest

    @property
    def sink(self) -> Any:
        """The backend's side."""
        return None if self._child is None else self._child.sink

    def start(self, engine: Engine, conditions: list[Field] | None) -> None:
        """Ask a backend."""
        cache, audience = self._cache, self._audience
        self._asked = cache.now()
        audience.leader = audience.waiting[0].exchange if audience.waiting else None
        self.whole = conditions is not None
        cache.pending.add(self._key[0], self)
        child = self._child = cache.child(engine, self, self._request, conditions)
        if audience.leader is not None:
            audience.leader.origin = child
        child.take(cache.route)

    # -- the verbs of a client side

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        """The head of the response."""
        audience = self._audience
        if response.status < 200:
            audience.interim(response)
            return
        child = self._child
        if child.quota and audience.leader is not None:
            audience.leader.quota += child.quota
        now = self._cache.now()
        if child.fault is not None:
            after = response.headers.get(b"retry-after")
            self._failed(child.fault, child.detail, int(after) if after is not None and after.isdigit() else 1, now)
            return
        entry = self._entry
        if entry is not None:
            if response.status == 304:
                self._not_modified(entry, response, now)
                return
            if response.status in ERRORS:
                served = audience.serve_stale(entry, response.status, now)
                may = served or on_error(entry.meta, PLAIN, now, response.status) is not None
                if may and not audience.waiting:
                    self._cancel()
                    return
        part, self._part = self._part, None
        if part is not None and response.status in (206, 304, 416):
            whole = completed(part.meta, response) if response.status == 206 else None
            if whole is None:  # not the rest of what is stored: the whole, then
                self._again([])
                return
            response = child.response = whole
            first = b"".join([*part.pieces(), first])
        elif response.status == 304 and (self.whole or not self._is_conditional):
            self._failed(BACKEND_BAD_RESPONSE, "304 to a request without preconditions", 1, now)
            child.client_gone(CLIENT_GONE)
            return
        if any(f[0] in TAG_FIELDS for f in response.headers.fields):
            response = response.copy()  # they are taken out, and others may share a head that repeats
        shared = self._store(response, first, now)
        source: Entry | Filling | None = self._filling
        if ended:
            if self._filling is not None and shared is not None:
                source = self._commit(self._filling, shared)
            self._over()
        audience.hand_out(self, response, first, ended, shared, source, now)
        if ended:
            self._let_go()
        elif not audience.hears and (self._filling is None or not self._filling.open):
            self._cancel()

    def _store(self, response: Response, first: bytes, now: float) -> Stored | None:
        """Begin to store the response; what of it can be shared with those who wait, stored or not."""
        cache, entry = self._cache, self._entry
        fields = response.headers.fields
        store = may_store if self.whole else may_store_asked
        made = store(as_get(self._request), response, cache.rules, self._key, self._asked, now)
        if isinstance(made, Stored) and cache.route.backend_request:
            if was_written(made.vary, made.selected, self._child.request.headers, cache.rules.fixed):
                made = Refusal("vary names what a hook wrote")
        tags = tags_of(fields)
        if any(f[0] in TAG_FIELDS for f in fields):
            response.headers.fields = [f for f in fields if f[0] not in TAG_FIELDS]
        if isinstance(made, Refusal) or tags is None or self._child.answered:
            replaced = response.status < 400 or response.status in _GONE
            if entry is not None and replaced and not (isinstance(made, Refusal) and made.asked):
                cache.store.remove(entry)
            if response.status < 500:
                cache.do_not_wait(self)
            cache.forget(self)
            return None
        made.headers.fields = [f for f in made.headers.fields if f[0] not in TAG_FIELDS]
        self._purged.check(tags)
        if made.serve_until <= now:
            cache.do_not_wait(self)
        else:
            cache.wait_again(self)
        if not self._purged.gone:
            filling = cache.store.begin(made.key, made, response.length, tags)
            if filling is not None and (not first or filling.write(first)):
                filling.expired = self._purged.expired
                self._filling = filling
                self.meta = made
        if self._filling is None:
            cache.forget(self)
        return made

    def _commit(self, filling: Filling, meta: Stored) -> Entry | None:
        meta.length = filling.length
        self._filling = None
        store = self._cache.store
        if isinstance(meta, StoredPart):
            return keep_part(store, filling, meta)
        drop_parts(store, self._key)
        return filling.commit()

    def write_body(self, data: bytes) -> None:
        """More of the body."""
        audience = self._audience
        if audience.direct is not None:
            audience.direct.response_body(data)
            return
        filling = self._filling
        if filling is None:
            return
        if not filling.open:
            audience.hold(data)
            self.paced()
            return
        stored = filling.write(data)
        if not stored:  # too large, or no room: nobody can join any more
            self._cache.do_not_wait(self)
            self._cache.forget(self)
        audience.pump()
        if not stored:
            if audience.readers:
                self.paced()
            else:
                self._cancel()

    def paced(self) -> None:
        """Of a body that is not stored any more, the slowest reader sets the pace."""
        filling, audience = self._filling, self._audience
        if filling is None or filling.open:
            return
        if audience.is_behind:
            if self.sink is not None:
                self.sink.pause_reading(PEER_FULL)
            return
        audience.release()
        if self._ended:
            self._let_go()
            audience.complete()
        elif self.sink is not None and not audience.is_behind:
            self.sink.resume_reading(PEER_FULL)

    def end(self, trailers: Sequence[Any] = ()) -> None:
        """The body is complete."""
        self._over()
        audience, filling = self._audience, self._filling
        direct = audience.direct
        if direct is not None:
            self._let_go()
            direct.sink = None
            direct.response_end(trailers)
        elif filling is None:
            self._let_go()
        elif not filling.open:
            self._ended = True
            self.paced()
        else:
            assert self.meta is not None
            self._commit(filling, self.meta)
            self._let_go()
            audience.complete()

    def abort(self, fault: Fault) -> None:
        """The response was cut short: it is not stored, and nobody is shown it as whole."""
        self._over()
        if self._filling is not None:
            self._filling.abort()
        detail = "" if self._child is None else self._child.detail
        audience = self._audience
        self._child = self._filling = self._entry = self._part = None
        audience.abort(fault, detail)
        audience.let_go()

    def pause_reading(self, why: int) -> None:
        """The request has no body that could come too fast."""

    def resume_reading(self, why: int) -> None:
        """The request has no body."""

    # -- what else may come

    def _over(self) -> None:
        self._cache.forget(self)
        self._cache.pending.discard(self._key[0], self)
        leader, child = self._audience.leader, self._child
        if leader is not None and child is not None:
            leader.tries = child.tries
            leader.repeats = child.repeats
            leader.connect_time = child.connect_time

    def _again(self, conditions: list[Field]) -> None:
        """Ask once more; what comes of the answer that is there is for nobody."""
        self._over()
        self._entry = None
        child, self._child = self._child, None
        engine = child.engine
        if self._audience.leader is not None:
            self._audience.leader.quota = self._audience.leader.quota.removesuffix(child.quota)
        child.client_gone(CLIENT_GONE)
        self.start(engine, conditions)

    def _not_modified(self, entry: Entry, response: Response, now: float) -> None:
        cache = self._cache
        stored: Stored = entry.meta
        if select_freshened((stored,), response) is None:
            # it is about something else: once more, without conditions (RFC 9111 4.3.4)
            self._again([])
            return
        freshened = freshen(stored, as_get(self._request), response, cache.rules, self._asked, now)
        meta = freshened.stored
        fields, purged = response.headers.fields, self._purged
        tags = tags_of(fields) if any(f[0] in TAG_FIELDS for f in fields) else None
        purged.check([tag.name for tag in entry.tags] + [*(tags or ())])
        if freshened.drop:
            cache.store.remove(entry)
        elif not freshened.refused and not purged.gone:
            if purged.expired is not None:
                meta.expire(purged.expired)
            cache.store.refresh(entry, meta, tags)
        if freshened.refused or meta.serve_until <= now:
            cache.do_not_wait(self)
        self._over()
        self._audience.validated(meta, entry, bool(freshened.refused), now)
        self._let_go()

    @property
    def _is_conditional(self) -> bool:
        return any(f[0] in CONDITIONS for f in self._request.headers.fields)

    def _failed(self, fault: Fault, detail: str, seconds: int, now: float) -> None:
        self._over()
        entry = self._entry
        self._let_go()
        self._audience.fail(fault, detail, entry, seconds, now)
