"""Every file under docs/examples runs, and does what it says, over real sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
TIME = 20  # seconds for anything here; a second is what it takes


class Echo(BaseHTTPRequestHandler):
    """Says what it was asked, and for uploads how much came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        body = f"backend: {self.command} {self.path} {self.headers['Host']} {size}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def backend() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"tcp:127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(TIME)


class Example:
    """A running example."""

    def __init__(self, name: str, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def address(self) -> str:
        """Where it listens: its first line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line.startswith("http://"):
            pytest.fail(f"the example says {line!r}\n{self.stop()}")
        return urlsplit(line).netloc

    def ask(self, path: str, host: str = "example.com", method: str = "GET", body: bytes | None = None) -> str:
        """The body of an answer, or its status where that is not 200."""
        connection = HTTPConnection(self.netloc, timeout=TIME)
        try:
            connection.request(method, path, body, {"Host": host})
            response = connection.getresponse()
            text = response.read().decode()
            return text if response.status == 200 else str(response.status)
        finally:
            connection.close()

    def stop(self) -> str:
        self.process.terminate()
        try:
            return self.process.communicate(timeout=TIME)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[1]

    def __enter__(self) -> Example:
        self.netloc = self.address()
        return self

    def __exit__(self, *exception: object) -> None:
        errors = self.stop()
        assert "Traceback" not in errors, errors


def test_embed_resource(backend: str) -> None:
    with Example("embed_resource.py", "0", backend) as example:
        assert example.ask("/") == "this page is served here\n"
        assert example.ask("/api/x?q=1") == "backend: GET /x?q=1 example.com 0"
        assert example.ask("/old/x", method="PUT", body=bytes(300_000)) == "backend: PUT /v1/x example.com 300000"


def test_virtual_hosts(backend: str) -> None:
    with Example("virtual_hosts.py", "0", backend) as example:
        assert example.ask("/", "www.example.com") == "welcome\n"
        assert example.ask("/x", "api.example.com") == "backend: GET /x api.example.com 0"
        assert example.ask("/x", "me.users.example.com") == "backend: GET /users/x me.users.example.com 0"
        assert example.ask("/") == "nobody by that name lives here\n"


def test_path_tree(backend: str) -> None:
    with Example("path_tree.py", "0", backend) as example:
        assert example.ask("/x") == "the rest\n"
        assert example.ask("/api/x") == "backend: GET /x example.com 0"
        assert example.ask("/api/version") == "1\n"
        assert example.ask("/photo-7") == "backend: GET /photos/photo-7 example.com 0"


def test_site(backend: str) -> None:
    with Example("site.py", "0", backend) as example:
        assert example.ask("/") == "this page is served here\n"
        assert example.ask("/api/x", method="POST", body=bytes(3_000_000)) == "backend: POST /x example.com 3000000"
        assert example.ask("/late/x") == "backend: GET /x example.com 0"
        assert example.ask("/none") == "404"


def test_service(backend: str) -> None:
    with Example("service.py", PORT="0", BACKEND=backend) as example:
        assert example.ask("/x") == "backend: GET /x example.com 0"
        assert example.ask("/about") == "answered by the proxy\n"


def test_live_upstream(backend: str) -> None:
    other = f"{backend}:timeout=5"  # the same one by another address
    with Example("live_upstream.py", "0", backend, other) as example:
        assert example.ask("/backends") == f"{backend} up\n{other} up\n"
        assert example.ask("/app/x") == "backend: GET /x example.com 0"
        assert example.ask(f"/backends?drain={backend}", method="POST") == f"{backend} drained\n{other} up\n"
        assert example.ask("/app/x") == "backend: GET /x example.com 0"
        example.ask(f"/backends?drain={other}", method="POST")
        assert example.ask("/app/x") == "503"
        assert example.ask(f"/backends?resume={other}", method="POST") == f"{backend} drained\n{other} up\n"
        assert example.ask("/app/x") == "backend: GET /x example.com 0"


def test_klein_app(backend: str) -> None:
    pytest.importorskip("klein")
    with Example("klein_app.py", "0", backend) as example:
        assert example.ask("/") == "Klein answers\n"
        assert example.ask("/hello/you") == "hello you\n"
        assert example.ask("/api/hello/you") == "backend: GET /hello/you example.com 0"
        assert example.ask("/none") == "404"


def test_treq_agent(backend: str) -> None:
    pytest.importorskip("treq")
    example = Example("treq_agent.py", backend)
    out, errors = example.process.communicate(timeout=TIME)
    assert out.splitlines() == ["200 37", "200 37", "connections: 1"], errors
    assert "Traceback" not in errors


def test_no_example_is_left_out() -> None:
    source = Path(__file__).read_text()
    for path in sorted(EXAMPLES.glob("*.py")):
        assert f'"{path.name}"' in source
