"""A configuration that runs in memory, its backends and its clock."""

from __future__ import annotations

from typing import Any, cast

from attrs import define
from twisted.internet.address import IPv4Address
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher

from revproxy.accesslog import Record
from revproxy.config.compile import compile_config
from revproxy.config.endpoints import client_endpoint, split_endpoint
from revproxy.config.load import load_text
from revproxy.config.model import Config
from revproxy.downstream.factory import ClientFactory
from revproxy.downstream.refusal import Dropped
from revproxy.engine import Engine
from revproxy.listener import client_factory
from revproxy.testing.memory import Connector, MemoryReactor, MemoryTransport
from revproxy.testing.peers import Client, Connection, Message, Unexpected


class Backend:
    """A backend: accepts connections unless told otherwise.

    :ivar connections: all that were accepted, oldest first. :ivar attempts: all attempts to connect.
    """

    def __init__(self, scenario: Scenario, address: str) -> None:
        self.address = address
        self.connections: list[Connection] = []
        self.attempts: list[Connector] = []
        self._scenario = scenario
        self._mode = "accept"

    def accept(self) -> None:
        """Accept connections from now on, and those that hang."""
        self._mode = "accept"
        for attempt in self.attempts:
            if attempt.state == "connecting":
                self._scenario.accept(self, attempt)
        self._scenario.reactor.settle()

    def refuse(self) -> None:
        """Refuse connections from now on, and those that hang."""
        self._mode = "refuse"
        for attempt in self.attempts:
            if attempt.state == "connecting":
                attempt.refuse()
        self._scenario.reactor.settle()

    def hang(self) -> None:
        """Leave connections hanging from now on: neither accepted nor refused."""
        self._mode = "hang"

    def connecting(self, attempt: Connector) -> None:
        """Somebody connects."""
        self.attempts.append(attempt)
        if self._mode == "accept":
            self._scenario.accept(self, attempt)
        elif self._mode == "refuse":
            attempt.refuse()

    @property
    def connection(self) -> Connection:
        """The connection that came last."""
        if not self.connections:
            raise Unexpected(f"nobody connected to {self.address}\n\n{self._scenario.conversation()}")
        return self.connections[-1]

    def expect_connections(self, count: int) -> None:
        """So many connections came by now."""
        if len(self.connections) != count:
            text = f"expected {count} connections to {self.address}, but {len(self.connections)} came"
            raise Unexpected(f"{text}\n\n{self._scenario.conversation()}")

    def expect_head(self, *args: Any, **kwargs: Any) -> Message:
        """As :meth:`Connection.expect_head`, of the last connection."""
        return self.connection.expect_head(*args, **kwargs)

    def expect_request(self, *args: Any, **kwargs: Any) -> Message:
        """As :meth:`Connection.expect_request`, of the last connection."""
        return self.connection.expect_request(*args, **kwargs)

    def send(self, data: bytes) -> None:
        """Send on the last connection."""
        self.connection.send(data)


