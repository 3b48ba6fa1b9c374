"""One order with an authority that fails it, or says what it should not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given, settings, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from revproxy.config.tls import Acme
from revproxy.tls.acme import order as module
from revproxy.tls.acme.certificates import answering, new_key, standing
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.messages import AcmeFailed
from revproxy.tls.acme.order import Answers, Ordering, in_words
from revproxy.tls.acme.storage import Storage
from revproxy.tls.challenges import Challenges
from tests.examples import examples
from tests.tls.acme.authority import DIRECTORY, URL, Authority, Response, problem

WRITTEN = Acme(directory=DIRECTORY, names=("a.test", "b.test"))


class Talk:
    """An authority, and one who orders there."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.challenges = Challenges()
        self.authority = Authority(self.challenges, self.clock)
        self.storage = Storage(str(folder), "a.test", DIRECTORY)
        self.storage.prepare()

    def order(self, written: Acme = WRITTEN, seconds: float = 60.0) -> Any:
        self.authority.kind = written.challenge
        account = self.storage.account()
        client = Client(self.authority, DIRECTORY, account.key, self.clock, time.time)
        ordering = Ordering(written, self.storage, account, client, self.challenges, self.clock, time.time)
        told: list[Any] = []
        Deferred.fromCoroutine(ordering.run()).addBoth(told.append)
        self.clock.pump([0.5] * 120)
        self.clock.pump([5.0] * int((seconds - 60) / 5))
        assert self.challenges.files == {} and self.challenges.contexts == {}
        (result,) = told
        return result

    def refused(self, written: Acme = WRITTEN, seconds: float = 60.0) -> str:
        failure = self.order(written, seconds)
        assert failure.check(AcmeFailed), failure
        return str(failure.value)


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def test_the_whole_way(talk: Talk) -> None:
    assert standing(talk.order()).names == {"a.test", "b.test"}
    assert talk.authority.requests == [
        "dir", "nonce", "account", "orders", "authz", "chall", "authz", "chall",
        "authz", "authz", "authz", "authz", "order", "finalize", "order", "cert",
    ]  # fmt: skip


def test_the_second_time_nothing_is_proved_and_no_account_made(talk: Talk) -> None:
    talk.order()
    talk.authority.requests.clear()
    talk.order()
    assert talk.authority.requests == ["dir", "nonce", "orders", "finalize", "order", "cert"]


def test_another_mail_address_is_told(talk: Talk) -> None:
    talk.order()
    talk.order(evolve(WRITTEN, email="new@a.test"))
    (account,) = talk.authority.accounts.values()
    assert account["contact"] == ["mailto:new@a.test"]
    talk.authority.requests.clear()
    talk.order(evolve(WRITTEN, email="new@a.test"))
    assert "account" not in talk.authority.requests


def test_an_account_that_is_forgotten_is_registered_again(talk: Talk) -> None:
    talk.order()
    talk.authority.accounts.clear()
    assert standing(talk.order()).names == {"a.test", "b.test"}
    assert len(talk.authority.accounts) == 1
    talk.authority.accounts.clear()
    talk.order(evolve(WRITTEN, email="new@a.test"))  # noticed when the address is told
    assert len(talk.authority.accounts) == 1


def test_an_account_that_is_never_known_is_not_registered_for_ever(talk: Talk) -> None:
    talk.authority.faults["orders"] = [problem("accountDoesNotExist")] * 9
    assert "accountDoesNotExist" in talk.refused()
    assert talk.authority.requests.count("account") == 1


def test_an_authority_for_customers_only(talk: Talk) -> None:
    talk.authority.meta = {"externalAccountRequired": True}
    assert "externalAccountRequired" in talk.refused()


@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
def test_a_name_that_is_not_proved(talk: Talk, kind: Any) -> None:
    talk.authority.challenges = Challenges()  # another process answers
    if kind == "tls-alpn-01":
        talk.authority.challenges.contexts = {name: talk.storage.context(_answer(name)) for name in WRITTEN.names}
    assert '"a.test" was not proved: unauthorized: nothing found' in talk.refused(evolve(WRITTEN, challenge=kind))
    assert "finalize" not in talk.authority.requests


def _answer(name: str) -> bytes:
    return answering(name, "other.token", time.time())


def test_a_challenge_that_is_not_offered(talk: Talk) -> None:
    written = evolve(WRITTEN, challenge="tls-alpn-01")
    account = talk.storage.account()
    client = Client(talk.authority, DIRECTORY, account.key, talk.clock, time.time)
    told: list[Any] = []
    ordering = Ordering(written, talk.storage, account, client, talk.challenges, talk.clock, time.time)
    Deferred.fromCoroutine(ordering.run()).addBoth(told.append)
    assert 'does not offer "tls-alpn-01", only "dns-01", "http-01"' in str(told[0].value)


