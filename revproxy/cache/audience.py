"""Those for whom a backend was asked once: who waits for the head, and who reads the body as it comes.

Rules of this module:

* who leads gets the response as it came. Those who joined get it only if it may be shared with them;
  otherwise each goes on alone. After an error that is nobody else's they go on one at a time, so that a backend
  that fails is not asked by all of them at once;
* what is stored is read at the backend's pace, and each reader takes it from the store at its own.
  What is not stored goes to the one who leads, at that one's pace;
* a body that turns out too large for the store goes on to its readers, at the pace of the slowest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revproxy.cache.answer import NotModified, answer_conditional, hit_fields, not_modified_fields
from revproxy.cache.entry import Entry, Filling
from revproxy.cache.policy import DISCONNECTED, ERRORS, Serve, choose, decide, on_error
from revproxy.cache.serving import Reader, respond
from revproxy.cache.waiting import Direct, Waiter
from revproxy.errorpages import reason
from revproxy.fault import Fault
from revproxy.http.message import Field, Headers, Response
from revproxy.stream import DONE

if TYPE_CHECKING:
    from revproxy.cache.fill import Fill
    from revproxy.cache.handler import Cache
    from revproxy.cache.key import Key
    from revproxy.cache.stored import Stored
    from revproxy.exchange import Exchange


class Audience:
    """The exchanges that one fill answers; it is an argument where they have to be told whom to tell that they leave.

    :ivar leader: who caused it, ``None`` where nobody did (a validation in the background).
    :ivar direct: the leader, while it gets what is not stored as it comes.
    """

    __slots__ = ("_cache", "_held", "_key", "direct", "leader", "readers", "waiting")

    def __init__(self, cache: Cache, key: Key) -> None:
        self._cache = cache
        self._key = key
        self.waiting: list[Waiter] = []
        self.readers: list[Reader] = []
        self.leader: Exchange | None = None
        self.direct: Exchange | None = None
        self._held: list[bytes] = []

    def join(self, fill: Fill, waiter: Waiter) -> None:
        """Wait for the head."""
        waiter.fill = fill
        waiter.exchange.sink = waiter
        self.waiting.append(waiter)

    def remove(self, who: object) -> None:
        """One of them is gone."""
        if isinstance(who, Waiter):
            if who in self.waiting:
                self.waiting.remove(who)
        elif isinstance(who, Reader):
            if who in self.readers:
                self.readers.remove(who)
        else:
            self.direct = None

    @property
    def hears(self) -> bool:
        """Whether anybody is being sent the body as it comes."""
        return self.direct is not None or bool(self.readers)

    def suits(self, meta: Stored, waiter: Waiter, now: float) -> bool:
        """Whether what is described so answers one who waits."""
        found = choose((meta,), waiter.exchange.request)
        return found is not None and isinstance(decide(found, waiter.ask, now), Serve)

    def let_go(self) -> None:
        """Nothing is kept by what was."""
        self.leader = self.direct = None
        self._held = []

    # -- the head

    def interim(self, response: Response) -> None:
        """A 1xx: the leader's."""
        if self.waiting and self.leader is not None and self.waiting[0].exchange is self.leader:
            self.leader.response_head(response)

    def hand_out(
        self,
        fill: Fill,
        response: Response,
        first: bytes,
        ended: bool,
        shared: Stored | None,
        source: Entry | Filling | None,
        now: float,
    ) -> None:
        """Give everyone who waits what is for them, or have them ask again.

        :param first: what came of the body with the head. :param ended: whether that is all.
        :param shared: what of it may be shared, stored or not.
        :param source: where the body is, ``None`` where it is not stored.
        """
        cache = self._cache
        waiting, self.waiting = self.waiting, []
        filling = source if isinstance(source, Filling) else None
        failed: list[Waiter] = []
        for waiter in waiting:
            exchange = waiter.detach()
            if exchange.state == DONE:
                continue
            if exchange is self.leader:
                self._lead(fill, waiter, response, first, ended, filling, now)
            elif shared is None and response.status in ERRORS:
                failed.append(waiter)
            elif shared is None:
                cache.alone(waiter)
            elif not self.suits(shared, waiter, now):
                cache.again(waiter, self._key, shared, now)
            elif isinstance(source, Entry):
                field = cache.status(waiter, shared, now)
                if not respond(exchange, cache.store, shared, source, waiter.ask, now, field):
                    cache.alone(waiter)
            elif ended:
                head = Response(
                    shared.status,
                    Headers(hit_fields(shared, now, cache.status(waiter, None, now))),
                    reason=shared.reason,
                    length=None if shared.status == 204 else len(first),
                )
                exchange.serve(head, b"" if exchange.request.method == b"HEAD" else first, True)
            elif filling is not None and filling.open:
                self.send(fill, waiter, shared, filling, response.length, now)
            else:
                cache.alone(waiter)
        if failed:
            cache.in_turn(failed, self._key, fill.failures + 1, response)

    def _lead(
        self,
        fill: Fill,
        waiter: Waiter,
        response: Response,
        first: bytes,
        ended: bool,
        filling: Filling | None,
        now: float,
    ) -> None:
        exchange, meta = waiter.exchange, fill.meta
        own = response.copy()
        field = self._cache.status(waiter, meta, now)
        if field is not None:
            own.headers.fields = [*own.headers.fields, field]
        if waiter.ask.conditional and fill.whole and meta is not None:
            if isinstance(answer_conditional(meta, exchange.request, now), NotModified):  # its own were not sent
                _bare(exchange, not_modified_fields(hit_fields(meta, now, field)))
                return
        if exchange.request.method == b"HEAD":
            exchange.serve(own, b"", True)
        elif ended:
            exchange.serve(own, first, True)
        elif filling is not None:
            self._read(fill, exchange, own, filling)
        else:
            self.direct = exchange
            exchange.sink = Direct(fill)
            exchange.serve(own, first, False)

    def send(self, fill: Fill, waiter: Waiter, meta: Stored, filling: Filling, length: int | None, now: float) -> None:
        """Let one read along what is being stored. :param length: bytes of the whole, as its head says."""
        exchange = waiter.exchange
        fields = hit_fields(meta, now, self._cache.status(waiter, meta, now))
        if waiter.ask.conditional and isinstance(answer_conditional(meta, exchange.request, now), NotModified):
            _bare(exchange, not_modified_fields(fields))
            return
        response = Response(meta.status, Headers(fields), reason=meta.reason, length=length)
        if exchange.request.method == b"HEAD":
            exchange.serve(response, b"", True)
        else:
            self._read(fill, exchange, response, filling)

    def _read(self, fill: Fill, exchange: Exchange, response: Response, filling: Filling) -> None:
        reader = Reader(exchange, self._cache.store, filling, [(0, None)], fill)
        self.readers.append(reader)
        reader.begin(response)

    # -- in its place

    def validated(self, meta: Stored, entry: Entry, refused: bool, now: float) -> None:
        """Answer with what a 304 was about. :param refused: it is for the leader alone."""
        cache = self._cache
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            exchange = waiter.detach()
            if exchange.state == DONE:
                continue
            if exchange is not self.leader and refused:
                cache.alone(waiter)
            elif exchange is self.leader or self.suits(meta, waiter, now):
                field = cache.status(waiter, meta, now, validated=True)
                if not respond(exchange, cache.store, meta, entry, waiter.ask, now, field):
                    cache.alone(waiter)
            else:
                cache.again(waiter, self._key, meta, now)

    def serve_stale(self, entry: Entry, error: int, now: float) -> bool:
        """Give what is stale to those who may have it in the place of an error; whether anybody got it."""
        cache = self._cache
        served = False
        if not cache.store.may_hold(entry):
            return False
        for waiter in tuple(self.waiting):
            if choose((entry.meta,), waiter.exchange.request) is None:
                continue
            if on_error(entry.meta, waiter.ask, now, error) is None:
                continue
            served = True
            self.waiting.remove(waiter)
            exchange = waiter.detach()
            field = cache.status(waiter, None, now, error=error)
            cache.store.hit(entry)
            respond(exchange, cache.store, entry.meta, entry, waiter.ask, now, field)
        return served

    def fail(self, fault: Fault, detail: str, entry: Entry | None, retry_after: int, now: float) -> None:
        """No response came. :param entry: what was to be validated."""
        if entry is not None:
            self.serve_stale(entry, DISCONNECTED, now)
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.detach().fail(fault, detail, retry_after)

    # -- the body

    def pump(self) -> None:
        """More was stored."""
        for reader in tuple(self.readers):
            reader.pump()

    def hold(self, data: bytes) -> None:
        """Keep what is not stored until all have taken what was."""
        self._held.append(data)

    @property
    def is_behind(self) -> bool:
        """Whether one of them has not been sent all that is there."""
        return any(reader.is_behind for reader in self.readers)

    def release(self) -> None:
        """Send what was held; nobody is behind."""
        held, self._held = self._held, []
        for data in held:
            for reader in tuple(self.readers):
                reader.send(data)

    def complete(self) -> None:
        """The body has come to its end."""
        readers, self.readers = self.readers, []
        for reader in readers:
            reader.complete()

    def abort(self, fault: Fault, detail: str) -> None:
        """The response was cut short."""
        direct, self.direct = self.direct, None
        readers, self.readers = self.readers, []
        waiting, self.waiting = self.waiting, []
        if direct is not None:
            direct.fail(fault, detail)
        for reader in readers:
            reader.fill = None
            reader.exchange.fail(fault, detail)
        for waiter in waiting:
            waiter.detach().fail(fault, detail)


def _bare(exchange: Exchange, fields: list[Field]) -> None:
    exchange.serve(Response(304, Headers(fields), reason=reason(304)), b"", True)
