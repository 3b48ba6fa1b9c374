"""One run: start a proxy on its own core, put load on it from another, read what it cost.

Rules of this module:

* CPU time is user and system time of the proxy's whole process tree, from ``/proc/PID/stat``;
* the proxy has one core, the origin and the load share another; where there is one core only,
  everything shares it, and every figure is called noisy;
* each run starts a fresh proxy; whatever was started is ended, by its process group.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from revproxy.bench import proxies
from revproxy.bench.load import ADDRESS, DOWNLOAD, SMALL

_TICK = os.sysconf("SC_CLK_TCK")
#: Seconds that anything may take to listen.
START = 20.0


class Failed(Exception):
    """A run that gave no figure; the text says why."""


@frozen
class Result:
    """What one run gave.

    ``cpu`` and ``seconds`` are seconds; ``foreign`` is the share of the proxy's core that others had.
    """

    requests: int
    bytes: int
    errors: int
    seconds: float
    cpu: float
    foreign: float
    error: str = ""


@frozen
class Cores:
    """Which core runs what."""

    proxy: int
    load: int


def cores() -> Cores:
    """The first and the last core that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


def _stat(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """The ids of a process and of all below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                children.setdefault(int(_stat(entry)[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process tree has used, with the children it has waited for."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            ticks += sum(int(value) for value in _stat(each)[11:15])
    return ticks / _TICK


def busy(core: int) -> float:
    """Seconds that a core was busy (or taken from this machine)."""
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words and words[0] == f"cpu{core}":
            values = [int(word) for word in words[1:9]]
            return (sum(values) - values[3] - values[4]) / _TICK  # all but idle and waiting for disks
    return 0.0


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], core: int, port: int, log: Path) -> Iterator[int]:
    """Run a daemon on a core for the length of the block; the id of its process.

    :raises Failed: when it does not listen on ``port`` in time.
    """
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    try:
        _await_listening(process, command[0], port, log)
        yield process.pid
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session is its own
        process.wait()


def _await_listening(process: subprocess.Popen[bytes], name: str, port: int, log: Path) -> None:
    end = time.monotonic() + START
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((ADDRESS, port), timeout=1).close()
            return
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"{name} did not start: {log.read_text(errors='replace')[-300:].strip()}")
        time.sleep(0.02)


def load(workload: str, port: int, seconds: float, core: int) -> dict[str, float | int | str]:
    """Run the load generator on a core; what it counted. :raises Failed: when it can't."""
    command, environment = proxies.python("revproxy.bench.load", workload, str(port), str(seconds))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
            env={**os.environ, **environment},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    except subprocess.TimeoutExpired:
        raise Failed("the load generator hangs") from None
    if done.returncode:
        raise Failed(f"the load generator ended: {done.stderr[-300:].strip()}")
    counted: dict[str, float | int | str] = json.loads(done.stdout)
    return counted


@contextlib.contextmanager
def origins(folder: Path, on: Cores) -> Iterator[tuple[int, int]]:
    """Run what the proxies proxy to; the ports for downloads and for uploads."""
    upload = free_port()
    with running(*proxies.own_origin(upload), on.load, upload, folder / "upload-origin.log"):
        if proxies.find("nginx") is None:
            yield upload, upload
            return
        port = free_port()
        start = proxies.nginx_origin(folder, port, DOWNLOAD)
        with running(*start, on.load, port, folder / "origin.log"):
            yield port, upload


def measure(name: str, workload: str, seconds: float, folder: Path, ports: tuple[int, int], on: Cores) -> Result:
    """Measure one proxy under one workload. :raises Failed: when there is no figure."""
    own = folder / f"{name}-{workload}"
    own.mkdir(exist_ok=True)
    place = proxies.Place(own, free_port(), *ports)
    with running(*proxies.PROXIES[name](place), on.proxy, place.port, own / "log") as pid:
        _probe(place.port)
        load(workload, place.port, min(1.0, seconds / 3), on.load)  # warm
        cpu, core = cpu_of(pid), busy(on.proxy)
        counted = load(workload, place.port, seconds, on.load)
        cpu, core = cpu_of(pid) - cpu, busy(on.proxy) - core
    if not counted["requests"]:
        raise Failed(f"not one request was answered: {counted['error']}")
    elapsed = float(counted["seconds"])
    return Result(
        int(counted["requests"]), int(counted["bytes"]), int(counted["errors"]), elapsed, cpu,
        max(0.0, core - cpu) / elapsed, str(counted["error"]),
    )  # fmt: skip


def _probe(port: int) -> None:
    """:raises Failed: when the proxy does not give what the origin has."""
    with socket.create_connection((ADDRESS, port), timeout=10) as connection:
        connection.sendall(b"GET /small HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")
        data = b""
        while part := connection.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or body != b"x" * SMALL:
        raise Failed(f"it answers {head[:60]!r} and {len(body)} bytes")
