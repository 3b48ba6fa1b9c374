"""What stands before a route, in a few words."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.config.load import load_text
from revproxy.config.model import Route, RouteLimits, Server
from revproxy.config.protections import before_all, before_route
from tests.kit import toml


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", ""),
        ('priority = "low"', "priority low"),
        ("limits = { requests = 5, requests_per_address = 1 }", "requests 5 at once, requests 1 at once per address"),
        ('limits.body = "off"', "body of any size"),
        ("limits.body = 0", "body 0B"),
        ('content_types = "text/plain"', "types of bodies"),
        ('access = { deny = "10.0.0.0/8", methods = "GET" }', "access by deny and methods"),
        ('rate_limit = { rate = "1/m", by = "route" }', "rate 1/minute by route"),
        ('filter.mode = "detect"', "filter detect only"),
        ('auth = { basic.file = "u", api_key.file = "k" }', "auth api key or basic"),
        (
            'auth = { jwt = { algorithms = "RS256", jwks = "k" }, api_key.file = "u", satisfy = "all" }',
            "auth api key and jwt",
        ),
        ('middleware = "a:b"', "1 hook"),
        ('cache.size = "1MB"', "cache 1MB"),
        ("compress = true", "compress"),
    ],
)
def test_a_route(written, words):
    assert before_route(load_text(toml("shed = true", route=f'upstream = "app"\n{written}')).routes[0]) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", ""),
        ("bans = true", "bans"),
        ("bans.rules = [{ count = 3 }]", "bans by 1 rule"),
        ('bans.addresses = "10.0.0.0/8"', "bans"),
        ("shed = true", "shed at 100ms"),
        ('limits = { connections_per_address = 9, body = "1KB" }', "connections 9 per address, body 1KB"),
        ('access.deny_user_agent = "x"', "access by deny_user_agent"),
        ('rate_limit = "9/d"', "rate 9/day by client"),
    ],
)
def test_a_server(written, words):
    assert before_all(load_text(toml(written)).server) == words


@given(st.sampled_from(["server", None, 0, 2**40]), st.none() | st.integers(1, 9), st.none() | st.integers(1, 9))
def test_nothing_is_said_of_what_is_not_written(body, requests, per_address):
    said = before_route(Route(limits=RouteLimits(body=body, requests=requests, requests_per_address=per_address)))
    assert said.count("requests") == (requests is not None) + (per_address is not None)
    assert ("body" in said) == (body != "server")
    assert before_all(Server()) == before_route(Route()) == ""
