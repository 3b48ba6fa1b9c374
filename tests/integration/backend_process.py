"""A backend whose manners change while it runs: a process of its own, which can be stopped and killed.

Rules of this module:

* run as ``python backend_process.py NAME PORT LEDGER [MODE]``; it imports nothing but the standard library, to start
  fast. It says on which ports it listens and can be told another mode;
* a line on the second port names the mode: ``ok``; ``silent`` (reads, never answers); ``errors STATUS`` (to
  everything); ``closes`` (answers, and closes the connection without having announced it); ``slow SECONDS``;
* the ledger is a file with a line for everything that happened, written at once and before the answer goes out: it
  outlives ``SIGKILL``, and several lives of one backend append to it. :func:`read_ledger` reads it;
* a body that is not what :func:`body_of` makes is answered 400: whoever asked is told that it was damaged.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import NamedTuple

#: Words of the ledger that are no methods: it listens, a connection came.
LISTENS, CONNECTED = "listens", "connected"


class Entry(NamedTuple):
    """A line of the ledger: when (seconds of the monotonic clock), a method or another word, the target, the mode."""

    time: float
    what: str
    target: str
    mode: str


def read_ledger(path: str | os.PathLike[str]) -> list[Entry]:
    """Return what a ledger has."""
    with open(path, encoding="ascii") as file:
        rows = [line.split() for line in file]
    return [Entry(float(when), what, target, mode) for when, what, target, mode in rows]


def body_of(target: bytes) -> bytes:
    """Return the body that a POST to ``target`` has."""
    return b"the body of %b, " % target * 10


def answer_to(name: bytes, method: bytes, target: bytes) -> bytes:
    """Return the body of a good response."""
    return b"%b answers %b %b\n" % (name, method, target)


class Manners:
    """What all connections share: the mode, the name, the ledger."""

    def __init__(self, name: str, ledger: str, mode: str) -> None:
        self.name = name.encode()
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.become(mode)

    def become(self, line: str) -> None:
        """Take a mode with its number, if any."""
        mode, _, number = line.partition(" ")
        if mode not in ("ok", "silent", "errors", "closes", "slow"):
            raise ValueError(mode)
        self.mode = mode
        self.status = int(number or 500) if mode == "errors" else 200
        self.delay = float(number or 0.1) if mode == "slow" else 0.0

    def write_down(self, what: str, target: str = "-") -> None:
        """Add a line to the ledger."""
        os.write(self._ledger, f"{time.monotonic():.6f} {what} {target} {self.mode}\n".encode("ascii"))


class Traffic(asyncio.Protocol):
    """A connection of the proxy's."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a stream it is
        self.manners.write_down(CONNECTED)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while not self.transport.is_closing():
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            lower = head.lower()
            at = lower.find(b"\r\ncontent-length:")
            length = int(lower[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            method, target, _ = head.split(b" ", 2)
            self._answer(method, target, rest[:length])

    def _answer(self, method: bytes, target: bytes, body: bytes) -> None:
        manners = self.manners
        manners.write_down(method.decode(), target.decode())
        if manners.mode == "silent":
            return
        intact = body == (body_of(target) if method == b"POST" else b"")
        status = manners.status if intact else 400
        text = answer_to(manners.name, method, target)
        response = b"HTTP/1.1 %d Whatever\r\nX-Answered-By: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            status,
            manners.name,
            len(text),
            text,
        )
        if manners.delay:
            asyncio.get_running_loop().call_later(manners.delay, self.transport.write, response)
            return
        self.transport.write(response)
        if manners.mode == "closes":
            self.transport.close()


class Control(asyncio.Protocol):
    """A connection of the test's: each line is a mode, answered ``ok``."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a stream it is

    def data_received(self, data: bytes) -> None:
        self.manners.become(data.decode().strip())
        self.transport.write(b"ok\n")


async def serve(name: str, port: int, ledger: str, mode: str = "ok") -> None:
    """Serve for ever."""
    manners = Manners(name, ledger, mode)
    loop = asyncio.get_running_loop()
    control = await loop.create_server(lambda: Control(manners), "127.0.0.1", 0)
    told = control.sockets[0]
    await loop.create_server(lambda: Traffic(manners), "127.0.0.1", port, backlog=1024)
    manners.write_down(LISTENS)
    print(f"port {port} control {told.getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
