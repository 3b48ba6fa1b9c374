"""Endpoint strings that bring TLS: our own under anybody's protocols, and Twisted's under ours."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import LISTEN, TWISTD, Client, Running, Stage
from tests.integration.secure import ROOT, TlsClient, client_context, curl, tells, write_certificates

PROCESS = Path(__file__).with_name("endpoint_process.py")
BIG = 20 << 20


class Services:
    def __init__(self, stage: Stage) -> None:
        self.folder = stage.folder
        write_certificates(stage.folder)
        self.process: Running = stage.run([sys.executable, str(PROCESS), str(stage.folder), str(BIG)], "services")
        self.ports = {
            name: int(self.process.says(rf"(?m)^{name} (\d+)$")[1])
            for name in ("stock", "site", "stock-ssl", "site-ssl", "lines")
        }


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    stage = Stage(tmp_path_factory.mktemp("endpoints"))
    yield Services(stage)
    stage.close()


@pytest.mark.parametrize(
    ("name", "asked", "spoken"),
    [
        ("stock", "--http1.1", "1.1"),
        ("stock", "--http2", "1.1"),  # twisted.web offers it where its own HTTP/2 is installed
        ("site", "--http1.1", "1.1"),
        ("site", "--http2", "2"),
        ("stock-ssl", "--http1.1", "1.1"),
        ("site-ssl", "--http1.1", "1.1"),
        ("site-ssl", "--http2", "2"),
    ],
)
def test_sites(services: Services, peer: Any, name: str, asked: str, spoken: str) -> None:
    port, folder = services.ports[name], services.folder
    ask = (peer("curl"), folder, port)
    for _ in range(3):  # one connection after another
        said = curl(*ask, "https://a.example/told", asked, "-w", " %{http_version}")
        assert said.startswith("secure ")
        assert name == "stock" or said == f"secure {spoken}"
    size = curl(*ask, "https://a.example/big", asked, "-o", "/dev/null", "-w", "%{size_download}")
    assert int(size) == BIG
    if not name.endswith("ssl"):
        data = folder / "upload"
        data.write_bytes(bytes(1 << 20))
        assert curl(*ask, "https://a.example/told", asked, "--data-binary", f"@{data}") == str(1 << 20)


def test_backpressure(services: Services) -> None:
    """A client that does not read holds up the service's producer, and no more than that."""
    memory = Path(f"/proc/{services.process.pid}/status")

    def resident() -> int:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", memory.read_text(), re.M)[1]) * 1024  # type: ignore[index]

    before = resident()
    clients = [TlsClient(services.ports["stock"], receive_buffer=4096) for _ in range(4)]
    for client in clients:
        client.send(b"GET /big HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert client.read_head()[0] == 200
    assert resident() - before < 12 << 20
    clients[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    there = len(clients[0]._buffer)
    while there < BIG:
        there += len(clients[0].socket.recv(1 << 16))
    assert there == BIG
    for client in clients:
        client.socket.close()


def test_lines(services: Services) -> None:
    with TlsClient(services.ports["lines"]) as client:
        client.send(b"abc\r\ndef\r\nbye\r\n")
        assert client.rest() == b"cba\r\nfed\r\neyb\r\n"
        assert client.socket.unwrap() is not None, "the end was said"


def test_plain_http(services: Services) -> None:
    with Client(services.ports["lines"]) as client:
        assert client.get()[0] == 400


def test_listeners(stage: Stage, peer: Any) -> None:
    """Both kinds under ``[[listen]]``: HTTP/2 and HTTP/1.1, one connection after another."""
    certificates = write_certificates(stage.folder)
    backend = stage.backend(tells)
    pem = certificates / "a.pem"
    inner = LISTEN.replace(":", "\\\\:")
    text = "".join(
        f'[[listen]]\nendpoint = "{endpoint}"\n'
        for endpoint in (
            f"revproxy-tls:certificates={certificates}:default=a.example:{inner}",
            f"ssl:0:interface=127.0.0.1:privateKey={pem.with_suffix('.key')}:certKey={pem}",
        )
    )
    text += f'[upstreams.app]\nbackends = ["tcp:127.0.0.1:{backend.port}"]\n[[routes]]\nupstream = "app"\n'
    proxy = stage.configured(text, listeners=2)
    for port in proxy.ports:
        for asked, spoken in (("--http1.1", "1.1"), ("--http2", "2")):
            for _ in range(3):
                url = "https://a.example/x"
                said = curl(peer("curl"), stage.folder, port, url, asked, "-w", " %{http_version}")
                assert "X-Forwarded-Proto: https\n" in said
                assert said.endswith(f" {spoken}")
    context = client_context(ROOT)
    with TlsClient(proxy.port, context=context) as client:
        assert client.get()[0] == 200
        session = client.socket.session
    with TlsClient(proxy.port, context=context, session=session) as client:
        assert client.socket.session_reused


def test_twistd_web(stage: Stage, peer: Any) -> None:
    """As the documentation has it."""
    write_certificates(stage.folder)
    (stage.folder / "page").write_text("a page")
    endpoint = "revproxy-tls:certificates=certs:default=a.example:tcp\\:0\\:interface=127.0.0.1"
    started = stage.run([*TWISTD, "--pidfile=", "-n", "web", "--listen", endpoint, "--path", "."], "twistd")
    port = int(started.says(r"Site \(TLS\) starting on (\d+)")[1])
    assert curl(peer("curl"), stage.folder, port, "https://a.example/page") == "a page"


def test_what_is_wrong_is_one_line_of_twistd(stage: Stage) -> None:
    for at, (arguments, why) in enumerate(
        (
            ("certificates=absent", 'the folder "./absent" can\'t be read: no such file or directory'),
            ("certificats=certs", 'unknown argument "certificats"; did you mean "certificates"?'),
        )
    ):
        endpoint = f"revproxy-tls:{arguments}:tcp\\:0\\:interface=127.0.0.1"
        failing = stage.run([*TWISTD, "--pidfile=", "-n", "web", "--listen", endpoint, "--path", "."], f"twistd-{at}")
        assert failing.ends() == 1
        said = [line for line in failing.output.splitlines() if "#info]" not in line]
        assert len(said) == 1, failing.output
        assert said[0].endswith(f"revproxy-tls: {why}")
