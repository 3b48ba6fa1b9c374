"""revproxy with HTTP/2 listeners, and the origin behind it.

Rules of this module:

* one server stands for all tests of a module: they take connections of their own, and leave nothing behind;
* two listeners speak HTTP/2: one over TLS, chosen by ALPN, and one in the clear, with prior knowledge.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.certificates import authority
from tests.integration.h2peer import Server
from tests.integration.harness import Proxy, Stage, fields_of, read_exactly, read_head, read_line

PAGE = b"""<!doctype html><title>a page</title><p id="how">unknown</p><script>
document.getElementById("how").textContent = "came by " + performance.getEntriesByType("navigation")[0].nextHopProtocol
</script>
"""
SMALL = b"something small, and yet more than five bytes\n"
#: Small enough that a hundred at once don't keep this process from its other work, which would look like a slow server.
LARGE = 3_000_000
_LARGE_BODY = bytes(LARGE)
SLOW = 0.3
_CONFIG = """
{more}
[[listen]]
endpoint = "LISTEN"
tls = {{ certificates = "certificates", http2 = true }}

[[listen]]
endpoint = "LISTEN"
http2 = true

[upstreams.origin]
backends = ["tcp:127.0.0.1:{port}"]

[[routes]]
upstream = "origin"
"""


class Origin:
    """What is behind: ``/large`` is 3 MB, ``/slow`` takes 0.3 s, ``/page`` tells a browser how it came, ``/trailers``
    ends with a trailer, and a POST is answered with a JSON report of what arrived. Everything else is small.

    :ivar asked: how many requests came.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        buffer = b""
        while True:
            head, buffer = read_head(connection, buffer)
            if not head:
                return
            with self._lock:
                self.asked += 1
            fields = fields_of(head)
            if fields.get("expect", "").lower() == "100-continue":
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            size, trailers = 0, {}
            if "content-length" in fields:
                size = int(fields["content-length"])
                _, buffer = read_exactly(connection, size, buffer)
            elif fields.get("transfer-encoding") == "chunked":
                size, trailers, buffer = _chunked(connection, buffer)
            method, target = head.split(b" ", 2)[:2]
            self._answer(connection, method.decode(), target.decode(), size, trailers)

    def _answer(self, connection: socket.socket, method: str, target: str, size: int, trailers: dict[str, str]) -> None:
        body, kind = SMALL, b"text/plain"
        if target == "/slow":
            time.sleep(SLOW)
        elif target == "/large":
            body = _LARGE_BODY
        elif target == "/page":
            body, kind = PAGE, b"text/html"
        elif target == "/trailers":
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum\r\n\r\n"
                b"5\r\nhello\r\n0\r\nx-checksum: right\r\n\r\n"
            )
            return
        if method == "POST":
            body, kind = json.dumps({"size": size, "trailers": trailers}).encode(), b"application/json"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
        connection.sendall(head + (b"" if method == "HEAD" else body))


def _chunked(connection: socket.socket, buffer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Read a chunked body; return its size, its trailers and what came after."""
    size = 0
    while True:
        line, buffer = read_line(connection, buffer)
        length = int(line.partition(b";")[0], 16)
        if length == 0:
            break
        size += length
        _, buffer = read_exactly(connection, length + 2, buffer)
    trailers = {}
    while True:
        line, buffer = read_line(connection, buffer)
        if not line:
            return size, trailers, buffer
        name, _, value = line.decode("latin-1").partition(":")
        trailers[name.lower()] = value.strip()


class Stand:
    """What tests talk to.

    :ivar tls: the listener with TLS. :ivar clear: the one without. :ivar proxy: the process. :ivar origin: behind it.
    """

    def __init__(self, stage: Stage, more: str) -> None:
        self.origin = Origin()
        port = stage.backend(self.origin).port
        folder = stage.folder / "certificates"
        folder.mkdir()
        authority().issues("localhost", "127.0.0.1").write(folder, "localhost")
        self.proxy: Proxy = stage.configured(_CONFIG.format(port=port, more=more), listeners=2)
        self.tls, self.clear = (
            Server("127.0.0.1", port, tls) for port, tls in zip(self.proxy.ports, (True, False), strict=True)
        )


@contextmanager
def standing(folder: Path, more: str = "") -> Iterator[Stand]:
    """Start all of it, and end it: no process may have written a traceback. ``more`` is for the configuration."""
    stage = Stage(folder)
    try:
        yield Stand(stage, more)
    finally:
        stage.close()
