"""What all tests share: the report of real peers, and the fixture that asks for one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

from revproxy.config.model import Config
from revproxy.testing import Scenario
from tests.examples import examples
from tests.kit import load, logged
from tests.peers import REQUIRE, find_peer, peers_required, report

PASSED = pytest.StashKey[bool]()

# The same examples each time, and no verdict on how busy the machine is.
settings.register_profile("revproxy", derandomize=True, deadline=None, max_examples=examples(100))
settings.load_profile("revproxy")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say at the top which peers are present; what they are absent for is skipped."""
    return report()


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Return a function from the name of a peer to the path of its command; absent, it skips or fails the test."""

    def find(name: str) -> str:
        path = find_peer(name)
        if path is None:
            if peers_required():
                pytest.fail(f"{name} is not installed, and {REQUIRE}=1 asks for it", pytrace=False)
            pytest.skip(f"the real peer {name} is not installed")
        return path

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport]:
    """Remember whether a test passed, for fixtures that check what it left behind."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


#: Where it matters how bytes were cut: what reads them. Elsewhere the cuts are for `make test-all`.
_WIRE = ("tests/downstream/", "tests/scenarios/", "tests/upstream/test_http1.py", "tests/handlers/test_forward.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark conversations byte by byte as slow where nothing is read."""
    for item in items:
        call = getattr(item, "callspec", None)
        if call is not None and call.params.get("play") in ("client", "backend") and not item.nodeid.startswith(_WIRE):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the collector of garbage ten thousand tests, which stay to the end: all its rounds would be long."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(params=["whole", "client", "backend"])
def play(request: pytest.FixtureRequest) -> Iterator[Callable[..., Scenario]]:
    """Return what makes a scenario of a configuration; every test with it also runs byte by byte on each side."""
    yield from _scenarios(request, "" if request.param == "whole" else request.param)


@pytest.fixture
def play_once(request: pytest.FixtureRequest) -> Iterator[Callable[..., Scenario]]:
    """As ``play``, for conversations in which it does not matter how bytes were cut."""
    yield from _scenarios(request, "")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines that upstreams log of their backends, as they come."""
    with logged("revproxy.upstream.group", "revproxy.upstream.members", "revproxy.upstream.watch") as texts:
        yield texts


def _scenarios(request: pytest.FixtureRequest, single_bytes: str) -> Iterator[Callable[..., Scenario]]:
    made: list[Scenario] = []

    def make(config: str | Config, **options: Any) -> Scenario:
        if isinstance(config, str) and not options:
            config = load(config)
        made.append(Scenario(config, single_bytes=single_bytes, **options))
        return made[-1]

    yield make
    for scenario in made:
        if request.node.stash.get(PASSED, False):
            scenario.finish()
        else:
            scenario.forget()
