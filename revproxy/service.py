"""The service tree: options, listeners, stopping. What ``twistd revproxy`` and ``revproxy run`` start.

Rules of this module:

* everything is checked before anything is opened; what an operator can get wrong (a key, a port in
  use, a certificate that is not there) is one line and exit status 1 where we own the process, and
  an exception where we are embedded;
* stopping: no new connections, what is in flight finishes within ``drain_timeout``, then the rest
  is cut; a second signal cuts at once.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python import usage

from revproxy import __version__
from revproxy.accesslog import AccessLog, install_reopen_signal
from revproxy.config.compile import compile_config
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_file
from revproxy.config.model import Acme, Config
from revproxy.config.options import from_options
from revproxy.engine import Engine
from revproxy.listener import Listener
from revproxy.tls.challenges import Challenges
from revproxy.tls.wellknown import ChallengeTable

_log = Logger()


class Options(usage.Options):
    """What ``twistd revproxy`` and ``revproxy run`` take."""

    synopsis = "Usage: revproxy run | twistd [OPTIONS] revproxy  [--config FILE | --listen ENDPOINT --to BACKEND ...]"
    longdesc = "Forwards HTTP from clients to backends. Endpoints are Twisted's strings, such as tcp:8080."
    optParameters: ClassVar = [["config", "c", None, "configuration file (TOML)"]]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["to"] = []
        self["route"] = []
        self.written: Config | None = None

    def opt_listen(self, endpoint: str) -> None:
        """where clients connect, such as tcp:8080; may be repeated"""
        self["listen"].append(endpoint)

    def opt_to(self, backend: str) -> None:
        """a backend, such as tcp:127.0.0.1:9000; repeated ones take turns"""
        self["to"].append(backend)

    def opt_route(self, route: str) -> None:
        """a route: 'example.com/api/=tcp:127.0.0.1:9001'; may be repeated"""
        self["route"].append(route)

    opt_l = opt_listen

    def opt_version(self) -> None:
        """the version, and exit"""
        print(f"revproxy {__version__}")
        raise SystemExit(0)

    def parseArgs(self, *files: str) -> None:
        """``revproxy run FILE`` is ``revproxy run --config FILE``."""
        if len(files) > 1 or (files and self["config"] is not None):
            raise usage.UsageError("one configuration file at most")
        if files:
            self["config"] = files[0]

    def postOptions(self) -> None:
        """Load the configuration. :raises SystemExit: with every error, a line each."""
        short = self["listen"] or self["to"] or self["route"]
        try:
            if self["config"] is not None:
                if short:
                    raise SystemExit("revproxy: --config goes without --listen, --to and --route")
                self.written = load_file(self["config"])
            else:
                self.written = from_options(self["listen"], self["to"], self["route"])
        except ConfigError as e:
            raise SystemExit(str(e)) from None


def makeService(options: Options) -> ReverseProxyService:
    """The service for a process of ours. :raises SystemExit: with every error, a line each."""
    assert options.written is not None
    raise_descriptor_limit()
    try:
        service = ReverseProxyService(options.written, owns_process=True)
    except ConfigError as e:
        raise SystemExit(str(e)) from None
    twistd = getattr(options, "parent", None)
    # in the background twistd waits for an exception that it can tell to who started it
    service.in_background = twistd is not None and not twistd.get("nodaemon")
    return service


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the system lets us: each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as e:
            _log.warn("the descriptor limit stays at {soft}: {e}", soft=soft, e=e)


class ReverseProxyService(MultiService):
    """A whole proxy as a service, for a process of its own or under any ``MultiService``.

    :param config: what was written.
    :param reactor: the reactor, the global one by default.
    :param owns_process: whether to handle signals and to exit on errors.
    :ivar engine: the live centre.
    :ivar exit_status: what the process should end with.
    :raises ConfigError: when something the configuration names can't be found.
    """

    def __init__(self, config: Config, reactor: Any = None, *, owns_process: bool = False) -> None:
        super().__init__()
        if reactor is None:
            from twisted.internet import reactor
        self.config = config
        self.reactor: Any = reactor
        self.owns_process = owns_process
        written = config.access_log
        path = written.path if written.path == "-" else os.path.join(config.base, written.path)
        self._log_folder = None if path == "-" else os.path.dirname(os.path.abspath(path))
        self.access_log = AccessLog(path, written.format, self.reactor) if written.enabled else None
        table: Any = compile_config(config, self.reactor)
        challenges = Challenges()
        if any(listen.tls is not None and isinstance(listen.tls.acme, Acme) for listen in config.listen):
            table = ChallengeTable(table, challenges)
        self.engine = Engine(table, config.server, self.reactor, self.access_log)
        self._challenges = challenges
        self._listeners: list[Listener] = []
        self._open: list[Listener] = []
        self.exit_status = 0
        self.in_background = False
        self._listening = False
        self._started = False
        self._undo: list[Callable[[], None]] = []

    # -- starting

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        if self.owns_process:
            self._take_signals()  # before anybody can know that it is there: a SIGHUP would end it
        if self.access_log is not None and self._log_folder is not None and not os.path.isdir(self._log_folder):
            why = f"access_log.path: no folder {self._log_folder!r}"
            self._give_up(why, FileNotFoundError(why))
        self._listen()

    def startService(self) -> None:
        super().startService()
        if self.access_log is not None:
            try:
                self.access_log.start()
            except OSError as e:
                self._give_up(f"access_log.path: can't write {self.config.access_log.path!r}: {e.strerror or e}", e)
        self._listen()
        for upstream in self.engine.table.upstreams.values():
            try:
                upstream.start()
            except ConfigError as e:  # a members file that changed since it was checked
                self._give_up(str(e), e)
        for part in self.engine.table.live:
            part.start()
        if self.owns_process:
            # what is there now stays: the collector need not walk it again and again
            gc.collect()
            gc.freeze()

    def _listen(self) -> None:
        if self._listening:
            return
        self._listening = True
        errors: list[tuple[str, BaseException]] = []
        for written in self.config.listen:
            try:
                listener = Listener(written, self.config.base, self.engine, self._challenges)
                self._listeners.append(listener)
                waiting = listener.listen()
            except Exception as e:
                errors.append((f"listen {written.endpoint!r}: {e}", e))
                continue
            waiting.addCallback(self._listens, listener)
            waiting.addErrback(self._does_not_listen, written.endpoint, errors)
        if errors:
            self._give_up(*errors[0])
        self._started = True

    @property
    def ports(self) -> list[Any]:
        """The listening ports there are."""
        return [listener.port for listener in self._open]

    def _listens(self, address: Any, listener: Listener) -> None:
        self._open.append(listener)
        host, number = getattr(address, "host", None), getattr(address, "port", None)
        _log.info("listening on {where}", where=f"{host}:{number}" if host is not None else str(address))

    def _does_not_listen(self, failure: Any, endpoint: str, errors: list[tuple[str, BaseException]]) -> None:
        error = failure.value
        why = str(error)
        if isinstance(error, CannotListenError):
            inner = error.socketError
            why = f"can't listen on port {error.port}: {getattr(inner, 'strerror', None) or inner}"
        why = f"listen {endpoint!r}: {why}"
        if not self._started:
            errors.append((why, error))
            return
        # an endpoint that needed time: nothing is left to raise to
        _log.critical("{why}", why=why)
        if self.owns_process:
            self.exit_status = 1
            self.reactor.stop()

    def _give_up(self, why: str, error: BaseException) -> None:
        for listener in self._open:
            Deferred.fromCoroutine(listener.stop())
        if self.in_background:
            raise RuntimeError(why) from None
        if self.owns_process:
            raise SystemExit(f"revproxy: {why}")
        raise error

    def _take_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if hasattr(signal, "SIGHUP"):
            before = signal.signal(signal.SIGHUP, lambda number, frame: self.reactor.callFromThread(_say_hup))
            self._undo.append(lambda: _restore(signal.SIGHUP, before))
        if self.access_log is not None:
            self._undo.append(install_reopen_signal(self.access_log))

    # -- stopping

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop accepting, finish what is in flight, cut the rest; fires when all is done."""
        yield super().stopService()
        undo_signals = self._second_signal_cuts() if self.owns_process else None
        listeners, self._listeners, self._open = self._listeners, [], []
        stopping = [Deferred.fromCoroutine(listener.stop()) for listener in listeners]
        self._listening = False
        if self.engine.connections:
            _log.info("stopping: {n} connection(s) open", n=len(self.engine.connections))
        yield self.engine.drain(self.config.server.drain_timeout)
        yield DeferredList(stopping)
        for listener in listeners:
            listener.close()
        for upstream in self.engine.table.upstreams.values():
            upstream.close()
        for part in self.engine.table.live:
            part.close()
        if self.access_log is not None:
            yield self.access_log.stop()
        if undo_signals is not None:
            undo_signals()
        while self._undo:
            self._undo.pop()()

    def _second_signal_cuts(self) -> Callable[[], None] | None:
        if threading.current_thread() is not threading.main_thread():
            return None

        def handle(number: int, frame: Any) -> None:
            self.reactor.callFromThread(self.engine.abort)

        before = [(number, signal.signal(number, handle)) for number in (signal.SIGINT, signal.SIGTERM)]

        def undo() -> None:
            for number, handler in before:
                signal.signal(number, handler)

        return undo


def _restore(number: int, handler: Any) -> None:
    signal.signal(number, handler)


def _say_hup() -> None:
    _log.info("SIGHUP: the configuration can't be reloaded yet; restart to read it anew")
