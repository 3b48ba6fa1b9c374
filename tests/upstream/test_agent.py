"""An upstream as an ``IAgent``."""

from __future__ import annotations

from typing import Any

import pytest
import treq.client
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IResponse
from zope.interface.verify import verifyObject

from revproxy.fault import BACKEND_BODY_CUT, BACKEND_CONNECT, BACKEND_RESET
from revproxy.upstream.agent import BackendConnectError, ResponseNeverReceived, UpstreamAgent
from tests.memory import FakeBackend, make_upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nhi"
URL = b"http://service/path?q=1"


class Reader(Protocol):
    """Takes a body."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = reason.value


class Producer:
    """An IBodyProducer that tests drive."""

    def __init__(self, length: Any) -> None:
        self.length = length
        self.told: list[str] = []
        self.done: Deferred[None] = Deferred()
        self.consumer: Any = None

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self.consumer = consumer
        return self.done

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Whole:
    """An IBodyProducer that writes everything at once, as treq's do for bytes."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    resumeProducing = stopProducing = pauseProducing


class Asker:
    """An agent over fake backends, and what came of its last request."""

    def __init__(self, *backends: FakeBackend) -> None:
        self.clock = Clock()
        self.backend = backends[0] if backends else FakeBackend()
        self.upstream = make_upstream(self.clock, *(backends or (self.backend,)))
        self.agent = self.upstream.agent
        self.results: list[Any] = []

    def ask(self, method: bytes = b"GET", url: bytes = URL, headers: Any = None, body: Any = None) -> Deferred[Any]:
        self.results.clear()
        asking: Deferred[Any] = self.agent.request(method, url, headers, body)
        asking.addBoth(self.results.append)
        return asking

    @property
    def response(self) -> Any:
        assert not isinstance(self.results[0], Failure), self.results[0]
        return self.results[0]

    @property
    def error(self) -> Any:
        assert isinstance(self.results[0], Failure)
        return self.results[0].value

    def read(self) -> Reader:
        reader = Reader()
        self.response.deliverBody(reader)
        return reader


@pytest.fixture
def asker() -> Asker:
    return Asker()


def test_it_is_what_it_says(asker: Asker) -> None:
    assert isinstance(asker.agent, UpstreamAgent)
    assert asker.upstream.agent is asker.agent
    verifyObject(IAgent, asker.agent)
    asker.ask()
    asker.backend.send(OK)
    verifyObject(IResponse, asker.response)


def test_a_request_goes_out_as_it_is(asker: Asker) -> None:
    asker.ask(headers=Headers({b"X-B": [b"1", b"2"], b"Connection": [b"close"]}))
    assert asker.backend.received() == b"GET /path?q=1 HTTP/1.1\r\nHost: service\r\nX-B: 1\r\nX-B: 2\r\n\r\n"


def test_a_host_may_be_given(asker: Asker) -> None:
    asker.ask(headers=Headers({b"host": [b"other"]}), url=b"http://user:pw@service:80")
    assert asker.backend.received() == b"GET / HTTP/1.1\r\nHost: other\r\n\r\n"


def test_a_response(asker: Asker) -> None:
    asker.ask()
    assert asker.results == []
    asker.backend.send(OK)
    response = asker.response
    assert (response.code, response.phrase, response.version, response.length) == (200, b"OK", (b"HTTP", 1, 1), 2)
    assert response.headers.getRawHeaders(b"x-a") == [b"1"]
    assert response.request.absoluteURI == URL
    reader = asker.read()
    assert reader.data == b"hi"
    assert isinstance(reader.ended, ResponseDone)
    with pytest.raises(RuntimeError):
        response.deliverBody(Reader())


def test_the_connection_is_used_again(asker: Asker) -> None:
    for _ in range(3):
        asker.ask()
        asker.backend.send(OK)
        assert asker.read().data == b"hi"
    assert asker.backend.connections == 1


def test_nothing_is_read_before_somebody_takes_it(asker: Asker) -> None:
    asker.ask()
    asker.backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab")
    assert not asker.backend.transport.reading
    reader = asker.read()
    assert reader.data == b"ab"
    assert asker.backend.transport.reading
    asker.backend.send(b"cd")
    reader.transport.pauseProducing()  # type: ignore[union-attr]  # it has one
    assert not asker.backend.transport.reading
    asker.backend.send(b"ef")  # was on its way
    assert reader.data == b"abcd"
    assert reader.ended is None
    reader.transport.resumeProducing()  # type: ignore[union-attr]  # it has one
    assert reader.data == b"abcdef"
    assert isinstance(reader.ended, ResponseDone)


def test_a_reader_that_has_enough(asker: Asker) -> None:
    asker.ask()
    asker.backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab")
    reader = asker.read()
    reader.transport.loseConnection()  # type: ignore[union-attr]  # it has one
    assert isinstance(reader.ended, ResponseFailed)
    assert asker.backend.transport.aborted


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", 0),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 0),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n", 0),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", UNKNOWN_LENGTH),
    ],
)
def test_empty_bodies(asker: Asker, method: bytes, answer: bytes, length: Any) -> None:
    asker.ask(method)
    asker.backend.send(answer)
    assert asker.response.length == length
    reader = asker.read()
    assert reader.data == b""
    assert isinstance(reader.ended, ResponseDone)


def test_a_body_that_only_closing_ends_may_be_too_short(asker: Asker) -> None:
    asker.ask()
    asker.backend.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
    reader = asker.read()
    asker.backend.leave()
    assert reader.data == b"some"
    assert isinstance(reader.ended, PotentialDataLoss)


