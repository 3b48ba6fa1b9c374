"""Clients that mean no good, each with an address of its own, in a process of their own.

Run against any server::

    python -m tests.integration.attackers --ports 8080,8443,8081 --kinds flood:h1:50,slow-head:tls:20 --seconds 10

Rules of this module:

* ports are those of HTTP/1.1, of TLS and of HTTP/2 with prior knowledge; ``h1``, ``tls``, ``h2`` and ``h2c`` say how;
* an attacker goes on until the time is over: whoever is cut comes back, as far as that is part of it;
* nothing here is unbounded: connections of an attacker, bytes of a write, attempts a second;
* one line of ``begun`` when all are on their way, and one of JSON with the account of each kind in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from jh2 import hpack

from tests.integration.h2peer import PREFACE, Code, Setting, data, headers, reset, settings

#: Seconds between two bytes of somebody slow.
DRIP = 0.5
PATHS = ("/.env", "/.git/config", "/wp-login.php", "/phpmyadmin/", "/../../etc/passwd", "/cgi-bin/%2e%2e/sh")


def tls_context(*protocols: str) -> ssl.SSLContext:
    """For a server with a certificate that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


_CONTEXTS = {"tls": tls_context("http/1.1"), "h2": tls_context("h2")}


class Attacker:
    """One of them. :param account: counts what came of it. :param address: where it connects from."""

    def __init__(self, ports: tuple[int, int, int], how: str, address: str, account: Counter[str]) -> None:
        self.how = how
        self.account = account
        self.address = address
        self.port = ports[{"h1": 0, "tls": 1, "h2": 1, "h2c": 2}[how]]
        self.random = random.Random(address)
        self._open: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that takes little. :raises OSError: when there is none."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind((self.address, 0))
        self.account["tried"] += 1
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port)), 10)
            context = _CONTEXTS.get(self.how)
            name = None if context is None else "localhost"
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(sock=sock, ssl=context, server_hostname=name, limit=4096), 10
            )
        except BaseException:
            sock.close()
            raise
        self.account["connected"] += 1
        self._open.append(writer)
        return reader, writer

    def close(self) -> None:
        """Leave every connection at once."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def begin(self, block: list[tuple[str, str]], *, ended: bool = True) -> tuple[Any, asyncio.StreamWriter]:
        """An HTTP/2 connection with its first request; with windows that are small."""
        reader, writer = await self.connect()
        made = bytes(hpack.Encoder().encode(block))
        first = headers(1, made, 0x5 if ended else 0x4)
        writer.write(PREFACE + settings((Setting.INITIAL_WINDOW_SIZE, 1000)) + first)
        return reader, writer

    async def until_closed(self, reader: asyncio.StreamReader, drip: Callable[[], None] | None = None) -> None:
        """Wait for the end of a connection, sending a little again and again."""
        began = time.monotonic()
        while True:
            try:
                while await asyncio.wait_for(reader.read(4096), DRIP):
                    pass
                break
            except TimeoutError:
                if drip is not None:
                    drip()
            except OSError:
                break
        self.account["gone"] += 1
        late = round((time.monotonic() - began) * 1000)
        self.account["longest"] = max(self.account["longest"], late)


def fields(how: str, method: str, path: str) -> list[tuple[str, str]]:
    """The fields of a small request in HTTP/2."""
    scheme = "https" if how == "h2" else "http"
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", "localhost")]


async def idle(one: Attacker) -> None:
    """Connects, and says nothing, or no more than it has to."""
    reader, writer = await one.connect()
    if one.how.startswith("h2"):
        writer.write(PREFACE + settings())
    await one.until_closed(reader)


async def slow_head(one: Attacker) -> None:
    """A head that never ends, a byte at a time."""
    if one.how.startswith("h2"):
        reader, writer = await one.connect()
        block = bytes(hpack.Encoder().encode(fields(one.how, "GET", "/small")))
        frame = headers(1, block, 0x1)  # no END_HEADERS
        writer.write(PREFACE + settings() + frame[:-3])
        rest = list(frame[-3:-1])
        await one.until_closed(reader, lambda: writer.write(bytes([rest.pop(0)])) if rest else None)
    else:
        reader, writer = await one.connect()
        writer.write(b"GET /small HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        await one.until_closed(reader, lambda: writer.write(b"x"))


async def slow_body(one: Attacker) -> None:
    """A body that comes a byte at a time."""
    if one.how.startswith("h2"):
        block = [*fields(one.how, "POST", "/small"), ("content-length", "100000")]
        reader, writer = await one.begin(block, ended=False)
        await one.until_closed(reader, lambda: writer.write(data(1, b"x")))
    else:
        reader, writer = await one.connect()
        writer.write(b"POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx")
        await one.until_closed(reader, lambda: writer.write(b"x"))


async def slow_reader(one: Attacker) -> None:
    """Asks for much, and takes nothing of it."""
    if one.how.startswith("h2"):
        reader, writer = await one.begin(fields(one.how, "GET", "/large"))
        await one.until_closed(reader)
    else:
        _, writer = await one.connect()
        writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        transport: Any = writer.transport
        transport.pause_reading()
        await asyncio.sleep(3600)


async def flood(one: Attacker) -> None:
    """Twenty requests at a time, over and over."""
    reader, writer = await one.connect()
    while True:
        writer.write(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        there = 0
        while there < 20:
            got = await asyncio.wait_for(reader.read(65536), 10)
            if not got:
                raise ConnectionError
            for status in (b"200", b"403", b"429", b"503"):
                seen = got.count(b"HTTP/1.1 " + status)
                one.account[status.decode()] += seen
                there += seen


async def opener(one: Attacker) -> None:
    """Opens one connection after another, and keeps them."""
    for _ in range(50):
        await one.connect()
        await asyncio.sleep(0.02)
    one.close()


async def _ask(one: Attacker, request: bytes) -> None:
    reader, writer = await one.connect()
    writer.write(request)
    head = await asyncio.wait_for(reader.read(4096), 10)
    one.account[head[9:12].decode("latin-1") if head else "nothing"] += 1
    one.close()


async def scanner(one: Attacker) -> None:
    """Looks for what should not be there."""
    path = one.random.choice(PATHS)
    await _ask(one, b"GET %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sqlmap/1.7\r\n\r\n" % path.encode())
    await asyncio.sleep(0.05)


async def large_head(one: Attacker) -> None:
    """A head that is too large."""
    await _ask(one, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: %b\r\n\r\n" % (b"x" * 60_000))
    await asyncio.sleep(0.05)


async def heavy(one: Attacker) -> None:
    """A head that takes filters long."""
    cookies = b"Cookie: %b\r\n" % b"; ".join([b"%u0025('<{"] * 80)
    await _ask(one, b"GET /small HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (cookies * 20))
    await asyncio.sleep(0.05)


async def buster(one: Attacker) -> None:
    """Asks for what is in no cache."""
    await _ask(one, b"GET /small?%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % one.random.getrandbits(60))
    await asyncio.sleep(0.02)


async def rapid_reset(one: Attacker) -> None:
    """Takes back each request at once (CVE-2023-44487)."""
    reader, writer = await one.connect()
    block = bytes(hpack.Encoder().encode(fields(one.how, "GET", "/small")))
    block = bytes([0x20]) + block  # no dynamic table: the same block again and again
    writer.write(PREFACE + settings())
    stream = 1
    while not reader.at_eof():
        frames = b"".join(headers(at, block) + reset(at, Code.CANCEL) for at in range(stream, stream + 100, 2))
        stream += 100
        writer.write(frames)
        await asyncio.wait_for(writer.drain(), 10)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(4096), 0.01)
    one.account["gone"] += 1


KINDS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "idle": idle,
    "slow-head": slow_head,
    "slow-body": slow_body,
    "slow-reader": slow_reader,
    "flood": flood,
    "opener": opener,
    "scanner": scanner,
    "large-head": large_head,
    "heavy": heavy,
    "buster": buster,
    "rapid-reset": rapid_reset,
}


async def _go_on(kind: str, one: Attacker, start: float, *, once: bool) -> None:
    await asyncio.sleep(start)
    while True:
        try:
            await KINDS[kind](one)
        except (OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
            one.account["cut"] += 1
        one.close()
        if once:
            return
        # somebody who is not let in tries again, and not without end
        await asyncio.sleep(0.2 + one.random.random() * 0.3)


async def _main(ports: tuple[int, int, int], kinds: list[tuple[str, str, int]], seconds: float, once: bool) -> None:
    accounts: dict[str, Counter[str]] = {}
    tasks = []
    number = 0
    spread = max(1.0, sum(count for _, _, count in kinds) / 400)  # seconds: they come one after another
    for kind, how, count in kinds:
        account = accounts.setdefault(f"{kind}:{how}", Counter())
        for _ in range(count):
            number += 1
            one = Attacker(ports, how, f"127.0.{1 + number // 250}.{1 + number % 250}", account)
            tasks.append(asyncio.ensure_future(_go_on(kind, one, one.random.random() * spread, once=once)))
    await asyncio.sleep(spread + 0.2)
    print("begun", flush=True)
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    print(json.dumps(accounts), flush=True)
    # asyncio.wait_for swallows a cancellation that comes with its result (CPython 3.11): not all of them would end
    os._exit(0)


def main() -> None:
    """Attack, and give an account of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.attackers", description=__doc__)
    parser.add_argument("--ports", required=True)
    parser.add_argument("--kinds", required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--once", action="store_true", help="who was cut does not come back")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    plain, secure, clear = (int(port) for port in options.ports.split(","))
    kinds = [(kind, how, int(count)) for kind, how, count in (word.split(":") for word in options.kinds.split(","))]
    asyncio.run(_main((plain, secure, clear), kinds, options.seconds, options.once))


if __name__ == "__main__":
    main()
