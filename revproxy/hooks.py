"""Running the hooks of a route, at whichever of the four points.

Rules of this module:

* a hook gives ``None`` (go on), an Answer (answer now) or something to wait for that gives one of the two;
* while a hook waits, what arrives of the request is held and the backend is not read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

from revproxy.fault import HOOK_FAILED, ProtocolError
from revproxy.http.message import Answer, Response
from revproxy.stream import ASKING, DONE
from revproxy.wire import HOOK, NO_PEER

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

_log = Logger()

Hook = Callable[["Exchange"], "Answer | Awaitable[Answer | None] | None"]


def run_hooks(exchange: Exchange, hooks: tuple[Hook, ...], at: int, proceed: Callable[[], None]) -> None:
    """Run hooks from ``at`` on, then ``proceed``; stops at an answer, waits where one waits."""
    while at < len(hooks):
        try:
            result = hooks[at](exchange)
        except ProtocolError as e:
            exchange.fail(e.fault, e.detail, e.retry_after)
            return
        except Exception:
            exchange.broke(HOOK_FAILED)
            return
        at += 1
        if exchange.state == DONE:
            return
        if result is None:
            continue
        if isinstance(result, Answer):
            exchange.answer(result)
        else:
            _wait(exchange, result, hooks, at, proceed)
        return
    proceed()


def _wait(exchange: Exchange, result: Any, hooks: tuple[Hook, ...], at: int, proceed: Callable[[], None]) -> None:
    deferred = exchange.waiting = result if isinstance(result, Deferred) else ensureDeferred(result)
    if exchange.sink is not None:
        exchange.sink.pause_reading(HOOK)
    gone_on = False

    def given_up() -> bool:
        return exchange.state == DONE or not (gone_on or exchange.waiting is deferred)

    def resumed(answer: Any) -> None:
        nonlocal gone_on
        if given_up():
            return
        gone_on = True
        exchange.waiting = None
        if exchange.sink is not None:
            exchange.sink.resume_reading(HOOK)
        if answer is not None:
            exchange.answer(answer)
        else:
            run_hooks(exchange, hooks, at, proceed)

    def failed(failure: Any) -> None:
        if given_up():
            return
        exchange.waiting = None
        if failure.check(ProtocolError):
            exchange.fail(failure.value.fault, failure.value.detail, failure.value.retry_after)
        else:
            _log.failure(
                "a hook of route {route} failed", failure=failure, route=exchange.route and exchange.route.name
            )
            exchange.fail(HOOK_FAILED, failure.getErrorMessage())

    deferred.addCallback(resumed).addErrback(failed)


class BodyPrefix:
    """Waits for the first ``limit`` bytes of a request's body, for :meth:`~revproxy.exchange.Exchange.body_prefix`.

    :ivar waiter: fires with them.
    """

    __slots__ = ("_exchange", "_limit", "waiter")

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._limit = limit
        self.waiter: Deferred[bytes] = Deferred(self._forget)
        exchange.prefix = self
        request = exchange.request
        if request.expects_continue and exchange.state == ASKING and not exchange.held:
            request.expects_continue = False
            exchange.client.write_head(Response(100, reason=b"Continue"))
        self.check()

    def check(self) -> None:
        """More of the body is there, or its end."""
        exchange = self._exchange
        if exchange.prefix is not self:
            return
        if exchange.state != ASKING or exchange.held_size >= self._limit:
            exchange.prefix = None
            self.waiter.callback(b"".join(exchange.held or ())[: self._limit])
        else:
            exchange.client.resume_reading(NO_PEER)

    def _forget(self, waiter: Deferred[bytes]) -> None:
        self._exchange.prefix = None
