"""Compression of responses, end to end: heads, bodies whole and as they come, threads, ends of every kind."""

from __future__ import annotations

import json
import random
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from backports import zstd
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from revproxy.coding.decide import ACCEPTED
from revproxy.coding.encoders import Coding, GzipEncoder, make_coding
from revproxy.config.compile import compile_config
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.model import Middleware
from revproxy.http.message import Answer
from revproxy.middleware import compress as compress_module
from revproxy.middleware.compress import FULL, LINGER, WHOLE
from revproxy.testing import Scenario
from tests.kit import ADDRESS, get, hooked, load, ok, toml

ON = toml(route='upstream = "app"\ncompress = { gzip = 1, br = 4, zstd = 1 }')
JSON = json.dumps([{"id": each, "name": f"name {each}"} for each in range(200)]).encode()
KIND = b"Content-Type: application/json"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
ACCEPT = b"Accept-Encoding: "
PLAIN = {b"Content-Encoding": None}
GZIPPED = {b"Content-Encoding": b"gzip", b"Vary": b"Accept-Encoding", b"Accept-Ranges": None}


class Decoder:
    """What a client decodes, piece by piece."""

    def __init__(self, coding: bytes = b"gzip") -> None:
        if coding == b"gzip":
            self._feed: Callable[[bytes], bytes] = zlib.decompressobj(31).decompress
        elif coding == b"br":
            self._feed = brotli.Decompressor().process
        else:
            self._feed = zstd.ZstdDecompressor().decompress

    def __call__(self, data: bytes) -> bytes:
        return self._feed(data) if data else b""


