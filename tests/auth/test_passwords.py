"""Passwords that are checked in threads: how many, for whom, and what is remembered."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from revproxy.auth import passwords as module
from revproxy.auth.hashes import Users
from revproxy.auth.passwords import EACH, WAITING, Busy, Passwords
from tests.auth.kit import bcrypted

USERS = Users({"alice": bcrypted("a"), "bob": bcrypted("b")})


class Threads:
    """What would be done in threads, held until it is asked for."""

    def __init__(self, monkeypatch):
        self.jobs = []
        monkeypatch.setattr(module, "in_thread", self.take)

    def take(self, reactor, work, *args):
        self.jobs.append((Deferred(), work, args))
        return self.jobs[-1][0]

    def finish(self):
        done, work, args = self.jobs.pop(0)
        done.callback(work(*args))


@pytest.fixture
def threads(monkeypatch):
    return Threads(monkeypatch)


def make(clock=None, keep=60.0, users=USERS, **options):
    return Passwords(users, Clock() if clock is None else clock, keep, **options)


def value(result):
    if isinstance(result, bool):
        return result
    found = []
    result.addBoth(found.append)
    return found[0] if found else None


def test_right_wrong_and_unknown():
    checked = make()
    assert value(checked.ask(b"alice", b"a", "192.0.2.1")) is True
    assert value(checked.ask(b"alice", b"b", "192.0.2.1")) is False
    assert value(checked.ask(b"nobody", b"a", "192.0.2.1")) is False
    assert value(make(users=Users({})).ask(b"alice", b"a", "192.0.2.1")) is False


def test_a_name_that_nobody_has_is_checked_as_any_other_and_never_right():
    calls = []
    checked = make(check=lambda hashed, password: calls.append(hashed) or True)
    assert value(checked.ask(b"nobody", b"a", "")) is False
    assert calls[0] in (bcrypted("a").encode(), bcrypted("b").encode())


def test_results_are_remembered_for_a_while():
    clock = Clock()
    calls = []
    checked = make(clock, 60.0, check=lambda hashed, password: bool(calls.append(password)) or password == b"a")
    for _ in range(3):
        assert value(checked.ask(b"alice", b"a", "")) is True
        assert value(checked.ask(b"alice", b"x", "")) is False
    assert calls == [b"a", b"x"]
    clock.advance(59.9)
    checked.ask(b"alice", b"a", "")
    assert len(calls) == 2
    clock.advance(0.1)
    checked.ask(b"alice", b"a", "")
    checked.ask(b"alice", b"x", "")
    assert len(calls) == 4


def test_nothing_is_remembered_where_that_is_not_wanted():
    calls = []
    checked = make(keep=0.0, check=lambda hashed, password: not calls.append(password))
    assert value(checked.ask(b"alice", b"a", "")) is value(checked.ask(b"alice", b"a", "")) is True
    assert len(calls) == 2


def test_name_and_password_are_not_run_together():
    checked = make(users=Users({"al": bcrypted("icea"), "alice": bcrypted("a")}))
    assert value(checked.ask(b"alice", b"a", "")) is True
    assert value(checked.ask(b"al", b"icea", "")) is True
    assert value(checked.ask(b"alic", b"ea", "")) is False


def test_other_users_forget_everything(threads):
    checked = make(threads=2)
    first = checked.ask(b"alice", b"a", "")
    threads.finish()
    assert value(first) is True
    late = checked.ask(b"bob", b"b", "")
    checked.use(Users({"carol": bcrypted("c")}))
    assert isinstance(checked.ask(b"alice", b"a", ""), Deferred)
    threads.finish()
    assert value(late) is True  # it was right when it was asked
    assert isinstance(checked.ask(b"bob", b"b", ""), Deferred)  # but that is not remembered


def test_the_same_is_checked_once(threads):
    checked = make(threads=4)
    results = [checked.ask(b"alice", b"a", "192.0.2.1") for _ in range(20)]
    assert len(threads.jobs) == 1
    threads.finish()
    assert [value(result) for result in results] == [True] * 20


def test_so_many_at_once_and_the_others_in_turn(threads):
    checked = make(threads=2)
    results = [checked.ask(b"alice", b"%d" % number, f"192.0.2.{number}") for number in range(5)]
    assert len(threads.jobs) == 2
    for left in (4, 3, 2, 1):
        threads.finish()
        assert len(threads.jobs) == min(2, left)
    threads.finish()
    assert [value(result) for result in results] == [False] * 5


def test_the_queue_is_bounded(threads):
    checked = make(threads=1)
    for number in range(WAITING + 1):
        checked.ask(b"alice", b"%d" % number, f"192.0.2.{number}")
    with pytest.raises(Busy):
        checked.ask(b"alice", b"more", "198.51.100.1")
    threads.finish()
    assert isinstance(checked.ask(b"alice", b"more", "198.51.100.1"), Deferred)


@pytest.mark.parametrize(
    ("clients", "other"),
    [
        (["192.0.2.1"], "192.0.2.2"),
        (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1"),
        (["::ffff:1.2.3.4"], "::ffff:1.2.3.5"),
    ],
)
def test_one_client_does_not_take_the_whole_queue(threads, clients, other):
    checked = make(threads=1)
    checked.ask(b"alice", b"first", other)
    for number in range(EACH):
        checked.ask(b"alice", b"%d" % number, clients[number % len(clients)])
    with pytest.raises(Busy):
        checked.ask(b"alice", b"more", clients[0])
    assert isinstance(checked.ask(b"alice", b"more", other), Deferred)


def test_who_waits_is_bounded(threads, monkeypatch):
    monkeypatch.setattr(module, "REQUESTS", 3)
    checked = make(threads=1)
    for _ in range(3):
        checked.ask(b"alice", b"a", "")
    with pytest.raises(Busy):
        checked.ask(b"alice", b"a", "")


def test_what_nobody_waits_for_is_not_checked(threads):
    checked = make(threads=1)
    checked.ask(b"alice", b"a", "")
    waiting = checked.ask(b"bob", b"x", "192.0.2.1")
    again = checked.ask(b"bob", b"x", "192.0.2.1")
    for left in (waiting, again):
        left.addErrback(lambda failure: failure.trap(CancelledError) and None)
        left.cancel()
    threads.finish()
    assert threads.jobs == []
    assert isinstance(checked.ask(b"bob", b"x", "192.0.2.1"), Deferred)
    assert len(threads.jobs) == 1


def test_a_failure_of_the_check_is_told_and_not_remembered():
    def check(hashed, password):
        raise MemoryError

    checked = make(check=check)
    assert value(checked.ask(b"alice", b"a", "")).type is MemoryError
    assert value(checked.ask(b"alice", b"a", "")).type is MemoryError


def test_guesses_push_nobody_out(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 4)
    calls = []
    checked = make(check=lambda hashed, password: not calls.append(password) and password == b"a")
    checked.ask(b"alice", b"a", "")
    for number in range(50):
        value(checked.ask(b"alice", b"%d" % number, ""))
    assert checked.ask(b"alice", b"a", "") is True
    assert calls.count(b"a") == 1
    assert value(checked.ask(b"alice", b"0", "")) is False
    assert calls.count(b"0") == 2
