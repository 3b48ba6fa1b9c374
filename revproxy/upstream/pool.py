"""Connections to one backend, kept for use again.

Rules of this module:

* a hit is a plain call: last in, first out, so that the others grow old and go;
* a connection is counted from the moment it is asked for to the moment it is gone;
* a connection that begins with a client's address (PROXY protocol) is that client's alone: it carries one exchange.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory

from revproxy.config import model
from revproxy.fault import (
    BACKEND_CONNECT,
    BACKEND_CONNECT_TIMEOUT,
    OUT_OF_DESCRIPTORS,
    ProtocolError,
)
from revproxy.http.blocks import ResponseBlock
from revproxy.http.fields import SECRET
from revproxy.http.message import MAPPED, Response
from revproxy.http.proxyline import proxy_header
from revproxy.upstream.http1 import BackendConnection

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.upstream.endpoint import BackendEndpoint

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

    :param endpoint: how it is reached, TLS included.
    :param settings: how many connections are kept, and for how long (seconds).
    :param version: of the PROXY protocol, where the backend expects it.
    :ivar most: connections that may exist, ``None`` for no bound: a fresh one then takes an idle one's place.
    :ivar freed: called when a connection is gone, where somebody waits for that.
    :ivar closes_idle: the backend was seen closing a connection that was kept for it;
        what must not be repeated goes out on fresh connections from then on.
    :ivar proven: seconds that a connection has rested and was still good. What must not be repeated
        trusts no longer rest than that. :ivar learning: whether that is still being found out.
    """

    __slots__ = (
        "_connector", "_seen", "_version", "closed", "closes_idle", "endpoint", "freed", "heads", "idle", "learning",
        "most", "open", "proven", "reactor", "settings", "timeouts",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: BackendEndpoint,
        reactor: Any,
        settings: model.Pool,
        timeouts: model.UpstreamTimeouts,
        version: Literal["v1", "v2"] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.reactor = reactor
        self.settings = settings
        self.timeouts = timeouts
        self.idle: list[BackendConnection] = []
        self.open = 0
        self.most: int | None = None
        self.freed: Callable[[Any], None] | None = None
        self.closed = False
        self.closes_idle = False
        self.proven = _PROVEN
        self.learning = True
        self.heads: dict[bytes, ResponseBlock] = {}
        self._version = version
        self._connector = _Connector(self)
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
        """A connection is free again: for later, or to be closed."""
        settings = self.settings
        idle = self.idle
        if (
            len(idle) >= settings.idle
            or self.closed
            or self._version is not None
            or (settings.age is not None and self._is_old(connection))
        ):
            connection.retire()
        else:
            idle.append(connection)
            connection.rest(settings.idle_time)

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
                for block in self.heads.values():  # each knows the other: they would wait for the collector
                    block.response.block = None
                self.heads.clear()
            self.heads[head] = ResponseBlock(response, size, keep, cleaner)

    def for_nobody(self) -> BackendEndpoint:
        """The endpoint for connections that are no client's, such as those of health checks."""
        if self._version is None:
            return self.endpoint
        return self.endpoint.announcing(proxy_header(self._version, None, None))

    def _for_client(self, exchange: Exchange) -> BackendEndpoint:
        assert self._version is not None
        request = exchange.request
        transport = getattr(exchange.client, "transport", None)
        ours = None if transport is None else transport.getHost()
        source = destination = None
        if request.client and ours is not None and hasattr(ours, "port"):
            # behind a trusted proxy the client's port is not known
            source = (request.client, request.arrival.peer_port if request.client == request.arrival.peer else 0)
            destination = (ours.host, ours.port)
        return self.endpoint.announcing(proxy_header(self._version, source, destination))

    def connect(self, exchange: Exchange) -> Deferred[BackendConnection]:
        """A fresh connection.

        :raises ProtocolError: (as a failure) with the fault that says what went wrong.
        """
        if self.most is not None and self.open >= self.most and self.idle:
            self.idle.pop(0).retire()
        endpoint = self.endpoint if self._version is None else self._for_client(exchange)
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
            # Twisted has the number in osError, or lets an OSError through
            if getattr(failure.value, "osError", getattr(failure.value, "errno", None)) in _OURS:
                raise ProtocolError(OUT_OF_DESCRIPTORS, failure.getErrorMessage())
            raise ProtocolError(BACKEND_CONNECT, failure.getErrorMessage() or failure.type.__name__)

        dialling: Deferred[Any] = endpoint.connect(self._connector)
        timer = self.reactor.callLater(self.timeouts.connect, late)
        dialling.addBoth(done)
        dialling.addErrback(failed)
        return dialling

    def left(self) -> None:
        """A connection is gone (or never came): its place is free."""
        self.open -= 1
        if self.freed is not None:
            self.freed(self)

    def close(self) -> None:
        """Close what is idle, and from now on what becomes idle."""
        self.closed = True
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.retire()

    def __repr__(self) -> str:
        return f"<Pool open {self.open} | idle {len(self.idle)}>"
