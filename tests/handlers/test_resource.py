"""Local resources behind the exchange: a stock Request, and a channel that is none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.static import File

from revproxy.config import model
from revproxy.config.compile import compile_config
from revproxy.downstream.factory import ClientFactory
from revproxy.engine import Engine
from revproxy.handlers.files import StaticFiles
from revproxy.handlers.resource import ResourceHandler
from revproxy.routing import Entry, Route, RouteTable
from tests.memory import Client


class Front(ClientFactory):
    """A listener whose only route ends at a handler."""

    def __init__(self, handler: Any, clock: Clock, **route: Any) -> None:
        table = RouteTable.build([Entry(Route("local", handler, **route))])
        super().__init__(Engine(table, model.Server(), clock))
        self.port, self.local = 8080, "192.0.2.1:8080"


def front(resource: Any, **route: Any) -> Client:
    clock = Clock()
    handler = resource if hasattr(resource, "start") else ResourceHandler(resource)
    site: Any = Front(handler, clock, **route)
    return Client(site, clock)


class Page(Resource):
    """Renders what ``call`` does with the request."""

    isLeaf = True

    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call

    def render(self, request: Any) -> Any:
        return self.call(request)


def test_a_resource_answers_in_one_write() -> None:
    client = front(Page(lambda request: b"hello"))
    writes: list[bytes] = []
    write = client.transport.write
    client.transport.write = lambda data: (writes.append(data), write(data))  # type: ignore[assignment,func-returns-value]  # records
    answer = client.get("/")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello")
    assert len(writes) == 1
    assert b"TwistedWeb" not in answer


def test_the_connection_goes_on_after_a_resource() -> None:
    client = front(Page(lambda request: request.uri))
    answer = client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.index(b"/a") < answer.index(b"/b")


def test_without_a_length_the_connection_frames_the_body() -> None:
    requests: list[Any] = []
    client = front(Page(lambda request: requests.append(request) or request.write(b"one") or NOT_DONE_YET))
    answer = client.get("/")
    requests[0].write(b"two")
    requests[0].finish()
    answer += client.received()
    assert answer.count(b"Transfer-Encoding: chunked") == 1
    assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_a_body_that_is_all_there_has_a_length() -> None:
    def render(request: Any) -> int:
        request.write(b"one")
        request.write(b"two")
        request.finish()
        return NOT_DONE_YET

    answer = front(Page(render)).get("/")
    assert b"Content-Length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\nonetwo")


def test_a_head_goes_out_before_its_body_is_there() -> None:
    requests: list[Any] = []

    def render(request: Any) -> int:
        requests.append(request)
        request.write(b"")
        return NOT_DONE_YET

    client = front(Page(render))
    assert b"HTTP/1.1 200 OK" in client.get("/")
    requests[0].write(b"event")
    assert client.received() == b"5\r\nevent\r\n"
    requests[0].finish()
    assert client.received() == b"0\r\n\r\n"


def test_what_a_later_turn_of_the_reactor_writes_first_goes_out() -> None:
    requests: list[Any] = []
    client = front(Page(lambda request: requests.append(request) or NOT_DONE_YET))
    assert client.get("/") == b""
    requests[0].write(b"late")
    assert client.received().endswith(b"4\r\nlate\r\n")


def test_head_has_the_length_and_no_body() -> None:
    class Get(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            return b"twelve bytes"

    answer = front(Get()).get("/", method="HEAD")
    assert b"Content-Length: 12\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_body_is_there_when_the_resource_is_rendered() -> None:
    seen: list[Any] = []

    def render(request: Any) -> bytes:
        seen.append((request.content.read(), request.args))
        return b"ok"

    client = front(Page(render))
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\n"
    assert client.send(head + b"a=1") == b""
    assert client.send(b"&b=2").endswith(b"ok")
    assert seen == [(b"a=1&b=2", {b"a": [b"1"], b"b": [b"2"]})]


def test_a_large_body_is_on_disk() -> None:
    seen: list[Any] = []

    def render(request: Any) -> bytes:
        seen.append((type(request.content), len(request.content.read())))
        return b"ok"

    client = front(Page(render))
    client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 150000\r\n\r\n")
    client.send(bytes(150000))
    assert seen[0][1] == 150000
    assert seen[0][0] is not io.BytesIO


@pytest.mark.parametrize("framing", [b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n"])
def test_a_body_over_the_limit_is_413(framing: bytes) -> None:
    client = front(ResourceHandler(Page(lambda request: b"no"), limit=10))
    answer = client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"01234567890")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_is_told_to_go_on() -> None:
    client = front(Page(lambda request: request.content.read()))
    answer = client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"hi").endswith(b"hi")


def test_an_exception_is_an_error_page_that_tells_nothing() -> None:
    def render(request: Any) -> bytes:
        raise ValueError("secret")

    answer = front(Page(render)).get("/", "Accept: application/json")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"application/problem+json" in answer
    assert b"secret" not in answer


def test_an_exception_within_the_body_cuts_the_connection() -> None:
    def render(request: Any) -> bytes:
        request.write(bytes(100_000))
        raise ValueError

    client = front(Page(render))
    client.get("/")
    assert client.transport.aborted


@pytest.mark.parametrize("wrong", [b"short", b"much too long"])
def test_a_wrong_length_never_reaches_the_next_response(wrong: bytes) -> None:
    def render(request: Any) -> int:
        request.setHeader(b"content-length", b"8")
        request.write(wrong)
        request.finish()
        return NOT_DONE_YET

    assert front(Page(render)).get("/").startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("more", [b"", b"much too long"])
def test_a_wrong_length_that_is_seen_late_cuts_the_connection(more: bytes) -> None:
    requests: list[Any] = []

    def render(request: Any) -> int:
        requests.append(request)
        request.setHeader(b"content-length", b"8")
        request.write(b"half")
        return NOT_DONE_YET

    client = front(Page(render))
    assert client.get("/").endswith(b"half")
    requests[0].write(more)
    if not more:
        requests[0].finish()
    assert client.transport.aborted


def test_a_client_that_leaves_is_noticed() -> None:
    failures: list[Any] = []

    def render(request: Any) -> int:
        request.notifyFinish().addErrback(failures.append)
        return NOT_DONE_YET

    client = front(Page(render))
    client.get("/")
    assert failures == []
    client.leave()
    assert len(failures) == 1


class Pusher:
    """A push producer that says what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


