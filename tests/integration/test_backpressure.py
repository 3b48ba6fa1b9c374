"""Memory is bounded by the number of stalled streams, not by what they carry.

The bound: 256 KB for each stalled stream and a constant. Memory is the resident memory of the
process, sampled while the streams stall; the tests print what they saw.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.integration.harness import Client, Proxy, Stage, fields_of, read_head

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/status")

KB, MB = 1024, 1024 * 1024
STREAM = 256 * KB
#: What a process may grow by whatever the number of streams: what it uses for the first time, malloc's own.
CONSTANT = 6 * MB
#: The slow side's receive buffer: what it does not read has to wait elsewhere.
NARROW = 128 * KB
RATE = 5 * MB
BLOCK = bytes(range(256)) * 256


def sends(size: int, sent: list[int]) -> Callable[[socket.socket], None]:
    """A backend that answers each connection's request with ``size`` bytes; counts what it got rid of."""

    def serve(connection: socket.socket) -> None:
        head, _ = read_head(connection)
        if b"/warm" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        connection.settimeout(300)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            now = connection.send(BLOCK[: min(left, len(BLOCK))])
            left -= now
            sent.append(now)
        read_head(connection)

    return serve


class Taker:
    """A backend that reads uploads: not before ``go`` is set, and at no more than ``rate`` bytes a second."""

    def __init__(self, rate: float = 0.0) -> None:
        self.go = threading.Event()
        self.received = 0
        self._rate = rate
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        head, rest = read_head(connection)
        size = int(fields_of(head).get("content-length", "0"))
        if size > 1000:
            connection.settimeout(300)
            self.go.wait(300)
        got = len(rest)
        began = time.monotonic()
        while got < size:
            data = connection.recv(64 * KB)
            if not data:
                return
            got += len(data)
            if self._rate:
                time.sleep(max(0.0, began + got / self._rate - time.monotonic()))
        with self._lock:
            self.received += got
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        read_head(connection)


class Memory:
    """The most memory that a proxy had since :meth:`start`."""

    def __init__(self, proxy: Proxy) -> None:
        for _ in range(3):
            with Client(proxy.port) as client:
                assert client.get("/warm")[0] == 200
        self._proxy = proxy
        self.before = self.most = proxy.memory()

    def sample(self) -> None:
        self.most = max(self.most, self._proxy.memory())

    def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.sample()
            time.sleep(0.02)

    def check(self, what: str, streams: int) -> None:
        grown, bound = self.most - self.before, streams * STREAM + CONSTANT
        print(
            f"{what}: {self.before / MB:.1f} MB before, {grown / MB:+.2f} MB with {streams} stalled"
            f" ({grown / streams / KB:.0f} KB each); the bound is {bound / MB:.1f} MB"
        )
        assert grown <= bound


