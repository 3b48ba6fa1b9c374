"""Signals: draining, cutting, reopening; nothing of the access log is lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.harness import RUN, Backend, Client, Proxy, Stage, answers, requests_on, twistd, until
from tests.integration.ports import free_port

SIGNALS = [signal.SIGTERM, signal.SIGINT]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Gate:
    """A backend that answers only once the test opens it."""

    def __init__(self, stage: Stage) -> None:
        self.asked = threading.Event()
        self.opened = threading.Event()
        self.backend: Backend = stage.backend(self._serve)

    def _serve(self, connection: socket.socket) -> None:
        for _ in requests_on(connection):
            self.asked.set()
            self.opened.wait(15)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


@pytest.fixture
def gate(stage: Stage) -> Iterator[Gate]:
    gate = Gate(stage)
    yield gate
    gate.opened.set()


def is_cut(client: Client) -> bool:
    """Whether the connection ends within 3 seconds, with no more than word that the proxy stops."""
    client.socket.settimeout(3)
    answer = b""
    try:
        while data := client.socket.recv(65536):
            answer += data
    except ConnectionError:
        pass
    return not answer or answer.startswith(b"HTTP/1.1 503 ")


def configured(stage: Stage, port: int, **options: object) -> Proxy:
    drain = options.pop("drain", "10s")
    log = options.pop("log", "enabled = false")
    return stage.configured(
        f"""
        [server]
        drain_timeout = "{drain}"
        [access_log]
        {log}
        [[listen]]
        endpoint = "LISTEN"
        [upstreams.b]
        backends = ["tcp:127.0.0.1:{port}"]
        [[routes]]
        upstream = "b"
        """,
        **options,
    )


def test_what_is_in_flight_finishes(stage: Stage, gate: Gate) -> None:
    proxy = configured(stage, gate.backend.port)
    with Client(proxy.port) as busy, Client(proxy.port) as idle, Client(proxy.port) as kept:
        gate.opened.set()
        assert kept.get()[0] == 200
        gate.opened.clear()
        gate.asked.clear()
        busy.send(GET)
        assert gate.asked.wait(10)
        proxy.signal(signal.SIGINT)
        assert idle.is_closed()
        assert kept.is_closed()
        with pytest.raises(OSError):
            Client(proxy.port).get()
        assert proxy.process.poll() is None
        gate.opened.set()
        status, fields, body = busy.read()
        assert (status, fields["connection"], body) == (200, "close", b"done")
        assert busy.is_closed()
    assert proxy.ends(5) == 0


def test_an_upload_in_flight_finishes(stage: Stage) -> None:
    proxy = configured(stage, stage.backend(answers).port)
    with Client(proxy.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
        client.send(b"a" * 100_000)
        time.sleep(0.2)
        proxy.signal(signal.SIGTERM)
        proxy.says("stopping")
        client.send(b"a" * 100_000)
        status, fields, body = client.read()
        assert (status, fields["connection"], body) == (200, "close", b"POST 200000\n")
    assert proxy.ends(5) == 0


def test_half_a_head_is_heard_out(stage: Stage) -> None:
    proxy = configured(stage, stage.backend(answers).port)
    with Client(proxy.port) as client:
        client.send(GET[:20])
        time.sleep(0.2)
        proxy.signal(signal.SIGTERM)
        proxy.says("stopping")
        client.send(GET[20:])
        status, fields, _ = client.read()
        assert (status, fields["connection"]) == (200, "close")
    assert proxy.ends(5) == 0


def test_drain_timeout_cuts(stage: Stage, gate: Gate) -> None:
    proxy = configured(stage, gate.backend.port, drain="500ms")
    with Client(proxy.port) as client:
        client.send(GET)
        assert gate.asked.wait(10)
        began = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert is_cut(client)
        took = time.monotonic() - began
    assert 0.4 < took < 3
    assert proxy.ends(5) == 0


@pytest.mark.parametrize("number", SIGNALS, ids=["term", "int"])
def test_a_second_signal_cuts_at_once(stage: Stage, gate: Gate, number: int) -> None:
    proxy = configured(stage, gate.backend.port, drain="60s")
    with Client(proxy.port) as client:
        client.send(GET)
        assert gate.asked.wait(10)
        proxy.signal(signal.SIGTERM)
        proxy.says("stopping")
        assert not client.is_closed(0.3)
        proxy.signal(number)
        assert is_cut(client)
    assert proxy.ends(5) == 0


def test_twistd_drains_and_a_second_signal_cuts(stage: Stage, gate: Gate) -> None:
    proxy = configured(stage, gate.backend.port, drain="60s", command=twistd())
    with Client(proxy.port) as client:
        client.send(GET)
        assert gate.asked.wait(10)
        proxy.signal(signal.SIGTERM)
        proxy.says("stopping")
        assert not client.is_closed(0.3)
        proxy.signal(signal.SIGTERM)
        assert is_cut(client)
    assert proxy.ends(5) in (0, -signal.SIGTERM)


def test_hangup_is_logged_and_ignored(stage: Stage) -> None:
    proxy = stage.proxy_to(stage.backend(answers).port)
    proxy.signal(signal.SIGHUP)
    proxy.says("SIGHUP")
    with Client(proxy.port) as client:
        assert client.get()[0] == 200


@pytest.mark.parametrize("way", ["run", "twistd"])
def test_usr1_reopens_the_access_log(stage: Stage, way: str) -> None:
    backend = stage.backend(answers)
    log = stage.folder / "access.log"
    server_log = stage.folder / "twistd.log"
    command = RUN if way == "run" else twistd(f"--logfile={server_log}")
    if way == "twistd":
        proxy = _with_logfile(stage, backend.port, command)
    else:
        proxy = configured(stage, backend.port, log='path = "access.log"', command=command)
    with Client(proxy.port) as client:
        client.get("/one")
        until(lambda: log.exists() and "/one" in log.read_text(), "the first line")
        log.rename(stage.folder / "access.log.1")
        proxy.signal(signal.SIGUSR1)
        until(log.exists, "the log is there again")
        client.get("/two")
        until(lambda: "/two" in log.read_text(), "the second line")
    assert "/two" not in (stage.folder / "access.log.1").read_text()
    if way == "twistd":
        # that one renames its file itself
        until((stage.folder / "twistd.log.1").exists, "twistd has rotated its own log")
        proxy.signal(signal.SIGHUP)
        until(lambda: server_log.exists() and "SIGHUP" in server_log.read_text(), "twistd's log goes on")


def _with_logfile(stage: Stage, port: int, command: list[str]) -> Proxy:
    """twistd logs to a file: the port has to be known beforehand."""
    chosen = free_port()
    (stage.folder / "revproxy.toml").write_text(
        f'[access_log]\npath = "access.log"\n[[listen]]\nendpoint = "tcp:{chosen}:interface=127.0.0.1"\n'
        f'[upstreams.b]\nbackends = ["tcp:127.0.0.1:{port}"]\n[[routes]]\nupstream = "b"\n'
    )
    running = stage.run([*command, "--config", "revproxy.toml"], "twistd")

    def listens() -> bool:
        assert running.process.poll() is None, running.output
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", chosen)) == 0

    until(listens, "twistd listens")
    running.port = chosen  # type: ignore[attr-defined]  # as Proxy has it
    return running  # type: ignore[return-value]  # what the test uses of a Proxy


@pytest.mark.parametrize("where", ["file", "stdout"])
def test_no_line_of_the_access_log_is_lost(stage: Stage, where: str) -> None:
    log = 'path = "access.log"' if where == "file" else "enabled = true"
    proxy = configured(stage, stage.backend(answers).port, log=log)
    with Client(proxy.port) as client:
        for number in range(100):
            client.send(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        for _ in range(100):
            assert client.read()[0] == 200
        proxy.signal(signal.SIGTERM)
    assert proxy.ends(5) == 0
    text = (stage.folder / "access.log").read_text() if where == "file" else proxy.out
    assert [int(found) for found in re.findall(r'"GET /(\d+) HTTP/1\.1" 200', text)] == list(range(100))


def test_an_access_log_that_nobody_reads_blocks_nothing(stage: Stage) -> None:
    pipe = stage.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        proxy = configured(stage, stage.backend(answers).port, log='path = "pipe"')
        with Client(proxy.port) as client:
            for _ in range(30):  # more than a pipe holds
                target = "/" + "a" * 7000
                client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert client.read()[0] == 200
    finally:
        os.close(reader)
