"""A ReverseProxyResource in a stock Site."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.web.client import readBody
from twisted.web.http_headers import Headers as WebHeaders
from twisted.web.resource import Resource
from twisted.web.server import Site

from revproxy.config import model
from revproxy.config.coding import Compress
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_file
from revproxy.downstream.resource import ReverseProxyResource
from revproxy.downstream.site import ReverseProxySite
from revproxy.upstream.sticky import Stickiness
from tests.memory import CLIENT, Client, FakeBackend, make_upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Stock:
    """A stock Site with a proxied resource at ``/api``, or at its root."""

    def __init__(self, mount: bytes | None = b"api", **settings: Any) -> None:
        self.clock = Clock()
        self.backend = FakeBackend()
        self.upstream = make_upstream(self.clock, self.backend)
        self.resource: Any = ReverseProxyResource(self.upstream, reactor=self.clock, **settings)
        root: Any = self.resource
        if mount is not None:
            root = Resource()
            root.putChild(mount, self.resource)
        self.site: Any = Site(root, reactor=self.clock)
        self.client = Client(self.site, self.clock)


def first_line(data: bytes) -> bytes:
    return data.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        ("/api", b"/"),
        ("/api/", b"/"),
        ("/api/x/y?q=1&r", b"/x/y?q=1&r"),
        ("/api/a%2Fb", b"/a%2Fb"),
        ("/%61pi/%7Ex", b"/~x"),
        ("/api//x", b"//x"),
    ],
)
def test_the_mount_point_is_stripped(target: str, forwarded: bytes) -> None:
    stock = Stock()
    stock.client.get(target)
    assert first_line(stock.backend.received()) == b"GET " + forwarded + b" HTTP/1.1"


@pytest.mark.parametrize(("target", "forwarded"), [("/api", b"/base"), ("/api/", b"/base/"), ("/api/x", b"/base/x")])
def test_a_path_takes_its_place(target: str, forwarded: bytes) -> None:
    stock = Stock(path="/base/")
    stock.client.get(target)
    assert first_line(stock.backend.received()) == b"GET " + forwarded + b" HTTP/1.1"


def test_at_the_root() -> None:
    stock = Stock(mount=None)
    stock.client.get("/x/y")
    assert first_line(stock.backend.received()) == b"GET /x/y HTTP/1.1"


def test_a_response_comes_back() -> None:
    stock = Stock()
    assert stock.client.get("/api/") == b""
    stock.backend.send(
        b"HTTP/1.1 203 Fine\r\nContent-Length: 2\r\nServer: secret\r\nX-A: 1\r\nX-A: 2\r\nSet-Cookie: a=1\r\n"
        b"Set-Cookie: b=2\r\n\r\nhi"
    )
    answer = stock.client.received()
    assert answer.startswith(b"HTTP/1.1 203 Fine\r\n")
    assert answer.endswith(b"\r\n\r\nhi")
    assert b"secret" not in answer
    assert b"Content-Type" not in answer
    for line in (b"X-A: 1", b"X-A: 2", b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"Content-Length: 2"):
        assert answer.count(line + b"\r\n") == 1
    stock.client.get("/api/again")
    assert first_line(stock.backend.received().split(b"\r\n\r\n")[1]) == b"GET /again HTTP/1.1"
    assert stock.backend.connections == 1


def test_what_says_where_a_request_came_from_is_ours() -> None:
    stock = Stock()
    stock.client.get("/api/", "X-Forwarded-For: 6.6.6.6", "Connection: close, x-secret", "X-Secret: 1")
    sent = stock.backend.received()
    assert b"X-Forwarded-For: 192.0.2.7\r\n" in sent
    assert b"6.6.6.6" not in sent
    assert b"X-Secret" not in sent
    assert b"X-Forwarded-Host: example.com\r\n" in sent


def test_names_of_the_backend_are_mapped_to_the_mount_point() -> None:
    stock = Stock(path="/base")
    stock.client.get("/api/x")
    stock.backend.send(
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://backend:9000/base/y\r\n"
        b"Set-Cookie: a=1; Path=/base/\r\n\r\n"
    )
    answer = stock.client.received()
    assert b"Location: http://example.com/api/y\r\n" in answer
    assert b"Set-Cookie: a=1; Path=/api/\r\n" in answer


def test_a_body_streams_back_and_waits_for_a_slow_client() -> None:
    stock = Stock()
    stock.client.transport.capacity = 1000
    stock.client.protocol.dataReceived(b"GET /api/ HTTP/1.1\r\nHost: x\r\n\r\n")
    stock.backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + bytes(100))
    assert stock.client.received().endswith(bytes(100))
    assert stock.backend.transport.reading
    stock.backend.send(bytes(1900))
    assert not stock.backend.transport.reading
    assert len(stock.client.transport.drain()) == 1900
    assert stock.backend.transport.reading
    stock.backend.send(bytes(2000))
    assert len(stock.client.transport.drain()) == 2000
    assert stock.client.protocol._channel.requests == []


def test_chunks_in_and_out() -> None:
    stock = Stock()
    stock.client.send(b"POST /api/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    sent = stock.backend.received()
    assert b"Content-Length: 3\r\n" in sent
    assert b"chunked" not in sent
    assert sent.endswith(b"\r\n\r\nabc")
    stock.backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    answer = stock.client.received()
    assert answer.count(b"Transfer-Encoding: chunked\r\n") == 1
    assert answer.endswith(b"2\r\nhi\r\n")
    stock.backend.send(b"0\r\nX-Trailer: dropped\r\n\r\n")
    assert stock.client.received() == b"0\r\n\r\n"


def test_a_large_upload_waits_for_the_backend() -> None:
    stock = Stock()
    connect = stock.backend.connect

    def small(factory: Any) -> Any:
        result = connect(factory)
        stock.backend.transport.capacity = 200_000
        return result

    stock.backend.connect = small  # type: ignore[method-assign]  # a backend that is soon full
    size = 1_000_000
    stock.client.send(b"PUT /api/f HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    head, _, body = stock.backend.transport.drain().partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % size in head
    got = len(body)
    assert got < 400_000
    while got < size:
        stock.client.clock.advance(0)
        data = stock.backend.transport.drain()
        assert 0 < len(data) < 400_000
        got += len(data)
    assert got == size
    stock.backend.send(OK)
    assert stock.client.received().endswith(b"hi")


def test_head_and_no_content() -> None:
    stock = Stock()
    stock.client.get("/api/", method="HEAD")
    stock.backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
    answer = stock.client.received()
    assert b"Content-Length: 12\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
    stock.client.get("/api/")
    stock.backend.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    answer = stock.client.received()
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"Transfer-Encoding" not in answer
    assert answer.endswith(b"\r\n\r\n")


def test_interim_responses_are_dropped() -> None:
    stock = Stock()
    stock.client.get("/api/")
    stock.backend.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
    answer = stock.client.received()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Link" not in answer


def test_an_upgrade_is_501_with_a_page() -> None:
    stock = Stock()
    answer = stock.client.get("/api/ws", "Connection: Upgrade", "Upgrade: websocket", "Accept: text/html")
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"<html" in answer
    assert stock.backend.connections == 0


def test_an_upgrade_that_would_be_ignored_is_ignored() -> None:
    stock = Stock()
    stock.client.get("/api/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x")
    assert first_line(stock.backend.received()) == b"GET / HTTP/1.1"


def test_a_client_that_leaves_ends_the_backends_work() -> None:
    stock = Stock()
    stock.client.get("/api/slow")
    stock.client.leave()
    assert stock.backend.transport.aborted


def test_a_response_cut_short_is_never_finished() -> None:
    stock = Stock()
    stock.client.get("/api/")
    stock.backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    stock.client.received()
    stock.backend.leave()
    assert stock.client.transport.aborted
    assert stock.client.received() == b""


def test_a_backend_that_is_not_there_is_502() -> None:
    stock = Stock()
    stock.backend.refuse = True
    answer = stock.client.get("/api/")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"fake" not in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/ HTTP/1.1\r\n\r\n",
        b"GET /api/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /api/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"POST /api/ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /api/../secret HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/%2e%2e/secret HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/x%2F..%2Fy HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/x#f HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G@T /api/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /api/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
    ],
)
def test_what_the_stock_parser_lets_pass_is_refused(head: bytes) -> None:
    stock = Stock()
    answer = stock.client.send(head)
    assert first_line(answer)[8:13] == b" 400 "
    assert stock.backend.connections == 0


def test_a_path_that_was_changed_on_the_way_is_refused() -> None:
    stock = Stock()

    class Rewrites(Resource):
        def getChildWithDefault(self, name: bytes, request: Any) -> Any:
            request.postpath = [b"elsewhere"]
            return stock.resource

    stock.site.resource = Rewrites()
    assert stock.client.get("/api/x").startswith(b"HTTP/1.1 400 ")


def test_a_configuration_below_a_mount_point() -> None:
    clock = Clock()
    config = model.Config(
        routes=(
            model.Route(name="gone", match=model.Match(path=("/old",)), respond=model.Respond(status=410, body="gone")),
            model.Route(
                match=model.Match(path=("/new/*",)),
                respond=model.Respond(body="new"),
                rate_limit=(model.RateLimit(rate="1/h"),),
            ),
        )
    )
    resource = ReverseProxyResource(config, reactor=clock)
    root = Resource()
    root.putChild(b"api", resource)  # type: ignore[arg-type]  # IResource is said by a decorator
    client = Client(Site(root, reactor=clock), clock)  # type: ignore[arg-type]  # a Clock
    assert client.get("/api/old").startswith(b"HTTP/1.1 410 ")
    answer = client.get("/api/new/x")
    assert answer.endswith(b"new") and b'\r\nratelimit: "per-hour";r=0;t=3600\r\n' in answer.lower()
    assert client.get("/api/new/x").startswith(b"HTTP/1.1 429 ")
    assert client.get("/api/").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("target", [[], 7, [7], "nonsense:"])
def test_what_is_no_target(target: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        ReverseProxyResource(target, reactor=MemoryReactorClock())


def test_a_path_begins_with_a_slash() -> None:
    with pytest.raises(ValueError, match="'base'"):
        Stock(path="base")


def test_nothing_is_put_below_it() -> None:
    stock = Stock()
    with pytest.raises(TypeError, match="PathTree"):
        stock.resource.putChild(b"x", Resource())


def test_an_address_makes_an_upstream_that_ends_with_the_reactor() -> None:
    reactor: Any = MemoryReactorClock()
    reactor.running = True
    resource: Any = ReverseProxyResource("tcp:127.0.0.1:9000", reactor=reactor)
    assert reactor.triggers == {}
    resource.mounted(b"")
    resource.mounted(b"/x")
    assert len(reactor.triggers["before"]["shutdown"]) == 1
    reactor.triggers["before"]["shutdown"][0][0]()
    assert resource._owned[0].backends[0].pool.closed


def test_a_live_upstream_is_left_to_its_owner() -> None:
    stock = Stock()
    stock.resource.close()
    assert not stock.upstream.backends[0].pool.closed


def test_a_sticky_upstream_sets_its_cookie() -> None:
    clock = Clock()
    backends = [FakeBackend(), FakeBackend()]
    upstream = make_upstream(clock, *backends)
    upstream.sticky = Stickiness(model.Sticky(cookie="at"), "fake")
    upstream.sticky.update(upstream.backends)
    upstream.refresh()
    client = Client(Site(ReverseProxyResource(upstream, reactor=clock)), clock)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    answering = next(backend for backend in backends if backend.connections)
    answering.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert b"Set-Cookie: at=" in client.received()


def compressing() -> tuple[Client, FakeBackend, Any]:
    """A client of a stock Site with a route that compresses, its backend, and the upstream's agent."""
    clock, backend = Clock(), FakeBackend()
    config = model.Config(
        upstreams={"app": model.Upstream(backends=(model.Backend(endpoint="tcp:127.0.0.1:9000"),))},
        routes=(model.Route(upstream="app", compress=Compress(gzip=1)),),
    )
    resource: Any = ReverseProxyResource(config, reactor=clock)
    (upstream,) = resource._owned
    upstream.backends[0].pool.endpoint = backend
    site: Any = Site(resource, reactor=clock)  # type: ignore[arg-type]  # a Clock
    return Client(site, clock), backend, upstream.agent


