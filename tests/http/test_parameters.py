"""Cookies and query parameters."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.http.message import Headers
from revproxy.http.parameters import (
    cookie,
    cookies,
    masked,
    query_parameter,
    query_parameters,
    without_parameters,
)


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


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/p", b"/p"),
        (b"/k=a", b"/k=a"),
        (b"/p?", b"/p?"),
        (b"/p?a=1&k=s&b=2", b"/p?a=1&k=***&b=2"),
        (b"/p?%6B=s&k=t", b"/p?%6B=***&k=***"),
        (b"/p?k=a=b?c#d&k", b"/p?k=***&k"),
        (b"https://example.com/?k=s", b"https://example.com/?k=***"),
        (b"/p?kk=s&K=s&a=k=s", b"/p?kk=s&K=s&a=k=s"),
    ],
)
def test_values_of_secret_parameters_are_masked(target, shown):
    assert masked(target, {b"k"}) == shown


@given(query=st.lists(st.sampled_from([b"k=secret", b"%6b=secret", b"a=1", b"a", b"k", b"", b"kk=k"])).map(b"&".join))
def test_what_is_read_as_a_parameter_is_what_is_masked_and_taken_out(query):
    assert b"secret" not in masked(b"/?" + query, {b"k"})
    rest = without_parameters(query, {b"k"})
    assert query_parameter(rest, b"k") is None
    others = [pair for pair in query_parameters(query) if pair[0] != b"k"]
    assert list(query_parameters(rest)) == others
