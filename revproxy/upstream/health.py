"""Active health: whether a backend is up, by checks that go on for as long as it is there.

Rules of this module:

* counting is pure (:class:`Verdict`); the clock and chance are arguments (:class:`Monitor`);
* checks of one backend never overlap, those of many are spread: a process that begins, or a
  backend that comes back, is not asked everything in one turn;
* a check that could not be made (no descriptors left) says nothing of the backend: the state stays;
* the loop outlives whatever a check or the one who is told does: an exception is logged, and one
  in a check counts as a failed check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from attrs import astuple
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from revproxy.config.upstreams import HealthCheck
from revproxy.upstream.check import Check, NoVerdict

FIRST = 1.0  # seconds within which first checks are spread, when the interval is no shorter
JITTER = 0.1  # share of the interval by which a check comes earlier or later
BROKEN = "an error of the proxy's own, see the log"

_log = Logger()


class Verdict:
    """Counts what passed and what failed, and says when the state changes.

    :param rise: passes in a row that make it up.
    :param fall: failures in a row that make it down.
    :param initial: whether it is up before the first result, which decides alone.
    :ivar up: the state. :ivar streak: results in a row that were like the last one.
    """

    __slots__ = ("_again", "_first", "_passing", "fall", "rise", "streak", "up")

    def __init__(self, rise: int, fall: int, initial: bool) -> None:
        self.rise = rise
        self.fall = fall
        self.up = initial
        self.streak = 0
        self._passing = initial
        self._first = True
        self._again = False

    def add(self, passed: bool) -> bool | None:
        """Count a result; the new state when it changed, else ``None``.

        After :meth:`recount`, also ``True`` where it was up already.
        """
        self.streak = self.streak + 1 if passed is self._passing else 1
        self._passing = passed
        first, self._first = self._first, False
        if passed == self.up:
            if not (passed and self._again and self.streak >= self.rise):
                return None
        elif not (first or self.streak >= (self.rise if passed else self.fall)):
            return None
        self.up = passed
        self._again = False
        return passed

    def recount(self) -> None:
        """Passes count from now on only, and ``rise`` of them in a row are told although it is up.

        For who took it out of use on other evidence, and waits for the checks to bring it back.
        """
        self._again = True
        if self._passing:
            self.streak = 0

    def __repr__(self) -> str:
        word = "passed" if self._passing else "failed"
        return f"<Verdict {'up' if self.up else 'down'} | {self.streak} {word}>"


class Monitor:
    """Checks one backend, every ``written.interval`` seconds, give or take a tenth.

    :param chance: spreads the checks.
    :param changed: called with the new state and why (``"3 checks failed, the last: status 503"``), at
        a change only, and after :meth:`recount` once more when enough checks passed.
    :ivar last: why the last check failed or could not be made, ``""`` when it passed.
    """

    __slots__ = (
        "_awaited",
        "_chance",
        "_check",
        "_due",
        "_loop",
        "_reactor",
        "_verdict",
        "_written",
        "changed",
        "last",
    )

    def __init__(
        self, check: Check, written: HealthCheck, reactor: Any, chance: Random, changed: Callable[[bool, str], None]
    ) -> None:
        self.changed = changed
        self.last = ""
        self._check = check
        self._written = written
        self._reactor = reactor
        self._chance = chance
        self._verdict = Verdict(written.rise, written.fall, written.initial == "up")
        self._awaited: Deferred[Any] | None = None
        self._due = 0.0
        self._loop: LoopingCall | None = None

    @property
    def up(self) -> bool:
        """Whether the backend is well, as far as its checks say."""
        return self._verdict.up

    def start(self) -> None:
        """Begin to check: the first time within a second, or the interval if that is shorter.

        Does nothing when it has begun. What was counted before a :meth:`stop` still counts.
        """
        if self._loop is not None:
            return
        self._due = self._reactor.seconds() + self._chance.uniform(0, min(self._written.interval, FIRST))
        loop = self._loop = LoopingCall(self._turn)
        loop.clock = self._reactor
        # each turn waits until it is due: the loop's own interval could not vary
        loop.start(0).addErrback(self._broke)

    def stop(self) -> None:
        """Check no more; a check that runs is cut, and nothing is told any more."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if loop.running:
            loop.stop()
        if self._awaited is not None:
            self._awaited.cancel()
        self._check.stop()

    def recount(self) -> None:
        """As :meth:`Verdict.recount`."""
        self._verdict.recount()

    async def _turn(self) -> None:
        loop = self._loop
        try:
            await self._await(deferLater(self._reactor, max(0.0, self._due - self._reactor.seconds())))
        except CancelledError:
            return
        self._due = self._reactor.seconds() + self._written.interval * self._chance.uniform(1 - JITTER, 1 + JITTER)
        try:
            reason = await self._await(maybeDeferred(self._check.run))
        except Exception:
            if self._loop is loop:
                _log.failure("a health check broke")
            reason = BROKEN
        if self._loop is loop:
            self._count(reason)

    async def _await(self, awaited: Deferred[Any]) -> Any:
        self._awaited = awaited
        try:
            return await awaited
        finally:
            if self._awaited is awaited:
                self._awaited = None

    def _count(self, reason: str | None) -> None:
        verdict = self._verdict
        before, self.last = self.last, reason or ""
        if isinstance(reason, NoVerdict):
            if before != reason:
                _log.warn("a backend's health could not be checked: {reason}", reason=reason)
            return
        up = verdict.add(reason is None)
        if up is None:
            return
        try:
            self.changed(up, summary(verdict.streak, reason))
        except Exception:
            _log.failure("while telling of a backend's health")

    def _broke(self, failure: Failure) -> None:
        _log.failure("health checks of a backend have ended", failure=failure)


def summary(streak: int, reason: str | None) -> str:
    """``streak`` results in a row in words; ``reason`` is the last one's, ``None`` when they passed."""
    checks = "1 check" if streak == 1 else f"{streak} checks"
    if reason is None:
        return f"{checks} passed"
    return f"{checks} failed: {reason}" if streak == 1 else f"{checks} failed, the last: {reason}"


def check_identity(endpoint_text: str, tls: Any, written: HealthCheck) -> tuple[Any, ...]:
    """What has to be equal for a backend to keep its state over a reload; hashable.

    :param endpoint_text: its address, as written. :param tls: how TLS is spoken to it, hashable.
    """
    values = astuple(written, recurse=False)
    settings = [tuple(sorted(value.items())) if isinstance(value, Mapping) else value for value in values]
    return (endpoint_text, tls, *settings)
