"""TLS listeners of a real process, asked by curl, OpenSSL's own client, sslyze and Python's."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import authority
from tests.integration import h2peer
from tests.integration.harness import Client, Proxy, Stage, until
from tests.integration.secure import (
    ROOT,
    TlsClient,
    client_context,
    curl,
    lines_with,
    openssl,
    tells,
    write_certificates,
)
from tests.tls import handshake
from tests.tls.handshake import TLS12, TLS13

NAMES = ("main", "strict", "modern", "asks", "may")
CONFIG = """
[access_log]
format = "json"

[[listen]]
name = "main"
endpoint = "LISTEN"
[listen.tls]
certificates = "certs"
default = "other.example"
hsts = { max_age = "365d", subdomains = true }
handshake_timeout = "2s"

[[listen]]
name = "strict"
endpoint = "LISTEN"
tls = { certificates = "certs", strict_sni = true }

[[listen]]
name = "modern"
endpoint = "LISTEN"
tls = { certificates = "certs", profile = "modern", default = "a.example" }

[[listen]]
name = "asks"
endpoint = "LISTEN"
tls = { certificates = "certs", client = "root.pem" }

[[listen]]
name = "may"
endpoint = "LISTEN"
tls = { certificates = "certs", client = { ca = "root.pem", required = false } }

[upstreams.app]
backends = ["tcp:127.0.0.1:BACKEND"]

[[routes]]
match = { path = "/fixed" }
respond = { status = 200, body = "fixed" }

[[routes]]
match = { path = "/ops", client_certificate = "DNS:ops.example" }
respond = { status = 200, body = "welcome" }

[[routes]]
match = { path = "/ops" }
respond = 403