TEXT = b"".join(b"line %d of many\n" % each for each in range(1000))
TYPED = b'HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: text/plain\r\nETag: "x"\r\n'
ASKING_GZIP = b"GET /x HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"


def fields_and_body(data: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


def test_whole_bodies_are_compressed_in_a_stock_site() -> None:
    """Also under a head that repeats, for which a client that takes no gzip gets its own."""
    client, backend, _ = compressing()
    for _ in range(4):
        client.send(ASKING_GZIP)
        backend.send(TYPED + b"Content-Length: %d\r\n\r\n%b" % (len(TEXT), TEXT))
        fields, body = fields_and_body(client.received())
        assert gzip.decompress(body) == TEXT
        assert [line for line in fields if line.lower().startswith(b"content-length")] == [
            b"Content-Length: %d" % len(body)
        ]
        for line in (b"Content-Encoding: gzip", b"Vary: Accept-Encoding", b'ETag: W/"x"'):
            assert line.lower() in [each.lower() for each in fields]
        client.get("/x")
        backend.send(TYPED + b"Content-Length: %d\r\n\r\n%b" % (len(TEXT), TEXT))
        fields, body = fields_and_body(client.received())
        assert body == TEXT
        assert b'ETag: "x"' in fields
        assert b"content-encoding" not in b"".join(fields).lower()


def test_a_body_in_pieces_is_compressed_in_a_stock_site() -> None:
    client, backend, _ = compressing()
    client.send(ASKING_GZIP)
    backend.send(TYPED + b"Transfer-Encoding: chunked\r\n\r\n4000\r\n" + TEXT[:0x4000][:100])
    backend.send(TEXT[100:0x4000] + b"\r\n0\r\n\r\n")
    fields, body = fields_and_body(client.received())
    assert b"Transfer-Encoding: chunked" in fields
    assert b"Content-Encoding: gzip" in fields
    joined = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        joined += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    assert gzip.decompress(joined) == TEXT[:0x4000]


def test_an_agent_gets_what_the_backend_sent_beside_a_route_that_compresses() -> None:
    """They share connections and heads that repeat, not what was made of them."""
    client, backend, agent = compressing()
    for _ in range(4):
        client.send(ASKING_GZIP)
        backend.send(TYPED + b"Content-Length: %d\r\n\r\n%b" % (len(TEXT), TEXT))
        assert gzip.decompress(fields_and_body(client.received())[1]) == TEXT
        came: list[Any] = []
        agent.request(b"GET", b"http://a/x", WebHeaders({b"Accept-Encoding": [b"gzip"]})).addCallback(
            readBody
        ).addCallback(came.append)
        backend.send(TYPED + b"Content-Length: %d\r\n\r\n%b" % (len(TEXT), TEXT))
        assert came == [TEXT]
    assert backend.connections == 1


# -- what its server says


@pytest.fixture(params=[Site, ReverseProxySite])
def guarded(request: pytest.FixtureRequest) -> Any:
    """Makes a client of a site with a resource at ``/api`` that has this server; its backend is there, too."""

    def make(server: model.Server, target: Any = None) -> tuple[Client, FakeBackend]:
        clock, backend = Clock(), FakeBackend()
        upstream = make_upstream(clock, backend)
        root = Resource()
        resource: Any = ReverseProxyResource(upstream if target is None else target, server=server, reactor=clock)
        root.putChild(b"api", resource)
        site = request.param(root, reactor=clock)
        return Client(site, clock), backend

    return make


def status(client: Client, backend: FakeBackend, target: str = "/api/x") -> int:
    answer = client.get(target)
    if not answer:
        backend.send(OK)
        answer = client.received()
    return int(answer.split(b" ")[1])


def test_its_access_holds(guarded: Any) -> None:
    client, backend = guarded(model.Server(access=model.Access(deny_paths=("/secret/*",))))
    assert status(client, backend, "/api/secret/x") == 403
    assert backend.connections == 0
    assert status(client, backend) == 200
    client, backend = guarded(model.Server(access=model.Access(deny=(CLIENT.host,))))
    assert status(client, backend) == 403


def test_its_rate_limits_hold(guarded: Any) -> None:
    client, backend = guarded(model.Server(rate_limit=(model.RateLimit(rate="60/m", burst=2),)))
    assert [status(client, backend) for _ in range(3)] == [200, 200, 429]
    assert b'ratelimit: "per-minute";r=0;t=1\r\n' in client.get("/api/x").lower()
    client.clock.advance(1)
    assert status(client, backend) == 200


@pytest.mark.parametrize(
    ("limits", "refusal"), [(model.Limits(requests=1), 503), (model.Limits(requests_per_address=1), 429)]
)
def test_its_caps_on_requests_hold(guarded: Any, limits: model.Limits, refusal: int) -> None:
    client, backend = guarded(model.Server(limits=limits))
    other = client.another()
    assert client.get("/api/x") == b""
    assert status(other, backend) == refusal
    backend.send(OK)
    assert b" 200 " in client.received()
    assert status(other, backend) == 200


def test_it_sheds_load(guarded: Any) -> None:
    client, backend = guarded(model.Server(shed=model.Shed(lag=0.05)))
    seen = []
    for _ in range(30):
        seen.append(status(client, backend))
        client.clock.rightNow += 0.5
        client.clock.advance(0)
    assert 503 in seen and seen[0] == 200


def test_a_server_takes_the_place_of_a_configurations_own(guarded: Any) -> None:
    config = model.Config(
        server=model.Server(access=model.Access(deny=("all",))), routes=(model.Route(respond=model.Respond()),)
    )
    client, backend = guarded(model.Server(rate_limit=(model.RateLimit(rate="1/h"),)), config)
    assert [status(client, backend) for _ in range(2)] == [200, 429]


CONNECTIONS = [
    (model.Server(bans=model.Bans()), "server.bans"),
    (model.Server(limits=model.Limits(connections=5)), "server.limits.connections"),
    (model.Server(limits=model.Limits(connections_per_address=5)), "server.limits.connections_per_address"),
    (model.Server(limits=model.Limits(requests_per_connection=5)), "server.limits.requests_per_connection"),
]


@pytest.mark.parametrize(("server", "key"), CONNECTIONS)
def test_what_is_about_connections_is_refused(server: model.Server, key: str) -> None:
    for target, given in (("tcp:127.0.0.1:9000", server), (model.Config(server=server), None)):
        with pytest.raises(ConfigError) as refused:
            ReverseProxyResource(target, server=given, reactor=MemoryReactorClock())
        assert [problem.key for problem in refused.value.errors] == [key]
        assert "its place is the server of a ReverseProxySite or a service" in str(refused.value)
    ReverseProxySite(Resource(), server=server, reactor=Clock())


def test_what_a_configuration_says_of_connections_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[server]\nlimits.connections = 5\n[[listen]]\nendpoint = "tcp:1"\n[[routes]]\nrespond = 200\n')
    config = load_file(file)
    with pytest.raises(ConfigError) as refused:
        ReverseProxyResource(config, reactor=MemoryReactorClock())
    assert [(problem.key, problem.line) for problem in refused.value.errors] == [("server.limits.connections", 2)]
    resource: Any = ReverseProxyResource(config, server=model.Server(), reactor=MemoryReactorClock())
    resource.close()
    resource.close()


@pytest.mark.parametrize(
    ("server", "key"),
    [
        (model.Server(access=model.Access()), "server.access"),
        (model.Server(rate_limit=(model.RateLimit(rate="1/s"),)), "server.rate_limit"),
        (model.Server(shed=model.Shed()), "server.shed"),
        (model.Server(security_headers=model.SecurityHeaders()), "server.security_headers"),
        (model.Server(limits=model.Limits(requests=5)), "server.limits.requests"),
        (model.Server(limits=model.Limits(requests_per_address=5)), "server.limits.requests_per_address"),
    ],
)
def test_what_stands_before_routes_is_refused_by_a_site(server: model.Server, key: str) -> None:
    with pytest.raises(ConfigError, match=r"its place is the server of a ReverseProxyResource or a service") as refused:
        ReverseProxySite(Resource(), server=server, reactor=Clock())
    assert [problem.key for problem in refused.value.errors] == [key]


def test_its_close_leaves_no_timer() -> None:
    stock = Stock(server=model.Server(shed=model.Shed()))
    stock.client.get("/api/x")
    stock.client.leave()
    stock.resource.close()
    assert not [call for call in stock.clock.getDelayedCalls() if "_tick" in str(call)]
