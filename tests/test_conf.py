"""Every configuration in conf/ loads, compiles, and does through each of its routes what it says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from twisted.internet.protocol import Protocol
from twisted.names.dns import Record_SRV

from revproxy.cli import check
from revproxy.config.load import load_file
from revproxy.http.message import ClientIdentity, TlsInfo
from revproxy.upstream.discovery.lookup import Found, Lookup, Services
from tests.drive import Echo, World

CONF = Path(__file__).resolve().parents[1] / "conf"
NAMES = sorted(path.stem for path in CONF.glob("*.toml"))
UPGRADE = ("Connection: Upgrade", "Upgrade: {}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==")
JSON = "Content-Type: application/json"
CDN = {"peer": "203.0.113.9"}
HTTPS = {"listen": "https"}


def shown(subject: str, *sans: str) -> dict[str, Any]:
    """A connection on which a client showed a certificate."""
    client = ClientIdentity(subject, sans, "0f", "0A", b":MA==:")
    return {"tls": TlsInfo("example.com", "TLSv1.3", "TLS_AES_128_GCM_SHA256", client=client)}


APP = ("Origin: https://app.example.com",)
PUTS = "Access-Control-Request-Method: PUT"
OPERATOR = shown("CN=ops", "DNS:ops.example.com")
MEMBER = shown("CN=alice,O=Example", "email:ops.example.com", "URI:spiffe://example.com/opsx")


class Case(NamedTuple):
    """A request and what has to be in its answer (or, after ``not``, must not)."""

    route: str
    status: int
    target: str
    expected: tuple[str, ...] = ()
    host: str = "example.com"
    fields: tuple[str, ...] = ()
    method: str = "GET"
    body: bytes = b""
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed


def upgrade(protocol: str) -> tuple[str, ...]:
    return tuple(line.format(protocol) for line in UPGRADE)


CASES: dict[str, list[Case]] = {
    "demo": [
        Case("pages", 200, "/", ("127.0.0.1:9001\nGET / ",)),
        Case("pages", 200, "/", ("127.0.0.1:9002\nGET / ",)),
        Case(
            "api",
            200,
            "/api/hello",
            ("127.0.0.1:9003\nGET /api/hello ", "x-demo-client: 192.0.2.7", "x-demo-route: api"),
        ),
        Case("api-listener", 200, "/hello", ("GET /api/hello ",), options={"listen": "api"}),
        Case("ws", 101, "/ws", ("Upgrade: websocket",), fields=upgrade("websocket")),
        Case("old", 200, "/old/page", ("GET /page ",)),
        Case("upload", 200, "/upload", ("POST /upload ", "\n\nabc"), method="POST", body=b"abc"),
        Case("moved", 302, "/home", ("Location: /\r\n",)),
        Case("robots", 200, "/robots.txt", ("User-agent: *",)),
    ],
    "protected": [
        Case("health", 200, "/healthz", ("ok\n",)),
        Case("reports", 200, "/reports/year", ("127.0.0.1:9001\nGET /reports/year ",)),
        Case("pages", 200, "/pages/a", ("127.0.0.1:9002\nGET /pages/a ",)),
        Case("", 404, "/.env", ("There is nothing at this address",)),
    ],
    "minimal": [Case("route-1", 200, "/any?x=1", ("127.0.0.1:9000\nGET /any?x=1 ", "Host: example.com"))],
    "api-gateway": [
        Case(
            "users",
            200,
            "/v1/users/17",
            ("127.0.0.1:9001\nGET /users/17 ", "x-real-ip: 192.0.2.7", "x-request-id: "),
            "api.example.com",
        ),
        Case("users", 200, "/v1/users", ("GET /users ", "not secret"), "api.example.com", ("Cookie: secret",)),
        Case("orders", 200, "/v1/orders/1?utm_source=x&a=1", ("GET /orders/1?a=1 ",), "api.example.com"),
        Case(
            "orders-write", 200, "/v1/orders/1", ("PUT /orders/1 ", "\n\n{}"), "api.example.com", (JSON,), "PUT", b"{}"
        ),
        Case("orders-not-json", 415, "/v1/orders/1", ("send application/json",), "api.example.com", (), "PUT", b"<a/>"),
        Case(
            "uploads", 200, "/v1/files/a", ("PUT /store/a ", "Host: files.internal"), "api.example.com", (), "PUT", b"x"
        ),
        Case("uploads", 413, "/v1/files/a", (), "api.example.com", ("Content-Length: 6000000000",), "PUT"),
        Case("users", 413, "/v1/users", (), "api.example.com", ("Content-Length: 2000000",), "POST"),
        Case("old-user", 200, "/user/17", ("GET /users/17 ",), "api.example.com"),
        Case("api-nothing", 404, "/user/x", ("no such resource",), "api.example.com"),
        Case("customers", 200, "/", ("x-customer-host: acme.customers.example.com",), "acme.customers.example.com"),
        Case("admin", 200, "/", ("127.0.0.1:9007\n",), "admin.example.com", options={"peer": "10.1.2.3"}),
        Case("admin-forbidden", 403, "/", (), "admin.example.com"),
        Case("health", 200, "/healthz", ("ok\n", "cache-control: no-store"), "anything"),
        Case("", 404, "/", (), "anything"),
    ],
    "websocket": [
        Case(
            "chat",
            101,
            "/chat/1",
            ("Upgrade: websocket",),
            fields=("Origin: https://example.com", *upgrade("websocket")),
        ),
        Case("chat-from-elsewhere", 403, "/chat/1", fields=("Origin: https://evil.example", *upgrade("websocket"))),
        Case("custom", 101, "/custom", fields=upgrade("x-custom")),
        Case("pages", 200, "/", ("127.0.0.1:9000\n", "not Upgrade"), fields=upgrade("websocket")),
    ],
    "behind-cdn": [
        Case("to-https", 301, "/x?y", ("https://example.com/x?y",), fields=("X-Forwarded-Proto: http",), options=CDN),
        Case("banned", 403, "/", fields=("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"), options=CDN),
        Case(
            "app",
            200,
            "/",
            ("x-real-ip: 192.0.2.77", "X-Forwarded-For: 192.0.2.77, 203.0.113.9", "Forwarded: for=203.0.113.9"),
            fields=("X-Forwarded-For: 192.0.2.77", "X-Forwarded-Proto: https"),
            options=CDN,
        ),
        Case("to-https", 301, "/", fields=("X-Forwarded-Proto: https",)),  # a stranger's word
    ],
    "static-and-app": [
        Case("to-https", 308, "/x?y", ("https://example.com:8443/x?y",), "example.com:8080"),
        Case("health", 200, "/healthz", ("ok\n",)),
        Case("www", 301, "/x", ("http://example.com/x",), "www.example.com", options={"listen": "site"}),
        Case("static", 200, "/static/style.css", ("body {", "text/css", "max-age=3600"), options={"listen": "site"}),
        Case("static", 404, "/static/none.css", ("max-age=3600",), options={"listen": "site"}),
        Case("robots", 200, "/robots.txt", ("Disallow: /account/",), options={"listen": "site"}),
        Case("moved", 302, "/blog/1", ("https://blog.example.com/blog/1",), options={"listen": "site"}),
        Case("app", 200, "/account/", ("GET /account/ ", "nosniff"), options={"listen": "site"}),
    ],
    "caching": [
        Case("assets", 200, "/assets/a.js?v=1&x=2", ("GET /assets/a.js?v=1 ", "fwd=uri-miss; ttl=3600; stored")),
        Case("assets", 200, "/assets/a.js?x=3&v=1", ("GET /assets/a.js?v=1 ", "Age: 0", "; hit; ttl=")),
        Case("pages", 200, "/?utm_source=x", ("GET / ", "fwd=uri-miss; ttl=60; stored")),
        Case("pages", 200, "/", ("GET / ", "Age: 0", "; hit; ttl=")),
        Case("pages", 200, "/", ("GET / ", "fwd=bypass"), fields=("Cookie: session=1",)),
    ],
    "rate-limits": [
        Case("api", 200, "/api/x", ('RateLimit: "client";r=199;t=1, "second";r=19;t=1, "day";r=999;t=9\r\n',)),
        *[Case("sign-in", 200, "/login", ('"sign-in";r=', "not sign-ins"), method="POST")] * 2,
        Case("sign-in", 200, "/login", ('"sign-in";r=0;t=12',), method="POST"),
        Case("sign-in", 429, "/login", ("Retry-After: 12\r\n", '"sign-in";r=0;t=12'), method="POST"),
        Case("pages", 200, "/a", ('RateLimit: "pages";r=29;t=1', "; stored")),
        Case("pages", 200, "/a", ("; hit; ttl=", "not pages")),
        Case("reports", 200, "/reports/1", ('"reports";r=0;t=1',)),
    ],
    "slow-backend": [
        Case("legacy", 200, "/form", ("POST /form ", "\n\nabc"), method="POST", body=b"abc"),
        Case("legacy", 413, "/form", fields=("Content-Length: 2000000",), method="POST"),
        Case("reports", 200, "/reports/2026", ("GET /reports/2026 ",)),
    ],
    "three-backends": [
        Case("read", 200, "/", ("10.0.0.3:9000\nGET / ",)),
        Case("write", 200, "/orders", ("POST /orders ", "\n\nabc"), method="POST", body=b"abc"),
    ],
    "canary": [
        Case("testers", 200, "/", ("127.0.0.1:9003\nGET / ", "Set-Cookie: app_at="), fields=("X-Canary: 1",)),
        Case("all", 200, "/", ("127.0.0.1:9001\nGET / ", "Set-Cookie: app_at="), fields=("Cookie: session=1",)),
        Case("all", 200, "/", ("127.0.0.1:9003\nGET / ",), fields=("Cookie: session=23",)),
    ],
    "internal-dns": [
        Case("app", 200, "/x", (":8443\nGET /x ", "Host: app.internal:8443")),
        Case("api", 200, "/api/x", ("10.2.0.7:9443\nGET /x ", "Host: one.api.internal:9443")),
    ],
    "tls": [
        Case("to-https", 308, "/x?y", ("Location: https://example.com:8443/x?y\r\n",), "example.com:8080"),
        Case("app", 200, "/x", ("GET /x ", "x-tls: TLSv1.3 TLS_AES_128_GCM_SHA256"), options=OPERATOR | HTTPS),
        Case("app", 200, "/x", ("X-Forwarded-Proto: https",), options=OPERATOR | {"listen": "balanced"}),
    ],
    "acme": [
        Case("to-https", 308, "/x", ("Location: https://www.example.com/x\r\n",), "www.example.com"),
        Case("www", 301, "/x", ("Location: https://example.com/x\r\n",), "www.example.com", options=HTTPS),
        Case("app", 200, "/x", ("GET /x ", "X-Forwarded-Proto: https"), options=HTTPS),
    ],
    "client-certificates": [
        Case(
            "admin",
            200,
            "/admin/x",
            (
                "127.0.0.1:9001\nGET /admin/x ",
                "client-cert: :MA==:",
                "x-client-cert-san: DNS:ops.example.com",
                "not forged",
            ),
            fields=("Client-Cert: :forged:", "X-Client-Cert-SAN: DNS:forged.example", "X-SSL-Client-Verify: forged"),
            options=OPERATOR,
        ),
        Case("admin-forbidden", 403, "/admin/x", ("of an operator's",), options=MEMBER),
        Case("admin-forbidden", 403, "/admin/x", fields=("Client-Cert: :MA==:",)),
        Case(
            "members",
            200,
            "/members/",
            ("127.0.0.1:9000\n", "x-client-cert-subject: CN=alice,O=Example"),
            options=MEMBER,
        ),
        Case("members-forbidden", 403, "/members/", options={"tls": TlsInfo(version="TLSv1.3")}),
        Case(
            "site",
            200,
            "/",
            ("127.0.0.1:9000\nGET / ", "not Client-Cert", "not forged"),
            fields=("Client-Cert: :MA==:", "X-Client-Cert-Subject: forged"),
        ),
    ],
    "authentication": [
        Case(
            "admin",
            401,
            "/admin/",
            ('Basic realm="the back office"', 'ApiKey realm="the back office"', "not 127.0.0.1:9000"),
        ),
        Case(
            "admin",
            200,
            "/admin/",
            ("remote-user: alice", "x-auth-method: basic", "not Authorization", "not root"),
            fields=("Authorization: Basic YWxpY2U6ZGVtbw==", "X-Auth-Request-User: root"),
        ),
        Case("admin", 401, "/admin/", fields=("Authorization: Basic YWxpY2U6bmVtbw==",)),
        Case(
            "admin",
            200,
            "/admin/",
            ("remote-user: build-server", "x-auth-method: api_key", "not demo-key"),
            fields=("X-API-Key: demo-key-of-the-build-server",),
        ),
        Case("api", 401, "/api/x", ("WWW-Authenticate: Bearer realm=",)),
        Case("api", 401, "/api/x", ("invalid_token",), fields=(f"Authorization: Bearer {'x' * 9000}",)),
        Case("reports", 401, "/reports/1"),
        Case("reports", 200, "/reports/1", ("stored",), fields=("Authorization: Basic YWxpY2U6ZGVtbw==",)),
        Case("reports", 200, "/reports/1", ("; hit",), fields=("Authorization: Basic YWxpY2U6ZGVtbw==",)),
        Case("reports", 401, "/reports/1"),
        Case("pages", 200, "/", ("127.0.0.1:9000\nGET / ", "not root"), fields=("X-Auth-Request-Email: root",)),
    ],
    "filters": [
        Case("cms", 200, "/cms/edit?text=%3Cscript%3E%27+or+1%3D1", ("GET /cms/edit?text=",)),
        Case("upload", 200, "/upload/a.pdf", ("GET /upload/a.pdf ",)),
        Case("upload", 403, "/upload/a.exe"),
        Case("app", 200, "/?q=it%27s+fine", ("GET /?q=it%27s+fine ",)),
        Case("app", 403, "/?q=%27+or+1%3D1--"),
        Case("app", 403, "/form", fields=("Content-Type: application/json",), method="POST", body=b'{"a": "<script>"}'),
    ],
    "access": [
        Case("api", 204, "/api/x", ("Access-Control-Allow-Methods: GET, PUT",), fields=(*APP, PUTS), method="OPTIONS"),
        Case("api", 204, "/api/x", ("not Access-Control",), fields=("Origin: https://a.b", PUTS), method="OPTIONS"),
        Case(
            "api", 200, "/api/x", ("Access-Control-Allow-Origin: https://app.example.com", "Vary: Origin"), fields=APP
        ),
        Case("api", 200, "/api/x", ("\n\n{}",), fields=(JSON,), method="PUT", body=b"{}"),
        Case("api", 413, "/api/x", fields=(JSON, "Content-Length: 300000"), method="PUT"),
        Case("api", 415, "/api/x", fields=("Content-Type: text/xml",), method="PUT", body=b"<a/>"),
        Case("admin", 404, "/admin/", ("nosniff",)),
        Case("admin", 200, "/admin/", ("127.0.0.1:9001\n", "X-Frame-Options: DENY"), options={"peer": "10.1.2.3"}),
        Case("admin", 404, "/admin/", options={"peer": "10.6.6.6"}),
        Case("site", 200, "/", ("X-Frame-Options: SAMEORIGIN", "Referrer-Policy: strict-origin-when-cross-origin")),
        Case("site", 403, "/", fields=("User-Agent: SQLMap/1.7",)),
        Case("", 403, "/.git/config", ("nosniff",)),
        Case("", 403, "/", options={"peer": "198.51.100.7"}),
    ],
    "policies": [
        Case("account", 401, "/account/", ("Who are you?", "WWW-Authenticate: Bearer", "not X-Signed-In-As")),
        Case(
            "account",
            200,
            "/account/",
            ("X-Signed-In-As: alice", "X-User: alice", "not let-me-in"),
            fields=("Authorization: Bearer let-me-in",),
        ),
        Case("upload", 200, "/upload", ("\n\nsome text",), method="POST", body=b"some text"),
        Case("upload", 422, "/upload", ("No programs",), method="POST", body=b"\x7fELF..."),
        Case("pages", 200, "/", ("GET / ",)),
    ],
}


@pytest.fixture(autouse=True)
def _policies_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CONF))


@pytest.fixture(autouse=True)
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A network with names, and without TLS; the names that certificates would have to be for."""
    names: list[str] = []

    async def addresses(self: Lookup, name: str) -> Found:
        return Found(("10.2.0.1", "10.2.0.2"), 30.0)

    async def services(self: Lookup, name: str) -> Services:
        records = (Record_SRV(0, 1, 9443, "one.api.internal"),)
        return Services(records, {"one.api.internal": Found(("10.2.0.7",), 30.0)}, 30.0)

    def connect(peer: Any, stream: Any, factory: Any, *others: Any) -> Any:
        names.append(peer.name)
        return stream.connect(factory)

    monkeypatch.setattr(Lookup, "addresses", addresses)
    monkeypatch.setattr(Lookup, "services", services)
    monkeypatch.setattr("revproxy.upstream.endpoint.connect_tls", connect)
    return names


