"""RFC 9111 4: what a look-up decides."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.policy import (
    DISCONNECTED,
    FRESH,
    FRESH_ON_ERROR,
    PLAIN,
    STALE_ON_ERROR,
    Ask,
    Forward,
    GatewayTimeout,
    Revalidate,
    Serve,
    choose,
    decide,
    on_error,
    read_request,
)
from revproxy.cache.rules import Rules
from tests.cache.kit import NOW, RULES, request, stored

LM = "Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT"
TAG = 'ETag: "a"'


def asks(*lines, rules=RULES, **more):
    return read_request(request(*lines, **more), rules)


def told(decision):
    """A decision in a word."""
    if isinstance(decision, Serve):
        return decision.why.partition(",")[0] + "+validate" * decision.validate
    if isinstance(decision, (Forward, Revalidate)):
        return f"{type(decision).__name__.lower()} {decision.fwd}"
    return "504"


# -- whether a request is for the cache


@pytest.mark.parametrize(
    ("lines", "more", "fwd"),
    [
        pytest.param([], {}, None, id="get"),
        pytest.param([], {"method": b"HEAD"}, None, id="head"),
        pytest.param([], {"method": b"POST"}, "method", id="9111-4-write-through"),
        pytest.param([], {"method": b"OPTIONS"}, "method", id="safe-but-not-cacheable"),
        pytest.param([], {"method": b"get"}, "method", id="9110-9.1-methods-have-case"),
        pytest.param([], {"length": 3}, "bypass", id="body"),
        pytest.param([], {"length": None}, "bypass", id="chunked-body"),
        pytest.param([], {"upgrade": b"websocket"}, "bypass", id="upgrade"),
        pytest.param(["X-Bypass: 1"], {}, "bypass", id="field"),
        pytest.param(["Cookie: a=1; session_id=2"], {}, "bypass", id="cookie"),
        pytest.param(["Cookie: a=1; xsession=2"], {}, None, id="another-cookie"),
        pytest.param([], {"query": b"a=1&nocache"}, "bypass", id="parameter"),
        pytest.param(["Cache-Control: x"], {"query": b"nocache=1"}, "bypass", id="parameter-and-field"),
        pytest.param([], {"query": b"a=nocache"}, None, id="another-parameter"),
        pytest.param(['If-Match: "a"'], {}, "request", id="9111-4.3.2-if-match"),
        pytest.param(["If-Unmodified-Since: x"], {}, "request", id="9111-4.3.2-if-unmodified-since"),
    ],
)
def test_bypass(lines, more, fwd):
    rules = Rules(bypass_headers=(b"X-Bypass",), bypass_cookies=(b"session*",), bypass_query=(b"nocache",))
    ask = asks(*lines, rules=rules, **more)
    assert (ask.forward.fwd if ask.forward else None) == fwd
    if fwd:
        assert decide(stored("Cache-Control: max-age=9"), ask, NOW) is ask.forward
        assert decide(None, ask, NOW) is ask.forward
        assert ask.forward.store == (fwd == "request")


def test_most_requests_are_plain():
    assert asks("Accept: x", "Cookie: a=b", "User-Agent: y") is PLAIN
    assert asks("Cookie: a=b", rules=Rules(bypass_cookies=(b"x",))) is PLAIN
    assert asks("Cookie: a=b", "Pragma: x", rules=Rules(bypass_cookies=(b"x",))) is not PLAIN


@pytest.mark.parametrize("rules", [Rules(bypass_cookies=(b"x",)), Rules(key_cookies=(b"x",))])
def test_more_cookies_than_are_looked_at_are_not_for_the_cache(rules):
    many = "Cookie: " + "a=;" * 100
    assert asks(many, many, rules=rules).forward is None
    forward = asks(many, many, many, rules=rules).forward
    assert forward is not None and not forward.store
    assert asks(many, many, many).forward is None


def test_many_variants_of_many_fields_are_chosen_from_in_bounded_time():
    variants = [
        stored("Cache-Control: max-age=9", f"Vary: Accept-Language, A{n}", asked=request(f"Accept-Language: l{n}"))
        for n in range(32)
    ]
    began = time.process_time()
    wanted = request("Accept-Language: " + ",".join(f"x{n}" for n in range(5000)), *[f"B{n}: x" for n in range(90)])
    for _ in range(20):
        assert choose(variants, wanted) is None
    assert time.process_time() - began < 0.2  # a field read once for each variant took 50 ms each time
    assert choose(variants, request("Accept-Language: l7")) is variants[7]


# -- what is stored, by its age

CC = "Cache-Control: "


@pytest.mark.parametrize(
    ("after", "lines", "wanted", "result"),
    [
        pytest.param(0, ["max-age=10"], [], "fresh", id="9111-4.2"),
        pytest.param(9, ["max-age=10"], [], "fresh", id="9111-4.2-last-second"),
        pytest.param(10, ["max-age=10"], [], "forward stale", id="9111-4.2-age-equals-lifetime"),
        pytest.param(10, ["max-age=10", TAG], [], "revalidate stale", id="9111-4.3"),
        pytest.param(10, ["max-age=10", LM], [], "revalidate stale", id="9111-4.3-last-modified"),
        pytest.param(0, ["max-age=10, no-cache", TAG], [], "revalidate stale", id="9111-5.2.2.4"),
        pytest.param(0, ["max-age=10, no-cache", TAG], ["max-stale"], "revalidate stale", id="5.2.2.4-max-stale"),
        pytest.param(0, ['max-age=10, no-cache="x"'], [], "fresh", id="9111-5.2.2.4-qualified"),
        pytest.param(0, ["max-age=10, must-revalidate"], [], "fresh", id="9111-5.2.2.2-fresh"),
        pytest.param(0, ["max-age=10"], ["no-cache"], "forward request", id="9111-5.2.1.4"),
        pytest.param(0, ["max-age=10", TAG], ["no-cache"], "revalidate request", id="9111-5.2.1.4-validated"),
        pytest.param(20, ["max-age=10", TAG], ["no-cache"], "revalidate stale", id="9111-5.2.1.4-stale"),
        pytest.param(5, ["max-age=10", TAG], ["max-age=5"], "fresh", id="9111-5.2.1.1-less-or-equal"),
        pytest.param(6, ["max-age=10", TAG], ["max-age=5"], "revalidate request", id="9111-5.2.1.1"),
        pytest.param(1, ["max-age=10", TAG], ["max-age=0"], "revalidate request", id="9111-5.2.1.1-zero"),
        pytest.param(1, ["max-age=10, immutable", TAG], ["max-age=0"], "fresh", id="8246-2-reload"),
        pytest.param(1, ["max-age=10, immutable", TAG], ["no-cache"], "revalidate request", id="8246-2-no-cache"),
        pytest.param(11, ["max-age=10, immutable", TAG], [], "revalidate stale", id="8246-2-stale"),
        pytest.param(11, ["max-age=10, immutable", TAG], ["max-age=0"], "revalidate stale", id="8246-2-stale-reload"),
        pytest.param(5, ["max-age=10"], ["min-fresh=5"], "fresh", id="9111-5.2.1.3"),
        pytest.param(6, ["max-age=10"], ["min-fresh=5"], "forward request", id="9111-5.2.1.3-not-long-enough"),
        pytest.param(1000, ["max-age=10"], ["max-stale"], "stale", id="9111-5.2.1.2-any-age"),
        pytest.param(15, ["max-age=10"], ["max-stale=5"], "stale", id="9111-5.2.1.2-by-no-more"),
        pytest.param(16, ["max-age=10"], ["max-stale=5"], "forward stale", id="9111-5.2.1.2-more"),
        pytest.param(15, ["max-age=10, must-revalidate"], ["max-stale"], "forward stale", id="9111-5.2.2.2-max-stale"),
        pytest.param(15, ["max-age=10, proxy-revalidate"], ["max-stale"], "forward stale", id="9111-5.2.2.8"),
        pytest.param(15, ["s-maxage=10"], ["max-stale"], "forward stale", id="9111-5.2.2.10-max-stale"),
        pytest.param(15, ["max-age=10"], ["max-age=5, max-stale"], "forward stale", id="9111-5.2.1.1-with-max-stale"),
        pytest.param(15, ["max-age=10"], ["max-age=20, max-stale"], "stale", id="9111-5.2.1.1-with-max-stale-young"),
        pytest.param(0, ["max-age=10"], ["only-if-cached"], "fresh", id="9111-5.2.1.7"),
        pytest.param(11, ["max-age=10"], ["only-if-cached"], "504", id="9111-5.2.1.7-stale"),
        pytest.param(11, ["max-age=10"], ["only-if-cached, max-stale"], "stale", id="9111-5.2.1.7-max-stale"),
        pytest.param(0, ["max-age=10"], ["only-if-cached, no-cache"], "504", id="9111-5.2.1.7-other-constraints"),
        pytest.param(0, ["max-age=10"], ["no-store"], "fresh", id="9111-5.2.1.5-what-is-stored-may-be-used"),
        pytest.param(15, ["max-age=10, stale-while-revalidate=9"], [], "stale+validate", id="5861-3"),
        pytest.param(19, ["max-age=10, stale-while-revalidate=9"], [], "forward stale", id="5861-3-over"),
        pytest.param(15, ["s-maxage=10, stale-while-revalidate=9"], [], "stale+validate", id="5861-3-s-maxage"),
        pytest.param(15, ["max-age=10, stale-while-revalidate=9, must-revalidate"], [], "forward stale", id="no-5861"),
        pytest.param(5, ["max-age=10, stale-while-revalidate=9, no-cache", TAG], [], "revalidate stale", id="nc"),
        pytest.param(15, ["max-age=10, stale-while-revalidate=9"], ["no-cache"], "forward stale", id="5861-asked"),
        pytest.param(15, ["max-age=10, stale-while-revalidate=9"], ["max-age=99"], "forward stale", id="5861-max-age"),
        pytest.param(15, ["max-age=10, stale-while-revalidate=9"], ["only-if-cached"], "stale+validate", id="5861-oic"),
        pytest.param(15, ["max-age=10, stale-if-error=9"], [], "forward stale", id="5861-4-is-for-errors-only"),
    ],
)  # fmt: skip
def test_reuse(after, lines, wanted, result):
    one = stored(CC + lines[0], *lines[1:])
    trace: list[str] = []
    assert told(decide(one, asks(*(CC + line for line in wanted)), NOW + after)) == result
    assert told(decide(one, asks(*(CC + line for line in wanted)), NOW + after, trace=trace)) == result
    assert len(trace) == 2


@pytest.mark.parametrize(
    ("lines", "varied", "result", "store"),
    [
        pytest.param([], False, "forward uri-miss", True, id="9211-2.2-uri-miss"),
        pytest.param([], True, "forward vary-miss", True, id="9211-2.2-vary-miss"),
        pytest.param(["Cache-Control: no-store"], False, "forward uri-miss", False, id="9111-5.2.1.5"),
        pytest.param(["Cache-Control: only-if-cached"], False, "504", None, id="9111-5.2.1.7"),
        pytest.param(["Cache-Control: only-if-cached"], True, "504", None, id="9111-5.2.1.7-varied"),
        pytest.param(["If-None-Match: *"], False, "forward uri-miss", True, id="9111-4.3.2-nothing-to-judge"),
    ],
)
def test_misses(lines, varied, result, store):
    decision = decide(None, asks(*lines), NOW, varied=varied)
    assert told(decision) == result
    if isinstance(decision, Forward):
        assert decision.store == store
    else:
        assert isinstance(decision, GatewayTimeout) and decision.why


def test_pragma():
    """RFC 9111 5.4: only where there is no Cache-Control."""
    one = stored("Cache-Control: max-age=9")
    assert told(decide(one, asks("Pragma: no-cache"), NOW)) == "forward request"
    assert told(decide(one, asks("Pragma: no-cache", "Cache-Control: max-age=5"), NOW)) == "fresh"
    assert told(decide(one, asks("Pragma: x"), NOW)) == "fresh"


def test_clients_may_be_ignored():
    one, rules = stored("Cache-Control: max-age=9", TAG), Rules(honour_client=False)
    for line in (
        "Cache-Control: no-cache",
        "Cache-Control: max-age=0",
        "Cache-Control: min-fresh=99",
        "Pragma: no-cache",
    ):
        assert told(decide(one, asks(line, rules=rules), NOW + 5)) == "fresh"
    assert told(decide(None, asks("Cache-Control: only-if-cached", rules=rules), NOW)) == "504"
    assert told(decide(one, asks("Cache-Control: max-stale", rules=rules), NOW + 20)) == "stale"
    assert not decide(None, asks("Cache-Control: no-store", rules=rules), NOW).store


def test_authorized_requests():
    """Stricter than RFC 9111 3.5, which is about what is stored: what is not said to be shared is not for them."""
    ask = asks("Authorization: Basic eDp5")
    assert told(decide(stored("Cache-Control: max-age=9"), ask, NOW)) == "forward request"
    for directive in ("public", "must-revalidate", "s-maxage=9"):
        assert told(decide(stored(f"Cache-Control: max-age=9, {directive}"), ask, NOW)) == "fresh"
    ask = asks("Authorization: Basic eDp5", "Cache-Control: only-if-cached")
    assert told(decide(stored("Cache-Control: max-age=9"), ask, NOW)) == "504"


def test_validations_carry_both_validators():
    """RFC 9111 4.3.1."""
    decision = decide(stored("Cache-Control: max-age=1", 'ETag: W/"a"', LM), PLAIN, NOW + 5)
    assert isinstance(decision, Revalidate)
    assert [f[2] for f in decision.conditions] == [b'If-None-Match: W/"a"', b"If-Modified-Since" + LM[13:].encode()]
    decision = decide(stored("Cache-Control: max-age=1", "ETag: unquoted", LM), PLAIN, NOW + 5)
    assert isinstance(decision, Revalidate)
    assert [f[0] for f in decision.conditions] == [b"if-modified-since"]


def test_grace():
    rules = Rules(grace=5)
    assert told(decide(stored("Cache-Control: max-age=10", rules=rules), PLAIN, NOW + 14)) == "stale+validate"
    assert told(decide(stored("Cache-Control: max-age=10", rules=rules), PLAIN, NOW + 15)) == "forward stale"
    for directive in ("must-revalidate", "proxy-revalidate", "s-maxage=10"):
        one = stored(f"Cache-Control: max-age=10, {directive}", rules=rules)
        assert told(decide(one, PLAIN, NOW + 14)) == "forward stale", "RFC 9111 4.2.4"


def test_the_seconds_that_are_told():
    """RFC 9111 4.2.3, RFC 9211 2.4."""
    one = stored("Cache-Control: max-age=10", "Age: 3")
    assert (one.age(NOW + 2.6), one.ttl(NOW + 2.6)) == (5, 4)
    assert (one.age(NOW + 7.5), one.ttl(NOW + 7.5)) == (10, -1)
    assert one.age(NOW - 1000) == 0


# -- when the backend fails


@pytest.mark.parametrize(
    ("after", "directives", "error", "wanted", "served"),
    [
        pytest.param(50, "max-age=10", DISCONNECTED, None, True, id="9111-4.2.4"),
        pytest.param(10 + 86400, "max-age=10", DISCONNECTED, None, False, id="9111-4.2.4-a-day-at-most"),
        pytest.param(50, "max-age=10, must-revalidate", DISCONNECTED, None, False, id="9111-5.2.2.2"),
        pytest.param(50, "max-age=10, proxy-revalidate", DISCONNECTED, None, False, id="9111-5.2.2.8"),
        pytest.param(50, "max-age=10, no-cache", DISCONNECTED, None, False, id="9111-5.2.2.4"),
        pytest.param(5, "max-age=10, no-cache", DISCONNECTED, None, False, id="9111-5.2.2.4-within-its-lifetime"),
        pytest.param(50, "s-maxage=10", DISCONNECTED, None, False, id="9111-5.2.2.10"),
        pytest.param(5, "max-age=10, must-revalidate", DISCONNECTED, "no-cache", True, id="still-fresh"),
        pytest.param(5, "max-age=10", 503, "no-cache", False, id="still-fresh-but-answered"),
        pytest.param(50, "max-age=10", 503, None, False, id="9111-4.3.3-nobody-allowed-it"),
        pytest.param(50, "max-age=10, stale-if-error=60", 503, None, True, id="5861-4"),
        pytest.param(50, "max-age=10, stale-if-error=60", 500, None, True, id="5861-4-500"),
        pytest.param(50, "max-age=10, stale-if-error=60", 501, None, False, id="5861-4-not-501"),
        pytest.param(50, "max-age=10, stale-if-error=60", 404, None, False, id="5861-4-not-404"),
        pytest.param(70, "max-age=10, stale-if-error=60", 503, None, False, id="5861-4-over"),
        pytest.param(70, "max-age=10, stale-if-error=60", DISCONNECTED, None, False, id="5861-4-limits-4.2.4"),
        pytest.param(50, "s-maxage=10, stale-if-error=60", 503, None, True, id="5861-4-s-maxage"),
        pytest.param(50, "max-age=10, stale-if-error=60, must-revalidate", 503, None, False, id="5861-4-forbidden"),
        pytest.param(50, "max-age=10", 503, "stale-if-error=60", True, id="5861-4-of-the-request"),
        pytest.param(71, "max-age=10", 503, "stale-if-error=60", False, id="5861-4-of-the-request-over"),
        pytest.param(50, "max-age=10, must-revalidate", 503, "stale-if-error=60", False, id="5861-4-request-forbidden"),
    ],
)
def test_errors(after, directives, error, wanted, served):
    one = stored(f"Cache-Control: {directives}", TAG)
    ask = asks(f"Cache-Control: {wanted}") if wanted else PLAIN
    trace: list[str] = []
    found = on_error(one, ask, NOW + after, error, trace)
    assert (found is not None) == served
    assert len(trace) == 1
    if found is not None:
        assert found is (FRESH_ON_ERROR if after < 10 else STALE_ON_ERROR)


def test_errors_within_grace():
    one = stored("Cache-Control: max-age=10", rules=Rules(grace=5, disconnected=0))
    assert on_error(one, PLAIN, NOW + 14, 503) and on_error(one, PLAIN, NOW + 14)
    assert not on_error(one, PLAIN, NOW + 15, 503) and not on_error(one, PLAIN, NOW + 15)
    ask = asks("Authorization: x")
    assert not on_error(one, ask, NOW + 14)


# -- whatever comes

WANTED = (
    "no-cache no-store only-if-cached max-age=0 max-age=5 max-age=50 min-fresh=5 max-stale max-stale=5 stale-if-error=9"
)
SENT = (
    "max-age=10 s-maxage=20 no-cache must-revalidate proxy-revalidate public immutable stale-while-revalidate=9"
    " stale-if-error=9"
)
CONTROL = st.lists(st.sampled_from(WANTED.split(" ")), max_size=3)
SAID = st.lists(st.sampled_from(SENT.split(" ")), min_size=1, max_size=4)


@given(SAID, CONTROL, st.floats(0, 100), st.booleans())
def test_what_rfc_9111_forbids_is_never_served(said, wanted, after, grace):
    one = stored(f"Cache-Control: {','.join(said)}", TAG, rules=Rules(grace=30 * grace))
    ask = asks(*([f"Cache-Control: {','.join(wanted)}"] if wanted else []))
    now = NOW + after
    fresh = now < one.fresh_until
    for decision in (decide(one, ask, now), on_error(one, ask, now), on_error(one, ask, now, 503)):
        if isinstance(decision, Serve):
            assert "no-cache" not in said, "5.2.2.4"
            if not fresh:
                assert "must-revalidate" not in said and "proxy-revalidate" not in said, "5.2.2.2, 5.2.2.8"
                assert "s-maxage=20" not in said or any(word.startswith("stale-") for word in said), "5.2.2.10"
            assert fresh == (decision in (FRESH, FRESH_ON_ERROR))
    decision = decide(one, ask, now)
    if isinstance(decision, Serve):
        assert "no-cache" not in wanted
        assert "max-age=0" not in wanted or after == 0 or "immutable" in said or wanted.index("max-age=0") > 0
    if "only-if-cached" in wanted:
        assert isinstance(decision, (Serve, GatewayTimeout))
    assert type(decide(one, ask, now, trace=[])) is type(decision)


def test_a_plain_hit_allocates_nothing():
    one = stored("Cache-Control: max-age=9")
    assert decide(one, asks("Accept: x"), NOW) is FRESH
    assert decide(one, asks("Cache-Control: x"), NOW) is FRESH


def test_an_ask_says_nothing_at_first():
    ask = Ask()
    assert (ask.bits, ask.forward, ask.conditional, ask.authorized) == (0, None, False, False)


@pytest.mark.parametrize("value", ["X-A", "keep-alive, x-a", "close,Authorization", "accept-language"])
def test_what_connection_names_is_not_for_the_cache(value: str) -> None:
    fields = ("X-A: 1", "Accept-Language: de", "Authorization: x", f"Connection: {value}")
    ask = read_request(request(*fields), RULES)
    assert ask.forward is not None
    assert (ask.forward.fwd, ask.forward.store) == ("bypass", False)


@pytest.mark.parametrize("value", ["keep-alive", "close", "Keep-Alive", "TE, close", "X-B", ""])
def test_other_connections_are(value: str) -> None:
    assert read_request(request("X-A: 1", f"Connection: {value}"), RULES).forward is None


def test_a_value_of_connection_in_another_field() -> None:
    assert read_request(request("Authorization: close"), RULES).authorized
