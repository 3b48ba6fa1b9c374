"""Backends from SRV records."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from revproxy.config import model
from revproxy.upstream.discovery.nameserver import NoSuchName
from revproxy.upstream.discovery.report import NoAnswer
from revproxy.upstream.discovery.srv import SrvSource, weights
from tests.upstream.discovery.kit import Watched, Zone, logged, lookup, message

NAME = "_http._tcp.api.internal"
SRV = (NAME, "SRV")


class Scene(Watched):
    def __init__(self, log: list[str]):
        self.zone = Zone()
        clock = Clock()
        super().__init__(SrvSource(model.Srv(name=NAME), clock, lookup(self.zone, clock)), clock, log)

    def says(self, *lines: str, ttl: int = 60, additional: tuple[str, ...] = ()) -> None:
        self.zone.says[SRV] = message(*[f"{NAME} {ttl} SRV {line}" for line in lines], additional=additional)

    def host(self, name: str, *addresses: str, ttl: int = 60) -> None:
        self.zone.says[name, "A"] = [f"{name} {ttl} A {address}" for address in addresses]

    def found(self) -> list[tuple[str, int, int]]:
        return [(backend.endpoint, backend.weight, backend.backup) for backend in self.told[-1]]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with logged() as lines:
        yield Scene(lines)


def test_priorities_are_tiers_and_weights_weights(scene: Scene) -> None:
    scene.says("20 0 9002 c.internal", "10 60 9000 a.internal", "10 20 9001 b.internal", "35 5 80 d.internal.")
    for index, name in enumerate("abcd", 1):
        scene.host(f"{name}.internal", f"10.0.0.{index}")
    scene.start()
    assert scene.found() == [
        ("tcp:10.0.0.1:9000", 3, 0),
        ("tcp:10.0.0.2:9001", 1, 0),
        ("tcp:10.0.0.3:9002", 1, 1),
        ("tcp:10.0.0.4:80", 1, 2),
    ]
    assert scene.source.hosts == {
        "tcp:10.0.0.1:9000": "a.internal",
        "tcp:10.0.0.2:9001": "b.internal",
        "tcp:10.0.0.3:9002": "c.internal",
        "tcp:10.0.0.4:80": "d.internal",
    }
    assert scene.log == []


def test_no_more_than_256_are_taken_the_first_tiers_first(scene: Scene) -> None:
    scene.says("2 1 9000 b.internal", "1 1 9000 a.internal", "3 1 9000 c.internal")
    for index, name in enumerate("abc"):
        scene.host(f"{name}.internal", *[f"10.{index}.{number // 200}.{number % 200 + 1}" for number in range(200)])
    scene.start()
    assert [tier for _, _, tier in scene.found()] == [0] * 200 + [1] * 56
    assert scene.log == [f"srv {NAME}: 400 backends; the first 256 are used"]


def test_tiers_end_at_nine(scene: Scene) -> None:
    scene.says(*[f"{number} 1 {9000 + number} a.internal" for number in range(12)])
    scene.host("a.internal", "10.0.0.1")
    scene.start()
    assert [tier for _, _, tier in scene.found()] == [*range(10), 9, 9]


def test_the_addresses_of_a_target_share_its_weight(scene: Scene) -> None:
    scene.says("1 10 9000 a.internal", "1 10 9000 b.internal")
    scene.host("a.internal", "10.0.0.1", "10.0.0.2")
    scene.host("b.internal", "10.0.0.3")
    scene.start()
    assert [weight for _, weight, _ in scene.found()] == [1, 1, 2]


def test_an_address_in_several_records_counts_once(scene: Scene) -> None:
    scene.says("1 2 9000 a.internal", "1 2 9000 b.internal", "1 4 9001 a.internal", "2 7 9000 a.internal")
    scene.host("a.internal", "10.0.0.1")
    scene.host("b.internal", "10.0.0.1")
    scene.start()
    assert scene.found() == [("tcp:10.0.0.1:9000", 1, 0), ("tcp:10.0.0.1:9001", 1, 0)]


def test_addresses_that_come_along_are_used(scene: Scene) -> None:
    scene.says(
        "1 1 9000 a.internal",
        "1 1 9000 b.internal",
        additional=("A.internal 20 A 10.0.0.1", "a.internal 30 AAAA fd00::1", "b.internal 60 A 0.0.0.0"),
    )
    scene.host("b.internal", "10.0.0.2")
    scene.start()
    assert [endpoint for endpoint, _, _ in scene.found()] == [
        "tcp:10.0.0.1:9000",
        "tcp:10.0.0.2:9000",
        r"tcp:fd00\:\:1:9000",
    ]
    assert {name for name, _ in scene.zone.asked} == {NAME, "b.internal"}
    assert scene.next_in() == 20


def test_the_least_ttl_of_all_counts(scene: Scene) -> None:
    scene.says("1 1 9000 a.internal", ttl=60)
    scene.host("a.internal", "10.0.0.1", ttl=40)
    scene.start()
    assert scene.next_in() == 40
    scene.says("1 1 9000 a.internal", ttl=30)
    scene.clock.advance(40)
    assert scene.next_in() == 30


@pytest.mark.parametrize("lines", [("0 0 0 .",), ("1 1 0 a.internal",)])
def test_a_service_that_is_not_available_is_an_error(scene: Scene, lines: tuple[str, ...]) -> None:
    scene.says("1 1 9000 a.internal")
    scene.host("a.internal", "10.0.0.1")
    scene.start()
    scene.says(*lines)
    scene.clock.advance(60)
    assert len(scene.told) == 1
    assert scene.log == [f'srv {NAME}: the service is not available (target "."); the last answer is kept (1 backend)']


@pytest.mark.parametrize(
    ("said", "text"), [([], "no SRV records"), (NoSuchName("NXDOMAIN"), "NXDOMAIN"), (NoAnswer("REFUSED"), "REFUSED")]
)
def test_no_records_are_an_error(scene: Scene, said: Any, text: str) -> None:
    scene.says("1 1 9000 a.internal")
    scene.host("a.internal", "10.0.0.1")
    scene.start()
    scene.zone.says[SRV] = said
    scene.clock.advance(60)
    scene.clock.advance(60)
    assert len(scene.told) == 1
    assert scene.log == [f"srv {NAME}: {text}; the last answer is kept (1 backend)"]


def test_a_target_that_fails_keeps_its_addresses(scene: Scene) -> None:
    scene.says("1 1 9000 a.internal", "1 1 9000 b.internal")
    scene.host("a.internal", "10.0.0.1")
    scene.host("b.internal", "10.0.0.2")
    scene.start()
    scene.zone.says["a.internal", "A"] = scene.zone.says["a.internal", "AAAA"] = NoAnswer("SERVFAIL")
    scene.clock.advance(60)
    assert len(scene.told) == 1
    assert scene.next_in() == 5
    assert scene.log == []


def test_a_target_that_never_was_is_left_out(scene: Scene) -> None:
    scene.says("1 1 9000 a.internal", "2 1 9000 b.internal")
    scene.zone.says["a.internal", "A"] = scene.zone.says["a.internal", "AAAA"] = NoSuchName("NXDOMAIN")
    scene.host("b.internal", "10.0.0.2")
    scene.start()
    assert scene.found() == [("tcp:10.0.0.2:9000", 1, 0)]


def test_no_target_at_all_is_an_error(scene: Scene) -> None:
    scene.says("1 1 9000 a.internal")
    scene.start()
    assert scene.told == []
    assert scene.log == [f"srv {NAME}: a.internal: no addresses; there is none yet"]


def test_order_alone_is_nothing_new(scene: Scene) -> None:
    scene.host("a.internal", "10.0.0.1", "10.0.0.2")
    scene.says("1 1 9000 a.internal", "2 1 9001 a.internal")
    scene.start()
    scene.host("a.internal", "10.0.0.2", "10.0.0.1")
    scene.says("2 1 9001 a.internal", "1 1 9000 a.internal")
    scene.clock.advance(60)
    assert len(scene.told) == 1


def test_stop_cancels_all_that_is_asked(scene: Scene) -> None:
    cancelled: list[Deferred[Any]] = []
    scene.says(*[f"1 1 9000 h{number}.internal" for number in range(20)])
    for number in range(20):
        scene.zone.says[f"h{number}.internal", "A"] = Deferred(cancelled.append)
    scene.start()
    asked = len(scene.zone.asked)
    scene.source.stop()
    assert len(cancelled) == 8
    assert len(scene.zone.asked) == asked == 1 + 2 * 8
    assert scene.clock.getDelayedCalls() == []
    assert scene.log == []


@given(st.lists(st.fractions(min_value=Fraction(1, 300), max_value=65535), min_size=1, max_size=50))
def test_weights_are_small_and_in_proportion(shares: list[Fraction]) -> None:
    found = weights(shares)
    assert all(1 <= weight <= 100 for weight in found)
    unit = max(found) / max(shares)
    for share, weight in zip(shares, found, strict=True):
        assert weight == 1 or abs(float(share * unit) - weight) <= 1


def test_weights_are_exact_where_that_fits() -> None:
    assert weights([Fraction(10), Fraction(20), Fraction(5, 2)]) == [4, 8, 1]
    assert weights([Fraction(65535), Fraction(65535)]) == [1, 1]
    assert weights([Fraction(65535), Fraction(1)]) == [100, 1]


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError):
        SrvSource(model.Srv(name="a b"), Clock())
