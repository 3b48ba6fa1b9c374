"""Compressed responses, with real decoders, real threads and real time.

How long the reactor is held up is told by the proxy itself, from a hook: the CPU time of the reactor's thread between
two turns, which a busy machine does not change, and the time on the clock, which it does and which is only printed.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.harness import Client, Proxy, Stage, read_chunks, read_head, read_line

KB, MB = 1024, 1024 * 1024
CODINGS = ("gzip", "br", "zstd")
JSON = json.dumps([{"id": each, "name": f"name {each}", "x": each * 7919 % 1000} for each in range(400)]).encode()

CONFIG = """
[[listen]]
endpoint = "LISTEN"
[upstreams.app]
backends = ["tcp:127.0.0.1:{port}"]
[[routes]]
compress = {compress}
middleware = ["watch:watch"]
upstream = "app"
"""

WATCH = """
import json, time
from revproxy.http.message import Answer

worst = {"cpu": 0.0, "wall": 0.0}
started = []

def turn(reactor, cpu, wall):
    now, clock = time.thread_time(), time.monotonic()
    worst["cpu"] = max(worst["cpu"], now - cpu)
    worst["wall"] = max(worst["wall"], clock - wall)
    reactor.callLater(0.001, turn, reactor, now, clock)

def watch(exchange):
    if exchange.request.path == b"/worst":
        said = json.dumps(worst).encode()
        worst.update(cpu=0, wall=0)
        return Answer(200, {}, said)
    if not started:
        started.append(exchange)
        turn(exchange.engine.reactor, time.thread_time(), time.monotonic())
