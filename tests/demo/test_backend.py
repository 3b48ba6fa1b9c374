"""The demo backend, spoken to over a connection in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from revproxy.demo import make_backend
from revproxy.demo.backend import KEPT


class Client:
    """A client connection to one backend, without a network."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport: Any = StringTransport()
        self.channel: Any = make_backend(self.clock, "one").buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Deliver ``data``; return what was answered since the last call."""
        self.channel.dataReceived(data)
        return self.received()

    def received(self) -> bytes:
        """Return what was answered since the last call."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def get(self, target: str, *fields: str, method: str = "GET") -> tuple[bytes, bytes]:
        """Return head and body of the answer to a request."""
        lines = [f"{method} {target} HTTP/1.1", "Host: demo", *fields, "", ""]
        head, _, body = self.send("\r\n".join(lines).encode()).partition(b"\r\n\r\n")
        return head, body

    def leave(self) -> None:
        """Be gone."""
        self.channel.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def client() -> Client:
    return Client()


def test_index_links_to_everything_and_names_the_backend(client: Client) -> None:
    head, body = client.get("/")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"X-Demo-Backend: one" in head
    for path in (b"/api/", b"/events", b"/download", b"/slow", b"/fail", b"/cut", b"/early-hints", b"/upload", b"/ws"):
        assert b'href="' + path in body
    assert b"<strong>one</strong>" in body


def test_pages_escape_their_path_and_unknown_ones_are_404(client: Client) -> None:
    head, body = client.get("/page/<script>")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"<script>" not in body
    assert b"/page/&lt;script&gt;" in body
    assert client.get("/nothing")[0].startswith(b"HTTP/1.1 404 ")
    assert client.get("/nothing/below")[0].startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH", "BREW"])
def test_api_echoes_the_request_whatever_its_method(client: Client, method: str) -> None:
    head, body = client.get("/api/a/b?c=d&c=e", "X-Tenant: x", "X-Tenant: y", method=method)
    seen = json.loads(body)
    assert b"Content-Type: application/json" in head
    assert (seen["backend"], seen["method"], seen["target"]) == ("one", method, "/api/a/b?c=d&c=e")
    assert [value for name, value in seen["headers"] if name == "X-Tenant"] == ["x", "y"]
    assert seen["version"] == "HTTP/1.1"


def test_api_shows_the_body_and_keeps_only_its_start(client: Client) -> None:
    answer = client.send(b"POST /api/ HTTP/1.1\r\nHost: demo\r\nContent-Length: 2\r\n\r\nhi")
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (seen["body"], seen["body_bytes"], seen["body_truncated"]) == ("hi", 2, False)
    size = KEPT + 5
    client.send(b"POST /api/ HTTP/1.1\r\nHost: demo\r\nContent-Length: %d\r\n\r\n" % size)
    answer = client.send(b"x" * size)
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (len(seen["body"]), seen["body_bytes"], seen["body_truncated"]) == (KEPT, size, True)


def test_upload_counts_and_does_not_keep(client: Client) -> None:
    block = b"x" * 65536
    blocks = 64
    client.send(b"PUT /upload HTTP/1.1\r\nHost: demo\r\nContent-Length: %d\r\n\r\n" % (len(block) * blocks))
    for _ in range(blocks - 1):
        assert client.send(block) == b""
    assert len(client.channel.requests[0].content.getvalue()) == KEPT
    answer = client.send(block)
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"backend": "one", "received": len(block) * blocks}


def test_upload_takes_chunks_and_says_continue(client: Client) -> None:
    head = b"POST /upload HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    assert client.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = client.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["received"] == 5


def test_upload_is_not_read_with_get(client: Client) -> None:
    assert client.get("/upload")[0].startswith(b"HTTP/1.1 405 ")


