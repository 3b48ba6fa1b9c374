"""Cookies and query parameters."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.http.message import Headers
from revproxy.http.parameters import cookie, cookies, query_parameter, query_parameters


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        (None, []),
        (b"", []),
        (b"a=1", [(b"a", b"1")]),
        (b"a=1&b=2&a=3", [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]),
        (b"a", [(b"a", b"")]),
        (b"a=&=b", [(b"a", b""), (b"", b"b")]),
        (b"&&a=1&", [(b"a", b"1")]),
        (b"a=b=c", [(b"a", b"b=c")]),
        (b"a+b=c+d", [(b"a b", b"c d")]),
        (b"%61%2B=%3D%26+%zz", [(b"a+", b"=& %zz")]),
    ],
)
def test_query(query, pairs):
    assert list(query_parameters(query)) == pairs


@pytest.mark.parametrize(
    ("lines", "pairs"),
    [
        ([], []),
        ([b"a=1"], [(b"a", b"1")]),
        ([b"a=1; b=2"], [(b"a", b"1"), (b"b", b"2")]),
        ([b"a=1", b"a=2;b="], [(b"a", b"1"), (b"a", b"2"), (b"b", b"")]),
        ([b' a = "1" ;;b;=x'], [(b"a", b'"1"'), (b"", b"x")]),
        ([b"a=b=c"], [(b"a", b"b=c")]),
    ],
)
def test_cookies(lines, pairs):
    assert list(cookies(Headers.of([(b"Cookie", line) for line in lines]))) == pairs


def test_the_first_of_a_name():
    assert query_parameter(b"b=0&a=1&a=2", b"a") == b"1"
    assert query_parameter(b"a=1", b"b") is None
    headers = Headers.of([(b"Cookie", b"b=0; a=1"), (b"Cookie", b"a=2")])
    assert cookie(headers, b"a") == b"1"
    assert cookie(headers, b"c") is None


@given(st.binary())
def test_any_bytes(query):
    for name, _ in query_parameters(query):
        assert query_parameter(query, name) is not None
