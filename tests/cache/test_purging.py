"""Taking responses out of running stores, by URL, prefix, tag, and all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from revproxy.cache.purging import Purger
from tests.cache.talk import Talk
from tests.kit import ok

Start = Callable[..., Talk]
FRESH = b"Cache-Control: max-age=60"


class _Stepped:
    """Does all the steps at once."""

    def __init__(self, steps: Any) -> None:
        self.steps = sum(1 for _ in steps)

    def whenDone(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


def purger(talk: Talk) -> Purger:
    return Purger(talk.scenario.engine.table, _Stepped)


def count(purged: Deferred[int]) -> int:
    found: list[int] = []
    purged.addCallback(found.append)
    return found[0]


def test_a_url(talk: Start) -> None:
    t = talk('{ key_headers = ["x-tenant"] }')
    for tenant in (b"a", b"b"):
        t.store(tenant, path=b"/a?b=1", asked=(b"X-Tenant: " + tenant,))
    t.store(b"other", path=b"/a?b=2")
    assert purger(t).purge("http://EXAMPLE.com:80/%61?b=1") == 2
    assert purger(t).purge("http://example.com/a?b=1") == 0
    assert purger(t).purge("https://example.com/a?b=2") == 0
    assert purger(t).purge("http://example.org/a?b=2") == 0
    t.hit(b"other", b"/a?b=2")


def test_softly(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=60", b'ETag: "a"')
    t.store(b"soon", b"Cache-Control: max-age=60, stale-while-revalidate=10", path=b"/soon")
    assert purger(t).purge("http://example.com/", soft=True) == 1
    assert purger(t).purge("http://example.com/soon", soft=True) == 1
    client = t.miss()
    t.answer(b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n", If_None_Match=b'"a"')
    client.expect_response(200, b"body")
    t.hit()
    t.ask(b"/soon").expect_response(200, b"soon")
    t.answer(ok(b"new", FRESH), b"/soon")
    t.hit(b"new", b"/soon")


@pytest.mark.parametrize("url", ["example.com/", "/a", "ftp://example.com/", "http:///a", "http://me@example.com/", ""])
def test_what_is_no_url(talk: Start, url: str) -> None:
    with pytest.raises(ValueError, match="not a URL"):
        purger(talk()).purge(url)
    with pytest.raises(ValueError, match="not a URL"):
        purger(talk()).purge_prefix(url)


def test_a_prefix(talk: Start) -> None:
    t = talk()
    for path in (b"/a/1", b"/a/2?x=1", b"/ab", b"/b?x=12", b"/b?y"):
        t.store(path, path=path)
    assert count(purger(t).purge_prefix("http://example.com/a/")) == 2
    assert count(purger(t).purge_prefix("http://example.com/b?x=1")) == 1
    t.hit(b"/ab", b"/ab")
    t.hit(b"/b?y", b"/b?y")
    t.miss(b"/a/1").close()
    assert count(purger(t).purge_prefix("http://example.com")) == 2


@pytest.mark.parametrize("soft", [False, True])
def test_a_tag(talk: Start, soft: bool) -> None:
    t = talk()
    t.store(b"a", FRESH, b"Cache-Tag: one, two", path=b"/a")
    t.store(b"b", FRESH, b"Surrogate-Key: two three", path=b"/b")
    t.store(b"c", path=b"/c")
    assert count(purger(t).purge_tag("two", soft)) == 2
    t.hit(b"c", b"/c")
    for path in (b"/a", b"/b"):
        t.miss(path).close()
    assert count(purger(t).purge_tag("none", soft)) == 0


@pytest.mark.parametrize("soft", [False, True])
def test_a_tag_of_what_is_being_asked_for(talk: Start, soft: bool) -> None:
    t = talk()
    client = t.ask()
    other = t.ask(b"/other")
    purger(t).purge_tag("two", soft)
    t.scenario.advance(1)
    for connection, path, tag in zip(t.backend.connections, (b"/", b"/other"), (b"two", b"one"), strict=True):
        connection.expect_request(b"GET", path)
        connection.send(ok(b"body", FRESH, b"Cache-Tag: " + tag))
    client.expect_response(200, b"body")
    other.expect_response(200, b"body")
    t.hit(b"body", b"/other")
    t.miss().close()


@pytest.mark.parametrize("soft", [False, True])
def test_all(talk: Start, soft: bool) -> None:
    t = talk(more='[[routes]]\nmatch = { path = "/own/*" }\nupstream = "app"\ncache = { size = "1MB" }')
    for path in (b"/a", b"/b", b"/own/c"):
        t.store(path, path=path)
    being = t.ask(b"/being")
    assert count(purger(t).purge_all(soft)) == 3
    t.scenario.advance(1)
    t.answer(ok(b"old", FRESH), b"/being")
    being.expect_response(200, b"old")
    for path in (b"/a", b"/b", b"/own/c", b"/being"):
        t.miss(path).close()


def test_a_stripped_prefix(talk: Start) -> None:
    t = talk(route='match = { path = "/api/*" }\nrewrite = { strip_prefix = "/api" }')
    for path in (b"/api", b"/api/a", b"/api/b/c"):
        client = t.ask(path)
        t.answer(ok(path, FRESH), path.removeprefix(b"/api") or b"/")
        client.expect_response(200, path)
    assert purger(t).purge("http://example.com/api/a") == 1
    assert count(purger(t).purge_prefix("http://example.com/api/b/")) == 1
    assert purger(t).purge("http://example.com/api") == 1


def test_between_other_work(talk: Start) -> None:
    """With the reactor's own way of going on."""
    t = talk()
    for number in range(3):
        t.store(b"%d" % number, path=b"/%d" % number)
    begun: list[Any] = []

    class Later(_Stepped):
        def __init__(self, steps: Any) -> None:
            begun.append(steps)

        def whenDone(self) -> Deferred[None]:
            waiting: Deferred[None] = Deferred()
            begun.append(waiting)
            return waiting

    found: list[int] = []
    Purger(t.scenario.engine.table, Later).purge_all().addCallback(found.append)
    assert not found
    for _ in begun[0]:
        pass
    begun[1].callback(None)
    assert found == [3]


def test_who_asks_after_a_purge_of_a_tag_gets_nothing_of_before(talk: Any) -> None:
    t = talk()
    before = t.miss()
    asked = t.busy()
    asked.expect_request(b"GET", b"/")
    Purger(t.scenario.engine.table).purge_tag("a")
    after = t.miss()
    asked.send(ok(b"old", b"Cache-Control: max-age=60", b"Cache-Tag: a"))
    before.expect_response(200, b"old")
    t.answer(ok(b"new", b"Cache-Control: max-age=60", b"Cache-Tag: a"))
    after.expect_response(200, b"new")
    t.hit(b"new")


def test_a_tag_of_heads_that_repeat(talk: Start) -> None:
    t = talk()
    for n in range(5):  # a pool remembers heads that come twice
        t.store(b"same", FRESH, b"Cache-Tag: t", path=b"/%d" % n)
    assert count(purger(t).purge_tag("t")) == 5
