"""Connections to one backend, kept for use again.

Rules of this module:

* a hit is a plain call: last in, first out, so that the others grow old and go;
* a connection is counted from the moment it is asked for to the moment it is gone;
* who waits for a connection waits in turn, in a queue with a length and a time.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.protocol import Factory

from revproxy.config import model
from revproxy.fault import (
    BACKEND_CONNECT,
    BACKEND_CONNECT_TIMEOUT,
    BACKEND_QUEUE_FULL,
    BACKEND_QUEUE_TIMEOUT,
    OUT_OF_DESCRIPTORS,
    ProtocolError,
)
from revproxy.http.blocks import ResponseBlock
from revproxy.http.fields import SECRET
from revproxy.http.message import MAPPED, Response
from revproxy.upstream.http1 import BackendConnection

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # errors that are no backend's doing
_PROVEN = 0.001  # seconds of rest that any backend is trusted to allow
_PROVEN_ENOUGH = 30.0  # and that are enough to know
_HEAD = 1024  # bytes of the longest response head that is remembered
_HEADS = 256  # and how many are
_SEEN = 2048  # marks of heads that came once


class _Connector(Factory):
    noisy = False

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def buildProtocol(self, address: Any) -> BackendConnection:
        return BackendConnection(self.pool)


class Pool:
    """Connections to one backend.

    :param endpoint: a stream client endpoint.
    :param settings: limits, in connections and seconds.
    :ivar closes_idle: the backend was seen closing a connection that was kept for it;
        what must not be repeated goes out on fresh connections from then on.
    :ivar proven: seconds that a connection has rested and was still good. What must not be repeated
        trusts no longer rest than that. :ivar learning: whether that is still being found out.
    """

    __slots__ = (
        "_connector", "_refilling", "_seen", "_waiting", "closed", "closes_idle", "endpoint", "heads", "idle",
        "learning", "open", "proven", "reactor", "settings", "timeouts",
    )  # fmt: skip

    def __init__(self, endpoint: Any, reactor: Any, settings: model.Pool, timeouts: model.UpstreamTimeouts) -> None:
        self.endpoint = endpoint
        self.reactor = reactor
        self.settings = settings
        self.timeouts = timeouts
        self.idle: list[BackendConnection] = []
        self.open = 0
        self.closed = False
        self.closes_idle = False
        self.proven = _PROVEN
        self.learning = True
        self._waiting: deque[Deferred[BackendConnection]] = deque()
        self._refilling = False
        self._connector = _Connector(self)
        self.heads: dict[bytes, ResponseBlock] = {}
        self._seen: set[int] = set()

    def take(self) -> BackendConnection | None:
        """An idle connection, the one used last, or ``None``."""
        return self.idle.pop() if self.idle else None

    def take_proven(self, now: float) -> BackendConnection | None:
        """An idle connection for what must not be repeated: one that can't have been closed, as far as is known."""
        if self.closes_idle or not self.idle:
            return None
        connection = self.idle[-1]
        if now - connection.rested > self.proven:
            return None
        self.idle.pop()
        if connection.stale():
            self.closes_idle = True
            self.learning = False
            connection.retire()
            return None
        return connection

    def survived(self, rest: float) -> None:
        """A connection was used after so many seconds of rest, and the backend answered."""
        if rest > self.proven:
            self.proven = rest
            if rest >= _PROVEN_ENOUGH:
                self.learning = False

    def put(self, connection: BackendConnection) -> None:
        """A connection is free again: for who waits, for later, or to be closed."""
        if self._waiting and self._hand_over(connection):
            return
        settings = self.settings
        idle = self.idle
        if len(idle) >= settings.idle or self.closed or (settings.age is not None and self._is_old(connection)):
            connection.retire()
        else:
            idle.append(connection)
            connection.rest(settings.idle_time)

    def _hand_over(self, connection: BackendConnection) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.called:
                waiter.callback(connection)
                return True
        return False

    def _is_old(self, connection: BackendConnection) -> bool:
        age = self.settings.age
        return age is not None and self.reactor.seconds() - connection.born >= age

    def remember(self, head: bytes, response: Response, size: int, keep: bool, cleaner: object) -> None:
        """Keep a response head that comes for the second time, bounded, and none with cookies or credentials."""
        if len(head) > _HEAD or response.kinds & MAPPED:
            return
        mark = hash(head)
        if mark not in self._seen:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen.add(mark)
        elif not any(f[0] in SECRET for f in response.headers.fields):
            if len(self.heads) >= _HEADS:
                self.heads.clear()
            self.heads[head] = ResponseBlock(response, size, keep, cleaner)

    def connect(self) -> Deferred[BackendConnection]:
        """A fresh connection, or, at the cap, the next that is free.

        :raises ProtocolError: (as a failure) with the fault that says what went wrong.
        """
        cap = self.settings.connections
        if cap is not None and self.open >= cap:
            if self.idle:  # it may not be used for this one: a fresh one takes its place
                self.idle.pop(0).retire()
            if self.open >= cap:
                return self._queue()
        return self._dial()

    def _dial(self) -> Deferred[BackendConnection]:
        self.open += 1
        timed_out = False

        def late() -> None:
            nonlocal timed_out
            timed_out = True
            dialling.cancel()

        def done(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        def failed(failure: Any) -> Any:
            self.left()
            if timed_out:
                raise ProtocolError(BACKEND_CONNECT_TIMEOUT, f"no connection within {self.timeouts.connect:g} s")
            if failure.check(CancelledError):
                return failure
            if getattr(getattr(failure.value, "osError", None), "errno", None) in _OURS:
                raise ProtocolError(OUT_OF_DESCRIPTORS, failure.getErrorMessage())
            raise ProtocolError(BACKEND_CONNECT, failure.getErrorMessage() or failure.type.__name__)

        dialling: Deferred[Any] = self.endpoint.connect(self._connector)
        timer = self.reactor.callLater(self.timeouts.connect, late)
        dialling.addBoth(done)
        dialling.addErrback(failed)
        return dialling

    def _queue(self) -> Deferred[BackendConnection]:
        if len(self._waiting) >= self.settings.queue:
            return fail(ProtocolError(BACKEND_QUEUE_FULL, f"{len(self._waiting)} requests wait already"))
        seconds = self.settings.queue_time

        def forget() -> None:
            if waiter in self._waiting:  # else a connection is being made for it
                self._waiting.remove(waiter)

        def late() -> None:
            if not waiter.called:
                forget()
                waiter.errback(ProtocolError(BACKEND_QUEUE_TIMEOUT, f"no connection free within {seconds:g} s"))

        def done(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        waiter: Deferred[BackendConnection] = Deferred(lambda waiter: forget())
        timer = self.reactor.callLater(seconds, late)
        waiter.addBoth(done)
        self._waiting.append(waiter)
        return waiter

    def left(self) -> None:
        """A connection is gone (or never came): its place is free."""
        self.open -= 1
        if self._refilling:
            return
        self._refilling = True  # dialling may fail at once and come back here
        while self._waiting and (self.settings.connections is None or self.open < self.settings.connections):
            waiter = self._waiting.popleft()
            if not waiter.called:
                self._dial_for(waiter)
        self._refilling = False

    def _dial_for(self, waiter: Deferred[BackendConnection]) -> None:
        def connected(connection: BackendConnection) -> None:
            if waiter.called:
                self.put(connection)
            else:
                waiter.callback(connection)

        def failed(failure: Any) -> None:
            if not waiter.called:
                waiter.errback(failure)

        self._dial().addCallbacks(connected, failed)

    def close(self) -> None:
        """Close what is idle, and from now on what becomes idle."""
        self.closed = True
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.retire()

    def __repr__(self) -> str:
        return f"<Pool open {self.open} | idle {len(self.idle)} | waiting {len(self._waiting)}>"
