"""Who gets requests: tiers, panic, trials, drains, weights, slow starts, and members that come and go."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace

import pytest
from twisted.internet.testing import MemoryReactorClock

from revproxy.config import model
from revproxy.stream import DONE
from revproxy.upstream.backend import EJECTED, TRIAL, WELL
from revproxy.upstream.group import Upstream

A, B, C, D = (f"tcp:127.0.0.1:900{at}" for at in range(4))
PASSIVE = model.Passive(failures=1, eject=10.0, share=1.0)


class Found:
    """A source of backends that a test drives."""

    name = "a test"

    def __init__(self):
        self.changed = None
        self.hosts = {}

    def start(self, changed):
        self.changed = changed

    def stop(self):
        self.changed = None

    def find(self, *found):
        self.changed(tuple(backend if isinstance(backend, model.Backend) else one(backend) for backend in found))


def one(endpoint, **how):
    return model.Backend(endpoint=endpoint, **how)


def make(*backends, clock=None, sources=(), **how):
    """An upstream of these backends, each an address or a ``model.Backend``."""
    how = {"passive": PASSIVE} | how
    written = model.Upstream(backends=tuple(one(b) if isinstance(b, str) else b for b in backends), **how)
    clock = MemoryReactorClock() if clock is None else clock
    return Upstream("app", written, clock, sources=sources, chance=Random(7))


def asked(method=b"GET"):
    request = SimpleNamespace(method=method, headers=[], scheme=b"http")
    return SimpleNamespace(request=request, started=0.0, state=0, backend=None, response=None, fault=None)


def names(backends):
    return [backend.name for backend in backends]


def fail(upstream, name, times=1):
    backend = upstream.backend(name)
    for _ in range(times):
        backend.requests += 1
        upstream.watch.failed(backend, "backend-connect")
    return backend


def pass_time(upstream, seconds, step=0.25):
    for _ in range(round(seconds / step)):
        upstream.reactor.advance(step)


# -- tiers and panic


def down(upstream, *which):
    for name in which:
        upstream.watch.checked(upstream.backend(name), False, "a test says so")


TIERS = [
    # panic, those that are down, who is ready
    (0.2, (), [A, B]),
    (0.2, (A,), [B]),
    (0.2, (A, B), [C]),
    (0.2, (A, B, C), [D]),
    (0.2, (C,), [A, B]),
    (0.2, (A, B, C, D), [A, B]),  # nobody is left anywhere: the first tier, ill or not
    (0.6, (A,), [B, C]),  # one of two is too few: the next tier helps
    (0.6, (A, C), [B, D]),
    (0.6, (A, C, D), [A, B]),
    (0.0, (A, B, C, D), []),  # no panic: nobody
    (0.0, (A,), [B]),
    (0.0, (A, B), [C]),
]


@pytest.mark.parametrize(("panic", "ill", "ready"), TIERS)
def test_tiers(panic, ill, ready):
    upstream = make(A, B, one(C, backup=1), one(D, backup=2), panic=panic)
    down(upstream, *ill)
    assert names(upstream.ready) == ready
    picked = upstream.choose(asked())
    assert (picked is None) if not ready else (picked.name in ready)
    for name in reversed(ill):
        upstream.watch.checked(upstream.backend(name), True, "a test says so")
    assert names(upstream.ready) == [A, B]


def test_panic_is_said_once_each_way(lines):
    upstream = make(A, B, C, D, panic=0.5, passive=None)
    down(upstream, A, B)
    assert not [line for line in lines if "too few" in line]
    down(upstream, C)
    assert [line for line in lines if "usable" in line] == [
        "upstream app: too few backends are usable, 1 of 4: all are used"
    ]
    down(upstream, D)
    upstream.watch.checked(upstream.backend(A), True, "x")
    upstream.watch.checked(upstream.backend(B), True, "x")
    assert [line for line in lines if "usable" in line][1:] == ["upstream app: enough backends are usable again"]
    assert names(upstream.ready) == [A, B]


def test_ready_is_the_same_object_until_something_changes():
    upstream = make(A, B, C)
    before = upstream.ready
    upstream.refresh()
    assert upstream.ready is before
    upstream.set_weight(A, 2)
    assert upstream.ready is not before
    before = upstream.ready
    fail(upstream, B)
    assert upstream.ready is not before


def test_an_upstream_that_is_well_asks_nothing_more_than_a_pick():
    upstream = make(A, B)
    upstream.start()
    assert not upstream.special
    assert upstream.single is None
    fail(upstream, A)
    assert not upstream.special
    pass_time(upstream, 10.5)
    assert upstream.special  # who may be tried is looked at for each request
    pass_time(upstream, 10.5)
    assert not upstream.special
    assert make(A).single is not None


# -- ejections


def test_the_only_backend_is_never_ejected(lines):
    upstream = make(A)
    fail(upstream, A, 50)
    assert upstream.backend(A).health == WELL
    assert lines == []
    upstream = make(A, B)
    upstream.drain(B)
    del lines[:]
    fail(upstream, A, 50)
    assert lines == []


@pytest.mark.parametrize(
    ("share", "count", "most"), [(0.5, 2, 1), (0.5, 3, 1), (0.5, 4, 2), (0.1, 4, 1), (1.0, 4, 3), (0.0, 4, 1)]
)
def test_so_many_may_be_ejected_at_a_time(share, count, most, lines):
    upstream = make(*(A, B, C, D)[:count], passive=model.Passive(failures=2, share=share))
    for name in (A, B, C, D)[:count]:
        fail(upstream, name, 4)
    out = [backend for backend in upstream.backends if backend.health == EJECTED]
    assert len(out) == most
    assert len([line for line in lines if "is ejected" in line]) == most


def test_a_trial_is_one_request_that_may_be_repeated(lines):
    upstream = make(A, B)
    fail(upstream, A)
    assert names(upstream.ready) == [B]
    pass_time(upstream, 10.25)
    assert upstream.backend(A).health == TRIAL
    assert upstream.choose(asked(b"POST")).name == B
    assert upstream.choose(asked(b"GET"), tried=(upstream.backend(A),)).name == B
    tried = upstream.choose(asked(b"GET"))
    assert tried.name == A
    assert upstream.choose(asked(b"GET")).name == B  # one at a time
    upstream.watch.answered(tried, 200)
    assert tried.health == WELL
    assert names(upstream.ready) == [A, B]
    assert lines == [
        f"upstream app: {A} is ejected for 10 s: 1 failures in a row, the last: backend-connect",
        f"upstream app: {A} is on trial: its ejection is over",
        f"upstream app: {A} serves again: a request was answered",
    ]
    assert not upstream.reactor.getDelayedCalls()


def test_a_trial_that_fails_is_an_ejection_twice_as_long(lines):
    upstream = make(A, B)
    fail(upstream, A)
    for seconds in (10, 20, 40):
        assert upstream.backend(A).health == EJECTED
        assert f"is ejected for {seconds} s" in lines[-1]
        pass_time(upstream, seconds - 0.25)
        assert upstream.backend(A).health == EJECTED
        pass_time(upstream, 0.5)
        assert upstream.choose(asked()).name == A
        fail(upstream, A)
    assert "it was tried again" in lines[-1]


def test_failures_of_requests_that_were_sent_before_do_not_count_in_a_trial():
    upstream = make(A, B)
    fail(upstream, A)
    fail(upstream, A, 5)
    pass_time(upstream, 10.25)
    fail(upstream, A, 5)
    assert upstream.backend(A).health == TRIAL


def test_who_is_never_tried_returns_by_itself(lines):
    upstream = make(A, B)
    fail(upstream, A)
    pass_time(upstream, 20.5)
    assert upstream.backend(A).health == WELL
    assert lines[-1] == f"upstream app: {A} serves again: nobody could try it"
    assert not upstream.reactor.getDelayedCalls()


def test_a_trial_that_is_still_out_is_waited_for():
    upstream = make(A, B)
    fail(upstream, A)
    pass_time(upstream, 10.25)
    exchange = asked()
    exchange.backend = upstream.choose(exchange)
    assert exchange.backend.name == A
    pass_time(upstream, 45)  # it hangs: that is no sign of health
    assert upstream.backend(A).health == TRIAL
    fail(upstream, A)
    assert upstream.backend(A).health == EJECTED


def test_a_trial_whose_client_left_ends():
    upstream = make(A, B)
    fail(upstream, A)
    pass_time(upstream, 10.25)
    exchange = asked()
    exchange.backend = upstream.choose(exchange)
    exchange.state = DONE
    pass_time(upstream, 10.25)
    assert upstream.backend(A).health == TRIAL  # that its client left is no sign of health
    other = asked()
    assert upstream.choose(other) is upstream.backend(A)
    other.state = DONE
    pass_time(upstream, 10.25)
    assert upstream.backend(A).health == TRIAL
    pass_time(upstream, 10.25)
    assert upstream.backend(A).health == WELL
    assert not upstream.reactor.getDelayedCalls()


def test_a_full_backend_is_not_tried():
    upstream = make(A, B, max_requests=1)
    fail(upstream, A)
    pass_time(upstream, 10.25)
    upstream.backend(A).active = 1
    assert upstream.choose(asked()).name == B


def test_health_checks_bring_back_who_did_not_answer_but_not_who_answered_badly():
    upstream = make(A, B, C)
    fail(upstream, A)
    upstream.watch.checked(upstream.backend(A), True, "2 checks passed")
    assert upstream.backend(A).health == WELL
    backend = upstream.backend(B)
    backend.requests += 1
    upstream.watch.failed(backend, "status 500", answered=True)
    upstream.watch.checked(backend, True, "2 checks passed")
    assert backend.health == EJECTED
    upstream.watch.checked(backend, False, "3 checks failed")
    upstream.watch.checked(backend, True, "2 checks passed")
    assert backend.health == WELL
    assert not upstream.reactor.getDelayedCalls()


# -- weights and slow starts


def share(upstream, count=400):
    picked = names(upstream.choose(asked()) for _ in range(count))
    return {name: picked.count(name) for name in set(picked)}


def test_weights_change_while_it_runs(lines):
    upstream = make(A, B, balance="round-robin")
    upstream.start()
    assert share(upstream) == {A: 200, B: 200}
    upstream.set_weight(A, 3)
    assert share(upstream) == {A: 300, B: 100}
    with pytest.raises(ValueError, match="1 or more"):
        upstream.set_weight(A, 0)
    with pytest.raises(KeyError):
        upstream.set_weight("tcp:nobody:1", 2)
    assert lines == [f"upstream app: {A} has weight 3: it was set, and was 1"]


def test_a_slow_start_is_a_ramp(lines):
    upstream = make(one(A, weight=4), B, slow_start=20.0)
    fail(upstream, A)
    upstream.watch.checked(upstream.backend(A), True, "x")
    weights = []
    for _ in range(21):
        weights.append(upstream.backend(A).weight)
        upstream.reactor.advance(1.0)
    assert weights == [pytest.approx(4 * step / 20) for step in range(1, 20)] + [4, 4]
    assert upstream.backend(B).weight == 1
    assert not upstream.reactor.getDelayedCalls()


def test_a_weight_that_is_set_in_a_slow_start_is_the_one_it_comes_to():
    upstream = make(A, B, slow_start=20.0)
    fail(upstream, A)
    upstream.watch.checked(upstream.backend(A), True, "x")
    upstream.reactor.advance(1.0)
    upstream.set_weight(A, 10)
    pass_time(upstream, 1.0)
    assert upstream.backend(A).weight < 5
    pass_time(upstream, 20)
    assert upstream.backend(A).weight == 10


def test_an_ejection_ends_a_slow_start_and_the_next_one_begins_anew():
    upstream = make(A, B, slow_start=20.0)
    fail(upstream, A)
    upstream.watch.checked(upstream.backend(A), True, "x")
    pass_time(upstream, 5)
    fail(upstream, A)
    pass_time(upstream, 20.25)
    assert upstream.backend(A).health == TRIAL
    upstream.watch.answered(upstream.backend(A), 200)
    assert upstream.backend(A).weight == pytest.approx(1 / 20)
    pass_time(upstream, 20)
    assert upstream.backend(A).weight == 1


# -- drains


def test_a_drained_backend_gets_nothing_new_and_tells_when_it_is_empty(lines):
    upstream = make(A, B)
    backend = upstream.backend(A)
    backend.active = 2
    told = []
    upstream.drain(A).addCallback(told.append)
    assert names(upstream.ready) == [B]
    assert upstream.single is upstream.backend(B)
    for left in (1, 0):
        assert told == []
        backend.active = left
        backend.freed(backend)
    assert told == [None]
    assert backend.pool.closed
    upstream.resume(A)
    assert names(upstream.ready) == [A, B]
    assert not backend.pool.closed
    assert lines == [
        f"upstream app: {A} is drained: it was asked for",
        f"upstream app: {A} is empty: it was drained",
        f"upstream app: {A} serves again: it was asked for",
    ]


def test_an_idle_backend_is_drained_at_once():
    upstream = make(A, B)
    told = []
    upstream.drain(A).addCallback(told.append)
    assert told == [None]


def test_the_sticky_may_stay_for_a_while():
    upstream = make(A, B, sticky=model.Sticky())
    backend = upstream.backend(A)
    exchange = asked()
    token = upstream.sticky.token(A)
    upstream.sticky._read = lambda exchange: token
    told = []
    upstream.drain(A, 30.0).addCallback(told.append)
    assert backend.state == "draining"
    assert upstream.choose(exchange) is backend
    assert upstream.choose(exchange, tried=(backend,)).name == B
    backend.active = 1
    pass_time(upstream, 30.25)
    assert upstream.choose(exchange).name == B
    assert told == []
    backend.active = 0
    backend.freed(backend)
    assert told == [None]


def test_a_drain_that_is_taken_back_tells_and_leaves_no_timer():
    upstream = make(A, B, sticky=model.Sticky())
    upstream.backend(A).active = 1
    told = []
    upstream.drain(A, 30.0).addCallback(told.append)
    upstream.resume(A)
    assert told == [None]
    assert not upstream.reactor.getDelayedCalls()
    upstream.resume(A)  # twice is once
    assert names(upstream.ready) == [A, B]


def test_draining_all_of_them_leaves_none():
    upstream = make(A, B)
    upstream.drain(A)
    upstream.drain(B)
    assert upstream.ready == ()
    assert upstream.single is None
    assert upstream.choose(asked()) is None


def test_a_drain_survives_a_change_of_members():
    source = Found()
    upstream = make(A, B, sources=[source], max_requests=5)
    upstream.start()
    backend = upstream.backend(A)
    backend.active = 1
    told = []
    upstream.drain(A).addCallback(told.append)
    source.find(C)
    assert names(upstream.ready) == [B, C]
    backend.active = 0
    backend.freed(backend)
    assert told == [None]


def test_a_drain_of_one_that_leaves_ends():
    source = Found()
    upstream = make(A, sources=[source], sticky=model.Sticky())
    upstream.start()
    source.find(B)
    told = []
    upstream.backend(B).active = 1
    upstream.drain(B, 30.0).addCallback(told.append)
    backend = upstream.backend(B)
    source.find()
    assert told == []
    assert not upstream.reactor.getDelayedCalls()
    backend.active = 0
    backend.freed(backend)
    assert told == [None]
    source.find(B)  # it is back, and still nobody wants it to serve
    pass_time(upstream, 60)
    assert upstream.backend(B).state == "drained"
    upstream.resume(B)
    assert names(upstream.ready) == [A, B]


def test_a_drain_of_one_that_leaves_and_comes_back_goes_on():
    source = Found()
    upstream = make(A, sources=[source])
    upstream.start()
    source.find(B)
    told = []
    upstream.backend(B).active = 1
    upstream.drain(B).addCallback(told.append)
    source.find()
    source.find(B)
    assert told == []
    assert names(upstream.ready) == [A]
    backend = upstream.backend(B)
    backend.active = 0
    backend.freed(backend)
    assert told == [None]


def test_a_drain_may_be_given_less_time(lines):
    upstream = make(A, B, sticky=model.Sticky())
    backend = upstream.backend(A)
    backend.active = 1
    told = []
    upstream.drain(A, 30.0).addCallback(lambda _: told.append("first"))
    upstream.drain(A, 5.0).addCallback(lambda _: told.append("second"))
    pass_time(upstream, 5.25)
    assert backend.state == "drained"
    backend.active = 0
    backend.freed(backend)
    assert sorted(told) == ["first", "second"]
    assert not upstream.reactor.getDelayedCalls()
    assert len(lines) == 2


def test_a_lone_backend_with_a_backup_is_ejected_as_long_as_that_is_usable():
    upstream = make(A, one(B, backup=1))
    fail(upstream, A)
    assert names(upstream.ready) == [B]
    fail(upstream, B)
    assert names(upstream.ready) == [B]


def test_resuming_one_that_is_ejected_leaves_its_ejection_alone():
    upstream = make(A, B, slow_start=5.0)
    fail(upstream, A)
    upstream.drain(A)
    upstream.resume(A)
    pass_time(upstream, 10.25)
    assert upstream.backend(A).health == TRIAL


def test_a_drain_ends_when_the_upstream_closes():
    upstream = make(A, B, sticky=model.Sticky())
    backend = upstream.backend(A)
    backend.active = 1
    told = []
    upstream.drain(A, 30.0).addCallback(told.append)
    upstream.close()
    assert not upstream.reactor.getDelayedCalls()
    backend.active = 0
    backend.freed(backend)
    assert told == [None]


# -- members that come and go


def test_members_that_are_found(lines):
    source = Found()
    upstream = make(sources=[source])
    assert upstream.pending
    assert upstream.special
    assert upstream.choose(asked()) is None  # which starts it
    assert upstream.has_room_later(())
    source.find(A, B)
    assert not upstream.pending
    assert names(upstream.ready) == [A, B]
    source.find(B, C)
    assert names(upstream.ready) == [B, C]
    assert lines == [
        f"upstream app: {A} joins: it was found",
        f"upstream app: {B} joins: it was found",
        f"upstream app: {C} joins: it was found",
        f"upstream app: {A} leaves: it was not found any more",
    ]


def test_what_is_found_twice_is_there_once_and_what_is_written_comes_first():
    source = Found()
    upstream = make(one(A, weight=3), sources=[source])
    upstream.start()
    source.find(one(A, weight=7), B)
    assert names(upstream.backends) == [A, B]
    assert upstream.backend(A).full_weight == 3


def test_an_address_that_can_not_be_used_is_logged_and_left_out(lines):
    source = Found()
    upstream = make(A, sources=[source])
    upstream.start()
    source.find("nonsense:::", B)
    assert names(upstream.ready) == [A, B]
    assert len([line for line in lines if "can't be used" in line]) == 1


def test_who_comes_back_is_the_same_and_its_ejection_goes_on():
    source = Found()
    upstream = make(A, sources=[source])
    upstream.start()
    source.find(B)
    backend = fail(upstream, B)
    assert backend.health == EJECTED
    source.find()
    assert backend.state == "gone"
    pass_time(upstream, 4)
    source.find(B)
    assert upstream.backend(B) is backend
    assert backend.health == EJECTED
    assert names(upstream.ready) == [A]
    pass_time(upstream, 5.5)
    assert backend.health == EJECTED
    pass_time(upstream, 1)
    assert backend.health == TRIAL
    pass_time(upstream, 10.5)
    assert backend.health == WELL
    assert not upstream.reactor.getDelayedCalls()


def test_who_comes_back_during_its_trial_gets_another():
    source = Found()
    upstream = make(A, sources=[source])
    upstream.start()
    source.find(B)
    backend = fail(upstream, B)
    pass_time(upstream, 10.25)
    assert upstream.choose(asked()) is backend
    source.find()
    source.find(B)
    assert backend.health == TRIAL
    assert upstream.choose(asked()) is backend
    upstream.watch.answered(backend, 200)
    assert names(upstream.ready) == [A, B]


def test_who_was_away_for_long_is_forgotten():
    source = Found()
    upstream = make(A, sources=[source])
    upstream.start()
    source.find(B)
    backend = upstream.backend(B)
    source.find()
    pass_time(upstream, 601, 1)
    source.find(C)
    source.find(B)
    assert upstream.backend(B) is not backend


def test_who_has_left_is_not_ejected(lines):
    source = Found()
    upstream = make(A, C, sources=[source])
    upstream.start()
    source.find(B)
    backend = upstream.backend(B)
    source.find()
    del lines[:]
    upstream.watch.failed(backend, "backend-reset")
    assert lines == []
    assert not upstream.reactor.getDelayedCalls()


def test_a_slow_start_of_one_that_joins_begins_at_once():
    source = Found()
    upstream = make(one(A, weight=10), sources=[source], slow_start=20.0)
    upstream.start()
    source.find(one(B, weight=10))
    assert upstream.backend(A).weight == 10
    assert upstream.backend(B).weight == pytest.approx(0.5)
    pass_time(upstream, 20.25)
    assert upstream.backend(B).weight == 10


def test_those_that_are_found_first_do_not_start_slowly():
    source = Found()
    upstream = make(sources=[source], slow_start=20.0)
    upstream.start()
    source.find(A, B)
    assert {backend.weight for backend in upstream.backends} == {1}
    assert not upstream.reactor.getDelayedCalls()


def test_a_weight_that_is_found_changed_counts():
    source = Found()
    upstream = make(sources=[source], balance="round-robin")
    upstream.start()
    source.find(A, B)
    before = upstream.ready
    source.find(one(A, weight=3), B)
    assert upstream.ready is not before
    assert share(upstream) == {A: 300, B: 100}
    upstream.set_weight(B, 3)
    source.find(one(A, weight=3), B)  # nothing new: what was set stays
    assert share(upstream) == {A: 200, B: 200}


def test_requests_are_counted_on_when_a_backend_leaves():
    source = Found()
    upstream = make(A, sources=[source])
    upstream.start()
    source.find(B)
    upstream.backend(A).requests = 10
    upstream.backend(B).requests = 1000
    source.find()
    assert upstream.requests == 1010
    source.find(B)
    assert upstream.requests == 1010
    upstream.backend(B).requests += 1
    assert upstream.requests == 1011


# -- caps


def test_caps_are_those_of_the_backend_or_the_upstream():
    upstream = make(one(A, max_requests=1), B, max_requests=2)
    exchange = asked()
    upstream.backend(A).active = 1
    assert {upstream.choose(exchange).name for _ in range(4)} == {B}
    upstream.backend(B).active = 2
    assert upstream.choose(exchange) is None
    assert upstream.has_room_later(())
    assert upstream.has_room_later([upstream.backend(A)])
    assert not upstream.has_room_later(upstream.backends)


def test_one_that_was_tried_and_is_out_by_now_takes_no_room_from_the_others():
    upstream = make(A, B, C, max_requests=1)
    tried = [fail(upstream, A)]
    upstream.backend(B).active = 1
    assert upstream.choose(asked(), tried).name == C


def test_a_backup_that_is_full_is_waited_for():
    upstream = make(A, one(B, backup=1), max_requests=1)
    upstream.backend(B).active = 1
    tried = [upstream.backend(A)]
    assert upstream.has_others(tried)
    assert upstream.choose(asked(), tried) is None
    assert upstream.has_room_later(tried)


def test_choosing_among_many_full_ones_takes_no_longer_than_looking_at_each():
    upstream = make(*(f"tcp:10.0.0.1:{port}" for port in range(1, 301)), max_requests=1)
    for backend in upstream.backends[:-1]:
        backend.active = 1
    last = upstream.backends[-1]
    excluded = []
    pick = upstream.balancer.pick
    upstream.balancer = SimpleNamespace(observe=None, pick=lambda *args: excluded.append(args[2]) or pick(*args))
    assert upstream.choose(asked()) is last
    assert isinstance(excluded[0], set)  # each is looked up, where a list would be searched for each
    assert len(excluded[0]) == 299


# -- life


def test_close_leaves_no_timer():
    source = Found()
    upstream = make(A, B, C, sources=[source], slow_start=5.0, health=model.HealthCheck())
    upstream.start()
    fail(upstream, A)
    upstream.watch.checked(upstream.backend(B), False, "x")
    upstream.watch.checked(upstream.backend(B), True, "x")
    upstream.drain(C, 5.0)
    assert upstream.reactor.getDelayedCalls()
    upstream.close()
    assert source.changed is None
    assert not upstream.reactor.getDelayedCalls()


def test_what_is_in_flight_when_it_closes_starts_nothing_anew():
    upstream = make(A, B, C, health=model.HealthCheck(), sticky=model.Sticky(), slow_start=5.0)
    upstream.start()
    upstream.close()
    assert upstream.choose(asked(), tried=(upstream.backend(A),)) is not None
    fail(upstream, A)
    upstream.watch.answered(upstream.backend(A), 200)
    assert not upstream.reactor.getDelayedCalls()


def test_it_starts_again_after_it_was_closed():
    upstream = make(A, B, health=model.HealthCheck())
    upstream.start()
    upstream.close()
    upstream.start()
    assert upstream.reactor.getDelayedCalls()
    fail(upstream, A)
    assert upstream.backend(A).health == EJECTED
    upstream.close()
    assert not upstream.reactor.getDelayedCalls()


def test_an_ejection_from_before_it_was_closed_ends_when_it_starts_again():
    upstream = make(A, B)
    upstream.start()
    fail(upstream, A)
    upstream.close()
    upstream.start()
    pass_time(upstream, 30)
    assert upstream.backend(A).health == WELL


def test_an_address_that_is_found_under_another_name_is_another_backend():
    source = Found()
    upstream = make(A, sources=[source], host="backend")
    upstream.start()
    source.hosts = {B: "blue.test"}
    source.find(B)
    blue = upstream.backend(B)
    assert blue.authority.startswith(b"blue.test")
    source.hosts = {B: "green.test"}
    source.find(B)
    green = upstream.backend(B)
    assert green is not blue
    assert blue.state == "gone"
    assert green.authority.startswith(b"green.test")
    source.hosts = {B: "blue.test"}
    source.find(B)
    assert upstream.backend(B).authority.startswith(b"blue.test")


def test_so_many_that_left_are_remembered_and_no_more():
    source = Found()
    upstream = make(A, sources=[source])
    upstream.start()
    for turn in range(12):
        source.find(*(f"tcp:10.0.{turn}.1:{port}" for port in range(1, 101)))
    assert len(upstream.members._gone) == 1000
    source.find("tcp:10.0.10.1:5")
    assert upstream.backend("tcp:10.0.10.1:5").state == "up"
