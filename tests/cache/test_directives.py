"""Cache-Control, well-formed and otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache import directives as d
from revproxy.cache.directives import FOREVER, parse_directives, parse_seconds


@pytest.mark.parametrize(
    ("lines", "max_age"),
    [
        pytest.param([b"max-age=3600"], 3600, id="9111-5.2.2.1"),
        pytest.param([b"MaX-aGe=3600"], 3600, id="9111-5.2-case"),
        pytest.param([b'max-age="3600"'], 3600, id="9111-5.2-quoted-form-accepted"),
        pytest.param([b'max-age="36\\00"'], 3600, id="9110-5.6.4-quoted-pair"),
        pytest.param([b"max-age=003600"], 3600, id="leading-zeros"),
        pytest.param([b"foobar, max-age=3600"], 3600, id="9111-5.2.3-unknown-ignored"),
        pytest.param([b", ,max-age=1,,"], 1, id="9110-5.6.1-empty-members"),
        pytest.param([b"max-age=1800, max-age=1"], 1800, id="9111-4.2.1-first-counts"),
        pytest.param([b"max-age=1", b"max-age=1800"], 1, id="9111-4.2.1-first-line-counts"),
        pytest.param([b"max-age=2147483648"], FOREVER, id="9111-1.2.2-most"),
        pytest.param([b"max-age=99999999999"], FOREVER, id="9111-1.2.2-overflow"),
        pytest.param([b"max-age=" + b"9" * 5000], FOREVER, id="9111-1.2.2-absurd"),
        pytest.param([b"max-age=a3600"], 0, id="9111-4.2.1-leading-alpha"),
        pytest.param([b"max-age=3600a"], 0, id="9111-4.2.1-trailing-alpha"),
        pytest.param([b"max-age=-3600"], 0, id="negative"),
        pytest.param([b"max-age=3600.0"], 0, id="decimal"),
        pytest.param([b"max-age='3600'"], 0, id="single-quotes-are-no-quotes"),
        pytest.param([b"max-age"], 0, id="no-argument"),
        pytest.param([b"max-age="], 0, id="empty-argument"),
        pytest.param([b"max-age =3600"], 0, id="space-before-equals"),
        pytest.param([b"max-age= 3600"], 0, id="space-after-equals"),
        pytest.param([b'max-age="3600'], 0, id="quote-left-open"),
        pytest.param([b"max-age=\xb2"], 0, id="digits-of-other-alphabets"),
        pytest.param([b'ext="max-age=3600", max-age=1'], 1, id="quoted-is-no-directive"),
        pytest.param([b'max-age=1, ext="max-age=3600"'], 1, id="quoted-is-no-directive-after"),
        pytest.param([b'ext="a, max-age=3600, b"'], None, id="quoted-commas"),
        pytest.param([b'ext="\\", max-age=3600"'], None, id="quoted-escape"),
        pytest.param([b'ext="a, max-age=3600'], 0, id="after-an-open-quote-nothing-is-fresh"),
        pytest.param([b"s-maxage=5"], None, id="another-directive"),
        pytest.param([], None, id="none"),
    ],
)
def test_max_age(lines, max_age):
    assert parse_directives(lines).max_age == max_age


@pytest.mark.parametrize(
    ("lines", "bits"),
    [
        ([b"no-store"], d.NO_STORE),
        ([b"No-StOrE"], d.NO_STORE),
        ([b"no-store=1"], d.NO_STORE),
        ([b'no-store="'], d.NO_STORE),
        ([b'ext="open, no-store'], d.NO_STORE),
        ([b'ext="open', b"public"], d.PUBLIC),
        ([b"public=1"], 0),
        ([b'ext="open, public'], 0),
        ([b"immutable = yes, must-understand=x"], 0),
        ([b"public, must-understand,immutable"], d.PUBLIC | d.MUST_UNDERSTAND | d.IMMUTABLE),
        (
            [b"must-revalidate\t,proxy-revalidate, no-transform"],
            d.MUST_REVALIDATE | d.PROXY_REVALIDATE | d.NO_TRANSFORM,
        ),
        ([b"s-maxage=1"], d.S_MAXAGE),
        ([b"s-maxage=x"], d.S_MAXAGE),
        ([b"only-if-cached"], d.ONLY_IF_CACHED),
        ([b'ext="no-store"'], 0),
        ([b"xno-store, no-storex"], 0),
    ],
)
def test_flags(lines, bits):
    assert parse_directives(lines).bits == bits


@pytest.mark.parametrize(
    ("line", "bits", "withheld"),
    [
        pytest.param(b"private", d.PRIVATE, set(), id="9111-5.2.2.7-unqualified"),
        pytest.param(b'private="Set-Cookie, X-A"', 0, {b"set-cookie", b"x-a"}, id="9111-5.2.2.7-qualified"),
        pytest.param(b"no-cache=x-a", 0, {b"x-a"}, id="9111-5.2.2.4-token-form"),
        pytest.param(b'no-cache="a", private="b"', 0, {b"a", b"b"}, id="both"),
        pytest.param(b'no-cache="a", no-cache', d.NO_CACHE, {b"a"}, id="9111-4.2.1-the-most-restrictive"),
        pytest.param(b'private=""', d.PRIVATE, set(), id="an-empty-list-restricts-all"),
        pytest.param(b'private="a', d.PRIVATE, set(), id="a-malformed-list-restricts-all"),
        pytest.param(b"no-cache = a", d.NO_CACHE, set(), id="spaces-make-it-malformed"),
    ],
)
def test_lists_of_fields(line, bits, withheld):
    said = parse_directives([line])
    assert (said.bits, said.withheld) == (bits, withheld)


def test_seconds_of_requests_and_extensions():
    said = parse_directives([b"max-stale, min-fresh=20, stale-if-error=5, stale-while-revalidate=6"])
    assert (said.max_stale, said.min_fresh, said.stale_if_error, said.stale_while_revalidate) == (FOREVER, 20, 5, 6)
    assert parse_directives([b"max-stale=7"]).max_stale == 7
    assert parse_directives([b"max-stale=x"]).max_stale == 0


def test_what_is_remembered_is_bounded():
    for n in range(3000):
        parse_directives([b"max-age=%d" % n])
    parse_directives([b"ext=" + b"x" * 10_000])
    assert len(d._remembered) <= 1024
    assert max(map(len, d._remembered)) <= 256


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_garbage_says_something_bounded(lines):
    said = parse_directives(lines)
    for seconds in (said.max_age, said.s_maxage, said.max_stale, said.min_fresh, said.stale_if_error):
        assert seconds is None or 0 <= seconds <= FOREVER


@given(st.text('a="\\, -', max_size=60).map(lambda text: text.encode()))
def test_what_restricts_is_never_hidden_by_an_open_quote_before_it_on_another_line(text):
    assert parse_directives([text, b"no-store"]).bits & d.NO_STORE


@pytest.mark.parametrize(
    "line", [b'"' * 30_000, b'a="' + b"\\" * 30_001, b"," * 30_000, b'x="a",' * 6000, b"a" * 30_000]
)
def test_long_fields_take_linear_time(line):
    parse_directives([line])  # quadratic would be minutes


@given(st.integers(0, 10**12))
def test_seconds(number):
    assert parse_seconds(b"%d" % number) == min(number, FOREVER)


def test_too_many_members_restrict_everything():
    assert not parse_directives([b",".join([b"a=b"] * 127)]).bits
    for lines in ([b",".join([b"a=b"] * 129)], [b"public"] * 129, [b'"' + b"," * 200]):
        said = parse_directives(lines)
        assert said.bits == d.NO_STORE | d.NO_CACHE | d.PRIVATE and said.max_age is None
