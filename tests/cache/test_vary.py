"""Which requests are the same to a stored response."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.policy import choose
from revproxy.cache.storing import Refusal
from revproxy.cache.vary import normal_value, vary_names, vary_table, vary_values, was_written
from tests.cache.kit import headers, put, request, stored


@pytest.mark.parametrize(
    "lines",
    [
        ["Vary: *"], ["Vary: *, *"], ["Vary: *", "Vary: *"], ["Vary: , *"], ["Vary:", "Vary: *"], ["Vary: *, Foo"],
        ["Vary: Foo, *"], ["Vary: Foo", "Vary: bar , *"], ["Vary: " + ",".join(f"x{n}" for n in range(33))],
    ],
)  # fmt: skip
def test_a_star_anywhere_is_never_stored(lines):
    """RFC 9111 4.1."""
    assert vary_names(headers(*lines)) is None
    assert put("Cache-Control: max-age=9", *lines) == Refusal("vary names everything")


def test_names():
    assert vary_names(headers("Vary: Foo,, bar", "vary: FOO")) == (b"bar", b"foo")
    assert vary_names(headers()) == ()


SAME = [
    pytest.param(["Foo: 1"], ["Foo: 1"], id="9111-4.1"),
    pytest.param(["Foo: 1,2"], ["Foo:  1, 2 "], id="9111-4.1-white-space"),
    pytest.param(["Foo: 1, 2"], ["Foo: 1", "Foo: 2"], id="9111-4.1-lines-combined"),
    pytest.param(["Foo: 1", "Other: 2"], ["Foo: 1", "Other: 3"], id="what-is-not-named"),
    pytest.param([], [], id="9111-4.1-absent-in-both"),
    pytest.param(["Accept-Encoding: gzip, br"], ["Accept-Encoding: BR,GZIP"], id="codings-have-no-order"),
    pytest.param(["Accept-Language: en, de;q=0.5"], ["Accept-Language: EN,de; q=0.5"], id="languages-have-no-case"),
]
DIFFERENT = [
    pytest.param(["Foo: 1"], ["Foo: 2"], id="9111-4.1"),
    pytest.param(["Foo: 1"], [], id="9111-4.1-absent"),
    pytest.param(["Foo:"], [], id="empty-is-not-absent"),
    pytest.param(["Foo: a"], ["Foo: A"], id="case-of-what-is-unknown"),
    pytest.param(["Foo: 1, 2"], ["Foo: 2, 1"], id="order-of-what-is-unknown"),
    pytest.param(['Foo: "a,b"'], ['Foo: "a, b"'], id="space-in-quotes"),
    pytest.param(["Accept-Encoding: gzip"], ["Accept-Encoding: gzip;q=0"], id="codings-have-weights"),
    pytest.param(
        ["Accept-Language: en, de"], ["Accept-Language: de, en"], id="many-take-their-order-for-the-preference"
    ),
    pytest.param(["User-Agent: a (b, c)"], ["User-Agent: a (b,c)"], id="what-is-no-list"),
    pytest.param(["Cookie: a=1, b"], ["Cookie: a=1,b"], id="cookies-are-no-list"),
]
NAMES = "Vary: Foo, Accept-Encoding, Accept-Language, User-Agent, Cookie"


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same(first, second):
    one = stored("Cache-Control: max-age=9", NAMES, asked=request(*first))
    assert choose([one], request(*second)) is one


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different(first, second):
    one = stored("Cache-Control: max-age=9", NAMES, asked=request(*first))
    assert choose([one], request(*second)) is None
    assert choose([one], request(*first)) is one


def test_several_variants_each_find_their_own():
    gzip, br = (
        stored("Cache-Control: max-age=9", "Vary: Accept-Encoding", asked=request(f"Accept-Encoding: {c}"))
        for c in ("gzip", "br")
    )
    plain = stored("Cache-Control: max-age=9", "Vary: accept-encoding")
    variants = [gzip, br, plain]
    assert choose(variants, request("accept-encoding: br")) is br
    assert choose(variants, request("accept-encoding: gzip")) is gzip
    assert choose(variants, request()) is plain
    assert choose(variants, request("accept-encoding: zstd")) is None


def test_the_most_recent_by_date_and_with_vary_first():
    """RFC 9111 4, 4.1."""
    old = stored("Cache-Control: max-age=9", "Date: Sun, 06 Nov 1994 08:49:30 GMT")
    new = stored("Cache-Control: max-age=9")
    assert choose([old, new], request()) is choose([new, old], request()) is new
    varying = stored("Cache-Control: max-age=9", "Vary: Foo", "Date: Sun, 06 Nov 1994 08:49:30 GMT")
    assert choose([new, varying], request()) is varying
    assert choose([new, varying], request("Foo: 1")) is new
    assert choose([], request()) is None


VALUE = st.text(' \t,"aB1;=', max_size=20).map(str.encode)


@given(st.sampled_from([b"foo", b"accept-encoding", b"accept-language", b"cookie"]), st.lists(VALUE, max_size=3))
def test_the_normal_form_is_its_own(name, values):
    once = normal_value(name, values)
    if once is not None and b"\n" not in once:
        assert normal_value(name, [once]) == once


@given(st.lists(VALUE, min_size=1, max_size=3))
def test_two_lines_are_one(values):
    joined = normal_value(b"foo", values)
    assert joined == normal_value(b"foo", [b",".join(values)])


def test_values_are_as_many_as_names():
    assert vary_values((b"a", b"b"), headers("B: 2")) == (None, b"2")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "via", "Accept, X-Request-ID"])
def test_what_the_proxy_writes_of_each_client_never_matches(name: str) -> None:
    assert vary_names(headers(f"Vary: {name}")) is None


def test_several_vary_lists_at_once():
    asked = headers("A: 1", "B: 2", "A: 3", "Accept-Language: EN, de")
    lists = [(b"a", b"b"), (b"b", b"c"), (b"accept-language",), ()]
    assert vary_table(lists, asked) == {names: vary_values(names, asked) for names in lists}


def test_what_the_proxy_writes_of_each_client_is_no_choice():
    assert vary_names(headers("Vary: X-Client, A"), frozenset({b"x-client"})) is None
    assert vary_names(headers("Vary: X-Client, A"), frozenset({b"x-other"})) == (b"a", b"x-client")


@pytest.mark.parametrize(
    ("said", "sent", "written"),
    [("1", "1", False), ("1", "2", True), (None, "2", True), ("1", None, False), (None, None, False)],
)
def test_what_reached_the_backend_is_compared_with_what_the_client_sent(said, sent, written):
    selected = (None if said is None else said.encode(),)
    fields = headers() if sent is None else headers(f"A: {sent}")
    assert was_written((b"a",), selected, fields, frozenset()) is written
    assert not was_written((b"a",), selected, fields, frozenset({b"a"}))
