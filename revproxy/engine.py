"""What every exchange shares: the route table, the limits, the clock and where it is logged."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.accesslog import AccessLog, Record
from revproxy.accesslog_format import printable
from revproxy.config.conditions import in_networks
from revproxy.config.model import Server
from revproxy.fault import TOO_MANY_CONNECTIONS, TOO_MANY_FROM_ADDRESS, Fault
from revproxy.http.forwarding import client_address
from revproxy.http.h1 import RequestParser
from revproxy.http.mapping import public_origin
from revproxy.http.message import Headers, Request
from revproxy.http.parameters import masked
from revproxy.limits.bans import BanList
from revproxy.limits.client import counted
from revproxy.limits.compile import compile_bans
from revproxy.limits.lines import Lines
from revproxy.refusals import Refusals
from revproxy.slices import Slices
from revproxy.turns import Turns

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.routing import RouteTable

_log = Logger()

#: Descriptors that are kept for listeners, logs, resolvers and the like.
_RESERVED = 64
#: Clients that go on in one turn with requests that were there before the last answer was out.
_FOLLOWING = 8
#: Seconds between two looks at which bans are over.
_BANS_EVERY = 5.0


def default_connections() -> int:
    """Clients that the descriptor limit leaves room for, with a backend connection each."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    return max(16, (limit - _RESERVED) // 2)


class Engine:
    """The live centre of one proxy; a reload swaps ``table``.

    :param table: the compiled routes.
    :param server: limits and timeouts.
    :param reactor: a Twisted reactor, or a :class:`~twisted.internet.task.Clock` in tests.
    :param log: where finished exchanges go, or ``None``.
    :ivar connections: the client connections there are.
    :ivar bans: who is not let in; ``None`` where ``[server.bans]`` is not written.
    :ivar slices: works through what takes long on the reactor.
    :ivar turns: for clients with more requests than one: others are served in between.
    :ivar told: :meth:`finished` wants to know of every exchange, not only of those that failed.
    """

    def __init__(self, table: RouteTable, server: Server, reactor: Any, log: AccessLog | None = None) -> None:
        self.table = table
        self.server = server
        self.reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds
        self.log = log
        limits = server.limits
        self.parser = RequestParser(
            max_fields=limits.fields,
            max_target=limits.target,
            underscores=server.underscores,
            merge_slashes=server.merge_slashes,
        )
        self.is_trusted = in_networks(server.trusted_proxies) if server.trusted_proxies else None
        self.max_requests = limits.requests_per_connection
        self.keep_alive = server.timeouts.keep_alive
        self.stopping = False
        self.slices = Slices(reactor)
        self.turns = Turns(reactor, _FOLLOWING)
        self.connections: set[Any] = set()
        self._most = limits.connections or default_connections()
        self._most_per_address = limits.connections_per_address
        self.bans: BanList | None = None
        if server.bans is not None:
            self.bans = compile_bans(server.bans, server.trusted_proxies, self.seconds, self._banned, self._unbanned)
        self.told = log is not None or (self.bans is not None and self.bans.by_status)
        self._per_address: dict[str, set[Any]] | None = (
            {} if self._most_per_address is not None or self.bans is not None else None
        )
        self._refusals = Refusals(reactor, _log)
        self._idle: Deferred[None] | None = None
        self._reports = Lines("{n} more failures were not reported one by one", _log)
        self._ban_lines = Lines("{n} more bans began or ended", _log)
        self._ban_timer: Any = None

    # -- connections

    def refuses(self, peer: str | None) -> Fault | None:
        """Why a further connection of this address is one too many, or ``None``.

        :param peer: ``None`` where it is not known yet whose it is: it counts in all.
        """
        if len(self.connections) >= self._most:
            return TOO_MANY_CONNECTIONS
        return None if peer is None else self.crowded(peer)

    def crowded(self, peer: str) -> Fault | None:
        """Why a connection, which may be there already, is one too many of this address, or ``None``."""
        most = self._most_per_address
        if most is not None:
            assert self._per_address is not None
            there = self._per_address.get(counted(peer))
            if there is not None and len(there) >= most:
                return TOO_MANY_FROM_ADDRESS
        return None

    def refused(self, fault: Fault, peer: str, detail: str = "") -> None:
        """Log a refused connection, as :class:`~revproxy.refusals.Refusals` does; rules for bans count it."""
        if self.bans is not None:
            self.bans.saw(peer, fault.word, 0)
        self._refusals.refused(fault, peer, detail)

    def opened(self, connection: Any, peer: str | None) -> None:
        """A client connection is there, or it is known by now whose it is."""
        self.connections.add(connection)
        if self._per_address is not None and peer is not None:
            self._per_address.setdefault(counted(peer), set()).add(connection)

    def closed(self, connection: Any, peer: str | None) -> None:
        """A client connection is gone."""
        self.connections.discard(connection)
        if self._per_address is not None and peer is not None:
            key = counted(peer)
            there = self._per_address.get(key)
            if there is not None:
                there.discard(connection)
                if not there:
                    del self._per_address[key]
        if self._idle is not None and not self.connections:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def resolve_client(self, request: Request) -> None:
        """Take the client's address and scheme from what a trusted proxy said."""
        assert self.is_trusted is not None
        request.client = client_address(request, self.is_trusted)
        request.scheme = public_origin(request)[0]

    # -- bans

    def _banned(self, address: str, why: str) -> None:
        """A ban began: one line, and the connections of the address end after what they are at."""
        if self._ban_lines.allow(self.seconds()):
            _log.warn("{address} is banned {why}", address=address, why=why)
        assert self._per_address is not None
        for connection in tuple(self._per_address.get(address, ())):
            connection.stop()
        if self._ban_timer is None and not self.stopping:
            self._ban_timer = self.reactor.callLater(_BANS_EVERY, self._sweep_bans)

    def _unbanned(self, address: str, how: str) -> None:
        if self._ban_lines.allow(self.seconds()):
            _log.info("the ban of {address} is {how}", address=address, how=how)

    def _sweep_bans(self) -> None:
        self._ban_timer = None
        bans = self.bans
        assert bans is not None
        bans.sweep()
        if bans.list():
            self._ban_timer = self.reactor.callLater(_BANS_EVERY, self._sweep_bans)

    # -- stopping

    def drain(self, seconds: float) -> Deferred[None]:
        """Finish what is in flight, for so long at most, then cut; fires when no connection is left."""
        self.stopping = True
        self.rest()
        done: Deferred[None] = Deferred()
        if not self.connections:
            done.callback(None)
            return done
        self._idle = done
        timer = self.reactor.callLater(seconds, self.abort)

        def finished(result: None) -> None:
            if timer.active():
                timer.cancel()

        done.addCallback(finished)
        for connection in list(self.connections):
            connection.stop()
        return done

    def rest(self) -> None:
        """Let go of timers of its own."""
        if self._ban_timer is not None:
            self._ban_timer.cancel()
            self._ban_timer = None
        self.turns.rest()
        self._refusals.rest()
        load = getattr(self.table, "load", None)  # of a Site's table there is none
        if load is not None:
            load.rest()

    def abort(self) -> None:
        """Cut every client connection."""
        self.stopping = True
        if self.connections:
            _log.warn("{n} connection(s) cut on stopping", n=len(self.connections))
        for connection in list(self.connections):
            connection.stopped()

    # -- the log

    def finished(self, exchange: Exchange) -> None:
        """8: one line for each exchange."""
        if self.log is not None:
            self.log.log(record_of(exchange))
        fault = exchange.fault
        if self.bans is not None:
            response = exchange.response
            status = response.status if response is not None else 0 if fault is None else fault.status
            self.bans.saw(exchange.request.client, "" if fault is None else fault.word, status)
        if fault is not None and (fault.blame != "client" or self.log is None):
            self._report(exchange, fault)

    def _report(self, exchange: Exchange, fault: Fault) -> None:
        """One line for a failure, with what is known of it; under a flood, so many a second and a count."""
        if not self._reports.allow(self.seconds()):
            return
        request = exchange.request
        target, secrets = request.raw_target, _secrets(exchange)
        if secrets:
            target = masked(target, secrets)
        _log.warn(
            "{word}: {method} {host}{target} for {client}, id {id}{backend}{detail}",
            word=fault.word,
            method=printable(request.method),
            host=printable(request.host),
            target=printable(target[:200]),
            client=request.client or "a local client",
            id=printable(exchange.request_id),
            backend=f", backend {exchange.backend_name}" if exchange.backend is not None else "",
            detail=f": {exchange.detail}" if exchange.detail else "",
        )


