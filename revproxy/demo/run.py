"""Starting and stopping the demo: backends in this process, revproxy in a child.

Rules of this module:

* revproxy runs in a process group of its own, so that Ctrl-C reaches this process alone, which
  stops revproxy first (it drains: its backends still answer) and the backends after it;
* the child stops by itself when this process vanishes: its standard input ends then;
* under ``make``, which dies of Ctrl-C whatever its commands make of it, this process takes the
  terminal for a process group of its own while it runs;
* what an operator can get wrong (a port that is taken, no such file) is one line and status 1.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError, ProcessDone, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.python.failure import Failure

from revproxy.demo.backend import make_backend

#: Where ``conf/demo.toml`` looks for the backends, on 127.0.0.1.
BACKEND_PORTS = (9001, 9002, 9003)
HOST = "127.0.0.1"
#: Seconds that revproxy may take until it listens.
START_LIMIT = 15.0

READY = """
revproxy listens. Open

    http://127.0.0.1:{first}/          pages from two backends, with links to the rest
    http://127.0.0.1:{last}/          the JSON API: the request as its backend received it

or try

    curl -i  http://127.0.0.1:{first}/api/hello
    curl -N  'http://127.0.0.1:{first}/events?count=3'
    curl -o /dev/null  'http://127.0.0.1:{first}/download?size=100000000'

Ctrl-C stops it.
"""


def say(text: str) -> None:
    """Print a line, at once."""
    print(text, flush=True)


def name_of(index: int) -> str:
    """Return what the demo calls its backend number ``index``, from 0: ``backend-1`` and on."""
    return f"backend-{index + 1}"


def listen_all(reactor: Any, ports: Sequence[int]) -> list[Any]:
    """Listen with one backend for each port of ``ports``; returns Twisted's listening ports.

    Raises CannotListenError, with nothing left open.
    """
    listening: list[Any] = []
    try:
        for index, port in enumerate(ports):
            listening.append(reactor.listenTCP(port, make_backend(reactor, name_of(index)), interface=HOST))
    except CannotListenError:
        for port_ in listening:
            port_.stopListening()
        raise
    return listening


def proxy_ports(config: str) -> list[int]:
    """Return the TCP ports that the configuration file ``config`` listens on, those it states as ``tcp:PORT``.

    Reads what it can and leaves complaints to revproxy.
    """
    try:
        with open(config, "rb") as file:
            written = tomllib.load(file)
        endpoints = [str(listen["endpoint"]) for listen in written["listen"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    found = (re.match(r"tcp:(?:port=)?(\d{1,5})(?::|$)", endpoint) for endpoint in endpoints)
    return [int(match[1]) for match in found if match]


def busy_port(ports: Sequence[int]) -> str | None:
    """Return what is wrong with the first port of ``ports`` that can't be listened on, or None."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                return taken(port, error)
    return None


def taken(port: int, error: OSError) -> str:
    """Say in one line why ``port`` can't be had."""
    if error.errno == errno.EADDRINUSE:
        return f"revproxy demo: port {port} on {HOST} is in use; stop what listens there and try again"
    return f"revproxy demo: can't listen on port {port} of {HOST}: {error.strerror}"


def serve_backends(ports: Sequence[int]) -> int:
    """Serve the backends until SIGINT or SIGTERM; return the exit status."""
    from twisted.internet import reactor

    try:
        listening = listen_all(reactor, ports)
    except CannotListenError as error:
        say(taken(error.port, error.socketError))
        return 1
    for index, port in enumerate(listening):
        say(f"{name_of(index)}: http://{HOST}:{port.getHost().port}/")
    _run(reactor)
    return 0


