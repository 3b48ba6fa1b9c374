"""What all tests share: the report of real peers, and the fixture that asks for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.peers import REQUIRE, find_peer, peers_required, report

# The same examples each time, and no verdict on how busy the machine is.
settings.register_profile("revproxy", derandomize=True, deadline=None)
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
