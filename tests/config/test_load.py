"""What right configurations mean: one that uses every key, and every short form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
import pytest

from revproxy.config import model as m
from revproxy.config.hosts import networks
from revproxy.config.load import load_text
from revproxy.config.structure import written_name
from revproxy.config.units import Requests
from tests.certificates import authority

EVERY_KEY = """\
[server]
workers = 1
trusted_proxies = ["private", "2001:db8::/32", "192.0.2.1"]
drain_timeout = "0s"
timeouts = { head = "1s", body = "2s", keep_alive = "1m", tunnel = "2h" }
underscores = "pass"
merge_slashes = true
forwarded = true
via = "off"
via_response = true
hide = ["Server", "x-secret"]
security_headers = "strict"
[server.access]
allow = ["all", "10.0.0.1"]
deny = "file:setup.cfg"
methods = ["GET", "POST", "OPTIONS"]
deny_paths = ["/.git/*", "~^/x"]
header = { X-Key = "1" }
deny_header = { x-bad = ["*"] }
deny_user_agent = ["sqlmap", "~^curl"]
status = 404
[server.limits]
head = "16KB"
fields = 50
target = 4096
body = "10MB"
connections = 1000
connections_per_address = 10
requests = 500
requests_per_address = 5
requests_per_connection = 100
[server.minimum_rate]
rate = "1KB/s"
over = "20s"

[server.shed]
lag = "50ms"
queue = "80%"
[server.bans]
addresses = "198.51.100.0/24"
allow = ["private"]
[[server.bans.rules]]
when = ["refused", "no-route", 404]
count = 3
within = "10s"
ban = "1h"

[access_log]
enabled = false
format = "json"
path = "log/access"

[[listen]]
endpoint = "tcp:8080"
name = "public"
proxy_protocol = ["private", "192.0.2.1"]
http2 = true
[[listen]]
endpoint = "tcp:8443"
[listen.tls]
certificates = "certs/"
http2 = false
profile = "modern"
default = "WWW.example.com"
client = { ca = "authorities.pem", required = false }
hsts = { max_age = "730d", subdomains = true, preload = true }
handshake_timeout = "3s"
tickets = "1h"
acme = { directory = "https://ca.example/dir", email = "a@b.example", names = "A.example", challenge = "tls-alpn-01" }
[[listen]]
endpoint = "tcp:8444"
tls = { certificates = ".", strict_sni = true, hsts = "1d", acme = { names = ["b.c"], ca = "authorities.pem" } }
[[listen]]
endpoint = "tcp:8445"
tls = "."
[[listen]]
endpoint = "tcp:8446"
tls = { certificates = "made", client = "authorities.pem", acme = "internal" }

[upstreams.api]
backends = ["127.0.0.1:9000", { endpoint = "unix:/run/api.sock", weight = 2 },
  { endpoint = "https://b", backup = true },
  { endpoint = "c:80", backup = 2, max_requests = 1, max_connections = 2 }]
dns = { name = "api.internal:9000", servers = "10.0.0.53", at_least = "1s", at_most = "1m" }
srv = { name = "_http._tcp.api.internal", servers = ["10.0.0.53:5353"], at_least = "2s", at_most = "2m" }
file = "setup.cfg"
balance = "hash"
hash = { by = "header:X-User", load = "150%" }
sticky = { cookie = "at", secret = "0123456789abcdef", max_age = "1d", same_site = "none" }
slow_start = "30s"
max_requests = 8
max_connections = 9
queue = 8
queue_time = "7s"
panic = "0%"
breaker = { error_rate = "30%", minimum = 5, window = "5s", open = "1s", probes = 1 }
tls = { ca = "setup.cfg", name = "api.internal", certificate = "setup.cfg", key = "setup.cfg", insecure = false }
proxy_protocol = "v2"
timeouts = { connect = "1s", first_byte = "2s", idle = "3s", total = "4s" }
pool = { idle = 0, idle_time = "5s", age = "1h" }
host = "Backend.Example:8080"
[upstreams.api.health]
type = "http"
path = "/healthz"
method = "HEAD"
host = "a"
headers = { X-A = "b" }
status = [200, "300-304"]
interval = "1s"
timeout = "500ms"
rise = 1
fall = 1
initial = "down"
[upstreams.api.passive]
failures = 3
error_rate = "10%"
minimum = 10
window = "20s"
statuses = 503
eject = "1s"
eject_most = "2s"
share = "100%"

