"""Bans: exact counts, bounded memory, who is spared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, lists, sampled_from, tuples
from twisted.internet.task import Clock

from revproxy.limits import bans as module
from revproxy.limits.bans import BanList, Rule

FAULTS = frozenset({"bad"})


def rule(count: int = 3, within: float = 10.0, ban: float = 60.0, statuses: frozenset[int] = frozenset()) -> Rule:
    return Rule(FAULTS, statuses, count, within, ban)


class Listed:
    """A list with a clock, and what it told."""

    def __init__(self, *rules: Rule, spared: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, ...]] = []
        self.bans = BanList(
            rules,
            self.clock.seconds,
            (lambda address: address in spared) if spared else None,
            lambda address, why: self.told.append(("began", address, why)),
            lambda address, how: self.told.append(("ended", address, how)),
        )


@given(
    integers(1, 6),
    floats(0.5, 20),
    lists(tuples(floats(0, 5), sampled_from("ab"), sampled_from(["bad", "good"])), max_size=60),
)
def test_a_rule_counts_exactly(count: int, within: float, events: list[tuple[float, str, str]]) -> None:
    one = rule(count, within)
    history: dict[str, list[float]] = {"a": [], "b": []}
    now = 0.0
    for after, address, word in events:
        now += after
        expected = False
        if word == "bad":
            history[address].append(now)
            recent = [at for at in history[address] if at > now - within]
            expected = len(recent) >= count
            if expected:
                history[address].clear()
        assert one.saw(address, word, 0, now) == expected


def test_a_rule_remembers_so_much_and_those_who_go_on_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENTS", 100)
    one = rule(count=8, within=1000.0)
    for at in range(2000):
        one.saw(f"10.0.{at >> 8}.{at & 255}", "bad", 0, float(at))
        assert one.events <= 100
        if at % 50 == 0 and one.saw("attacker", "bad", 0, float(at)):
            break
    else:
        pytest.fail("the flood hid it")


def test_a_ban_begins_holds_and_ends() -> None:
    listed = Listed(rule())
    bans, clock = listed.bans, listed.clock
    for _ in range(2):
        assert not bans.saw("192.0.2.1", "bad", 400)
    assert not bans.holds("192.0.2.1")
    assert bans.saw("192.0.2.1", "bad", 400)
    assert bans.holds("192.0.2.1")
    assert not bans.holds("192.0.2.2")
    assert [(ban.address, ban.until) for ban in bans.list()] == [("192.0.2.1", 60.0)]
    assert bans.why("192.0.2.1") == "3 in 10 s, the last: bad"
    assert listed.told == [("began", "192.0.2.1", "for 60 s: 3 in 10 s, the last: bad")]
    assert not bans.saw("192.0.2.1", "bad", 400)  # what it does meanwhile does not count
    clock.advance(60)
    assert bans.list() == ()
    bans.sweep()
    assert listed.told[1:] == [("ended", "192.0.2.1", "over")]
    assert not bans.holds("192.0.2.1")


def test_statuses_count_and_other_words_do_not() -> None:
    listed = Listed(rule(count=1, statuses=frozenset({404})))
    assert listed.bans.by_status
    assert not Listed(rule()).bans.by_status
    assert not listed.bans.saw("192.0.2.1", "other", 200)
    assert not listed.bans.saw("", "bad", 404)
    assert listed.bans.saw("192.0.2.1", "", 404)


def test_ipv6_is_banned_by_its_64() -> None:
    listed = Listed(rule(count=2))
    listed.bans.saw("2001:db8::1", "bad", 0)
    assert listed.bans.saw("2001:db8::2", "bad", 0)
    assert listed.bans.holds("2001:db8::3")
    assert not listed.bans.holds("2001:db8:0:1::1")
    assert listed.bans.lift("2001:db8::/64")
    assert not listed.bans.holds("2001:db8::3")


def test_who_is_spared_is_never_banned() -> None:
    listed = Listed(rule(count=1), spared=("192.0.2.1",))
    assert not listed.bans.saw("192.0.2.1", "bad", 0)
    assert not listed.bans.ban("192.0.2.1", 60)
    listed.bans.spare(lambda address: address == "192.0.2.2")
    assert not listed.bans.ban("192.0.2.2", 60)
    listed.bans.always(lambda address: address.startswith("192.0.2."))
    assert not listed.bans.holds("192.0.2.1")
    assert listed.bans.holds("192.0.2.3")
    assert listed.bans.why("192.0.2.3") == "written in the configuration"
    assert not listed.bans.holds("192.0.3.1")
    assert listed.told == []


def test_bans_by_hand() -> None:
    listed = Listed()
    assert listed.bans.ban("192.0.2.1", 30, "by hand")
    assert listed.bans.ban("192.0.2.1", 90, "longer")
    assert [(ban.why, ban.until) for ban in listed.bans.list()] == [("longer", 90.0)]
    assert listed.bans.lift("192.0.2.1")
    assert not listed.bans.lift("192.0.2.1")
    assert not listed.bans.holds("192.0.2.1")
    assert listed.told == [("began", "192.0.2.1", "for 30 s: by hand"), ("ended", "192.0.2.1", "lifted")]


@pytest.mark.parametrize("text", ["203.0.113.0/24", "evil.example", "203.0.113.007", "2001:db8::/48"])
def test_what_would_hold_nobody_is_an_error(text: str) -> None:
    listed = Listed()
    with pytest.raises(ValueError, match="is not one client"):
        listed.bans.ban(text, 60)
    assert listed.bans.list() == ()
    assert listed.told == []


def test_a_ban_by_what_the_list_says_is_the_same_ban() -> None:
    listed = Listed(spared=("2001:db8:0:1::",))
    assert listed.bans.ban("2001:db8::1", 60)
    assert listed.bans.ban(listed.bans.list()[0].address, 90)
    assert listed.bans.ban("2001:DB8::/64", 120, "longest")
    assert [(ban.address, ban.why) for ban in listed.bans.list()] == [("2001:db8::/64", "longest")]
    assert listed.bans.holds("2001:db8::ffff")
    assert not listed.bans.ban("2001:db8:0:1::/64", 60)
    assert listed.bans.ban("unknown", 60)
    assert listed.bans.holds("unknown")


def test_again_is_twice_as_long_and_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 200.0)
    listed = Listed(rule(count=1))
    lengths = []
    for _ in range(4):
        listed.bans.saw("192.0.2.1", "bad", 0)
        (ban,) = listed.bans.list()
        lengths.append(ban.seconds)
        listed.clock.advance(ban.seconds + 1)
        assert not listed.bans.holds("192.0.2.1")
    assert lengths == [60.0, 120.0, 200.0, 200.0]
    listed.clock.advance(module.REPEATED)
    listed.bans.saw("192.0.2.1", "bad", 0)
    assert listed.bans.list()[0].seconds == 60.0


def test_bans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BANS", 10)
    listed = Listed()
    for at in range(50):
        listed.bans.ban(f"10.0.0.{at}", 60)
    assert [ban.address for ban in listed.bans.list()] == [f"10.0.0.{at}" for at in range(40, 50)]
