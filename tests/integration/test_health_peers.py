"""Health checks of real peers: nginx over TCP, a Unix socket and TLS, and some that misbehave."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.harness import Backend, Running, Stage, answers, until
from tests.integration.other_proxies import listens
from tests.integration.ports import free_port

Find = Callable[[str], str]
COMMAND = [sys.executable, "-m", "tests.integration.health_checks"]


def write_certificate(folder: Path, name: str) -> None:
    """Write a self-signed certificate for ``name`` and its key, ``NAME.pem`` and ``NAME.key``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@frozen
class Nginx:
    """Where it listens; the folder that trusts its certificate, and one that trusts another."""

    port: int
    tls_port: int
    path: Path
    trusted: Path
    distrusted: Path
    log: Path

    def tls(self, name: str = "localhost", trusted: bool = True) -> str:
        roots = self.trusted if trusted else self.distrusted
        return f"tls:{name}:trustRoots={roots}:endpoint=tcp\\:127.0.0.1\\:{self.tls_port}:port={self.tls_port}"


@pytest.fixture
def nginx(stage: Stage, peer: Find) -> Nginx:
    command = peer("nginx")
    folder = stage.folder / "nginx"
    (folder / "www").mkdir(parents=True)
    (folder / "www" / "large").write_bytes(b"-" * 65534 + b"ok" + b"-" * 1_000_000 + b"late")
    # opened up: its worker may run as somebody else
    for path in (folder, folder / "www", *folder.parents):
        if path.is_relative_to(stage.folder.parents[1]):
            path.chmod(0o755)
    trusted, distrusted = folder / "trusted", folder / "distrusted"
    for place, name in ((trusted, "localhost"), (distrusted, "other.example")):
        place.mkdir()
        write_certificate(place, name)
    made = Nginx(free_port(), free_port(), folder / "socket", trusted, distrusted, folder / "access.log")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"""
        {user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 64; }}
        http {{
            log_format asked '$request|$host|$http_user_agent|$http_connection|$http_x_probe|$status';
            access_log {made.log} asked; client_body_temp_path {folder}/body; {temporary}
            default_type text/plain; gzip on; gzip_types text/plain; gzip_min_length 1;
            server {{
                listen 127.0.0.1:{made.port};
                listen unix:{made.path};
                listen 127.0.0.1:{made.tls_port} ssl;
                ssl_certificate {trusted}/localhost.pem; ssl_certificate_key {trusted}/localhost.key;
                location / {{ root {folder}/www; }}
                location = /healthz {{ return 200 "all is ok"; }}
                location = /204 {{ return 204; }}
                location = /503 {{ return 503; }}
                location = /302 {{ return 302 /elsewhere; }}
                location = /chunked {{ ssi on; ssi_types text/plain; root {folder}/www; try_files /page =404; }}
            }}
        }}
        """
    )
    (folder / "www" / "page").write_text('all is <!--#echo var="request_method" --> ok')
    stage.run([command, "-p", str(folder), "-c", str(folder / "nginx.conf")], "nginx")
    until(lambda: listens(made.port), "nginx listens")
    return made


def results(stage: Stage, *checks: dict[str, Any]) -> list[str | None]:
    """Run these checks at the same time; their results. Every connection is gone soon afterwards."""
    process: Running = stage.run([*COMMAND, *map(json.dumps, checks)], "checks")
    process.says(r"left: 0\n")
    assert process.ends() == 0
    found: list[str | None] = json.loads(process.out.splitlines()[0])
    return found


def test_nginx_over_tcp(stage: Stage, nginx: Nginx) -> None:
    to = f"tcp:127.0.0.1:{nginx.port}"
    expected: list[tuple[dict[str, Any], str | None]] = [
        ({"path": "/healthz"}, None),
        ({"path": "/healthz", "status": ["204"]}, "status 200"),
        ({"path": "/204"}, None),
        ({"path": "/503"}, "status 503"),
        ({"path": "/503", "status": ["500-599"]}, None),
        ({"path": "/302"}, None),
        ({"path": "/302", "status": ["200-299"]}, "status 302"),
        ({"path": "/absent"}, "status 404"),
        ({"path": "/healthz", "body": "^all is ok$"}, None),
        ({"path": "/healthz", "body": "ill"}, "body without 'ill'"),
        ({"path": "/chunked", "body": "^all is GET ok$"}, None),
        ({"path": "/large", "body": "ok"}, None),
        ({"path": "/large", "body": "late"}, "body without 'late'"),
        ({"path": "/large"}, None),
        ({"path": "/large", "method": "HEAD"}, None),
        ({"type": "tcp"}, None),
    ]
    checks = [{"endpoint": to, **words} for words, _ in expected]
    assert results(stage, *checks) == [result for _, result in expected]


def test_what_nginx_is_asked(stage: Stage, nginx: Nginx) -> None:
    to = f"tcp:127.0.0.1:{nginx.port}"
    assert results(stage, {"endpoint": to, "path": "/healthz"}) == [None]
    words = {"path": "/204", "method": "POST", "host": "app.example", "headers": {"x-probe": "1", "user-agent": "us"}}
    assert results(stage, {"endpoint": to, **words}) == [None]
    lines = until(lambda: len(found := nginx.log.read_text().splitlines()) == 2 and found, "two lines")
    assert lines == [
        "GET /healthz HTTP/1.1|backend.internal|revproxy-health|close|-|200",
        "POST /204 HTTP/1.1|app.example|us|close|1|204",
    ]


