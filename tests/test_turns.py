"""Turns: order, how many at once, and who leaves."""

from __future__ import annotations

from hypothesis import given, strategies as st
from twisted.internet.task import Clock

from revproxy.turns import Turns
from tests.kit import logged


class Reactor(Clock):
    """A clock with turns, as a reactor has them: what is put off by no time at all is for the next."""

    def turn(self) -> None:
        for call in list(self.calls):
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func()

    def settle(self) -> None:
        while self.calls:
            self.turn()


class Worker:
    """Somebody with pieces of work, who asks as connections do."""

    def __init__(self, turns: Turns, name: int, done: list[int], pieces: int = 1) -> None:
        self.turns, self.name, self.done, self.pieces = turns, name, done, pieces

    def work(self) -> None:
        if not self.turns.now():
            self.turns.wait(self, self.work)
            return
        self.done.append(self.name)
        self.pieces -= 1
        if self.pieces:
            self.turns.wait(self, self.work)


def test_few_do_not_wait():
    clock, done = Reactor(), []
    turns = Turns(clock, 3)
    for name in range(3):
        Worker(turns, name, done).work()
    assert done == [0, 1, 2]
    clock.turn()
    assert not clock.calls
    Worker(turns, 3, done).work()
    assert done[-1] == 3


def test_many_come_in_portions_and_in_order():
    clock, done = Reactor(), []
    turns = Turns(clock, 3)
    for name in range(11):
        Worker(turns, name, done).work()
    after = [len(done)]
    while clock.calls:
        clock.turn()
        after.append(len(done))
    assert after == [3, 6, 9, 11]
    assert done == list(range(11))


def test_who_comes_later_does_not_overtake():
    clock, done = Reactor(), []
    turns = Turns(clock, 1)
    for name in range(3):
        Worker(turns, name, done).work()
    clock.turn()
    Worker(turns, 3, done).work()
    assert done == [0, 1]
    clock.settle()
    assert done == [0, 1, 2, 3]


def test_who_has_more_goes_to_the_end():
    clock, done = Reactor(), []
    turns = Turns(clock, 2)
    Worker(turns, 0, done, pieces=3).work()
    for name in (1, 2):
        Worker(turns, name, done).work()
    clock.settle()
    assert done == [0, 0, 1, 2, 0]


def test_who_is_gone_has_no_turn_and_takes_none_away():
    clock, done = Reactor(), []
    turns = Turns(clock, 1)
    workers = [Worker(turns, name, done) for name in range(4)]
    for worker in workers:
        worker.work()
    turns.forget(workers[1])
    turns.forget(workers[0])  # it does not wait
    clock.turn()
    assert done == [0, 2]


def test_who_waits_twice_has_one_turn():
    clock, called = Reactor(), []
    turns = Turns(clock, 5)
    turns.wait("a", lambda: called.append("first"))
    turns.wait("b", lambda: called.append("b"))
    turns.wait("a", lambda: called.append("second"))
    clock.turn()
    assert called == ["second", "b"]


def test_an_error_takes_no_turn_from_others():
    clock, done = Reactor(), []
    turns = Turns(clock, 1)
    turns.wait("broken", lambda: 1 / 0)
    Worker(turns, 1, done).work()
    with logged("revproxy.turns") as lines:
        clock.turn()
        clock.turn()
    assert done == [1]
    assert len(lines) == 1


def test_nothing_is_left_at_rest():
    clock, done = Reactor(), []
    turns = Turns(clock, 1)
    Worker(turns, 0, done).work()
    turns.rest()
    assert not clock.calls
    Worker(turns, 1, done).work()
    Worker(turns, 2, done).work()
    turns.rest()
    clock.settle()
    assert done == [0, 1, 2]


@given(most=st.integers(1, 4), steps=st.lists(st.one_of(st.integers(1, 4), st.none()), max_size=30))
def test_everybody_has_a_turn_and_no_turn_of_the_reactor_has_too_many(most, steps):
    clock, done = Reactor(), []
    turns = Turns(clock, most)
    count = before = asked = 0
    for step in steps:
        if step is None:  # the reactor's next turn
            clock.turn()
            assert len(done) - before <= 2 * most
            before = len(done)
        else:
            asked += step
            Worker(turns, count, done, step).work()
            count += 1
    clock.settle()
    assert sorted(set(done)) == list(range(count))
    assert len(done) == asked
    assert not clock.calls
