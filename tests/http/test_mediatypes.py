"""Patterns of media types: the most specific one counts."""

from __future__ import annotations

import pytest

from revproxy.http.mediatypes import UNKNOWN, ByType, media_type


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/html", b"text/html"),
        (b" Text/HTML ; charset=utf-8", b"text/html"),
        (b"multipart/form-data; boundary=x/y", b"multipart/form-data"),
        (b"application/vnd.api+json", b"application/vnd.api+json"),
        (b"", UNKNOWN),
        (b"json", UNKNOWN),
        (b"text/html, application/json", UNKNOWN),
        (b"text/ html", UNKNOWN),
        (b"a/b/c", UNKNOWN),
        (b"text/", UNKNOWN),
        (b"text/*", UNKNOWN),
    ],
)
def test_types(value: bytes, expected: bytes) -> None:
    assert media_type(value) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"application/json", 1),
        (b"application/problem+json", 2),
        (b"multipart/form-data", 3),
        (b"multipart/special", 4),
        (b"multipart/x+json", 2),
        (b"json", 0),
        (b"text/json", 0),
        (UNKNOWN, 0),
    ],
)
def test_patterns(name: bytes, expected: int) -> None:
    table = ByType({"application/json": 1, "*+json": 2, "multipart/*": 3, "multipart/special": 4})
    assert table.get(name, 0) == expected
