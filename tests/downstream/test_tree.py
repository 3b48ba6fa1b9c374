"""Virtual hosts and path trees as ordinary resources in a stock Site."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import Site

from revproxy.downstream.tree import PathTree, VirtualHosts
from tests.memory import Client


class Show(Resource):
    """Says its name and the path it sees; a leaf unless told otherwise."""

    def __init__(self, name: str, leaf: bool = True) -> None:
        super().__init__()
        self.name = name
        self.isLeaf = leaf

    def render_GET(self, request: Any) -> bytes:
        before, after = ([part.decode() for part in parts] for parts in (request.prepath, request.postpath))
        return f"{self.name} {before} {after}".encode()


def client(root: Any) -> Client:
    clock = Clock()
    site: Any = Site(root, reactor=clock)
    return Client(site, clock)


def body(answer: bytes) -> str:
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return answer.partition(b"\r\n\r\n")[2].decode()


def test_hosts() -> None:
    hosts = VirtualHosts(default=Show("default"))
    hosts.add("Example.com", Show("exact"))
    hosts.add("*.example.com", Show("below"))
    http = client(hosts)
    assert body(http.get("/x", host="example.com")) == "exact [] ['x']"
    assert body(http.get("/x", host="EXAMPLE.com.:8080")) == "exact [] ['x']"
    assert body(http.get("/x", host="a.b.example.com")) == "below [] ['x']"
    assert body(http.get("/x", host="other.org")) == "default [] ['x']"
    assert http.send(b"GET /x HTTP/1.0\r\n\r\n").endswith(b"default [] ['x']")


def test_without_a_default_other_hosts_are_404() -> None:
    hosts = VirtualHosts()
    hosts.add("example.com", Show("exact"))
    assert client(hosts).get("/", host="other.org").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("fields", [b"Host: example.com\r\nHost: other.org\r\n", b"Host: a b\r\n"])
def test_a_host_that_is_not_clear_is_400(fields: bytes) -> None:
    hosts = VirtualHosts(default=Show("default"))
    assert client(hosts).send(b"GET / HTTP/1.1\r\n" + fields + b"\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_resource_with_children_below_a_host() -> None:
    root = Show("root", leaf=False)
    root.putChild(b"child", Show("child"))
    hosts = VirtualHosts()
    hosts.add("example.com", root)
    top = Resource()
    top.putChild(b"at", hosts)
    http = client(top)
    assert body(http.get("/at/child/x")) == "child ['at', 'child'] ['x']"
    assert body(http.get("/at")) == "root ['at'] []"
    assert http.get("/at/none").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("host", ["example.com:80", "", "a b", "*.", "exämple.com"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        VirtualHosts().add(host, Show("x"))


def test_what_is_no_resource() -> None:
    with pytest.raises(ValueError, match="not a resource"):
        VirtualHosts().add("example.com", object())
    with pytest.raises(TypeError, match="add"):
        VirtualHosts().putChild(b"x", Show("x"))


def tree() -> PathTree:
    paths = PathTree()
    paths.add("/*", Show("rest"))
    paths.add("/api/*", Show("api"))
    paths.add("/api/v1/*", Show("v1"))
    paths.add("/exact", Show("exact"))
    paths.add("/ws*", Show("ws"))
    paths.add("~^/photo-[0-9]+$", Show("photo"))
    return paths


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/", "rest [] ['']"),
        ("/other/x", "rest [] ['other', 'x']"),
        ("/api", "api ['api'] []"),
        ("/api/", "api ['api'] ['']"),
        ("/%61pi/x", "api ['api'] ['x']"),
        ("/api/v1/x", "v1 ['api', 'v1'] ['x']"),
        ("/api/v10", "api ['api'] ['v10']"),
        ("/apix", "rest [] ['apix']"),
        ("/exact", "exact ['exact'] []"),
        ("/exact/", "rest [] ['exact', '']"),
        ("/wsx/y", "ws [] ['wsx', 'y']"),
        ("/photo-12", "photo [] ['photo-12']"),
    ],
)
def test_paths(target: str, seen: str) -> None:
    assert body(client(tree()).get(target)) == seen


def test_paths_below_a_mount_point() -> None:
    top = Resource()
    top.putChild(b"at", tree())
    http = client(top)
    assert body(http.get("/at/api/x")) == "api ['at', 'api'] ['x']"
    assert body(http.get("/at")) == "rest ['at'] []"
    assert body(http.get("/at/photo-1")) == "photo ['at'] ['photo-1']"


def test_without_a_match_it_is_404() -> None:
    paths = PathTree()
    paths.add("/api/*", Show("api"))
    assert client(paths).get("/other").startswith(b"HTTP/1.1 404 ")
    assert client(paths).get("/").startswith(b"HTTP/1.1 404 ")


def test_a_dot_segment_is_400() -> None:
    assert client(tree()).get("/api/..%2fexact").startswith(b"HTTP/1.1 400 ")


def test_a_later_one_takes_the_place_and_put_child_is_below() -> None:
    paths = tree()
    http = client(paths)
    assert body(http.get("/api/x")).startswith("api ")
    paths.putChild(b"api", Show("new"))
    assert body(http.get("/api/x")).startswith("new ")
    paths.putChild(b"a b", Show("space"))
    assert body(http.get("/a%20b/x")) == "space ['a b'] ['x']"


@pytest.mark.parametrize("pattern", ["api/*", "", "/a/../b", "/%zz", "/%61"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="path"):
        PathTree().add(pattern, Show("x"))


def test_a_broken_regular_expression_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="path"):
        PathTree().add("~(", Show("x"))


def test_trees_within_trees() -> None:
    inner = PathTree()
    inner.add("/*", Show("inner"))
    outer = PathTree()
    outer.add("/a/*", inner)
    hosts = VirtualHosts(default=outer)
    assert body(client(hosts).get("/a/b")) == "inner ['a'] ['b']"
    assert body(client(hosts).get("/a")) == "inner ['a'] []"
