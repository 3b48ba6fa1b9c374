"""Who is let in, as client-request hooks: load shedding, caps on requests under way.

Rules of this module:

* these run before all others, in this order: what is refused costs nothing that follows;
* a request is under way until its answer is out, which is later than the end of its exchange: what waits for a
  client is memory, and a client that takes nothing could have any number of answers waiting;
* bans come before: a connection of a banned address is dropped when it is accepted
  (:mod:`revproxy.downstream.factory`), and behind a proxy a request ends before it has a route
  (:mod:`revproxy.exchange`);
* the queue of an upstream matters to who would join it: where there is a cache it is asked behind that, so that what
  is stored goes on being served, also what is stale where that may be sent on an error;
* load is measured while there are requests, and by one timer: where nothing comes there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from twisted.logger import Logger

from revproxy.config.guards import Shed
from revproxy.fault import SHED, TOO_MANY_REQUESTS, TOO_MANY_REQUESTS_FROM_ADDRESS, ProtocolError
from revproxy.limits.caps import ALL, Cap
from revproxy.limits.client import counted
from revproxy.limits.shed import TICK, Controller

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.upstream.group import Upstream

_log = Logger()


Priority = Literal["normal", "critical", "low"]


# -- caps


class Capping:
    """Refuses requests while too many are under way. 15 empty calls, 24 with a cap on each address: 1 us or so.

    :param everything: the cap of the server, or ``None``. :param route: the cap of a route, or ``None``.
    """

    __slots__ = ("_everything", "_name", "_route")

    def __init__(self, everything: Cap | None, route: Cap | None, name: str) -> None:
        self._everything = everything
        self._route = route
        self._name = name

    def __call__(self, exchange: Exchange) -> None:
        everything, route = self._everything, self._route
        address = exchange.request.client
        if ":" in address:
            address = counted(address)
        if everything is not None and (full := everything.take(address)):
            raise _refusal(everything, full, address, "")
        if route is not None and (full := route.take(address)):
            if everything is not None:
                everything.give_back(address)
            raise _refusal(route, full, address, f" on route {self._name}")

        def sent() -> None:
            if everything is not None:
                everything.give_back(address)
            if route is not None:
                route.give_back(address)

        def over(exchange: Exchange) -> None:
            # a client's side that keeps what is not taken knows when it is out; of others that is not known
            when_sent = getattr(exchange.client, "when_sent", None)
            if when_sent is not None:
                when_sent(sent)
            else:
                sent()

        if exchange.on_finished is None:
            exchange.on_finished = over
        else:
            exchange.when_finished(over)


def _refusal(cap: Cap, full: str, address: str, where: str) -> ProtocolError:
    if full == ALL:
        return ProtocolError(TOO_MANY_REQUESTS, f"{cap.under_way} under way{where}")
    return ProtocolError(TOO_MANY_REQUESTS_FROM_ADDRESS, f"{cap.of(address)} under way of {address}{where}")


# -- load


class Load:
    """How much there is to do: the reactor's lag and the queues of upstreams, and the shares that follow.

    :param reactor: has ``callLater`` and ``seconds``.
    :ivar calm: nothing is shed, and it is known already that there are requests: a hook has nothing to do.
    """

    __slots__ = ("_active", "_due", "_lag", "_queues", "_reactor", "_refused", "_seen", "_since", "_timer", "_written",
        "calm")  # fmt: skip

    def __init__(self, written: Shed, reactor: Any) -> None:
        self._written = written
        self._reactor = reactor
        self._lag = Controller()
        self._queues: dict[Upstream, Controller] = {}
        self._timer: Any = None
        self._due = 0.0
        self._refused = 0
        self._since: float | None = None
        self._active = False
        self._seen = False
        self.calm = False

    def hook(self, priority: Priority, upstreams: Sequence[Upstream] = ()) -> Callable[[Exchange], None]:
        """A client-request hook: by the lag, and by the queues of these upstreams."""
        return _Shedding(self, [self._lag, *self._controllers(upstreams)], priority == "low")

    def handler(self, priority: Priority, upstreams: Sequence[Upstream], inner: Any) -> Any:
        """A handler before another one: by the queues only."""
        return _Shed(inner, _Shedding(self, self._controllers(upstreams), priority == "low"))

    def _controllers(self, upstreams: Sequence[Upstream]) -> list[Controller]:
        return [self._queues.setdefault(upstream, Controller()) for upstream in upstreams]

    @property
    def pressure(self) -> float:
        """How late the reactor is, in times of what is allowed."""
        return self._lag.pressure

    def measure(self) -> None:
        """A request came: the first since the last tick, or one of those of which a share is shed."""
        self._seen = True
        self.calm = not self._active
        if self._timer is None:
            self._due = self._reactor.seconds() + TICK
            self._timer = self._reactor.callLater(TICK, self._tick)

    def refused(self) -> None:
        """One of them was refused."""
        self._refused += 1

    def rest(self) -> None:
        """Measure no more until there is a request."""
        self.calm = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        lag = self._lag
        late = now - self._due
        lag.tick(late / self._written.lag, late + TICK)
        active = lag.active
        for upstream, controller in self._queues.items():
            allowed = (self._written.queue or 0.0) * upstream.room.length
            controller.tick(len(upstream.room) / allowed if allowed else 0.0, late + TICK)
            active = active or controller.active
        self._tell(active, now)
        seen, self._seen = self._seen, False
        self._active = active
        self.calm = False
        if seen or active or lag.pressure > 1.0:
            self._due = now + TICK
            self._timer = self._reactor.callLater(TICK, self._tick)

    def _tell(self, active: bool, now: float) -> None:
        if active and self._since is None:
            self._since = now
            self._refused = 0
            late = self._lag.pressure * self._written.lag
            waiting = {upstream.name: len(upstream.room) for upstream, c in self._queues.items() if c.active}
            _log.warn(
                "shedding load: the reactor is {late:.0f} ms late{queues}",
                late=late * 1000,
                queues="".join(f", {count} requests wait for {name}" for name, count in waiting.items()),
            )
        elif not active and self._since is not None:
            _log.info(
                "no load is shed any more: {n} requests were refused in {seconds:.1f} s",
                n=self._refused,
                seconds=now - self._since,
            )
            self._since = None


class _Shedding:
    """Refuses a share of requests."""

    __slots__ = ("_controllers", "_load", "_low")

    def __init__(self, load: Load, controllers: Sequence[Controller], low: bool) -> None:
        self._load = load
        self._controllers = tuple(controllers)
        self._low = low

    def __call__(self, exchange: Exchange) -> None:
        load = self._load
        if load.calm:
            return
        load.measure()
        for controller in self._controllers:
            share = controller.low if self._low else controller.normal
            if share.takes():
                load.refused()
                raise ProtocolError(SHED, f"{share.part:.0%} are refused")


class _Shed:
    """A handler that refuses a share of what would go on to another one."""

    __slots__ = ("_inner", "_refuses")

    def __init__(self, inner: Any, refuses: _Shedding) -> None:
        self._inner = inner
        self._refuses = refuses

    def start(self, exchange: Exchange) -> None:
        """4: the inner handler, unless it is of the share."""
        try:
            self._refuses(exchange)
        except ProtocolError as e:
            exchange.fail(e.fault, e.detail)
            return
        self._inner.start(exchange)
