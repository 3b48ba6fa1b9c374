"""The load: one process, one selector, raw sockets; a closed loop over a fixed number of connections.

Rules of this module:

* run as ``python -m revproxy.bench.load WORKLOAD PORT SECONDS`` it prints one line of JSON:
  ``requests``, ``bytes`` (of bodies), ``errors``, ``seconds``;
* what it costs itself limits the rate, so a response that looks like the one before is only
  compared by its length and status; any other is parsed;
* only 127.0.0.1; bounded in time and connections.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

ADDRESS = "127.0.0.1"
#: Connections of each workload.
CONNECTIONS = {"small": 64, "browser": 64, "close": 64, "download": 4, "upload": 4}
#: Bytes of the body of one response or request.
SMALL, DOWNLOAD, UPLOAD = 1024, 16 * 1024 * 1024, 16 * 1024 * 1024
#: Errors after which there is no use in going on.
MOST_ERRORS = 1000

_HOST = b"Host: bench.test\r\n"
#: With Host, the 13 fields that a browser sends.
_BROWSER = (
    b"Connection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/140.0.0.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.9,de;q=0.7\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n"
    b"Referer: https://www.example.com/start\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\n"
    b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nCache-Control: max-age=0\r\n"
)
REQUESTS = {
    "small": b"GET /small HTTP/1.1\r\n" + _HOST + b"\r\n",
    "browser": b"GET /small HTTP/1.1\r\n" + _HOST + _BROWSER + b"\r\n",
    "close": b"GET /small HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n",
    "download": b"GET /big HTTP/1.1\r\n" + _HOST + b"\r\n",
    "upload": b"POST /upload HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % UPLOAD,
}


class Broken(Exception):
    """A response that is none, or not the one asked for."""


class Connection:
    """One connection of the loop.

    :ivar left: bytes of the current response's body that are still to come; -1 within its head.
    :ivar unsent: what is left of the request's body.
    """

    __slots__ = ("buffer", "left", "socket", "unsent")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((ADDRESS, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer = b""
        self.left = -1
        self.unsent = memoryview(b"")


class Load:
    """A closed loop: every connection asks again as soon as it was answered."""

    def __init__(self, workload: str, port: int, seconds: float) -> None:
        self.workload = workload
        self.request = REQUESTS[workload]
        self.keep = workload != "close"
        self.body = {"download": DOWNLOAD, "upload": 2}.get(workload, SMALL)
        self.upload = memoryview(bytes(UPLOAD)) if workload == "upload" else memoryview(b"")
        self.port = port
        self.seconds = min(seconds, 120.0)
        self.selector = selectors.DefaultSelector()
        self.view = memoryview(bytearray(1 << 18))
        self.requests = self.bytes = self.errors = 0
        self.whole = -1  # bytes of the response before, when it came in one piece
        self.error = ""

    def run(self) -> dict[str, float | int | str]:
        """Ask until the time is over; what is in flight then does not count, but for its bytes."""
        start = time.monotonic()
        end = start + self.seconds
        for _ in range(CONNECTIONS[self.workload]):
            self._open()
        now = start
        while now < end and self.errors < MOST_ERRORS and self.selector.get_map():
            for key, events in self.selector.select(0.5):
                connection: Connection = key.data
                try:
                    if events & selectors.EVENT_WRITE and connection.unsent:
                        self._send_body(connection)
                    if events & selectors.EVENT_READ:
                        self._read(connection)
                except (OSError, ValueError, Broken) as e:
                    self._failed(connection, e)
            now = time.monotonic()
        for key in list(self.selector.get_map().values()):
            key.data.socket.close()
        return {
            "requests": self.requests, "bytes": self.bytes, "errors": self.errors, "error": self.error,
            "seconds": now - start,
        }  # fmt: skip

    def _open(self) -> None:
        try:
            connection = Connection(self.port)
            self._ask(connection)
        except OSError as e:
            self.errors += 1
            self.error = repr(e)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.upload else 0)
        self.selector.register(connection.socket, events, connection)

    def _ask(self, connection: Connection) -> None:
        connection.left = -1
        connection.socket.send(self.request)
        connection.unsent = self.upload

    def _send_body(self, connection: Connection) -> None:
        sent = connection.socket.send(connection.unsent[: 1 << 18])
        self.bytes += sent
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            self.selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _read(self, connection: Connection) -> None:
        if connection.left > 0:
            got = connection.socket.recv_into(self.view)
            if not got:
                raise Broken("closed within a body")
            connection.left -= got
            self._got_body(connection, got)
            return
        data = connection.socket.recv(1 << 16)
        if not data:
            raise Broken("closed before the response")
        if len(data) == self.whole and not connection.buffer and data.startswith(b"HTTP/1.1 200"):
            connection.left = 0
            self._got_body(connection, self.body)
            return
        data = connection.buffer + data
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            connection.buffer = data
            return
        connection.buffer = b""
        if not head.startswith(b"HTTP/1.1 200") or length_of(head) != self.body:
            raise Broken(f"not what was asked for: {head[:100]!r}")
        connection.left = self.body - len(rest)
        if not connection.left and self.keep:
            self.whole = len(data)
        self._got_body(connection, len(rest))

    def _got_body(self, connection: Connection, size: int) -> None:
        if not self.upload:
            self.bytes += size
        if connection.left:
            if connection.left < 0:
                raise Broken("more than was declared")
            return
        self.requests += 1
        if not self.keep:
            self.selector.unregister(connection.socket)
            connection.socket.close()
            self._open()
        else:
            self._ask(connection)
            if self.upload:
                self.selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)

    def _failed(self, connection: Connection, error: Exception) -> None:
        self.errors += 1
        self.error = repr(error)
        self.selector.unregister(connection.socket)
        connection.socket.close()
        self._open()


def length_of(head: bytes) -> int:
    """The Content-Length of a response head. :raises Broken: when it has none."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise Broken("no Content-Length")


if __name__ == "__main__":
    print(json.dumps(Load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])).run()), flush=True)
