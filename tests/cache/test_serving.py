"""Sending what is stored: parts, conditions and slow clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from revproxy.cache.handler import Cache
from tests.cache.talk import Talk
from tests.kit import ok

Start = Callable[..., Talk]
BODY = bytes(range(256)) * 1000  # 256,000 bytes
FRESH = b"Cache-Control: max-age=60"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (b"bytes=0-0", (0, 1)),
        (b"bytes=10-19", (10, 20)),
        (b"bytes=65530-65540", (65530, 65541)),
        (b"bytes=65536-131071", (65536, 131072)),
        (b"bytes=-5", (255_995, 256_000)),
        (b"bytes=100-", (100, 256_000)),
        (b"bytes=0-999999", (0, 256_000)),
    ],
)
def test_one_part(talk: Start, wanted: bytes, found: tuple[int, int]) -> None:
    t = talk()
    t.store(BODY, FRESH, b"Content-Type: text/x")
    start, stop = found
    response = t.hit(BODY[start:stop], b"/", b"Range: " + wanted, status=206)
    assert response.get(b"Content-Range") == b"bytes %d-%d/256000" % (start, stop - 1)
    assert response.get(b"Content-Length") == b"%d" % (stop - start)
    assert response.get(b"Content-Type") == b"text/x"
    assert response.get(b"Age") == b"0"


def test_several_parts(talk: Start) -> None:
    t = talk()
    t.store(BODY, FRESH, b"Content-Type: text/x")
    client = t.ask(b"/", b"Range: bytes=0-3, 65000-140000, -2")
    response = client.expect_response(206)
    kind = response.get(b"Content-Type") or b""
    assert kind.startswith(b"multipart/byteranges; boundary=")
    boundary = kind.partition(b"=")[2]
    parts = response.body.split(b"\r\n--" + boundary)
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    found = [part.partition(b"\r\n\r\n") for part in parts[1:-1]]
    assert [body for _, _, body in found] == [BODY[:4], BODY[65000:140001], BODY[-2:]]
    assert [head.split(b"\r\n")[1:] for head, _, _ in found] == [
        [b"Content-Type: text/x", b"Content-Range: bytes %b/256000" % part]
        for part in (b"0-3", b"65000-140000", b"255998-255999")
    ]
    assert response.get(b"Content-Length") == b"%d" % len(response.body)
    store = t.scenario.engine.table.stores[""]
    assert store.held == 0


def test_none_of_it(talk: Start) -> None:
    t = talk()
    t.store(b"body")
    response = t.hit(b"", b"/", b"Range: bytes=4-", status=416)
    assert response.get(b"Content-Range") == b"bytes */4"


@pytest.mark.parametrize("wanted", [b"lines=1-2", b"bytes=x", b"bytes=2-1", b"bytes=0-2, 1-3"])
def test_ranges_that_are_ignored(talk: Start, wanted: bytes) -> None:
    t = talk()
    t.store(b"body")
    t.hit(b"body", b"/", b"Range: " + wanted)


def test_if_range(talk: Start) -> None:
    t = talk()
    t.store(b"body", FRESH, b'ETag: "a"', b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT")
    part = b"Range: bytes=0-1"
    t.hit(b"bo", b"/", part, b'If-Range: "a"', status=206)
    t.hit(b"body", b"/", part, b'If-Range: "b"')
    t.hit(b"body", b"/", part, b'If-Range: W/"a"')
    t.hit(b"bo", b"/", part, b"If-Range: Sun, 06 Nov 1994 08:49:37 GMT", status=206)
    t.hit(b"body", b"/", part, b"If-Range: Sun, 06 Nov 1994 08:49:38 GMT")


def test_a_condition_goes_before_a_range(talk: Start) -> None:
    t = talk()
    t.store(b"body", FRESH, b'ETag: "a"')
    t.hit(b"", b"/", b"Range: bytes=0-1", b'If-None-Match: "a"', status=304)


def test_a_range_of_nothing_stored_goes_through(talk: Start) -> None:
    t = talk()
    client = t.ask(b"/", b"Range: bytes=0-1")
    t.answer(ok(b"bo", FRESH, b"Content-Range: bytes 0-1/4", status=b"206 Partial Content"), Range=b"bytes=0-1")
    client.expect_response(206, b"bo")
    t.store()  # which was not in the store
    t.hit(b"bo", b"/", b"Range: bytes=0-1", status=206)


def test_a_range_that_waits_for_a_whole_body(talk: Start) -> None:
    t = talk()
    t.store(b"old", b"Cache-Control: max-age=1", b'ETag: "a"')
    t.scenario.advance(2)
    first = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nbo")
    other = t.ask(b"/", b"Range: bytes=0-1")
    connection.send(b"dy")
    for client in (first, other):  # where its end was not known yet, all of it
        client.expect_response(200, b"body")
    t.hit(b"bo", b"/", b"Range: bytes=0-1", status=206)


def test_a_client_that_pauses(talk: Start) -> None:
    t = talk()
    t.store(BODY * 4)
    client = t.client()
    client.stop_reading()
    t.ask(client=client)
    assert client.waiting < 200_000  # the rest stays where it is
    for _ in range(20):
        client.read_some(50_000)
    client.resume_reading()
    t.scenario.advance(0)
    client.expect_response(200, BODY * 4)


def test_a_client_that_pauses_and_goes(talk: Start) -> None:
    t = talk()
    t.store(BODY * 4)
    client = t.client()
    client.stop_reading()
    t.ask(client=client)
    handler = t.scenario.engine.table.routes[0].handler
    assert isinstance(handler, Cache)
    (entry,) = handler.store.variants(next(iter(handler.store._index)))
    assert entry.readers == 1
    handler.store.remove(entry)
    assert handler.store.held == entry.size
    client.reset()
    client.transport.reading = True
    client.transport.deliver()
    t.scenario.advance(0)
    assert entry.readers == 0
    assert (handler.store.held, handler.store.bytes) == (0, 0)


def test_what_is_removed_while_it_is_sent_is_sent_whole(talk: Start) -> None:
    t = talk()
    t.store(BODY * 4)
    client = t.client()
    client.stop_reading()
    t.ask(client=client)
    handler = t.scenario.engine.table.routes[0].handler
    handler.store.purge_all().finish()
    client.resume_reading()
    t.scenario.advance(0)
    client.expect_response(200, BODY * 4)
    assert handler.store.bytes == 0


@pytest.mark.parametrize(
    ("method", "field"),
    [(b"GET", b"Cache-Control: max-stale=9"), (b"HEAD", b"X-A: 1"), (b"GET", b'If-None-Match: "q"')],
)
def test_a_204_has_no_length(talk: Start, method: bytes, field: bytes) -> None:
    t = talk()
    clients = [t.ask(), t.ask()]
    t.answer(b"HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\n\r\n")
    clients.append(t.ask(b"/", field, method=method))
    assert t.asked == 1
    for client in clients:
        assert client.expect_response(204).get(b"Content-Length") is None


def test_who_reads_slowly_does_not_drive_out_what_others_ask_for(talk: Start) -> None:
    """Above half the budget the rest of them are sent what the backend sends, at their own pace."""
    t = talk('{ size = "2MB", largest = "1MB" }')
    large = b"x" * 300_000
    for n in range(20):
        t.store(b"hot", FRESH, path=b"/hot%d" % n)
        t.hit(b"hot", b"/hot%d" % n)
        t.hit(b"hot", b"/hot%d" % n)
    slow = []
    for n in range(8):
        client = t.client()
        client.stop_reading()
        slow.append(t.ask(b"/%d" % n, client=client))
        t.answer(ok(large, FRESH), b"/%d" % n)
        t.scenario.advance(0.1)
    handler = t.scenario.engine.table.routes[0].handler
    assert isinstance(handler, Cache)
    assert 0 < handler.store.pinned + handler.store.filling <= handler.store.budget // 2
    for n in range(20):
        t.hit(b"hot", b"/hot%d" % n)
    for client in slow:
        client.resume_reading()
        t.scenario.advance(1)
        client.expect_response(200, large)
    assert (handler.store.pinned, handler.store.filling, handler.store.held) == (0, 0, 0)


@pytest.mark.parametrize("fields", [(), (b"Range: bytes=5-290000",), (b"Cache-Control: no-cache",)])
def test_a_hit_that_can_not_be_held_passes(talk: Start, fields: tuple[bytes, ...]) -> None:
    t = talk('{ size = "2MB", largest = "1MB" }')
    large = b"x" * 300_000
    for n in range(4):
        t.store(large, FRESH, b'ETag: "a"', path=b"/%d" % n)
    slow = []
    for n in range(3):
        client = t.client()
        client.stop_reading()
        slow.append(t.ask(b"/%d" % n, client=client))
    asked = t.asked
    client = t.ask(b"/3", *fields)
    assert t.asked == asked + 1
    if b"no-cache" in b"".join(fields):
        t.answer(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', b"/3")
    t.answer(ok(b"passed"), b"/3", if_none_match=None)
    client.expect_response(200, b"passed")
    t.hit(b"", b"/3", b'If-None-Match: "a"', status=304)
    for client in slow:
        client.reset()
    t.scenario.advance(1)
    t.hit(large, b"/3")
