"""Several limits at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from revproxy.fault import RATE_LIMITED
from revproxy.limits.gcra import Gcra
from revproxy.limits.rate import Delayed, Limit, Limits, Refused
from revproxy.limits.ratefields import Policy, fields_of

EPOCH = 1_800_000_000.0


def limit(name: str, count: int, burst: int, by: str, **options: Any) -> Limit:
    gcra = Gcra(count, 1, burst, options.pop("delay", 0.0))
    read = lambda exchange: getattr(exchange, by)  # noqa: E731
    return Limit(read, gcra, Policy(name, count, 1), RATE_LIMITED, name, **options)


def asked(a: Any = "a", b: Any = "b") -> Any:
    return SimpleNamespace(a=a, b=b)


def told(made: Any) -> bytes:
    fields = fields_of(made if isinstance(made, bytes) else made.told)
    return fields[1][1] if fields else b""


def test_a_refusal_by_one_uses_up_nothing_of_the_others() -> None:
    limits = Limits([limit("wide", 10, 5, "a"), limit("narrow", 1, 1, "b")])
    assert told(limits.decide(asked(), EPOCH)) == b'"wide";r=4;t=1, "narrow";r=0;t=1'
    for _ in range(20):
        refused = limits.decide(asked(), EPOCH)
        assert isinstance(refused, Refused) and refused.limit.detail == "narrow" and refused.after == 1
        assert told(refused) == b'"wide";r=4;t=1, "narrow";r=0;t=1'
    assert told(limits.decide(asked(b="other"), EPOCH)) == b'"wide";r=3;t=1, "narrow";r=0;t=1'


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("pq"), st.floats(0, 0.5)), max_size=60))
def test_a_set_lets_through_what_each_alone_would_and_counts_only_that(asks: list[tuple[str, str, float]]) -> None:
    limits = Limits([limit("one", 3, 2, "a"), limit("two", 2, 3, "b")])
    one, two, now = Gcra(3, 1, 2), Gcra(2, 1, 3), EPOCH
    for a, b, gap in asks:
        now += gap
        expected = one.look(a, now).allowed and two.look(b, now).allowed
        made = limits.decide(asked(a, b), now)
        assert isinstance(made, bytes) == expected
        if expected:
            one.check(a, now)
            two.check(b, now)
        # what is taken back may differ by rounding
        assert limits.limits[0].gcra.look(a, now) == pytest.approx(one.look(a, now), abs=1e-6)
        assert limits.limits[1].gcra.look(b, now) == pytest.approx(two.look(b, now), abs=1e-6)


def test_a_limit_without_a_key_does_not_count() -> None:
    limits = Limits([limit("wide", 1, 1, "a"), limit("narrow", 1, 1, "b")])
    assert told(limits.decide(asked(None, "b"), EPOCH)) == b'"narrow";r=0;t=1'
    assert limits.decide(asked(None, None), EPOCH) == b""
    assert isinstance(limits.decide(asked("a", "b"), EPOCH), Refused)
    alone = Limits([limit("wide", 1, 1, "a")])
    assert all(alone.decide(asked(None), EPOCH) == b"" for _ in range(3))


def test_retry_after_and_the_field_speak_of_the_same_moment() -> None:
    limits = Limits([limit("slow", 1, 1, "a")])
    limits.limits[0].gcra.check("a", EPOCH)
    for _ in range(3):
        refused = limits.decide(asked(), EPOCH + 0.5)
        assert isinstance(refused, Refused) and refused.after == 1 and told(refused) == b'"slow";r=0;t=1'


def test_with_nothing_left_the_field_says_when_there_is_one_again() -> None:
    limits = Limits([Limit(lambda e: "k", Gcra(60, 3600, 3), Policy("h", 60, 3600), RATE_LIMITED, "h")])
    fields = [told(limits.decide(asked(), EPOCH)) for _ in range(3)]
    assert fields == [b'"h";r=2;t=60', b'"h";r=1;t=120', b'"h";r=0;t=60']


def test_whoever_uses_no_more_than_the_field_says_is_never_refused() -> None:
    limits = Limits([limit("f", 7, 5, "a")])
    now = EPOCH
    for _ in range(50):
        made = limits.decide(asked(), now)
        assert isinstance(made, bytes)
        item = dict(part.split(b"=") for part in told(made).split(b";")[1:])
        left, seconds = int(item[b"r"]), int(item[b"t"])
        for _ in range(left):
            now += seconds / left
            assert isinstance(limits.decide(asked(), now), bytes)
        now += seconds


@pytest.mark.parametrize("others", [(), (limit("wide", 1000, 1000, "b"),)])
def test_requests_wait_where_they_may_and_not_too_many(others: tuple[Limit, ...]) -> None:
    limits = Limits([limit("d", 10, 1, "a", delay=10.0, waiting=2), *others])
    assert isinstance(limits.decide(asked(), EPOCH), bytes)
    first = limits.decide(asked(), EPOCH)
    assert isinstance(first, Delayed) and first.seconds == pytest.approx(0.1, abs=1e-3)
    limits.limits[0].queue.length = 2
    assert isinstance(limits.decide(asked(), EPOCH), Refused)
    limits.limits[0].queue.length = 1
    second = limits.decide(asked(), EPOCH)
    assert isinstance(second, Delayed) and second.seconds == pytest.approx(0.2, abs=1e-3)
    limits.give_back(second.keys)
    third = limits.decide(asked(), EPOCH)
    assert isinstance(third, Delayed) and third.seconds == pytest.approx(0.2, abs=1e-3)


def test_the_longest_wait_counts_and_a_refusal_before_it() -> None:
    slow, slower = limit("slow", 10, 1, "a", delay=1.0, waiting=9), limit("slower", 2, 1, "b", delay=1.0, waiting=9)
    limits = Limits([slow, slower])
    limits.decide(asked(), EPOCH)
    made = limits.decide(asked(), EPOCH)
    assert isinstance(made, Delayed) and made.seconds == pytest.approx(0.5, abs=1e-3)
    limits = Limits([slower, limit("hard", 1, 1, "a"), slow])
    limits.decide(asked("c", "c"), EPOCH)
    made = limits.decide(asked("c", "c"), EPOCH)
    assert isinstance(made, Refused) and made.limit.detail == "hard"


def test_who_is_told_what() -> None:
    quiet = {"tells_all": False}
    silent = {"tells_all": False, "tells_refused": False}
    limits = Limits([limit("quiet", 1, 1, "a", **quiet), limit("silent", 1, 1, "b", **silent)])
    assert limits.tells and limits.decide(asked(), EPOCH) == b""
    assert told(limits.decide(asked(), EPOCH)) == b'"quiet";r=0;t=1'
    limits = Limits([limit("silent", 1, 1, "b", **silent)])
    assert not limits.tells and limits.decide(asked(), EPOCH) == b""
    refused = limits.decide(asked(), EPOCH)
    assert isinstance(refused, Refused) and refused.told == b""


def test_refused_requests_do_not_push_out_what_other_limits_keep() -> None:
    """A client that is refused and makes up values of a field, which the limit before is by."""
    fields = Limit(lambda e: e.a, Gcra(10, 3600, 2, keys=20), Policy("f", 10, 3600), RATE_LIMITED, "f")
    limits = Limits([fields, limit("client", 1, 1, "b")])
    for key in ("offender", "offender"):
        limits.decide(asked(key, f"{key}{fields.gcra.look(key, EPOCH).remaining}"), EPOCH)
    assert isinstance(limits.decide(asked("offender", "x"), EPOCH), Refused)
    limits.decide(asked("made up", "client"), EPOCH)
    for n in range(1000):
        assert isinstance(limits.decide(asked(f"made up {n}", "client"), EPOCH), Refused)
    assert len(fields.gcra) == 2 and not fields.gcra.look("offender", EPOCH).allowed
