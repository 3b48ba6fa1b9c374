"""Which backend takes a request."""

from __future__ import annotations

from collections import Counter

from attrs import define
from hypothesis import given, strategies as st

from revproxy.upstream.balance import RoundRobin
from tests.kit import ADDRESS, OK, SECOND, get, toml


@define(eq=False)
class One:
    name: str
    weight: int = 1
    backup: bool = False
    current: int = 0


def names(backends, count, tried=()):
    balancer = RoundRobin()
    picked = [balancer.pick(backends, None, tried) for _ in range(count)]
    return "".join(backend.name if backend else "-" for backend in picked)


def test_in_turn():
    assert names([One("a"), One("b"), One("c")], 7) == "abcabca"


def test_heavy_ones_come_more_often_and_not_in_a_row():
    assert names([One("a", 5), One("b"), One("c")], 7) == "aabacaa"


def test_backups_only_when_nothing_else_is_left():
    backends = [One("a"), One("b"), One("c", backup=True)]
    assert names(backends, 4) == "abab"
    assert names(backends, 2, backends[:1]) == "bb"
    assert names(backends, 2, backends[:2]) == "cc"
    assert names(backends, 1, backends) == "-"


def test_a_single_one():
    one = [One("a")]
    assert names(one, 3) == "aaa"
    assert names(one, 1, one) == "-"


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 3))
def test_each_gets_its_share_in_every_round(weights, rounds):
    backends = [One(chr(97 + at), weight) for at, weight in enumerate(weights)]
    picked = Counter(names(backends, sum(weights) * rounds))
    assert picked == {backend.name: backend.weight * rounds for backend in backends}


def test_in_turn_on_the_wire(play):
    scenario = play(toml("", f'backends = ["{ADDRESS}", {{ endpoint = "{SECOND}", weight = 2 }}]'))
    client = scenario.client()
    for _ in range(6):
        client.send(get())
        for record in (scenario.backend(ADDRESS), scenario.backend(SECOND)):
            for connection in record.connections:
                if connection.unread:
                    connection.expect_request(b"GET", b"/")
                    connection.send(OK)
        client.expect_response(200, b"ok")
    assert Counter(record.backend for record in scenario.log) == {ADDRESS: 2, SECOND: 4}


def test_a_backup_is_asked_when_the_others_refuse(play):
    scenario = play(toml("", f'backends = ["{ADDRESS}", {{ endpoint = "{SECOND}", backup = true }}]'))
    client, main, backup = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(get())
    main.expect_request(b"GET", b"/")
    main.send(OK)
    client.expect_response(200, b"ok")
    main.connection.close()
    main.refuse()
    client.send(get())
    backup.expect_request(b"GET", b"/")
    backup.send(OK)
    client.expect_response(200, b"ok")
    assert scenario.log[-1].backend == SECOND
