"""Backends behind TLS and the PROXY protocol: nginx and HAProxy, reached by address and through the proxy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from revproxy.http.proxyline import proxy_header
from tests.certificates import Certified, authority
from tests.integration.harness import Client, Stage, until
from tests.integration.other_proxies import listens
from tests.integration.ports import free_port

Find = Callable[[str], str]
SAYS = "$ssl_protocol|$ssl_session_reused|$ssl_server_name|$ssl_client_verify|$proxy_protocol_addr|$proxy_protocol_port"


class Nginx:
    """nginx with one TLS server for each certificate; every server says what it sees. :ivar ports: by their names."""

    def __init__(self, stage: Stage, command: str, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.servers: list[str] = []
        self._stage = stage
        self._command = command

    def serve(self, name: str, certified: Certified | None, *lines: str, listen: str = "", also: str = "") -> None:
        """One more server, at a port of its own or at ``listen``."""
        if not listen:
            self.ports[name] = free_port()
            listen = f"127.0.0.1:{self.ports[name]}"
        if certified is not None:
            certificate, key = certified.write(self.folder, name)
            lines = (f"ssl_certificate {certificate}; ssl_certificate_key {key};", *lines)
            also = f"{also} ssl"
        lines = (f"listen {listen}{also};", *lines, f'location / {{ return 200 "{SAYS}"; }}')
        self.servers.append("server { " + " ".join(lines) + " }")

    def start(self) -> None:
        """Let it run."""
        folder = self.folder
        for path in (folder, *folder.parents):
            if path.is_relative_to(self._stage.folder.parents[1]):
                path.chmod(0o755)
        temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"""
            {user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 512; }}
            http {{
                access_log off; client_body_temp_path {folder}/body; {temporary} default_type text/plain;
                ssl_session_cache shared:tls:1m; ssl_protocols TLSv1.2 TLSv1.3;
                {chr(10).join(self.servers)}
            }}
            """
        )
        self._stage.run([self._command, "-p", str(folder), "-c", str(folder / "nginx.conf")], "nginx")
        for port in self.ports.values():
            until(lambda port=port: listens(port), "nginx listens")


@pytest.fixture
def nginx(stage: Stage, peer: Find, tmp_path: Path) -> Nginx:
    (tmp_path / "nginx").mkdir()
    return Nginx(stage, peer("nginx"), tmp_path / "nginx")


def reach(stage: Stage, *cases: dict[str, Any]) -> list[list[str]]:
    """What comes of each case."""
    running = stage.run([sys.executable, "-m", "tests.integration.reach_client", json.dumps(cases)], "client")
    found = running.says(r"(?m)^outcomes (.*)$")
    outcomes = json.loads(found[1])
    assert len(outcomes) == len(cases)
    return outcomes


def test_certificates(stage, nginx):
    root, other = authority(), authority("Other CA")
    between = root.issues(authority=True, called="Between")
    mine = between.issues("proxy.test")
    certificate, key = mine.write(nginx.folder, "mine")
    ca, unix = str(nginx.folder / "ca.pem"), str(nginx.folder / "tls.sock")
    Path(ca).write_bytes(b"# of the tests\n" + root.pem)
    expired = root.issues("a.test", end=-1)
    alone = Certified("a.test")
    nginx.serve("good", between.issues("a.test"))
    nginx.serve("expired", expired)
    nginx.serve("other", other.issues("a.test"))
    nginx.serve("alone", alone)
    nginx.serve("address", root.issues("127.0.0.1"))
    nginx.serve(
        "wants", root.issues("a.test"), f"ssl_client_certificate {ca}; ssl_verify_client on; ssl_verify_depth 2;"
    )
    nginx.serve("socket", root.issues("a.test"), listen=f"unix:{unix}")
    nginx.serve("plain", None)
    nginx.start()
    at = {name: f"127.0.0.1:{port}" for name, port in nginx.ports.items()}
    named = {"ca": ca, "name": "a.test"}
    outcomes = reach(
        stage,
        {"written": at["good"], "tls": named},
        {"written": f"https://{at['good']}", "tls": {"ca": ca}},
        {"written": at["good"], "tls": {"ca": ca, "name": "b.test"}},
        {"written": at["good"]},
        {"written": f"https://{at['good']}"},
        {"written": at["expired"], "tls": named},
        {"written": at["other"], "tls": named},
        {"written": at["alone"], "tls": named},
        {"written": at["alone"], "tls": {"insecure": True}},
        {"written": f"https://{at['address']}", "tls": {"ca": ca}},
        {"written": at["wants"], "tls": {**named, "certificate": certificate, "key": key}},
        {"written": at["wants"], "tls": named},
        {"written": f"unix:{unix}", "tls": named},
        {"written": f"unix:{unix}", "tls": {"ca": ca}},
        {"written": at["plain"], "tls": named},
        {"written": f"tcp:127.0.0.1:{free_port()}", "tls": named},
    )
    good = "TLSv1.3|.|a.test|NONE||"
    unknown = '! its certificate comes from an authority that is not trusted: "{}"'
    ended = f"{expired.certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    assert [outcome for (outcome,) in outcomes[:-2]] == [
        good,
        '! its certificate is for "a.test", not for "127.0.0.1"',
        '! its certificate is for "a.test", not for "b.test"',
        outcomes[3][0],
        unknown.format("Test CA"),
        f"! its certificate expired at {ended}",
        unknown.format("Other CA"),
        "! its certificate is self-signed and not among the trusted ones",
        "TLSv1.3|.||NONE||",
        "TLSv1.3|.||NONE||",
        "TLSv1.3|.|a.test|SUCCESS||",
        outcomes[11][0],
        good,
        f'! "unix:{unix}" has no host that a certificate could be for; write tls = {{ name = "…" }}',
    ]
    assert "plain HTTP request was sent to HTTPS port" in outcomes[3][0]
    assert "No required SSL certificate was sent" in outcomes[11][0]
    assert outcomes[14][0].startswith("! no TLS handshake")
    assert "refused" in outcomes[15][0]


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("tickets", ["on", "off"])
def test_sessions_are_resumed(stage, nginx, protocol, tickets):
    root = authority()
    (nginx.folder / "ca.pem").write_bytes(root.pem)
    nginx.serve("good", root.issues("127.0.0.1"), f"ssl_protocols {protocol}; ssl_session_tickets {tickets};")
    nginx.start()
    written = f"https://127.0.0.1:{nginx.ports['good']}"
    ((first, *others),) = reach(stage, {"written": written, "tls": {"ca": str(nginx.folder / "ca.pem")}, "times": 4})
    assert first == f"{protocol}|.||NONE||"
    assert others == [f"{protocol}|r||NONE||"] * 3


# -- the PROXY protocol

V4 = (("192.0.2.7", 40001), ("198.51.100.1", 443))
V6 = (("2001:db8::7", 40002), ("2001:db8::1", 443))
MIXED = (("192.0.2.7", 40003), ("2001:db8::1", 443))
ENDS = [(version, *ends) for ends in (V4, V6, MIXED, (None, None)) for version in ("v1", "v2")]


def announced(plain: str, tls: str, ca: str) -> list[dict[str, Any]]:
    """Each header, in the clear and before TLS."""
    cases = []
    for version, source, destination in ENDS:
        header = proxy_header(version, source, destination).hex()
        cases.append({"written": plain, "header": header})
        cases.append({"written": tls, "header": header, "tls": {"ca": ca}})
    return cases


def test_nginx_gets_the_address(stage, nginx):
    root = authority()
    (nginx.folder / "ca.pem").write_bytes(root.pem)
    nginx.serve("plain", None, also=" proxy_protocol")
    nginx.serve("tls", root.issues("127.0.0.1"), also=" proxy_protocol")
    nginx.start()
    plain, tls = (f"127.0.0.1:{nginx.ports[name]}" for name in ("plain", "tls"))
    outcomes = reach(stage, *announced(plain, f"https://{tls}", str(nginx.folder / "ca.pem")))
    seen = [tuple(outcome.rsplit("|", 2)[1:]) for (outcome,) in outcomes]
    # nginx says the address of version 1 as it was written
    mapped = [("::ffff:c000:207", "40003")] * 2 + [("::ffff:192.0.2.7", "40003")] * 2
    assert seen == [("192.0.2.7", "40001")] * 4 + [("2001:db8::7", "40002")] * 4 + mapped + [("", "")] * 4


def test_haproxy_gets_the_address(stage, peer, tmp_path):
    command = peer("haproxy")
    root = authority()
    mine = root.issues("127.0.0.1")
    (tmp_path / "ca.pem").write_bytes(root.pem)
    (tmp_path / "both.pem").write_bytes(mine.pem + mine.key_pem())
    plain, tls = free_port(), free_port()
    (tmp_path / "haproxy.cfg").write_text(
        f"""
