"""The life of one request. An Exchange is the only object that knows both sides.

1. A client side (any :class:`~revproxy.stream.MessageStream`) has a request head and makes the exchange.
2. A banned client behind a trusted proxy gets no further; the route table says which route a request takes.
3. Client-request hooks run; the first that answers ends it here.
4. The route's handler starts: it answers itself, or finds a backend and becomes the *sink*.
5. Backend-request hooks run and the request goes out to the backend.
6. The request's body passes from client to sink as it comes.
7. The response head comes back; backend-response hooks, then client-response hooks run.
8. The response's body passes from sink to client as it comes, and the exchange ends: log, metrics.

The numbers recur in the code. A failure at any point is a :class:`~revproxy.fault.Fault`: before
8 has begun it becomes an error page, afterwards the client's connection is cut, so that a
response cut short is never shown as whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.delivery import Delivery
from revproxy.errorpages import fault_page
from revproxy.fault import BANNED, CLIENT_BODY_TOO_LARGE, CLIENT_GONE, HANDLER_FAILED, NO_ROUTE, Fault
from revproxy.hooks import BodyPrefix, run_hooks
from revproxy.http.forwarding import given_request_id
from revproxy.http.message import Answer, Headers, Request, Response
from revproxy.requestid import new_request_id
from revproxy.stream import ASKED, ASKING, DONE, NO, REQUEST_END, TABLE, TUNNEL, Filter
from revproxy.wire import NO_PEER

if TYPE_CHECKING:
    from revproxy.auth.outcome import Identity
    from revproxy.engine import Engine
    from revproxy.routing import Route

_log = Logger()

#: Bytes of a body that are held while nobody takes it (a hook waits, a backend is being
#: connected); reading stops above it.
HELD = 64 * 1024


class Exchange(Delivery):
    """One request on its way: see the steps at the top of this module.

    :ivar engine: what all exchanges share.
    :ivar client: the client's side. :ivar sink: who takes the request's body, once there is one.
    :ivar request: the request. :ivar response: the response head, once there is one.
    :ivar route: the route taken. :ivar state: a state of the table above.
    :ivar held: body bytes that nobody took yet. :ivar replay: what was sent of the body, kept for
        another try; ``None`` when it can't be repeated.
    :ivar max_body: bytes of the body that are taken, ``None`` for no limit; the route's, or what a hook says.
    :ivar prefix: who waits for the beginning of the body.
    :ivar tries: tries that count, the first one included. :ivar repeats: those that don't (see
        :mod:`revproxy.upstream.retry`). :ivar tried: backends that failed it.
    :ivar asked: the client's fields, where those of ``request`` were changed for the backend alone.
    :ivar filter: a :class:`~revproxy.stream.Filter` for the response's body, or ``None``.
    :ivar fault: how it failed. :ivar detail: about that, for the log.
    :ivar sent: body bytes for the client. :ivar received: body bytes from the client.
    :ivar started: reactor seconds of the head's arrival; ``connect_time`` and ``first_byte_time``
        are seconds since then.
    :ivar origin: the exchange that asked a backend on its behalf (:meth:`child`), or ``None``.
    :ivar quota: what the client is told of its rate limits: lines that end the head of the response.
    :ivar note: what a handler has to remember of it.
    :ivar identity: who sent it, an :class:`~revproxy.auth.outcome.Identity`, where the route asks for that.
    :ivar admit_trailers: takes out of a client's trailers what it may not send, where there is such a thing.
    :ivar delivering: how often the hooks for what the client gets were begun.
    :ivar context: a place for the user's hooks; a dict, made on first use.
    """

    __slots__ = (
        "_context", "_request_id", "admit_trailers", "asked", "backend", "connect_time", "detail", "held_size",
        "identity", "max_body", "note", "on_finished", "origin", "prefix", "quota", "received", "repeats", "replay",
        "trailers", "tried", "tries", "waiting",
    )  # fmt: skip

    def __init__(self, engine: Engine, client: Any, request: Request) -> None:
        self.engine = engine
        self.client = client
        self.request = request
        self.sink: Any = None
        self.response: Response | None = None
        self.route: Route | None = None
        self.state = ASKING
        self.held: list[bytes] | None = None
        self.held_size = 0
        self.max_body: int | None = None
        self.replay: list[bytes] | None = None
        self.trailers: Sequence[Any] = ()
        self.admit_trailers: Callable[[Sequence[Any]], Sequence[Any]] | None = None
        self.backend: Any = None
        self.tries = 0
        self.repeats = 0
        self.origin: Exchange | None = None
        self.quota = b""
        self.note: Any = None
        self.identity: Identity | None = None
        self.tried: tuple[Any, ...] = ()
        self.fault: Fault | None = None
        self.detail = ""
        self.delivering = 0
        self.asked: Headers | None = None
        self.filter: Filter | None = None
        self.early_body = b""
        self.early_end: Sequence[Any] | None = None
        self.sent = 0
        self.received = 0
        seconds = engine.seconds
        self.started: float = seconds()
        self.connect_time: float | None = None
        self.first_byte_time: float | None = None
        self.on_finished: Callable[[Exchange], None] | None = None
        self.waiting: Deferred[Any] | None = None
        self._context: dict[str, Any] | None = None
        self._request_id: bytes | None = None
        self.prefix: BodyPrefix | None = None

    # -- what hooks and templates ask

    @property
    def request_id(self) -> bytes:
        """The id of this request: a trusted client's, or one of ours (24 hex digits)."""
        made = self._request_id
        if made is None:
            made = given_request_id(self.request) if self.request.arrival.trusted else None
            self._request_id = made = made or new_request_id()
        return made

    @request_id.setter
    def request_id(self, value: bytes) -> None:
        self._request_id = value

    @property
    def context(self) -> dict[str, Any]:
        if self._context is None:
            self._context = {}
        return self._context

    @property
    def upstream_name(self) -> str:
        backend = self.backend if self.origin is None else self.origin.backend
        return "" if backend is None else backend.upstream_name

    @property
    def backend_name(self) -> str:
        backend = self.backend if self.origin is None else self.origin.backend
        return "" if backend is None else backend.name

    # -- 1 to 4: from the client's head to the handler

    def start(self, first: bytes = b"", ended: bool = True, table: Any = None) -> None:
        """Take the request on its way, with what is there of its body.

        :param table: what has ``match``; the engine's unless another is given.
        """
        if first:
            self.held = [first]
            self.held_size = self.received = len(first)
        if ended:
            self.state = ASKED
        engine = self.engine
        bans = engine.bans
        # the connection is the proxy's and stays; those of banned clients themselves are dropped
        if bans is not None and self.request.arrival.trusted and bans.holds(self.request.client):
            self.fail(BANNED, bans.why(self.request.client))
            return
        route = (engine.table if table is None else table).match(self.request)  # 2
        if route is not None and route.plain:
            self.route = route
            self._handle()
        else:
            self.take(route)

    @classmethod
    def child(cls, engine: Engine, client: Any, request: Request) -> Exchange:
        """An exchange on behalf of others, for a client side that is no client: it is not logged by itself.

        Start it with :meth:`take`, and a route without hooks of the client side.
        """
        exchange = _Child(engine, client, request)
        exchange.state = ASKED
        return exchange

    def take(self, route: Route | None) -> None:
        """Go the way of ``route``: its limits, its hooks, its handler. A handler may send it on to another."""
        self.route = route
        if route is None:
            self.fail(NO_ROUTE)
            return
        most = self.max_body = route.max_body
        if most is not None and (self.request.length or self.received) > most:
            self.fail(CLIENT_BODY_TOO_LARGE)
        else:
            run_hooks(self, route.client_request, 0, self._handle)  # 3

    def _handle(self) -> None:
        assert self.route is not None
        try:
            self.route.handler.start(self)  # 4
        except Exception:
            self.broke(HANDLER_FAILED)

    def broke(self, fault: Fault, failure: Any = None) -> None:
        """Code of ours or the user's raised: log it with its traceback and end the exchange."""
        _log.failure("route {route} failed on a request", failure, route=self.route and self.route.name)
        self.fail(fault)

    def attach(self, sink: Any) -> tuple[bytes, bool]:
        """Make ``sink`` the taker of the body: what is there of it, and whether that is all."""
        self.sink = sink
        held = self.held
        if held is None:
            first = b""
        else:
            first = held[0] if len(held) == 1 else b"".join(held)
            self.held = None
            self.held_size = 0
        if self.state == ASKING:
            self.client.resume_reading(NO_PEER)
            return first, False
        return first, True

    def body_prefix(self, limit: int) -> Deferred[bytes]:
        """The first ``limit`` bytes of the request's body, or all of it when it is shorter.

        For hooks at the client-request point; what it read is passed on later all the same.
        Asks a client that waits for 100 (Continue) to go on.
        """
        assert self.sink is None and self.prefix is None
        return BodyPrefix(self, limit).waiter

    # -- 6: the request's body

    def request_body(self, data: bytes) -> None:
        """Body bytes from the client."""
        self.received += len(data)
        most = self.max_body
        if most is not None and self.received > most:
            if self.state < TUNNEL:
                self.fail(CLIENT_BODY_TOO_LARGE)
                return
        sink = self.sink
        if sink is not None:
            sink.write_body(data)
            return
        if self.state == DONE:
            return
        if self.held is None:
            self.held = []
        self.held.append(data)
        self.held_size += len(data)
        if self.prefix is not None:
            self.prefix.check()
        elif self.held_size >= HELD:
            self.client.pause_reading(NO_PEER)

    def request_end(self, trailers: Sequence[Any] = ()) -> None:
        """The client's body is complete."""
        if self.state == DONE:
            return
        state = self.state = TABLE[self.state][REQUEST_END]
        assert state != NO, "two ends of a request"
        if trailers and self.admit_trailers is not None:
            trailers = self.admit_trailers(trailers)
        sink = self.sink
        if sink is not None:
            sink.end(trailers)
            if state == DONE:
                self.finish()
        else:
            self.trailers = trailers
            if self.prefix is not None:
                self.prefix.check()

    # -- failure

    def fail(self, fault: Fault, detail: str = "", retry_after: int = 0) -> None:
        """End it here: an error page when nothing was answered yet, else the connection is cut.

        :param retry_after: seconds, 0 for not saying any.
        """
        if self.state == DONE:
            return
        self.fault = fault
        # what a filter said of the request stays
        self.detail = f"{self.detail}; {detail}" if self.detail and detail else detail or self.detail
        waiting, self.waiting = self.waiting, None
        self._end_badly(fault, retry_after)
        if waiting is not None:
            # a queue, a pause, a dial or a hook: it must not go on with what is over, nor forget who waits now
            now = self.waiting
            waiting.cancel()
            self.waiting = now

    def _end_badly(self, fault: Fault, retry_after: int) -> None:
        if self.state in (ASKING, ASKED) and fault.status:
            accept = b", ".join(self.request.headers.get_all(b"accept"))
            self.answer(fault_page(fault.status, accept, self.request_id, retry_after))
            return
        self.state = DONE
        self._drop_filter()
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.abort(fault)
        self.client.abort(fault)
        self.finish()

    def client_gone(self, fault: Fault = CLIENT_GONE, detail: str = "") -> None:
        """The client's side is gone or broke the rules: the backend's work is cancelled."""
        if self.state == DONE:
            return
        self.state = DONE
        if self.fault is None:
            self.fault = fault
            self.detail = detail or self.detail
        self._drop_filter()
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.abort(fault)
        if self.waiting is not None:
            self.waiting.cancel()
        self.finish()

    def when_finished(self, call: Callable[[Exchange], None]) -> None:
        """Have ``call`` called when it is over, however it ends: once, after what was asked for before."""
        before = self.on_finished
        if before is None:
            self.on_finished = call
            return

        def both(exchange: Exchange) -> None:
            try:
                before(exchange)
            finally:
                call(exchange)

        self.on_finished = both

    def finish(self) -> None:
        """It is over, once: tell the log and let go of everything."""
        finished = self.on_finished
        if finished is not None:
            self.on_finished = None
            finished(self)
        if self.engine.told or self.fault is not None:
            self.log()
        self.sink = self.held = self.replay = None
        backend = self.backend
        if backend is not None:
            backend.active -= 1
            if backend.freed is not None:
                backend.freed(backend)

    def log(self) -> None:
        """Tell the logs that it is over."""
        self.engine.finished(self)


class _Child(Exchange):
    """See :meth:`Exchange.child`. :ivar answered: by a hook or handler of ours, or by an error page."""

    __slots__ = ("answered",)

    def __init__(self, engine: Engine, client: Any, request: Request) -> None:
        super().__init__(engine, client, request)
        self.answered = False

    def answer(self, answer: Answer) -> None:
        self.answered = True
        super().answer(answer)

    def log(self) -> None:
        """Those on whose behalf it was are logged."""