def _secrets(exchange: Exchange) -> frozenset[bytes]:
    route = exchange.route
    if route is not None:
        return route.secrets
    found: frozenset[bytes] = getattr(exchange.engine.table, "secrets", frozenset())  # of a Site's table there are none
    return found


def record_of(exchange: Exchange) -> Record:
    """What the access log says of an exchange. By position: keywords take 3 us more."""
    request = exchange.request
    # as received, whatever hooks made of them
    headers = request.headers if request.block is None else Headers(request.block.fields)
    response = exchange.response
    fault = exchange.fault
    if response is not None:
        status = response.status
    else:
        status = 0 if fault is None else fault.status
    tls = request.arrival.tls
    target = request.raw_target
    referer = headers.get(b"referer") or b""
    route = exchange.route
    secrets = _secrets(exchange) if route is None else route.secrets
    if secrets:
        target, referer = masked(target, secrets), masked(referer, secrets)
    return Record(
        time.time(),
        request.client,
        request.method,
        request.scheme,
        request.host,
        target,
        request.version,
        status,
        exchange.sent,
        exchange.received,
        exchange.request_id,
        "" if route is None else route.name,
        exchange.upstream_name,
        exchange.backend_name,
        exchange.connect_time,
        exchange.first_byte_time,
        exchange.engine.seconds() - exchange.started,
        "" if fault is None else fault.word,
        max(0, exchange.tries + exchange.repeats - 1),
        referer,
        headers.get(b"user-agent") or b"",
        exchange.detail,
        "" if tls is None else tls.version,
        "" if tls is None or tls.client is None else tls.client.subject,
        b"" if exchange.identity is None else exchange.identity.user,
    )
