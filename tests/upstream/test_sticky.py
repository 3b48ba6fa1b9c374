"""The cookie that keeps a client at its backend: what it says, when it is set, and whom it finds."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from revproxy.config.upstreams import Sticky
from revproxy.http.message import Headers
from revproxy.upstream.sticky import Stickiness
from tests.kit import ADDRESS, OK, SECOND, get, toml

SECRET = "0123456789abcdef"


class Named:
    """As much of a backend as a cookie asks for."""

    def __init__(self, name):
        self.name = name


A, B = Named("tcp:10.0.0.1:80"), Named("tcp:10.0.0.2:80")


def make(name="app", backends=(A, B), **how):
    stickiness = Stickiness(Sticky(**{"secret": SECRET} | how), name)
    stickiness.update(backends)
    return stickiness


def exchange(cookie=None, backend=A, scheme=b"http", fault=None):
    headers = Headers.of([] if cookie is None else [(b"Cookie", cookie)])
    request = SimpleNamespace(headers=headers, scheme=scheme)
    return SimpleNamespace(request=request, backend=backend, fault=fault, response=SimpleNamespace(headers=Headers()))


def set_cookie(stickiness, asked):
    stickiness.renew(asked)
    found = asked.response.headers.get_all(b"set-cookie")
    assert len(found) <= 1
    return found[0] if found else None


# -- what it says


def test_it_is_opaque():
    token = make().token(A.name)
    assert len(token) == 22
    assert len(urlsafe_b64decode(token + b"==")) == 16
    for secret in (b"10.0.0.1", b"app", b"80"):
        assert secret not in token
        assert secret not in urlsafe_b64decode(token + b"==")


def test_it_depends_on_the_secret_the_upstream_and_the_backend():
    tokens = {
        make().token(A.name), make().token(B.name), make("other").token(A.name),
        make(secret="another secret....").token(A.name), make(secret=None).token(A.name),
        make(secret=None).token(A.name),
    }  # fmt: skip
    assert len(tokens) == 6
    assert make().token(A.name) == make().token(A.name)  # after a restart, and in another process
    assert make("ab").token("c") != make("a").token("bc")


ATTRIBUTES = [
    ({}, b"http", b"; Path=/; HttpOnly; SameSite=Lax"),
    ({}, b"https", b"; Path=/; HttpOnly; SameSite=Lax; Secure"),
    ({"same_site": "strict"}, b"http", b"; Path=/; HttpOnly; SameSite=Strict"),
    ({"same_site": "strict"}, b"https", b"; Path=/; HttpOnly; SameSite=Strict; Secure"),
    ({"same_site": "none"}, b"https", b"; Path=/; HttpOnly; SameSite=None; Secure"),
    ({"same_site": "none"}, b"http", b"; Path=/; HttpOnly"),  # browsers would drop it
    ({"max_age": 3600.0}, b"http", b"; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"),
]


@pytest.mark.parametrize(("how", "scheme", "attributes"), ATTRIBUTES)
def test_its_attributes(how, scheme, attributes):
    stickiness = make(cookie="b", **how)
    assert set_cookie(stickiness, exchange(scheme=scheme)) == b"b=" + stickiness.token(A.name) + attributes


# -- when it is set


def test_only_when_the_client_was_not_there_before():
    stickiness = make(cookie="b")
    mine = b"b=" + stickiness.token(A.name)
    assert set_cookie(stickiness, exchange()) is not None
    assert set_cookie(stickiness, exchange(b"x=1; " + mine + b"; y=2")) is None
    for other in (b"b=" + stickiness.token(B.name), b"b=", b"b=made-up", b"bb=1", b"c" + mine):
        assert set_cookie(stickiness, exchange(other)).startswith(mine)


def test_not_for_what_did_not_come_from_a_backend():
    stickiness = make()
    assert set_cookie(stickiness, exchange(backend=None)) is None
    assert set_cookie(stickiness, exchange(backend=Named("gone"))) is None
    assert set_cookie(stickiness, exchange(fault="any")) is None


# -- whom it finds


def test_it_finds_whom_it_stands_for_while_it_is_one_of_ours():
    stickiness = make(cookie="b")
    asked = exchange(b"b=" + stickiness.token(B.name))
    assert stickiness.find(asked) is B
    stickiness.update([A])
    assert stickiness.find(asked) is None
    stickiness.update([A, B])
    assert stickiness.find(asked) is B
    assert stickiness.find(exchange()) is None


@given(st.text('abcAZ019_-=+/" %', max_size=40))
def test_what_is_made_up_finds_nobody(value):
    stickiness = make(cookie="b")
    assert stickiness.find(exchange(b"b=" + value.encode())) is None


def test_another_case_or_length_finds_nobody():
    stickiness = make(cookie="b")
    token = stickiness.token(A.name)
    for value in (token.swapcase(), token[:-1], token + b"A", token + b"==", b'"' + token[:-1] + b'"'):
        assert stickiness.find(exchange(b"b=" + value)) is None


# -- on the wire

TWO = f'backends = ["{ADDRESS}", "{SECOND}"]\nsticky = {{ cookie = "b", secret = "{SECRET}" }}\n'


def ask(client, backend, cookie=None):
    """What was set for a request that this backend gets."""
    client.send(get(b"/", *([] if cookie is None else [b"Cookie: b=" + cookie])))
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    found = client.expect_response(200, b"ok").get(b"Set-Cookie")
    return None if found is None else found.split(b";")[0].removeprefix(b"b=")


@pytest.mark.parametrize("balance", ["round-robin", "least-requests", "two-choices", "random", "hash"])
def test_a_client_stays_where_it_was_whatever_the_balancer(play_once, balance):
    scenario = play_once(toml("", f'{TWO}balance = "{balance}"'))
    stickiness = scenario.engine.table.upstreams["app"].sticky
    client = scenario.client()
    for address in (SECOND, ADDRESS, SECOND):
        for _ in range(4):
            assert ask(client, scenario.backend(address), stickiness.token(address)) is None


def test_it_is_renewed_when_the_backend_is_ill_and_kept_when_it_is_tried_elsewhere(play):
    scenario = play(toml("", f"{TWO}passive = {{ failures = 1 }}"))
    stickiness = scenario.engine.table.upstreams["app"].sticky
    client, second = scenario.client(), scenario.backend(SECOND)
    scenario.backend(ADDRESS).refuse()
    mine, other = stickiness.token(ADDRESS), stickiness.token(SECOND)
    assert ask(client, second, mine) == other  # by a retry
    assert ask(client, second, mine) == other  # it is ejected
    assert ask(client, second, other) is None
    scenario.engine.table.upstreams["app"].drain(ADDRESS)
    assert ask(client, second, mine) == other


def test_a_drain_lets_those_stay_whom_their_cookie_keeps(play):
    scenario = play(toml("", TWO))
    upstream = scenario.engine.table.upstreams["app"]
    first, second = scenario.backend(ADDRESS), scenario.backend(SECOND)
    mine = upstream.sticky.token(ADDRESS)
    told = []
    upstream.drain(ADDRESS, 30.0).addCallback(told.append)
    for _ in range(3):
        ask(scenario.client(), second)
    assert ask(scenario.client(), first, mine) is None
    client = scenario.client()
    client.send(get(b"/", b"Cookie: b=" + mine))
    scenario.advance(31)
    assert ask(scenario.client(), second, mine) is not None
    assert told == []
    first.expect_request(b"GET", b"/")
    first.send(OK)
    client.expect_response(200, b"ok")
    assert told == [None]
    first.connection.expect_closed()


def test_a_response_that_is_repeated_carries_no_cookie_of_another_client(play):
    scenario = play(toml("", TWO))
    first = scenario.backend(ADDRESS)
    mine = scenario.engine.table.upstreams["app"].sticky.token(ADDRESS)
    for _ in range(3):
        assert ask(scenario.client(), first, mine) is None
    scenario.engine.table.upstreams["app"].drain(SECOND)
    for _ in range(3):
        assert ask(scenario.client(), first) == mine
        assert ask(scenario.client(), first, mine) is None


def test_errors_of_ours_carry_none(play):
    scenario = play(toml("", TWO))
    for address in (ADDRESS, SECOND):
        scenario.backend(address).refuse()
    client = scenario.client()
    client.send(get())
    client.expect_response(502, headers={b"Set-Cookie": None})
