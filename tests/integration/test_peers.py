"""Real peers on both sides: nginx and node as backends, curl and HAProxy as clients."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from revproxy.demo.websocket import BINARY, CLOSE, TEXT, accept_key, frame
from tests.integration.harness import Backend, Client, Proxy, Stage, answers, exchange, requests_on, until
from tests.integration.other_proxies import listens
from tests.integration.ports import free_port

Find = Callable[[str], str]
TEXT_FILE = b"".join(b"line %d of a text that compresses well\n" % n for n in range(20_000))


def start_nginx(stage: Stage, command: str) -> int:
    """Serve a folder, gzip'd where asked for, and chunked answers under /chunked; return the port."""
    port, other = free_port(), free_port()
    folder = stage.folder / "nginx"
    (folder / "www").mkdir(parents=True)
    (folder / "www" / "text").write_bytes(TEXT_FILE)
    (folder / "www" / "small").write_bytes(b"0123456789")
    # opened up: its worker may run as somebody else
    for path in (folder, folder / "www", *folder.parents):
        if path.is_relative_to(stage.folder.parents[1]):
            path.chmod(0o755)
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"""
        {user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 512; }}
        http {{
            access_log {folder}/access.log; client_body_temp_path {folder}/body; {temporary}
            default_type text/plain; gzip on; gzip_types text/plain; gzip_proxied any; gzip_min_length 100;
            keepalive_requests 50;
            server {{
                listen 127.0.0.1:{port};
                location / {{ root {folder}/www; }}
                location = /status/204 {{ return 204; }}
                location = /where {{ return 302 http://127.0.0.1:{port}/small; }}
                location = /upload {{
                    client_max_body_size 0; proxy_pass http://127.0.0.1:{other}; proxy_set_header Connection "";
                    proxy_http_version 1.1;
                }}
            }}
            server {{
                listen 127.0.0.1:{other};
                location / {{ return 200 "$request_method $content_length $server_protocol"; }}
            }}
        }}
        """
    )
    stage.run([command, "-p", str(folder), "-c", str(folder / "nginx.conf")], "nginx")
    until(lambda: listens(port), "nginx listens")
    return port


@pytest.fixture
def nginx(stage: Stage, peer: Find) -> int:
    return start_nginx(stage, peer("nginx"))