[cache]
size = "128MB"
largest = "1MB"

[[routes]]
name = "api"
upstream = "api"
minimum_rate = "off"
rate_limit = [
    "100/s",
    { rate = "1000/h", burst = 50, by = "header:X-Key", missing = "route", keys = 5 },
    { rate = "5/d", delay = "2s", waiting = 9, status = 503, hits = false, fields = "refused", name = "daily" },
    { rate = "9/d", ipv4 = 24, ipv6 = 48 },
]
priority = "low"
limits.body = "off"
limits.requests = 9
limits.requests_per_address = 2
limits.body_by_type = { "Application/JSON" = "1KB", "text/*" = "off", "*+xml" = 0 }
content_types = ["application/json", "Text/*", "*+xml"]
access = { deny = "private" }
cookies = { secure = true, http_only = true, readable = "csrf", same_site = "strict" }
buffer = { request = "1MB", response = "off" }
filter = { threshold = 7, mode = "detect", paranoia = 2, except = [1001, "10001"], body = "1KB", rules = [
  { id = 10001, name = "old", pattern = "^/old", in = "path", score = 3 }] }
compress = { gzip = 5, br = 4, zstd = 3, types = ["text/html", "*+json"], minimum = "2KB" }
upgrade = ["WebSocket", "tls-1.0x"]
retry = { on = ["connect", 503], methods = "PUT", tries = 2, per_try = "1s", backoff = "1ms", budget = "5%", body = 0 }
middleware = ["a.b:c", { call = "d:e", at = "client-response", timeout = "off", fail = "open" }]
[routes.cors]
origins = ["HTTPS://App.Example:443", "https://*.Example.com:8443", "app+x://y"]
methods = "PUT"
headers = ["X-A", "x-b"]
expose = "X-C"
credentials = true
max_age = "1h"
[routes.security_headers]
preset = "strict"
hsts = { max_age = "365d", subdomains = true, preload = true }
content_type_options = "nosniff"
frame_options = "SAMEORIGIN"
referrer_policy = "origin"
content_security_policy = "off"
content_security_policy_report_only = "default-src 'self'"
permissions_policy = "usb=()"
cross_origin_opener_policy = "unsafe-none"
cross_origin_embedder_policy = "credentialless"
cross_origin_resource_policy = "same-site"
permitted_cross_domain_policies = "preset"
override = true
[routes.auth]
client_certificate = { names = "*", user = "name" }
satisfy = "all"
realm = "r"
headers = { X-User = "$auth_user ${auth_claim_a.b}" }
credentials = "pass"
strip = "X-Other"
[routes.auth.basic]
file = "users"
cache = "0s"
[routes.auth.forward]
upstream = "api"
path = "/a?b"
method = "POST"
copy_request = "Cookie"
copy_response = ["X-Groups"]
copy_cookies = "sid"
user = "X-U"
timeout = "1s"
cache = "2s"
by = "cookie:a"
[routes.auth.jwt]
algorithms = "RS256"
jwks = "https://a/b"
issuer = "i"
audience = ["a", "b"]
leeway = "0s"
token = "cookie:t"
user = "email"
require = { role = "x" }
refresh = "2h"
ca = "authorities.pem"
[routes.auth.api_key]
header = "X-K"
file = "keys"
[routes.cache]
size = "1MB"
largest = "100KB"
ttl = { 200 = "1m", "4xx" = "10s", any = "0s" }
override_ttl = { 301 = "1h" }
grace = "1s"
disconnected = "0s"
heuristic = "20%"
key_headers = ["X-Tenant", "X-User", "X-Groups", "X-K"]
key_cookies = ["theme", "t"]
query_ignore = ["utm_*"]
query_only = ["a", "b"]
query_sort = true
bypass = { header = "X-Preview", cookie = "session*", query = ["draft"] }
honour_client = false
store_set_cookie = true
targeted = ["example-cache-control"]
status = "edge"
status_key = true
[routes.match]
host = ["Example.COM", "*.Bücher.example", "[2001:DB8::1]"]
path = ["/api/*", "/ws*", "/%7Eme", "/é b", "~^/(a|b)$"]
method = ["GET", "PURGE", "OPTIONS"]
header = { X-Beta = "1", accept = ["a", "*"] }
query = { "a b" = "é" }
cookie = { sid = "*" }
content_type = "Application/JSON"
client = ["loopback", "10.0.0.0/8"]
scheme = "https"
listen = "public"
client_certificate = ["CN=alice,O=Example", "uri:spiffe://Example/web/*", "dns:A.example", "ip:2001:DB8::1", "*"]
[routes.rewrite]
strip_prefix = "/api"
add_prefix = "/v1"
regex = "^/(?P<x>.)(.)"
to = "/$2/${x}/$$"
query = { set = { a = "$5" }, remove = "utm" }
[routes.headers.request]
remove = "X-Drop"
set = { X-Client = "$client_ip ${http_user_agent} $cookie_a $$" }
add = { x-more = "1" }
[routes.headers.response]
remove = ["x-a", "x-b"]
set = { x-c = "1" }
add = { x-d = "2" }