def test_form_is_not_parsed(client: Client) -> None:
    form = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + b"y" * 20
    answer = client.send(
        b"POST /upload HTTP/1.1\r\nHost: demo\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(form), form)
    )
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [0, 1, 65536, 200_000])
def test_download_is_of_the_size_asked_for(client: Client, size: int) -> None:
    head, body = client.get(f"/download?size={size}")
    assert f"Content-Length: {size}".encode() in head
    assert len(body) == size
    assert body == (bytes(range(256)) * (size // 256 + 1))[:size]
    assert client.get("/", method="HEAD")[0].startswith(b"HTTP/1.1 200 ")


def test_download_waits_for_its_reader(client: Client) -> None:
    write = client.transport.write

    def write_and_fill(data: bytes) -> None:
        write(data)
        if len(data) > 1000:
            client.channel.pauseProducing()

    client.transport.write = write_and_fill
    _, body = client.get("/download?size=150000")
    assert len(body) == 65536
    client.channel.resumeProducing()
    assert len(client.received()) == 65536
    client.channel.resumeProducing()
    assert len(client.received()) == 150000 - 2 * 65536
    client.channel.resumeProducing()
    assert client.channel.requests == []


def test_download_head_has_no_body(client: Client) -> None:
    head, body = client.get("/download?size=10", method="HEAD")
    assert b"Content-Length: 10" in head
    assert body == b""


@pytest.mark.parametrize(
    "target",
    [
        "/download?size=-1",
        "/download?size=5000000000",
        "/download?size=x",
        "/download?size=nan",
        "/slow?seconds=301",
        "/events?count=0",
        "/events?gap=0",
        "/fail?status=100",
        "/fail?status=1000",
        "/cut?declared=0",
        "/cut?declared=10&sent=10",
    ],
)
def test_parameters_out_of_range_are_refused(client: Client, target: str) -> None:
    head, body = client.get(target)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"must be a number from" in body
    client.leave()
    assert client.clock.getDelayedCalls() == []


def test_events_come_one_by_one(client: Client) -> None:
    head, body = client.get("/events?count=3&gap=2")
    assert b"Content-Type: text/event-stream" in head
    assert b"id: 1\n" in body
    client.clock.advance(1.9)
    assert client.received() == b""
    client.clock.advance(0.1)
    assert b"id: 2\n" in client.received()
    client.clock.advance(2)
    assert client.received().endswith(b"\r\n0\r\n\r\n")


def test_events_end_with_their_client(client: Client) -> None:
    client.get("/events?count=3")
    client.leave()
    assert client.clock.getDelayedCalls() == []


def test_slow_takes_its_time(client: Client) -> None:
    assert client.get("/slow?seconds=5") == (b"", b"")
    client.clock.advance(4.9)
    assert client.received() == b""
    client.clock.advance(0.1)
    assert b"one took 5 s" in client.received()


def test_slow_ends_with_its_client(client: Client) -> None:
    client.get("/slow?seconds=5")
    client.leave()
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize("status", [200, 404, 418, 500, 503, 599, 999])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_fail_answers_as_asked(client: Client, status: int, method: str) -> None:
    head, _ = client.get(f"/fail?status={status}", method=method)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"X-Demo-Backend: one" in head


def test_fail_without_body_where_none_may_be(client: Client) -> None:
    _, body = client.get("/fail?status=204")
    assert body == b""


def test_cut_declares_more_than_it_sends(client: Client) -> None:
    head, body = client.get("/cut?declared=50&sent=20")
    assert b"Content-Length: 50" in head
    assert len(body) == 20
    assert client.transport.disconnecting


def test_early_hints_come_before_the_answer(client: Client) -> None:
    head, rest = client.get("/early-hints")
    assert head.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: ")
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"103" not in client.send(b"GET /early-hints HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[0]


def test_requests_may_follow_each_other_at_once(client: Client) -> None:
    request = b"GET /fail?status=%d HTTP/1.1\r\nHost: demo\r\n\r\n"
    answer = client.send(request % 501 + request % 502 + request % 503)
    positions = [answer.index(b"HTTP/1.1 %d " % status) for status in (501, 502, 503)]
    assert positions == sorted(positions)


def test_idle_connection_is_closed(client: Client) -> None:
    client.clock.advance(301)
    assert client.transport.disconnecting
