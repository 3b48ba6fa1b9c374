"""The origin that comes along: three resources, one selector, raw sockets.

Rules of this module:

* run as ``python -m revproxy.bench.origin PORT``;
* it serves ``/small``, ``/big`` and ``/upload`` to well-behaved proxies, and nothing else well.
"""

from __future__ import annotations

import selectors
import socket
import sys

from revproxy.bench.load import ADDRESS, DOWNLOAD, SMALL

ANSWERS = {
    b"/small": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % SMALL + b"x" * SMALL,
    b"/upload": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
}
BIG = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD
ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_BLOCK = memoryview(bytes(1 << 18))
_VIEW = memoryview(bytearray(1 << 18))


class Connection:
    """One connection: ``left`` bytes of a request's body are to come, ``owed`` of a response's to go."""

    __slots__ = ("buffer", "left", "owed", "socket", "target")

    def __init__(self, socket_: socket.socket) -> None:
        self.socket = socket_
        self.buffer = b""
        self.left = 0
        self.owed = 0
        self.target = b""


def read(connection: Connection) -> bool:
    """Take what there is; ``False`` when the peer left."""
    if connection.left:
        got = connection.socket.recv_into(_VIEW[: min(len(_VIEW), connection.left)])
        connection.left -= got
        if got and not connection.left:
            answer(connection)
        return got > 0
    data = connection.socket.recv(1 << 16)
    if not data:
        return False
    data = connection.buffer + data
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        connection.target = head.split(b" ", 2)[1]
        connection.left = 0
        lower = head.lower()
        at = lower.find(b"\r\ncontent-length:")
        if at >= 0:
            connection.left = int(lower[at + 17 :].partition(b"\r\n")[0])
        data = rest[connection.left :]
        connection.left -= min(connection.left, len(rest))
        if not connection.left:
            answer(connection)
    connection.buffer = data
    return True


def answer(connection: Connection) -> None:
    """Send the response, or the beginning of a long one."""
    if connection.target == b"/big":
        connection.socket.send(BIG)
        connection.owed = DOWNLOAD
    else:
        connection.socket.send(ANSWERS.get(connection.target, ABSENT))


def serve(port: int) -> None:
    """Serve for ever."""
    listener = socket.create_server((ADDRESS, port), backlog=1024)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, None)
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    while True:
        for key, events in selector.select():
            connection: Connection | None = key.data
            if connection is None:
                accepted = listener.accept()[0]
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ, Connection(accepted))
                continue
            owed = connection.owed
            try:
                if events & selectors.EVENT_WRITE and owed:
                    connection.owed -= connection.socket.send(_BLOCK[: min(len(_BLOCK), owed)])
                alive = read(connection) if events & selectors.EVENT_READ else True
            except BlockingIOError:
                continue
            except (OSError, ValueError, IndexError):
                alive = False
            if not alive:
                selector.unregister(connection.socket)
                connection.socket.close()
            elif bool(owed) != bool(connection.owed):
                selector.modify(connection.socket, both if connection.owed else selectors.EVENT_READ, connection)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
