"""The one-line start."""

from __future__ import annotations

import pytest

from revproxy.config import model as m
from revproxy.config.describe import describe
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.options import from_options


def test_one_backend() -> None:
    assert from_options(["tcp:8080"], ["tcp:127.0.0.1:9000"], []) == m.Config(
        listen=(m.Listen(endpoint="tcp:8080"),),
        upstreams={"default": m.Upstream(backends=(m.Backend(endpoint="tcp:127.0.0.1:9000"),))},
        routes=(m.Route(name="default", upstream="default"),),
    )


def test_several_backends_are_one_upstream() -> None:
    config = from_options(["tcp:1", "tcp:2"], ["a:1", "b:1"], ["h/=c:1", "h/=tcp:host=d:port=1"])
    assert {name: [b.endpoint for b in u.backends] for name, u in config.upstreams.items()} == {
        "default": ["a:1", "b:1"],
        "h/": ["c:1", "tcp:host=d:port=1"],
    }
    assert [listen.endpoint for listen in config.listen] == ["tcp:1", "tcp:2"]
    assert [route.upstream for route in config.routes] == ["default", "h/"]


@pytest.mark.parametrize(
    ("left", "match"),
    [
        ("example.com/api/", m.Match(host=("example.com",), path=("/api/*",))),
        ("example.com/api", m.Match(host=("example.com",), path=("/api",))),
        ("example.com/ws*", m.Match(host=("example.com",), path=("/ws*",))),
        ("*.example.com", m.Match(host=("*.example.com",))),
        ("example.com/", m.Match(host=("example.com",))),
        ("/api/", m.Match(path=("/api/*",))),
        ("*/api/", m.Match(path=("/api/*",))),
        ("*", m.Match()),
        ("/", m.Match()),
        ("default", m.Match(host=("default",))),
    ],
)
def test_left_sides(left: str, match: m.Match) -> None:
    assert from_options(["tcp:1"], ["a:1"], [f"{left}=b:1"]).routes[1].match == match


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (([], ["a:1"], []), "--listen: missing; write --listen tcp:8080"),
        ((["tcp:1"], [], []), "--to: missing; write --to tcp:127.0.0.1:9000, or --route 'HOST/PATH=BACKEND'"),
        ((["8080"], ["a:1"], []), '--listen 8080: "8080" is not an endpoint; did you mean "tcp:8080"?'),
        ((["tcp:1"], ["a:1", "b"], []), '--to b: "b" has no port; write "tcp:b:80" or "b:80"'),
        ((["tcp:1"], [], ["x"]), "--route x: is not a route; write 'HOST/PATH=BACKEND'"),
        ((["tcp:1"], [], ["=a:1"]), "--route =a:1: is not a route; write 'HOST/PATH=BACKEND'"),
        (
            (["tcp:1"], [], ["a b/=c:1"]),
            '--route a b/=c:1: "a b" is not a host; write a name such as "example.com"',
        ),
        ((["tcp:1"], [], ["/x=c:1", "/x=c"]), '--route /x=c: "c" has no port; write "tcp:c:80" or "c:80"'),
    ],
)
def test_errors_name_the_option(options: tuple[list[str], list[str], list[str]], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_options(*options)
    assert str(caught.value) == message


def test_summary() -> None:
    text = """\
listen = [{ endpoint = "tcp:8080", name = "public" }, { endpoint = "tcp:8081" }]
upstreams.api.backends = ["tcp:h:1", { endpoint = "tcp:h:2", weight = 3 }, { endpoint = "tcp:h:3", backup = true }]
[[routes]]
name = "api"
upstream = "api"
match = { host = ["a.b", "*.c"], path = "/api/*", header = { x-a = "1" } }
[[routes]]
redirect = { scheme = "https" }
[[routes]]
match.query.a = "\\u001b[2J"
respond = 404
[[routes]]
resource = "a:b"
"""
    assert (
        describe(load_text(text))
        == r"""Listeners (2)
  name      endpoint
  public    tcp:8080
  tcp:8081  tcp:8081

Routes (4)
  name     matches                                  ends in
  api      host a.b|*.c, path /api/*, header x-a=1  upstream api
  route-2  everything                               redirect 308 to scheme=https
  route-3  "query a=\u001b[2J"                      respond 404
  route-4  everything                               resource a:b

Upstreams (1)
  name  balance      backends
  api   round-robin  tcp:h:1
                     tcp:h:2 (weight 3)
                     tcp:h:3 (backup)"""
    )


def test_summary_of_what_stands_before_routes() -> None:
    text = """\
upstreams.api.backends = "tcp:h:1"
listen = [{ endpoint = "tcp:8080" }]
[server]
limits = { requests = 500 }
rate_limit = "1000/s"
[[routes]]
match.path = "/a"
upstream = "api"
access = { allow = "private", status = 404 }
rate_limit = ["100/s", { rate = "5000/h", by = "header:x-key" }]
limits = { requests_per_address = 2, body = "1MB" }
filter = true
auth.basic.file = "users"
cache = true
compress = { gzip = 5 }
[[routes]]
respond = 200
"""
    assert (
        describe(load_text(text)).partition("\n\n")[2].partition("\n\nUpstreams")[0]
        == """\
All routes are behind: requests 500 at once, rate 1000/second by client

Routes (2)
  name     matches     ends in       behind
  route-1  path /a     upstream api  requests 2 at once per address, access by allow, rate 100/second by client, \
rate 5000/hour by header:x-key, body 1MB, filter block, auth basic, cache, compress gzip
  route-2  everything  respond 200   -"""
    )


def test_summary_of_nothing() -> None:
    assert describe(m.Config()) == "Listeners: none\n\nRoutes: none\n\nUpstreams: none"
