"""ReverseProxySite: the fast way where there is one, stock Requests elsewhere, alike in what is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from klein import Klein
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import directlyProvides

from revproxy.config import model
from revproxy.downstream.resource import ReverseProxyResource
from revproxy.downstream.site import ReverseProxySite
from revproxy.downstream.tree import PathTree, VirtualHosts
from revproxy.handlers.resource import ResourceStream
from tests.downstream.test_tree import Show
from tests.memory import CLIENT, Client, FakeBackend, Transport, make_upstream
from tests.test_accesslog import Reactor


class Front:
    """A tree with one backend, in our Site or in a stock one."""

    def __init__(self, kind: str = "ours") -> None:
        self.clock: Any = Clock()
        self.backend = FakeBackend()
        self.upstream = make_upstream(self.clock, self.backend)
        self.proxied: Any = ReverseProxyResource(self.upstream, reactor=self.clock)
        self.kind = kind

    def serve(self, root: Any, **settings: Any) -> Client:
        site: Any
        if self.kind == "ours":
            site = ReverseProxySite(root, reactor=self.clock, **settings)
        else:
            site = Site(root, reactor=self.clock)
        return Client(site, self.clock)

    def target(self) -> bytes:
        """The target that the backend was last asked for."""
        return self.backend.received().rpartition(b" HTTP/1.1\r\nHost: ")[0].rpartition(b" ")[2]


@pytest.fixture
def front() -> Front:
    return Front()


# -- the same answers in a stock Site and in ours


@pytest.fixture(params=["ours", "stock"])
def either(request: pytest.FixtureRequest) -> Front:
    return Front(request.param)


def seen(front: Front, client: Client, target: str, host: str = "example.com") -> str:
    """Where a request ends: ``backend TARGET``, a resource's own words, or a status."""
    answer = client.get(target, host=host)
    sent = front.target()
    if sent:
        front.backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        client.received()
        return f"backend {sent.decode()}"
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode() if b" 200 " in head else head.split(b" ")[1].decode()


def a_tree(front: Front) -> Any:
    class Dynamic(Resource):
        def getChild(self, name: bytes, request: Any) -> Any:
            return front.proxied if name == b"proxied" else Show("dynamic")

    plain = Show("plain", leaf=False)
    plain.putChild(b"proxied", front.proxied)
    plain.putChild(b"", Show("index"))
    plain.putChild(b"a b", front.proxied)
    plain.putChild(b"dynamic", Dynamic())
    paths = PathTree()
    paths.add("/api/*", front.proxied)
    paths.add("/api/local/*", Show("local"))
    paths.add("/one", front.proxied)
    paths.add("/ws*", front.proxied)
    paths.add("~^/r[0-9]$", front.proxied)
    paths.add("/plain/*", plain)
    hosts = VirtualHosts(default=Show("default"))
    hosts.add("example.com", paths)
    hosts.add("plain.org", plain)
    hosts.add("*.all.org", front.proxied)
    return hosts


@pytest.mark.parametrize(
    ("host", "target", "end"),
    [
        ("example.com", "/api", "backend /"),
        ("example.com", "/api/x/y?q", "backend /x/y?q"),
        ("example.com", "/%61pi/x", "backend /x"),
        ("example.com", "/api/local", "local ['api', 'local'] []"),
        ("example.com", "/api/local/x", "local ['api', 'local'] ['x']"),
        ("example.com", "/api/localx", "backend /localx"),
        ("example.com", "/one", "backend /"),
        ("example.com", "/one/x", "404"),
        ("example.com", "/wsx/y", "backend /wsx/y"),
        ("example.com", "/r1", "backend /r1"),
        ("example.com", "/plain", "plain ['plain'] []"),
        ("example.com", "/plain/", "index ['plain', ''] []"),
        ("example.com", "/plain/proxied/x", "backend /x"),
        ("example.com", "/plain/a%20b/x", "backend /x"),
        ("example.com", "/plain/none", "404"),
        ("example.com", "/plain/dynamic/proxied/x", "backend /x"),
        ("example.com", "/plain/dynamic/other/x", "dynamic ['plain', 'dynamic', 'other'] ['x']"),
        ("example.com", "/other", "404"),
        ("example.com", "/api/..%2fx", "400"),
        ("plain.org", "/", "index [''] []"),
        ("plain.org", "/proxied", "backend /"),
        ("a.all.org", "/x/y", "backend /x/y"),
        ("other.org", "/x", "default [] ['x']"),
    ],
)
def test_where_a_request_ends(either: Front, host: str, target: str, end: str) -> None:
    client = either.serve(a_tree(either))
    assert seen(either, client, target, host) == end