@pytest.fixture
def curl(stage: Stage, peer: Find) -> Callable[..., bytes]:
    command = peer("curl")

    def run(*arguments: str) -> bytes:
        done = subprocess.run(
            [command, "-sS", "--max-time", "20", "--noproxy", "*", *arguments],
            cwd=stage.folder,
            env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


# -- nginx behind us


def test_nginx_as_a_backend(stage: Stage, nginx: int) -> None:
    proxy = stage.proxy_to(nginx)
    with Client(proxy.port) as client:
        for _ in range(120):  # nginx closes each connection after 50 requests
            assert client.get("/small")[::2] == (200, b"0123456789")
        status, fields, body = client.get("/text")
        assert (status, body) == (200, TEXT_FILE)
        assert "server" not in fields
        status, fields, body = client.get("/text", "Accept-Encoding: gzip")
        assert fields["content-encoding"] == "gzip"
        # what comes as a whole with its head gets a length
        assert fields.get("transfer-encoding") == "chunked" or fields["content-length"] == str(len(body))
        assert gzip.decompress(body) == TEXT_FILE
        assert client.get("/status/204")[::2] == (204, b"")
        assert client.get("/absent")[0] == 404
        status, fields, _ = client.get("/where")
        assert (status, fields["location"]) == (302, "http://x/small")
        status, fields, body = client.get("/small", "Range: bytes=2-4")
        assert (status, fields["content-range"], body) == (206, "bytes 2-4/10", b"234")
        status, fields, _ = client.get("/small")
        assert client.get("/small", f"If-None-Match: {fields['etag']}")[0] == 304
        client.send(b"HEAD /text HTTP/1.1\r\nHost: x\r\n\r\n")
        status, fields, _ = client.read(head_only=True)
        assert (status, fields["content-length"]) == (200, str(len(TEXT_FILE)))
        assert client.get("/small")[0] == 200
    connections = len((stage.folder / "nginx" / "access.log").read_text().splitlines())
    assert connections >= 120


def test_uploads_to_nginx(stage: Stage, nginx: int) -> None:
    proxy = stage.proxy_to(nginx)
    body = os.urandom(300_000)
    with Client(proxy.port) as client:
        for _ in range(3):
            client.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            assert client.read()[::2] == (200, b"POST 300000 HTTP/1.1")
            client.send(b"PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(body), 50_000):
                client.send(b"%x\r\n%b\r\n" % (50_000, body[at : at + 50_000]))
            client.send(b"0\r\n\r\n")
            assert client.read()[::2] == (200, b"PUT 300000 HTTP/1.1")  # nginx buffers and counts


# -- node behind us

NODE_SERVER = """
const http = require('http');
const server = http.createServer((request, response) => {
  if (request.url === '/trailers') {
    response.writeHead(200, {'Trailer': 'x-sum', 'Transfer-Encoding': 'chunked'});
    response.write('abc'); response.addTrailers({'x-sum': '294'}); response.end();
  } else if (request.url === '/hints') {
    response.writeEarlyHints({link: '</style.css>; rel=preload; as=style'}, () => response.end('after'));
  } else {
    let size = 0;
    request.on('data', (data) => { size += data.length; });
    request.on('end', () => response.end(request.method + ' ' + size));
  }
});
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n');
  socket.on('data', (data) => socket.write(data));
  socket.on('end', () => socket.end('bye'));
  socket.allowHalfOpen = true;
});
server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
"""


def test_node_as_a_backend(stage: Stage, peer: Find) -> None:
    (stage.folder / "server.js").write_text(NODE_SERVER)
    node = stage.run([peer("node"), "server.js"], "node")
    proxy = stage.proxy_to(int(node.says(r"port (\d+)")[1]))
    with Client(proxy.port) as client:
        assert client.get()[::2] == (200, b"GET 0")
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000)
        assert client.read()[::2] == (200, b"POST 100000")
        assert client.get("/hints")[0] == 103
        assert client.read()[::2] == (200, b"after")
        client.send(b"GET /trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
        status, fields = client.read_head()
        assert (status, fields["transfer-encoding"]) == (200, "chunked")
        got = client._buffer
        while not got.endswith(b"\r\n\r\n"):
            got += client.socket.recv(65536)
        assert got == b"3\r\nabc\r\n0\r\nx-sum: 294\r\n\r\n"
    with Client(proxy.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert client.read_head()[0] == 101
        client.send(b"to and fro")
        assert client.socket.recv(100) == b"to and fro"
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == b"bye"


# -- curl before us


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Return a proxy in front of a bundled demo backend, for all tests here."""
    stage = Stage(tmp_path_factory.mktemp("demo"))
    yield stage.proxy_to(stage.demo())
    stage.close()


def test_curl_versions_and_methods(demo: Proxy, curl: Callable[..., bytes], tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{demo.port}"
    for version, keeps in (("--http1.0", b"HTTP/1.1 200"), ("--http1.1", b"HTTP/1.1 200")):
        head, _, body = curl(version, "-i", f"{base}/api/echo").partition(b"\r\n\r\n")
        assert head.startswith(keeps)
        seen = json.loads(body)
        assert (seen["method"], seen["target"], seen["version"]) == ("GET", "/api/echo", "HTTP/1.1")
    assert json.loads(curl("-X", "OPTIONS", f"{base}/api/x"))["method"] == "OPTIONS"
    assert json.loads(curl("-X", "BREW", f"{base}/api/x"))["method"] == "BREW"
    head = curl("-I", f"{base}/download?size=1000").lower()
    assert b"content-length: 1000" in head
    # two requests, one connection
    said = curl("-w", "%{num_connects} ", "-o", "a", f"{base}/", "-o", "b", f"{base}/")
    assert said.split() == [b"1", b"0"]


def test_curl_uploads_with_and_without_expect(demo: Proxy, curl: Callable[..., bytes], tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{demo.port}"
    (tmp_path / "body").write_bytes(os.urandom(1_500_000))  # curl asks with Expect above 1 MB
    for arguments in (
        ["-T", "body"],
        ["-T", "body", "-H", "Expect:"],
        ["-X", "POST", "--data-binary", "@body", "-H", "Expect: 100-continue"],
        ["-T", "body", "-H", "Transfer-Encoding: chunked"],
        ["--http1.0", "-T", "body"],
    ):
        assert json.loads(curl(*arguments, f"{base}/upload"))["received"] == 1_500_000, arguments


def test_curl_gets_what_is_odd(demo: Proxy, curl: Callable[..., bytes], tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{demo.port}"
    assert b"103 Early Hints" in curl("-i", f"{base}/early-hints")
    assert curl("-N", f"{base}/events?count=3&gap=0.05").count(b"data: ") == 3
    assert len(curl(f"{base}/download?size=20000000")) == 20_000_000
    assert curl("-o", "x", "-w", "%{http_code}", f"{base}/fail?status=503") == b"503"
    with pytest.raises(AssertionError, match=r"transfer closed|reset by peer|partial|bytes remaining"):
        curl(f"{base}/cut?declared=100000&sent=100")
    with pytest.raises(AssertionError, match=r"transfer closed|reset by peer|partial|closed|eset"):
        curl("--http1.0", f"{base}/cut?declared=100000&sent=100")


def test_slow_answer_does_not_hold_up_others(demo: Proxy) -> None:
    with Client(demo.port) as slow, Client(demo.port) as quick:
        slow.send(b"GET /slow?seconds=0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(10):
            assert quick.get("/api/x")[0] == 200
        slow.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.socket.recv(1)
        slow.socket.settimeout(10)
        assert slow.read()[0] == 200


def test_pipelined_requests_are_answered_in_order(stage: Stage) -> None:
    def echo_target(connection: socket.socket) -> None:
        for head, body in requests_on(connection):
            text = head.split(b" ")[1] + body
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    proxy = stage.proxy_to(stage.backend(echo_target).port)
    wanted = []
    sent = b""
    for number in range(200):
        if number % 3:
            sent += b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number
            wanted.append(b"/%d" % number)
        elif number % 2:
            sent += b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" % number
            wanted.append(b"/%dabc" % number)
        else:
            sent += b"POST /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" % number
            wanted.append(b"/%dab" % number)
    with Client(proxy.port) as client:
        client.send(sent)
        assert [client.read()[2] for _ in wanted] == wanted
        for at in range(0, 2000, 7):  # the same in splinters
            client.send(sent[:2000][at : at + 7])
        whole = [text for text in wanted if sent[:2000].count(text.rstrip(b"abc") + b" ")]
        assert [client.read()[2] for _ in whole[:20]] == wanted[:20]


# -- WebSocket through us


def test_websocket_to_the_demo_backend(demo: Proxy) -> None:
    key = b"dGhlIHNhbXBsZSBub25jZQ=="
    with Client(demo.port) as client:
        client.send(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        status, fields = client.read_head()
        assert (status, fields["upgrade"]) == (101, "websocket")
        assert fields["sec-websocket-accept"].encode() == accept_key(key)
        for payload in (b"", b"a", b"b" * 125, b"c" * 126, b"d" * 70_000, b"e" * 900_000):
            client.send(frame(BINARY, payload, mask=b"abcd"))
            wanted = frame(BINARY, payload)
            got = b""
            while len(got) < len(wanted):
                got += client.socket.recv(65536)
            assert got == wanted
        client.send(frame(TEXT, "grüß".encode(), mask=b"\0\1\2\3"))
        assert client.socket.recv(100) == frame(TEXT, "grüß".encode())
        client.send(frame(CLOSE, b"\x03\xe8", mask=b"abcd"))
        assert client.rest() == frame(CLOSE, b"\x03\xe8")
    assert exchange(demo.port, b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 426
    demo.serves()


def test_a_tunnel_that_the_backend_ends_is_closed(stage: Stage) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    proxy = stage.proxy_to(stage.backend(serve).port)
    before = proxy.descriptors()
    for _ in range(10):
        with Client(proxy.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert client.read_head()[0] == 101
            client.send(b"more")
            assert (client._buffer + client.rest()) == b"bye"
    proxy.settles(before)


# -- HAProxy before us


def test_haproxy_before_us(stage: Stage, peer: Find) -> None:
    backend: Backend = stage.backend(answers)
    proxy = stage.proxy_to(backend.port)
    port = free_port()
    (stage.folder / "haproxy.cfg").write_text(
        f"""
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  option httpchk GET /alive
  server s 127.0.0.1:{proxy.port} check inter 200ms
"""
    )
    stage.run([peer("haproxy"), "-db", "-f", "haproxy.cfg"], "haproxy")
    until(lambda: listens(port), "HAProxy listens")
    with Client(port) as client:
        for _ in range(50):
            assert client.get()[::2] == (200, b"GET 0\n")
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000)
        assert client.read()[::2] == (200, b"POST 100000\n")
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert client.read()[::2] == (200, b"POST 3\n")
    proxy.serves()
