"""The queue of an upstream: its order, its bounds, and that nothing of it is left behind."""

from __future__ import annotations

from hypothesis import given, strategies as st
from twisted.internet.task import Clock

from revproxy.fault import BACKEND_QUEUE_FULL, BACKEND_QUEUE_TIMEOUT
from revproxy.upstream.waiting import WaitingRoom


class Waits:
    """As much of an exchange as the queue asks for, and what it waits for."""

    def __init__(self, wants="any"):
        self.waiting = None
        self.wants = wants
        self.went = None
        self.fault = None
        self.asked = 0

    def fail(self, fault, detail):
        self.fault = fault
        assert detail


def test_nothing_waits_in_a_queue_that_nobody_joined():
    clock = Clock()
    room = WaitingRoom(clock, 10, 5.0)
    room.pump()
    assert len(room) == 0
    assert not clock.getDelayedCalls()


class Bench:
    """A queue before backends that have so much room."""

    def __init__(self, length=10, seconds=5.0, **free):
        self.clock = Clock()
        self.room = WaitingRoom(self.clock, length, seconds)
        self.free = free
        self.order = []

    def join(self, name, wants="any", then=None):
        exchange = Waits(wants)

        def find():
            exchange.asked += 1
            for backend, free in self.free.items():
                if free and wants in ("any", backend):
                    return backend
            return None

        def go(backend):
            self.free[backend] -= 1
            exchange.went = backend
            self.order.append(name)
            if then is not None:
                then()

        self.room.join(exchange, find, go, wants)
        return exchange

    def left(self):
        return len(self.room), len(self.clock.getDelayedCalls())


def test_who_came_first_goes_first():
    bench = Bench(a=0)
    for name in "xyz":
        bench.join(name)
    bench.free["a"] = 2
    bench.room.pump()
    assert bench.order == ["x", "y"]
    bench.free["a"] = 5
    bench.room.pump()
    assert bench.order == ["x", "y", "z"]
    assert bench.left() == (0, 0)


def test_a_full_queue():
    bench = Bench(length=2, a=0)
    waits = [bench.join(name) for name in "xyz"]
    assert [exchange.fault for exchange in waits] == [None, None, BACKEND_QUEUE_FULL]
    assert waits[2].waiting is None
    assert bench.left() == (2, 2)


def test_no_queue():
    bench = Bench(length=0, a=0)
    assert bench.join("x").fault is BACKEND_QUEUE_FULL


def test_a_wait_has_a_time_of_its_own():
    bench = Bench(seconds=5.0, a=0)
    first = bench.join("x")
    bench.clock.advance(3)
    second = bench.join("y")
    bench.clock.advance(2)
    assert (first.fault, second.fault) == (BACKEND_QUEUE_TIMEOUT, None)
    assert first.waiting is None
    bench.clock.advance(3)
    assert second.fault is BACKEND_QUEUE_TIMEOUT
    assert bench.left() == (0, 0)


def test_who_leaves_leaves_nothing():
    bench = Bench(a=0)
    first, second = bench.join("x"), bench.join("y")
    first.waiting.cancel()
    assert first.waiting is None
    assert first.fault is None
    assert bench.left() == (1, 1)
    bench.free["a"] = 2
    bench.room.pump()
    assert bench.order == ["y"]
    assert second.waiting is None


def test_who_went_on_is_not_late():
    bench = Bench(a=0)
    exchange = bench.join("x")
    bench.free["a"] = 1
    bench.room.pump()
    bench.clock.advance(60)
    assert exchange.fault is None


def test_who_waits_for_one_backend_does_not_hold_up_the_rest():
    bench = Bench(length=100, a=0, b=0)
    for at in range(90):
        bench.join(at, "a")
    bench.join("y")
    bench.free["b"] = 1
    bench.room.pump()
    assert bench.order == ["y"]


def test_one_asks_for_all_that_wait_for_the_same():
    bench = Bench(length=500, a=0, b=0)
    waits = [bench.join(at) for at in range(400)]
    kept = [bench.join("kept", "b"), bench.join("also kept", "b")]
    bench.room.pump()
    assert [exchange.asked for exchange in waits] == [1] + [0] * 399
    assert [exchange.asked for exchange in kept] == [1, 0]
    bench.free["a"] = 3
    bench.room.pump()
    assert bench.order == [0, 1, 2]
    assert sum(exchange.asked for exchange in waits) == 1 + 4
    bench.free["b"] = 399
    bench.room.pump()
    assert bench.order == [*range(400), "kept", "also kept"]


def test_going_on_may_free_a_backend_at_once():
    bench = Bench(a=0)

    def over():
        bench.free["a"] += 1
        bench.room.pump()

    for name in range(9):
        bench.join(name, then=over)
    bench.free["a"] = 1
    bench.room.pump()
    assert bench.order == list(range(9))
    assert bench.left() == (0, 0)


def test_joining_while_others_go_on():
    bench = Bench(a=0)
    bench.join("x", then=lambda: bench.join("late"))
    bench.free["a"] = 2
    bench.room.pump()
    assert bench.order == ["x", "late"]


def test_one_that_breaks_does_not_stop_the_queue():
    bench = Bench(a=0)

    def breaks():
        raise RuntimeError("a test")

    bench.join("x", then=breaks)
    bench.join("y")
    bench.free["a"] = 2
    try:
        bench.room.pump()
    except RuntimeError:
        bench.room.pump()
    assert bench.order == ["x", "y"]


@given(st.lists(st.sampled_from(["join", "join a", "leave", "free", "free a", "pass"]), max_size=60))
def test_model(steps):
    """Whoever waits has a timer and a place; who can go on is never left waiting after a pump."""
    bench = Bench(length=5, seconds=5.0, a=0, b=0)
    waits = []
    for at, step in enumerate(steps):
        if step.startswith("join"):
            waits.append(bench.join(at, "a" if step.endswith("a") else "any"))
        elif step == "leave":
            there = [exchange for exchange in waits if exchange.waiting is not None]
            if there:
                there[len(there) // 2].waiting.cancel()
        elif step == "pass":
            bench.clock.advance(2)
        else:
            bench.free["a" if step.endswith("a") else "b"] += 1
            bench.room.pump()
            there = [exchange for exchange in waits if exchange.waiting is not None]
            assert not any(bench.free["a"] or (bench.free["b"] and w.wants == "any") for w in there)
        there = [exchange for exchange in waits if exchange.waiting is not None]
        assert bench.left() == (len(there), len(there))
        assert len(there) <= 5
        for exchange in waits:
            ends = (exchange.went is not None) + (exchange.fault is not None) + (exchange.waiting is not None)
            assert ends <= 1
    assert bench.order == sorted(bench.order) or any(step == "join a" for step in steps)
