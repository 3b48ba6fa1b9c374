"""Work in slices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, TaskStopped

from revproxy import slices as module
from revproxy.slices import SLICE, Slices


class Turns(Clock):
    """A reactor whose turns are made by hand: what is put off in one comes in the next."""

    def turn(self) -> None:
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            self.calls.remove(call)
            call.called = 1
            function, args, kwargs = call.func, call.args, call.kw
            function(*args, **kwargs)


class Busy:
    """Work whose steps take time."""

    def __init__(self, clock: Turns, steps: int, each: float) -> None:
        self.done = 0
        self.clock, self.steps, self.each = clock, steps, each

    def __iter__(self) -> Iterator[None]:
        for _ in range(self.steps):
            self.clock.rightNow += self.each
            self.done += 1
            yield


def result(deferred: Deferred[object] | None) -> list[object]:
    assert deferred is not None
    found: list[object] = []
    deferred.addBoth(found.append)
    return found


def test_short_work_is_done_at_once() -> None:
    clock = Turns()
    work = Busy(clock, 3, SLICE / 10)
    assert Slices(clock).run(iter(work)) is None
    assert work.done == 3 and not clock.getDelayedCalls()


def test_long_work_goes_on_in_later_turns() -> None:
    clock = Turns()
    work = Busy(clock, 10, SLICE * 0.6)
    done = result(Slices(clock).run(iter(work)))
    assert work.done == 2 and not done
    turns = 0
    while not done:
        before = work.done
        clock.turn()
        assert work.done - before <= 2
        turns += 1
    assert work.done == 10 and turns >= 4 and not clock.getDelayedCalls()


def test_works_take_turns() -> None:
    clock = Turns()
    slices = Slices(clock)
    long, short = Busy(clock, 1000, SLICE * 0.6), Busy(clock, 4, SLICE * 0.6)
    slices.run(iter(long))
    done = result(slices.run(iter(short)))
    for _ in range(8):
        clock.turn()
    assert done and long.done < 20


def test_a_turn_has_one_slice_only() -> None:
    """Many requests may come in one turn: what follows at once is put off."""
    clock = Turns()
    slices = Slices(clock)
    assert slices.run(iter(Busy(clock, 1, SLICE * 0.5))) is None
    second = Busy(clock, 1, SLICE * 0.5)
    done = result(slices.run(iter(second)))
    assert second.done == 0
    clock.turn()
    assert done
    clock.advance(SLICE)
    assert slices.run(iter(Busy(clock, 1, SLICE * 0.5))) is None


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    clock = Turns()
    clock.advance(10_000)
    slices = Slices(clock)
    assert slices.run(iter(Busy(clock, 1, SLICE * 0.5))) is None
    clock.rightNow -= 5_000
    assert slices.run(iter(Busy(clock, 1, SLICE * 0.5))) is None


def test_what_work_raises_is_raised_or_fails() -> None:
    clock = Turns()
    slices = Slices(clock)

    def broken(steps: int) -> Iterator[None]:
        yield from Busy(clock, steps, SLICE * 0.6)
        raise KeyError("x")

    with pytest.raises(KeyError):
        slices.run(broken(1))
    clock.advance(1)
    done = result(slices.run(broken(5)))
    for _ in range(5):
        clock.turn()
    (failure,) = done
    assert failure.check(KeyError)
    assert not slices.full


def test_work_that_is_given_up_ends() -> None:
    clock = Turns()
    slices = Slices(clock)
    work = Busy(clock, 100, SLICE * 0.6)
    deferred = slices.run(iter(work))
    done = result(deferred)
    deferred.cancel()
    assert done[0].check(TaskStopped, CancelledError)
    clock.turn()
    assert work.done == 2 and not slices._waiting


def test_so_much_work_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    clock = Turns()
    slices = Slices(clock)
    for _ in range(2):
        assert not slices.full
        slices.run(iter(Busy(clock, 10, SLICE)))
    assert slices.full
    for _ in range(30):
        clock.turn()
    assert not slices.full
