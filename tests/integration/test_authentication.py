"""Authentication by real peers: a file of htpasswd, keys over TLS, a service in a process of its own."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from shutil import which

import jwt as pyjwt
import pytest

from tests.auth.kit import basic_field, jwks, key
from tests.certificates import authority
from tests.integration.harness import Client, Stage, answers, read_head

CONFIG = """
[[listen]]
endpoint = "LISTEN"
[access_log]
enabled = false
[upstreams.app]
backends = ["tcp:127.0.0.1:{app}"]
[upstreams.sso]
backends = ["tcp:127.0.0.1:{sso}"]
[[routes]]
match = {{ path = "/basic" }}
upstream = "app"
auth = {{ basic = {{ file = "users" }} }}
[[routes]]
match = {{ path = "/jwt" }}
upstream = "app"
auth = {{ jwt = {{ algorithms = "RS256", jwks = "https://localhost:{keys}/jwks", ca = "ca.pem" }} }}
[[routes]]
match = {{ path = "/forward*" }}
upstream = "app"
auth = {{ forward = {{ upstream = "sso", path = "/verify", copy_response = "Remote-User" }} }}
"""

SERVICE = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Verify(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/verify" or self.headers["X-Forwarded-Uri"].startswith("/forward-closed"):
            status, more = 500, {}
        elif "session=good" in (self.headers["Cookie"] or ""):
            status, more = 200, {"Remote-User": "alice"}
        else:
            status, more = 302, {"Location": "https://sso.example/?rd=" + self.headers["X-Original-URL"]}
        self.send_response(status)
        for name, value in {**more, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

server = ThreadingHTTPServer(("127.0.0.1", 0), Verify)
print("port", server.server_port, flush=True)
server.serve_forever()
"""


def ask(client, target, *fields):
    return client.get(target, *fields)[:2]


@pytest.mark.skipif(which("htpasswd") is None, reason="needs htpasswd of apache2-utils")
def test_real_peers(stage: Stage) -> None:
    folder = stage.folder
    subprocess.run(["htpasswd", "-cbB", folder / "users", "alice", "a"], check=True, capture_output=True)
    ours = authority()
    (folder / "ca.pem").write_bytes(ours.pem)
    certificate, private = ours.issues("localhost").write(folder, "keys")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    published = [jwks(("one", key()))]
    fetched = []

    def serve_keys(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            read_head(tls)  # type: ignore[arg-type]  # a socket all the same
            fetched.append(time.monotonic())
            body = published[0]
            tls.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    (folder / "service.py").write_text(SERVICE)
    service = stage.run([sys.executable, str(folder / "service.py")], "service")
    sso = int(service.says(r"port (\d+)")[1])
    app, keys = stage.backend(answers), stage.backend(serve_keys)
    proxy = stage.configured(CONFIG.format(app=app.port, sso=sso, keys=keys.port))

    def token(number: int = 0, kid: str = "one") -> str:
        made = pyjwt.encode(
            {"sub": "bob", "exp": time.time() + 600},
            key("RS256", number).as_pem(private=True),
            algorithm="RS256",
            headers={"kid": kid},
        )
        return f"Authorization: Bearer {made}"

    with Client(proxy.port) as client:
        assert ask(client, "/basic")[0] == 401
        assert ask(client, "/basic", basic_field("alice", "b"))[0] == 401
        started = time.monotonic()
        assert ask(client, "/basic", basic_field("alice", "a"))[0] == 200
        assert ask(client, "/basic", basic_field("nobody", "a"))[0] == 401
        assert time.monotonic() - started < 10

        assert ask(client, "/jwt", token())[0] == 200
        assert ask(client, "/jwt", token(1))[0] == 401
        assert ask(client, "/jwt", token(1, "two"))[0] == 401  # keys were fetched a moment ago
        assert len(fetched) == 1

        assert ask(client, "/forward", "Cookie: session=good")[0] == 200
        status, fields = ask(client, "/forward?x=1")
        assert (status, fields["location"]) == (302, "https://sso.example/?rd=http://x/forward?x=1")
        assert ask(client, "/forward-closed", "Cookie: session=good")[0] == 502
        service.signal(9)
        service.ends()
        assert ask(client, "/forward", "Cookie: session=good")[0] == 503
