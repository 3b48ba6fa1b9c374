"""Certificates from a real ACME authority (pebble), which refuses nonces and reuses authorizations by chance."""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from revproxy.tls.acme.certificates import standing
from tests.certificates import authority
from tests.integration.harness import ROOT, Running, Stage, until
from tests.integration.ports import free_port

NAMES = ("a.acme.test", "b.acme.test", "c.acme.test")


class Pebble:
    """The authority, and the name server that sends it to us for every name.

    :ivar http: the port that it asks for HTTP-01. :ivar tls: for TLS-ALPN-01.
    """

    def __init__(self, stage: Stage, peer: Callable[[str], str], *environment: str, **more: Any) -> None:
        self._stage = stage
        folder = stage.folder
        root = authority()
        certificate, key = root.issues("localhost", "127.0.0.1").write(folder, "pebble")
        (folder / "ca.pem").write_bytes(root.pem)
        port, self._management, dns, other = free_port(), free_port(), free_port(), free_port()
        self.http, self.tls = free_port(), free_port()
        config = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": certificate,
            "privateKey": key,
            "httpPort": self.http,
            "tlsPort": self.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            **more,
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        names = [
            peer("pebble-challtestsrv"), "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{other}",
            "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1",
        ]  # fmt: skip
        stage.run(names, "names").says("Starting management server")
        self.running = stage.run(
            [
                "env", "PEBBLE_VA_NOSLEEP=1", *environment,
                peer("pebble"), "-config", str(folder / "pebble.json"), "-strict", "-dnsserver", f"127.0.0.1:{dns}",
            ],
            "pebble",
        )  # fmt: skip
        self.running.says("ACME directory available at")
        self.directory = f"https://localhost:{port}/dir"

    def root(self) -> x509.Certificate:
        """What it signs with in the end."""
        context = ssl.create_default_context(cafile=str(self._stage.folder / "ca.pem"))
        url = f"https://127.0.0.1:{self._management}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            return x509.load_pem_x509_certificate(answer.read())

    @property
    def orders(self) -> int:
        """How many were made."""
        return self.running.output.count("Added order")


def keeps(
    stage: Stage, pebble: Pebble, name: str = "acme", *, names: tuple[str, ...] = NAMES, ca: str = "ca.pem", **more: Any
) -> Running:
    """Start a process that keeps a certificate."""
    folder = stage.folder / "certificates"
    folder.mkdir(exist_ok=True)
    challenge = more.pop("challenge", "http-01")
    table = {
        "directory": pebble.directory, "names": names, "challenge": challenge,
        "ca": str(stage.folder / ca), "email": "me@acme.test",
    }  # fmt: skip
    options = {"acme": table, "folder": str(folder), **more}
    program = str(ROOT / "tests" / "integration" / "acme_process.py")
    return stage.run([sys.executable, program, json.dumps(options)], name)


def installed(stage: Stage) -> Path:
    return stage.folder / "certificates" / f"{NAMES[0]}.acme.pem"


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_several_names_are_proved_and_come_in_one_certificate(
    stage: Stage, peer: Callable[[str], str], challenge: str
) -> None:
    pebble = Pebble(stage, peer)
    port = {"http": pebble.http} if challenge == "http-01" else {"tls": pebble.tls}
    running = keeps(stage, pebble, challenge=challenge, **port)
    running.says("renewed", 60)
    pem = installed(stage).read_bytes()
    found = standing(pem)
    assert found.names == set(NAMES) and found.source == pebble.directory
    chain = [*x509.load_pem_x509_certificates(pem), pebble.root()]
    for below, above in pairwise(chain):
        below.verify_directly_issued_by(above)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(installed(stage))
    assert [path.name for path in installed(stage).parent.glob("*.pem")] == [installed(stage).name]
    running.signal(15)
    running.ends()
    assert "left 0 0" in running.output and pebble.orders == 1


@pytest.mark.slow
def test_a_short_lived_certificate_is_renewed_in_time(stage: Stage, peer: Callable[[str], str]) -> None:
    pebble = Pebble(stage, peer, certificateValidityPeriod=9)
    running = keeps(stage, pebble, http=pebble.http)
    running.says("renewed", 60)
    first = standing(installed(stage).read_bytes())
    until(lambda: running.output.count("renewed\n") == 2, "it is renewed", 60)
    second = standing(installed(stage).read_bytes())
    assert first.start < second.start < first.end < second.end
    assert "no certificate" not in running.output
    running.finish()


