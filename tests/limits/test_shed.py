"""The share of refused requests, alone and against a model of a server that can do so much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists

from revproxy.limits.shed import MOST, PATIENCE, TICK, Controller, Share


def test_a_share_is_spread_evenly() -> None:
    share = Share()
    share.part = 0.25
    assert [share.takes() for _ in range(12)] == [False, False, False, True] * 3
    assert not any(Share().takes() for _ in range(10))


@given(floats(0, MOST))
def test_as_many_are_taken_as_the_share_says(part: float) -> None:
    share = Share()
    share.part = part
    assert abs(sum(share.takes() for _ in range(500)) - 500 * part) <= 1.001


@given(lists(floats(0, 1e9), max_size=200))
def test_shares_stay_within_bounds(pressures: list[float]) -> None:
    controller = Controller()
    for pressure in pressures:
        controller.low.asked = controller.normal.asked = True
        controller.tick(pressure)
        assert 0 <= controller.normal.part <= MOST
        assert 0 <= controller.low.part <= MOST
        assert controller.active == bool(controller.normal.part or controller.low.part)


@given(lists(floats(0, 1), max_size=200))
def test_what_is_allowed_refuses_nobody(pressures: list[float]) -> None:
    controller = Controller()
    for pressure in pressures:
        controller.normal.asked = True
        controller.tick(pressure)
        assert not controller.active


def test_a_moment_refuses_nobody() -> None:
    controller = Controller()
    for _ in range(20):
        for pressure in [9.0] * (round(PATIENCE / TICK) - 1) + [0.9]:
            controller.normal.asked = True
            controller.tick(pressure)
            assert not controller.active
    for _ in range(round(PATIENCE / TICK)):
        controller.tick(1.1)
    assert controller.active


def test_one_long_stall_refuses_nobody() -> None:
    controller = Controller()
    controller.tick(9.0, 2.0)
    assert not controller.active
    controller.tick(9.0, 2.0)
    assert controller.active


class Server:
    """Serves ``capacity`` requests a second, a refusal costing a twentieth; its lag is what waits."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.controller = Controller()
        self.work = 0.0
        self.refused = {"normal": 0, "low": 0}
        self.asked = {"normal": 0, "low": 0}
        self._due = {"normal": 0.0, "low": 0.0}

    def run(self, seconds: float, normal: float = 0, low: float = 0) -> list[tuple[float, float]]:
        """Let so many requests a second come; the lag in seconds and the share of normal ones at each tick."""
        seen = []
        for _ in range(round(seconds / TICK)):
            for kind, rate in (("normal", normal), ("low", low)):
                share = getattr(self.controller, kind)
                self._due[kind] += rate * TICK
                while self._due[kind] >= 1:
                    self._due[kind] -= 1
                    self.asked[kind] += 1
                    refused = share.takes()
                    self.refused[kind] += refused
                    self.work += 0.05 if refused else 1.0
            self.work = max(0.0, self.work - self.capacity * TICK)
            lag = self.work / self.capacity
            self.controller.tick(lag / 0.1)
            seen.append((lag, self.controller.normal.part))
        return seen


@pytest.mark.parametrize("times", [1.2, 1.5, 3, 5])
def test_an_overloaded_server_keeps_its_lag_and_its_work(times: float) -> None:
    server = Server(1000)
    server.run(8, normal=1000 * times)
    settled = server.run(10, normal=1000 * times)
    assert all(0.05 < lag < 0.2 for lag, _ in settled)
    shares = [share for _, share in settled]
    # it does not flap: what would be right is 1 - 1 / times, and some more for what refusals cost
    right = (times - 1) / (times * 0.95)
    assert max(shares) - min(shares) < 0.1
    assert sum(shares) / len(shares) == pytest.approx(right, abs=0.02)


def test_it_ends_with_the_overload() -> None:
    server = Server(1000)
    server.run(5, normal=3000)
    assert server.controller.active
    server.run(5, normal=500)
    assert not server.controller.active
    before = dict(server.refused)
    server.run(10, normal=900)
    assert server.refused == before


def test_what_matters_less_goes_first() -> None:
    server = Server(1000)
    server.run(10, normal=800, low=1500)
    assert server.refused["low"] > 0.7 * server.asked["low"]
    assert server.refused["normal"] < 0.08 * server.asked["normal"]


def test_without_low_ones_normal_ones_are_refused() -> None:
    server = Server(1000)
    server.run(3, normal=2000)
    assert server.refused["normal"] > 0