def test_a_push_producer_is_paused_while_the_client_is_slow() -> None:
    producer = Pusher()
    requests: list[Any] = []

    def render(request: Any) -> int:
        requests.append(request)
        request.registerProducer(producer, True)
        request.write(b"some")
        return NOT_DONE_YET

    client = front(Page(render))
    client.get("/")
    client.transport.producer.pauseProducing()
    assert producer.told == ["pause"]
    client.transport.producer.resumeProducing()
    assert producer.told == ["pause", "resume"]
    client.leave()
    assert producer.told == ["pause", "resume", "stop"]


def test_a_file_waits_for_a_slow_client(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    client = front(File(str(tmp_path)))
    client.transport.capacity = 100_000
    client.protocol.dataReceived(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    total = 0
    while True:
        client.clock.advance(0)
        if not (data := client.transport.drain()):
            break
        assert len(data) < 250_000
        total += len(data)
    assert 1 << 20 < total < (1 << 20) + 1000


def test_a_file_ends_when_the_client_leaves(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    client = front(File(str(tmp_path)))
    client.transport.capacity = 100_000
    client.protocol.dataReceived(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    client.clock.advance(0)
    assert client.protocol.exchange is not None
    client.leave()
    assert client.clock.getDelayedCalls() == []


def test_a_deferred_of_klein_is_waited_for() -> None:
    app = Klein()
    waiting: Deferred[bytes] = Deferred()

    @app.route("/item/<int:n>", methods=["GET"])
    def item(request: Any, n: int) -> Any:
        return waiting.addCallback(lambda text: b"%b %d" % (text, n))

    client = front(app.resource())
    assert client.get("/item/3") == b""
    waiting.callback(b"item")
    assert client.received().endswith(b"item 3")
    assert client.get("/nothing").startswith(b"HTTP/1.1 404 ")


def test_an_exception_in_klein_is_500() -> None:
    app = Klein()

    @app.route("/")
    def root(request: Any) -> Any:
        raise ValueError("secret")

    answer = front(app.resource()).get("/")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer


def test_sessions_last_from_request_to_request() -> None:
    seen: list[bytes] = []

    def render(request: Any) -> bytes:
        seen.append(request.getSession().uid)
        return b"ok"

    client = front(Page(render))
    answer = client.get("/")
    cookie = answer.split(b"Set-Cookie: ")[1].split(b";")[0].decode()
    client.get("/", f"Cookie: {cookie}")
    assert seen[0] == seen[1]
    assert len(client.clock.getDelayedCalls()) >= 1  # they end by the engine's clock


def test_where_a_request_came_from() -> None:
    seen: list[Any] = []

    def render(request: Any) -> bytes:
        seen.append((request.getClientAddress().host, request.getHost().port, request.isSecure(), request.clientproto))
        return b"ok"

    front(Page(render)).get("/")
    assert seen == [("192.0.2.7", 8080, False, b"HTTP/2")]


def test_a_prefix_that_was_stripped_is_in_prepath() -> None:
    seen: list[Any] = []

    def strip(exchange: Any) -> None:
        exchange.request.path = exchange.request.path.removeprefix(b"/the/app") or b"/"

    def render(request: Any) -> bytes:
        seen.append((request.uri, request.prepath, request.postpath, request.prePathURL()))
        return b"ok"

    client = front(Page(render), client_request=(strip,), mapping=(b"", b"/the/app"))
    client.get("/the/app/x?q=1")
    assert seen == [(b"/the/app/x?q=1", [b"the", b"app"], [b"x"], b"http://example.com:8080/the/app")]


def test_resources_and_files_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from a file")
    strip = model.Rewrite(strip_prefix="/the/app")
    config = model.Config(
        routes=(
            model.Route(
                match=model.Match(path=("/the/app/*",)),
                rewrite=strip,
                resource=Page(lambda request: b"%r %r" % (request.prepath, request.postpath)),
            ),
            model.Route(match=model.Match(path=("/a.txt",)), files="."),
        ),
        base=str(tmp_path),
    )
    clock = Clock()
    site: Any = ClientFactory(Engine(compile_config(config, clock), config.server, clock))
    client = Client(site, clock)
    assert client.get("/the/app/x").endswith(b"[b'the', b'app'] [b'x']")
    assert client.get("/a.txt").endswith(b"from a file")
    assert client.get("/b.txt").startswith(b"HTTP/1.1 404 ")


def test_a_response_hook_that_waits_keeps_the_order() -> None:
    waiting: Deferred[None] = Deferred()
    requests: list[Any] = []

    def render(request: Any) -> int:
        requests.append(request)
        request.write(b"first")
        return NOT_DONE_YET

    client = front(Page(render), client_response=(lambda exchange: waiting,))
    assert client.get("/") == b""
    requests[0].write(b"second")
    requests[0].finish()
    assert client.received() == b""
    waiting.callback(None)
    answer = client.received()
    assert answer.index(b"first") < answer.index(b"second")
    assert answer.endswith(b"0\r\n\r\n")


def test_a_resource_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="not a resource"):
        ResourceHandler(object())


def test_a_site_of_the_user_is_used() -> None:
    clock = Clock()
    site = Site(Page(lambda request: repr(request.site is site).encode()), reactor=clock)  # type: ignore[arg-type]  # a Clock
    assert front(ResourceHandler(site=site)).get("/").endswith(b"True")


# -- files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_text("<p>home")
    (root / "a.txt").write_text("0123456789")
    (root / ".hidden").write_text("secret")
    (root / "sub" / "index.html").write_text("<p>sub")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    (root / "out").symlink_to(tmp_path / "outside.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "a.txt")
    return root


def files(folder: Path) -> Client:
    return front(StaticFiles(str(folder)))


def test_files_and_index_pages(folder: Path) -> None:
    client = files(folder)
    assert client.get("/").endswith(b"<p>home")
    assert client.get("/sub/").endswith(b"<p>sub")
    answer = client.get("/a.txt")
    assert b"Content-Type: text/plain\r\n" in answer
    assert answer.endswith(b"\r\n\r\n0123456789")
    assert client.get("/in").endswith(b"0123456789")


def test_a_folder_without_its_slash_redirects(folder: Path) -> None:
    answer = files(folder).get("/sub?x=1")
    assert answer.startswith(b"HTTP/1.1 302 ")
    assert b"Location: ./sub/?x=1\r\n" in answer


@pytest.mark.parametrize(
    "target",
    ["/.hidden", "/%2ehidden", "/.git/config", "/out", "/up/outside.txt", "/empty/", "/none", "/a.txt/", "/a.txt/x",
     "/sub%2F.hidden", "/x%ffy", "/up"],
)  # fmt: skip
def test_what_is_not_shown(folder: Path, target: str) -> None:
    answer = files(folder).get(target, "Accept: text/html")
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert b"secret" not in answer
    assert b"text/html" in answer


def test_only_looking_is_allowed(folder: Path) -> None:
    answer = files(folder).get("/a.txt", method="DELETE")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD\r\n" in answer


def test_ranges(folder: Path) -> None:
    client = files(folder)
    answer = client.get("/a.txt", "Range: bytes=2-4")
    assert answer.startswith(b"HTTP/1.1 206 ")
    assert answer.endswith(b"\r\n\r\n234")
    assert client.get("/a.txt", "Range: bytes=50-").startswith(b"HTTP/1.1 416 ")
    many = ",".join(["0-"] * 50)
    assert client.get("/a.txt", f"Range: bytes={many}").startswith(b"HTTP/1.1 200 ")


def test_not_modified(folder: Path) -> None:
    client = files(folder)
    modified = client.get("/a.txt").split(b"Last-Modified: ")[1].split(b"\r\n")[0].decode()
    answer = client.get("/a.txt", f"If-Modified-Since: {modified}")
    assert answer.startswith(b"HTTP/1.1 304 ")
    assert b"Content-Length: 0" not in answer
    assert answer.endswith(b"\r\n\r\n")


def test_head_of_a_file(folder: Path) -> None:
    answer = files(folder).get("/a.txt", method="HEAD")
    assert b"Content-Length: 10\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