def pattern(size: int, seed: int = 1) -> bytes:
    """Words, so that it compresses as text does."""
    chance = random.Random(seed)
    words = [bytes(chance.choices(b"abcdefghij", k=chance.randint(2, 9))) for _ in range(500)]
    made = b" ".join(chance.choices(words, k=size // 4))
    return made[:size]


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd"])
def test_a_whole_body_has_its_length(play, coding):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(3):  # a head that was seen before
        client.send(get(b"/", ACCEPT + coding))
        backend.send(ok(JSON, KIND, b'ETag: "x"', b"Accept-Ranges: bytes", b"Digest: md5=AA=="))
        head = {b"Content-Encoding": coding, b"Vary": b"Accept-Encoding", b"ETag": b'W/"x"', b"Digest": None}
        message = client.expect_response(200, None, {**head, b"Accept-Ranges": None})
        assert Decoder(coding)(message.body) == JSON
        assert len(message.body) < len(JSON) * 2 / 3
    assert scenario.log[0].sent == len(message.body)


def test_a_body_that_came_at_once_is_no_stream(play_once):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(ok(JSON, KIND))
    message = client.expect_response(200, None, {**GZIPPED, b"Transfer-Encoding": None})
    assert message.get(b"content-length") == b"%d" % len(message.body)


def test_an_empty_body_of_unknown_length(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % KIND)
    assert Decoder()(client.expect_response(200, None, GZIPPED).body) == b""


def test_a_chunked_body_and_its_trailers(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip", b"TE: trailers"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % KIND)
    client.expect_head(200, {**GZIPPED, b"Content-Length": None})
    decode = Decoder()
    for piece in (b"[1,", b" 2,", b" 3]"):
        backend.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        scenario.advance(LINGER)
        assert decode(client._body()) == piece
    backend.send(b"0\r\nX-Sum: 1\r\nDigest: md5=AA==\r\nContent-Digest: md5=:AA==:\r\n\r\n")
    assert decode(client._body()) == b""
    client.expect_end([(b"X-Sum", b"1")])


def test_a_body_to_the_end_of_the_connection(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"br"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % KIND + JSON[:1000])
    decode, found = Decoder(b"br"), b""
    client.expect_head(200, {b"Content-Encoding": b"br"})
    scenario.advance(LINGER)
    found += decode(client._body())
    assert found == JSON[:1000]
    backend.send(JSON[1000:])
    backend.connection.close()
    found += decode(client._body())
    client.expect_end()
    assert found == JSON


def test_a_body_that_is_cut_is_not_shown_as_whole(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(ok(JSON, KIND)[:-10])
    backend.connection.close()
    client.expect_head(200, GZIPPED)
    client.expect_unfinished()
    client.expect_reset()


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd"])
def test_events_arrive_at_once(play, request, coding):
    cut = request.node.callspec.params["play"]
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + coding))
    backend.send(EVENTS + b"Transfer-Encoding: chunked\r\n\r\n")
    client.expect_head(200, {b"Content-Encoding": coding})
    decode = Decoder(coding)
    for number in range(5):
        event = b"data: %d\n\n" % number
        backend.send(b"%x\r\n%b\r\n" % (len(event), event))
        if cut == "backend":  # nine reads
            scenario.advance(LINGER)
        assert decode(client._body()) == event
        scenario.advance(20)


def test_a_full_read_that_nothing_follows_waits_no_longer_than_a_moment(play_once):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(EVENTS + b"\r\n")
    client.expect_head(200, GZIPPED)
    event, decode = pattern(FULL), Decoder()
    for _ in range(2):
        backend.send(event)
        found = decode(client._body())
        assert len(found) < len(event)
        scenario.advance(LINGER)
        assert found + decode(client._body()) == event
    backend.connection.close()
    assert decode(client._body()) == b""
    client.expect_end()


def test_head_has_the_fields_of_get(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip", method=b"HEAD"))
    backend.send(ok(JSON, KIND, b'ETag: "x"', b"Accept-Ranges: bytes")[: -len(JSON)])
    client.expect_response(200, b"", {**GZIPPED, b"Content-Length": None, b"ETag": b'W/"x"'}, head=True)


def test_not_modified_and_parts(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip", b'If-None-Match: W/"x"'))
    backend.send(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n')
    client.expect_response(304, b"", {b"ETag": b'W/"x"', b"Vary": b"Accept-Encoding"})
    client.send(get(b"/", ACCEPT + b"gzip", b"Range: bytes=0-1999"))
    backend.send(ok(JSON[:2000], KIND, b"Content-Range: bytes 0-1999/9999", status=b"206 Partial Content"))
    client.expect_response(206, JSON[:2000], {**PLAIN, b"Vary": b"Accept-Encoding", b"Content-Length": b"2000"})


def test_what_is_left_alone(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for fields in (
        [KIND, b"Cache-Control: no-transform"],
        [b"Content-Type: image/png"],
        [KIND, b"Content-Encoding: x"],
    ):
        client.send(get(b"/", ACCEPT + b"gzip"))
        backend.send(ok(JSON, *fields))
        client.expect_response(200, JSON, {b"Vary": None})
    client.send(get())
    backend.send(ok(JSON, KIND))
    client.expect_response(200, JSON, {**PLAIN, b"Vary": b"Accept-Encoding"})
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(ok(b"[]", KIND))
    client.expect_response(200, b"[]", PLAIN)


def test_old_clients_read_to_the_end(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(b"GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n" % KIND)
    client.expect_head(200, {**GZIPPED, b"Transfer-Encoding": None, b"Connection": b"close"})
    backend.send(b"0\r\n\r\n")
    assert Decoder()(client._body()) == b"7"
    client.expect_closed()


def test_what_is_removed_for_backends_is_still_what_the_client_accepts(play):
    changes = 'headers.request = { remove = ["accept-encoding"] }\n'
    scenario = play(toml(route=f'{changes}upstream = "app"\ncompress = {{ gzip = 1 }}'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.expect_request(b"GET", b"/", headers={b"Accept-Encoding": None})
    backend.send(ok(JSON, KIND))
    assert Decoder()(client.expect_response(200, None, GZIPPED).body) == JSON


# -- hooks beside it


def answering(exchange: Any) -> Answer:
    return Answer(200, {b"Content-Type": b"text/plain"}, b"x" * 2000)


@pytest.mark.parametrize("at", ["client-request", "backend-request", "backend-response", "client-response"])
def test_answers_of_hooks_are_not_compressed(play, at):
    scenario = play(hooked(ON, Middleware(call=answering, at=at)))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    if at.endswith("response"):
        backend.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n[" % KIND)
    client.expect_response(200, b"x" * 2000, PLAIN)


def test_hooks_at_the_backends_response_run_before(play):
    def forbid(exchange: Any) -> None:
        exchange.response.headers.set(b"Cache-Control", b"no-transform")

    scenario = play(hooked(ON, Middleware(call=forbid, at="backend-response")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(ok(JSON, KIND))
    client.expect_response(200, JSON, PLAIN)


def test_a_hook_that_waits_holds_the_body_back(play):
    waiting: list[Deferred[None]] = []

    def wait(exchange: Any) -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[0]

    scenario = play(hooked(ON, Middleware(call=wait, at="client-response")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n" % KIND)
    backend.send(b"0\r\n\r\n")
    client.expect_nothing()
    waiting[0].callback(None)
    scenario.reactor.settle()
    assert Decoder()(client.expect_response(200, None, GZIPPED).body) == b"[1]"


# -- ends


def test_a_client_that_leaves(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n[1," % KIND)
    client.reset()
    scenario.reactor.settle()
    assert backend.connection.gone


def test_a_slow_client_holds_the_backend_up(play_once):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    client.stop_reading()
    body = random.Random(1).randbytes(1_000_000)
    backend.send(ok(body, KIND))
    assert not backend.connection.is_read
    assert client.waiting < 200_000
    client.resume_reading()
    message = client.expect_response(200, None, GZIPPED)
    assert Decoder()(message.body) == body


class Broken:
    """An encoder that raises after so many bytes."""

    def __init__(self, *args: Any) -> None:
        self._inner = GzipEncoder(zlib, 1)
        self._fed = 0

    def feed(self, data: bytes) -> bytes:
        self._fed += len(data)
        if self._fed > 100_000:
            raise ZeroDivisionError("broken")
        return self._inner.feed(data)

    def flush(self) -> bytes:
        return self._inner.flush()

    def finish(self) -> bytes:
        return self._inner.finish()


@pytest.mark.parametrize("size", [60_000, WHOLE])
def test_an_encoder_that_raises_cuts_the_client(play_once, monkeypatch, size):
    """In a thread's piece (``WHOLE``), and in one that is small."""
    monkeypatch.setattr("revproxy.coding.encoders.IsalEncoder", Broken)
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(EVENTS + b"\r\nx")
    client.expect_head(200, GZIPPED)
    backend.connection.transport.incoming.append(b"y" * size)
    backend.send(b"z" * 60_000)
    client.expect_unfinished()
    client.expect_reset()
    assert backend.connection.gone
    assert scenario.log[0].fault == "hook-failed"
    (error,) = scenario.errors
    assert "ZeroDivisionError" in error
    scenario.errors.clear()


def test_a_whole_body_that_can_not_be_compressed_is_an_error_page(play_once, monkeypatch):
    def broken(*args: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(brotli, "compress", broken)
    scenario = play_once(toml(route='upstream = "app"\ncompress = { br = 4 }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"br") * 2)
    backend.send(ok(JSON, KIND))
    client.expect_response(500, None, PLAIN)
    backend.send(ok(b"[]", KIND))  # the connection to the backend goes on, and so does the client's
    client.expect_response(200, b"[]")
    assert len(scenario.errors) == 1
    scenario.errors.clear()


# -- threads


class Threads:
    """Takes the work that is meant for threads, until a test does it."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def take(self, reactor: Any, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.jobs.append((waiting, work, args))
        return waiting

    def work(self) -> None:
        """Do what was asked for first."""
        waiting, work, args = self.jobs.pop(0)
        maybeDeferred(work, *args).chainDeferred(waiting)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    made = Threads()
    monkeypatch.setattr(compress_module, "in_thread", made.take)
    return made


SLOW = toml(route='upstream = "app"\ncompress = { br = 11, gzip = 9 }')


def test_a_whole_body_goes_to_a_thread_before_its_head_goes_out(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"br"))
    backend.send(ok(JSON, KIND))
    client.expect_nothing()
    threads.work()
    message = client.expect_response(200, None, {b"Content-Encoding": b"br"})
    assert message.get(b"content-length") == b"%d" % len(brotli.compress(JSON, quality=11, lgwin=18))
    assert Decoder(b"br")(message.body) == JSON
    assert threads.jobs == []


def test_a_client_that_leaves_while_its_whole_body_is_away(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"br"))
    backend.send(ok(JSON, KIND))
    client.reset()
    threads.work()
    assert scenario.log[0].fault == "client-gone"


def test_pieces_keep_their_order_and_the_backend_waits(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    body = pattern(300_000)
    backend.send(ok(body, KIND))
    client.expect_head(200, GZIPPED)
    read = []
    while threads.jobs:
        assert len(threads.jobs) == 1  # one at a time
        read.append(backend.connection.is_read)
        threads.work()
        scenario.reactor.settle()
    found = Decoder()(client._body())
    client.expect_end()
    assert found == body
    assert len(read) >= 4 and not any(read[:-1])
    assert read[-1]  # all has come, and it is back in the pool
    client.send(get())
    backend.send(ok(b"[]", KIND))
    client.expect_response(200, b"[]")


def test_what_comes_meanwhile_is_kept_small_and_large(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % KIND)
    client.expect_head(200, GZIPPED)
    pieces = [pattern(60_000), b"small", pattern(60_000, 2), b"also small", pattern(WHOLE * 2 + 5, 3)]
    for piece in pieces:
        backend.send(piece)
        backend.connection.transport.reading = True  # one that hands on more after it was paused
    backend.connection.close()
    assert len(threads.jobs) == 1
    while threads.jobs:
        assert len(threads.jobs) == 1
        assert all(len(args[1]) <= WHOLE for _, _, args in threads.jobs)
        threads.work()
    assert Decoder()(client._body()) == b"".join(pieces)
    client.expect_end()


def test_a_client_that_leaves_while_a_piece_is_away(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % KIND)
    backend.send(pattern(60_000) * 2)
    assert len(threads.jobs) == 1
    client.reset()
    scenario.reactor.settle()
    assert backend.connection.gone
    threads.work()
    assert threads.jobs == []


def test_a_backend_that_fails_while_a_piece_is_away(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 999999\r\n\r\n" % KIND)
    backend.send(pattern(60_000))
    assert len(threads.jobs) == 1
    backend.connection.transport.reading = True
    backend.connection.reset()
    threads.work()
    client.expect_head(200)
    client.expect_unfinished()
    client.expect_reset()
    assert threads.jobs == []


def test_a_thread_that_raises_cuts_the_client(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % KIND)
    backend.send(pattern(60_000))
    waiting, _, _ = threads.jobs.pop()
    waiting.errback(ZeroDivisionError("broken"))
    scenario.reactor.settle()
    client.expect_head(200)
    client.expect_unfinished()
    client.expect_reset()
    assert len(scenario.errors) == 1 and "ZeroDivisionError" in scenario.errors[0]
    scenario.errors.clear()


def test_a_slow_client_and_a_thread_both_hold_the_backend_up(play_once, threads):
    scenario = play_once(SLOW)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    client.stop_reading()
    body = random.Random(2).randbytes(600_000)
    backend.send(ok(body, KIND))
    while threads.jobs:
        threads.work()
        scenario.reactor.settle()
    assert not backend.connection.is_read  # the client's turn
    assert client.waiting < 300_000
    client.resume_reading()
    while threads.jobs:
        threads.work()
        scenario.reactor.settle()
    assert Decoder()(client.expect_response(200, None, GZIPPED).body) == body


# -- other handlers


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        request.setHeader(b"content-type", b"text/html")
        if request.path == b"/whole":
            return b"<p>" * 1000
        if request.path == b"/large":
            return pattern(2_000_000)
        request.write(b"<p>")
        self.pending = request
        return NOT_DONE_YET


PAGE = Page()


def resource() -> Page:
    return PAGE


LOCAL = toml(route=f'resource = "{__name__}:resource"\ncompress = {{ gzip = 1, br = 4 }}')


def test_resources(play):
    scenario: Scenario = play(LOCAL)
    client = scenario.client()
    client.send(get(b"/whole", ACCEPT + b"gzip"))
    message = client.expect_response(200, None, {**GZIPPED, b"Transfer-Encoding": None})
    assert Decoder()(message.body) == b"<p>" * 1000
    client.send(get(b"/large", ACCEPT + b"br"))
    assert Decoder(b"br")(client.expect_response(200).body) == pattern(2_000_000)
    client.send(get(b"/slow", ACCEPT + b"gzip"))
    scenario.reactor.settle()
    client.expect_head(200, GZIPPED)
    decode = Decoder()
    assert decode(client._body()) == b"<p>"
    PAGE.pending.write(b"<b>")
    scenario.advance(LINGER)
    assert decode(client._body()) == b"<b>"
    PAGE.pending.finish()
    assert decode(client._body()) == b""
    client.expect_end()


def test_files(play, tmp_path):
    (tmp_path / "a.html").write_bytes(JSON)
    (tmp_path / "b.html").write_bytes(pattern(700_000))
    scenario = play(load(toml(route=f'files = "{tmp_path}"\ncompress = {{ gzip = 1, br = 4 }}')))
    client = scenario.client()
    client.send(get(b"/a.html", ACCEPT + b"gzip"))
    message = client.expect_response(200, None, GZIPPED)
    assert Decoder()(message.body) == JSON
    assert message.get(b"content-length") == b"%d" % len(message.body)
    for coding in (b"gzip", b"br"):
        client.send(get(b"/b.html", ACCEPT + coding))
        scenario.advance(1)
        assert Decoder(coding)(client.expect_response(200).body) == pattern(700_000)
    client.send(get(b"/a.html", ACCEPT + b"gzip", b"Range: bytes=0-9"))
    scenario.advance(1)
    client.expect_response(206, JSON[:10], PLAIN)


def test_split(play):
    scenario = play(toml(route="split.upstreams = { app = 1 }\ncompress = { gzip = 1 }"))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ACCEPT + b"gzip"))
    backend.send(ok(JSON, KIND))
    assert Decoder()(client.expect_response(200, None, GZIPPED).body) == JSON


def test_respond_is_not_compressed(play):
    scenario = play(toml(route=f'respond = {{ body = "{"x" * 2000}" }}\ncompress = true'))
    client = scenario.client()
    client.send(get(b"/", ACCEPT + b"gzip"))
    client.expect_response(200, b"x" * 2000, PLAIN)


def test_a_package_that_is_missing_is_an_error_at_the_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "brotli", None)
    config = load_text(toml(route='upstream = "app"\ncompress.br = 4'))
    with pytest.raises(ConfigError) as refused:
        compile_config(config, MemoryReactorClock())
    (problem,) = refused.value.errors
    assert problem.key == "routes[0].compress" and "brotli" in problem.text


def test_a_head_that_repeats_and_a_hook_that_changes_its_status(play):
    statuses = [200, 200, 203, 200, 203]

    def change(exchange: Any) -> None:
        exchange.response.status = statuses[len(scenario.log)]

    scenario = play(hooked(ON, Middleware(call=change, at="client-response")))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for number, status in enumerate(statuses):
        client.send(get(b"/", ACCEPT + b"gzip"))
        body = JSON[number:]
        backend.send(b"HTTP/1.1 200 OK\r\n%b\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % (KIND, len(JSON)) + body)
        if number:
            backend.send(b" " * number)
        message = client.expect_response(status, None, {**GZIPPED, b"Date": b"now"})
        assert Decoder()(message.body) == body + b" " * number


def test_a_cache_has_one_variant_for_each_coding_and_not_for_each_list_of_them(play_once: Any) -> None:
    scenario = play_once(toml("", route='upstream = "app"\ncache = true\ncompress = { gzip = 1, br = 4 }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Accept-Encoding: gzip, deflate"))
    backend.expect_request(b"GET", b"/", headers={b"Accept-Encoding": b"gzip"})
    body = b"a body that is long enough " * 100
    backend.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    assert client.expect_response(200, None, {b"Content-Encoding": b"gzip", b"Vary": b"Accept-Encoding"})
    for accepted in (b"gzip", b"deflate, gzip;q=0.5", b"x-gzip"):  # hits, one variant for all
        client.send(get(b"/", b"Accept-Encoding: " + accepted))
        answer = client.expect_response(200, None, {b"Content-Encoding": b"gzip"})
        assert zlib.decompress(answer.body, 31) == body
    client.send(get(b"/", b"Accept-Encoding: br, gzip"))
    backend.expect_request(b"GET", b"/", headers={b"Accept-Encoding": b"br"})
    backend.send(ok(b"not stored"))
    client.expect_response(200, b"not stored")
    assert len(backend.connections) == 1


def test_repeated_heads_by_what_is_accepted_and_what_the_body_is(play):
    """The same head for clients that accept this and that: each gets its own, whoever came before."""
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    coded = {b"Vary": b"Accept-Encoding", b"ETag": b'W/"x"'}
    whole = {**PLAIN, b"Vary": b"Accept-Encoding", b"ETag": b'"x"'}
    for _ in range(4):
        for accepted in (b"gzip", b"br", b"zstd"):
            client.send(get(b"/", ACCEPT + accepted))
            backend.send(ok(JSON, KIND, b'ETag: "x"'))
            message = client.expect_response(200, None, {**coded, b"Content-Encoding": accepted})
            assert Decoder(accepted)(message.body) == JSON
        for lines in ([], [ACCEPT + b"gzip;q=0"]):
            client.send(get(b"/", *lines))
            backend.send(ok(JSON, KIND, b'ETag: "x"'))
            client.expect_response(200, JSON, whole)
        client.send(get(b"/", ACCEPT + b"gzip", b"Cache-Control: no-transform"))
        backend.send(ok(JSON, KIND, b'ETag: "x"'))
        client.expect_response(200, JSON, {**PLAIN, b"ETag": b'"x"'})
        client.send(get(b"/", ACCEPT + b"gzip"))
        backend.send(ok(b"x" * 2000, b"Content-Type: image/png"))
        client.expect_response(200, b"x" * 2000, {**PLAIN, b"Vary": None})


def test_a_repeated_head_whose_body_comes_later_or_is_large(play_once):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    head, _, _ = ok(JSON, KIND).partition(b"\r\n\r\n")
    for split in (False, False, False, True, False, True):
        client.send(get(b"/", ACCEPT + b"gzip"))
        if split:
            backend.send(head + b"\r\n\r\n" + JSON[:100])
            backend.send(JSON[100:])
        else:
            backend.send(ok(JSON, KIND))
        message = client.expect_response(200, None, GZIPPED)
        assert Decoder()(message.body) == JSON


def test_many_kinds_of_clients_for_one_head(play):
    """More than are remembered; each still gets what it accepts."""
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for number in range(3 * ACCEPTED):
        client.send(get(b"/", ACCEPT + b"x%d, gzip" % (number % (ACCEPTED + 1))))
        backend.send(ok(JSON, KIND))
        assert Decoder()(client.expect_response(200, None, GZIPPED).body) == JSON


def test_a_repeated_body_that_can_not_be_compressed_is_an_error_page(play_once, monkeypatch):
    broken: list[bool] = []

    def make(*args: Any, **settings: Any) -> Coding:
        made = make_coding(*args, **settings)
        inner = made.compress

        def compress(data: bytes) -> bytes:
            if broken:
                raise ZeroDivisionError("broken")
            return inner(data)

        made.compress = compress
        return made

    monkeypatch.setattr("revproxy.coding.decide.make_coding", make)
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for at in range(5):
        if at == 4:
            broken.append(True)
        client.send(get(b"/", ACCEPT + b"gzip"))
        backend.send(ok(JSON, KIND))
        client.expect_response(500 if at == 4 else 200)
    (error,) = scenario.errors
    assert "ZeroDivisionError" in error
    scenario.errors.clear()


def test_what_is_not_to_be_transformed_is_not_what_others_get(play_once: Any) -> None:
    body = b'{"k":"v"},' * 400
    response = ok(body, b"Content-Type: application/json", b"Cache-Control: max-age=60")
    scenario = play_once(toml("", route='upstream = "app"\ncache = true\ncompress = { gzip = 1 }'))
    backend = scenario.backend(ADDRESS)
    for plain in (True, False):
        client = scenario.client()
        fields = (b"Accept-Encoding: gzip", *((b"Cache-Control: no-transform",) if plain else ()))
        client.send(get(b"/", *fields))
        backend.expect_request(b"GET", b"/")
        backend.send(response)
        message = client.expect_response(200)
        assert message.get(b"Content-Encoding") == (None if plain else b"gzip")
    for plain in (True, False, True):
        client = scenario.client()
        client.send(get(b"/", b"Accept-Encoding: gzip", *((b"Cache-Control: no-transform",) if plain else ())))
        message = client.expect_response(200)
        assert (message.body == body) == plain and b"; hit" in message.all(b"Cache-Status")[-1]


def test_events_through_a_cache_are_coded_as_without_one(play_once: Any) -> None:
    scenario = play_once(toml("", route='upstream = "app"\ncache = true\ncompress = { gzip = 1, zstd = 1 }'))
    backend = scenario.backend(ADDRESS)
    for accept, coding in ((b"text/event-stream", b"gzip"), (b"*/*", b"zstd")):
        client = scenario.client()
        client.send(get(b"/", b"Accept-Encoding: gzip, zstd", b"Accept: " + accept))
        backend.expect_request(b"GET", b"/")
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.expect_head(200).get(b"Content-Encoding") == coding
        client.close()