def test_nginx_at_a_unix_socket(stage: Stage, nginx: Nginx) -> None:
    to = f"unix:{nginx.path}"
    nowhere = f"unix:{nginx.path}.absent"
    checks = [
        {"endpoint": to, "path": "/healthz", "body": "ok"},
        {"endpoint": to, "path": "/503"},
        {"endpoint": to, "type": "tcp"},
        {"endpoint": nowhere},
        {"endpoint": nowhere, "type": "tcp"},
    ]
    absent = "no such file or directory"
    assert results(stage, *checks) == [None, "status 503", None, absent, absent]


def test_nginx_over_tls(stage: Stage, nginx: Nginx) -> None:
    expected: list[tuple[dict[str, Any], str | None]] = [
        ({"endpoint": nginx.tls(), "type": "tls"}, None),
        ({"endpoint": nginx.tls(), "type": "tcp"}, None),
        ({"endpoint": nginx.tls(), "path": "/healthz", "body": "ok"}, None),
        ({"endpoint": nginx.tls(), "path": "/large", "body": "ok"}, None),
        ({"endpoint": nginx.tls(), "path": "/503"}, "status 503"),
        ({"endpoint": nginx.tls(trusted=False), "type": "tls"}, "TLS: certificate verify failed"),
        ({"endpoint": nginx.tls(trusted=False), "path": "/healthz"}, "TLS: certificate verify failed"),
        ({"endpoint": nginx.tls("wrong.example"), "type": "tls"}, "TLS: the certificate is for another name"),
        ({"endpoint": nginx.tls("wrong.example"), "path": "/healthz"}, "TLS: the certificate is for another name"),
        # no TLS where TLS is asked for, and the other way round
        ({"endpoint": f"tls:localhost:{nginx.port}:endpoint=tcp\\:127.0.0.1\\:{nginx.port}", "type": "tls"}, "TLS: "),
        ({"endpoint": f"tcp:127.0.0.1:{nginx.tls_port}"}, "status 400"),
    ]
    found = results(stage, *[words for words, _ in expected])
    for (words, result), there in zip(expected, found, strict=True):
        assert there == result or (result == "TLS: " and there and there.startswith(result)), words


def silent(connection: socket.socket) -> None:
    """Never answer, and wait to be left."""
    while connection.recv(65536):
        pass


def trickling(connection: socket.socket) -> None:
    """Answer a byte at a time, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.01)


def garbage(connection: socket.socket) -> None:
    connection.sendall(os.urandom(8) + b"\n" + b"\0" * 200_000)


def test_peers_that_misbehave(stage: Stage) -> None:
    quick = {"timeout": 0.4}
    port = free_port()
    mute, slow = stage.backend(silent).port, stage.backend(trickling).port
    checks = [
        {"endpoint": f"tcp:127.0.0.1:{mute}", **quick},
        {"endpoint": f"tls:localhost:{mute}:endpoint=tcp\\:127.0.0.1\\:{mute}", "type": "tls", **quick},
        {"endpoint": f"tls:localhost:{mute}:endpoint=tcp\\:127.0.0.1\\:{mute}", **quick},
        {"endpoint": f"tcp:127.0.0.1:{slow}", **quick},
        {"endpoint": f"tcp:127.0.0.1:{stage.backend(garbage).port}"},
        {"endpoint": f"tcp:127.0.0.1:{stage.backend(lambda connection: None).port}"},
        {"endpoint": f"tcp:127.0.0.1:{port}"},
        {"endpoint": f"tcp:127.0.0.1:{port}", "type": "tcp"},
        {"endpoint": "tcp:host.invalid:80"},
    ]
    found = results(stage, *checks)
    assert found[:5] == [
        "no answer within 0.4 s",
        "no TLS handshake within 0.4 s",
        "no TLS handshake within 0.4 s",
        "no end of the answer within 0.4 s",
        "bare CR or LF, or NUL, in a head",
    ]
    assert found[5] in ("closed before the answer", "cut before the answer")
    assert found[6:8] == ["connection refused", "connection refused"]
    assert found[8] in ("host not found", "no connection within 2 s")  # by how fast the resolver is


def test_a_backend_that_dies_and_comes_back(stage: Stage) -> None:
    backend = stage.backend(answers)
    written = {"endpoint": f"tcp:127.0.0.1:{backend.port}", "interval": 0.1, "timeout": 0.1, "fall": 3, "rise": 2}
    watching = stage.run([*COMMAND, "--watch", json.dumps(written)], "watch")
    watching.says("watching")
    until(lambda: backend.connections >= 2, "it is asked")
    backend.finish()
    watching.says(r"down: 3 checks failed, the last: connection refused\n")
    again = Backend(answers, port=backend.port)
    try:
        watching.says(r"up: 2 checks passed\n")
    finally:
        again.finish()
    assert len(re.findall("^(?:up|down):", watching.out, re.M)) == 2
