"""Keys that are fetched: when, how often, and what stays when they can't be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from revproxy.auth import keys as module
from revproxy.auth.keys import AGAIN, FetchedKeys, FixedKeys
from revproxy.auth.outcome import Identity
from revproxy.auth.token import Rules, read_keys, verify as real
from revproxy.auth.tokens import JwtMethod
from revproxy.http.h1 import RequestParser
from tests.auth.kit import jwks, key, token
from tests.kit import logged

NOW = 1_800_000_000
ONE = jwks(("one", key()))
BOTH = jwks(("one", key()), ("two", key("RS256", 1)))


class Place:
    """Where keys are fetched, by hand."""

    def __init__(self, refresh=3600.0):
        self.clock = Clock()
        self.asked = []
        self.keys = FetchedKeys("keys", self.fetch, lambda data: read_keys(data, ["RS256"]), self.clock, refresh)
        self.method = JwtMethod(self.keys, Rules(("RS256",)), "header", "r", lambda: NOW + self.clock.seconds())

    def fetch(self):
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self, data):
        if isinstance(data, Exception):
            self.asked[-1].errback(data)
        else:
            self.asked[-1].callback(data)

    def check(self, made):
        request = RequestParser().parse(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + made)
        found = []
        outcome = self.method.check(SimpleNamespace(request=request))
        if isinstance(outcome, Deferred):
            outcome.addBoth(found.append)
            return found
        return [outcome]


def good(kid="one", number=0, **claims):
    return token({"sub": "alice", "exp": NOW + 600} | claims, kid=kid, number=number)


def is_good(found):
    return len(found) == 1 and isinstance(found[0], Identity)


def test_they_are_fetched_at_the_start_and_again_and_again():
    place = Place(100.0)
    place.keys.start()
    place.keys.start()
    assert len(place.asked) == 1
    place.answer(ONE)
    assert is_good(place.check(good()))
    place.clock.advance(99.9)
    assert len(place.asked) == 1
    place.clock.advance(0.1)
    assert len(place.asked) == 2
    place.answer(BOTH)
    assert is_good(place.check(good("two", 1)))


def test_requests_that_come_before_them_wait_and_ask_once():
    place = Place()
    found = [place.check(good()) for _ in range(5)]
    assert len(place.asked) == 1
    assert found == [[]] * 5
    place.answer(ONE)
    assert all(map(is_good, found))


def test_without_keys_nobody_gets_in():
    place = Place()
    found = place.check(good())
    with logged("revproxy.auth.keys") as lines:
        place.answer(OSError("no route"))
    assert found[0].fault.word == "auth-unavailable"
    assert "no route; tokens can't be checked" in lines[0]
    assert place.check(good())[0].fault.word == "auth-unavailable"
    assert len(place.asked) == 1
    place.clock.advance(AGAIN)
    assert len(place.asked) == 2
    with logged("revproxy.auth.keys") as lines:
        place.answer(ONE)
    assert "could be fetched again" in lines[0]
    assert is_good(place.check(good()))


def test_an_unknown_key_is_looked_for_once_in_a_while():
    place = Place()
    place.keys.start()
    place.answer(ONE)
    assert place.check(good("two", 1))[0].fault.word == "auth-refused"  # they were fetched a moment ago
    place.clock.advance(AGAIN)
    found = [place.check(good("two", 1)) for _ in range(3)]
    assert len(place.asked) == 2
    assert is_good(place.check(good()))  # who is known does not wait
    place.answer(BOTH)
    assert all(map(is_good, found))
    for number in range(50):
        assert place.check(good(f"other{number}", 1))[0].fault.word == "auth-refused"
    assert len(place.asked) == 2
    place.clock.advance(AGAIN)
    found = place.check(good("three", 1))
    place.answer(BOTH)
    assert found[0].fault.word == "auth-refused"
    assert len(place.asked) == 3


@pytest.mark.parametrize("bad", [b"<html>", b'{"keys": 1}', b'{"keys": [', OSError("gone")])
def test_the_last_good_ones_stay(bad):
    place = Place(100.0)
    place.keys.start()
    place.answer(ONE)
    place.clock.advance(100.0)
    with logged("revproxy.auth.keys") as lines:
        place.answer(bad)
        place.clock.advance(AGAIN)
        place.answer(bad)
    assert len(lines) == 1
    assert "the last ones stay" in lines[0]
    assert is_good(place.check(good()))


def test_a_key_that_is_gone_is_good_for_nothing():
    place = Place(100.0)
    place.keys.start()
    place.answer(BOTH)
    assert is_good(place.check(good("two", 1)))
    place.clock.advance(100.0)
    place.answer(ONE)
    assert not is_good(place.check(good("two", 1)))  # although it was remembered


NOTHING = [b'{"keys": []}', jwks(("ec", key("ES256"))), b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}']


@pytest.mark.parametrize("empty", NOTHING)
def test_a_set_without_a_key_that_can_be_used_counts_too(empty):
    place = Place(100.0)
    place.keys.start()
    place.answer(ONE)
    assert is_good(place.check(good()))
    place.clock.advance(100.0)
    with logged("revproxy.auth.keys") as lines:
        place.answer(empty)
        assert [place.check(good(kid))[0].fault.word for kid in ("one", None)] == ["auth-refused"] * 2
        place.clock.advance(AGAIN)  # sooner than ever
        place.answer(empty)
    assert lines == ["keys: none of the keys in the set can be used; every token is refused"]
    place.clock.advance(AGAIN)
    place.answer(OSError("gone"))
    assert place.check(good())[0].fault.word == "auth-refused"
    place.clock.advance(AGAIN)
    place.answer(ONE)
    assert is_good(place.check(good()))


@pytest.mark.parametrize("kid", ["one", None])
def test_tokens_wait_for_the_next_look_at_such_a_set(kid):
    place = Place(100.0)
    place.keys.start()
    place.answer(NOTHING[0])
    assert not is_good(place.check(good(kid)))
    place.clock.advance(AGAIN)
    found = place.check(good(kid))
    assert found == []  # it waits
    place.answer(ONE)
    assert is_good(found)


def test_who_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "WAITERS", 2)
    place = Place()
    found = [place.check(good()) for _ in range(3)]
    assert found[2][0].fault.word == "auth-unavailable"
    assert found[:2] == [[], []]


def test_who_leaves_is_forgotten():
    place = Place()
    waiter = place.keys.more()
    waiter.addErrback(lambda failure: failure.trap(CancelledError) and None)
    waiter.cancel()
    place.answer(ONE)
    assert place.keys.keys is not None


def test_stopping_ends_all_of_it():
    place = Place()
    found = place.check(good())
    with logged("revproxy.auth.keys") as lines:
        place.keys.close()
    assert found[0].fault.word == "auth-unavailable"
    assert lines == []
    place = Place()
    place.keys.start()
    place.answer(ONE)
    place.keys.close()
    assert place.clock.getDelayedCalls() == []


def test_good_tokens_are_remembered_until_they_end(monkeypatch):
    calls = []
    monkeypatch.setattr("revproxy.auth.tokens.verify", lambda *args: calls.append(args) or real(*args))
    place = Place()
    place.keys.keys = read_keys(ONE, ["RS256"])
    made = good(exp=NOW + 100)
    for _ in range(3):
        assert is_good(place.check(made))
    assert len(calls) == 1
    place.clock.advance(159.9)
    assert is_good(place.check(made))
    place.clock.advance(0.1)
    assert not is_good(place.check(made))


def test_tokens_that_are_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr("revproxy.auth.tokens.REMEMBERED", 3)
    place = Place()
    place.keys.keys = read_keys(ONE, ["RS256"])
    for number in range(10):
        assert is_good(place.check(good(sub=f"a{number}")))
    assert len(place.method._known) == 3


def test_long_tokens_are_not_even_looked_at():
    place = Place()
    assert place.check(b"x" * 8193)[0].fault.word == "auth-refused"
    assert place.asked == []


def test_fixed_keys_can_be_changed():
    fixed = FixedKeys(read_keys(ONE, ["RS256"]), "file")
    fixed.use(read_keys(BOTH, ["RS256"]))
    assert len(fixed.keys.keys) == 2
    assert fixed.more() is None
    with logged("revproxy.auth.keys") as lines:
        fixed.use(read_keys(NOTHING[0], ["RS256"]))
    assert lines == ["file: none of the keys in the set can be used; every token is refused"]
