"""Which routes share what is stored."""

from __future__ import annotations

import pytest

from revproxy.config.stores import way_of
from revproxy.testing import Scenario
from tests.cache.talk import Talk
from tests.kit import ADDRESS, get, load, ok, toml

FRESH = b"Cache-Control: max-age=60"


def two_routes(first: str, second: str) -> Talk:
    """Routes ``/a/*`` and ``/b/*`` of one upstream, which both ask for what is below these prefixes."""
    text = toml(
        route=f'match = {{ path = "/a/*" }}\nupstream = "app"\n{first}',
        more=f'[[routes]]\nmatch = {{ path = "/b/*" }}\nupstream = "app"\n{second}',
    )
    scenario = Scenario(load(text))
    return Talk(scenario, scenario.backend(ADDRESS))


A, B = 'rewrite = { strip_prefix = "/a" }', 'rewrite = { strip_prefix = "/b" }'
REPLACED = 'rewrite = { replace = "/x" }'


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (f"{REPLACED}\ncache = true", f"{REPLACED}\ncache = true", True),
        (f"{REPLACED}\ncache = true", f'{REPLACED}\ncache = true\nname = "b"\nretry = "off"', True),
        (
            f"{REPLACED}\ncache = true",
            f"{REPLACED}\ncache = true\nheaders = {{ response = {{ set = {{ A = '1' }} }} }}",
            True,
        ),
        (f"{A}\ncache = true", f"{B}\ncache = true", False),
        (f"{REPLACED}\ncache = true\ncompress = {{ gzip = 1 }}", f"{REPLACED}\ncache = true", False),
        (f"{REPLACED}\ncache = true", f"{REPLACED}\ncache = {{ store_set_cookie = true }}", False),
        (f"{REPLACED}\ncache = {{ key_headers = ['a'] }}", f"{REPLACED}\ncache = {{ key_headers = ['b'] }}", False),
        (
            f"{REPLACED}\ncache = true",
            f"{REPLACED}\ncache = true\nheaders = {{ request = {{ set = {{ A = '1' }} }} }}",
            False,
        ),
    ],
)
def test_routes_share_where_nothing_is_different(first: str, second: str, shared: bool) -> None:
    t = two_routes(first, second)
    t.ask(b"/a/x")
    t.answer(ok(b"body", FRESH, b"Content-Location: /x"), b"/x")
    if shared:
        t.hit(b"body", b"/b/x")
    else:
        t.miss(b"/b/x")
        t.answer(ok(b"other", FRESH), b"/x")
        t.hit(b"other", b"/b/x")
    t.hit(b"body", b"/a/x")


def test_what_is_posted_by_one_route_is_invalid_for_all() -> None:
    t = two_routes(f"{A}\ncache = true", f"{B}\ncache = true")
    for path in (b"/a/x", b"/b/x"):
        t.ask(path)
        t.answer(ok(b"body", FRESH), b"/x")
    t.hit(b"body", b"/b/x")
    t.client().send(get(b"/a/x", b"Content-Length: 0", method=b"POST"))
    t.answer(ok(b"done"), b"/x", b"POST")
    t.miss(b"/b/x")
    t.answer(ok(b"body", FRESH), b"/x")
    t.miss(b"/a/x")


def test_redirects_are_those_of_the_route() -> None:
    t = two_routes(f"{A}\ncache = true", f"{B}\ncache = true")
    for prefix in (b"/a", b"/b"):
        client = t.ask(prefix + b"/old")
        t.answer(ok(b"", FRESH, b"Location: /new", status=b"301 Moved"), b"/old")
        assert client.expect_response(301).get(b"Location") == prefix + b"/new"
        assert t.hit(b"", prefix + b"/old", status=301).get(b"Location") == prefix + b"/new"


def test_a_setting_counts_unless_it_is_known_not_to() -> None:
    routes = load(toml(more='[[routes]]\nupstream = "app"\nmatch = { host = "x" }\nname = "n"')).routes
    assert way_of(routes[0]) == way_of(routes[1])
