"""What the pages about upstreams say, driven: figures, log lines, policies and sources of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from revproxy import Upstream
from revproxy.config import model
from revproxy.config.load import build
from revproxy.config.upstreams import Breaker
from revproxy.upstream.backend import DRAINED, DRAINING, EJECTED, GONE, TRIAL
from revproxy.upstream.breaker import CircuitBreaker
from tests.drive import World
from tests.test_docs import BLOCKS, Block, completed, document_modules  # noqa: F401  # the last is a fixture
from tests.test_docs_reference import code, read, table_after
from tests.upstream.balance.kit import KINDS, group, make
from tests.upstream.test_simulation import Run, any_key, first_is_slow


def fragment(file: str, says: str) -> Block:
    (block,) = (b for b in BLOCKS if b.file == f"docs/{file}" and b.language == "toml" and says in b.text)
    return block


def namespace(file: str, monkeypatch: pytest.MonkeyPatch, **others: Any) -> dict[str, Any]:
    """What the blocks of Python of a page define."""
    defined: dict[str, Any] = {"__name__": "documented", **others}
    for block in BLOCKS:
        if block.file == f"docs/{file}" and block.language == "python":
            exec(compile(block.text, str(block), "exec"), defined)
    return defined


# -- balancing.rst


def test_figures_are_those_of_the_simulation() -> None:
    rows = table_after(read("balancing.rst"), ".. simulation")
    assert [code(row[0]) for row in rows] == list(KINDS)
    for kind, *figures in rows:
        run = Run(make(code(kind)), group(*[1] * 10), rate=2200, count=8000, slowness=first_is_slow, keys=any_key)
        measured = [f"{run.percentile(part) * 1000:.0f} ms" for part in (0.5, 0.95, 0.99)]
        assert figures == [*measured, f"{run.share('a'):.1%}"], kind


@pytest.fixture
def operated(tmp_path: Path, document_modules: Any) -> World:  # noqa: F811  # a fixture
    block = fragment("balancing.rst", "operators:backends")
    document_modules(block)
    config, found = build(completed(block.text, tmp_path))
    assert not found
    return World(config)


def operator(world: World, target: str, method: str = "GET") -> str:
    return world.get(target, "operators.internal", method=method, peer="127.0.0.1").decode().partition("\r\n\r\n")[2]


def test_operators_drain_and_resume(operated: World) -> None:
    one, other = "tcp:10.0.0.1:9000", "tcp:10.0.0.2:9000"
    assert operator(operated, "/app/") == f"{one} up 0 in flight\n{other} up 0 in flight\n"
    assert operator(operated, f"/app/drain?{one}", "POST").startswith(f"{one} drained 0 in flight\n")
    operated.dialled.clear()
    for _ in range(4):
        assert operated.get("/").startswith(b"HTTP/1.1 200 ")
    assert set(operated.dialled) == {"10.0.0.2:9000"}
    assert operator(operated, f"/app/resume?{one}", "POST").startswith(f"{one} up ")
    for _ in range(4):
        operated.get("/")
    assert "10.0.0.1:9000" in operated.dialled
    assert operator(operated, "/app/drain?tcp:10.0.0.3:9000", "POST") == "no such upstream or backend\n"
    assert operator(operated, "/none/") == "no such upstream or backend\n"


def test_operators_are_at_this_machine(operated: World) -> None:
    assert b"in flight" not in operated.get("/app/", "operators.internal")


# -- health.rst


def test_the_breaker_says_what_is_documented() -> None:
    breaker = CircuitBreaker(Breaker())
    lines = []
    for asked in (1, 3, 5, 7, 9, 11, 13, 15, 17, 20):
        if breaker.failed(0.0, asked):
            lines.append(f"open: {breaker.why}")
    assert not any(breaker.admit(5.0) for _ in range(3))
    lines.append(f"half-open: {breaker.why}")
    lines += [f"closed: {breaker.why}" for _ in range(3) if breaker.succeeded()]
    block = next(b for b in BLOCKS if b.file == "docs/health.rst" and "circuit breaker" in b.text)
    assert block.text.splitlines() == [f"upstream reports: the circuit breaker is {line}" for line in lines]


def test_states_are_those_of_a_backend() -> None:
    backends = (model.Backend(endpoint="tcp:10.0.0.1:1"),)
    (one,) = Upstream("app", model.Upstream(backends=backends), MemoryReactorClock()).backends
    states = [one.state]
    one.checked = False
    states.append(one.state)
    one.checked = True
    for health in (EJECTED, TRIAL):
        one.health = health
        states.append(one.state)
    for duty in (DRAINING, DRAINED, GONE):
        one.duty = duty
        states.append(one.state)
    assert [row[0] for row in table_after(read("health.rst"), "States")] == states


# -- discovery.rst


def test_a_source_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    status = 200
    answer = [{"Service": {"Address": "10.0.0.1", "Port": 9000}}, {"Service": {"Address": "10.0.0.2", "Port": 9000}}]
    defined = namespace("discovery.rst", monkeypatch)
    defined["readBody"] = lambda response: succeed(json.dumps(answer).encode())

    def request(method: bytes, url: bytes) -> Any:
        asked.append(url)
        return succeed(SimpleNamespace(code=status))

    clock = MemoryReactorClock()
    source = defined["consul"]("app", SimpleNamespace(request=request), clock)
    upstream = Upstream("app", model.Upstream(), clock, sources=[source])
    upstream.start()
    assert [one.name for one in upstream.backends] == ["tcp:10.0.0.1:9000", "tcp:10.0.0.2:9000"]
    del answer[0]
    clock.advance(5)
    assert [one.name for one in upstream.backends] == ["tcp:10.0.0.2:9000"]
    status = 500
    clock.advance(5)
    assert len(asked) == 3
    assert [one.name for one in upstream.backends] == ["tcp:10.0.0.2:9000"]
    upstream.close()
    assert not [call for call in clock.getDelayedCalls() if call.active()]


def test_a_source_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    source = namespace("discovery.rst", monkeypatch)["Pushed"]()
    clock: Any = Clock()
    upstream = Upstream("app", model.Upstream(), clock, sources=[source])
    upstream.start()
    assert upstream.pending
    source.told(["tcp:10.0.0.1:9000"])
    assert [one.name for one in upstream.backends] == ["tcp:10.0.0.1:9000"]
    upstream.close()
    source.told(["tcp:10.0.0.2:9000"])
    assert [one.name for one in upstream.backends] == ["tcp:10.0.0.1:9000"]
