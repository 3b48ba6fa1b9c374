"""Request bodies held before a backend is bothered with them, for backends that can't stand slow clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from revproxy.stream import ASKING

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from revproxy.exchange import Exchange


def buffering(size: int) -> Callable[[Exchange], Deferred[Any] | None]:
    """A client-request hook that waits for the whole body, or its first ``size`` bytes."""

    def hook(exchange: Exchange) -> Deferred[Any] | None:
        if exchange.state != ASKING:
            return None
        return exchange.body_prefix(size).addCallback(lambda prefix: None)

    return hook