def serve_demo(ports: Sequence[int], config: str) -> int:
    """Serve the backends and ``revproxy run --config CONFIG`` until SIGINT or SIGTERM; return the exit status."""
    from twisted.internet import reactor

    if not os.path.isfile(config):
        say(f"revproxy demo: there is no file {config!r} here; give one with --config")
        return 1
    listens = proxy_ports(config)
    problem = busy_port((*ports, *listens)) if listens else f"revproxy demo: {config!r} has no tcp: listener"
    if problem is not None:
        say(problem)
        return 1
    listen_all(reactor, ports)
    for index, port in enumerate(ports):
        say(f"{name_of(index)} listens on {HOST}:{port}")
    say(f"starting: revproxy run --config {config}")
    demo = Demo(reactor, [sys.executable, "-m", "revproxy.demo.child", "run", "--config", config], listens)
    reactor.callWhenRunning(demo.start)
    with terminal_of_our_own():
        _run(reactor, demo.interrupted)
    return demo.status


@contextmanager
def terminal_of_our_own() -> Iterator[None]:
    """Be the terminal's foreground process group, where another one started us there; give it back in the end."""
    before = os.getpgrp()
    if before == os.getpid() or not os.isatty(0) or os.tcgetpgrp(0) != before:
        yield
        return
    os.setpgid(0, 0)
    # Neither changing the terminal from the background nor Ctrl-Z, which nobody would undo, may stop us.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(0, before)


def _run(reactor: Any, interrupted: Callable[[], None] | None = None) -> None:
    """Run the reactor; SIGINT and SIGTERM call ``interrupted``, or stop it."""
    action = interrupted or reactor.stop

    def handle(number: int, frame: object) -> None:
        reactor.callFromThread(action)

    def install() -> None:
        signal.signal(signal.SIGINT, handle)
        signal.signal(signal.SIGTERM, handle)

    # The reactor installs its own on starting, so ours come after.
    reactor.callWhenRunning(install)
    reactor.run()


class Demo(ProcessProtocol):
    """The child that runs revproxy. ``status`` is what to exit with, once the reactor stopped."""

    def __init__(self, reactor: Any, command: Sequence[str], ports: Sequence[int]) -> None:
        self.status = 0
        self._reactor = reactor
        self._command = command
        self._ports = ports
        self._process: Any = None
        self._stopping = 0

    def start(self) -> None:
        """Start the child, and say what to open once it listens."""
        self._process = self._reactor.spawnProcess(
            self, self._command[0], self._command, env=None, childFDs={0: "w", 1: 1, 2: 2}
        )
        self._await_listening(self._reactor.seconds() + START_LIMIT)

    def interrupted(self) -> None:
        """Stop revproxy: the first time it drains, the second time it does not, the third it is killed."""
        self._stopping += 1
        if self._process is None or self._process.pid is None:
            self._reactor.stop()
        elif self._stopping > 2:
            self._process.signalProcess("KILL")
        else:
            say("\nstopping: revproxy finishes what is in flight" if self._stopping == 1 else "\nstopping now")
            self._process.signalProcess("TERM")

    def processEnded(self, reason: Failure) -> None:
        """End with the child: with 0 where it was asked to stop, with its own status where it was not."""
        ended: Any = reason.value
        exit_code = ended.exitCode if reason.check(ProcessDone, ProcessTerminated) else None
        if self._stopping:
            say("stopped")
        else:
            self.status = exit_code or 1
            say(f"revproxy demo: revproxy ended by itself, with status {exit_code}")
        self._process = None
        self._reactor.stop()

    def _await_listening(self, deadline: float) -> None:
        from twisted.internet.endpoints import TCP4ClientEndpoint

        endpoint: Any = TCP4ClientEndpoint(self._reactor, HOST, self._ports[-1], timeout=1)
        attempt: Deferred[Protocol] = endpoint.connect(Factory.forProtocol(Protocol))

        def connected(protocol: Any) -> None:
            protocol.transport.abortConnection()
            say(READY.format(first=self._ports[0], last=self._ports[-1]))

        def refused(failure: Failure) -> None:
            failure.trap(ConnectionRefusedError)
            if self._process is None or self._stopping:
                return
            if self._reactor.seconds() < deadline:
                self._reactor.callLater(0.1, self._await_listening, deadline)
            else:
                say(f"revproxy demo: revproxy still does not listen after {START_LIMIT:g} s")

        attempt.addCallbacks(connected, refused)
