"""revproxy under attack: three listeners, an origin in a process of its own, and clients that mean well."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.certificates import authority
from tests.integration.harness import Proxy, Running, Stage

LARGE = bytes(4_000_000)
_CONFIG = """
{more}
[access_log]
format = "json"
path = "access.log"

[[listen]]
endpoint = "LISTEN:backlog=1024"

[[listen]]
endpoint = "LISTEN:backlog=1024"
tls = {{ certificates = "certificates" }}

[[listen]]
endpoint = "LISTEN:backlog=1024"
http2 = true

[upstreams.origin]
backends = ["tcp:127.0.0.1:{port}"]

[[routes]]
match = {{ path = ["/small", "/large"] }}
upstream = "origin"
{route}
"""


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """``/large`` is 4 MB, everything else two bytes. Bodies are read first, as far as they come."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if length:
                await reader.readexactly(int(length[1]))
            body = LARGE if b" /large " in head else b"ok"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            for at in range(0, len(body), 65536):
                writer.write(body[at : at + 65536])
                await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _origin() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    print("origin on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Stand:
    """revproxy, and the origin behind it. :ivar ports: of HTTP/1.1, TLS and HTTP/2 with prior knowledge."""

    def __init__(self, stage: Stage, more: str, route: str) -> None:
        self.stage = stage
        origin = stage.run([sys.executable, "-m", "tests.integration.attacked"], "origin")
        port = int(origin.says(r"origin on (\d+)")[1])
        folder = stage.folder / "certificates"
        folder.mkdir()
        authority().issues("localhost").write(folder, "localhost")
        self.proxy: Proxy = stage.configured(_CONFIG.format(port=port, more=more, route=route), listeners=3)
        self.ports = ",".join(map(str, self.proxy.ports))

    def attack(self, kinds: str, seconds: float, *more: str) -> Running:
        """Start attackers, and return when they are on their way."""
        command = [sys.executable, "-m", "tests.integration.attackers", "--ports", self.ports, "--kinds", kinds]
        attack = self.stage.run([*command, "--seconds", str(seconds), *more], "attackers")
        attack.says("begun", 30)
        return attack

    def account(self, attack: Running, seconds: float) -> dict[str, dict[str, int]]:
        """What came of it for them."""
        assert attack.ends(seconds) == 0, attack.err
        found: dict[str, dict[str, int]] = json.loads(attack.out.splitlines()[-1])
        return found

    def lines(self) -> list[dict[str, object]]:
        """The access log."""
        text = (self.stage.folder / "access.log").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@contextmanager
def standing(folder: Path, more: str = "", route: str = "") -> Iterator[Stand]:
    """Start all of it, and end it. ``more`` is for the configuration, ``route`` for its route."""
    stage = Stage(folder)
    try:
        yield Stand(stage, more, route)
    finally:
        stage.close()


class Good(threading.Thread):
    """Clients that ask for something small every so often, each from an address of its own.

    Every second one connects anew for each request.

    :ivar took: seconds of each request. :ivar troubles: what went wrong.
    """

    def __init__(self, port: int, count: int, every: float) -> None:
        super().__init__(daemon=True)
        self.took: list[float] = []
        self.troubles: list[str] = []
        self._port, self._count, self._every = port, count, every
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        threads = [threading.Thread(target=self._ask, args=(at,), daemon=True) for at in range(self._count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=10, source_address=(f"127.1.0.{1 + number}", 0)
        )
        time.sleep(self._every * number / self._count)
        while not self._over.is_set():
            began = time.monotonic()
            try:
                connection.request("GET", "/small")
                response = connection.getresponse()
                if (response.status, response.read()) != (200, b"ok"):
                    self.troubles.append(f"{response.status}")
            except (TimeoutError, OSError, http.client.HTTPException) as error:
                self.troubles.append(repr(error))
                connection.close()
            self.took.append(time.monotonic() - began)
            if number % 2:
                connection.close()
            self._over.wait(self._every)
        connection.close()

    def stop(self) -> None:
        """No more; the results are there."""
        self._over.set()
        self.join(15)

    def at(self, part: float) -> float:
        """Within how many seconds this part of all requests was answered."""
        return sorted(self.took)[min(len(self.took) - 1, int(len(self.took) * part))]


if __name__ == "__main__":
    asyncio.run(_origin())
