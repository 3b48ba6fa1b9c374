"""``make run`` on a fresh machine: it sets itself up, serves what it prints, and stops cleanly."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.harness import ROOT, Stage

#: Ports of conf/demo.toml and of its backends.
PORTS = (8080, 8081, 9001, 9002, 9003)


def clone(folder: Path) -> Path:
    """Copy what is under version control, as it is now, and nothing else."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        pytest.skip("this is not a checkout")
    for name in filter(None, done.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.slow
def test_make_run(stage: Stage, peer: Callable[[str], str], tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    curl = peer("curl")
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} of the demo is in use")
    folder = clone(tmp_path / "clone")
    running = stage.run(["env", "-u", "PYTHONPATH", make, "-C", str(folder), "run"], "make")
    running.says(r"Ctrl-C stops it", seconds=240)
    lines = re.findall(r"^ +(curl .*)$", running.out, re.M)
    assert len(lines) == 3
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    for line in lines:
        words = shlex.split(line)
        done = subprocess.run(
            [curl, *words[1:], "--fail", "--max-time", "30", "-w", "\n%{http_code} %{size_download}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)
        status, size = done.stdout.split()[-2:]
        assert status == b"200", line
        assert int(size) > 50
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground
    running.ends(20)
    assert "stopping" in running.out
    for port in PORTS:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"something still listens on {port}"


@pytest.mark.slow
def test_the_demo_ends_with_status_0(stage: Stage) -> None:
    """What make makes of its own interrupt is make's; the demo itself ends with 0."""
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} of the demo is in use")
    running = stage.run(
        [sys.executable, "-m", "revproxy.demo", "run", "--config", str(ROOT / "conf" / "demo.toml")], "demo"
    )
    running.says(r"Ctrl-C stops it")
    os.killpg(running.pid, signal.SIGINT)
    assert running.ends(20) == 0
