"""Conversations through a cache: a configuration in a line, and what clients and the backend say."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from attrs import define

from revproxy.cache.fill import Fill
from revproxy.cache.handler import Cache
from revproxy.testing import Backend, Client, Connection, Message, Scenario
from tests.kit import ADDRESS, get, ok, toml

Play = Callable[..., Scenario]


def config(cache: str = "{}", upstream: str = "", route: str = "", more: str = "") -> str:
    """A configuration whose only route has this ``cache``."""
    return toml(upstream=upstream, route=f'upstream = "app"\ncache = {cache}\n{route}', more=more)


@define
class Talk:
    """A scenario with one backend that answers in the order it is asked."""

    scenario: Scenario
    backend: Backend

    def client(self) -> Client:
        return self.scenario.client()

    def ask(self, path: bytes = b"/", *fields: bytes, client: Client | None = None, method: bytes = b"GET") -> Client:
        """A client sends a request."""
        client = client or self.client()
        client.send(get(path, *fields, method=method))
        return client

    @property
    def asked(self) -> int:
        """Requests that the backend got."""
        return sum(connection.received.count(b" HTTP/1.1\r\n") for connection in self.backend.connections)

    def busy(self) -> Connection:
        """The connection with a request that was not read yet."""
        return next(connection for connection in reversed(self.backend.connections) if connection.unread)

    def store(self, body: bytes = b"body", *fields: bytes, path: bytes = b"/", asked: tuple[bytes, ...] = ()) -> None:
        """A response comes into the store."""
        client = self.ask(path, *asked)
        self.answer(ok(body, *(fields or (b"Cache-Control: max-age=60",))), path)
        client.expect_response(200, body)

    def answer(self, response: bytes, path: bytes = b"/", method: bytes = b"GET", **headers: bytes | None) -> Message:
        """The backend gets a request and answers it."""
        connection = self.busy()
        request = connection.expect_request(
            method, path, headers={name.replace("_", "-").encode(): value for name, value in headers.items()}
        )
        connection.send(response)
        return request

    def hit(self, body: bytes = b"body", path: bytes = b"/", *fields: bytes, status: int = 200) -> Message:
        """A request that is answered without the backend."""
        asked = self.asked
        client = self.ask(path, *fields)
        response = client.expect_response(status, body)
        assert self.asked == asked, self.scenario.conversation()
        status_field = response.all(b"Cache-Status")
        assert not status_field or b"; hit" in status_field[-1], status_field
        return response

    def miss(self, path: bytes = b"/", *fields: bytes) -> Client:
        """A request for which the backend is asked."""
        asked = self.asked
        client = self.ask(path, *fields)
        assert self.asked == asked + 1, self.scenario.conversation()
        client.expect_nothing()
        return client


@pytest.fixture
def talk(play_once: Play) -> Iterator[Callable[..., Talk]]:
    """Return what starts a conversation of a cache table (and, by name, other lines of the configuration)."""
    made: list[Scenario] = []

    def start(cache: str = "{}", scenario: Scenario | None = None, **lines: str) -> Talk:
        scenario = scenario or play_once(config(cache, **lines))
        made.append(scenario)
        return Talk(scenario, scenario.backend(ADDRESS))

    yield start
    for scenario in made:
        for upstream in scenario.engine.table.upstreams.values():
            for backend in upstream.backends:
                assert backend.active == 0 or scenario.engine.connections, scenario.conversation()


def cache_of(talk: Talk) -> Cache:
    handler = talk.scenario.engine.table.routes[0].handler
    assert isinstance(handler, Cache)
    return handler


def is_clean(talk: Talk) -> None:
    """Nothing of what went on is left in the cache, nor in the store's sums, nor in memory."""
    cache = cache_of(talk)
    for client in talk.scenario._clients:
        if client.gone:
            client.transport = None  # type: ignore[assignment]  # it knows the connection, that its last exchange
    fills = [each for each in gc.get_objects() if isinstance(each, Fill)]
    assert not [fill for fill in fills if fill._cache is cache], "of this cache; others' tests have theirs"
    assert not cache._fills
    assert len(cache.pending) == 0
    assert (cache.store.filling, cache.store.held) == (0, 0)
    for upstream in talk.scenario.engine.table.upstreams.values():
        assert [backend.active for backend in upstream.backends] == [0] * len(upstream.backends)


@pytest.fixture
def nothing_goes_round() -> Iterator[None]:
    """What is over is freed at once: no fill is kept by itself until the collector comes."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
