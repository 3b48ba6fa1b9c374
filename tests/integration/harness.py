"""What the integration tests share: revproxy, backends and clients as real processes and sockets.

Rules of this module:

* everything listens on 127.0.0.1, on a port that the system chose;
* nothing waits without a limit, and nothing that was started is left behind;
* no process of ours ever writes a traceback: :meth:`Running.finish` looks for one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LISTEN = "tcp:0:interface=127.0.0.1"
#: Seconds after which a test gives up waiting.
PATIENCE = 15.0
TWISTD = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]
RUN = [sys.executable, "-m", "revproxy.cli", "run"]


def twistd(*options: str) -> list[str]:
    """Return a command line for ``twistd OPTIONS -n revproxy``."""
    return [*TWISTD, "--pidfile=", *options, "-n", "revproxy"]


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Return the first true value of ``condition``; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.01)
    return value


class Running:
    """A process with its output in files."""

    def __init__(self, command: Sequence[str], folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.out_path = folder / f"{name}.out"
        self.err_path = folder / f"{name}.err"
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self.out_path.read_text("utf-8", "replace")

    @property
    def err(self) -> str:
        return self.err_path.read_text("utf-8", "replace")

    @property
    def output(self) -> str:
        return self.out + self.err

    def says(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until the output matches; fails when the process ends without having said it."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.output)
            assert match or self.process.poll() is None, f"{self.name} ended: {self.output}"
            return match

        return until(found, f"{self.name} says {pattern!r}", seconds)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ends(self, seconds: float = PATIENCE) -> int:
        """Wait for the end; return the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds:g} s: {self.output}") from None

    def finish(self) -> None:
        """End it, by force if need be; fails when it wrote a traceback."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # a second one cuts
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert "Traceback" not in self.output, self.output
        assert "Unhandled" not in self.output, self.output


class Proxy(Running):
    """revproxy, listening.

    :ivar ports: what it listens on, in the order of its log. :ivar port: the first.
    """

    def __init__(
        self, folder: Path, *arguments: str, command: Sequence[str] = (), name: str = "revproxy", listeners: int = 1
    ) -> None:
        super().__init__([*(command or RUN), *arguments], folder, name)
        try:
            until(lambda: self._listening() >= listeners, f"{name} listens: see its output")
        except BaseException:
            print(self.output)
            self.finish()
            raise
        self.ports = [int(port) for port in re.findall(r"listening on 127\.0\.0\.1:(\d+)", self.output)]
        self.port = self.ports[0]

    def _listening(self) -> int:
        assert self.process.poll() is None, f"{self.name} ended: {self.output}"
        return self.output.count("listening on ")

    def serves(self) -> None:
        """Fail unless it still answers."""
        status = exchange(self.port, b"GET /alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0]
        assert 100 <= status < 600
        assert self.process.poll() is None

    def descriptors(self) -> int:
        """How many files and sockets it has open (Linux)."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def settles(self, descriptors: int) -> None:
        """Wait until it has as few open as before; a few, such as pooled connections, may stay."""
        until(lambda: self.descriptors() <= descriptors + 4, "descriptors are given back", 8)

    def memory(self) -> int:
        """Its resident memory, in bytes (Linux)."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)[1]) * 1024  # type: ignore[index]  # always there


class Stage:
    """All that a test started; :meth:`close` ends it, newest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[Any] = []

    def keep(self, thing: Any) -> Any:
        """Have ``thing.finish()`` called in the end."""
        self._open.append(thing)
        return thing

    def proxy(self, *arguments: str, **options: Any) -> Proxy:
        """Start revproxy with these arguments."""
        return self.keep(Proxy(self.folder, *arguments, **options))

    def proxy_to(self, *ports: int, **options: Any) -> Proxy:
        """Start revproxy in front of backends on these ports."""
        to = [word for port in ports for word in ("--to", f"tcp:127.0.0.1:{port}")]
        return self.proxy("--listen", LISTEN, *to, **options)

    def configured(self, text: str, **options: Any) -> Proxy:
        """Start revproxy with a configuration; ``LISTEN`` in it is the endpoint of a free port."""
        path = self.folder / "revproxy.toml"
        path.write_text(text.replace("LISTEN", LISTEN))
        return self.proxy("--config", str(path), **options)

    def run(self, command: Sequence[str], name: str) -> Running:
        """Start any process."""
        return self.keep(Running(command, self.folder, name))

    def demo(self) -> int:
        """Start one of the bundled demo backends; return its port."""
        started = self.run([sys.executable, "-m", "revproxy.demo", "--ports", "0"], "demo")
        return int(started.says(r"http://127\.0\.0\.1:(\d+)/")[1])

    def backend(self, serve: Callable[[socket.socket], None], **options: Any) -> Backend:
        """Start a backend of one function for each connection."""
        return self.keep(Backend(serve, **options))

    def close(self) -> None:
        problems = []
        for thing in reversed(self._open):
            try:
                thing.finish()
            except Exception as e:
                problems.append(e)
            except AssertionError as e:
                problems.append(e)
        if problems:
            raise problems[0]