defaults
    mode http
    timeout client 10s
    timeout connect 10s
    timeout server 10s
frontend both
    bind 127.0.0.1:{plain} accept-proxy
    bind 127.0.0.1:{tls} accept-proxy ssl crt {tmp_path}/both.pem
    http-request return status 200 content-type text/plain lf-string "%[src]|%[src_port]|%[dst]|%[dst_port]"
"""
    )
    stage.run([command, "-db", "-f", str(tmp_path / "haproxy.cfg")], "haproxy")
    for port in (plain, tls):
        until(lambda port=port: listens(port), "HAProxy listens")
    outcomes = reach(stage, *announced(f"127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", str(tmp_path / "ca.pem")))
    known = [
        "192.0.2.7|40001|198.51.100.1|443",
        "2001:db8::7|40002|2001:db8::1|443",
        "::ffff:192.0.2.7|40003|2001:db8::1|443",
    ]
    assert [outcome for (outcome,) in outcomes[:12]] == [ends for ends in known for _ in range(4)]
    # what is not known is what the connection itself says
    assert all(outcome.startswith("127.0.0.1|") for (outcome,) in outcomes[12:])


# -- through the proxy


def test_through_the_proxy(stage, nginx):
    root = authority()
    (nginx.folder / "ca.pem").write_bytes(root.pem)
    nginx.serve("good", root.issues("a.test"))
    nginx.serve("wrong", root.issues("b.test"))
    nginx.start()
    good, wrong = (nginx.ports[name] for name in ("good", "wrong"))
    proxy = stage.configured(
        f"""
        [[listen]]
        endpoint = "LISTEN"
        [upstreams.app]
        backends = ["127.0.0.1:{wrong}", "127.0.0.1:{good}"]
        tls = {{ ca = "{nginx.folder}/ca.pem", name = "a.test" }}
        pool = {{ idle = 1 }}
        [upstreams.bad]
        backends = ["127.0.0.1:{wrong}"]
        tls = {{ ca = "{nginx.folder}/ca.pem", name = "a.test" }}
        [[routes]]
        upstream = "app"
        [[routes]]
        match = {{ path = "/bad" }}
        upstream = "bad"
        """
    )
    with Client(proxy.port) as client:
        for _ in range(4):
            assert client.get()[::2] == (200, b"TLSv1.3|.|a.test|NONE||")
        # nothing was sent to the wrong one, so that any method goes elsewhere
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        assert client.read()[0] == 200
        assert client.get("/bad")[0] == 502
    proxy.serves()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_client_is_announced(stage, nginx, version):
    root = authority()
    (nginx.folder / "ca.pem").write_bytes(root.pem)
    nginx.serve("tls", root.issues("127.0.0.1"), also=" proxy_protocol")
    nginx.start()
    proxy = stage.configured(
        f"""
        [[listen]]
        endpoint = "LISTEN"
        [upstreams.app]
        backends = ["https://127.0.0.1:{nginx.ports["tls"]}"]
        tls = {{ ca = "{nginx.folder}/ca.pem" }}
        proxy_protocol = "{version}"
        [[routes]]
        upstream = "app"
        """
    )
    for _ in range(2):
        with Client(proxy.port) as client:
            port = client.socket.getsockname()[1]
            for _ in range(2):
                status, _, body = client.get()
                assert status == 200
                assert body.decode().rsplit("|", 2)[1:] == ["127.0.0.1", str(port)]
