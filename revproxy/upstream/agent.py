"""An upstream as an ``IAgent``: its pool, its balance and its retries for code that asks in Python.

Rules of this module:

* the caller is the client side of an exchange; nothing is buffered but what came before
  ``deliverBody``, and then the backend is paused;
* a failure is an exception that carries its :class:`~revproxy.fault.Fault`, never an error page;
* the address in the URL is not where the request goes: it is the Host that the backend sees.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, ResponseFailed, ResponseNeverReceived as NeverReceived
from twisted.web.http_headers import Headers as WebHeaders
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IResponse
from zope.interface import implementer

from revproxy.config.model import Server
from revproxy.engine import Engine
from revproxy.exchange import Exchange
from revproxy.fault import Fault, ProtocolError
from revproxy.handlers.ask import Ask
from revproxy.http.message import (
    CODING,
    HOP,
    LENGTH,
    TOKEN,
    Arrival,
    Field,
    Headers,
    Request,
    Response,
    field as make_field,
    kind_of,
)
from revproxy.routing import Entry, Route, RouteTable
from revproxy.stream import ASKING, DONE, EARLY
from revproxy.upstream.agent_response import AgentResponse, ClientRequest
from revproxy.upstream.group import Upstream
from revproxy.wire import PEER_FULL

_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")


class BackendConnectError(ConnectError):
    """No connection to any backend of the upstream.

    :ivar fault: which way it failed. :ivar detail: more about that, for a log.
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(string=f"{fault.word}: {detail}" if detail else fault.word)
        self.fault = fault
        self.detail = detail


