"""Backends that are found: a real name server (dnsmasq), real files, a real reactor with threads."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Running, Stage, until
from tests.integration.ports import free_port

#: Watches what the configuration on its command line names, and prints each list.
WATCHER = """
import sys
from revproxy.reactor import install
install()
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from revproxy.config.load import load_text
from revproxy.upstream.discovery import sources
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
found = sources(load_text(sys.argv[1]).upstreams["app"], reactor, ".")
def changed(source):
    def say(backends):
        shown = sorted(f"{b.endpoint}*{b.weight}/{b.backup}" for b in backends)
        print("list", source.name.partition(" ")[0], *shown, flush=True)
    return say
for source in found:
    source.start(changed(source))
def stop():
    for source in found:
        source.stop()
    print("left", reactor.getDelayedCalls(), reactor.removeAll(), flush=True)
reactor.addSystemEventTrigger("before", "shutdown", stop)
reactor.callWhenRunning(print, "runs", flush=True)
reactor.run()
"""
CONFIG = """
[[listen]]
endpoint = "tcp:8080"
[upstreams.app]
{lines}
[[routes]]
upstream = "app"
"""


class NameServer:
    """dnsmasq with records of our own, which may be changed."""

    def __init__(self, stage: Stage, command: str) -> None:
        self._stage, self._command = stage, command
        self._hosts = stage.folder / "hosts"
        self.port = free_port()
        self._running: Running | None = None
        self._starts = 0

    def says(self, *lines: str) -> None:
        """Set the addresses, in the form of a hosts file."""
        self._hosts.write_text("\n".join([*lines, ""]))
        if self._running is not None:
            before = self._running.output.count("read ")
            self._running.signal(1)  # SIGHUP: read again
            running = self._running
            until(lambda: running.output.count("read ") > before, "dnsmasq reads its file")

    def start(self, *options: str, ttl: int = 0) -> None:
        words = [
            "--no-daemon",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--bind-interfaces",
        ]
        words += ["--listen-address=127.0.0.1", f"--port={self.port}", f"--addn-hosts={self._hosts}"]
        words += [
            f"--local-ttl={ttl}",
            "--local=/test/",
            "--log-queries",
            "--log-facility=-",
            f"--user={_user()}",
            *options,
        ]
        self._starts += 1
        self._running = self._stage.run([self._command, *words], f"dnsmasq{self._starts}")
        self._running.says("read ")

    def stop(self) -> None:
        assert self._running is not None
        self._running.signal(15)
        self._running.ends()
        self._running = None

    def asked(self) -> int:
        """How many questions came since the last start."""
        assert self._running is not None
        return self._running.output.count("query[A]")


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def name_server(stage: Stage, peer: Callable[[str], str]) -> NameServer:
    return NameServer(stage, peer("dnsmasq"))


def watch(stage: Stage, lines: str) -> Running:
    return stage.run([sys.executable, "-c", WATCHER, CONFIG.format(lines=lines)], "watcher")


def lists(watcher: Running) -> list[list[str]]:
    """Each list that was reported: kind and ``endpoint*weight/tier``."""
    return [line.split()[1:] for line in watcher.out.splitlines() if line.startswith("list ")]


def ends(watcher: Running) -> None:
    """Stop it; nothing may be left in its reactor."""
    watcher.says("runs")  # before, a signal would just kill it
    watcher.signal(15)
    watcher.ends()
    watcher.says(r"left \[\] \[\]")


def warnings(watcher: Running) -> list[str]:
    """What it logged of its sources, without the time."""
    return [line.partition("] ")[2] for line in watcher.out.splitlines() if "upstream.discovery" in line]


def test_names_that_change_and_a_server_that_dies(stage: Stage, name_server: NameServer) -> None:
    name_server.says("10.0.0.1 app.test", "fd00::1 app.test")
    name_server.start("--cname=alias.test,app.test")
    server = f"127.0.0.1:{name_server.port}"
    watcher = watch(
        stage, f'dns = {{ name = "alias.test:9000", servers = "{server}", at_least = "50ms", at_most = "100ms" }}'
    )
    until(lambda: lists(watcher), "the first list")
    assert lists(watcher) == [["dns", "tcp:10.0.0.1:9000*1/0", r"tcp:fd00\:\:1:9000*1/0"]]
    name_server.says("10.0.0.2 app.test", "10.0.0.1 app.test")
    until(lambda: len(lists(watcher)) == 2, "the new list")
    assert lists(watcher)[1] == ["dns", "tcp:10.0.0.1:9000*1/0", "tcp:10.0.0.2:9000*1/0"]
    name_server.stop()
    watcher.says("the last answer is kept")
    name_server.start("--cname=alias.test,app.test")
    watcher.says("answers again")
    name_server.says("10.0.0.9 other.test")  # NXDOMAIN
    watcher.says("NXDOMAIN; the last answer is kept")
    assert len(lists(watcher)) == 2
    assert warnings(watcher) == [
        f"dns alias.test: {server} refused: nobody listens there; the last answer is kept (2 backends)",
        "dns alias.test answers again",
        "dns alias.test: NXDOMAIN; the last answer is kept (2 backends)",
    ]
    ends(watcher)


def test_the_ttl_is_honoured(stage: Stage, name_server: NameServer) -> None:
    name_server.says("10.0.0.1 app.test")
    name_server.start(ttl=1)
    server = f'servers = "127.0.0.1:{name_server.port}"'
    watcher = watch(stage, f'dns = {{ name = "app.test:9000", {server}, at_least = "10ms", at_most = "1h" }}')
    until(lambda: name_server.asked() >= 3, "the third question")
    assert len(lists(watcher)) == 1
    assert name_server.asked() <= 4, watcher.out
    name_server.stop()
    name_server.start(ttl=3600)
    until(lambda: name_server.asked() >= 1, "the last question")
    asked = name_server.asked()
    name_server.says("10.0.0.2 app.test")
    with pytest.raises(AssertionError, match="in vain"):
        until(lambda: name_server.asked() > asked, "no question", 1.5)
    ends(watcher)


def test_many_addresses_come_over_tcp(stage: Stage, name_server: NameServer) -> None:
    name_server.says(*[f"10.0.1.{number} app.test" for number in range(1, 101)])
    name_server.start()
    watcher = watch(stage, f'dns = {{ name = "app.test:9000", servers = "127.0.0.1:{name_server.port}" }}')
    until(lambda: lists(watcher), "the list")
    assert len(lists(watcher)[0]) == 1 + 100
    ends(watcher)
    assert "factory" not in watcher.output.lower()  # a question is no event for the log


def test_services(stage: Stage, name_server: NameServer) -> None:
    name_server.says("10.0.0.1 a.test", "10.0.0.2 b.test", "10.0.0.3 c.test")
    name = "_http._tcp.app.test"
    name_server.start(
        f"--srv-host={name},a.test,9000,10,60",
        f"--srv-host={name},b.test,9001,10,20",
        f"--srv-host={name},c.test,9002,20,0",
    )
    watcher = watch(stage, f'srv = {{ name = "{name}", servers = "127.0.0.1:{name_server.port}" }}')
    until(lambda: lists(watcher), "the list")
    assert lists(watcher) == [["srv", "tcp:10.0.0.1:9000*3/0", "tcp:10.0.0.2:9001*1/0", "tcp:10.0.0.3:9002*1/1"]]
    ends(watcher)


def test_a_second_server_answers_for_a_dead_one(stage: Stage, name_server: NameServer) -> None:
    name_server.says("10.0.0.1 app.test")
    name_server.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        servers = f'["127.0.0.1:{silent.getsockname()[1]}", "127.0.0.1:{name_server.port}"]'
        watcher = watch(stage, f'dns = {{ name = "app.test:9000", servers = {servers} }}')
        until(lambda: lists(watcher), "the list")
    ends(watcher)


def test_localhost_needs_no_server(stage: Stage) -> None:
    watcher = watch(stage, 'dns = "localhost:9000"')
    until(lambda: lists(watcher), "the list")
    assert "tcp:127.0.0.1:9000*1/0" in lists(watcher)[0]
    ends(watcher)


def test_a_file_is_watched(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "members.toml"
    path.write_text('backends = ["tcp:10.0.0.1:9000"]')
    watcher = watch(stage, f'file = "{path}"')
    until(lambda: lists(watcher), "the first list")
    path.write_text("backends = [")
    watcher.says("not valid TOML: .*; the last answer is kept")
    (tmp_path / "new").write_text('backends = [{ endpoint = "tcp:10.0.0.2:9000", weight = 2 }]')
    os.replace(tmp_path / "new", path)
    until(lambda: len(lists(watcher)) == 2, "the new list")
    assert lists(watcher)[1] == ["file", "tcp:10.0.0.2:9000*2/0"]
    assert len(warnings(watcher)) == 2
    ends(watcher)


def test_threads_that_read_are_left_alone_on_stopping(stage: Stage, tmp_path: Path) -> None:
    path: Any = tmp_path / "members.toml"
    path.write_text('backends = ["tcp:10.0.0.1:9000"]')
    watcher = watch(stage, f'file = "{path}"\ndns = "no-such-name.invalid.:1"')
    until(lambda: lists(watcher), "the list")
    ends(watcher)