[[routes]]
headers.request = { set = { x-client-cert-subject = "$tls_client_subject" } }
upstream = "app"
"""


class Site:
    """The proxy of this module, its ports by name, and its folder."""

    def __init__(self, stage: Stage) -> None:
        self.folder = stage.folder
        self.certificates = write_certificates(stage.folder)
        backend = stage.backend(tells)
        text = CONFIG.replace("BACKEND", str(backend.port))
        self.proxy: Proxy = stage.configured(text, listeners=len(NAMES))
        self.ports = dict(zip(NAMES, self.proxy.ports, strict=True))
        shows = self.folder / "shows"
        shows.mkdir()
        self.client = ROOT.issues("ops.example", called="alice").write(shows, "alice")
        self.stranger = authority("Others").issues("ops.example").write(shows, "stranger")

    def __getitem__(self, name: str) -> int:
        return self.ports[name]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    stage = Stage(tmp_path_factory.mktemp("tls"))
    yield Site(stage)
    stage.close()


# -- versions, suites and protocols


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(("asked", "spoken"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl(site: Site, peer: Any, version: str, asked: str, spoken: str) -> None:
    said = curl(
        peer("curl"),
        site.folder,
        site["main"],
        "https://a.example/x",
        asked,
        "--tls-max",
        version,
        "-w",
        "%{http_version} %{ssl_verify_result} %header{strict-transport-security}",
    )
    assert said.startswith("GET /x HTTP/1.1\n")
    assert said.endswith(f"{spoken} 0 max-age=31536000; includeSubDomains")
    assert "X-Forwarded-Proto: https\n" in said


@pytest.mark.parametrize(
    ("name", "options", "there"),
    [
        ("main", ("-tls1_2",), True),
        ("main", ("-tls1_3",), True),
        ("main", ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"), False),
        ("modern", ("-tls1_2",), False),
        ("modern", ("-tls1_3",), True),
        ("main", ("-tls1_2", "-cipher", "AES128-GCM-SHA256"), False),  # no forward secrecy
        ("main", ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"), False),  # no AEAD
        ("main", ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), True),
        ("main", ("-groups", "P-384"), True),
        ("main", ("-groups", "P-521"), False),
    ],
)
def test_openssl(site: Site, peer: Any, name: str, options: tuple[str, ...], there: bool) -> None:
    said = openssl(peer("openssl"), site[name], *options)
    assert ("Cipher is (NONE)" not in said) == there, said
    if there:
        assert "Compression: NONE" in said


def test_renegotiation_is_refused(site: Site, peer: Any) -> None:
    said = openssl(peer("openssl"), site["main"], "-tls1_2", "-legacy_server_connect", says="R\nQ\n")
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said


def test_what_is_wrong_is_no_traceback(site: Site) -> None:
    for data in (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x80\x2e\x01\x03\x01", bytes(100), b"\x16" * 4000):
        with Client(site["main"]) as client:
            client.send(data)
            assert client.rest()[:1] in (b"", b"\x15")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_byte_at_a_time(site: Site, version: ssl.TLSVersion) -> None:
    client = handshake.Client(client_context(ROOT, version=version))
    with socket.create_connection(("127.0.0.1", site["main"]), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def trickle(data: bytes) -> None:
            for at in range(len(data)):
                connection.sendall(data[at : at + 1])
                time.sleep(0.0002)  # so that they come one by one

        trickle(client.hello)
        while not client.turn():
            trickle(client.outgoing.read())
            client.incoming.write(connection.recv(65536))
        trickle(client.outgoing.read())
        client.ssl.write(b"GET /fixed HTTP/1.1\r\nHost: a.example\r\n\r\n")
        trickle(client.outgoing.read())
        said = b""
        while not said.endswith(b"fixed"):
            client.incoming.write(connection.recv(65536))
            try:
                said += client.ssl.read(65536)
            except ssl.SSLWantReadError:
                pass
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")


# -- which certificate


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("a.example", "a.example"),
        ("A.Example", "a.example"),
        ("x.b.example", "*.b.example"),
        ("b.example", "other.example"),
        ("y.x.b.example", "other.example"),
        ("nobody.example", "other.example"),
        (None, "other.example"),
    ],
)
def test_the_certificate_for_a_name(site: Site, peer: Any, name: str | None, subject: str) -> None:
    assert f"subject=CN = {subject}\n" in openssl(peer("openssl"), site["main"], name=name)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(
    ("can", "kind"),
    [("ECDSA+SHA256:RSA-PSS+SHA256", "ECDSA"), ("RSA-PSS+SHA256:RSA+SHA256", "RSA-PSS"), (None, "ECDSA")],
)
def test_the_certificate_that_a_client_can_check(
    site: Site, peer: Any, version: str, can: str | None, kind: str
) -> None:
    options = () if can is None else ("-sigalgs", can)
    assert f"Peer signature type: {kind}\n" in openssl(peer("openssl"), site["main"], version, *options)


def test_unknown_names_are_refused_and_fill_no_log(site: Site, peer: Any) -> None:
    said = openssl(peer("openssl"), site["strict"], name="nobody.example")
    assert "unrecognized name" in said
    context = client_context(ROOT)
    for _ in range(200):
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            TlsClient(site["strict"], "nobody.example", context)
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        TlsClient(site["strict"], None, client_context())
    with TlsClient(site["strict"]) as client:
        assert client.get("/fixed")[0] == 200
    assert len(lines_with(site.proxy.output, "tls-unrecognized-name")) == 1


# -- resumption


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("name", ["main", "may"])
def test_resumption(site: Site, peer: Any, tmp_path: Path, version: str, name: str) -> None:
    kept = str(tmp_path / "session")
    command = peer("openssl")
    # "Q" would be read before the tickets of TLS 1.3 come
    asks = "GET /fixed HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
    first = openssl(command, site[name], version, "-ign_eof", "-sess_out", kept, says=asks)
    assert "New, TLSv1." in first and "fixed" in first
    again = openssl(command, site[name], version, "-ign_eof", "-sess_in", kept, says=asks)
    assert "Reused, TLSv1." in again and "fixed" in again


# -- client certificates


def test_a_certificate_is_required(site: Site) -> None:
    client = TlsClient(site["asks"], context=client_context(ROOT, version=TLS13))  # it hears of it afterwards
    with client, pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        client.get()
    with pytest.raises(ssl.SSLError):
        TlsClient(site["asks"], context=client_context(ROOT, version=TLS12))
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca|decrypt"):
        TlsClient(site["asks"], context=client_context(ROOT, version=TLS12, shows=site.stranger))
    with TlsClient(site["asks"], context=client_context(ROOT, shows=site.client)) as client:
        assert client.get("/ops")[::2] == (200, b"welcome")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_who_a_client_is(site: Site, version: ssl.TLSVersion) -> None:
    said = {}
    forged = ("X-Client-Cert-Subject: CN=root", "X-SSL-Client-S-DN: CN=root", "X-SSL-Client-Verify: SUCCESS")
    for who, shows in (("alice", site.client), ("nobody", None)):
        context = client_context(ROOT, version=version, shows=shows)
        with TlsClient(site["may"], context=context) as client:
            status, _, body = client.get("/told", *forged)
            assert status == 200
            said[who] = body.decode().lower()
            assert client.get("/ops")[0] == (200 if who == "alice" else 403)
            session = client.socket.session
        with TlsClient(site["may"], context=context, session=session) as client:
            assert client.get("/ops")[0] == (200 if who == "alice" else 403)
            assert client.socket.session_reused
    assert "x-client-cert-subject: cn=alice\r\n" in said["alice"]
    for told in said.values():
        assert "cn=root" not in told
        assert "x-ssl-client" not in told
    site.proxy.says('"tls_client_subject": ?"CN=alice"')


def test_a_session_without_a_certificate_does_not_let_in(site: Site) -> None:
    context = client_context(ROOT)
    with TlsClient(site["main"], context=context) as client:
        client.get("/fixed")
        session = client.socket.session
    with TlsClient(site["asks"], context=context, session=session) as client:
        assert not client.socket.session_reused
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
            client.get("/fixed")


# -- hosts on one connection


def test_misdirected_requests(site: Site) -> None:
    with TlsClient(site["main"]) as client:
        assert client.get("/fixed")[0] == 200
        assert client.get("/fixed", host="also.example")[0] == 200, "the certificate covers it"
        status, fields, _ = client.get("/fixed", host="other.example")
        assert status == 421
        assert fields["strict-transport-security"].startswith("max-age=")
    with TlsClient(site["main"], None, client_context()) as client:
        assert client.get("/fixed", host="a.example")[0] == 200, "it named none"


def test_http2_coalesces(site: Site) -> None:
    """A browser asks for all hosts that the certificate covers on one connection (RFC 9113 9.1.1)."""
    server = h2peer.Server("127.0.0.1", site["main"], path="/fixed")
    context = client_context(ROOT, protocols=("h2",))
    with h2peer.Peer(server, name="a.example", context=context) as browser:
        browser.open()
        for stream, (host, status) in enumerate(
            [("a.example", "200"), ("also.example", "200"), ("other.example", "421"), ("a.example", "200")]
        ):
            fields = [(":method", "GET"), (":scheme", "https"), (":path", "/fixed"), (":authority", host)]
            browser.write(h2peer.headers(2 * stream + 1, browser.encode(fields)))
            head, _, _ = browser.response(2 * stream + 1)
            assert dict(head)[":status"] == status
            assert dict(head)["strict-transport-security"] == "max-age=31536000; includeSubDomains"


# -- what is no TLS, and what takes too long


def test_plain_http_on_this_port(site: Site, peer: Any) -> None:
    said = subprocess.run(
        [peer("curl"), "-sS", "-i", f"http://127.0.0.1:{site['main']}/x"], capture_output=True, text=True, timeout=15
    ).stdout
    assert said.startswith("HTTP/1.1 400 Bad Request\n")
    assert "This port speaks TLS" in said


def test_a_handshake_has_its_time(site: Site) -> None:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", site["main"])) as silent:
        silent.settimeout(10)
        try:
            assert silent.recv(1) == b""
        except ConnectionResetError:
            pass
    assert 1.8 < time.monotonic() - started < 4


@pytest.mark.parametrize(("name", "profile"), [("main", "intermediate"), ("modern", "modern")])
def test_mozillas_profiles(site: Site, peer: Any, name: str, profile: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    line = [
        peer("sslyze"),
        "--mozilla_config",
        profile,
        "--certinfo",
        "--certinfo_ca_file",
        str(site.folder / "root.pem"),
    ]
    done = subprocess.run(
        [*line, f"a.example:{site[name]}{{127.0.0.1}}"], capture_output=True, text=True, timeout=60, env=environment
    )
    assert "OK - Compliant" in done.stdout, done.stdout[-3000:]


# -- last: what is left of all that


def test_nothing_is_left(site: Site) -> None:
    until(lambda: site.proxy.descriptors() < 40, "connections are closed", 5)
    assert "Traceback" not in site.proxy.output