@pytest.mark.parametrize("status", ["invalid", "processing", "valid", "nonsense"])
def test_an_order_that_turns_elsewhere(talk: Talk, status: str) -> None:
    said = {
        "status": status, "authorizations": [], "finalize": f"{URL}/finalize/1",
        "error": {"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden"},
    }  # fmt: skip
    for part in ("orders", "order", "finalize"):
        fields = {"location": f"{URL}/order/1"} if part == "orders" else {}
        talk.authority.faults[part] = [(200, fields, said)]
        if status == "processing" and part == "finalize":
            continue  # that is what it should be
        assert talk.refused() == "the order came to nothing: caa: forbidden"


def test_an_authorization_for_what_was_not_ordered(talk: Talk) -> None:
    said = {"status": "valid", "identifier": {"type": "dns", "value": "evil.test"}, "challenges": []}
    talk.authority.faults["authz"] = [(200, {}, said)]
    assert 'wants a proof for "evil.test", which was not ordered' in talk.refused()


def test_a_chain_for_another_key(talk: Talk) -> None:
    other = serialization.load_pem_private_key(new_key(), None).public_key()
    talk.authority.issue = lambda key, names: talk.authority.issued(other, names)
    assert talk.refused() == "the authority issued a certificate for another key than ours"


def test_a_chain_for_other_names(talk: Talk) -> None:
    talk.authority.issue = lambda key, names: talk.authority.issued(key, [*names, "evil.test"])
    assert "not for what was ordered" in talk.refused()


def test_pauses_are_those_that_the_authority_asks_for(talk: Talk) -> None:
    talk.authority.turns = 3
    talk.authority.pause = "5"
    talk.order()
    assert talk.authority.requests.count("authz") < 12
    talk.authority.pause = "100000"  # but not any
    talk.authority.proved.clear()
    standing(talk.order(seconds=700))


def test_a_pause_of_nothing_is_no_storm(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_TIME", 30.0)
    talk.authority.turns = 10**6
    talk.authority.pause = "0"
    assert "did not finish within 30 s: still pending" in talk.refused()
    assert talk.authority.requests.count("authz") <= 64


@pytest.mark.parametrize("part", ["dir", "nonce", "account", "orders", "authz", "chall", "order", "finalize", "cert"])
def test_what_does_not_answer(talk: Talk, part: str) -> None:
    talk.authority.faults[part] = [None] * 8
    assert "no whole answer within 30 s" in talk.refused(seconds=700)


@pytest.mark.parametrize("part", ["dir", "account", "orders", "authz", "order", "finalize", "cert"])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"{}", b"[" * 100_000, b"\xff\xfe", b"x" * (2 << 20)])
def test_garbage(talk: Talk, part: str, body: bytes) -> None:
    talk.authority.faults[part] = [Response(200, {"replay-nonce": "x"}, body) for _ in range(9)]
    text = talk.refused()
    assert text.isprintable() and len(text) < 500


_STRANGE = st.recursive(
    st.none()
    | st.integers()
    | st.sampled_from(["", "valid", "pending", "ready", f"{URL}/order/1", f"{URL}/authz/1-a.test"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["status", "authorizations", "finalize", "certificate", "identifier", "challenges", "error", "value"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40))
@given(
    part=st.sampled_from(["dir", "account", "orders", "authz", "chall", "order", "finalize", "cert"]),
    said=_STRANGE,
    status=st.sampled_from([200, 201, 204, 301, 400, 404, 500]),
)
def test_whatever_it_says_we_order_or_fail_in_one_line(tmp_path: Path, part: str, said: Any, status: int) -> None:
    talk = Talk(tmp_path)
    talk.authority.faults[part] = [(status, {"location": f"{URL}/order/1"}, said)]
    result = talk.order(seconds=700)
    if not isinstance(result, bytes):
        assert result.check(AcmeFailed) and str(result.value).isprintable()


def test_answers_of_another_order_stay() -> None:
    challenges = Challenges()
    first, second = Answers(challenges), Answers(challenges)
    one: Any = object()
    two: Any = object()
    first.context("a.test", one)
    second.context("a.test", two)
    second.file("token", "token.print")
    first.clear()
    assert challenges.contexts == {"a.test": two} and challenges.files == {b"token": b"token.print"}
    second.clear()
    assert challenges.contexts == {} and challenges.files == {}


def test_names_in_words() -> None:
    assert (
        in_words(["a"]) == "a"
        and in_words(["a", "b"]) == "a, b"
        and in_words(["a", "b", "c", "d"]) == "a, b and 2 more"
    )
