"""The PROXY protocol from those who send it, before TLS and before plain HTTP: HAProxy, nginx, and peers by hand."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Client, Proxy, Stage, fields_of, until
from tests.integration.other_proxies import listens
from tests.integration.ports import free_port
from tests.integration.secure import ROOT, TlsClient, client_context, lines_with, tells, write_certificates
from tests.peers import peers_required

#: Where clients connect from, so that they are told apart from who stands between (Linux has all of 127/8).
FAR = "127.0.0.77"
CONFIG = """
[[listen]]
name = "plain"
endpoint = "LISTEN"
proxy_protocol = ["127.0.0.1/32"]

[[listen]]
name = "tls"
endpoint = "LISTEN"
proxy_protocol = ["127.0.0.1/32"]
tls = { certificates = "certs", default = "a.example", handshake_timeout = "1s" }

[upstreams.app]
backends = ["tcp:127.0.0.1:BACKEND"]

[[routes]]
upstream = "app"
"""


class Front:
    """revproxy behind others."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        write_certificates(stage.folder)
        backend = stage.backend(tells)
        self.proxy: Proxy = stage.configured(CONFIG.replace("BACKEND", str(backend.port)), listeners=2)
        self.plain, self.tls = self.proxy.ports


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    stage = Stage(tmp_path_factory.mktemp("proxied"))
    yield Front(stage)
    stage.close()


class FarClient(Client):
    """A client that connects from :data:`FAR`."""

    def __init__(self, port: int, *, tls: bool = False) -> None:
        self.socket: Any = socket.create_connection(("127.0.0.1", port), 10, (FAR, 0))
        self._buffer = b""
        self.port = self.socket.getsockname()[1]
        if tls:
            self.socket = client_context(ROOT).wrap_socket(self.socket, server_hostname="a.example")


def told(client: Client) -> dict[str, str]:
    """What the backend was told of a request."""
    client.send(b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n")
    status, _, body = client.read()
    assert status == 200
    return fields_of(body)


@pytest.fixture(scope="module")
def haproxy(front: Front, peer: Any) -> dict[str, int]:
    """Ports of HAProxy, by what it sends and whether to the listener with TLS."""
    ports: dict[str, int] = {}
    text = (
        "global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
    )
    for option in ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"):
        for kind, port in (("plain", front.plain), ("tls", front.tls)):
            name = f"{option} {kind}"
            ports[name] = free_port()
            text += f"listen l{ports[name]}\n  bind 127.0.0.1:{ports[name]}\n  server s 127.0.0.1:{port} {option}\n"
    ports["own tls"] = free_port()
    text += f"listen own\n  mode http\n  bind 127.0.0.1:{ports['own tls']}\n"
    text += f"  server s 127.0.0.1:{front.tls} send-proxy-v2 ssl verify none sni str(a.example)\n"
    path = front.stage.folder / "haproxy.cfg"
    path.write_text(text)
    front.stage.run([peer("haproxy"), "-db", "-f", str(path)], "haproxy")
    until(lambda: all(listens(port) for port in ports.values()), "HAProxy listens")
    return ports


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_haproxy_passes_bytes_on(front: Front, haproxy: dict[str, int], option: str, kind: str) -> None:
    with FarClient(haproxy[f"{option} {kind}"], tls=kind == "tls") as client:
        for _ in range(2):
            fields = told(client)
            assert fields["x-forwarded-for"] == FAR
            assert fields["x-forwarded-proto"] == ("https" if kind == "tls" else "http")
    front.proxy.says(rf'(?m)^{FAR} .*"GET /x HTTP/1.1" 200')


def test_haproxy_speaks_tls_to_us(front: Front, haproxy: dict[str, int]) -> None:
    with FarClient(haproxy["own tls"]) as client:
        fields = told(client)
    assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == (FAR, "https")


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_nginx_passes_bytes_on(front: Front, peer: Any, kind: str, tmp_path: Path) -> None:
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    command = peer("nginx")
    if not os.path.exists(module):
        assert not peers_required(), f"there is no {module}"
        pytest.skip("nginx has no stream module here")
    port = free_port()
    ours = front.tls if kind == "tls" else front.plain
    (tmp_path / "nginx.conf").write_text(
        f"""
        {"user root;" if os.geteuid() == 0 else ""}
        load_module {module};
        worker_processes 1; daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log crit;
        events {{ }}
        stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{ours}; proxy_protocol on; }} }}
        """
    )
    front.stage.run([command, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")], f"nginx-{kind}")
    until(lambda: listens(port), "nginx listens")
    with FarClient(port, tls=kind == "tls") as client:
        assert told(client)["x-forwarded-for"] == FAR


# -- by hand

V1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 443\r\n"


def test_who_is_listed_and_who_is_not(front: Front) -> None:
    with Client(front.plain) as listed:
        listed.send(V1)
        assert told(listed)["x-forwarded-for"] == "203.0.113.9"
    with TlsClient(front.tls, first=V1) as listed:
        assert told(listed)["x-forwarded-for"] == "203.0.113.9"
    with FarClient(front.plain) as stranger:
        assert told(stranger)["x-forwarded-for"] == FAR
    with FarClient(front.plain) as stranger:
        stranger.send(V1 + b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert stranger.read()[0] == 400
    with FarClient(front.tls) as stranger:
        stranger.send(V1)
        assert stranger.read()[0] == 400


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 20, b"PROXY TCP4 1.2.3.4\r\n", b"\x16\x03\x01"]
)
def test_garbage_instead_of_a_header(front: Front, garbage: bytes) -> None:
    for port in (front.plain, front.tls):
        with Client(port) as client:
            client.send(garbage)
            assert client.is_closed(5)


def test_a_header_has_its_time(front: Front) -> None:
    with Client(front.tls) as client:
        client.send(V1[:20])
        assert client.is_closed(5)


def test_the_log_is_short(front: Front) -> None:
    assert len(lines_with(front.proxy.err, "client-bad-proxy-line")) == 1
    assert "Traceback" not in front.proxy.output
