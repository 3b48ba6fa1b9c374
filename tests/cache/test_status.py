"""RFC 9211: Cache-Status."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given, strategies as st

from revproxy.cache.status import status_of_forward, status_of_hit


@pytest.mark.parametrize(
    ("made", "value"),
    [
        pytest.param(status_of_hit("ExampleCache", 376), b"ExampleCache; hit; ttl=376", id="9211-3-polite"),
        pytest.param(status_of_hit("ExampleCache", -412), b"ExampleCache; hit; ttl=-412", id="9211-3-stale"),
        pytest.param(status_of_forward("ExampleCache", "uri-miss"), b"ExampleCache; fwd=uri-miss", id="9211-3-miss"),
        pytest.param(
            status_of_forward("ExampleCache", "stale", fwd_status=304),
            b"ExampleCache; fwd=stale; fwd-status=304",
            id="9211-3-validated",
        ),
        pytest.param(
            status_of_forward("ExampleCache", "uri-miss", collapsed=True),
            b"ExampleCache; fwd=uri-miss; collapsed",
            id="9211-3-collapsed",
        ),
        pytest.param(
            status_of_forward("ExampleCache", "uri-miss", collapsed=False),
            b"ExampleCache; fwd=uri-miss; collapsed=?0",
            id="9211-3-not-collapsed",
        ),
        pytest.param(status_of_hit("CDN Company Here", 545), b'"CDN Company Here"; hit; ttl=545', id="9211-3-a-string"),
        pytest.param(
            status_of_forward("p", "miss", stored=True, ttl=5, key='http://h/"\\', detail="memory full"),
            b'p; fwd=miss; ttl=5; stored; key="http://h/\\"\\\\"; detail="memory full"',
            id="9211-2-everything",
        ),
        pytest.param(status_of_forward("p", "miss", stored=False), b"p; fwd=miss", id="9211-2.5-not-stored"),
    ],
)
def test_values(made, value):
    assert made[:2] == (b"cache-status", value)
    assert made[2] == b"Cache-Status: " + value


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), st.integers(-(2**31), 2**31))
def test_a_parser_reads_back_what_was_said(name, key, detail, ttl):
    for made in (
        status_of_hit(name, ttl, key, detail),
        status_of_forward(name, "stale", ttl=ttl, key=key, detail=detail, stored=True, fwd_status=304),
    ):
        ((_, parameters),) = http_sf.parse(made[1], tltype="list")
        assert parameters["ttl"] == ttl
        if key.isascii() and key.isprintable():
            assert parameters["key"] == key
        assert ("hit" in parameters) != ("fwd" in parameters)


def test_long_keys_are_cut():
    assert len(status_of_hit("p", 1, "x" * 100_000)[1]) < 1100
