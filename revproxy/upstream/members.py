"""Which backends an upstream has: those that were written, and those that its sources find.

Rules of this module:

* a backend is known by its address as written or found; while that stays, so does all that is known of it;
* one that is not found any more finishes what it has, and is remembered for some time: names flap;
* what was asked for while it runs (a drain) is not taken back by that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from revproxy.config import model
from revproxy.config.endpoints import stream_endpoint
from revproxy.config.upstreams import BackendTls
from revproxy.upstream.backend import DRAINED, GONE, SERVING, Backend, make_backend
from revproxy.upstream.check import Check
from revproxy.upstream.credentials import Credentials
from revproxy.upstream.discovery import Source, sources as find_sources
from revproxy.upstream.health import Monitor

if TYPE_CHECKING:
    from revproxy.upstream.group import Upstream

_log = Logger()

#: Seconds for which a backend that discovery lost is remembered, with all that is known of it.
_REMEMBERED = 600.0
_MOST_REMEMBERED = 1000


class Members:
    """The backends of one upstream, as they come and go.

    :param base: the folder that relative paths start from.
    :param sources: further ones than those that were written.
    :ivar past: requests that those who left were sent.
    """

    __slots__ = ("_base", "_credentials", "_found", "_gone", "_group", "_sources", "past")

    def __init__(self, group: Upstream, base: str, sources: Sequence[Source]) -> None:
        self._group = group
        self._base = base
        self._sources = [*find_sources(group.written, group.reactor, base), *sources]
        self._found: dict[Source, tuple[Mapping[str, str], tuple[model.Backend, ...]]] = {}
        self._gone: dict[str, tuple[Backend, float, str]] = {}
        self._credentials: Credentials | None = None
        self.past = 0

    @property
    def has_sources(self) -> bool:
        """Whether there is more than what was written."""
        return bool(self._sources)

    def start(self) -> None:
        """Begin to look for backends, and to check them."""
        for backend in self._group.backends:
            if backend.monitor is not None:
                backend.monitor.start()
        for source in self._sources:
            source.start(partial(self._discovered, source))

    def stop(self) -> None:
        """Stop both."""
        for source in self._sources:
            source.stop()
        for backend in self._group.backends:
            if backend.monitor is not None:
                backend.monitor.stop()
            backend.pool.close()

    def join(self, first: bool = False) -> None:
        """Bring the backends in line with what was written and what the sources found."""
        group = self._group
        wanted: dict[str, tuple[model.Backend, str | None]] = {}
        for hosts, found in [({}, group.written.backends), *self._found.values()]:
            for written in found:
                wanted.setdefault(written.endpoint, (written, hosts.get(written.endpoint)))
        now = group.reactor.seconds()
        weights = False
        current = {backend.name: backend for backend in group.backends}
        backends = []
        joined = []
        for name, (written, host) in wanted.items():
            backend = current.get(name)
            if backend is not None and backend.found_as == host:
                del current[name]
            else:  # under another name it has another certificate
                try:
                    backend = self._enter(name, written, host, first)
                except ValueError as e:
                    if first:
                        raise
                    _log.error("upstream {name}: {backend} can't be used: {why}", name=group.name, backend=name, why=e)
                    continue
                joined.append(backend)
            weights |= self._adjust(backend, written)
            backends.append(backend)
        for backend in current.values():
            self._leave(backend, now)
        group.backends = tuple(backends)
        for name, (_, since, _) in list(self._gone.items()):
            if now - since > _REMEMBERED or len(self._gone) > _MOST_REMEMBERED:
                del self._gone[name]
        if group.sticky is not None:
            group.sticky.update(backends)
        group.refresh(weights=weights)
        if len(joined) < len(backends):  # else there is nobody who could do more in the meantime
            for backend in joined:
                group.watch.start_slowly(backend)
        for backend in current.values():
            group.drained(backend)

    def _enter(self, name: str, written: model.Backend, host: str | None, first: bool) -> Backend:
        group = self._group
        known = self._gone.pop(name, None)
        if known is not None and known[0].found_as == host:
            backend, _, duty = known
            # that it flaps does not take back what was asked for
            backend.duty = SERVING if duty is SERVING else DRAINED
            backend.pool.closed = duty is not SERVING
            self.past -= backend.requests
            group.watch.carry_on(backend)
        else:
            credentials = self._credentials_for(name)
            backend = make_backend(written, group.name, group.written, credentials, group.host, host, group.reactor)
            self._watch_over(backend)
        if not first:
            group.watch.say(backend, "joins", "it was found")
        if group.started and backend.monitor is not None:
            backend.monitor.start()
        return backend

    def _credentials_for(self, address: str) -> Credentials | None:
        group = self._group
        tls = group.written.tls
        if tls is None and not stream_endpoint(address)[1]:
            return None
        if self._credentials is None:  # 15 ms and 0.8 MB with the system's authorities: once for all backends
            self._credentials = Credentials.of(BackendTls() if tls is None else tls, self._base)
        return self._credentials

    def _watch_over(self, backend: Backend) -> None:
        group = self._group
        health = group.written.health
        if health is None:
            return
        host = backend.names.host or backend.authority
        endpoint: Any = backend.pool.for_nobody()
        check = Check(health, endpoint, group.reactor, host)
        changed = partial(group.watch.checked, backend)
        backend.monitor = Monitor(check, health, group.reactor, group.chance, changed)
        backend.checked = health.initial == "up"

    def _adjust(self, backend: Backend, written: model.Backend) -> bool:
        """Whether that changed a weight."""
        group = self._group
        before = backend.full_weight
        if backend.written != written:
            backend.written = written
            backend.full_weight = written.weight
            backend.weight = written.weight
            backend.tier = written.backup
        config = group.written
        backend.most = config.max_requests if written.max_requests is None else written.max_requests
        most = config.max_connections if written.max_connections is None else written.max_connections
        backend.most_connections = backend.pool.most = most
        if backend.most is not None or most is not None:
            group.capped = True
            backend.pool.freed = group.freed
            if backend not in group.drains:
                backend.freed = group.freed
        return backend.full_weight != before

    def _leave(self, backend: Backend, now: float) -> None:
        group = self._group
        duty, backend.duty = backend.duty, GONE
        backend.weight = backend.full_weight
        self.past += backend.requests
        group.watch.forget(backend)
        _, timer = group.drains.get(backend, (None, None))
        if timer is not None and timer.active():
            timer.cancel()
        group.watch.say(backend, "leaves", "it was not found any more")
        if backend.monitor is not None:
            backend.monitor.stop()
        backend.pool.close()
        self._gone[backend.name] = (backend, now, duty)

    def _discovered(self, source: Source, found: tuple[model.Backend, ...]) -> None:
        group = self._group
        self._found[source] = (getattr(source, "hosts", {}), found)
        group.pending = False
        self.join()
        group.room.pump()
