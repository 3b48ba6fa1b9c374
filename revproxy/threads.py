"""Work that would hold the reactor up, done beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")


def in_thread(reactor: Any, work: Callable[..., T], *args: Any) -> Deferred[T]:
    """What ``work`` gives, done in a thread of the reactor's; at once where the reactor has none (a ``Clock``)."""
    if IReactorThreads.providedBy(reactor):
        return deferToThreadPool(reactor, reactor.getThreadPool(), work, *args)
    return maybeDeferred(work, *args)
