"""RFC 9213: directives for some caches only."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.directives import FOREVER, NO_CACHE, NO_STORE, PRIVATE, PUBLIC
from revproxy.cache.rules import Rules
from revproxy.cache.storing import Refusal
from revproxy.cache.targeted import find_targeted, parse_targeted
from tests.cache.kit import headers, put, stored


@pytest.mark.parametrize(
    ("lines", "max_age"),
    [
        pytest.param([b"max-age=3600"], 3600, id="9213-2.1"),
        pytest.param([b"max-age=3600;x=1;y"], 3600, id="9213-2.1-parameters-ignored"),
        pytest.param([b"foobar, max-age=3600"], 3600, id="9213-2.2-unknown-ignored"),
        pytest.param([b"max-age=1", b"max-age=2"], 2, id="9651-4.2.2-the-last-of-a-dictionary-counts"),
        pytest.param([b"max-age=99999999999"], FOREVER, id="9111-1.2.2"),
        pytest.param([b'max-age="10000"'], 0, id="9213-2.1-a-string-is-no-number"),
        pytest.param([b"max-age=10.5"], 0, id="9213-2.1-a-decimal-is-not-coerced"),
        pytest.param([b"max-age=-1"], 0, id="negative"),
        pytest.param([b"max-age"], 0, id="true-is-no-number"),
        pytest.param([b"none"], None, id="9213-3.1-none"),
    ],
)
def test_seconds(lines, max_age):
    said = parse_targeted(lines)
    assert said is not None and said.max_age == max_age


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"max-age=10000, &&&&&",
        b"max-age =100",
        b"max-age= 100",
        b"MaX-aGe=3600",
        b"max-age=1,",
        b'a="',
        b"\xff",
        b"a=" + b"x" * 5000,
    ],
)
def test_what_is_malformed_says_nothing(line):
    """RFC 9213 2.1."""
    assert parse_targeted([line]) is None


@pytest.mark.parametrize(
    ("line", "bits", "withheld"),
    [
        (b"no-store", NO_STORE, set()),
        (b"no-store=?0", NO_STORE, set()),
        (b"private", PRIVATE, set()),
        (b'private="a, B"', 0, {b"a", b"b"}),
        (b"no-cache=a", 0, {b"a"}),
        (b"no-cache=1", NO_CACHE, set()),
        (b"public", PUBLIC, set()),
        (b"public=1", 0, set()),
    ],
)
def test_flags(line, bits, withheld):
    said = parse_targeted([line])
    assert said is not None and (said.bits, said.withheld) == (bits, withheld)


@pytest.mark.parametrize(
    ("lines", "lifetime"),
    [
        pytest.param(
            ["Cache-Control: max-age=60, s-maxage=120", "CDN-Cache-Control: max-age=600"], 600, id="9213-3.1-1"
        ),
        pytest.param(["Cache-Control: no-store", "CDN-Cache-Control: max-age=600"], 600, id="9213-3.1-2"),
        pytest.param(["Cache-Control: no-store"], None, id="9213-3.1-3"),
        pytest.param(["Cache-Control: max-age=9", "CDN-Cache-Control: no-store"], None, id="it-may-forbid"),
        pytest.param(["Cache-Control: max-age=9", "CDN-Cache-Control: private"], None, id="9213-2.2-private"),
        pytest.param(
            ["Cache-Control: no-store", "CDN-Cache-Control: max-age=10000, &&&"], None, id="9213-2.1-invalid-falls-back"
        ),
        pytest.param(
            ["Expires: Sun, 06 Nov 1994 09:49:37 GMT", "CDN-Cache-Control: max-age=0", 'ETag: "a"'],
            0,
            id="9213-2.2-expires-is-ignored",
        ),
        pytest.param(
            ["Expires: Sun, 06 Nov 1994 09:49:37 GMT", "CDN-Cache-Control: none", 'ETag: "a"'],
            0,
            id="9213-2.2-expires-is-ignored-without-a-lifetime",
        ),
        pytest.param(["Expires: 0", "CDN-Cache-Control: max-age=3600"], 3600, id="invalid-expires"),
        pytest.param(["X-Cache-Control: max-age=3600"], None, id="9213-2.2-not-on-the-list"),
    ],
)
def test_what_it_decides(lines, lifetime):
    made = put(*lines)
    assert (None if isinstance(made, Refusal) else made.lifetime) == lifetime


def test_the_list_has_an_order_and_names_of_ones_own():
    rules = Rules(targeted=(b"Ours-Cache-Control", b"cdn-cache-control"))
    assert stored("CDN-Cache-Control: max-age=1", "Ours-Cache-Control: max-age=2", rules=rules).lifetime == 2
    assert stored("CDN-Cache-Control: max-age=1", "Ours-Cache-Control: max-age=", rules=rules).lifetime == 1
    assert stored("CDN-Cache-Control: max-age=1", "Cache-Control: max-age=3", rules=Rules(targeted=())).lifetime == 3


def test_it_is_passed_on():
    assert b"cdn-cache-control" in stored("CDN-Cache-Control: max-age=600").headers


def test_none_is_found_where_there_is_none():
    assert find_targeted(headers("Cache-Control: max-age=1"), (b"cdn-cache-control",)) is None


@given(st.binary(max_size=80) | st.text('a=1"?;:, ()@%', max_size=40).map(str.encode))
def test_garbage_never_raises(line):
    said = parse_targeted([line])
    assert said is None or said.max_age is None or 0 <= said.max_age <= FOREVER
