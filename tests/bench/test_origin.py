"""The origin that comes along."""

from __future__ import annotations

import sys

from revproxy.bench.load import DOWNLOAD, SMALL
from tests.integration.harness import Client, Stage, until


def test_it_serves_what_the_workloads_ask_for(stage: Stage) -> None:
    from revproxy.bench.measure import free_port

    port = free_port()
    stage.run([sys.executable, "-m", "revproxy.bench.origin", str(port)], "origin")

    def connect() -> Client | None:
        try:
            return Client(port)
        except OSError:
            return None

    with until(connect, "the origin listens") as client:
        for _ in range(3):
            assert client.get("/small")[::2] == (200, b"x" * SMALL)
        assert client.get("/absent")[0] == 404
        for size in (0, 10, 300_000):
            client.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
            assert client.read()[::2] == (200, b"ok")
        status, _, body = client.get("/big")
        assert (status, len(body)) == (200, DOWNLOAD)
        client.send(b"GET /small HTTP/1.1\r\n\r\n" * 5)
        assert [client.read()[0] for _ in range(5)] == [200] * 5