class ResponseNeverReceived(NeverReceived):
    """The request went out, or part of it, and no response came.

    :ivar fault: which way it failed.
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__([Failure(ProtocolError(fault, detail))])
        self.fault = fault


@implementer(IAgent)
class UpstreamAgent:
    """An ``IAgent`` whose requests go to an upstream, for ``treq`` and the like.

    :param upstream: the live upstream.
    :param engine: what its exchanges share, or a reactor for one of its own.
    """

    def __init__(self, upstream: Upstream, engine: Any) -> None:
        route = Route(name=f"agent:{upstream.name}", handler=Ask(upstream))
        self._table = RouteTable.build([Entry(route)])
        self._engine = engine if isinstance(engine, Engine) else Engine(self._table, Server(), engine)

    def request(
        self, method: bytes, uri: bytes, headers: WebHeaders | None = None, bodyProducer: Any = None
    ) -> Deferred[IResponse]:
        """Ask a backend.

        :param uri: an absolute URL; scheme and address say what the backend sees as Host, no more.
        :return: fires with the response when its head is there. Fails with
            :class:`BackendConnectError`, :class:`ResponseNeverReceived` or
            ``RequestGenerationFailed``; cancelling it gives the request up.
        """
        try:
            request = _request(method, uri, headers, bodyProducer)
        except ValueError:
            return fail(Failure())
        return _Caller(self._engine, request, uri, headers, bodyProducer).begin(self._table)


def _request(method: bytes, uri: bytes, headers: WebHeaders | None, producer: Any) -> Request:
    parts = urlsplit(uri)
    if not TOKEN.fullmatch(method) or not _TARGET.fullmatch(uri):
        raise ValueError(f"not a method and a URL: {method!r} {uri!r}")
    if parts.scheme not in (b"http", b"https") or not parts.netloc:
        raise ValueError(f"not an http URL: {uri!r}")
    authority = parts.netloc.rpartition(b"@")[2]
    fields: list[Field] = []
    kinds = 0
    for name, values in () if headers is None else headers.getAllRawHeaders():
        kind = kind_of(name.lower())
        if name.lower() == b"host":
            authority = values[-1]
        elif not kind & (HOP | LENGTH | CODING):
            fields += [make_field(name, value) for value in values]
    length: int | None = 0
    if producer is not None:
        length = None if producer.length is UNKNOWN_LENGTH else producer.length
        kinds |= CODING if length is None else LENGTH
    elif method in (b"POST", b"PUT", b"PATCH"):
        kinds |= LENGTH
    make_field(b"host", authority)  # raises for what is none
    query = parts.query if b"?" in uri.partition(b"#")[0] else None
    return Request(
        method,
        parts.path or b"/",
        query,
        Headers(fields),
        host=(parts.hostname or b""),
        authority=authority,
        kinds=kinds,
        length=length,
        arrival=Arrival(scheme=parts.scheme),
    )


@implementer(IConsumer)
class _Caller:
    """The client side of an exchange: who called ``request``."""

    def __init__(self, engine: Engine, request: Request, uri: bytes, headers: Any, producer: Any) -> None:
        self.exchange = Exchange(engine, self, request)
        self._asked = ClientRequest(request.method, uri, WebHeaders() if headers is None else headers.copy())
        self._reactor = engine.reactor
        self._producer = producer
        self._producing = False
        self._left = request.length
        self._pausing = 0
        self._paused_producer = False
        self._resuming: Any = None
        self._waiting: Deferred[IResponse] | None = Deferred(self._cancelled)
        self._response: AgentResponse | None = None

    def begin(self, table: Any) -> Deferred[IResponse]:
        waiting = self._waiting
        assert waiting is not None
        if self._producer is not None:
            self._producing = True
            maybeDeferred(self._producer.startProducing, self).addCallbacks(self._produced, self._broke)
        if self.exchange.state != DONE:
            self.exchange.start(b"", not self._producing, table)
        return waiting

    def _cancelled(self, waiting: Any) -> None:
        self._waiting = None
        self._give_up()

    def _give_up(self) -> None:
        self._stop_producing()
        self.exchange.client_gone()

    # -- the request's body, from an IBodyProducer

    def write(self, data: bytes) -> None:
        """Part of IConsumer: bytes of the request's body."""
        if not self._producing or not data:
            return
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self._broke(Failure(ValueError("the body is longer than its producer had declared")))
                return
        self.exchange.request_body(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Part of IConsumer; an IBodyProducer is its own producer."""

    def unregisterProducer(self) -> None:
        """Part of IConsumer."""

    def _produced(self, result: Any) -> None:
        if not self._producing:
            return
        if self._left:
            self._broke(Failure(ValueError("the body is shorter than its producer had declared")))
            return
        self._producing = False
        self.exchange.request_end()

    def _broke(self, failure: Failure) -> None:
        if not self._producing:
            return
        self._stop_producing()
        waiting, self._waiting = self._waiting, None
        self.exchange.client_gone()
        error = RequestGenerationFailed([failure])
        if waiting is not None:
            waiting.errback(Failure(error))
        elif self._response is not None:
            self._response.lost(Failure(error))

    def _stop_producing(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if self._producing:
            self._producing = False
            self._producer.stopProducing()

    def pause_reading(self, why: int) -> None:
        self._pausing |= why
        if self._producing and not self._paused_producer:
            self._paused_producer = True
            self._producer.pauseProducing()

    def resume_reading(self, why: int) -> None:
        self._pausing &= ~why
        if self._paused_producer and not self._pausing and self._resuming is None:
            # later: who resumes has not written the head yet
            self._resuming = self._reactor.callLater(0, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        if self._producing and not self._pausing:
            self._paused_producer = False
            self._producer.resumeProducing()

    # -- the response

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        waiting = self._waiting
        if response.status < 200 or waiting is None:
            return
        self._waiting = None
        exchange = self.exchange
        if exchange.fault is not None:
            self._stop_producing()
            waiting.errback(_error(exchange.fault, exchange.detail))
            return
        answer: Any
        answer = self._response = AgentResponse(self, response, self._asked, exchange.request.method)
        if first:
            answer.data(first)
        if ended:
            self._stop_producing()
            answer.complete()
        elif exchange.sink is not None:
            exchange.sink.pause_reading(PEER_FULL)
        waiting.callback(answer)

    def write_body(self, data: bytes) -> None:
        if self._response is not None:
            self._response.data(data)

    def end(self, trailers: Sequence[Any] = ()) -> None:
        if self.exchange.state not in (ASKING, EARLY):
            self._stop_producing()
        if self._response is not None:
            self._response.complete()

    def abort(self, fault: Fault) -> None:
        self._stop_producing()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(_error(fault, self.exchange.detail))
        elif self._response is not None:
            self._response.lost(Failure(ResponseFailed([Failure(ProtocolError(fault, self.exchange.detail))])))

    # -- for the response: the reader is slow, or gone

    def pause(self) -> None:
        if self.exchange.sink is not None:
            self.exchange.sink.pause_reading(PEER_FULL)

    def resume(self) -> None:
        if self.exchange.sink is not None:
            self.exchange.sink.resume_reading(PEER_FULL)

    def leave(self) -> None:
        self._give_up()


def _error(fault: Fault, detail: str) -> Failure:
    error = BackendConnectError if fault.phase == "connect" else ResponseNeverReceived
    return Failure(error(fault, detail))
