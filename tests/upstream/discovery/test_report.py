"""What sources of one's own build on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from revproxy.config.model import Backend
from revproxy.upstream.discovery import Answer, Asking, NoAnswer, Report, Source
from tests.upstream.discovery.kit import logged

ONE, TWO = Backend(endpoint="tcp:a:1"), Backend(endpoint="tcp:b:1")


@pytest.fixture
def log() -> Iterator[list[str]]:
    with logged() as lines:
        yield lines


def test_a_report_tells_what_is_new(log: list[str]) -> None:
    told: list[Any] = []
    report = Report("mine", told.append)
    report.found([ONE, TWO])
    report.found([TWO, ONE])
    report.failed("gone")
    report.failed("gone again")
    assert report.backends == (ONE, TWO)
    report.found(iter([TWO]))
    report.found([])
    report.found([])
    report.failed("gone")
    assert told == [(ONE, TWO), (TWO,), ()]
    assert log == [
        "mine: gone; the last answer is kept (2 backends)",
        "mine answers again",
        "mine: gone; there is none yet",
    ]


def test_an_empty_first_list_is_news(log: list[str]) -> None:
    told: list[Any] = []
    Report("mine", told.append).found([])
    assert told == [()]


def test_a_backend_that_changed_its_weight_is_news(log: list[str]) -> None:
    told: list[Any] = []
    report = Report("mine", told.append)
    report.found([ONE])
    report.found([Backend(endpoint="tcp:a:1", weight=2)])
    assert len(told) == 2


def test_a_cut_is_said_when_it_begins(log: list[str]) -> None:
    told: list[Any] = []
    report = Report("mine", told.append)
    many = [Backend(endpoint=f"tcp:a:{port}") for port in range(1, 300)]
    for backends in (many, many, many[:256], many):
        report.found(backends)
    assert log == ["mine: 299 backends; the first 256 are used"] * 2
    assert told == [tuple(many[:256])]


def test_a_source_of_ones_own_is_a_coroutine(log: list[str]) -> None:
    clock, answers, told = Clock(), [Answer((ONE,), 7.0), NoAnswer("no leader")], []

    async def ask() -> Answer:
        answer = answers.pop(0)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    source: Source = Asking("consul app", ask, clock, at_least=2.0, at_most=8.0)
    source.start(told.append)
    clock.advance(7)
    answers += [Answer((TWO,), 1.0)]
    clock.advance(2)
    assert told == [((ONE,)), ((TWO,))]
    assert log == ["consul app: no leader; the last answer is kept (1 backend)", "consul app answers again"]
    source.stop()
    assert clock.getDelayedCalls() == []


def test_a_late_answer_after_a_new_start_is_ignored(log: list[str]) -> None:
    clock, told = Clock(), []
    waiting: list[Deferred[Answer]] = []

    async def ask() -> Answer:
        waiting.append(Deferred())
        try:
            return await waiting[-1]
        except BaseException:
            return Answer((ONE,), 1.0)  # it does not heed that it was cancelled

    source = Asking("mine", ask, clock)
    source.start(told.append)
    source.start(told.append)
    assert told == []
    waiting[1].callback(Answer((TWO,), 9.0))
    assert told == [(TWO,)]
    assert len(clock.getDelayedCalls()) == 1


def test_starting_anew_while_being_told(log: list[str]) -> None:
    clock, told = Clock(), []

    async def ask() -> Answer:
        return Answer((ONE,), 9.0)

    source = Asking("mine", ask, clock)

    def once(backends: Any) -> None:
        source.start(told.append)

    source.start(once)
    assert told == [(ONE,)]
    assert len(clock.getDelayedCalls()) == 1
    source.stop()
    assert clock.getDelayedCalls() == []


def test_a_question_that_somebody_else_cancelled_is_an_error(log: list[str]) -> None:
    clock, waiting = Clock(), Deferred()

    async def ask() -> Answer:
        return await waiting

    Asking("mine", ask, clock).start(lambda backends: None)
    waiting.cancel()
    assert log == ["mine: the question was cancelled; there is none yet"]
    assert len(clock.getDelayedCalls()) == 1
