"""RFC 9111 4.4: what becomes invalid."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.invalidate import invalidates
from revproxy.cache.key import make_key
from revproxy.cache.rules import Rules
from revproxy.http.message import Arrival
from tests.cache.kit import RULES, request, response

TARGET = b"/dir/page"


def gone(*lines, method=b"POST", status=200, rules=RULES, **more):
    """The targets that become invalid."""
    asked = request(method=method, path=TARGET, length=3, **more)
    return [key.rsplit(b"\n", 1)[1].decode() for key in invalidates(asked, response(*lines, status=status), rules)]


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"M-SEARCH", b"WHATEVER", b"get"])
@pytest.mark.parametrize("status", [200, 201, 204, 299, 302, 399])
def test_unsafe_and_unknown_methods(method, status):
    assert gone(method=method, status=status) == ["/dir/page"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND"])
def test_safe_methods_do_not(method):
    assert gone("Location: /x", method=method) == []


@pytest.mark.parametrize("status", [199, 400, 404, 500, 503])
def test_errors_do_not(status):
    assert gone("Location: /x", status=status) == []


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    ("reference", "found"),
    [
        pytest.param("/other", "/other", id="path"),
        pytest.param("other?a=b", "/dir/other?a=b", id="relative"),
        pytest.param("../other#f?x", "/other", id="relative-up-and-fragment"),
        pytest.param("http://example.com/other", "/other", id="same-origin"),
        pytest.param("HTTP://EXAMPLE.com:80/other", "/other", id="same-origin-in-another-form"),
        pytest.param("//example.com/other", "/other", id="same-scheme"),
        pytest.param("http://example.com", "/", id="no-path"),
        pytest.param("/other?", "/other?", id="an-empty-query"),
        pytest.param("/%6fther", "/other", id="normal-form"),
        pytest.param("https://example.com/other", None, id="another-scheme"),
        pytest.param("http://example.com:8080/other", None, id="another-port"),
        pytest.param("http://other.example/other", None, id="another-host"),
        pytest.param("//other.example/other", None, id="another-host-same-scheme"),
        pytest.param("http://user@example.com/other", None, id="userinfo"),
        pytest.param("http://[::1/other", None, id="malformed"),
        pytest.param("/%2e%2e/other", None, id="refused-path"),
        pytest.param("/" + "x" * 9000, None, id="long"),
    ],
)
def test_where_it_has_been_moved(name, reference, found):
    assert gone(f"{name}: {reference}") == ["/dir/page", *([found] if found else [])]


def test_both_and_none_twice():
    assert gone("Location: /a", "Content-Location: /b", "Location: /dir/page") == ["/dir/page", "/a", "/b"]


def test_they_are_the_keys_of_what_is_stored():
    """Whatever the rules make of a query, and whatever else is in a key."""
    rules = Rules(name=b"n", query_ignore=(b"utm_*",), query_sort=True, key_headers=(b"x-a",))
    tls = Arrival(scheme=b"https")
    post = request(method=b"POST", path=b"/p", query=b"b=1&a=2&utm_x=3", authority=b"example.com:443", arrival=tls)
    made = invalidates(post, response("Location: /q?b&a", status=303), rules)
    for path, query in ((b"/p", b"a=2&b=1"), (b"/q", b"a&b&utm_y")):
        get = request("X-A: 1", path=path, query=query, authority=b"example.com", arrival=tls)
        assert make_key(get, rules)[0] in made


def test_it_is_traced():
    trace: list[str] = []
    invalidates(request(method=b"PUT"), response("Location: /a"), RULES, trace)
    assert trace == ["PUT invalidates 2"]


@given(st.text("/:@[]?#%.hxetp\u00e9\u2028\\", max_size=40))
def test_garbage_never_raises_and_never_leaves_the_origin(reference):
    asked = request(method=b"POST", path=TARGET)
    given = response()
    value = reference.encode("utf-8")
    given.headers.fields.append((b"location", value, b"Location: " + value, 0))
    for key in invalidates(asked, given, RULES):
        name, scheme, authority, target = key.split(b"\n")
        assert (name, scheme, authority) == (b"", b"http", b"example.com")
        assert target.startswith(b"/")