"""


def decoder(coding: str) -> Callable[[bytes], bytes]:
    """What decodes pieces as they come."""
    if coding == "gzip":
        return zlib.decompressobj(31).decompress
    if coding == "br":
        return pytest.importorskip("brotli").Decompressor().process  # type: ignore[no-any-return]
    return pytest.importorskip("backports.zstd").ZstdDecompressor().decompress  # type: ignore[no-any-return]


def compressing(stage: Stage, serve: Callable[[socket.socket], None], compress: str = "true") -> Proxy:
    """A proxy that compresses what a backend says."""
    (stage.folder / "watch.py").write_text(WATCH)
    return stage.configured(CONFIG.format(port=stage.backend(serve).port, compress=compress))


def head(kind: str, *fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {kind}", *fields, "", ""]).encode()


# -- curl


def serves_json(connection: socket.socket) -> None:
    while read_head(connection)[0]:
        connection.sendall(head("application/json", f"Content-Length: {len(JSON)}") + JSON)


@pytest.mark.parametrize("coding", CODINGS)
def test_curl_decodes_it(stage: Stage, peer: Callable[[str], str], coding: str) -> None:
    command = peer("curl")
    features = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    if {"gzip": "libz", "br": "brotli", "zstd": "zstd"}[coding] not in features:
        pytest.skip(f"this curl knows no {coding}")
    decoder(coding)
    proxy = compressing(stage, serves_json)
    url = f"http://127.0.0.1:{proxy.port}/"
    told = ["-w", "%{stderr}%{size_download} %header{content-encoding}"]
    asked = [command, "-sS", "--compressed", "-H", f"Accept-Encoding: {coding}", *told, url, url]
    done = subprocess.run(asked, capture_output=True, timeout=20, check=True)
    assert done.stdout == JSON * 2
    size, found = done.stderr.decode().split()[0:2]
    assert found.startswith(coding)
    assert int(size) < len(JSON) / 2


# -- events


@pytest.mark.parametrize("coding", CODINGS)
def test_events_arrive_at_once(stage: Stage, coding: str) -> None:
    decode = decoder(coding)
    sent: list[float] = []

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(head("text/event-stream", "Transfer-Encoding: chunked"))
        for number in range(20):
            time.sleep(0.05)
            event = b"data: %d\n\n" % number
            sent.append(time.monotonic())
            connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
        connection.sendall(b"0\r\n\r\n")
        read_head(connection)

    proxy = compressing(stage, serve)
    with Client(proxy.port) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n".encode())
        status, fields = client.read_head()
        assert (status, fields["content-encoding"]) == (200, coding)
        took, buffer, found = [], client._buffer, b""
        while True:
            line, buffer = read_line(client.socket, buffer)
            size = int(line, 16)
            if not size:
                break
            while len(buffer) < size + 2:
                buffer += client.socket.recv(65536)
            event = decode(buffer[:size])
            buffer = buffer[size + 2 :]
            found += event
            if event:
                took.append(time.monotonic() - sent[len(took)])
    assert found == b"".join(b"data: %d\n\n" % number for number in range(20))
    assert len(took) == 20
    took.sort()
    print(f"{coding}: an event takes {took[10] * 1000:.2f} ms, at most {took[-1] * 1000:.2f}")
    assert took[10] < 0.02
    assert took[-1] < 0.5


# -- large bodies


def words(size: int) -> bytes:
    chance = random.Random(1)
    known = [bytes(chance.choices(b"abcdefghijklmnop", k=chance.randint(2, 12))) for _ in range(3000)]
    return b" ".join(chance.choices(known, k=size // 6))[:size]


BLOCK = words(MB)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/PID/status")
@pytest.mark.parametrize(
    ("coding", "compress", "framing", "blocks"),
    [
        ("gzip", "true", "length", 50),
        pytest.param("gzip", "true", "chunked", 50, marks=pytest.mark.slow),
        pytest.param("gzip", "{ gzip = 9 }", "length", 10, marks=pytest.mark.slow),
        pytest.param("br", "true", "length", 50, marks=pytest.mark.slow),
        pytest.param("br", "{ br = 11 }", "chunked", 10, marks=pytest.mark.slow),
        pytest.param("zstd", "true", "length", 50, marks=pytest.mark.slow),
    ],
)
def test_a_large_body_holds_nobody_up(stage: Stage, coding: str, compress: str, framing: str, blocks: int) -> None:
    decode = decoder(coding)

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        if framing == "length":
            connection.sendall(head("text/plain", f"Content-Length: {blocks * len(BLOCK)}"))
        else:
            connection.sendall(head("text/plain", "Transfer-Encoding: chunked"))
        for _ in range(blocks):
            connection.sendall(BLOCK if framing == "length" else b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK))
        if framing == "chunked":
            connection.sendall(b"0\r\n\r\n")
        read_head(connection)

    proxy = compressing(stage, serve, compress)
    with Client(proxy.port) as client:
        client.get("/worst")
    before = proxy.memory()
    most = before
    expected, found, got = hashlib.sha256(), hashlib.sha256(), 0
    for _ in range(blocks):
        expected.update(BLOCK)
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.settimeout(60)
        began = time.monotonic()
        connection.sendall(f"GET / HTTP/1.0\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n".encode())
        answer, rest = read_head(connection)
        assert f"Content-Encoding: {coding}".encode() in answer
        rest = rest or connection.recv(256 * KB)
        while rest:
            got += len(rest)
            found.update(decode(rest))
            most = max(most, proxy.memory())
            rest = connection.recv(256 * KB)
        took = time.monotonic() - began
    assert found.digest() == expected.digest()
    with Client(proxy.port) as client:
        worst = json.loads(client.get("/worst")[2])
    print(
        f"{coding} {compress}: {got / MB:.1f} MB in {took:.1f} s, {(most - before) / KB:.0f} KB of memory; "
        f"a turn of the reactor took {worst['cpu'] * 1000:.1f} ms of CPU at most, {worst['wall'] * 1000:.1f} ms in all"
    )
    assert 0 < worst["cpu"] < 0.02
    assert most - before < 8 * MB


def test_a_client_that_leaves_in_the_middle_ends_the_work(stage: Stage) -> None:
    cut = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(head("text/plain"))
        try:
            while True:
                connection.sendall(BLOCK)
        except OSError:
            cut.set()

    proxy = compressing(stage, serve, "{ br = 9 }")
    for _ in range(5):
        cut.clear()
        with Client(proxy.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br\r\n\r\n")
            client.read_head()
        assert cut.wait(15)


def test_chunks_of_a_page_that_is_made_slowly(stage: Stage) -> None:
    """What was sent before a pause can be read in it."""
    go = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(head("text/html", "Transfer-Encoding: chunked"))
        for _ in range(40):
            connection.sendall(b"%x\r\n%b\r\n" % (1000, BLOCK[:1000]))
        assert go.wait(15)
        connection.sendall(b"0\r\n\r\n")

    proxy = compressing(stage, serve)
    decode: Any = decoder("gzip")
    with Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
        client.read_head()
        buffer, found = client._buffer, b""
        while len(found) < 40_000:
            line, buffer = read_line(client.socket, buffer)
            size = int(line, 16)
            while len(buffer) < size + 2:
                buffer += client.socket.recv(65536)
            found += decode(buffer[:size])
            buffer = buffer[size + 2 :]
        go.set()
        rest, _ = read_chunks(client.socket, buffer)
        assert found + decode(rest) == BLOCK[:1000] * 40