class Scenario:
    """A configuration that runs in memory.

    :param config: TOML text, or a :class:`~revproxy.config.model.Config`.
    :param base: folder that relative paths in the text start from.
    :param single_bytes: whose bytes reach the proxy one at a time: ``""``, ``"client"``, ``"backend"``.
    :ivar log: a :class:`~revproxy.accesslog.Record` for each finished exchange.
    :ivar errors: what was logged as an error meanwhile; :meth:`finish` wants none.
    :ivar engine: the live proxy. :ivar reactor: its clock.
    :raises ConfigError: when the configuration is wrong.
    """

    def __init__(self, config: str | Config, *, base: str = ".", single_bytes: str = "") -> None:
        written = load_text(config, base=base) if isinstance(config, str) else config
        self.config = written
        self.reactor = MemoryReactor(self._connecting)
        self.log: list[Record] = []
        self.errors: list[str] = []
        self._events: list[tuple[float, str, str, bytes | str]] = []
        self._single = single_bytes
        self._backends: dict[Any, Backend] = {}
        self._clients: list[Client] = []
        self.engine = Engine(compile_config(written, self.reactor), written.server, self.reactor, _Log(self.log))  # type: ignore[arg-type]  # all it needs of a log
        self._factories: dict[str, ClientFactory] = {}
        for listen in written.listen:
            _, args, options = split_endpoint(listen.endpoint)
            port = options.get("port") or (args[0] if args else "0")
            name = listen.name or listen.endpoint
            factory = client_factory(listen, self.engine)
            factory.listening(IPv4Address("TCP", "192.0.2.1", int(port) if port.isdigit() else 0))
            self._factories[name] = factory
        self._finished = False
        globalLogPublisher.addObserver(cast(ILogObserver, self._observe))

    # -- what a test does

    def client(self, peer: str = "203.0.113.7", *, listen: str | None = None) -> Client:
        """A client that connects from this address, to the first listener or a named one."""
        factory = self._factories[next(iter(self._factories)) if listen is None else listen]
        client = Client(f"client {len(self._clients) + 1}", self.note, self.conversation, self._single == "client")
        self._clients.append(client)
        address = IPv4Address("TCP", peer, 40000 + len(self._clients))
        protocol = factory.buildProtocol(address)
        client.transport = MemoryTransport(self.reactor, client, factory.local, address)
        client.transport.connect(Dropped() if protocol is None else protocol)
        self.reactor.settle()
        return client

    def backend(self, address: str) -> Backend:
        """The backend at an address, as the configuration writes it."""
        kind, args, options = split_endpoint(client_endpoint(address))
        if kind == "unix":
            key: Any = options.get("path") or args[0]
        else:
            key = (options.get("host") or args[0], int(options.get("port") or args[-1]))
        if key not in self._backends:
            self._backends[key] = Backend(self, address)
        return self._backends[key]

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.note("", "--", f"{seconds:g} s pass")
        self.reactor.pass_time(seconds)

    def finish(self) -> None:
        """Every client leaves; checks that nothing is left behind and nothing went wrong inside.

        :raises Unexpected: for an error that was logged; a connection, a timer or a request in a backend's
            count that is left.
        """
        if self._finished:
            return
        self.forget()
        for client in self._clients:
            if not client.closed and not client.gone:
                client.reset()
                client.transport.reading = True
                client.transport.deliver()
        self.reactor.settle()
        wrong = list(self.errors)
        if self.engine.connections:
            wrong.append(f"{len(self.engine.connections)} client connections are left")
        for peer in self._backends.values():  # one that reads no more would hold up the close of what is idle
            for connection in peer.connections:
                if not connection.closed and not connection.gone:
                    connection.resume_reading()
        for name, upstream in self.engine.table.upstreams.items():
            for backend in upstream.backends:
                pool = backend.pool
                if pool.open != len(pool.idle):
                    wrong.append(f"{name}: {backend.name}: a connection is left: {pool!r}")
                if backend.active:
                    wrong.append(f"{name}: {backend.name}: {backend.active} requests are counted that are over")
            upstream.close()
        self.engine.rest()
        self.reactor.settle()
        left: Any = self.reactor.getDelayedCalls()
        if left:
            wrong.append(f"timers are left: {left!r}")
        if wrong:
            raise Unexpected("\n".join(wrong) + f"\n\n{self.conversation()}")

    def forget(self) -> None:
        """Let go of the log, without a look at what is left."""
        if not self._finished:
            self._finished = True
            globalLogPublisher.removeObserver(cast(ILogObserver, self._observe))

    def conversation(self) -> str:
        """All that was said, with the time at which it was."""
        lines: list[str] = []
        said: tuple[str, str] | None = None
        data = b""
        for when, who, way, what in [*self._events, (0.0, "", "", "")]:
            if isinstance(what, bytes) and said == (who, way):
                data += what
                lines[-1] = f"{lines[-1].split('|')[0]}| {_short(data)}"
                continue
            data = what if isinstance(what, bytes) else b""
            said = (who, way) if isinstance(what, bytes) else None
            shown = _short(what) if isinstance(what, bytes) else what
            lines.append(f"{when:8.3f}  {who:<28} {way} | {shown}")
        return "the conversation (seconds, who, -> to the proxy or <- from it):\n" + "\n".join(lines[:-1])

    # -- what happens

    def note(self, who: str, way: str, what: bytes | str) -> None:
        """Remember what was said."""
        self._events.append((self.reactor.seconds(), who, way, what))

    def accept(self, backend: Backend, attempt: Connector) -> None:
        """A backend accepts a connection."""
        attempt.state = "connected"
        name = f"{backend.address} #{len(backend.connections) + 1}"
        connection = Connection(name, self.note, self.conversation, self._single == "backend")
        backend.connections.append(connection)
        self.note(name, "<-", "connects")
        connection.transport = MemoryTransport(self.reactor, connection, None, attempt.address)
        connection.transport.connect(attempt.factory.buildProtocol(attempt.address))

    def _connecting(self, attempt: Connector) -> None:
        if attempt.state == "connecting":
            address = attempt.address
            host = getattr(address, "host", None)
            if host is None:
                backend = self.backend(f"unix:{address.name.decode()}")
            else:
                backend = self.backend(f"tcp:{host}:{address.port}")
            backend.connecting(attempt)

    def _observe(self, event: Any) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            failure = event.get("log_failure")
            trace = "" if failure is None else f"\n{failure.getTraceback()}"
            try:
                text = event["log_format"].format(**event)
            except Exception:
                text = str(event.get("log_format"))
            self.errors.append(f"logged: {text}{trace}")


@define
class _Log:
    """Keeps the records of an access log."""

    records: list[Record]

    def log(self, record: Record) -> None:
        self.records.append(record)


def _short(data: bytes) -> str:
    return repr(data) if len(data) <= 2000 else f"{data[:1000]!r} … {len(data)} bytes … {data[-200:]!r}"
