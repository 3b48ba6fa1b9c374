"""What every exchange shares: the route table, the limits, the clock and where it is logged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from revproxy.accesslog import AccessLog, Record
from revproxy.config.model import Server
from revproxy.http.h1 import RequestParser

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.routing import RouteTable


class Engine:
    """The live centre of one proxy; a reload swaps ``table``.

    :param table: the compiled routes.
    :param server: limits and timeouts.
    :param reactor: a Twisted reactor, or a :class:`~twisted.internet.task.Clock` in tests.
    :param log: where finished exchanges go, or ``None``.
    """

    def __init__(self, table: RouteTable, server: Server, reactor: Any, log: AccessLog | None = None) -> None:
        self.table = table
        self.server = server
        self.reactor = reactor
        self.seconds = reactor.seconds
        self.log = log
        limits = server.limits
        self.parser = RequestParser(
            max_fields=limits.fields,
            max_target=limits.target,
            underscores=server.underscores,
            merge_slashes=server.merge_slashes,
        )
        self.stopping = False
        self.connections: set[Any] = set()
        self.per_address: dict[str, int] = {}

    def finished(self, exchange: Exchange) -> None:
        """8: one line for each exchange."""
        if self.log is not None:
            self.log.log(record_of(exchange))


def record_of(exchange: Exchange) -> Record:
    """What the access log says of an exchange."""
    request = exchange.request
    headers = request.headers
    response = exchange.response
    fault = exchange.fault
    return Record(
        time=time.time(),
        client=request.client,
        method=request.method,
        scheme=request.arrival.scheme,
        host=request.host,
        target=request.raw_target,
        version=request.version,
        status=response.status if response is not None else (fault.status if fault is not None else 0),
        sent=exchange.sent,
        received=exchange.received,
        request_id=exchange.request_id,
        route="" if exchange.route is None else exchange.route.name,
        upstream=exchange.upstream_name,
        backend=exchange.backend_name,
        connect=exchange.connect_time,
        first_byte=exchange.first_byte_time,
        total=exchange.engine.seconds() - exchange.started,
        fault="" if fault is None else fault.word,
        retries=max(0, exchange.tries - 1),
        referer=headers.get(b"referer", b"") or b"",
        user_agent=headers.get(b"user-agent", b"") or b"",
        detail=exchange.detail,
    )
