"""Backends from A and AAAA records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from revproxy.config import model
from revproxy.upstream.discovery.dns import DnsSource
from revproxy.upstream.discovery.nameserver import NoSuchName
from revproxy.upstream.discovery.report import NoAnswer
from revproxy.upstream.discovery.system import System
from tests.upstream.discovery.kit import SERVER, Watched, Zone, logged, lookup

A, AAAA = ("api.internal", "A"), ("api.internal", "AAAA")


class Scene(Watched):
    def __init__(self, log: list[str], name: str = "api.internal:9000", system: System | None = None, **keys: Any):
        self.zone = Zone()
        clock = Clock()
        written = model.Dns(name=name, **keys)
        super().__init__(DnsSource(written, clock, lookup(self.zone, clock, system=system)), clock, log)

    def says(self, *addresses: str, ttl: int = 30, six: tuple[str, ...] = ()) -> None:
        self.zone.says[A] = [f"api.internal {ttl} A {address}" for address in addresses]
        self.zone.says[AAAA] = [f"api.internal {ttl} AAAA {address}" for address in six]

    def fails(self, error: Exception) -> None:
        self.zone.says[A] = self.zone.says[AAAA] = error


@pytest.fixture
def log() -> Iterator[list[str]]:
    with logged() as lines:
        yield lines


@pytest.fixture
def scene(log: list[str]) -> Scene:
    return Scene(log)


def test_addresses_are_backends_sorted_and_each_once(scene: Scene) -> None:
    scene.says("10.0.0.10", "10.0.0.9", "10.0.0.9", six=("fd00::2", "fd00::1"))
    scene.start()
    assert scene.told == [
        (
            model.Backend(endpoint="tcp:10.0.0.9:9000"),
            model.Backend(endpoint="tcp:10.0.0.10:9000"),
            model.Backend(endpoint=r"tcp:fd00\:\:1:9000"),
            model.Backend(endpoint=r"tcp:fd00\:\:2:9000"),
        )
    ]
    assert scene.source.host == "api.internal"
    assert scene.source.hosts == {backend.endpoint: "api.internal" for backend in scene.told[0]}
    assert sorted(scene.zone.asked) == [A, AAAA]
    assert scene.zone.servers == [(SERVER,)]
    assert scene.log == []


def test_addresses_that_nobody_has_are_left_out(scene: Scene) -> None:
    scene.says("0.0.0.0", "10.0.0.1", "224.0.0.1", six=("::", "ff02::1"))
    scene.start()
    assert scene.endpoints() == ["tcp:10.0.0.1:9000"]


def test_only_addresses_that_nobody_has_is_no_answer(scene: Scene) -> None:
    scene.says("0.0.0.0")
    scene.start()
    assert scene.told == []
    assert scene.log == ["dns api.internal: no addresses; there is none yet"]


@pytest.mark.parametrize(
    ("ttl", "wait"), [(0, 5), (4, 5), (5, 5), (30, 30), (300, 300), (301, 300), (2**31 - 1, 300), (2**31, 5)]
)
def test_the_ttl_says_when_to_ask_again_within_bounds(scene: Scene, ttl: int, wait: float) -> None:
    scene.says("10.0.0.1", ttl=ttl)
    scene.start()
    assert scene.next_in() == wait
    scene.clock.advance(wait - 0.01)
    assert len(scene.zone.asked) == 2
    scene.clock.advance(0.01)
    assert len(scene.zone.asked) == 4


def test_the_bounds_are_those_written(log: list[str]) -> None:
    scene = Scene(log, at_least=0.25, at_most=2.0)
    scene.says("10.0.0.1", ttl=0)
    scene.start()
    assert scene.next_in() == 0.25
    scene.says("10.0.0.1", ttl=60)
    scene.clock.advance(0.25)
    assert scene.next_in() == 2.0


def test_the_least_ttl_counts(scene: Scene) -> None:
    scene.zone.says[A] = ["api.internal 60 A 10.0.0.1", "api.internal 20 A 10.0.0.2"]
    scene.zone.says[AAAA] = ["api.internal 40 AAAA fd00::1"]
    scene.start()
    assert scene.next_in() == 20


def test_only_what_is_new_is_reported(scene: Scene) -> None:
    scene.says("10.0.0.1", "10.0.0.2")
    scene.start()
    scene.says("10.0.0.2", "10.0.0.1", ttl=10)
    scene.clock.advance(30)
    assert len(scene.told) == 1
    scene.says("10.0.0.2")
    scene.clock.advance(10)
    assert len(scene.told) == 2
    assert scene.endpoints() == ["tcp:10.0.0.2:9000"]
    assert scene.source.hosts == {"tcp:10.0.0.2:9000": "api.internal"}


@pytest.mark.parametrize(
    ("error", "text"),
    [(NoAnswer("SERVFAIL from 10.0.0.53"), "SERVFAIL from 10.0.0.53"), (NoSuchName("NXDOMAIN"), "NXDOMAIN")],
)
def test_an_error_keeps_the_last_answer_and_is_two_lines(scene: Scene, error: Exception, text: str) -> None:
    scene.says("10.0.0.1", "10.0.0.2", "10.0.0.3")
    scene.start()
    scene.fails(error)
    scene.clock.advance(30)
    for _ in range(20):
        scene.clock.advance(300)
    assert scene.log == [f"dns api.internal: {text}; the last answer is kept (3 backends)"]
    assert len(scene.told) == 1
    scene.says("10.0.0.1", "10.0.0.2", "10.0.0.3")
    scene.clock.advance(300)
    assert scene.log[1:] == ["dns api.internal answers again"]
    assert len(scene.told) == 1


def test_an_empty_answer_is_an_error(scene: Scene) -> None:
    scene.says("10.0.0.1")
    scene.start()
    scene.says()
    scene.clock.advance(30)
    assert len(scene.told) == 1
    assert scene.log == ["dns api.internal: no addresses; the last answer is kept (1 backend)"]


def test_errors_are_asked_again_ever_more_slowly(scene: Scene) -> None:
    scene.fails(NoAnswer("no answer from 10.0.0.53"))
    scene.start()
    waits = []
    for _ in range(9):
        waits.append(scene.next_in())
        scene.clock.advance(waits[-1] or 0)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    scene.says("10.0.0.1")
    scene.clock.advance(300)
    scene.fails(NoAnswer("SERVFAIL"))
    scene.clock.advance(30)
    assert scene.next_in() == 5


def test_a_name_that_flaps_tells_each_change_and_no_more(scene: Scene) -> None:
    scene.says("10.0.0.1")
    scene.start()
    for turn in range(6):
        if turn % 2:
            scene.says("10.0.0.1")
        else:
            scene.fails(NoAnswer("SERVFAIL"))
        scene.clock.advance(30)
    assert len(scene.told) == 1
    assert len(scene.log) == 6


def test_one_family_that_fails_keeps_its_addresses(scene: Scene) -> None:
    scene.says("10.0.0.1", six=("fd00::1",))
    scene.start()
    scene.says("10.0.0.2", ttl=60)
    scene.zone.says[AAAA] = NoAnswer("SERVFAIL")
    scene.clock.advance(30)
    assert scene.endpoints() == ["tcp:10.0.0.2:9000", r"tcp:fd00\:\:1:9000"]
    assert scene.next_in() == 60
    scene.says("10.0.0.2")
    scene.clock.advance(60)
    assert scene.endpoints() == ["tcp:10.0.0.2:9000"]
    assert scene.log == []


def test_a_family_that_is_gone_is_not_kept(scene: Scene) -> None:
    scene.says("10.0.0.1", six=("fd00::1",))
    scene.start()
    scene.zone.says[AAAA] = NoSuchName("NXDOMAIN")
    scene.clock.advance(30)
    scene.zone.says[AAAA] = NoAnswer("SERVFAIL")
    scene.clock.advance(30)
    assert len(scene.told) == 2
    assert scene.endpoints() == ["tcp:10.0.0.1:9000"]


@pytest.mark.parametrize("error", [NoAnswer("SERVFAIL"), NoSuchName("NXDOMAIN")])
def test_one_family_is_enough(scene: Scene, error: Exception) -> None:
    scene.zone.says[A] = error
    scene.zone.says[AAAA] = ["api.internal 30 AAAA fd00::1"]
    scene.start()
    assert scene.endpoints() == [r"tcp:fd00\:\:1:9000"]
    assert scene.log == []


def test_an_empty_family_beside_a_failing_one_is_an_error(scene: Scene) -> None:
    scene.says("10.0.0.1")
    scene.start()
    scene.zone.says[A] = NoAnswer("SERVFAIL")
    scene.clock.advance(30)
    assert len(scene.told) == 1
    assert scene.log == ["dns api.internal: SERVFAIL; the last answer is kept (1 backend)"]


def test_aliases_are_followed_within_an_answer_and_beyond(scene: Scene) -> None:
    scene.zone.says[A] = [
        "api.internal 60 CNAME a.internal",
        "A.internal 50 CNAME b.internal",
        "b.internal 70 A 10.0.0.1",
        "stranger.internal 1 A 10.0.0.99",
    ]
    scene.zone.says[AAAA] = ["api.internal 60 CNAME a.internal"]
    scene.zone.says["a.internal", "AAAA"] = ["a.internal 40 AAAA fd00::1"]
    scene.start()
    assert scene.endpoints() == ["tcp:10.0.0.1:9000", r"tcp:fd00\:\:1:9000"]
    assert scene.next_in() == 40


def test_aliases_without_end_are_an_error(scene: Scene) -> None:
    scene.zone.says[A] = ["api.internal 60 CNAME x.internal", "x.internal 60 CNAME api.internal"]
    for number in range(20):
        name = f"y{number}.internal" if number else "api.internal"
        scene.zone.says[name, "AAAA"] = [f"{name} 60 CNAME y{number + 1}.internal"]
    scene.start()
    assert scene.told == []
    assert scene.log == ["dns api.internal: too many aliases; there is none yet"]
    assert len(scene.zone.asked) < 20


def test_no_more_than_256_are_taken_and_it_is_said_once(scene: Scene) -> None:
    scene.says(*[f"10.0.{number // 250}.{number % 250 + 1}" for number in range(300)])
    scene.start()
    scene.clock.advance(30)
    assert len(scene.told) == 1
    assert len(scene.told[0]) == 256
    assert scene.log == ["dns api.internal: 300 backends; the first 256 are used"]


def test_stop_cancels_the_question_in_flight(scene: Scene) -> None:
    cancelled: list[Deferred[Any]] = []
    scene.zone.says[A] = Deferred(cancelled.append)
    scene.zone.says[AAAA] = Deferred(cancelled.append)
    scene.start()
    assert scene.next_in() is None
    scene.source.stop()
    assert len(cancelled) == 2
    assert scene.clock.getDelayedCalls() == []
    assert scene.log == []
    assert scene.told == []


def test_stop_ends_the_timer_and_start_begins_anew(scene: Scene) -> None:
    scene.says("10.0.0.1")
    scene.start()
    scene.source.stop()
    scene.source.stop()
    assert scene.clock.getDelayedCalls() == []
    scene.start()
    assert len(scene.told) == 2


def test_stopping_while_being_told_leaves_nothing(scene: Scene) -> None:
    scene.says("10.0.0.1")
    scene.source.start(lambda backends: scene.source.stop())
    assert scene.clock.getDelayedCalls() == []


def test_a_list_that_can_not_be_applied_ends_nothing(scene: Scene) -> None:
    def breaks(backends: Any) -> None:
        raise RuntimeError("no")

    scene.says("10.0.0.1")
    scene.source.start(breaks)
    assert scene.log == ["dns api.internal: the list could not be applied"]
    assert scene.next_in() == 30


def test_a_defect_of_a_resolver_is_an_error_like_others(scene: Scene) -> None:
    scene.fails(KeyError("x"))
    scene.start()
    assert scene.log == ["dns api.internal: KeyError: 'x'; there is none yet"]
    assert scene.next_in() == 5


def test_an_address_asks_nobody(log: list[str]) -> None:
    scene = Scene(log, "[fd00::1]:9000")
    scene.start()
    assert scene.endpoints() == [r"tcp:fd00\:\:1:9000"]
    assert scene.zone.asked == []


def test_the_hosts_file_comes_first(log: list[str]) -> None:
    scene = Scene(log, "localhost:80", System((), hosts=("::1", "127.0.0.1", "fe80::1%lo")))
    scene.start()
    assert scene.endpoints() == ["tcp:127.0.0.1:80", r"tcp:\:\:1:80"]
    assert scene.zone.asked == []
    assert scene.next_in() == 5


def test_short_names_are_completed(log: list[str]) -> None:
    system = System((("10.0.0.2", 53),), search=("a.internal", "b.internal"), ndots=2)
    scene = Scene(log, "api:9000", system)
    scene.zone.says["api.a.internal", "A"] = NoSuchName("NXDOMAIN")
    scene.zone.says["api.a.internal", "AAAA"] = NoSuchName("NXDOMAIN")
    scene.zone.says["api.b.internal", "A"] = ["api.b.internal 30 A 10.0.0.1"]
    scene.start()
    assert scene.endpoints() == ["tcp:10.0.0.1:9000"]
    assert [name for name, word in scene.zone.asked if word == "A"] == ["api.a.internal", "api.b.internal"]
    assert scene.zone.servers == [(("10.0.0.2", 53),)]
    assert scene.source.host == "api"


def test_a_failing_server_does_not_lead_to_another_name(log: list[str]) -> None:
    scene = Scene(log, "api:9000", System((("10.0.0.2", 53),), search=("a.internal",)))
    scene.zone.says["api.a.internal", "A"] = scene.zone.says["api.a.internal", "AAAA"] = NoAnswer("SERVFAIL")
    scene.zone.says["api", "A"] = ["api 30 A 10.0.0.1"]
    scene.start()
    assert scene.told == []
    assert scene.log == ["dns api: SERVFAIL; there is none yet"]


def test_a_final_dot_makes_a_name_whole(log: list[str]) -> None:
    scene = Scene(log, "Api.:9000", System((("10.0.0.2", 53),), search=("a.internal",)))
    scene.zone.says["api", "A"] = ["api 30 A 10.0.0.1"]
    scene.start()
    assert scene.endpoints() == ["tcp:10.0.0.1:9000"]
    assert {name for name, _ in scene.zone.asked} == {"api"}


def test_international_names_are_asked_in_their_wire_form(log: list[str]) -> None:
    scene = Scene(log, "bücher.internal:9000")
    scene.start()
    assert {name for name, _ in scene.zone.asked} == {"xn--bcher-kva.internal"}
    assert scene.source.host == "xn--bcher-kva.internal"


@pytest.mark.parametrize("name", ["api", "api:0", "tcp:api:9000", "a b:9000", "api:x", ":9000", "http://api"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        DnsSource(model.Dns(name=name), Clock())
