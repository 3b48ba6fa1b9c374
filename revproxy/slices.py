"""Long work on the reactor, in slices of its turns.

Rules of this module:

* work is an iterator whose steps are short; what is not done within a slice goes on in later turns of the reactor, in
  turn with other such work (:class:`twisted.internet.task.Cooperator`), so that connections are served between;
* threads are no help: what is pure Python holds the interpreter, and the reactor would wait for it at each system call;
* so many pieces of work wait at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Cooperator

#: Seconds that the reactor is held at once.
SLICE = 0.002
#: Pieces of work that wait.
WAITING = 512


class Slices:
    """Works through iterators.

    :param reactor: whose turns they are; its clock says how long a step took.
    """

    def __init__(self, reactor: Any) -> None:
        self._seconds: Callable[[], float] = reactor.seconds
        self._cooperator = Cooperator(
            terminationPredicateFactory=self._slice, scheduler=lambda call: reactor.callLater(0, call)
        )
        self._rested = 0.0
        self._waiting = 0

    @property
    def full(self) -> bool:
        """Whether no more work is taken."""
        return self._waiting >= WAITING

    def run(self, steps: Iterator[None]) -> Deferred[Any] | None:
        """Work through an iterator: ``None`` when that is done at once, else what fires when it is.

        What it raises is raised, or what the Deferred fails with. Cancelling ends the work.
        """
        began = self._seconds()
        if not self._waiting and not 0.0 < self._rested - began < 1.0:  # clocks may be set back
            end = began + SLICE
            for _ in steps:
                if self._seconds() > end:
                    break
            else:
                # as much time for others: a turn may have many requests
                now = self._seconds()
                self._rested = now + (now - began)
                return None
        return self._later(steps)

    def _later(self, steps: Iterator[None]) -> Deferred[Any]:
        self._waiting += 1
        task = self._cooperator.cooperate(steps)

        def over(result: Any) -> Any:
            self._waiting -= 1
            return result

        done: Deferred[Any] = Deferred(lambda _: task.stop())
        task.whenDone().addBoth(over).chainDeferred(done)
        return done

    def _slice(self) -> Callable[[], bool]:
        end = self._seconds() + SLICE
        return lambda: self._seconds() > end
