"""Upstreams as they live: which backends there are, which of them get requests, and what changes that.

Rules of this module:

* who may get requests is decided when something changes, not when a request comes: ``ready`` is the
  answer, a tuple that stays the same object until the next change. What is well pays for one pick;
* the lowest tier that has a usable backend serves. When fewer than ``panic`` of the first tier are
  usable, the next tier helps; when there is none, all of the first tier are used, ill or not: so
  many at once are more likely a failing check, or our own network;
* a backend that is not wanted any more (drained, or gone from what discovery found) finishes what it has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.config import model
from revproxy.keys import key_reader
from revproxy.stream import DONE
from revproxy.upstream.backend import DRAINED, DRAINING, GONE, SERVING, TRIAL, Backend
from revproxy.upstream.balance import balancer
from revproxy.upstream.budget import Budget
from revproxy.upstream.discovery import Source
from revproxy.upstream.members import Members
from revproxy.upstream.retry import SAFE
from revproxy.upstream.sticky import Stickiness
from revproxy.upstream.waiting import WaitingRoom
from revproxy.upstream.watch import Watch

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.upstream.agent import UpstreamAgent

_log = Logger()


class Upstream:
    """A group of backends that serve the same thing.

    :ivar written: what the operator wrote. :ivar backends: those there are, but for the gone ones.
    :ivar host: the Host field that backends get: ``None`` preserves the client's, ``b""`` is the
        backend's own, anything else is fixed.
    :ivar ready: those that take turns now; the same object until something changes.
    :ivar single: the only backend, when there is but one: no balancer is asked.
    :ivar chance: where what has to be spread gets its numbers.
    :ivar special: choosing one takes more than a pick: :meth:`choose` has to be asked.
    :ivar watching: all that comes back has to be told to :meth:`answered`, not only what is bad news (a status
        of 400 or more) or news of a suspect.
    :ivar pending: discovery has not answered yet.
    """

    __slots__ = (
        "_agent", "_panics", "_rest", "_trials", "backends", "balancer", "budget", "capped", "chance", "drains",
        "host", "members", "name", "pending", "reactor", "ready", "room", "single", "special", "started",
        "sticky", "timeouts", "watch", "watching", "written",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        written: model.Upstream,
        reactor: Any,
        *,
        base: str = ".",
        sources: Sequence[Source] = (),
        chance: Random | None = None,
    ) -> None:
        self.name = name
        self.written = written
        self.reactor = reactor
        self.host: bytes | None = {"preserve": None, "backend": b""}.get(written.host, written.host.encode("ascii"))
        self.timeouts = written.timeouts
        self.chance = Random() if chance is None else chance
        key = key_reader(written.hash.by, base) if written.balance == "hash" else None
        self.balancer = balancer(written, key, self.chance)
        self.sticky = None if written.sticky is None else Stickiness(written.sticky, name)
        self.budget = Budget()
        self.room = WaitingRoom(reactor, written.queue, written.queue_time)
        self.watch = Watch(self)
        self.backends: tuple[Backend, ...] = ()
        self.ready: tuple[Backend, ...] = ()
        self.single: Backend | None = None
        self._rest: tuple[Backend, ...] = ()
        self._trials: tuple[Backend, ...] = ()
        self.drains: dict[Backend, tuple[Deferred[None], Any]] = {}
        self.members = Members(self, base, sources)
        self.started = False
        self._agent: UpstreamAgent | None = None
        self.pending = self.members.has_sources and not written.backends
        self.capped = written.max_requests is not None or written.max_connections is not None
        self._panics = False
        self.special = self.watching = True
        self.members.join(first=True)

    # -- which of them get requests

    def refresh(self, *, weights: bool = False) -> None:
        """Something changed: decide anew who gets requests.

        :param weights: so did full weights: what balancers remember of ``ready`` goes by the object.
        """
        written = self.written
        serving = [backend for backend in self.backends if backend.duty is SERVING]
        tiers = sorted({backend.tier for backend in serving})
        usable = {tier: [b for b in serving if b.tier == tier and b.usable] for tier in tiers}
        ready: list[Backend] = []
        panics = False
        if tiers:
            first = [backend for backend in serving if backend.tier == tiers[0]]
            others = next((usable[tier] for tier in tiers[1:] if usable[tier]), [])
            enough = written.panic * len(first)
            ready = list(usable[tiers[0]])
            if len(ready) < enough or not ready:
                if others:
                    ready += others
                elif written.panic:
                    panics = len(first) > 1 and len(ready) < len(first)
                    ready = first
        changed = weights or tuple(ready) != self.ready
        if changed:
            self.ready = tuple(ready)
        if panics != self._panics:
            self._panics = panics
            if panics:
                line = "upstream {name}: too few backends are usable, {n} of {all}: all are used"
                _log.warn(line, name=self.name, n=len(usable[tiers[0]]), all=len(ready))
            else:
                _log.info("upstream {name}: enough backends are usable again", name=self.name)
        order = sorted(serving, key=lambda backend: (not backend.usable, backend.tier))
        self._rest = tuple(order) if written.panic else tuple(backend for backend in order if backend.usable)
        self._trials = tuple(b for b in serving if b.health is TRIAL and b.checked and b not in ready)
        self.single = self.ready[0] if len(serving) == 1 and self.ready else None
        watch = self.watch
        self.watching = watch.breaker is not None or self.balancer.observe is not None
        self.special = bool(
            self.timeouts.total is not None
            or watch.breaker is not None
            or self.sticky is not None
            or self.capped
            or self._trials
            or self.pending
            or (not self.started and (self.members.has_sources or written.health is not None))
        )
        if changed:
            self.freed()

    def choose(self, exchange: Exchange, tried: Collection[Backend] = ()) -> Backend | None:
        """A backend for an exchange, none of ``tried``, with all that may have to be asked: cookies, trials, caps."""
        if not self.started and not self.watch.closed:
            self.start()
        capped = self.capped
        if self.sticky is not None and not tried:
            kept = self.sticky.find(exchange)
            if kept is not None and (kept in self.ready or (kept.duty is DRAINING and kept.checked)):
                return None if capped and kept.full else kept
        if self._trials and exchange.request.method in SAFE:
            for backend in self._trials:
                trying = backend.trying
                if (trying is None or trying.state == DONE) and backend not in tried and not (capped and backend.full):
                    backend.trying = exchange
                    return backend
        excluded = tried
        full = [backend for backend in self.ready if backend.full] if capped else ()
        if full:
            excluded = {*tried, *full}
        found: Backend | None = None
        if len(full) < len(self.ready):
            found = self.balancer.pick(self.ready, exchange, excluded)
        if found is None and tried and all(backend in tried for backend in self.ready):
            return next((b for b in self._rest if b not in tried and not (capped and b.full)), None)
        return found

    def has_others(self, tried: Collection[Backend]) -> bool:
        """Whether there is a backend beside those that were tried."""
        return any(backend not in tried for backend in self._rest)

    def has_room_later(self, tried: Collection[Backend]) -> bool:
        """Whether waiting may give a backend where :meth:`choose` gave none."""
        if self.pending or not self.capped:
            return self.pending
        return any(backend not in tried for backend in (self._rest if tried else self.ready))

    def freed(self, *ended: Any) -> None:
        if len(self.room):
            self.room.pump()

    # -- what comes back

    def answered(self, backend: Backend, status: int, seconds: float, now: float) -> None:
        """A response head: its status, and the time it took (seconds, below 0 where it says nothing)."""
        self.watch.answered(backend, status)
        observe = self.balancer.observe
        if observe is not None and seconds >= 0:
            observe(backend, seconds, now)

    @property
    def requests(self) -> int:
        """Requests that the backends were sent, those that left and retries included."""
        return self.members.past + sum(backend.requests for backend in self.backends)

    @property
    def live(self) -> int:
        """Requests in flight."""
        return sum(backend.active for backend in self.backends)

    # -- what an operator changes while it runs

    def backend(self, name: str) -> Backend:
        """A backend by its address as written. :raises KeyError: when there is none."""
        for backend in self.backends:
            if backend.name == name:
                return backend
        raise KeyError(f"upstream {self.name}: no backend {name!r}")

    def set_weight(self, name: str, weight: int) -> None:
        """Change a backend's share. :raises ValueError: for less than 1: :meth:`drain` it instead."""
        if weight < 1:
            raise ValueError(f"a weight is 1 or more, not {weight}; drain a backend that should get nothing")
        backend = self.backend(name)
        self.watch.say(backend, f"has weight {weight}", f"it was set, and was {backend.full_weight}")
        backend.full_weight = weight
        backend.weight = weight
        self.refresh(weights=True)

    def drain(self, name: str, seconds: float | None = None) -> Deferred[None]:
        """Give a backend no new clients; those that its cookie keeps there may stay for ``seconds``.

        :return: fires when it has no request left, and ``seconds`` are over where there are such clients;
            or when it is resumed.
        """
        backend = self.backend(name)
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"seconds are 0 or more, not {seconds!r}")
        done: Deferred[None] = Deferred()
        before, timer = self.drains.pop(backend, (None, None))
        if timer is not None and timer.active():
            timer.cancel()
        if before is not None:
            done.addCallback(before.callback)
        if backend.duty is SERVING:
            self.watch.say(backend, "is drained", "it was asked for")
        backend.duty = DRAINING if self.sticky is not None and seconds else DRAINED
        backend.pool.closed = False
        timer = None
        if backend.duty is DRAINING:
            timer = self.reactor.callLater(seconds, self._drain_ends, backend)
        self.drains[backend] = (done, timer)
        backend.freed = self.drained
        self.refresh()
        self.drained(backend)
        return done

    def _drain_ends(self, backend: Backend) -> None:
        backend.duty = DRAINED
        self.drained(backend)

    def drained(self, backend: Backend) -> None:
        self.freed()
        if backend.duty in (DRAINED, GONE) and not backend.active and backend in self.drains:
            done, _ = self.drains.pop(backend)
            backend.pool.close()
            self.watch.say(backend, "is empty", "it was drained")
            done.callback(None)

    def resume(self, name: str) -> None:
        """Let a backend that was drained serve again."""
        backend = self.backend(name)
        if backend.duty is SERVING:
            return
        backend.duty = SERVING
        backend.pool.closed = False
        done = self._end_drain(backend)
        self.watch.say(backend, "serves again", "it was asked for")
        self.watch.start_slowly(backend)
        self.refresh()
        if done is not None:
            done.callback(None)

    def _end_drain(self, backend: Backend) -> Deferred[None] | None:
        """Whoever waits for the end of a drain that is no more."""
        done, timer = self.drains.pop(backend, (None, None))
        if timer is not None and timer.active():
            timer.cancel()
        backend.freed = self.freed if self.capped else None
        return done

    # -- life

    def start(self) -> None:
        """Begin to look for backends and to check them; the first request does so where nobody else did."""
        if self.started:
            return
        self.started = True
        self.watch.open()
        self.members.start()
        self.refresh()

    def close(self) -> None:
        """Stop all that goes on by itself and close idle connections; busy ones end with their exchange."""
        self.started = False
        self.members.stop()
        self.watch.close()
        for backend, (_, timer) in list(self.drains.items()):
            if timer is not None and timer.active():
                timer.cancel()
                self._drain_ends(backend)

    @property
    def agent(self) -> UpstreamAgent:
        """This upstream as an ``IAgent``: ``treq.client.HTTPClient(upstream.agent)``."""
        if self._agent is None:
            from revproxy.upstream.agent import UpstreamAgent  # twisted.web: only where it is used

            self._agent = UpstreamAgent(self, self.reactor)
        return self._agent
