"""Parts of a body: the decisions, what the store makes of them, and whole conversations."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from revproxy.cache.key import make_key
from revproxy.cache.partial import (
    StoredPart,
    completed,
    find_part,
    keep_part,
    may_store_part,
    parse_content_range,
    part_key,
    range_within,
    rest_of,
)
from revproxy.cache.policy import PLAIN
from revproxy.cache.store import Store
from tests.cache.kit import DATE, NOW, RULES, headers, request, response
from tests.cache.talk import Talk, cache_of, is_clean
from tests.kit import ok, post

Start = Callable[..., Talk]
BODY = b"0123456789"
MAX_AGE = "Cache-Control: max-age=60"
STRONG = 'ETag: "a"'


def part_of(
    where: str, *lines: str, asked: str = "bytes=0-", fields: tuple[str, ...] = (), length: int | None = None
) -> Any:
    asking = request(f"Range: {asked}", *fields)
    answer = response(f"Date: {DATE}", f"Content-Range: {where}", *lines, status=206, length=length)
    return may_store_part(asking, answer, RULES, make_key(asking, RULES), NOW, NOW)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 0-4/10", (0, 5, 10)),
        ("Bytes 9-9/10", (9, 10, 10)),
        ("bytes 5-4/10", None),
        ("bytes 0-10/10", None),
        ("bytes 0-4/*", None),
        ("bytes */10", None),
        ("items 0-4/10", None),
        ("bytes 0-4/10, bytes 5-6/10", None),
        ("bytes -1-4/10", None),
        ("bytes 0-" + "9" * 30 + "/" + "9" * 31, None),
        ("", None),
    ],
)
def test_content_range(value: str, found: tuple[int, int, int] | None) -> None:
    assert parse_content_range(headers(f"Content-Range: {value}")) == found
    assert parse_content_range(headers(f"Content-Range: {value}", f"Content-Range: {value}")) is None


def test_what_is_stored() -> None:
    part = part_of("bytes 2-4/10", MAX_AGE, "X-A: 1", length=3)
    assert isinstance(part, StoredPart)
    assert (part.first, part.most, part.total, part.asked) == (2, 3, 10, b"bytes=0-")
    assert (part.status, part.key) == (200, part_key(make_key(request(), RULES)))
    assert b"content-range" not in part.headers
    assert part.headers.get(b"x-a") == b"1"


@pytest.mark.parametrize(
    ("where", "line", "length"),
    [
        ("bytes 2-4/10", MAX_AGE, 4),  # longer than it says
        ("bytes 2-4/*", MAX_AGE, 3),
        ("bytes 2-4/10", "Cache-Control: no-store, max-age=60", 3),
        ("bytes 2-4/10", "Cache-Control: private, max-age=60", 3),
        ("bytes 2-4/10", "Cache-Control: no-cache, max-age=60", 3),
        ("bytes 2-4/10", "Cache-Control: max-age=0", 3),
        ("bytes 2-4/10", "Last-Modified: Sun, 06 Nov 1993 08:49:37 GMT", 3),
    ],
)
def test_what_is_not_stored(where: str, line: str, length: int) -> None:
    assert not isinstance(part_of(where, line, STRONG, length=length), StoredPart)


def test_requests_whose_parts_are_not_stored() -> None:
    assert not isinstance(part_of("bytes 2-4/10", MAX_AGE, fields=("Cache-Control: no-store",)), StoredPart)
    assert not isinstance(part_of("bytes 2-4/10", MAX_AGE, fields=("Authorization: x",)), StoredPart)
    assert not isinstance(part_of("bytes 2-4/10", MAX_AGE, fields=("Range: bytes=1-",)), StoredPart)


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=4-8", (0, 5)),
        ("bytes=6-8", (2, 5)),
        ("bytes=6-6", (2, 3)),
        ("bytes=3-8", None),
        ("bytes=6-9", None),
        ("bytes=6-", None),
        ("bytes=-1", None),
        ("bytes=-6", (0, 5)),  # what it was the answer to
        ("bytes=4-5,7-8", None),
        ("bytes=20-", None),
        ("bytes=x", None),
    ],
)
def test_ranges_within(wanted: str, span: tuple[int, int] | None) -> None:
    part = part_of("bytes 4-9/10", MAX_AGE, STRONG, asked="bytes=-6")
    part.length = 5  # it came short
    assert range_within(part, request(f"Range: {wanted}"), NOW) == span


def test_ranges_with_conditions() -> None:
    part = part_of("bytes 4-8/10", MAX_AGE, STRONG)
    part.length = 5
    wanted = "Range: bytes=6-8"
    assert range_within(part, request(wanted, 'If-Range: "a"'), NOW) == (2, 5)
    assert range_within(part, request(wanted, 'If-Range: "b"'), NOW) is None
    assert range_within(part, request(wanted, 'If-None-Match: "a"'), NOW) is None
    assert range_within(part, request(wanted, f"If-Modified-Since: {DATE}"), NOW) is None
    assert range_within(part, request(), NOW) is None


def test_the_rest() -> None:
    part = part_of("bytes 0-4/10", MAX_AGE, STRONG, "X-A: 1", "X-B: 1")
    part.length = 5
    fields = rest_of(part)
    assert fields is not None
    assert [f[2] for f in fields] == [b"Range: bytes=5-", b'If-Range: "a"']
    lines = ("X-B: 2", STRONG, MAX_AGE)
    whole = completed(part, response("Content-Range: bytes 5-9/10", "Content-Length: 5", *lines, status=206, length=5))
    assert whole is not None
    assert (whole.status, whole.length) == (200, 10)
    assert whole.headers.get_all(b"content-length") == [b"10"]
    assert (whole.headers.get_all(b"x-a"), whole.headers.get_all(b"x-b")) == ([b"1"], [b"2"])
    assert b"content-range" not in whole.headers


@pytest.mark.parametrize(
    ("where", "line", "length"),
    [
        ("bytes 4-9/10", STRONG, 6),
        ("bytes 5-8/10", STRONG, 4),
        ("bytes 5-10/11", STRONG, 6),
        ("bytes 5-9/10", 'ETag: "b"', 5),
        ("bytes 5-9/10", 'ETag: W/"a"', 5),
        ("bytes 5-9/10", "X-A: 1", 5),
        ("bytes 5-9/10", STRONG, 4),
        ("bytes 5-9/10", STRONG, None),
    ],
)
def test_what_is_not_the_rest(where: str, line: str, length: int | None) -> None:
    part = part_of("bytes 0-4/10", MAX_AGE, STRONG)
    part.length = 5
    assert completed(part, response(f"Content-Range: {where}", line, status=206, length=length)) is None


def test_no_rest_is_asked_for() -> None:
    for where, line, length in (
        ("bytes 0-4/10", 'ETag: W/"a"', 5),
        ("bytes 0-4/10", "X-A: 1", 5),
        ("bytes 1-4/10", STRONG, 4),
        ("bytes 0-9/10", STRONG, 10),
        ("bytes 0-4/99999999", STRONG, 5),
    ):
        part = part_of(where, line, MAX_AGE)
        part.length = length
        assert rest_of(part) is None


# -- in the store


def put(store: Store, data: bytes, first: int, *lines: str, total: int = 10) -> None:
    meta = part_of(f"bytes {first}-{first + len(data) - 1}/{total}", MAX_AGE, *(lines or (STRONG,)))
    filling = store.begin(meta.key, meta, len(data), ("t",))
    filling.write(data)
    keep_part(store, filling, meta)


def held(store: Store) -> tuple[int, bytes] | None:
    """Where the part begins, and its bytes."""
    key = make_key(request(), RULES)
    entry = find_part(store, key, request(), PLAIN, NOW)
    if entry is None:
        return None
    assert store.entries == 1
    assert entry.meta.length == entry.length
    return entry.meta.first, b"".join(entry.pieces())


def whole(store: Store) -> bytes | None:
    entries = store.variants(make_key(request(), RULES))
    return b"".join(entries[0].pieces()) if entries else None


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ((0, 4), (4, 7), (0, 7)),
        ((4, 7), (0, 4), (0, 7)),
        ((0, 5), (3, 7), (0, 7)),
        ((3, 7), (0, 5), (0, 7)),
        ((2, 8), (4, 6), (2, 8)),
        ((4, 6), (2, 8), (2, 8)),
        ((0, 3), (5, 7), (5, 7)),
        ((5, 7), (0, 3), (0, 3)),
    ],
)
def test_two_that_touch_are_one(one: tuple[int, int], other: tuple[int, int], both: tuple[int, int]) -> None:
    store = Store(1_000_000, 100_000)
    for start, stop in (one, other):
        put(store, BODY[start:stop], start)
    assert held(store) == (both[0], BODY[both[0] : both[1]])
    assert store.filling == 0


@pytest.mark.parametrize("lines", [('ETag: "b"',), ('ETag: W/"a"',), ("X-A: 1",)])
def test_only_of_the_same(lines: tuple[str, ...]) -> None:
    store = Store(1_000_000, 100_000)
    put(store, BODY[:5], 0)
    put(store, BODY[5:8], 5, *lines)
    assert held(store) == (5, BODY[5:8])
    put(store, BODY[8:9], 8, *lines)
    assert held(store) in ((8, BODY[8:9]), (5, BODY[5:9]))
    assert (held(store) == (5, BODY[5:9])) == (lines == ('ETag: "b"',))


def test_of_the_same_length() -> None:
    store = Store(1_000_000, 100_000)
    put(store, BODY[:5], 0)
    put(store, BODY[5:8], 5, total=11)
    assert held(store) == (5, BODY[5:8])


def test_nothing_missing_is_the_whole() -> None:
    store = Store(1_000_000, 100_000)
    put(store, BODY[:5], 0)
    put(store, BODY[4:], 4)
    assert held(store) is None
    assert whole(store) == BODY
    entry = store.variants(make_key(request(), RULES))[0]
    assert (entry.meta.status, entry.meta.length, entry.meta.key) == (200, 10, entry.key)
    assert [tag.name for tag in entry.tags] == ["t"]
    assert store.purge(entry.key[0]) == 1
    assert (store.entries, store.bytes) == (0, 0)


def test_one_that_is_longer_than_it_says_is_dropped() -> None:
    store = Store(1_000_000, 100_000)
    meta = part_of("bytes 0-4/10", MAX_AGE)
    filling = store.begin(meta.key, meta, None, ())
    assert filling is not None
    filling.write(b"123456")
    assert keep_part(store, filling, meta) is None
    assert (store.entries, store.bytes) == (0, 0)


def test_any_order_gives_the_right_bytes() -> None:
    chance = random.Random(5)
    body = chance.randbytes(200_000)
    store = Store(10_000_000, 1_000_000)
    for _ in range(60):
        start = chance.randrange(len(body))
        stop = chance.randrange(start, len(body)) + 1
        put(store, body[start:stop], start, total=len(body))
        now = held(store)
        if now is None:
            break
        assert body[now[0] : now[0] + len(now[1])] == now[1]
    put(store, body, 0, total=len(body))
    assert whole(store) == body


# -- conversations


def partial(first: int, last: int, *fields: bytes, total: int = 10, body: bytes | None = None) -> bytes:
    data = BODY[first : last + 1] if body is None else body
    where = b"Content-Range: bytes %d-%d/%d" % (first, last, total)
    return ok(data, where, b"Cache-Control: max-age=60", *fields, status=b"206 Partial Content")


def store_part(t: Talk, first: int, last: int, *fields: bytes) -> None:
    client = t.ask(b"/", b"Range: bytes=%d-%d" % (first, last))
    t.answer(partial(first, last, *(fields or (b'ETag: "a"',))))
    client.expect_response(206, BODY[first : last + 1])


def test_a_part_answers_ranges_within_it(talk: Start) -> None:
    t = talk()
    store_part(t, 2, 7)
    response = t.hit(BODY[3:6], b"/", b"Range: bytes=3-5", status=206)
    assert response.get(b"Content-Range") == b"bytes 3-5/10"
    assert response.get(b"Age") == b"0"
    t.miss(b"/", b"Range: bytes=0-5").close()
    t.miss(b"/", b"Range: bytes=3-8").close()
    t.miss(b"/").close()
    t.scenario.advance(60)
    t.miss(b"/", b"Range: bytes=3-5").close()


def test_only_if_cached(talk: Start) -> None:
    t = talk()
    store_part(t, 2, 7)
    t.hit(BODY[3:6], b"/", b"Range: bytes=3-5", b"Cache-Control: only-if-cached", status=206)
    t.ask(b"/", b"Cache-Control: only-if-cached").expect_response(504)
    t.miss(b"/", b"Range: bytes=3-5", b"Cache-Control: no-cache").close()


def test_posts_take_it_out(talk: Start) -> None:
    t = talk()
    store_part(t, 2, 7)
    client = t.client()
    client.send(post(b""))
    t.answer(ok(b"done"), method=b"POST")
    client.expect_response(200, b"done")
    assert cache_of(t).store.entries == 0
    t.miss(b"/", b"Range: bytes=3-5").close()


def test_two_give_the_whole(talk: Start) -> None:
    t = talk()
    store_part(t, 0, 4)
    store_part(t, 5, 9)
    response = t.hit(BODY)
    assert response.get(b"Content-Range") is None
    assert response.get(b"Content-Length") == b"10"


@pytest.mark.usefixtures("nothing_goes_round")
@pytest.mark.parametrize("whole", [True, False])
def test_the_rest_is_asked_for(talk: Start, whole: bool) -> None:
    t = talk()
    store_part(t, 0, 4)
    clients = [t.ask(), t.ask()]
    connection = t.busy()
    connection.expect_request(b"GET", b"/", headers={b"Range": b"bytes=5-", b"If-Range": b'"a"'})
    answer = partial(5, 9, b'ETag: "a"', b"X-New: 1")
    connection.send(answer if whole else answer[:-2])
    if not whole:
        connection.send(answer[-2:])
    for client in clients:
        response = client.expect_response(200, BODY)
        assert response.get(b"Content-Range") is None
    assert t.asked == 2
    assert t.hit(BODY).get(b"X-New") == b"1"
    assert cache_of(t).store.entries == 1
    is_clean(t)


@pytest.mark.usefixtures("nothing_goes_round")
@pytest.mark.parametrize(
    "other",
    [
        partial(5, 9, b'ETag: "b"'),
        partial(5, 8, b'ETag: "a"'),
        partial(5, 9),
        partial(5, 9, b'ETag: "b"', total=12)[:-2],
        ok(b"", b"Content-Range: bytes */5", status=b"416 Range Not Satisfiable"),
    ],
)
def test_what_is_not_the_rest_is_asked_for_whole(talk: Start, other: bytes) -> None:
    t = talk()
    store_part(t, 0, 4)
    client = t.ask()
    t.answer(other, if_range=b'"a"')
    connection = t.busy()
    connection.expect_request(b"GET", b"/", headers={b"Range": None, b"If-Range": None})
    connection.send(ok(b"other", b"Cache-Control: max-age=60"))
    client.expect_response(200, b"other")
    t.hit(b"other")
    assert cache_of(t).store.entries == 1
    is_clean(t)


def test_a_whole_in_its_place(talk: Start) -> None:
    t = talk()
    store_part(t, 0, 4)
    client = t.ask()
    t.answer(ok(b"other", b"Cache-Control: max-age=60", b'ETag: "b"'))
    client.expect_response(200, b"other")
    t.hit(b"other")
    assert cache_of(t).store.entries == 1  # the part is gone


@pytest.mark.usefixtures("nothing_goes_round")
def test_a_rest_that_is_cut(talk: Start) -> None:
    t = talk()
    store_part(t, 0, 4)
    client = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(partial(5, 9, b'ETag: "a"')[:-2])
    connection.close()
    t.scenario.advance(0)
    client.expect_head(200)
    client.expect_body(BODY[:8])
    client.expect_unfinished()
    is_clean(t)
    t.hit(BODY[:5], b"/", b"Range: bytes=0-4", status=206)


def test_a_purge_while_a_part_comes(talk: Start) -> None:
    t = talk()
    client = t.ask(b"/", b"Range: bytes=0-4")
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(partial(0, 4)[:-2])
    cache = cache_of(t)
    cache.store.purge_all().finish()
    connection.send(partial(0, 4)[-2:])
    client.expect_response(206, BODY[:5])
    assert (cache.store.entries, cache.store.filling) == (0, 0)


@pytest.mark.parametrize("field", [b"Range: bytes=99-", b"If-None-Match: x", b"If-Modified-Since: x"])
@pytest.mark.parametrize("status", [b"416 Range Not Satisfiable", b"412 Precondition Failed", b"404 Not Found"])
def test_what_answers_the_clients_own_conditions_is_its_own(talk: Start, field: bytes, status: bytes) -> None:
    t = talk('{ ttl = { any = "1m" } }')
    mine = t.ask()  # what is not for all: from now on conditions go as they come
    t.answer(ok(b"mine", b"Cache-Control: private"))
    mine.expect_response(200, b"mine")
    client = t.ask(b"/", field)
    t.answer(ok(b"no", b"Cache-Control: public, max-age=60", status=status))
    client.expect_response(int(status[:3]), b"no")
    t.miss().close()
