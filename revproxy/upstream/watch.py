"""What becomes of a backend that fails, and of an upstream whose backends do: live state and its timers.

Rules of this module:

* the decisions are elsewhere and pure: :mod:`~revproxy.upstream.passive`, :mod:`~revproxy.upstream.breaker`,
  :class:`~revproxy.upstream.health.Verdict`. Here they are carried out, and every change of state is one
  log line with its reason;
* an ejected backend that has served its time is tried with one request, of those that may be repeated
  first, so that finding it still ill costs nobody an error; where no such request comes, it returns by itself;
* a backend that comes back starts slowly where the operator asked for that.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from revproxy.stream import DONE
from revproxy.upstream.backend import EJECTED, GONE, SERVING, TRIAL, WELL, Backend
from revproxy.upstream.breaker import CircuitBreaker
from revproxy.upstream.passive import Outlier

if TYPE_CHECKING:
    from revproxy.upstream.group import Upstream

_log = Logger()

#: Steps in which a backend that starts slowly gets its weight.
_STEPS = 20


class Watch:
    """Watches the backends of one upstream.

    :ivar passive: the rules of ejection, ``None`` where nothing is ejected.
    :ivar breaker: the circuit breaker, or ``None``.
    :ivar closed: nothing is planned any more; what is in flight ends without a consequence.
    """

    __slots__ = ("_group", "_statuses", "_timers", "breaker", "closed", "passive")

    def __init__(self, group: Upstream) -> None:
        written = group.written
        self._group = group
        self.passive = written.passive
        self.breaker = None if written.breaker is None else CircuitBreaker(written.breaker)
        self._statuses = frozenset(() if written.passive is None else written.passive.statuses)
        if written.passive is None and written.breaker is not None:
            self._statuses = frozenset((500, 502, 503, 504))
        self._timers: dict[Backend, Any] = {}
        self.closed = False

    # -- what the traffic says

    def answered(self, backend: Backend, status: int) -> None:
        """A response head came from a backend."""
        if status in self._statuses:
            self.failed(backend, f"status {status}", answered=True)
            return
        outlier = backend.outlier
        if outlier is not None and outlier.streak:
            outlier.streak = 0
        backend.suspect = backend.health is TRIAL
        if backend.health is TRIAL:
            self._returned(backend, "a request was answered")
        breaker = self.breaker
        if breaker is not None and breaker.succeeded():
            self._say_breaker("closed")

    def failed(self, backend: Backend, why: str, *, answered: bool = False) -> None:
        """A backend failed a request, by its own doing."""
        group = self._group
        now = group.reactor.seconds()
        breaker = self.breaker
        if breaker is not None and breaker.failed(now, group.requests):
            self._say_breaker("open")
        if self.passive is None or len(group.backends) < 2 or self.closed or backend.duty is GONE:
            return
        if backend.health is TRIAL:
            if backend.trying is not None:
                self._eject(backend, f"it was tried again: {why}", answered)
            return
        if backend.health is EJECTED:
            return
        outlier = backend.outlier
        if outlier is None:
            outlier = backend.outlier = Outlier(self.passive)
        backend.suspect = True
        reason = outlier.failed(now, backend.requests)
        if reason is not None and self._may_eject(backend):
            self._eject(backend, f"{reason}, the last: {why}", answered)

    def _may_eject(self, backend: Backend) -> bool:
        assert self.passive is not None
        serving = [other for other in self._group.backends if other.duty is SERVING]
        peers = [other for other in serving if other.tier == backend.tier]
        out = sum(other.health is not WELL for other in peers)
        most = max(1, int(self.passive.share * len(peers)))
        if not any(other.usable for other in serving if other is not backend):
            return False  # it is the last one
        if any(other.usable for other in serving if other.tier != backend.tier):
            return True  # others take over
        return out < min(most, len(peers) - 1)

    def _eject(self, backend: Backend, why: str, answered: bool) -> None:
        group = self._group
        assert backend.outlier is not None
        seconds = backend.outlier.eject(group.reactor.seconds())
        backend.health = EJECTED
        backend.trying = None
        backend.answered = answered
        self._later(backend, seconds, self._on_trial)
        self.say(backend, f"is ejected for {seconds:g} s", why, bad=True)
        if backend.monitor is not None:
            backend.monitor.recount()
        group.refresh()

    def _on_trial(self, backend: Backend) -> None:
        backend.health = TRIAL
        backend.suspect = True
        self._wait_for_trial(backend)
        self.say(backend, "is on trial", "its ejection is over")
        self._group.refresh()

    def _wait_for_trial(self, backend: Backend) -> None:
        assert self.passive is not None
        backend.trying = None
        self._later(backend, self.passive.eject, self._untold)

    def _untold(self, backend: Backend) -> None:
        """It was not tried, or nothing came of that."""
        assert self.passive is not None
        trial = backend.trying
        if trial is None:
            self._returned(backend, "nobody could try it")
            return
        # it hangs, or its client had enough of waiting: no signs of health
        if trial.backend is not backend or trial.state == DONE:
            backend.trying = None
        self._later(backend, self.passive.eject, self._untold)

    def carry_on(self, backend: Backend) -> None:
        """A backend is watched again: what is left of its ejection goes on."""
        if backend in self._timers:
            return
        if backend.health is EJECTED:
            assert backend.outlier is not None
            self._later(backend, backend.outlier.left(self._group.reactor.seconds()), self._on_trial)
        elif backend.health is TRIAL:
            self._wait_for_trial(backend)

    def _returned(self, backend: Backend, why: str) -> None:
        self.forget(backend)
        backend.health = WELL
        backend.trying = None
        if backend.outlier is not None:
            backend.outlier.returned(self._group.reactor.seconds())
        self.say(backend, "serves again", why)
        self.start_slowly(backend)
        self._group.refresh()

    # -- what the health checks say

    def checked(self, backend: Backend, up: bool, why: str) -> None:
        """The health checks of a backend changed their mind, or confirm it after an ejection."""
        # who was ejected for what it answered may well pass its checks: it serves its time
        if up and backend.health is not WELL and not (backend.checked and backend.answered):
            self._returned(backend, why)
        if up == backend.checked:
            return
        backend.checked = up
        self.say(backend, "is up" if up else "is down", why, bad=not up)
        if up:
            self.start_slowly(backend)
        self._group.refresh()

    # -- the breaker

    def admit(self) -> int:
        """0 when a request may be sent, else the seconds after which to come again."""
        assert self.breaker is not None
        before = self.breaker.state
        left = self.breaker.admit(self._group.reactor.seconds())
        if self.breaker.state != before:
            self._say_breaker("half-open")
        return ceil(left)

    def _say_breaker(self, state: str) -> None:
        assert self.breaker is not None
        say = _log.warn if state == "open" else _log.info
        line = "upstream {name}: the circuit breaker is {state}: {why}"
        say(line, name=self._group.name, state=state, why=self.breaker.why)

    @property
    def breaker_state(self) -> str:
        """``"closed"``, ``"open"``, ``"half-open"``, or ``""`` without a breaker."""
        return "" if self.breaker is None else ("closed", "open", "half-open")[self.breaker.state]

    # -- starting slowly

    def start_slowly(self, backend: Backend) -> None:
        """Give a backend its weight in steps, where the operator asked for that."""
        group = self._group
        if backend.health is not WELL:
            return  # it will, when it returns
        if group.written.slow_start is not None and len(group.backends) > 1 and not self.closed:
            self._ramp(backend, 1)
        else:
            backend.weight = backend.full_weight

    def _ramp(self, backend: Backend, step: int) -> None:
        seconds = self._group.written.slow_start
        if step < _STEPS and seconds is not None:
            backend.weight = backend.full_weight * step / _STEPS
            self._later(backend, seconds / _STEPS, lambda backend: self._ramp(backend, step + 1))
        else:
            backend.weight = backend.full_weight
        self._group.refresh(weights=True)

    # -- timers and lines

    def _later(self, backend: Backend, seconds: float, what: Callable[[Backend], None]) -> None:
        """One timer for each backend: what comes later takes the place of what was planned."""
        self.forget(backend)
        self._timers[backend] = self._group.reactor.callLater(seconds, self._fire, backend, what)

    def _fire(self, backend: Backend, what: Callable[[Backend], None]) -> None:
        del self._timers[backend]
        what(backend)

    def forget(self, backend: Backend) -> None:
        """Cancel what was planned for a backend."""
        timer = self._timers.pop(backend, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Cancel everything."""
        self.closed = True
        for backend in list(self._timers):
            self.forget(backend)
            backend.weight = backend.full_weight

    def open(self) -> None:
        """Go on after :meth:`close`."""
        self.closed = False
        for backend in self._group.backends:
            self.carry_on(backend)

    def say(self, backend: Backend, what: str, why: str, *, bad: bool = False) -> None:
        """The line of a change of state."""
        line = "upstream {name}: {backend} {what}: {why}"
        say = _log.warn if bad else _log.info
        say(line, name=self._group.name, backend=backend.name, what=what, why=why)