[[routes]]
rewrite = { replace = "/one" }
respond = { status = 418, body = "tea", content_type = "text/x-tea", headers = { x-pot = "1" } }
minimum_rate = { rate = "5/s", over = "1s" }
[[routes]]
redirect = { status = 307, scheme = "https", host = "www.example.com", port = 8443, path = "/new$path" }
minimum_rate = "server"
[[routes]]
redirect = "https://example.com$target"
[[routes]]
respond = 404
upgrade = "off"
[routes.auth]
basic = { users = { a = "$2y$10$iB8B8wJk5EDeyY9BirngKeuR3lH/ZUo8D1WS6Ew.u59nwZbWXAtge" } }
jwt = { algorithms = ["HS256"], secret = "0123456789abcdef0123456789abcdef", token = "query:t" }
api_key = { query = "k", keys = { b = "sha256:e601bfc86b9850d828e43ff3541c68cfa690fe7bf01ce7f51c34aae5448ce6a2" } }
client_certificate = "dns:A.example"
[[routes]]
respond = 404
auth = { jwt = { algorithms = "HS256", secret_file = "s" } }
[[routes]]
resource = "my.site:root"
[[routes]]
files = "."
compress = true
cors = "*"
cookies = true
security_headers = false
[[routes]]
split = { upstreams = { api = 9 }, by = "module:key" }
retry = "off"
compress = false
"""

EXPECTED = m.Config(
    server=m.Server(
        workers=1,
        trusted_proxies=("private", "2001:db8::/32", "192.0.2.1/32"),
        drain_timeout=0.0,
        timeouts=m.ClientTimeouts(head=1.0, body=2.0, keep_alive=60.0, tunnel=7200.0),
        limits=m.Limits(
            head=16384,
            fields=50,
            target=4096,
            body=10 * 1024**2,
            connections=1000,
            connections_per_address=10,
            requests=500,
            requests_per_address=5,
            requests_per_connection=100,
        ),
        minimum_rate=m.MinimumRate(rate=1024.0, over=20.0),
        shed=m.Shed(lag=0.05, queue=0.8),
        bans=m.Bans(
            rules=(m.BanRule(when=("refused", "no-route", "404"), count=3, within=10.0, ban=3600.0),),
            addresses=("198.51.100.0/24",),
            allow=("private",),
        ),
        underscores="pass",
        merge_slashes=True,
        forwarded=True,
        via=None,
        via_response=True,
        hide=("server", "x-secret"),
        security_headers=m.SecurityHeaders(preset="strict"),
        access=m.Access(
            allow=("all", "10.0.0.1/32"),
            deny=("file:setup.cfg",),
            methods=("GET", "POST", "OPTIONS"),
            deny_paths=("/.git/*", "~^/x"),
            header={"x-key": ("1",)},
            deny_header={"x-bad": ("*",)},
            deny_user_agent=("sqlmap", "~^curl"),
            status=404,
        ),
    ),
    access_log=m.AccessLog(enabled=False, format="json", path="log/access"),
    listen=(
        m.Listen(endpoint="tcp:8080", name="public", proxy_protocol=("private", "192.0.2.1/32"), http2=True),
        m.Listen(
            endpoint="tcp:8443",
            tls=m.ListenTls(
                certificates="certs/",
                http2=False,
                profile="modern",
                default="www.example.com",
                client=m.ClientCertificates(ca="authorities.pem", required=False),
                hsts=m.Hsts(max_age=730 * 86400.0, subdomains=True, preload=True),
                handshake_timeout=3.0,
                tickets=3600.0,
                acme=m.Acme(
                    directory="https://ca.example/dir",
                    email="a@b.example",
                    names=("a.example",),
                    challenge="tls-alpn-01",
                ),
            ),
        ),
        m.Listen(
            endpoint="tcp:8444",
            tls=m.ListenTls(
                certificates=".",
                strict_sni=True,
                hsts=m.Hsts(max_age=86400.0),
                acme=m.Acme(names=("b.c",), ca="authorities.pem"),
            ),
        ),
        m.Listen(endpoint="tcp:8445", tls=m.ListenTls(certificates=".")),
        m.Listen(
            endpoint="tcp:8446",
            tls=m.ListenTls(certificates="made", client=m.ClientCertificates(ca="authorities.pem"), acme="internal"),
        ),
    ),
    upstreams={
        "api": m.Upstream(
            backends=(
                m.Backend(endpoint="127.0.0.1:9000"),
                m.Backend(endpoint="unix:/run/api.sock", weight=2),
                m.Backend(endpoint="https://b", backup=1),
                m.Backend(endpoint="c:80", backup=2, max_requests=1, max_connections=2),
            ),
            dns=m.Dns(name="api.internal:9000", servers=("10.0.0.53",), at_least=1.0, at_most=60.0),
            srv=m.Srv(name="_http._tcp.api.internal", servers=("10.0.0.53:5353",), at_least=2.0, at_most=120.0),
            file="setup.cfg",
            balance="hash",
            hash=m.Hashing(by="header:x-user", load=1.5),
            sticky=m.Sticky(cookie="at", secret="0123456789abcdef", max_age=86400.0, same_site="none"),
            slow_start=30.0,
            max_requests=8,
            max_connections=9,
            queue=8,
            queue_time=7.0,
            health=m.HealthCheck(
                type="http",
                path="/healthz",
                method="HEAD",
                host="a",
                headers={"x-a": "b"},
                status=("200", "300-304"),
                body=None,
                interval=1.0,
                timeout=0.5,
                rise=1,
                fall=1,
                initial="down",
            ),
            passive=m.Passive(
                failures=3,
                error_rate=0.1,
                minimum=10,
                window=20.0,
                statuses=(503,),
                eject=1.0,
                eject_most=2.0,
                share=1.0,
            ),
            panic=0.0,
            breaker=m.Breaker(error_rate=0.3, minimum=5, window=5.0, open=1.0, probes=1),
            tls=m.BackendTls(
                ca="setup.cfg", name="api.internal", certificate="setup.cfg", key="setup.cfg", insecure=False
            ),
            proxy_protocol="v2",
            timeouts=m.UpstreamTimeouts(connect=1.0, first_byte=2.0, idle=3.0, total=4.0),
            pool=m.Pool(idle=0, idle_time=5.0, age=3600.0),
            host="backend.example:8080",
        )
    },
    cache=m.CacheStore(size=128 * 1024**2, largest=1024**2),
    routes=(
        m.Route(
            name="api",
            upstream="api",
            minimum_rate=None,
            rate_limit=(
                m.RateLimit(rate=Requests(100, "second")),
                m.RateLimit(rate="1000/h", burst=50, by="header:x-key", missing="route", keys=5),
                m.RateLimit(rate="5/d", delay=2.0, waiting=9, status=503, hits=False, fields="refused", name="daily"),
                m.RateLimit(rate="9/d", ipv4=24, ipv6=48),
            ),
            priority="low",
            limits=m.RouteLimits(
                requests=9,
                requests_per_address=2,
                body=None,
                body_by_type={"application/json": 1024, "text/*": None, "*+xml": 0},
            ),
            content_types=("application/json", "text/*", "*+xml"),
            access=m.Access(deny=("private",)),
            cookies=m.Cookies(readable=("csrf",), same_site="strict"),
            cors=m.Cors(
                origins=("https://app.example", "https://*.example.com:8443", "app+x://y"),
                methods=("PUT",),
                headers=("x-a", "x-b"),
                expose=("x-c",),
                credentials=True,
                max_age=3600.0,
            ),
            security_headers=m.SecurityHeaders(
                preset="strict",
                hsts=m.Hsts(max_age=365 * 86400.0, subdomains=True, preload=True),
                content_type_options="nosniff",
                frame_options="SAMEORIGIN",
                referrer_policy="origin",
                content_security_policy=None,
                content_security_policy_report_only="default-src 'self'",
                permissions_policy="usb=()",
                cross_origin_opener_policy="unsafe-none",
                cross_origin_embedder_policy="credentialless",
                cross_origin_resource_policy="same-site",
                override=True,
            ),
            buffer=m.Buffer(request=1024**2, response=None),
            auth=m.Auth(
                client_certificate=m.CertificateAuth(names=("*",), user="name"),
                satisfy="all",
                realm="r",
                headers={"x-user": "$auth_user ${auth_claim_a.b}"},
                credentials="pass",
                strip=("x-other",),
                basic=m.BasicAuth(file="users", cache=0.0),
                forward=m.ForwardAuth(
                    upstream="api",
                    path="/a?b",
                    method="POST",
                    copy_request=("cookie",),
                    copy_response=("x-groups",),
                    copy_cookies=("sid",),
                    user="x-u",
                    timeout=1.0,
                    cache=2.0,
                    by=("cookie:a",),
                ),
                jwt=m.JwtAuth(
                    algorithms=("RS256",),
                    jwks="https://a/b",
                    issuer=("i",),
                    audience=("a", "b"),
                    leeway=0.0,
                    token="cookie:t",
                    user="email",
                    require={"role": ("x",)},
                    refresh=7200.0,
                    ca="authorities.pem",
                ),
                api_key=m.ApiKeyAuth(header="x-k", file="keys"),
            ),
            filter=m.Filter(
                threshold=7,
                mode="detect",
                paranoia=2,
                except_=(1001, 10001),
                body=1024,
                rules=(m.FilterRule(id=10001, name="old", pattern="^/old", in_=("path",), score=3),),
            ),
            compress=m.Compress(gzip=5, br=4, zstd=3, types=("text/html", "*+json"), minimum=2048),
            upgrade=("websocket", "tls-1.0x"),
            retry=m.Retry(
                on=("connect", "503"), methods=("PUT",), tries=2, per_try=1.0, backoff=0.001, budget=0.05, body=0
            ),
            middleware=(
                m.Middleware(call="a.b:c"),
                m.Middleware(call="d:e", at="client-response", timeout=None, fail="open"),
            ),
            cache=m.Cache(
                size=1024**2,
                largest=100 * 1024,
                ttl={200: 60.0, 4: 10.0, 0: 0.0},
                override_ttl={301: 3600.0},
                grace=1.0,
                disconnected=0.0,
                heuristic=0.2,
                key_headers=("x-tenant", "x-user", "x-groups", "x-k"),
                key_cookies=("theme", "t"),
                query_ignore=("utm_*",),
                query_only=("a", "b"),
                query_sort=True,
                bypass=m.CacheBypass(header=("x-preview",), cookie=("session*",), query=("draft",)),
                honour_client=False,
                store_set_cookie=True,
                targeted=("example-cache-control",),
                status="edge",
                status_key=True,
            ),
            match=m.Match(
                host=("example.com", "*.xn--bcher-kva.example", "[2001:db8::1]"),
                path=("/api/*", "/ws*", "/~me", "/%C3%A9%20b", "~^/(a|b)$"),
                method=("GET", "PURGE", "OPTIONS"),
                header={"x-beta": ("1",), "accept": ("a", "*")},
                query={"a b": ("é",)},
                cookie={"sid": ("*",)},
                content_type=("application/json",),
                client=("loopback", "10.0.0.0/8"),
                scheme=("https",),
                listen=("public",),
                client_certificate=(
                    "CN=alice,O=Example",
                    "URI:spiffe://Example/web/*",
                    "DNS:a.example",
                    "IP:2001:db8::1",
                    "*",
                ),
            ),
            rewrite=m.Rewrite(
                strip_prefix="/api",
                add_prefix="/v1",
                regex="^/(?P<x>.)(.)",
                to="/$2/${x}/$$",
                query=m.QueryRewrite(set={"a": "$5"}, remove=("utm",)),
            ),
            headers=m.Headers(
                request=m.HeaderChanges(
                    remove=("x-drop",),
                    set={"x-client": "$client_ip ${http_user_agent} $cookie_a $$"},
                    add={"x-more": "1"},
                ),
                response=m.HeaderChanges(remove=("x-a", "x-b"), set={"x-c": "1"}, add={"x-d": "2"}),
            ),
        ),
        m.Route(
            rewrite=m.Rewrite(replace="/one"),
            respond=m.Respond(status=418, body="tea", content_type="text/x-tea", headers={"x-pot": "1"}),
            minimum_rate=m.MinimumRate(rate=5.0, over=1.0),
        ),
        m.Route(
            redirect=m.Redirect(status=307, scheme="https", host="www.example.com", port=8443, path="/new$path"),
        ),
        m.Route(redirect=m.Redirect(to="https://example.com$target")),
        m.Route(
            respond=m.Respond(status=404),
            upgrade=(),
            auth=m.Auth(
                basic=m.BasicAuth(users={"a": "$2y$10$iB8B8wJk5EDeyY9BirngKeuR3lH/ZUo8D1WS6Ew.u59nwZbWXAtge"}),
                jwt=m.JwtAuth(algorithms=("HS256",), secret="0123456789abcdef0123456789abcdef", token="query:t"),
                api_key=m.ApiKeyAuth(
                    query="k", keys={"b": "sha256:e601bfc86b9850d828e43ff3541c68cfa690fe7bf01ce7f51c34aae5448ce6a2"}
                ),
                client_certificate=m.CertificateAuth(names=("DNS:a.example",)),
            ),
        ),
        m.Route(
            respond=m.Respond(status=404),
            auth=m.Auth(jwt=m.JwtAuth(algorithms=("HS256",), secret_file="s")),
        ),
        m.Route(resource="my.site:root"),
        m.Route(
            files=".",
            compress=m.Compress(),
            cors=m.Cors(origins=("*",)),
            cookies=m.Cookies(),
            security_headers=None,
        ),
        m.Route(split=m.Split(upstreams={"api": 9}, by="module:key"), retry=None),
    ),
)


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "authorities.pem").write_bytes(authority().pem)
    (tmp_path / "setup.cfg").touch()
    assert load_text(EVERY_KEY, base=str(tmp_path)) == attrs.evolve(EXPECTED, base=str(tmp_path))


def classes(cls: type, seen: set[type]) -> Iterator[type]:
    if attrs.has(cls) and cls not in seen:
        seen.add(cls)
        yield cls
        for hint in get_type_hints(cls).values():
            yield from nested(hint, seen)


def nested(hint: Any, seen: set[type]) -> Iterator[type]:
    if isinstance(hint, type):
        yield from classes(hint, seen)
    for inner in get_args(hint):
        yield from nested(inner, seen)


def instances(value: Any) -> Iterator[Any]:
    if attrs.has(type(value)):
        yield value
        for name in attrs.fields_dict(type(value)):
            yield from instances(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from instances(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from instances(item)


def test_every_key_is_every_key() -> None:
    """Each field of each class is written somewhere in the text above."""
    missing = []
    written = set(EVERY_KEY.replace("[", " ").replace("]", " ").replace(".", " ").replace("{", " ").split())
    for cls in classes(m.Config, set()):
        missing += [
            f"{cls.__name__}.{name}"
            for name in map(written_name, attrs.fields_dict(cls))
            if name not in written and name not in ("base", "source")
        ]
        assert any(type(item) is cls for item in instances(EXPECTED)), cls
    assert missing == []


SHORT = 'listen = [{ endpoint = "tcp:1" }]\n'


def test_one_backend_needs_no_list() -> None:
    config = load_text(SHORT + 'upstreams.a.backends = "tcp:h:1"\nroutes = [{ upstream = "a", middleware = "m:f" }]')
    assert config.upstreams["a"].backends == (m.Backend(endpoint="tcp:h:1"),)
    assert config.routes[0].middleware == (m.Middleware(call="m:f"),)


def test_a_text_named_off_is_a_text() -> None:
    config = load_text(SHORT + 'routes = [{ name = "off", respond = 404, match = { query = { off = "off" } } }]')
    assert (config.routes[0].name, config.routes[0].match.query) == ("off", {"off": ("off",)})


@pytest.mark.parametrize("name", ["tcp:1", "front"])
def test_listeners_are_named_by_name_or_endpoint(name: str) -> None:
    text = (
        f'listen = [{{ endpoint = "tcp:1", name = "front" }}]\nroutes = [{{ respond = 404, match.listen = "{name}" }}]'
    )
    assert load_text(text).routes[0].match.listen == (name,)


def test_words_for_networks() -> None:
    assert [str(network) for network in networks(("loopback", "10.0.0.0/8"))] == [
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
    ]
    assert any(network.version == 6 for network in networks(("private",)))


def test_base_is_kept() -> None:
    assert load_text(SHORT + "routes = [{ respond = 404 }]", base="/etc").base == "/etc"
