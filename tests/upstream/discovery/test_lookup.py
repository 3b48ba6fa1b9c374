"""Reading answers."""

from __future__ import annotations

from hypothesis import given, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.names import dns

from revproxy.upstream.discovery.lookup import Found, by_name, follow
from revproxy.upstream.discovery.report import NoAnswer
from tests.upstream.discovery.kit import Zone, lookup, record

NAMES = ["a", "b", "C", "c"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2**32 - 1), st.sampled_from(["A", *NAMES]))))
def test_following_ends_and_gives_only_what_belongs_to_the_name(lines: list[tuple[str, int, str]]) -> None:
    answers = [record(f"{n} {ttl} {'A 10.0.0.1' if to == 'A' else f'CNAME {to}'}") for n, ttl, to in lines]
    last, records, lasts = follow(answers, "a", dns.A)
    assert all(found.name.name.decode().lower() == last.lower() and found.type == dns.A for found in records)
    assert 0 <= lasts <= 2**31
    if any(name == "a" and to == "A" for name, _, to in lines):
        assert last == "a"
        assert records


def test_records_of_another_class_are_strangers() -> None:
    answer = record("a 30 A 10.0.0.1")
    answer.cls = dns.CH
    assert follow([answer], "a", dns.A)[1] == []
    assert by_name([answer]) == {}


def test_names_that_are_no_text_are_nobodys() -> None:
    answer = record("a 30 A 10.0.0.1")
    answer.name.name = b"\xff\x00"
    assert by_name([answer]) == {"\\xff\x00": Found(("10.0.0.1",), 30)}
    assert follow([answer], "a", dns.A)[1] == []


def test_what_was_kept_is_forgotten_with_its_name() -> None:
    zone = Zone()
    found = lookup(zone, Clock())
    zone.says["a", "A"], zone.says["a", "AAAA"] = ["a 30 A 10.0.0.1"], ["a 30 AAAA fd00::1"]
    told: list[Found] = []

    def ask() -> tuple[str, ...]:
        Deferred.fromCoroutine(found.addresses("a.")).addCallback(told.append)
        return told[-1].addresses

    assert ask() == ("10.0.0.1", "fd00::1")
    zone.says["a", "AAAA"] = NoAnswer("SERVFAIL")
    found.forget(["b", "A."])
    assert ask() == ("10.0.0.1", "fd00::1")
    found.forget(["b"])
    assert ask() == ("10.0.0.1",)
