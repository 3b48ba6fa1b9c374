"""What every source of backends does alike: telling what is new, and asking again in time.

Rules of this module:

* a list is reported when it differs from the last one, whatever the order, and never because of an error: then the
  last good one is kept;
* an error is one line when it begins and one when it ends;
* an answer is asked for anew when its time has passed, but no earlier than ``at_least`` seconds and no later than
  ``at_most``; after an error first after ``at_least``, then each time after twice as long, up to ``at_most``;
* after ``stop`` nothing is left in the reactor, and nothing more is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from revproxy.config.model import Backend

#: How many backends are taken from one answer.
MOST = 256

Changed = Callable[[tuple[Backend, ...]], None]

_log = Logger()


class NoAnswer(Exception):
    """There is no usable answer; the text says why, in a few words for the log."""


_NO_HOSTS: Mapping[str, str] = {}


@frozen
class Answer:
    """What a question gave.

    :param backends: all that there are; of more than :data:`MOST`, the first ones are used.
    :param lasts: seconds for which the answer may be used.
    :param hosts: who is at an address, by endpoint string; the source shows the same as its ``hosts``.
    """

    backends: tuple[Backend, ...]
    lasts: float
    hosts: Mapping[str, str] = _NO_HOSTS


class Report:
    """Tells the upstream what is new, and the log what goes wrong.

    :param name: what log lines begin with, such as ``"dns api.internal"``.
    :param changed: called with the whole list each time it differs from the last one.
    :ivar backends: the last list.
    """

    __slots__ = ("_changed", "_cut", "_failing", "_told", "backends", "name")

    def __init__(self, name: str, changed: Changed) -> None:
        self.name = name
        self.backends: tuple[Backend, ...] = ()
        self._changed = changed
        self._told: frozenset[tuple[Backend, str | None]] | None = None
        self._failing = False
        self._cut = False

    def found(self, backends: Iterable[Backend], hosts: Mapping[str, str] = _NO_HOSTS) -> None:
        """This is the whole list now, and the names under which its addresses were found."""
        if self._failing:
            self._failing = False
            _log.info("{name} answers again", name=self.name)
        listed = tuple(backends)
        if len(listed) > MOST and not self._cut:
            _log.warn("{name}: {n} backends; the first {most} are used", name=self.name, n=len(listed), most=MOST)
        self._cut = len(listed) > MOST
        listed = listed[:MOST]
        same = frozenset((backend, hosts.get(backend.endpoint)) for backend in listed)
        if same == self._told:
            return
        self._told = same
        self.backends = listed
        try:
            self._changed(listed)
        except Exception:
            _log.failure("{name}: the list could not be applied", name=self.name)

    def failed(self, why: str, *, again: bool = False) -> None:
        """There is no list to be had; the last one stays.

        :param again: the reason is another one than before, and worth a line.
        """
        if self._failing and not again:
            return
        self._failing = True
        kept = len(self.backends)
        rest = f"the last answer is kept ({kept} backend{'' if kept == 1 else 's'})" if kept else "there is none yet"
        _log.warn("{name}: {why}; {rest}", name=self.name, why=why, rest=rest)


class Asking:
    """A source that asks, and asks again.

    :param name: what log lines begin with.
    :param ask: gives an :class:`Answer`, or raises :class:`NoAnswer`; it is cancelled by ``stop``.
    :param at_least: seconds between two questions, at least. :param at_most: and at most.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], Coroutine[Deferred[Any], Any, Answer]],
        reactor: Any,
        *,
        at_least: float = 5.0,
        at_most: float = 300.0,
    ) -> None:
        self.name = name
        self._ask = ask
        self._reactor = reactor
        self._at_least = at_least
        self._at_most = max(at_least, at_most)
        self._report: Report | None = None
        self._question: Deferred[Any] | None = None
        self._timer: Any = None
        self._failures = 0

    def start(self, changed: Changed) -> None:
        """Ask now, and go on; ``changed`` gets each list that is new."""
        self.stop()
        self._failures = 0
        self._report = Report(self.name, changed)
        self._next()

    def stop(self) -> None:
        """Ask no more; a question in flight is cancelled."""
        self._report = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        question, self._question = self._question, None
        if question is not None:
            question.cancel()

    def _next(self) -> None:
        self._timer = None
        report = self._report
        assert report is not None
        question = Deferred.fromCoroutine(self._ask())
        self._question = question  # before its callbacks: an answer may be there already
        question.addCallbacks(self._answered, self._failed, (report,), {}, (report,))
        question.addErrback(_unexpected, self.name)

    def _answered(self, answer: Answer, report: Report) -> None:
        if report is not self._report:
            return
        self._failures = 0
        self._again(min(max(answer.lasts, self._at_least), self._at_most))
        report.found(answer.backends, answer.hosts)

    def _failed(self, failure: Failure, report: Report) -> None:
        if report is not self._report:
            return  # stopped: most likely it is that
        if failure.check(NoAnswer):
            why = str(failure.value)
        elif failure.check(CancelledError):
            why = "the question was cancelled"
        else:
            why = f"{failure.type.__name__ if failure.type else 'error'}: {failure.getErrorMessage()}"
        wait = self._at_least * 2 ** min(self._failures, 20)
        self._failures += 1
        self._again(min(wait, self._at_most))
        report.failed(why)

    def _again(self, seconds: float) -> None:
        self._question = None
        self._timer = self._reactor.callLater(seconds, self._next)


def _unexpected(failure: Failure, name: str) -> None:
    _log.failure("{name}: while taking in an answer", failure=failure, name=name)