@pytest.mark.slow
def test_a_restart_orders_nothing_and_other_names_use_the_account(stage: Stage, peer: Callable[[str], str]) -> None:
    pebble = Pebble(stage, peer)
    first = keeps(stage, pebble, http=pebble.http)
    first.says("renewed", 60)
    first.finish()
    again = keeps(stage, pebble, "again", http=pebble.http)
    other = keeps(stage, pebble, "other", names=("d.acme.test",), tls=pebble.tls, challenge="tls-alpn-01")
    other.says("renewed", 60)
    assert "renewed" not in again.output
    assert pebble.orders == 2
    assert pebble.running.output.count("There are now 1 accounts") == 1
    assert "There are now 2 accounts" not in pebble.running.output


@pytest.mark.slow
def test_many_that_share_a_folder_order_once(stage: Stage, peer: Callable[[str], str]) -> None:
    pebble = Pebble(stage, peer, "PEBBLE_VA_ALWAYS_VALID=1")
    several = [keeps(stage, pebble, f"acme{index}", managers=2) for index in range(3)]
    for running in several:
        until(lambda running=running: running.output.count("renewed\n") == 2, "both of a process are told", 60)
    assert pebble.orders == 1
    assert sum(running.output.count("the ACME authority issued") for running in several) == 1


@pytest.mark.slow
def test_one_that_is_killed_leaves_the_lock_free(stage: Stage, peer: Callable[[str], str]) -> None:
    pebble = Pebble(stage, peer, "PEBBLE_VA_NOSLEEP=0", "PEBBLE_VA_SLEEPTIME=100")
    killed = keeps(stage, pebble, "killed", http=pebble.http)
    until(lambda: pebble.orders == 1, "it orders", 30)
    killed.signal(9)
    killed.ends()
    other = keeps(stage, pebble, "other", http=pebble.http)
    until(lambda: pebble.orders == 2, "the other one orders", 30)
    other.finish()
    assert not installed(stage).exists()


def test_a_name_that_can_not_be_proved(stage: Stage, peer: Callable[[str], str]) -> None:
    pebble = Pebble(stage, peer)
    running = keeps(stage, pebble)  # nobody answers
    match = running.says(r"no certificate for .*", 60)
    assert re.search(r'"[abc]\.acme\.test" was not proved: connection: ', match[0]), match[0]
    assert "connection refused; next try in" in match[0]
    running.finish()


@pytest.mark.slow
def test_an_authority_that_is_not_trusted(stage: Stage, peer: Callable[[str], str]) -> None:
    pebble = Pebble(stage, peer)
    (stage.folder / "wrong.pem").write_bytes(authority("Another CA").pem)
    running = keeps(stage, pebble, ca="wrong.pem")
    match = running.says(r"no certificate for .*", 30)
    assert "comes from an authority that is not trusted" in match[0]
    assert pebble.orders == 0


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_the_proxys_own_listeners_answer(stage: Stage, peer: Callable[[str], str], challenge: str) -> None:
    pebble = Pebble(stage, peer)
    (stage.folder / "proxy.toml").write_text(f"""
[[listen]]
endpoint = "tcp:{pebble.http}:interface=127.0.0.1"

[[listen]]
endpoint = "tcp:{pebble.tls}:interface=127.0.0.1"

[listen.tls]
certificates = "certs"
acme = {{ directory = "{pebble.directory}", names = "a.acme.test", challenge = "{challenge}", ca = "ca.pem" }}

[[routes]]
respond = {{ body = "behind it" }}
""")
    program = [sys.executable, "-m", "revproxy.cli", "run", "--config", str(stage.folder / "proxy.toml")]
    stage.run(program, "proxy").says("a.acme.test.acme.pem is served", 60)
    context = ssl.create_default_context(cadata=pebble.root().public_bytes(Encoding.PEM).decode())
    with (
        socket.create_connection(("127.0.0.1", pebble.tls), 5) as plain,
        context.wrap_socket(plain, server_hostname="a.acme.test") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.1\r\nHost: a.acme.test\r\nConnection: close\r\n\r\n")
        assert secure.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
