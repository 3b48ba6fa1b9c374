"""Signed requests: nonces, errors, and what is sent once more."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock

from revproxy.tls.acme.certificates import new_key
from revproxy.tls.acme.client import LONGEST, NONCES, PAUSE, TRIES, Client, again, location
from revproxy.tls.acme.jose import AccountKey
from revproxy.tls.acme.messages import BAD_NONCE, RATE_LIMITED, AcmeFailed
from revproxy.tls.challenges import Challenges
from tests.tls.acme.authority import DIRECTORY, URL, Authority, Response, problem


class Talk:
    """A client with an account, and its authority."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.authority = Authority(Challenges(), self.clock)
        self.client = Client(self.authority, DIRECTORY, AccountKey(new_key()), self.clock, lambda: 1000.0)
        self.ask(self.client.post(f"{URL}/account", {"termsOfServiceAgreed": True}, as_account=False))
        self.client.account = next(iter(self.authority.accounts), None)
        self.authority.requests.clear()

    def ask(self, asked: Any) -> list[Any]:
        told: list[Any] = []
        Deferred.fromCoroutine(asked).addBoth(told.append)
        return told

    def order(self) -> list[Any]:
        return self.ask(self.client.post(f"{URL}/orders", {"identifiers": [{"type": "dns", "value": "a.test"}]}))

    def fails(self, told: list[Any]) -> AcmeFailed:
        (failure,) = told
        failure.trap(AcmeFailed)
        error: AcmeFailed = failure.value
        assert str(error).isprintable()
        return error


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_each_answer_s_nonce_is_for_the_next_request(talk: Talk) -> None:
    for _ in range(3):
        (reply,) = talk.order()
        assert location(reply, "it").startswith(f"{URL}/order/")
    assert talk.authority.requests == ["orders"] * 3


def test_a_nonce_that_is_not_taken_is_replaced(talk: Talk) -> None:
    talk.authority.faults["orders"] = [problem("badNonce")] * (NONCES - 1)
    (reply,) = talk.order()
    assert reply.said["status"] == "pending"
    assert talk.authority.requests == ["orders"] * NONCES


def test_nonces_that_are_never_taken(talk: Talk) -> None:
    talk.authority.faults["orders"] = [problem("badNonce")] * 99
    error = talk.fails(talk.order())
    assert error.problem is not None and error.problem.type == BAD_NONCE
    assert len(talk.authority.requests) == NONCES


@pytest.mark.parametrize("nonce", ["", "a b", "a" * 300])
def test_an_answer_without_a_nonce_that_can_be_used_makes_us_ask_for_one(talk: Talk, nonce: str) -> None:
    talk.authority.faults["orders"] = [problem("badNonce", replay_nonce=nonce)]
    assert talk.order()[0].said["status"] == "pending"
    assert talk.authority.requests == ["orders", "nonce", "orders"]


def test_an_authority_that_gives_no_nonce(talk: Talk) -> None:
    talk.authority.faults["orders"] = [problem("badNonce", replay_nonce="")]
    talk.authority.faults["nonce"] = [(200, {"replay-nonce": ""}, b"")]
    assert "gives no nonce" in str(talk.fails(talk.order()))


def test_a_short_pause_is_kept_here(talk: Talk) -> None:
    talk.authority.faults["orders"] = [problem("rateLimited", 429, retry_after="7")]
    told = talk.order()
    talk.clock.advance(6.9)
    assert told == []
    talk.clock.advance(0.2)
    assert told[0].said["status"] == "pending"


def test_a_pause_until_a_date(talk: Talk) -> None:
    talk.authority.faults["orders"] = [problem("rateLimited", 503, retry_after="Thu, 01 Jan 1970 00:17:00 GMT")]
    told = talk.order()
    talk.clock.advance(19.9)
    assert told == []
    talk.clock.advance(0.2)
    assert told[0].said["status"] == "pending"


def test_a_long_pause_is_for_the_one_who_asked(talk: Talk) -> None:
    talk.authority.faults["orders"] = [problem("rateLimited", 429, "too many", retry_after="61")]
    error = talk.fails(talk.order())
    assert error.retry_after == 61.0 and str(error) == f'"{URL}/orders": rateLimited: too many'


def test_what_changes_something_is_not_sent_twice(talk: Talk) -> None:
    for fault in ((500, {}, b"oops"), (502, {}, b""), ConnectionRefusedError(), (302, {"location": URL}, b"")):
        talk.authority.requests.clear()
        talk.authority.faults["orders"] = [fault]
        talk.fails(talk.order())
        assert talk.authority.requests.count("orders") == 1
        assert talk.authority.orders == 0


def test_what_reads_is_sent_again_and_not_for_ever(talk: Talk) -> None:
    (reply,) = talk.order()
    for make in (lambda: (500, {}, b"oops"), ConnectionRefusedError, lambda: Response(200, {}, b"x" * (2 << 20))):
        talk.authority.faults["order"] = [make() for _ in range(TRIES - 1)]
        told = talk.ask(talk.client.get(reply.location))
        talk.clock.pump([PAUSE] * 20)
        assert told[0].said["status"] == "pending"
        talk.authority.faults["order"] = [make() for _ in range(TRIES)]
        told = talk.ask(talk.client.get(reply.location))
        talk.clock.pump([PAUSE] * 20)
        talk.fails(told)
        assert not talk.authority.faults["order"]


def test_a_directory_that_is_none() -> None:
    for fault in ((404, {}, b"<html>"), (200, {}, b"<html>"), (200, {}, {"newNonce": URL}), (200, {}, [])):
        clock = Clock()
        authority = Authority(Challenges(), clock)
        authority.faults["dir"] = [fault]
        told: list[Any] = []
        client = Client(authority, DIRECTORY, AccountKey(new_key()), clock, lambda: 0.0)
        Deferred.fromCoroutine(client.find()).addBoth(told.append)
        assert told[0].check(AcmeFailed)


@pytest.mark.parametrize(
    ("tries", "reads", "status", "kind", "pause", "wait"),
    [
        (1, True, 0, "", None, PAUSE),
        (2, True, 502, "", None, 2 * PAUSE),
        (3, True, 500, "", None, 4 * PAUSE),
        (TRIES, True, 500, "", None, None),
        (1, False, 0, "", None, None),
        (1, False, 500, "", None, None),
        (1, False, 503, "", None, PAUSE),
        (1, False, 503, "", 9.0, 9.0),
        (1, False, 429, RATE_LIMITED, 0.0, PAUSE),
        (1, True, 429, RATE_LIMITED, LONGEST, LONGEST),
        (1, True, 429, RATE_LIMITED, LONGEST + 1, None),
        (1, True, 429, RATE_LIMITED, None, None),
        (1, True, 400, "malformed", None, None),
        (1, True, 403, "unauthorized", 5.0, None),
    ],
)
def test_what_is_sent_again(
    tries: int, reads: bool, status: int, kind: str, pause: float | None, wait: float | None
) -> None:
    assert again(tries, reads, status, kind, pause) == wait
