"""Starting and stopping the demo."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionRefusedError, ProcessDone, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from revproxy.demo.__main__ import main
from revproxy.demo.run import BACKEND_PORTS, START_LIMIT, Demo, busy_port, proxy_ports

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "conf" / "demo.toml"


class FakeProcess:
    """The child as Demo sees it."""

    pid = 4711

    def __init__(self) -> None:
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class FakeReactor(MemoryReactorClock):
    """A reactor in memory that spawns nothing and can be stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.process = FakeProcess()
        self.stopped = 0

    def spawnProcess(self, protocol: Any, executable: str, arguments: Any, **options: Any) -> FakeProcess:
        assert options["childFDs"][0] == "w"
        return self.process

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def reactor() -> FakeReactor:
    return FakeReactor()


@pytest.fixture
def demo(reactor: FakeReactor) -> Demo:
    demo = Demo(reactor, ["python", "-m", "x"], [8080, 8081])
    demo.start()
    return demo


def refuse(reactor: FakeReactor) -> None:
    """Refuse the newest connection attempt."""
    reactor.connectors[-1].stopConnecting()
    _, _, factory, _, _ = reactor.tcpClients[-1]
    factory.clientConnectionFailed(reactor.connectors[-1], Failure(ConnectionRefusedError()))


def test_demo_configuration_uses_the_ports_of_the_demo() -> None:
    written = tomllib.loads(DEMO.read_text())
    backends = {backend for upstream in written["upstreams"].values() for backend in upstream["backends"]}
    assert backends == {f"tcp:127.0.0.1:{port}" for port in BACKEND_PORTS}
    assert proxy_ports(str(DEMO)) == [8080, 8081]
    assert all(listen["endpoint"].endswith(":interface=127.0.0.1") for listen in written["listen"])


@pytest.mark.parametrize("text", ["", "listen = 3", "[[listen]]\n", "[[listen]]\nendpoint = 'unix:/x'\n", "= ="])
def test_configuration_without_tcp_listeners(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    assert proxy_ports(str(tmp_path / "x.toml")) == []
    assert proxy_ports(str(tmp_path / "absent.toml")) == []


def test_busy_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        problem = busy_port([port])
    assert problem is not None
    assert f"port {port} on 127.0.0.1 is in use" in problem
    assert "\n" not in problem
    assert busy_port([port]) is None


def test_absent_configuration_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--config", "no/such.toml"]) == 1
    assert capsys.readouterr().out == "revproxy demo: there is no file 'no/such.toml' here; give one with --config\n"


@pytest.mark.parametrize("ports", ["", "x", "1,,2", "70000", "-1"])
def test_bad_ports_are_refused(ports: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([f"--ports={ports}"])
    assert caught.value.code == 2
    assert "expected ports such as" in capsys.readouterr().err


def test_says_what_to_open_once_it_listens(
    demo: Demo, reactor: FakeReactor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reactor.tcpClients[-1][:2] == ("127.0.0.1", 8081)
    refuse(reactor)
    assert "Open" not in capsys.readouterr().out
    reactor.advance(0.1)
    assert len(reactor.tcpClients) == 2
    protocol = reactor.tcpClients[-1][2].buildProtocol(None)
    aborted: list[bool] = []

    class Transport:
        def abortConnection(self) -> None:
            aborted.append(True)

    protocol.makeConnection(Transport())
    text = capsys.readouterr().out
    assert "http://127.0.0.1:8080/ " in text
    assert "http://127.0.0.1:8081/ " in text
    assert text.count("    curl ") == 3
    assert aborted == [True]


def test_gives_up_waiting(demo: Demo, reactor: FakeReactor, capsys: pytest.CaptureFixture[str]) -> None:
    reactor.advance(START_LIMIT)
    refuse(reactor)
    assert "still does not listen" in capsys.readouterr().out
    reactor.advance(1)
    assert len(reactor.tcpClients) == 1


def test_first_interrupt_drains_second_hurries_third_kills(demo: Demo, reactor: FakeReactor) -> None:
    for _ in range(3):
        demo.interrupted()
    assert reactor.process.signals == ["TERM", "TERM", "KILL"]
    assert reactor.stopped == 0
    demo.processEnded(Failure(ProcessTerminated(signal=9)))
    assert reactor.stopped == 1
    assert demo.status == 0


@pytest.mark.parametrize(("reason", "status"), [(ProcessDone(0), 1), (ProcessTerminated(3), 3)])
def test_child_that_ends_by_itself_is_a_failure(
    demo: Demo, reactor: FakeReactor, reason: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.processEnded(Failure(reason))
    assert (demo.status, reactor.stopped) == (status, 1)
    assert "ended by itself" in capsys.readouterr().out


def test_backends_alone_start_and_stop() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "revproxy.demo", "--ports", "0,0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        port = int(lines[1].rstrip("/\n").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 200 ")
    finally:
        process.terminate()
        status = process.wait(10)
        process.stdout.close()
    assert status == 0
    assert [line.split(":")[0] for line in lines] == ["backend-1", "backend-2"]