def upload(port: int, size: int) -> Client:
    """Begin an upload: the head only."""
    client = Client(port)
    client.socket.settimeout(300)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
    client.send(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    return client


def push(client: Client, size: int) -> None:
    """Send a body, as fast as it is taken; ends early when the connection is cut."""
    try:
        while size:
            size -= client.socket.send(BLOCK[: min(size, len(BLOCK))])
    except OSError:
        pass


def read_slowly(client: Client, size: int, rate: float, memory: Memory) -> None:
    """Read ``size`` bytes of a response at ``rate`` bytes a second, sampling memory."""
    began = time.monotonic()
    got = 0
    while got < size:
        data = client.socket.recv(64 * KB)
        assert data, f"cut after {got} bytes"
        got += len(data)
        memory.sample()
        time.sleep(max(0.0, began + got / rate - time.monotonic()))


def download_slowly(stage: Stage, size: int, part: int) -> None:
    """Read the first ``part`` of ``size`` bytes at 5 MB/s; all of them are read when they are the same."""
    sent: list[int] = []
    proxy = stage.proxy_to(stage.backend(sends(size, sent)).port)
    memory = Memory(proxy)
    with Client(proxy.port, receive_buffer=NARROW) as client:
        client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_head()[1]["content-length"] == str(size)
        read_slowly(client, part - len(client._buffer), RATE, memory)
        if part < size:
            assert sum(sent) < size, "the backend was never held up: this shows nothing"
    memory.check(f"download of {size // MB} MB at 5 MB/s", 1)
    proxy.serves()


def upload_slowly(stage: Stage, size: int, seconds: float | None) -> None:
    """Upload to a backend that reads 5 MB/s; watched for so long, or to the end."""
    taker = Taker(RATE)
    taker.go.set()
    proxy = stage.proxy_to(stage.backend(taker, receive_buffer=NARROW).port)
    memory = Memory(proxy)
    with upload(proxy.port, size) as client:
        pushing = threading.Thread(target=push, args=(client, size), daemon=True)
        pushing.start()
        if seconds is None:
            while pushing.is_alive():
                memory.watch(0.5)
            assert client.read()[0] == 200
            assert taker.received == size
        else:
            memory.watch(seconds)
            assert pushing.is_alive(), "the client was never held up: this shows nothing"
            client.socket.shutdown(socket.SHUT_RDWR)
            pushing.join(10)
    memory.check(f"upload of {size // MB} MB at 5 MB/s", 1)
    proxy.serves()


def test_a_download_by_a_slow_reader(stage: Stage) -> None:
    download_slowly(stage, 100 * MB, 4 * MB)


def test_an_upload_to_a_slow_backend(stage: Stage) -> None:
    upload_slowly(stage, 100 * MB, 0.8)


MANY = pytest.mark.parametrize("many", [50, pytest.param(200, marks=pytest.mark.slow)])
#: More than what the kernel holds of each stream.
LONG = 1024 * MB
GO_ON = 7 * MB


def stalls(counted: list[int], memory: Memory) -> None:
    """Wait until hardly anything moves any more: the kernel goes on in splinters."""
    before, now = 0, 1
    while now - before > now * 0.02:
        before = now
        memory.watch(0.2)
        now = sum(counted)


@pytest.mark.slow
@MANY
def test_many_downloads_that_stall(stage: Stage, many: int) -> None:
    sent: list[int] = []
    proxy = stage.proxy_to(stage.backend(sends(LONG, sent)).port)
    memory = Memory(proxy)
    clients = [Client(proxy.port, receive_buffer=NARROW) for _ in range(many)]
    try:
        for client in clients:
            client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        stalls(sent, memory)
        print(f"the kernel holds {sum(sent) / many / MB:.1f} MB of each")
        for client in clients[:1]:  # a stalled one goes on when it is read
            got = 0
            while got < GO_ON:
                data = client.socket.recv(1 << 18)
                assert data
                got += len(data)
    finally:
        for client in clients:
            client.socket.close()
    memory.check(f"{many} downloads", many)
    proxy.serves()


@MANY
def test_many_uploads_that_stall(stage: Stage, many: int) -> None:
    taker = Taker()
    proxy = stage.proxy_to(stage.backend(taker, receive_buffer=NARROW).port)
    memory = Memory(proxy)
    clients = [upload(proxy.port, GO_ON if number < 1 else LONG) for number in range(many)]
    pushed: list[int] = []

    def push_counting(client: Client, left: int) -> None:
        try:
            while left:
                now = client.socket.send(BLOCK[: min(left, len(BLOCK))])
                left -= now
                pushed.append(now)
        except OSError:
            pass

    threads = [
        threading.Thread(target=push_counting, args=(client, GO_ON if number < 1 else LONG), daemon=True)
        for number, client in enumerate(clients)
    ]
    try:
        for thread in threads:
            thread.start()
        stalls(pushed, memory)
        print(f"the kernel holds {sum(pushed) / many / MB:.1f} MB of each")
        for client in clients[1:]:
            client.socket.shutdown(socket.SHUT_RDWR)
        taker.go.set()
        for client in clients[:1]:  # a stalled one goes on when it is read
            assert client.read()[0] == 200
    finally:
        for client in clients:
            client.socket.close()
        for thread in threads:
            thread.join(10)
    memory.check(f"{many} uploads", many)
    proxy.serves()


def test_a_hundred_pipelined_requests_wait_their_turn(stage: Stage) -> None:
    """What a client sends ahead is not read without end while its first request is answered."""
    gate = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        gate.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    gate.set()
    proxy = stage.proxy_to(stage.backend(serve).port)
    memory = Memory(proxy)
    gate.clear()
    request = b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    with Client(proxy.port) as client:
        client.socket.setblocking(False)
        there = 0
        try:
            for _ in range(10_000):  # 40 MB
                there += client.socket.send(request)
        except BlockingIOError:
            pass
        memory.watch(0.5)
    gate.set()
    memory.check("pipelined requests", 1)


@pytest.mark.slow
def test_a_gigabyte_to_a_slow_reader(stage: Stage) -> None:
    download_slowly(stage, 1024 * MB, 1024 * MB)


@pytest.mark.slow
def test_a_gigabyte_to_a_slow_backend(stage: Stage) -> None:
    upload_slowly(stage, 1024 * MB, None)