@pytest.mark.parametrize("framing", [b"Content-Length: 9\r\n\r\nsome", b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome"])
def test_a_body_cut_short_is_a_failure(asker: Asker, framing: bytes) -> None:
    asker.ask()
    asker.backend.send(b"HTTP/1.1 200 OK\r\n" + framing)
    reader = asker.read()
    asker.backend.leave()
    assert isinstance(reader.ended, ResponseFailed)
    assert reader.ended.reasons[0].value.fault is BACKEND_BODY_CUT


def test_interim_responses_are_passed_over(asker: Asker) -> None:
    asker.ask()
    asker.backend.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert asker.response.code == 200


def test_an_error_status_is_a_response(asker: Asker) -> None:
    asker.ask()
    asker.backend.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    assert asker.response.code == 503


def test_no_connection(asker: Asker) -> None:
    asker.backend.refuse = True
    asker.ask()
    assert isinstance(asker.error, BackendConnectError)
    assert asker.error.fault is BACKEND_CONNECT


def test_another_backend_is_asked() -> None:
    broken, well = FakeBackend(), FakeBackend()
    broken.refuse = True
    asker = Asker(broken, well)
    for _ in range(2):
        asker.ask(b"POST", body=Whole(b"x"))
        well.send(OK)
        assert asker.response.code == 200


def test_a_backend_that_leaves_without_a_word(asker: Asker) -> None:
    asker.ask(b"POST", body=Whole(b"not twice"))
    asker.backend.leave()
    assert isinstance(asker.error, ResponseNeverReceived)
    assert asker.error.fault is BACKEND_RESET
    assert asker.error.reasons[0].value.fault is BACKEND_RESET


def test_a_stale_connection_costs_nothing(asker: Asker) -> None:
    asker.ask()
    asker.backend.send(OK)
    asker.ask(b"PUT", body=Whole(b"body"))
    asker.backend.leave()
    assert asker.backend.connections == 2
    assert asker.backend.received().endswith(b"Content-Length: 4\r\n\r\nbody")
    asker.backend.send(OK)
    assert asker.response.code == 200


def test_cancelling_cancels_the_work(asker: Asker) -> None:
    asking = asker.ask()
    asking.cancel()
    assert isinstance(asker.error, CancelledError)
    assert asker.backend.transport.aborted


# -- requests with a body


def test_a_whole_body(asker: Asker) -> None:
    asker.ask(b"POST", body=Whole(b"body"))
    assert asker.backend.received().endswith(b"\r\nContent-Length: 4\r\n\r\nbody")
    asker.backend.send(OK)
    assert asker.response.code == 200


def test_a_post_without_a_body_says_so(asker: Asker) -> None:
    asker.ask(b"POST")
    assert b"\r\nContent-Length: 0\r\n" in asker.backend.received()


def test_a_body_of_unknown_length(asker: Asker) -> None:
    producer = Producer(UNKNOWN_LENGTH)
    asker.ask(b"POST", body=producer)
    producer.consumer.write(b"one")
    producer.consumer.write(b"two")
    producer.done.callback(None)
    sent = asker.backend.received()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in sent
    assert sent.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_a_producer_waits_for_the_backend(asker: Asker) -> None:
    producer = Producer(1_000_000)
    asker.ask(b"PUT", body=producer)
    asker.backend.transport.capacity = 1000
    producer.consumer.write(bytes(2000))
    assert producer.told == ["pause"]
    asker.backend.transport.drain()
    asker.clock.advance(0)
    assert producer.told == ["pause", "resume"]


def test_an_early_answer_ends_the_upload(asker: Asker) -> None:
    producer = Producer(1_000_000)
    asker.ask(b"PUT", body=producer)
    producer.consumer.write(bytes(2000))
    asker.backend.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert asker.response.code == 413
    assert producer.told == ["stop"]
    producer.consumer.write(b"late")


@pytest.mark.parametrize("size", [3, 5])
def test_a_body_of_another_length_than_declared(asker: Asker, size: int) -> None:
    producer = Producer(4)
    asker.ask(b"POST", body=producer)
    producer.consumer.write(bytes(size))
    if size < 4:
        producer.done.callback(None)
    assert isinstance(asker.error, RequestGenerationFailed)
    assert asker.backend.transport.aborted


def test_a_producer_that_fails(asker: Asker) -> None:
    producer = Producer(4)
    asker.ask(b"POST", body=producer)
    producer.done.errback(Failure(ValueError("broken")))
    assert isinstance(asker.error, RequestGenerationFailed)
    assert asker.backend.transport.aborted


@pytest.mark.parametrize(
    ("method", "url"),
    [(b"G T", URL), (b"GET", b"/path"), (b"GET", b"ftp://x/"), (b"GET", b"http://x/a b"), (b"GET", b"http://x/\n")],
)
def test_what_can_not_be_asked(asker: Asker, method: bytes, url: bytes) -> None:
    asker.ask(method, url)
    assert isinstance(asker.error, ValueError)
    assert asker.backend.connections == 0


def test_treq(asker: Asker) -> None:
    client = treq.client.HTTPClient(asker.agent)
    got: list[Any] = []
    client.get("http://service/", params={"a": "1"}, cookies={"c": "2"}).addCallback(treq.content).addBoth(got.append)
    sent = asker.backend.received()
    assert sent.startswith(b"GET /?a=1 HTTP/1.1\r\nHost: service\r\n")
    assert b"\r\nCookie: c=2\r\n" in sent
    asker.backend.send(OK)
    assert got == [b"hi"]
