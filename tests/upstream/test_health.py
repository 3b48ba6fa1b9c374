"""Counting what passed and failed, and the loop that checks."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from attrs import evolve
from hypothesis import given, strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from revproxy.config.upstreams import BackendTls, HealthCheck
from revproxy.upstream.check import Check, NoVerdict
from revproxy.upstream.health import BROKEN, FIRST, Monitor, Verdict, check_identity
from tests.memory import FakeBackend

# -- counting


def told(verdict, results):
    """What a verdict says (up U, down D, nothing .) to results (passed +, failed -) and recounts (r)."""
    words = {True: "U", False: "D", None: "."}
    said = ""
    for result in results:
        if result == "r":
            verdict.recount()
        else:
            said += words[verdict.add(result == "+")]
    return said


@pytest.mark.parametrize(
    ("rise", "fall", "initial", "results", "said"),
    [
        # the first result decides alone
        (2, 3, True, "+", "."),
        (2, 3, True, "-", "D"),
        (2, 3, False, "+", "U"),
        (2, 3, False, "-", "."),
        # and after it, so many in a row
        (2, 3, True, "+--+--+--", "........."),
        (2, 3, True, "+---", "...D"),
        (2, 3, True, "+----", "...D."),
        (2, 3, True, "+--+---", "......D"),
        (2, 3, True, "-++", "D.U"),
        (2, 3, True, "-+-++", "D...U"),
        (2, 3, False, "-++---", "..U..D"),
        (1, 1, True, "+-+-", ".DUD"),
        (3, 1, True, "+-++-+++", ".D.....U"),
        # told again after a recount
        (2, 3, True, "+r++", "..U"),
        (2, 3, True, "++r+", "..."),
        (2, 3, True, "++r+++", "...U."),
        (2, 3, True, "+r+-++", "....U"),
        (2, 3, True, "+r---", "...D"),
        (2, 3, True, "+r---++++", "...D.U.."),
        (2, 3, True, "+--r-", "...D"),  # what had failed still counts
        (2, 3, True, "---+r++", "D....U"),
        (1, 3, True, "+r++", ".U."),
        (2, 3, True, "rr++", ".U"),
        (2, 3, False, "r+++", "U.."),
        (2, 3, True, "+r+r++", "...U"),
    ],
)
def test_counting(rise, fall, initial, results, said):
    assert told(Verdict(rise, fall, initial), results) == said


def streak(results):
    """The results that ended a list and were equal, how many, and of what kind."""
    count = 0
    while count < len(results) and results[-1 - count] == results[-1]:
        count += 1
    return count


@given(
    rise=st.integers(1, 4),
    fall=st.integers(1, 4),
    initial=st.booleans(),
    results=st.lists(st.sampled_from([True, False, True, False, None]), max_size=40),
)
def test_a_verdict_is_a_function_of_its_history(rise, fall, initial, results):
    """Against a model that keeps everything and counts anew each time; ``None`` is a recount."""
    verdict = Verdict(rise, fall, initial)
    up, again = initial, False
    history, since = [], []
    for result in results:
        if result is None:
            verdict.recount()
            again, since = True, []
            continue
        history.append(result)
        since.append(result)
        enough = streak(since) >= rise if result else streak(history) >= fall
        expected = None
        if result != up and (len(history) == 1 or enough):
            expected = up = result
            again = False
        elif result and up and again and enough:
            expected, again = True, False
        assert verdict.add(result) is expected
        assert verdict.up is up


def test_a_verdict_describes_itself():
    verdict = Verdict(2, 3, True)
    verdict.add(True)
    verdict.add(False)
    assert repr(verdict) == "<Verdict up | 1 failed>"


# -- the loop


class Script:
    """A check whose results are written down: ``None``, a reason, an exception, or a Deferred."""

    def __init__(self, clock, *results):
        self.clock = clock
        self.results = list(results)
        self.times = []
        self.running = 0
        self.cancelled = 0

    def run(self):
        assert self.running == 0, "checks overlap"
        self.times.append(self.clock.seconds())
        result = self.results.pop(0) if self.results else None
        if isinstance(result, Exception):
            raise result
        if not isinstance(result, Deferred):
            return succeed(result)
        self.running += 1
        return result.addBoth(self._ended)

    def _ended(self, result):
        self.running -= 1
        return result

    def stop(self):
        self.cancelled += 1


class Watched:
    """A monitor, its clock and what it told."""

    def __init__(self, *results, seed=1, **written):
        self.clock = Clock()
        self.check = Script(self.clock, *results)
        self.told = []
        self.written = HealthCheck(**written)
        self.monitor = Monitor(
            self.check, self.written, self.clock, Random(seed), lambda up, why: self.told.append((up, why))
        )

    def run(self, seconds):
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def run_checks(self, count):
        """Let time pass until so many checks ran."""
        for _ in range(100_000):
            if len(self.check.times) >= count:
                return
            self.run(0.01)
        raise AssertionError(f"only {len(self.check.times)} checks")


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_changes_are_told_with_their_reasons():
    watched = Watched(
        None, "status 503", "status 503", "no answer within 2 s", "x", None, "y", None, None, None, interval=1.0
    )
    monitor = watched.monitor
    assert monitor.up and monitor.last == ""
    monitor.start()
    watched.run_checks(3)
    assert monitor.up and monitor.last == "status 503" and watched.told == []
    watched.run_checks(4)
    assert not monitor.up and monitor.last == "no answer within 2 s"
    watched.run_checks(10)
    assert watched.told == [(False, "3 checks failed, the last: no answer within 2 s"), (True, "2 checks passed")]
    assert monitor.up and monitor.last == ""
    monitor.stop()


@pytest.mark.parametrize(
    ("initial", "result", "told"),
    [
        ("up", "connection refused", [(False, "1 check failed: connection refused")]),
        ("down", None, [(True, "1 check passed")]),
        ("up", None, []),
        ("down", "connection refused", []),
    ],
)
def test_the_first_check_decides_alone(initial, result, told):
    watched = Watched(result, initial=initial)
    assert watched.monitor.up is (initial == "up")
    watched.monitor.start()
    watched.run(FIRST)
    assert watched.told == told
    assert watched.monitor.up is (result is None)
    assert len(watched.check.times) == 1
    watched.monitor.stop()


@pytest.mark.parametrize("interval", [0.2, 1.0, 30.0])
def test_first_checks_are_spread(interval):
    within = min(interval, FIRST)
    firsts = []
    chance = Random(7)
    for _ in range(100):
        clock = Clock()
        check = Script(clock)
        monitor = Monitor(check, HealthCheck(interval=interval, timeout=0.1), clock, chance, lambda up, why: None)
        monitor.start()
        assert len(clock.getDelayedCalls()) == 1
        firsts.append(clock.getDelayedCalls()[0].getTime())
        clock.advance(within)
        assert check.times == [clock.seconds()]
        monitor.stop()
        assert clock.getDelayedCalls() == []
    assert all(0 <= first <= within for first in firsts)
    for part in range(10):  # each tenth has some
        assert any(part <= first * 10 / within < part + 1 for first in firsts)


def test_the_interval_is_kept_give_or_take_a_tenth():
    watched = Watched(interval=5.0)
    watched.monitor.start()
    watched.run(500)
    times = watched.check.times
    gaps = [after - before for before, after in pairwise(times)]
    assert 95 <= len(gaps) <= 105
    assert all(4.48 <= gap <= 5.52 for gap in gaps)
    assert min(gaps) < 4.7 and max(gaps) > 5.3
    assert abs(sum(gaps) / len(gaps) - 5) < 0.15
    watched.monitor.stop()


def test_the_time_that_a_check_takes_counts():
    watched = Watched(interval=5.0, seed=3)
    slow = [Deferred() for _ in range(20)]
    watched.check.results = list(slow)
    watched.monitor.start()
    for one in slow:
        while not watched.check.running:
            watched.run(0.01)
        watched.run(2)
        one.callback(None)
    times = watched.check.times
    assert all(4.48 <= after - before <= 5.52 for before, after in pairwise(times))
    watched.monitor.stop()


def test_checks_never_overlap():
    watched = Watched(late := Deferred(), interval=1.0)
    watched.monitor.start()
    watched.run(10)
    assert len(watched.check.times) == 1
    late.callback(None)
    watched.run(0.02)
    assert len(watched.check.times) == 2  # it was due
    watched.run(1.2)
    assert len(watched.check.times) == 3  # and there is no catching up
    watched.monitor.stop()


def test_stopping_while_it_waits():
    watched = Watched()
    watched.monitor.start()
    watched.monitor.stop()
    watched.monitor.stop()
    assert watched.clock.getDelayedCalls() == []
    watched.run(20)
    assert watched.check.times == []


def test_stopping_while_a_check_runs(logged):
    cancelled = []
    watched = Watched(Deferred(cancelled.append))
    watched.monitor.start()
    watched.run(1)
    assert watched.check.running == 1
    watched.monitor.stop()
    assert len(cancelled) == 1 and watched.check.running == 0
    assert watched.clock.getDelayedCalls() == []
    assert watched.told == [] and watched.monitor.up and watched.monitor.last == ""
    assert not any(event.get("log_failure") for event in logged)


def test_stopping_cuts_a_real_check():
    clock, backend, told = Clock(), FakeBackend(), []
    written = HealthCheck()
    check = Check(written, backend, clock, b"x")
    monitor = Monitor(check, written, clock, Random(1), lambda up, why: told.append(why))
    monitor.start()
    clock.advance(1)
    assert backend.received().startswith(b"GET / ")
    monitor.stop()
    assert backend.transport.aborted
    backend.leave()
    assert told == [] and clock.getDelayedCalls() == []


def test_stopping_cuts_what_is_still_closing():
    clock, backend, written = Clock(), FakeBackend(), HealthCheck()
    monitor = Monitor(Check(written, backend, clock, b"x"), written, clock, Random(1), lambda up, why: None)
    monitor.start()
    clock.advance(1)
    backend.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert backend.transport.disconnecting and not backend.transport.aborted
    monitor.stop()
    assert backend.transport.aborted
    backend.leave()
    assert clock.getDelayedCalls() == []


def test_a_real_check_all_the_way():
    clock, backend, told = Clock(), FakeBackend(), []
    written = HealthCheck(interval=1.0, timeout=0.5, fall=2)
    check = Check(written, backend, clock, b"x")
    monitor = Monitor(check, written, clock, Random(1), lambda up, why: told.append((up, why)))
    backend.refuse = True
    monitor.start()
    clock.advance(1)
    assert told == [(False, "1 check failed: connection refused")]
    backend.refuse = False
    for count in (1, 2):
        clock.advance(1.1)
        assert backend.connections == count
        backend.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        backend.leave()
    assert told[1:] == [(True, "2 checks passed")]
    monitor.stop()
    assert clock.getDelayedCalls() == []


def test_it_may_be_stopped_by_who_is_told():
    watched = Watched("x")
    watched.monitor.changed = lambda up, why: watched.monitor.stop()
    watched.monitor.start()
    watched.run(20)
    assert len(watched.check.times) == 1
    assert watched.clock.getDelayedCalls() == []


def test_starting_twice_and_again():
    watched = Watched(None, "x", "x", interval=1.0, fall=3)
    watched.monitor.start()
    watched.monitor.start()
    assert len(watched.clock.getDelayedCalls()) == 1
    watched.run(3.3)
    count = len(watched.check.times)
    assert watched.told == []
    watched.monitor.stop()
    watched.run(5)
    assert len(watched.check.times) == count
    watched.check.results = ["x"] * 3
    watched.monitor.start()
    watched.run(3.3)
    assert watched.told and watched.told[0][0] is False  # what was counted before still counts
    watched.monitor.stop()


@pytest.mark.parametrize("result", [ZeroDivisionError("x"), fail(ZeroDivisionError("x")), fail(CancelledError())])
def test_an_exception_in_a_check_is_a_failed_check(result, logged):
    watched = Watched(result, interval=1.0, rise=1)
    watched.monitor.start()
    watched.run(1)
    assert watched.told == [(False, f"1 check failed: {BROKEN}")]
    (event,) = [event for event in logged if event.get("log_failure")]
    assert "a health check broke" in event["log_format"]
    watched.run(1.2)
    assert watched.told[1:] == [(True, "1 check passed")]  # the loop goes on
    watched.monitor.stop()


def test_what_could_not_be_checked_does_not_count(logged):
    none = NoVerdict("too many open files")
    watched = Watched(none, none, None, "x", "x", none, none, "y", interval=1.0)
    watched.monitor.start()
    watched.run_checks(2)
    assert watched.monitor.up and watched.monitor.last == "too many open files"
    watched.run_checks(7)
    assert watched.told == []
    watched.run_checks(8)
    assert watched.told == [(False, "3 checks failed, the last: y")]
    # told to the log when it begins, not each time
    assert len([event for event in logged if "could not be checked" in event.get("log_format", "")]) == 2
    watched.monitor.stop()


def test_an_exception_of_who_is_told_does_not_end_the_loop(logged):
    watched = Watched("x", interval=1.0)

    def broken(up, why):
        raise ZeroDivisionError

    watched.monitor.changed = broken
    watched.monitor.start()
    watched.run(5)
    assert len(watched.check.times) >= 4
    assert [event["log_format"] for event in logged if event.get("log_failure")] == [
        "while telling of a backend's health"
    ] * 2
    watched.monitor.stop()


def test_recount_is_told_once_enough_checks_passed():
    watched = Watched(interval=1.0, rise=3)
    watched.monitor.start()
    watched.run(10)
    assert watched.told == []
    watched.monitor.recount()
    watched.run(2)
    assert watched.told == []
    watched.run(10)
    assert watched.told == [(True, "3 checks passed")]
    watched.monitor.stop()


# -- identity


def test_the_identity_of_a_check():
    written = HealthCheck(headers={"a": "1", "b": "2"})
    tls = BackendTls(name="x.example")
    same = check_identity("tcp:x:1", tls, HealthCheck(headers={"b": "2", "a": "1"}))
    identity = check_identity("tcp:x:1", tls, written)
    assert identity == same and hash(identity) == hash(same)
    others = [
        check_identity("tcp:x:2", tls, written),
        check_identity("tcp:x:1", None, written),
        check_identity("tcp:x:1", evolve(tls, insecure=True), written),
    ]
    changes = {
        "type": "tcp", "path": "/x", "method": "HEAD", "host": "y", "headers": {"a": "2", "b": "2"}, "status": ("200",),
        "body": "ok", "interval": 6.0, "timeout": 1.0, "rise": 9, "fall": 9, "initial": "down",
    }  # fmt: skip
    assert set(changes) == {name for name in HealthCheck.__slots__ if not name.startswith("__")}
    others += [check_identity("tcp:x:1", tls, evolve(written, **{name: value})) for name, value in changes.items()]
    assert len({identity, *others}) == 1 + len(others)
