"""TLS while something happens: certificates are renewed, handshakes hang, much is sent and nobody reads."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Proxy, Stage, read_exactly, read_head, until
from tests.integration.secure import ROOT, TlsClient, client_context, lines_with, shown, write_certificates
from tests.tls.handshake import TLS12, TLS13, chrome

FIXED = """
[[listen]]
endpoint = "LISTEN"
tls = { certificates = "certs", default = "a.example", handshake_timeout = "2s" }
[[routes]]
respond = { status = 200, body = "fixed" }
"""
#: Seconds until what is new in the folder is served: the interval of the watch, and time to read it.
WATCHED = 8.0


class Load:
    """Clients that go on until they are told to end.

    :ivar errors: what any of them met. :ivar kept: requests on connections that stay. :ivar new: connections.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.errors: list[BaseException] = []
        self.kept = self.new = 0
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(do,)) for do in (self._keep, self._keep, self._come)]
        for thread in self._threads:
            thread.start()

    def _run(self, do: Any) -> None:
        try:
            do(client_context(ROOT))
        except BaseException as e:
            self.errors.append(e)

    def _keep(self, context: ssl.SSLContext) -> None:
        with TlsClient(self.port, context=context) as client:
            while not self._ends.wait(0.005):
                assert client.get()[::2] == (200, b"fixed")
                self.kept += 1

    def _come(self, context: ssl.SSLContext) -> None:
        while not self._ends.wait(0.01):
            with TlsClient(self.port, context=context) as client:
                assert client.get()[::2] == (200, b"fixed")
            self.new += 1

    def end(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(15)


def test_renewal(stage: Stage) -> None:
    certificates = write_certificates(stage.folder)
    proxy = stage.configured(FIXED)
    sessions = {}
    contexts = {version: client_context(ROOT, version=version) for version in (TLS12, TLS13)}
    for version, context in contexts.items():
        with TlsClient(proxy.port, context=context) as client:
            client.get()
            old, sessions[version] = client.certificate, client.socket.session
    load = Load(proxy.port)
    try:
        until(lambda: load.kept > 20 and load.new > 5, "there is load")
        broken = certificates / "b.pem"
        broken.write_bytes(broken.read_bytes()[:300])
        new = ROOT.issues("a.example", "also.example")
        new.write(certificates, "a")
        before = load.kept, load.new

        def served() -> bytes:
            with TlsClient(proxy.port) as client:
                return client.certificate

        until(lambda: served() != old, "the new certificate is served", WATCHED)
        assert served() == shown(new)
        until(lambda: load.kept > before[0] + 20 and load.new > before[1] + 5, "the load goes on")
    finally:
        load.end()
    assert not load.errors
    for version, context in contexts.items():
        with TlsClient(proxy.port, context=context, session=sessions[version]) as client:
            assert client.socket.session_reused, version
            assert client.get()[0] == 200
    with TlsClient(proxy.port, "x.b.example") as client:  # what the broken file held before
        assert client.get()[0] == 200
    assert len(lines_with(proxy.err, ["b.pem", "what it held before stays in service"])) == 1
    assert len(lines_with(proxy.err, ["a.pem", "is replaced"])) == 1


def test_half_open_handshakes(stage: Stage) -> None:
    write_certificates(stage.folder)
    proxy = stage.configured(FIXED)
    context = client_context(ROOT)
    with TlsClient(proxy.port, context=context) as client:
        client.get()
    before, descriptors = proxy.memory(), proxy.descriptors()
    hanging = []
    try:
        hello = chrome()
        started = time.monotonic()
        for index in range(500):
            there = socket.create_connection(("127.0.0.1", proxy.port), 5)
            hanging.append(there)
            if index % 2:
                there.sendall(hello[: 5 + index * 3 % (len(hello) - 6)])
            if index % 25 == 0:
                asked = time.monotonic()
                with TlsClient(proxy.port, context=context) as client:
                    assert client.get()[0] == 200
                assert time.monotonic() - asked < 1.0
        assert time.monotonic() - started < 10
        assert proxy.memory() - before < 20 << 20
        until(lambda: proxy.descriptors() <= descriptors + 4, "they are gone", 2 + 3)
        with TlsClient(proxy.port, context=context) as client:
            assert client.get()[0] == 200
    finally:
        for there in hanging:
            there.close()
    assert len(lines_with(proxy.output, "tls-timeout")) == 1


# -- much is sent

MANY = 100 << 20
LARGE = """
[[listen]]
endpoint = "LISTEN"
tls = "certs"
[upstreams.app]
backends = ["tcp:127.0.0.1:BACKEND"]
[[routes]]
upstream = "app"
"""


def sends_much(connection: socket.socket) -> None:
    """GET gets much; of what is uploaded the size is told, and it is read slowly at first."""
    head, rest = read_head(connection)
    piece = bytes(1 << 16)
    if head.startswith(b"GET"):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MANY)
        for _ in range(MANY // len(piece)):
            connection.sendall(piece)
        return
    time.sleep(1.5)
    body, _ = read_exactly(connection, MANY, rest)
    text = b"%d" % len(body)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))


class Watch:
    """The most memory that a process had since."""

    def __init__(self, proxy: Proxy) -> None:
        self.before = self.most = proxy.memory()
        self._proxy = proxy
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.wait(0.02):
            self.most = max(self.most, self._proxy.memory())

    def growth(self) -> int:
        self._ends.set()
        self._thread.join()
        return self.most - self.before


@pytest.mark.slow
@pytest.mark.parametrize("spoken", ["--http1.1", "--http2"])
@pytest.mark.parametrize("way", ["download", "upload"])
def test_much_with_bounded_memory(stage: Stage, peer: Any, tmp_path: Path, spoken: str, way: str) -> None:
    write_certificates(stage.folder)
    backend = stage.backend(sends_much)
    proxy = stage.configured(LARGE.replace("BACKEND", str(backend.port)))
    line = [peer("curl"), "-sSk", spoken, "-w", "%{http_code} %{size_download}", f"https://127.0.0.1:{proxy.port}/"]
    if way == "upload":
        upload = tmp_path / "upload"
        with open(upload, "wb") as file:
            file.truncate(MANY)
        line += ["-T", str(upload), "-H", "Expect:"]
    else:
        line += ["--limit-rate", "40M", "-o", "/dev/null"]
    watch = Watch(proxy)
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    finally:
        growth = watch.growth()
    assert done.stdout == (f"{MANY}200 {len(str(MANY))}" if way == "upload" else f"200 {MANY}")
    assert growth < 16 << 20, f"{growth >> 20} MB"


@pytest.mark.slow
def test_a_client_that_reads_nothing(stage: Stage) -> None:
    """What the backend sends meanwhile waits at the backend."""
    write_certificates(stage.folder)
    backend = stage.backend(sends_much)
    proxy = stage.configured(LARGE.replace("BACKEND", str(backend.port)))
    with TlsClient(proxy.port) as first:
        first.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert first.read_head()[0] == 200
        watch = Watch(proxy)
        time.sleep(0.5)
        assert watch.growth() < 12 << 20
        read = 0
        while read < 8 << 20:
            read += len(first.socket.recv(1 << 16))
