"""What is asked for and stored, however the response comes, and what ends it: whole conversations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from revproxy.config.model import Middleware
from revproxy.testing import Scenario
from tests.cache.talk import Talk, cache_of, config, is_clean
from tests.kit import ADDRESS, hooked, ok

Start = Callable[..., Talk]
FRESH = b"Cache-Control: max-age=60"
HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"


pytestmark = pytest.mark.usefixtures("nothing_goes_round")


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_without_a_length(talk: Start, framing: str) -> None:
    t = talk()
    clients = [t.ask(), t.ask()]
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    if framing == "chunked":
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    else:
        connection.send(HEAD + b"\r\nabc")
    clients.append(t.ask())
    for client in clients:
        client.expect_head(200, {b"Transfer-Encoding": b"chunked"})
        client.expect_body(b"abc")
        client.expect_unfinished()
    if framing == "chunked":
        connection.send(b"3\r\ndef\r\n0\r\nX-Trailer: 1\r\n\r\n")
    else:
        connection.send(b"def")
        connection.close()
    for client in clients:
        client.expect_body(b"def")
        client.expect_end()
    assert t.hit(b"abcdef").get(b"Content-Length") == b"6"
    is_clean(t)


def test_chunked_in_one_read(talk: Start) -> None:
    t = talk()
    clients = [t.ask(), t.ask()]
    t.answer(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n")
    for client in clients:
        client.expect_head(200)
        client.expect_body(b"abc")
    t.hit(b"abc")
    is_clean(t)


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 131_072, 500_000])
def test_sizes(talk: Start, size: int) -> None:
    t = talk()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    clients = [t.ask(), t.ask()]
    t.answer(ok(body, FRESH))
    for client in clients:
        client.expect_response(200, body)
    t.hit(body)
    client = t.ask(method=b"HEAD")
    client.expect_response(200, b"", {b"Content-Length": b"%d" % size}, head=True)
    is_clean(t)


def test_the_backend_leaves_while_nobody_waits(talk: Start) -> None:
    t = talk()
    t.store(b"old", b"Cache-Control: max-age=1, stale-while-revalidate=60")
    t.scenario.advance(2)
    t.ask().expect_response(200, b"old")
    for _ in range(2):  # what had been reused is tried once more
        t.busy().expect_request(b"GET", b"/")
        t.backend.connections[-1].reset()
        t.scenario.advance(0)
    is_clean(t)
    t.ask().expect_response(200, b"old")
    t.answer(ok(b"new", FRESH))
    t.hit(b"new")


# -- what is not for all


def test_variants_are_asked_for_side_by_side(talk: Start) -> None:
    t = talk()
    asked = [b"en", b"de", b"en", b"fr", b"de", b"fr", b"en"]
    clients = [t.ask(b"/", b"Accept-Language: " + language) for language in asked]
    assert t.asked == 1
    vary = b"Vary: Accept-Language"
    t.answer(ok(b"en", FRESH, vary))
    assert t.asked == 3  # the two others, at once
    late = t.ask(b"/", b"Accept-Language: it")
    more = t.ask(b"/", b"Accept-Language: de")
    assert t.asked == 4
    for connection in t.backend.connections:
        if connection.unread:
            language = connection.expect_request(b"GET", b"/").get(b"Accept-Language")
            assert language is not None
            connection.send(ok(language, FRESH, vary))
    for client, language in zip([*clients, late, more], [*asked, b"it", b"de"], strict=True):
        client.expect_response(200, language)
    assert t.asked == 4
    is_clean(t)


def test_variants_while_a_body_comes(talk: Start) -> None:
    t = talk()
    vary = b"Vary: Accept-Language\r\n"
    first = t.ask(b"/", b"Accept-Language: en")
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + vary + b"Content-Length: 4\r\n\r\nen")
    first.expect_head(200)
    same = t.ask(b"/", b"Accept-Language: en")
    same.expect_head(200)
    others = [t.ask(b"/", b"Accept-Language: de") for _ in range(3)]
    assert t.asked == 2
    t.answer(ok(b"de", FRESH, vary[:-2]))
    for client in others:
        client.expect_response(200, b"de")
    connection.send(b"en")
    for client in (first, same):
        client.expect_body(b"enen")
    is_clean(t)


def test_authorized_requests_wait_for_each_other(talk: Start) -> None:
    t = talk()
    auth = b"Authorization: Basic x"
    clients = [t.ask(b"/", auth), t.ask(b"/", auth)]
    assert t.asked == 1
    t.answer(ok(b"all", b"Cache-Control: public, max-age=60"))
    for client in clients:
        client.expect_response(200, b"all")
    t.hit(b"all")


# -- validation


def test_a_purge_while_it_is_validated(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    client = t.ask()
    cache = cache_of(t)
    (uri,) = cache.pending._fills
    cache.store.purge(uri)
    cache.pending.purge(uri)
    t.answer(b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=10\r\n\r\n", If_None_Match=b'"a"')
    client.expect_response(200, b"body")
    assert cache.store.entries == 0
    is_clean(t)


@pytest.mark.parametrize("soft", [False, True])
def test_a_purge_while_it_is_asked_for(talk: Start, soft: bool) -> None:
    t = talk()
    client = t.ask()
    cache = cache_of(t)
    (uri,) = cache.pending._fills
    cache.pending.purge(uri, cache.now() if soft else None)
    late = t.ask()
    connections = t.backend.connections
    for connection, body in zip(connections, (b"old", b"new"), strict=True):
        connection.expect_request(b"GET", b"/")
        connection.send(ok(body, FRESH, b'ETag: "%b"' % body))
    client.expect_response(200, b"old")
    late.expect_response(200, b"new")
    t.hit(b"new")
    is_clean(t)


def test_soft_purged_while_it_is_asked_for_is_stale(talk: Start) -> None:
    t = talk()
    client = t.ask()
    cache = cache_of(t)
    cache.pending.purge_where(lambda uri: True, cache.now())
    t.scenario.advance(1)
    t.answer(ok(b"old", FRESH, b'ETag: "a"'))
    client.expect_response(200, b"old")
    client = t.miss()
    t.answer(b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n", If_None_Match=b'"a"')
    client.expect_response(200, b"old")
    t.hit(b"old")


# -- bodies that are cut, and those that are too large


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
def test_a_body_that_is_cut(talk: Start, framing: bytes, end: str) -> None:
    t = talk()
    clients = [t.ask(), t.ask()]
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + framing + b"\r\n\r\n" + (b"abc" if b"9" in framing else b"3\r\nabc\r\n"))
    getattr(connection, end)()
    t.scenario.advance(0)
    for client in clients:
        client.expect_head(200)
        client.expect_body(b"abc")
        client.expect_unfinished()
        assert client.ended == "reset"
    is_clean(t)
    assert cache_of(t).store.bytes == 0
    t.store()


def test_until_close_and_reset(talk: Start) -> None:
    t = talk()
    client = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + b"\r\nabc")
    connection.reset()
    t.scenario.advance(0)
    client.expect_head(200)
    client.expect_unfinished()
    assert cache_of(t).store.entries == 0


def test_nothing_comes(talk: Start) -> None:
    t = talk(upstream='timeouts = { first_byte = "5s" }')
    clients = [t.ask(), t.ask()]
    t.scenario.advance(6)
    for client in clients:
        client.expect_response(504)
    is_clean(t)


def test_too_large_is_known_beforehand(talk: Start) -> None:
    t = talk('{ size = "1MB", largest = "100KB" }')
    clients = [t.ask(), t.ask()]
    body = b"x" * 200_000
    t.answer(ok(body, FRESH))
    t.answer(ok(body, FRESH))
    for client in clients:
        client.expect_response(200, body)
    assert t.asked == 2
    is_clean(t)
    assert cache_of(t).store.bytes == 0


def test_a_store_without_room(talk: Start) -> None:
    t = talk('{ size = "1KB", largest = "1KB" }')
    clients = [t.ask(), t.ask(), t.ask(method=b"GET")]
    t.answer(ok(b"x" * 600, FRESH))
    for client in clients:
        client.expect_response(200, b"x" * 600)
    assert t.asked == 1
    assert cache_of(t).store.entries == 0
    is_clean(t)


# -- retries


def test_a_try_that_failed_is_repeated_for_all(talk: Start) -> None:
    t = talk(upstream='backends = ["tcp:127.0.0.1:9000", "tcp:127.0.0.1:9001"]')
    second = t.scenario.backend("tcp:127.0.0.1:9001")
    t.backend.refuse()
    clients = [t.ask(), t.ask()]
    t.scenario.advance(0)
    second.expect_request(b"GET", b"/")
    second.send(ok(b"body", FRESH))
    for client in clients:
        client.expect_response(200, b"body")
    assert sorted(record.retries for record in t.scenario.log) == [0, 1]
    is_clean(t)


# -- errors that are nobody else's

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nRetry-After: 7\r\n\r\noops"


def test_a_backend_that_fails_is_asked_one_at_a_time_and_not_by_all(talk: Start) -> None:
    t = talk()
    clients = [t.ask() for _ in range(20)]
    for number in range(3):
        assert t.asked == number + 1
        t.answer(UNAVAILABLE)
        assert clients[number].expect_response(503, b"oops").get(b"Retry-After") == b"7"
    for client in clients[3:]:
        message = client.expect_response(503)
        assert message.get(b"Retry-After") == b"7" and b"oops" not in message.body
    assert t.asked == 3
    t.miss()
    t.answer(ok(b"", FRESH))
    is_clean(t)


def test_one_client_whose_request_fails_does_not_fail_the_others(talk: Start) -> None:
    t = talk()
    clients = [t.ask(b"/", b"Cookie: broken"), *[t.ask() for _ in range(5)]]
    t.answer(UNAVAILABLE, cookie=b"broken")
    clients[0].expect_response(503, b"oops")
    late = t.ask()
    t.answer(ok(b"fine", FRESH), cookie=None)
    for client in [*clients[1:], late]:
        client.expect_response(200, b"fine")
    assert t.asked == 2
    is_clean(t)


def test_who_leaves_while_others_fail_in_turn(talk: Start) -> None:
    t = talk()
    clients = [t.ask() for _ in range(3)]
    t.answer(UNAVAILABLE)
    clients[1].reset()  # it leads now
    t.answer(ok(b"fine", FRESH))
    clients[2].expect_response(200, b"fine")
    is_clean(t)


# -- what a response says of what is stored


@pytest.mark.parametrize("fields", [(b"Cache-Control: no-cache, no-store",), (b"Authorization: x",)])
def test_what_a_request_forbids_to_store_leaves_alone_what_is_stored(talk: Start, fields: tuple[bytes, ...]) -> None:
    t = talk()
    t.store(b"body", FRESH)
    client = t.miss(b"/", *fields)
    t.answer(ok(b"mine", FRESH))
    client.expect_response(200, b"mine")
    t.hit(b"body")
    is_clean(t)


def test_a_304_to_who_did_not_ask_for_one_is_an_error(talk: Start) -> None:
    t = talk()
    t.store(b"body", FRESH, b'ETag: "a"')
    t.scenario.advance(70)
    clients = [t.miss(), t.ask(b"/", b'If-None-Match: "b"')]
    t.answer(b'HTTP/1.1 304 Not Modified\r\nETag: "b"\r\n\r\n', if_none_match=b'"a"')
    t.answer(b'HTTP/1.1 304 Not Modified\r\nETag: "b"\r\n\r\n', if_none_match=None)
    for client in clients:
        client.expect_response(502)
    cold = t.miss(b"/cold")
    t.answer(b'HTTP/1.1 304 Not Modified\r\nETag: "b"\r\n\r\n', b"/cold")
    cold.expect_response(502)
    is_clean(t)


def test_tags_of_a_304_are_the_tags(talk: Start) -> None:
    t = talk()
    t.store(b"body", FRESH, b'ETag: "a"', b"Cache-Tag: x, y")
    t.scenario.advance(70)
    client = t.miss()
    t.answer(b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nCache-Control: max-age=60\r\nCache-Tag: y, z\r\n\r\n')
    assert client.expect_response(200, b"body").get(b"Cache-Tag") is None
    store = cache_of(t).store
    assert store.purge_tag(b"x").finish() == 0
    assert store.purge_tag(b"z").finish() == 1 and store.bytes == 0


# -- fields that are written on the way to the backend


@pytest.mark.parametrize(
    ("value", "stored"), [("$client_ip", False), ("$http_x_one", False), ("the same", True)], ids=str
)
def test_vary_on_a_field_that_the_route_sets(talk: Start, value: str, stored: bool) -> None:
    t = talk(route=f'headers = {{ request = {{ set = {{ X-Client = "{value}" }} }} }}')
    t.ask()
    t.answer(ok(b"body", FRESH, b"Vary: X-Client"))
    if stored:
        t.hit()
    else:
        t.miss()


@pytest.mark.parametrize(("to", "stored"), [(b"de", False), (None, True)], ids=str)
def test_vary_on_a_field_that_a_hook_sets(play_once: Callable[..., Scenario], to: bytes | None, stored: bool) -> None:
    def hook(exchange):
        if to is None:
            exchange.request.headers.remove(b"x-country")
        else:
            exchange.request.headers.set(b"X-Country", to)

    scenario = play_once(hooked(config(), Middleware(at="backend-request", call=hook)))
    t = Talk(scenario, scenario.backend(ADDRESS))
    t.ask(b"/", b"X-Country: fr")
    t.answer(ok(b"body", FRESH, b"Vary: X-Country"))
    if stored:
        t.hit(b"body", b"/", b"X-Country: fr")
    else:
        t.miss(b"/", b"X-Country: fr")
