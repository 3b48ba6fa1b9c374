"""Work beside the reactor."""

from __future__ import annotations

import threading

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from revproxy.threads import in_thread


def test_without_threads_it_is_done_at_once() -> None:
    told: list[int] = []
    in_thread(Clock(), int, "7").addCallback(told.append)
    assert told == [7]


@implementer(IReactorThreads)
class Reactor:
    """Has a pool of one thread, and does what a thread asks for when a test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def getThreadPool(self) -> Reactor:
        return self

    def callInThreadWithCallback(self, told, work, *args):
        def run() -> None:
            told(True, work(*args))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    def callFromThread(self, call, *args):
        self.calls.append((call, *args))


def test_with_threads_it_is_done_in_one_and_told_by_the_reactor() -> None:
    reactor = Reactor()
    done: Deferred[int] = in_thread(reactor, threading.get_ident)
    told: list[int] = []
    done.addCallback(told.append)
    assert told == []
    (call, *args) = reactor.calls.pop()
    call(*args)
    assert told and told[0] != threading.get_ident()