def test_children_that_come_and_go_later(either: Front) -> None:
    root = Resource()
    client = either.serve(root)
    assert seen(either, client, "/a/x") == "404"
    root.putChild(b"a", either.proxied)
    assert seen(either, client, "/a/x") == "backend /x"
    below = Resource()
    root.putChild(b"a", below)
    assert seen(either, client, "/a/x") == "404"
    below.putChild(b"x", either.proxied)
    assert seen(either, client, "/a/x") == "backend /"
    root.children = {b"a": Show("new")}
    assert seen(either, client, "/a/x") == "new ['a'] ['x']"
    root.delEntity(b"a")
    assert seen(either, client, "/a/x") == "404"


def test_hosts_and_paths_that_come_later(either: Front) -> None:
    paths = PathTree()
    hosts = VirtualHosts(default=paths)
    client = either.serve(hosts)
    assert seen(either, client, "/a") == "404"
    paths.add("/a", either.proxied)
    assert seen(either, client, "/a") == "backend /"
    hosts.add("example.com", Show("host"))
    assert seen(either, client, "/a") == "host [] ['a']"


def test_locations_are_mapped_to_the_mount_point(either: Front) -> None:
    root = Resource()
    root.putChild(b"app", either.proxied)
    client = either.serve(root)
    client.get("/app/x")
    either.backend.send(
        b"HTTP/1.1 302 Found\r\nLocation: http://backend:9000/y\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    )
    answer = client.received()
    assert b"Location: http://example.com/app/y\r\n" in answer
    assert b"Set-Cookie: a=1; Path=/app" in answer


# -- what only ours can do


def test_uploads_stream(front: Front) -> None:
    root = Resource()
    root.putChild(b"up", front.proxied)
    client = front.serve(root)
    client.send(b"PUT /up/f HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
    sent = front.backend.received()
    assert sent.startswith(b"PUT /f HTTP/1.1\r\n")
    assert sent.endswith(b"\r\n\r\n01234")
    client.send(b"56789")
    assert front.backend.received() == b"56789"


def test_upgrades_switch(front: Front) -> None:
    client = front.serve(front.proxied)
    client.get("/ws", "Connection: Upgrade", "Upgrade: websocket")
    front.backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 101 ")
    assert client.send(b"ping") == b""
    assert front.backend.received().endswith(b"ping")
    front.backend.send(b"pong")
    assert client.received() == b"pong"


def test_interim_responses_pass(front: Front) -> None:
    client = front.serve(front.proxied)
    client.get("/")
    front.backend.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 103 ")


def test_no_request_is_made_on_the_fast_way(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResourceStream, "prepare", None)
    client = front.serve(a_tree(front))
    assert seen(front, client, "/api/x") == "backend /x"


def test_below_a_resource_that_finds_its_children_a_stock_requests_limits_hold(front: Front) -> None:
    client = front.serve(a_tree(front))
    answer = client.get("/plain/dynamic/proxied/ws", "Connection: Upgrade", "Upgrade: websocket")
    assert answer.startswith(b"HTTP/1.1 501 ")


def test_a_response_cut_short_below_such_a_resource(front: Front) -> None:
    client = front.serve(a_tree(front))
    client.get("/plain/dynamic/proxied/x")
    front.backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
    assert client.received().endswith(b"01234")
    front.backend.leave()
    assert client.transport.aborted


def test_a_slow_client_below_such_a_resource(front: Front) -> None:
    client = front.serve(a_tree(front))
    client.transport.capacity = 1000
    client.protocol.dataReceived(b"GET /plain/dynamic/proxied/x HTTP/1.1\r\nHost: example.com\r\n\r\n")
    front.backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + bytes(10))
    front.backend.send(bytes(2990))
    client.clock.advance(0)
    assert not front.backend.transport.reading
    client.transport.drain()
    client.transport.drain()
    assert front.backend.transport.reading


def test_klein_beside_proxied_paths(front: Front) -> None:
    app = Klein()

    @app.route("/hello/<name>")
    def hello(request: Any, name: str) -> str:
        return f"hello {name}"

    paths = PathTree()
    paths.add("/*", app.resource())
    paths.add("/api/*", front.proxied)
    client = front.serve(paths)
    assert client.get("/hello/you").endswith(b"hello you")
    assert seen(front, client, "/api/x") == "backend /x"


def test_tracebacks_are_shown_where_asked_for(front: Front) -> None:
    class Fails(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            raise ValueError("what went wrong")

    client = front.serve(Fails())
    answer = client.get("/")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"what went wrong" not in answer
    site: Any = ReverseProxySite(Fails(), reactor=front.clock)
    site.displayTracebacks = True
    assert b"what went wrong" in Client(site, front.clock).get("/")


def test_options_star(front: Front) -> None:
    client = front.serve(Show("root"))
    assert client.get("*", method="OPTIONS").startswith(b"HTTP/1.1 200 ")


def test_what_is_refused_by_our_parser(front: Front) -> None:
    client = front.serve(Show("root"))
    assert client.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_the_host_is_the_transports(front: Front) -> None:
    client = front.serve(front.proxied)
    client.get("/")
    sent = front.backend.received()
    assert b"X-Forwarded-Port: 8080\r\n" in sent
    assert b"X-Forwarded-For: 192.0.2.7\r\n" in sent


def test_a_tree_that_leads_to_itself_ends(front: Front) -> None:
    root = Show("root", leaf=False)
    root.putChild(b"x", root)
    client = front.serve(root)
    assert client.get("/x" * 80).partition(b"\r\n\r\n")[2].startswith(b"root ")


def test_the_access_log(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    reactor = Reactor()
    front.clock = reactor
    site: Any = ReverseProxySite(front.proxied, reactor=reactor, logPath=str(path))
    site.doStart()
    client = Client(site, reactor)
    assert seen(front, client, "/x") == "backend /x"
    site.doStop()
    reactor.serve()  # the writer's word that it has ended
    assert b'"GET /x HTTP/1.1" 200' in path.read_bytes()


def test_stopping_closes_the_pools(front: Front) -> None:
    resource: Any = ReverseProxyResource(
        model.Upstream(backends=(model.Backend(endpoint="tcp:127.0.0.1:9"),)), reactor=front.clock
    )
    site: Any = ReverseProxySite(resource, reactor=front.clock)
    site.doStart()
    site.engine.table.match(type("R", (), {"path": b"/", "host": b""}))
    site.doStop()
    assert resource._owned[0].backends[0].pool.closed


def test_an_idle_connection_ends_when_the_site_says(front: Front) -> None:
    client = front.serve(front.proxied, timeout=3)
    assert seen(front, client, "/x") == "backend /x"
    client.clock.advance(2.9)
    assert not client.transport.disconnecting
    client.clock.advance(0.2)
    assert client.transport.disconnecting


def test_what_is_negotiated(front: Front) -> None:
    assert ReverseProxySite(front.proxied, reactor=front.clock).acceptableProtocols() == [b"h2", b"http/1.1"]


def test_clients_without_tls_are_counted_once(front: Front) -> None:
    server = model.Server(limits=model.Limits(connections_per_address=2))
    site: Any = ReverseProxySite(front.proxied, server=server, reactor=front.clock)
    clients = [Client(site, front.clock) for _ in range(3)]
    assert [client.transport.disconnecting for client in clients] == [False, False, True]
    clients[0].protocol.connectionLost(Failure(ConnectionDone()))
    assert [Client(site, front.clock).transport.disconnecting for _ in range(2)] == [False, True]


def test_the_scheme_is_the_transports(front: Front) -> None:
    site: Any = ReverseProxySite(front.proxied, reactor=front.clock)
    client = Client.__new__(Client)
    client.clock, client.transport, client.protocol = front.clock, Transport(), site.buildProtocol(CLIENT)
    directlyProvides(client.transport, ISSLTransport)
    client.protocol.makeConnection(client.transport)
    client.get("/")
    assert b"X-Forwarded-Proto: https\r\n" in front.backend.received()


def test_a_client_banned_behind_a_trusted_proxy_is_refused_in_the_whole_tree(front: Front) -> None:
    root = Resource()
    root.putChild(b"proxied", front.proxied)
    server = model.Server(trusted_proxies=(CLIENT.host,), bans=model.Bans(addresses=("198.51.100.7",)))
    client = front.serve(root, server=server)
    for target in ("/proxied", "/nothing"):
        assert client.get(target, "X-Forwarded-For: 198.51.100.7").startswith(b"HTTP/1.1 403 ")
    assert client.get("/nothing", "X-Forwarded-For: 198.51.100.8").startswith(b"HTTP/1.1 404 ")
