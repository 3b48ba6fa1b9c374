"""What becomes of backends by what comes back from them: its consequences, its timers, and a line for each change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

from revproxy.config import model
from revproxy.upstream.backend import EJECTED, TRIAL, WELL
from tests.examples import examples
from tests.upstream.test_group import A, B, C, D, asked, fail, make, one, pass_time

PASSIVE = model.Passive(failures=2, eject=10.0)


def answer(upstream, name, status=200):
    backend = upstream.backend(name)
    backend.requests += 1
    upstream.watch.answered(backend, status)
    return backend


# -- answers


@pytest.mark.parametrize(
    ("statuses", "status", "counts"),
    [
        (None, 200, False), (None, 404, False), (None, 499, False), (None, 501, False),
        (None, 500, True), (None, 502, True), (None, 503, True), (None, 504, True),
        ((429,), 429, True), ((429,), 500, False), ((), 500, False),
    ],
)  # fmt: skip
def test_which_statuses_are_failures(statuses, status, counts, lines):
    passive = PASSIVE if statuses is None else model.Passive(failures=2, statuses=statuses)
    upstream = make(A, B, passive=passive)
    for _ in range(2):
        backend = answer(upstream, A, status)
    assert (backend.health == EJECTED) == counts
    assert backend.answered == counts
    assert lines == (
        [f"upstream app: {A} is ejected for 10 s: 2 failures in a row, the last: status {status}"] * counts
    )


def test_an_answer_ends_a_row_of_failures():
    upstream = make(A, B, passive=PASSIVE)
    for _ in range(9):
        fail(upstream, A)
        assert answer(upstream, A).health == WELL
    fail(upstream, A, 2)
    assert upstream.backend(A).health == EJECTED


def test_who_is_well_costs_nothing():
    upstream = make(A, B)
    for _ in range(9):
        assert answer(upstream, A).outlier is None
    assert not upstream.reactor.getDelayedCalls()


def test_passive_off(lines):
    upstream = make(A, B, passive=None)
    assert not upstream.watching
    fail(upstream, A, 50)
    assert lines == []


def test_the_breaker_needs_no_passive():
    upstream = make(A, passive=None, breaker=model.Breaker(minimum=2))
    assert upstream.watching
    for _ in range(2):
        answer(upstream, A, 500)
    assert upstream.watch.breaker_state == "open"


def test_an_answer_while_it_is_ejected_changes_nothing(lines):
    upstream = make(A, B)
    fail(upstream, A)
    del lines[:]
    assert answer(upstream, A).health == EJECTED
    assert lines == []


def test_everybody_may_fail_at_once_and_somebody_stays(lines):
    upstream = make(A, B, C, D, passive=model.Passive(failures=1, share=1.0))
    for _ in range(20):
        for name in (A, B, C, D):
            fail(upstream, name)
    assert len([line for line in lines if "is ejected" in line]) == 3
    assert [backend.name for backend in upstream.ready] == [D]  # one of four is no panic yet


# -- the breaker's lines


def test_the_breaker_says_each_change_once(lines):
    upstream = make(A, breaker=model.Breaker(minimum=2, open=5.0, probes=1))
    watch = upstream.watch
    fail(upstream, A, 5)
    assert watch.admit() == 5
    upstream.reactor.advance(1.5)
    assert watch.admit() == 4  # whole seconds, and never too early
    upstream.reactor.advance(4)
    assert watch.admit() == 0
    assert watch.admit() == 5
    fail(upstream, A)
    upstream.reactor.advance(5)
    assert watch.admit() == 0
    answer(upstream, A)
    answer(upstream, A)
    assert watch.breaker_state == "closed"
    assert lines == [
        "upstream app: the circuit breaker is open: 2 of 2 requests failed",
        "upstream app: the circuit breaker is half-open: open for 5 s, 1 requests are tried",
        "upstream app: the circuit breaker is open: a request that was tried failed",
        "upstream app: the circuit breaker is half-open: open for 5 s, 1 requests are tried",
        "upstream app: the circuit breaker is closed: 1 requests were answered",
    ]


# -- health checks


def test_a_check_says_each_change_once(lines):
    upstream = make(A, B)
    for up, why in [(True, "x"), (False, "3 checks failed"), (False, "x"), (True, "2 checks passed"), (True, "x")]:
        upstream.watch.checked(upstream.backend(A), up, why)
    assert lines == [
        f"upstream app: {A} is down: 3 checks failed",
        f"upstream app: {A} is up: 2 checks passed",
    ]


def test_an_ejection_asks_its_checks_to_count_anew():
    upstream = make(A, B)
    asked_for = []
    upstream.backend(A).monitor = SimpleNamespace(recount=lambda: asked_for.append(True))
    fail(upstream, A)
    assert asked_for == [True]


def test_a_slow_start_that_is_cut_short_by_a_check_goes_on_after_it():
    upstream = make(A, B, slow_start=20.0)
    backend = upstream.backend(A)
    upstream.watch.checked(backend, False, "x")
    upstream.watch.checked(backend, True, "x")
    pass_time(upstream, 10)
    assert backend.weight == pytest.approx(0.55, abs=0.06)
    upstream.watch.checked(backend, False, "x")
    upstream.watch.checked(backend, True, "x")
    assert backend.weight == pytest.approx(0.05)
    pass_time(upstream, 20.25)
    assert backend.weight == 1
    assert not upstream.reactor.getDelayedCalls()


# -- any story at all

STEPS = st.sampled_from(["fail", "good", "bad", "up", "down", "choose", "leave", "drain", "resume", "pass", "long"])


@settings(max_examples=examples(150))
@given(
    share=st.sampled_from([0.0, 0.5, 1.0]),
    panic=st.sampled_from([0.0, 0.2, 0.6]),
    slow=st.sampled_from([None, 8.0]),
    steps=st.lists(st.tuples(STEPS, st.integers(0, 3)), max_size=50),
)
def test_no_story_leaves_a_backend_stuck(share, panic, slow, steps):
    """Whatever happens: time alone brings everybody back who is not drained or down, and no timer stays."""
    passive = model.Passive(failures=1, eject=5.0, eject_most=20.0, share=share)
    upstream = make(A, B, C, one(D, backup=1), passive=passive, panic=panic, slow_start=slow)
    out = []
    for step, at in steps:
        backend = upstream.backends[at]
        if step == "fail":
            fail(upstream, backend.name)
        elif step in ("good", "bad"):
            answer(upstream, backend.name, 200 if step == "good" else 500)
        elif step in ("up", "down"):
            upstream.watch.checked(backend, step == "up", "a test says so")
        elif step == "choose":
            exchange = asked()
            exchange.backend = upstream.choose(exchange)
            if exchange.backend is not None:
                out.append(exchange)
            else:
                assert upstream.ready == ()
        elif step == "leave" and out:
            out.pop(at % len(out)).state = 7
        elif step == "drain":
            upstream.drain(backend.name)
        elif step == "resume":
            upstream.resume(backend.name)
        else:
            pass_time(upstream, 1 if step == "pass" else 12, 0.5)
        serving = [b for b in upstream.backends if b.duty == "serving"]
        assert set(upstream.ready) <= set(serving)
        if panic and serving:
            assert upstream.ready
        ejected = [b for b in upstream.backends if b.health in (EJECTED, TRIAL)]
        assert set(ejected) <= set(upstream.watch._timers)  # each has a timer that ends its state
        assert all(0 < b.weight <= b.full_weight for b in upstream.backends)
    for exchange in out:
        exchange.state = 7
    pass_time(upstream, 80, 1)
    assert not upstream.reactor.getDelayedCalls()
    for backend in upstream.backends:
        assert backend.health == WELL
        assert backend.weight == backend.full_weight
        upstream.resume(backend.name)
        upstream.watch.checked(backend, True, "x")
    upstream.watch.close()
    assert len(upstream.ready) == 3
    assert not upstream.reactor.getDelayedCalls()
