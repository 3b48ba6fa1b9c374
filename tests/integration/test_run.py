"""Starting: every way in, and every error an operator can make in one line."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.harness import (
    LISTEN,
    ROOT,
    RUN,
    Backend,
    Client,
    Running,
    Stage,
    answers,
    requests_on,
    twistd,
)

WAYS = {
    "run": RUN,
    "twistd": twistd(),
    "twistd-revproxy": twistd("--reactor=revproxy"),
    "twistd-poll": twistd("--reactor=poll"),
    "twistd-asyncio": twistd("--reactor=asyncio"),
}
every_way = pytest.mark.parametrize("command", WAYS.values(), ids=WAYS)
run_and_twistd = pytest.mark.parametrize("command", [RUN, twistd()], ids=["run", "twistd"])


@pytest.fixture
def backend(stage: Stage) -> Backend:
    return stage.backend(answers)


@every_way
def test_one_line_start(stage: Stage, backend: Backend, command: list[str]) -> None:
    proxy = stage.proxy_to(backend.port, command=command)
    with Client(proxy.port) as client:
        assert client.get()[::2] == (200, b"GET 0\n")
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert client.read()[::2] == (200, b"POST 3\n")
    proxy.process.terminate()
    status = proxy.ends()
    # twistd ends by the signal that it was sent, as Twisted has it
    assert status in ((0,) if command is RUN else (0, -15))


@run_and_twistd
def test_configuration_file(stage: Stage, backend: Backend, command: list[str]) -> None:
    proxy = stage.configured(
        f"""
        [[listen]]
        endpoint = "LISTEN"
        [[listen]]
        endpoint = "LISTEN:backlog=64"
        name = "other"
        [upstreams.api]
        backends = ["127.0.0.1:{backend.port}"]
        [[routes]]
        upstream = "api"
        [[routes]]
        match = {{ path = "/fixed" }}
        respond = {{ status = 418, body = "short" }}
        """,
        command=command,
        listeners=2,
    )
    for port in proxy.ports:
        with Client(port) as client:
            assert client.get("/fixed")[::2] == (418, b"short")
            assert client.get("/other")[::2] == (200, b"GET 0\n")


def test_routes_on_the_command_line(stage: Stage) -> None:
    def named(name: bytes) -> Backend:
        def serve(connection: socket.socket) -> None:
            for _ in requests_on(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))

        return stage.backend(serve)

    default, api, host = named(b"default"), named(b"api"), named(b"host")
    proxy = stage.proxy_to(
        default.port,
        command=[*RUN, "--route", f"/api/=tcp:127.0.0.1:{api.port}", "--route", f"a.test=tcp:127.0.0.1:{host.port}"],
    )
    with Client(proxy.port) as client:
        assert client.get("/")[2] == b"default"
        assert client.get("/api/x")[2] == b"api"
        assert client.get("/apix")[2] == b"default"
        client.send(b"GET / HTTP/1.1\r\nHost: A.test:80\r\n\r\n")
        assert client.read()[2] == b"host"


def run_to_the_end(stage: Stage, command: Sequence[str], *arguments: str) -> Running:
    running = stage.run([*command, *arguments], "failing")
    running.ends(6)
    return running


def complaint(running: Running) -> list[str]:
    """What it said, without what twistd itself logs."""
    lines = (re.sub(r"^20\S+ \[stderr#error\] ", "", line) for line in running.output.splitlines())
    return [line for line in lines if line and not line.startswith("20")]


@run_and_twistd
def test_port_in_use_is_one_line(stage: Stage, command: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failing = run_to_the_end(
            stage, command, "--listen", f"tcp:{port}:interface=127.0.0.1", "--to", "tcp:127.0.0.1:1"
        )
    lines = complaint(failing)
    assert failing.process.returncode == 1
    assert len(lines) == 1, failing.output
    assert str(port) in lines[0]
    assert "in use" in lines[0]


WRONG = {
    "scheme": (["--listen", "tpc:8080", "--to", "tcp:127.0.0.1:1"], "tpc"),
    "backend-scheme": (["--listen", LISTEN, "--to", "tpc:127.0.0.1:1"], "tpc"),
    "certificate": (
        ["--listen", "ssl:0:interface=127.0.0.1:privateKey=absent.pem:certKey=absent.pem", "--to", "tcp:127.0.0.1:1"],
        "absent.pem",
    ),
    "no-listen": (["--to", "tcp:127.0.0.1:1"], "--listen"),
    "no-to": (["--listen", LISTEN], "--to"),
    "no-file": (["--config", "absent.toml"], "absent.toml"),
    "both": (["--config", "x.toml", "--listen", LISTEN], "--config"),
    "bad-route": (["--listen", LISTEN, "--route", "nothing"], "nothing"),
}


@pytest.mark.parametrize(
    ("command", "wrong"),
    [*((RUN, wrong) for wrong in WRONG), *((twistd(), wrong) for wrong in ("scheme", "certificate", "no-file"))],
    ids=[*(f"run-{wrong}" for wrong in WRONG), "twistd-scheme", "twistd-certificate", "twistd-no-file"],
)
def test_errors_are_one_line(stage: Stage, command: list[str], wrong: str) -> None:
    arguments, word = WRONG[wrong]
    failing = run_to_the_end(stage, command, *arguments)
    lines = complaint(failing)
    assert failing.process.returncode == 1
    assert len(lines) == 1, failing.output
    assert word in lines[0]


@run_and_twistd
def test_an_unknown_option_is_one_line(stage: Stage, command: list[str]) -> None:
    failing = run_to_the_end(stage, command, "--lisen", LISTEN)
    assert failing.process.returncode == 1
    assert "lisen" in failing.output
    assert "Traceback" not in failing.output


BAD = """\
[[listen]]
endpoint = "tcp:0"
[server.timeouts]
hed = "5s"
[upstreams.a]
backends = ["tcp:127.0.0.1:1"]
timeouts = { connect = "5 parsecs" }
[[routes]]
upstream = "b"
"""


@pytest.mark.parametrize("command", [RUN, twistd(), None], ids=["run", "twistd", "check"])
def test_every_error_of_a_file_is_reported_at_once(stage: Stage, tmp_path: Path, command: list[str] | None) -> None:
    (tmp_path / "bad.toml").write_text(BAD)
    if command is None:
        failing = run_to_the_end(stage, [sys.executable, "-m", "revproxy.cli", "check"], "bad.toml")
    else:
        failing = run_to_the_end(stage, command, "--config", "bad.toml")
    assert failing.process.returncode == 1
    lines = complaint(failing)
    assert len(lines) == 3, failing.output
    text = "\n".join(lines)
    assert "head" in text  # the nearest known key
    assert "parsecs" in text
    assert "bad.toml:4" in text


def test_malformed_toml_is_one_line(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[[listen]\n")
    for command in (RUN, twistd()):
        failing = run_to_the_end(stage, command, "--config", "bad.toml")
        assert failing.process.returncode == 1
        assert len(complaint(failing)) == 1, failing.output


def check(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "revproxy.cli", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_check_says_what_a_file_describes(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(
        '[[listen]]\nendpoint = "tcp:8080"\n[upstreams.a]\nbackends = ["tcp:127.0.0.1:1"]\n[[routes]]\nupstream = "a"\n'
    )
    done = check("check", "good.toml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tcp:8080" in done.stdout
    assert check("check", cwd=tmp_path).returncode == 1
    assert check("chek", "good.toml", cwd=tmp_path).returncode == 1
    assert check("--help", cwd=tmp_path).returncode == 0
