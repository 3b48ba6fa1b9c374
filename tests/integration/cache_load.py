"""Clients and an origin that know what every response has to be, in one event loop.

Rules of this module:

* a body says whose it is: its path, language, version and length, and it is as long as it says;
* the origin changes a resource when it is posted to, and remembers when. A response may be as old as its
  lifetime allows, but never older than the last answer to a POST that any client had before it asked.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

LIFETIME = 1.0  # seconds
LATE = 1.5  # seconds by which a busy machine may be late, and whole seconds of Age may differ
LARGEST = 256 * 1024
_FILL = bytes(range(32, 127)) * 4096


def size_of(number: int) -> int:
    """Bytes of the body of a resource: most are small, one in fifty is larger than what is stored."""
    return LARGEST + 40_000 if number % 50 == 3 else 200 + (number * 7919) % 2000 + (number % 20 == 5) * 60_000


def body_of(path: str, language: str, version: int) -> bytes:
    """The only right body."""
    size = size_of(int(path[1:]))
    head = f"{path} {language} {version} {size}\n".encode()
    return head + _FILL[: size - len(head)]


class Origin:
    """What all of its connections share. :ivar asked: requests by method."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.versions: dict[str, list[float]] = {}  # when each was made
        self.delay = 0.0

    def version(self, path: str) -> int:
        return len(self.versions.get(path, ()))

    def ended(self, path: str, version: int) -> float:
        """When a version was no longer the newest."""
        changes = self.versions.get(path, [])
        return changes[version] if version < len(changes) else float("inf")

    def answer(self, method: str, path: str, fields: dict[str, str]) -> bytes:
        self.asked[method] += 1
        number = int(path[1:])
        if method == "POST":
            self.versions.setdefault(path, []).append(time.monotonic())
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (
                len(str(self.version(path))),
                self.version(path),
            )
        version = self.version(path)
        language = fields.get("accept-language", "") if number % 10 == 1 else ""
        control = "private" if number % 10 == 0 else f"max-age={LIFETIME:g}"
        head = f'Cache-Control: {control}\r\nETag: "{version}"\r\n'
        if number % 10 == 1:
            head += "Vary: Accept-Language\r\n"
        if fields.get("if-none-match") == f'"{version}"':
            return f"HTTP/1.1 304 Not Modified\r\n{head}\r\n".encode()
        body = body_of(path, language, version)
        head = f"HTTP/1.1 200 OK\r\n{head}"
        if method == "HEAD":
            return f"{head}Content-Length: {len(body)}\r\n\r\n".encode()
        if number % 10 in (2, 3):
            return f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def fields_of(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class OriginConnection(asyncio.Protocol):
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            first, fields = fields_of(head)
            method, path, _ = first.split(" ")
            response = self.origin.answer(method, path, fields)
            if self.origin.delay:
                asyncio.get_running_loop().call_later(self.origin.delay, self.transport.write, response)
            else:
                self.transport.write(response)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Send a request, read its response."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    first, fields = fields_of(head[:-4])
    status = int(first.split(" ")[1])
    if request.startswith(b"HEAD") or status == 304:
        return status, fields, b""
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, fields, body
    return status, fields, await reader.readexactly(int(fields["content-length"]))


class Load:
    """Clients in a closed loop.

    :ivar wrong: what should not have been, in words. :ivar statuses: of all responses. :ivar hits: from the cache.
    """

    def __init__(self, origin: Origin, port: int, keys: int, seed: int) -> None:
        self.origin, self.port, self.keys = origin, port, keys
        self.random = random.Random(seed)
        self.wrong: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.hits = 0
        self.left = 0
        self.posted: dict[str, int] = {}  # the newest version that a client was told of

    async def run(self, requests: int, clients: int, each: Callable[[int], None] = lambda left: None) -> None:
        """Send so many requests. :param each: is called after each with how many are left."""
        self.left = requests
        await asyncio.gather(*[self._client(each) for _ in range(clients)])

    async def _client(self, each: Callable[[int], None]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        while self.left > 0 and len(self.wrong) < 20:
            self.left -= 1
            await self._ask(reader, writer)
            each(self.left)
        writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chance = self.random.random
        number = int(self.keys * chance() ** 3)  # a few are asked for often
        path = f"/{number}"
        kind = chance()
        language = self.random.choice(("de", "en", "fr"))
        method, more = "GET", f"Accept-Language: {language}\r\n"
        size = size_of(number)
        part: tuple[int, int] | None = None
        if kind < 0.02:
            method, more = "POST", "Content-Length: 0\r\n"
        elif kind < 0.05:
            method = "HEAD"
        elif kind < 0.10:
            start = self.random.randrange(size)
            part = (start, self.random.randrange(start, size))
            more += f"Range: bytes={part[0]}-{part[1]}\r\n"
        elif kind < 0.15:
            more += f'If-None-Match: "{self.origin.version(path)}"\r\n'
        elif kind < 0.17:
            more += "Cache-Control: no-cache\r\n"
        newest, began = self.posted.get(path, 0), time.monotonic()
        request = f"{method} {path} HTTP/1.1\r\nHost: cache.example\r\n{more}\r\n".encode()
        status, fields, body = await exchange(reader, writer, request)
        self.statuses[status] += 1
        self.hits += "; hit" in fields.get("cache-status", "")
        if method == "POST":
            self.posted[path] = max(self.posted.get(path, 0), int(body))
            return
        version = int(fields["etag"].strip('"'))
        said = f"{method} {path} {more!r}: {status} version {version} {fields.get('cache-status')}"
        if version < newest:
            self.wrong.append(f"{said}: version {newest} had been answered before")
        if self.origin.ended(path, version) < began - LIFETIME - LATE:
            self.wrong.append(f"{said}: ended {began - self.origin.ended(path, version):.2f} s before")
        whole = body_of(path, language if number % 10 == 1 else "", version)
        if status == 206 and part is not None:
            whole = whole[part[0] : part[1] + 1]
        elif status not in (200, 304):
            self.wrong.append(said)
        if status != 304 and method == "GET" and body != whole:
            self.wrong.append(f"{said}: {body[:60]!r} ({len(body)} bytes) instead of {whole[:60]!r} ({len(whole)})")


async def serve(origin: Origin) -> tuple[asyncio.Server, int]:
    """Have the origin listen; its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: OriginConnection(origin), "127.0.0.1", 0, backlog=1024)
    return server, server.sockets[0].getsockname()[1]
