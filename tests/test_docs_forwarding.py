"""The tables of docs/forwarding.rst, driven through whole configurations."""

from __future__ import annotations

import pytest
from twisted.internet.protocol import Protocol

from revproxy.config.load import load_text
from tests.drive import World
from tests.test_docs_reference import code, literals, read, table_after

CONFIG = """
[server]
trusted_proxies = ["203.0.113.0/24"]
{server}
[[listen]]
endpoint = "tcp:8080"
[upstreams.app]
backends = ["tcp:127.0.0.1:9000"]
[[routes]]
rewrite = {{ strip_prefix = "/api" }}
upstream = "app"
"""
STRANGER, PROXY = "192.0.2.7", "203.0.113.9"


class Says(Protocol):
    """A backend that answers with one field."""

    def __init__(self, line: str) -> None:
        self.line = line

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%b\r\n\r\n" % self.line.encode())


@pytest.mark.parametrize("row", table_after(read("forwarding.rst"), ".. mapped"), ids=lambda row: row[0])
def test_names_of_backends_are_mapped_as_documented(row: list[str]) -> None:
    world = World(load_text(CONFIG.format(server="")), lambda address: Says(code(row[0])))
    assert f"\r\n{code(row[1])}\r\n".encode() in world.get("/api/x")


def seen(peer: str, *fields: str, server: str = "") -> dict[str, list[str]]:
    """The fields that a backend gets, by lower-case name."""
    answer = World(load_text(CONFIG.format(server=server))).get("/", "example.com:8080", *fields, peer=peer).decode()
    head = answer.partition("\r\n\r\n")[2].partition("\n\n")[0]
    found: dict[str, list[str]] = {}
    for line in head.replace("\r\n", "\n").split("\n")[2:]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


#: What a client says, what the backend gets of a stranger, and of a trusted proxy; ``None`` is nothing.
ORIGIN: dict[str, tuple[str, str | None, str | None]] = {
    "X-Forwarded-For": ("192.0.2.1", STRANGER, f"192.0.2.1, {PROXY}"),
    "X-Forwarded-Proto": ("https", "http", "https"),
    "X-Forwarded-Host": ("said.example", "example.com:8080", "said.example"),
    "X-Forwarded-Port": ("444", "8080", "444"),
    "Forwarded": ("for=192.0.2.1", None, "for=192.0.2.1"),
    "X-Real-IP": ("192.0.2.1", None, "192.0.2.1"),
    "X-Forwarded-Prefix": ("/x", None, "/x"),
    "X-Original-URL": ("/x", None, "/x"),
    "True-Client-IP": ("192.0.2.1", None, "192.0.2.1"),
    "Client-Cert": (":MA==:", None, ":MA==:"),
    "Client-Cert-Chain": (":MA==:", None, ":MA==:"),
    "X-Client-Cert": ("MA", None, "MA"),
    "X-SSL-Client-Verify": ("SUCCESS", None, "SUCCESS"),
    "SSL-Client-Subject-DN": ("CN=root", None, "CN=root"),
    "X-Forwarded-Client-Cert": ("URI=spiffe://a", None, "URI=spiffe://a"),
    "X-Forwarded-TLS-Client-Cert": ("MA", None, "MA"),
    "X-ARR-ClientCert": ("MA", None, "MA"),
    "X-Amzn-Mtls-Clientcert": ("MA", None, "MA"),
    "X-Forwarded-User": ("root", None, "root"),
    "Remote-User": ("root", None, "root"),
    "X-Auth-Request-User": ("root", None, "root"),
    "X-WebAuth-User": ("root", None, "root"),
    "X-Consumer-Username": ("root", None, "root"),
    "X-Goog-Authenticated-User-Email": ("a@b.example", None, "a@b.example"),
    "CF-Connecting-IP": ("192.0.2.1", None, "192.0.2.1"),
    "Fastly-Client-IP": ("192.0.2.1", None, "192.0.2.1"),
    "X-Azure-ClientIP": ("192.0.2.1", None, "192.0.2.1"),
    "X-Original-URI": ("/x", None, "/x"),
    "X-Original-Method": ("DELETE", None, "DELETE"),
    "Proxy": ("http://192.0.2.1", None, "http://192.0.2.1"),
    "X-Middleware-Subrequest": ("middleware", None, "middleware"),
}


@pytest.mark.parametrize("name", ORIGIN)
def test_the_word_of_strangers_and_of_trusted_proxies(name: str) -> None:
    said, stranger, proxy = ORIGIN[name]
    assert seen(STRANGER, f"{name}: {said}").get(name.lower()) == (None if stranger is None else [stranger])
    assert seen(PROXY, f"{name}: {said}").get(name.lower()) == [proxy]


TOLD = """
[[routes]]
match = { path = "/told/*" }
upstream = "app"
headers.request.set = { Client-Cert = "$tls_client_certificate", x-ssl-client-verify = "SUCCESS" }
"""


def test_what_the_operator_says_of_certificates_reaches_the_backend() -> None:
    here = World(load_text(CONFIG.format(server="") + TOLD))
    answer = here.get("/told/x", "example.com", "Client-Cert: :FORGED=:", "X-SSL-Client-Verify: forged")
    assert b"\nx-ssl-client-verify: SUCCESS" in answer
    assert b"orged" not in answer.lower()


def test_every_documented_field_is_tried() -> None:
    rows = table_after(read("forwarding.rst"), ".. origin")
    names = {name for row in rows for name in literals(row[0])}
    assert names - set(ORIGIN) == {"X-Request-ID", "Via"}


def test_what_is_missing_from_a_trusted_proxy_is_added() -> None:
    found = seen(PROXY)
    assert found["x-forwarded-for"] == [PROXY]
    assert found["x-forwarded-proto"] == ["http"]
    assert found["x-forwarded-host"] == ["example.com:8080"]
    assert found["x-forwarded-port"] == ["8080"]
    assert found["via"] == ["1.1 revproxy"]


def test_request_ids() -> None:
    made = seen(STRANGER, "X-Request-ID: mine")["x-request-id"][0]
    assert len(made) == 24
    int(made, 16)
    assert seen(PROXY, "X-Request-ID: mine")["x-request-id"] == ["mine"]
    assert seen(PROXY, "X-Request-ID: not plain")["x-request-id"] != ["not plain"]


def test_forwarded_where_it_is_asked_for() -> None:
    ours = 'for=192.0.2.7;host="example.com:8080";proto=http'
    assert seen(STRANGER, "Forwarded: for=1.1.1.1", server="forwarded = true")["forwarded"] == [ours]
    (both,) = seen(PROXY, "Forwarded: for=192.0.2.1", server="forwarded = true")["forwarded"]
    assert both.startswith("for=192.0.2.1, for=203.0.113.9;")


def test_via_is_added_to_what_is_there_and_can_be_left_out() -> None:
    assert seen(STRANGER, "Via: 1.1 other")["via"] == ["1.1 other", "1.1 revproxy"]
    assert "via" not in seen(STRANGER, server='via = "off"')