def world(name: str) -> World:
    return World(load_file(CONF / f"{name}.toml"))


def test_every_configuration_is_driven() -> None:
    assert set(CASES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_checks_and_is_commented(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = CONF / f"{name}.toml"
    assert check([str(path)]) == 0, capsys.readouterr().err
    assert path.read_text("utf-8").startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_every_route_has_a_request(name: str) -> None:
    routes = tomllib.loads((CONF / f"{name}.toml").read_text("utf-8"))["routes"]
    names = {route.get("name", f"route-{number}") for number, route in enumerate(routes, 1)}
    assert names <= {case.route for case in CASES[name]}


@pytest.mark.parametrize("name", NAMES)
def test_it_does_what_it_says(name: str) -> None:
    here = world(name)
    for case in CASES[name]:
        fields = list(case.fields)
        if case.body:
            fields.append(f"Content-Length: {len(case.body)}")
        head = "\r\n".join([f"{case.method} {case.target} HTTP/1.1", f"Host: {case.host}", *fields, "", ""])
        answer = here.say(head.encode(), *([case.body] if case.body else []), **case.options)
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
        assert match, (case, answer)
        assert int(match[1]) == case.status, (case, answer)
        text = answer.decode().replace("\r\n", "\n")
        for expected in case.expected:
            expected = expected.replace("\r\n", "\n")
            unwanted = expected.removeprefix("not ")
            assert (expected in text) if unwanted == expected else (unwanted not in text), (case, text)
        assert here.records[-1].route == case.route, case


def test_websocket_conf_carries_bytes_both_ways() -> None:
    here = world("websocket")
    head = "\r\n".join(
        ["GET /chat/1 HTTP/1.1", "Host: a", "Origin: https://example.com", *upgrade("websocket"), "", ""]
    )
    answer = here.say(head.encode(), b"hello", b"there")
    assert answer.endswith(b"\r\n\r\nHELLOTHERE")


def test_slow_backend_conf_asks_the_backend_when_the_body_is_there() -> None:
    here = world("slow-backend")
    answer = here.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", wait=1.0)
    assert answer == b""
    assert here.dialled == []
    answer = here.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", b"def")
    assert here.dialled == ["127.0.0.1:9000"]
    assert answer.endswith(b"abcdef")


def test_policies_conf_closes_for_maintenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = world("policies")
    assert here.get("/").startswith(b"HTTP/1.1 200 ")
    (tmp_path / "closed-for-maintenance").touch()
    assert here.get("/").startswith(b"HTTP/1.1 503 ")


class Says503(Protocol):
    """A backend that answers every request with 503."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


class Silent(Protocol):
    """A backend that never answers."""


def three_backends(first: Callable[[], Protocol]) -> World:
    """The configuration before a first machine of one's own, the heavy one that idle times begin with."""
    config = load_file(CONF / "three-backends.toml")
    return World(config, lambda address: first() if address == "10.0.0.3:9000" else Echo(address))


def test_three_backends_conf_reads_elsewhere_and_writes_once() -> None:
    here = three_backends(Says503)
    assert here.get("/").startswith(b"HTTP/1.1 200 ")
    assert here.dialled == ["10.0.0.3:9000", "10.0.0.1:9000"]
    assert here.get("/", method="DELETE").startswith(b"HTTP/1.1 503 ")


def test_three_backends_conf_gives_a_silent_one_two_seconds() -> None:
    here = three_backends(Silent)
    answer = here.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", wait=1.9)
    assert answer == b""
    here = three_backends(Silent)
    answer = here.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", wait=2.1)
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_three_backends_conf_leaves_out_one_that_fails_its_checks() -> None:
    here = three_backends(Says503)
    (upstream,) = here.table.upstreams.values()
    upstream.start()
    here.get("/")
    for _ in range(20):
        here.advance(0.5)
        here._pump()
    assert [backend.state for backend in upstream.backends] == ["up", "up", "down", "up"]
    here.dialled.clear()
    for _ in range(4):
        assert here.get("/", method="DELETE").startswith(b"HTTP/1.1 200 ")
    assert not {"10.0.0.3:9000", "10.1.0.9:9000"} & set(here.dialled)
    upstream.close()


def test_canary_conf_keeps_a_client_at_its_backend() -> None:
    here = world("canary")
    answer = here.get("/", "example.com", "Cookie: session=1").decode()
    match = re.search(r"app_at=([\w-]+); Path=/; HttpOnly; SameSite=Lax", answer)
    assert match
    for _ in range(3):
        again = here.get("/", "example.com", f"Cookie: session=1; app_at={match[1]}").decode()
        assert "127.0.0.1:9001\n" in again
        assert "Set-Cookie" not in again


def test_internal_dns_conf_verifies_the_names_that_were_asked_for(verified: list[str]) -> None:
    here = world("internal-dns")
    here.get("/")
    here.get("/api/")
    assert set(verified) == {"app.internal", "one.api.internal"}