class Backend:
    """A backend whose behaviour is a function that gets each connection in a thread of its own.

    :ivar connections: how many came. :ivar port: where it listens.
    """

    def __init__(
        self, serve: Callable[[socket.socket], None], receive_buffer: int | None = None, port: int = 0
    ) -> None:
        self._serve = serve
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.socket()
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(PATIENCE)
            self._open.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except OSError:
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def finish(self) -> None:
        """Close everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def read_head(connection: socket.socket, buffer: bytes = b"") -> tuple[bytes, bytes]:
    """Read a head; return it without the empty line, and what came after. Empty: the peer closed."""
    while b"\r\n\r\n" not in buffer:
        data = connection.recv(65536)
        if not data:
            return b"", buffer
        buffer += data
    head, _, rest = buffer.partition(b"\r\n\r\n")
    return head, rest


def fields_of(head: bytes) -> dict[str, str]:
    """Return the fields of a head, names in lower case."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.decode("latin-1").lower(): value.strip().decode("latin-1") for name, _, value in pairs}


def read_exactly(connection: socket.socket, size: int, buffer: bytes = b"") -> tuple[bytes, bytes]:
    """Read ``size`` bytes; return them and what came after. :raises ConnectionError: when cut short."""
    parts, there = [buffer], len(buffer)
    while there < size:
        data = connection.recv(min(1 << 18, size - there + 65536))
        if not data:
            raise ConnectionError(f"cut after {there} of {size} bytes")
        parts.append(data)
        there += len(data)
    whole = b"".join(parts)
    return whole[:size], whole[size:]


def requests_on(connection: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Yield head and body of each request that comes; for backends."""
    buffer = b""
    while True:
        head, buffer = read_head(connection, buffer)
        if not head:
            return
        fields = fields_of(head)
        body = b""
        if "content-length" in fields:
            body, buffer = read_exactly(connection, int(fields["content-length"]), buffer)
        elif fields.get("transfer-encoding") == "chunked":
            body, buffer = read_chunks(connection, buffer)
        yield head, body


def read_chunks(connection: socket.socket, buffer: bytes) -> tuple[bytes, bytes]:
    """Read a chunked body and its trailers; return the body and what came after."""
    body = []
    while True:
        line, buffer = read_line(connection, buffer)
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        data, buffer = read_exactly(connection, size + 2, buffer)
        assert data.endswith(b"\r\n")
        body.append(data[:-2])
    while line:
        line, buffer = read_line(connection, buffer)
    return b"".join(body), buffer


def read_line(connection: socket.socket, buffer: bytes) -> tuple[bytes, bytes]:
    """Read a line; return it without its end, and what came after. :raises ConnectionError: when cut short."""
    while b"\r\n" not in buffer:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("cut within a line")
        buffer += data
    line, _, rest = buffer.partition(b"\r\n")
    return line, rest


def answers(connection: socket.socket) -> None:
    """A plain backend: answers each request with 200 and its method, keeping the connection."""
    for head, body in requests_on(connection):
        text = head.partition(b" ")[0] + b" %d\n" % len(body)
        sent = b"" if text.startswith(b"HEAD") else text
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + sent)


class Client:
    """A client connection that reads one response after another."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self._buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, target: str = "/", *fields: str) -> tuple[int, dict[str, str], bytes]:
        """Send a GET and read what comes back."""
        self.send("\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *fields, "", ""]).encode())
        return self.read()

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Read a response head. :raises ConnectionError: when none comes."""
        head, self._buffer = read_head(self.socket, self._buffer)
        if not head:
            raise ConnectionError(f"closed; {self._buffer!r}")
        return int(head[9:12]), fields_of(head)

    def read(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Read a whole response: status, fields, body. :raises ConnectionError: when it is cut short."""
        status, fields = self.read_head()
        if head_only or status < 200 or status in (204, 304):
            return status, fields, b""
        if "content-length" in fields:
            body, self._buffer = read_exactly(self.socket, int(fields["content-length"]), self._buffer)
        elif fields.get("transfer-encoding") == "chunked":
            body, self._buffer = read_chunks(self.socket, self._buffer)
        else:
            body, self._buffer = self._buffer + self.rest(), b""
        return status, fields, body

    def rest(self) -> bytes:
        """Read until the connection is closed."""
        parts = []
        while data := self.socket.recv(65536):
            parts.append(data)
        return b"".join(parts)

    def is_closed(self, seconds: float = PATIENCE) -> bool:
        """Wait for the end of the connection; ``False`` when something else comes, or nothing."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)


def exchange(port: int, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes on a new connection and read one response."""
    with Client(port) as client:
        client.send(data)
        return client.read()
