"""Everything at once, by chance: bodies that say whose they are, and a store whose sum is exact in the end."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from revproxy.cache.purging import Purger
from revproxy.config.model import Middleware
from revproxy.testing import Client, Connection, Scenario
from tests.cache.talk import Talk, cache_of, config, is_clean
from tests.cache.test_store import counted
from tests.kit import ADDRESS, get, hooked

LIFETIME = 5.0
SLACK = 1.0  # an age is whole seconds
PATHS = 5
SIZES = [10, 3000, 70_000, 200_000, 400_000]
CACHES = ['{ size = "2MB", largest = "300KB" }', '{ size = "4MB", largest = "300KB", grace = "3s" }', "{}"]
FIELDS: list[tuple[bytes, ...]] = [
    (), (), (b"Accept-Encoding: gzip",), (b"Cache-Control: no-cache",), (b"Cache-Control: no-store",),
    (b"Cache-Control: no-transform", b"Accept-Encoding: gzip"), (b"Range: bytes=3-20",), (b"Range: bytes=-30",),
    (b'If-None-Match: "0"',), (b"Authorization: x",),
]  # fmt: skip


class _Steps:
    """Does the steps of a purge at once, as :func:`cooperate` does them later."""

    def __call__(self, steps: Any) -> _Steps:
        for _ in steps:
            pass
        return self

    def whenDone(self) -> Deferred[None]:
        return Deferred()


class Mixture:
    """A talk that goes on by chance. :ivar wrong: what should not have been."""

    def __init__(self, seed: int) -> None:
        self.random = chance = random.Random(seed)
        self.waits: list[Deferred[None]] = []
        points = [
            Middleware(at=at, call=self.hook, timeout=None)
            for at in ("client-request", "backend-response", "client-response")
        ]
        route = chance.choice(["", "compress = { gzip = 1 }"])
        text = config(chance.choice(CACHES), route=route)
        scenario = Scenario(hooked(text, *points) if chance.random() < 0.5 else hooked(text))
        self.scenario = scenario
        self.talk = Talk(scenario, scenario.backend(ADDRESS))
        self.purger = Purger(scenario.engine.table, _Steps())
        self.version = [0] * PATHS
        self.floor = [0] * PATHS  # below this it was purged
        self.ended: dict[tuple[int, int], float] = {}
        self.asked: dict[Connection, tuple[bytes, int, int, bytes, bytes]] = {}
        self.clients: list[tuple[Client, bytes, int, int, float, bytes]] = []
        self.wrong: list[str] = []
        self.answers = 0

    def hook(self, exchange: Any) -> Deferred[None] | None:
        if self.random.random() < 0.8:
            return None
        waiting: Deferred[None] = Deferred()
        self.waits.append(waiting)
        return waiting

    def now(self) -> float:
        return self.scenario.engine.reactor.seconds()

    def change(self, path: int) -> None:
        self.ended[path, self.version[path]] = self.now()
        self.version[path] += 1

    def body(self, path: int, version: int, language: bytes) -> bytes:
        piece = b"%d:%06d:%b;" % (path, version, language)
        return piece * (SIZES[path] // len(piece) + 1)

    # -- clients

    def ask(self, path: int) -> None:
        chance = self.random
        method = chance.choice([b"GET"] * 8 + [b"HEAD", b"POST"])
        language = chance.choice([b"de", b"en"])
        fields: tuple[bytes, ...] = (b"Content-Length: 0",) if method == b"POST" else chance.choice(FIELDS)
        client = self.scenario.client()
        if chance.random() < 0.2:
            client.stop_reading()
        self.clients.append((client, method, path, self.floor[path], self.now(), language))
        client.send(get(b"/%d" % path, b"Accept-Language: " + language, *fields, method=method))

    def look(self) -> None:
        """Read what is complete."""
        for each in list(self.clients):
            client, method = each[:2]
            if not client.reads or b"\r\n\r\n" not in client.unread:
                continue
            head = client.unread.partition(b"\r\n\r\n")[0]
            length = next((int(x[16:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length: ")), 0)
            bare = method == b"HEAD" or head[9:12] in (b"304", b"204")
            chunked = b"Transfer-Encoding: chunked" in head
            rest = len(client.unread) - len(head) - 4
            if (chunked and not bare and not client.unread.endswith(b"0\r\n\r\n")) or (rest < length and not bare):
                continue
            self.clients.remove(each)
            message = client.expect_response(int(head[9:12]), head=method == b"HEAD")
            self.answers += 1
            self.judge(message, *each[1:])

    def judge(self, message: Any, method: bytes, path: int, floor: int, since: float, language: bytes) -> None:
        said = f"{method!r} /{path} {language!r}: {message.status} {message.all(b'Cache-Status')}"
        if message.status not in (200, 206, 304) and method != b"POST":
            self.wrong.append(f"{said}: an error")
        if method == b"POST" or message.status not in (200, 206):
            return
        version = int((message.get(b"ETag") or b'"-1"').removeprefix(b"W/").strip(b'"'))
        if version < floor:
            self.wrong.append(f"{said}: version {version} was purged, {floor} is the first")
        if b"; hit" in (message.all(b"Cache-Status") or [b""])[-1]:
            late = since - self.ended.get((path, version), since) - LIFETIME - SLACK - 3  # and the grace
            if late > 0:
                self.wrong.append(f"{said}: version {version} ended {late} s too long ago")
        body, whole = message.body, self.body(path, version, language)
        coded = message.get(b"Content-Encoding")
        if method == b"HEAD":
            return
        if message.status == 200:
            if coded:
                body = zlib.decompress(body, 31)
            if body != whole:
                self.wrong.append(f"{said}: {body[:30]!r} ({len(body)}) instead of {whole[:30]!r} ({len(whole)})")
        elif not coded and body not in (whole[3:21], whole[-30:]):
            self.wrong.append(f"{said}: a part {body!r}")

    # -- the backend

    def hear(self) -> None:
        for connection in self.talk.backend.connections:
            if connection.unread and connection not in self.asked and not connection.gone:
                head = connection.unread
                connection._at = len(connection.received)
                method, target = head.split(b" ")[:2]
                lines = {a.lower(): b for a, _, b in (line.partition(b": ") for line in head.split(b"\r\n"))}
                path = int(target[1:])
                self.asked[connection] = (
                    method, path, self.version[path], lines[b"accept-language"], lines.get(b"if-none-match", b""),
                )  # fmt: skip

    def answer(self, connection: Connection) -> None:
        method, path, version, language, known = self.asked.pop(connection)
        if connection.gone:
            return
        tag = b'"%d"' % version
        head = b"ETag: %b\r\nCache-Control: max-age=%d\r\nVary: Accept-Language\r\nCache-Tag: t%d\r\n" % (
            tag, LIFETIME, path,
        )  # fmt: skip
        if method == b"POST":
            self.change(path)
            connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.floor[path] = self.version[path]
        elif known.removeprefix(b"W/") == tag:
            connection.send(b"HTTP/1.1 304 Not Modified\r\n%b\r\n" % head)
        else:
            body = self.body(path, version, language)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + head
            if self.random.random() < 0.3 and method != b"HEAD":
                response = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            else:
                response = head + b"Content-Length: %d\r\n\r\n" % len(body) + (b"" if method == b"HEAD" else body)
            at = self.random.choice([len(response), 40_000, len(head) + 20])
            connection.send(response[:at])
            self.scenario.advance(0)
            if response[at:] and not connection.gone:
                connection.send(response[at:])

    # -- what happens

    def step(self) -> None:
        chance = self.random
        path, what = chance.randrange(PATHS), chance.random()
        if what < 0.5:
            self.ask(path)
        elif what < 0.6:
            self.change(path)
        elif what < 0.64:
            self.ask(path)
            self.hear()  # it is asked for what is purged before it comes
            self.change(path)
            self.floor[path] = self.version[path]
            if chance.random() < 0.5:
                self.purger.purge(f"http://example.com/{path}")
            else:
                self.purger.purge_tag(f"t{path}")
            for connection in list(self.asked):
                self.answer(connection)
            self.ask(path)
        elif what < 0.66:
            self.purger.purge_all(soft=chance.random() < 0.8)
        elif what < 0.76 and self.clients:
            client = chance.choice(self.clients)[0]
            if chance.random() < 0.3:
                self.clients = [each for each in self.clients if each[0] is not client]
                client.reset()
            elif not client.reads:
                client.resume_reading()
        elif what < 0.82:
            self.scenario.advance(chance.choice([0.5, 3, 20]))
        elif self.waits:
            waiting = self.waits.pop(chance.randrange(len(self.waits)))
            if not waiting.called:
                waiting.callback(None)
        self.settle()

    def settle(self) -> None:
        self.hear()
        for connection in list(self.asked):
            if connection.gone or self.random.random() < 0.35:
                self.answer(connection)
        self.scenario.advance(0.001)
        self.look()

    def finish(self) -> None:
        """Everybody gets what is to come; then all leave."""
        for client, *_ in self.clients:
            if not client.reads:
                client.resume_reading()
        for _ in range(200):
            for waiting in self.waits:
                if not waiting.called:
                    waiting.callback(None)
            self.waits.clear()
            self.settle()
            self.scenario.advance(0.01)
        for client, *what in self.clients:
            if not client.ended:  # who reads too slowly is cut
                self.wrong.append(f"no answer for {what}: {client.unread[-300:]!r}")
        for client in self.scenario._clients:
            client.reset()
        self.scenario.advance(1)


def mix(seed: int, steps: int) -> None:
    mixture = Mixture(seed)
    for _ in range(steps):
        mixture.step()
    mixture.finish()
    assert not mixture.wrong, mixture.wrong[:5]
    assert not mixture.scenario.errors
    assert mixture.answers > steps / 5
    store = cache_of(mixture.talk).store
    assert store.bytes == counted(store) and (store.pinned, store.held, store.filling) == (0, 0, 0)
    is_clean(mixture.talk)


@pytest.mark.parametrize("seed", range(6))
def test_by_chance(seed: int) -> None:
    mix(seed, 120)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_by_chance_for_long(seed: int) -> None:
    mix(seed, 400)
