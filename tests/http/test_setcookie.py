"""What Set-Cookie fields lack."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.http.setcookie import missing_attributes


def added(
    value: bytes,
    *,
    https: bool = True,
    secure: bool = True,
    http_only: bool = True,
    readable: tuple[bytes, ...] = (),
    same_site: bytes | None = b"Lax",
) -> bytes:
    return missing_attributes(
        value, https=https, secure=secure, http_only=http_only, readable=readable, same_site=same_site
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=1", b"; Secure; HttpOnly; SameSite=Lax"),
        (b"a=1; Path=/", b"; Secure; HttpOnly; SameSite=Lax"),
        (b"a=1; secure", b"; HttpOnly; SameSite=Lax"),
        (b"a=1;SECURE = x ;\thttponly", b"; SameSite=Lax"),
        (b"a=1; Secure; HttpOnly; SameSite=Strict", b""),
        (b"a=1; Secure; HttpOnly; samesite=none", b""),
        # what no browser knows counts as nothing, and the last one wins
        (b"a=1; Secure; HttpOnly; SameSite=Laxx", b"; SameSite=Lax"),
        (b"a=1; Secure; HttpOnly; SameSite", b"; SameSite=Lax"),
        (b"a=1; Secure; HttpOnly; SameSite=Strict; SameSite=x", b"; SameSite=Lax"),
        # words in a value or in another attribute are none
        (b"a=Secure", b"; Secure; HttpOnly; SameSite=Lax"),
        (b"secure=1", b"; Secure; HttpOnly; SameSite=Lax"),
        (b"a=1; Path=/secure; Comment=httponly", b"; Secure; HttpOnly; SameSite=Lax"),
        (b"a=1; NotSecure; HttpOnlyish", b"; Secure; HttpOnly; SameSite=Lax"),
        (b"", b"; Secure; HttpOnly; SameSite=Lax"),
        (b"a=1;;", b"; Secure; HttpOnly; SameSite=Lax"),
        (
            b'a="x; Secure"',
            b"; Secure; HttpOnly; SameSite=Lax",
        ),  # quotes hold nothing together, but the rest is no word
        (b"a=1; Max-Age=0", b"; Secure; HttpOnly; SameSite=Lax"),
    ],
)
def test_what_is_missing(value: bytes, expected: bytes) -> None:
    assert added(value) == expected


def test_secure_is_for_https_only() -> None:
    assert added(b"a=1", https=False) == b"; HttpOnly; SameSite=Lax"
    assert added(b"__Host-a=1; Path=/", https=False) == b"; HttpOnly; SameSite=Lax"


def test_each_is_a_choice() -> None:
    assert added(b"a=1", secure=False) == b"; HttpOnly; SameSite=Lax"
    assert added(b"a=1", http_only=False) == b"; Secure; SameSite=Lax"
    assert added(b"a=1", same_site=None) == b"; Secure; HttpOnly"
    assert added(b"csrf=1", readable=(b"csrf",)) == b"; Secure; SameSite=Lax"
    assert added(b"CSRF=1", readable=(b"csrf",)) == b"; Secure; HttpOnly; SameSite=Lax"


def test_none_only_beside_secure() -> None:
    assert added(b"a=1", same_site=b"None") == b"; Secure; HttpOnly; SameSite=None"
    assert added(b"a=1", same_site=b"None", https=False) == b"; HttpOnly"
    assert added(b"a=1; Secure", same_site=b"None", https=False) == b"; HttpOnly; SameSite=None"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"__Secure-a", b"; Secure"),
        (b"__Host-a", b"; Secure"),
        (b"__host-a", b"; Secure"),
        (b"__Http-a", b"; Secure; HttpOnly"),
        (b"__Host-Http-a", b"; Secure; HttpOnly"),
        (b"__Hosta", b""),
    ],
)
def test_names_that_ask_for_more(name: bytes, expected: bytes) -> None:
    assert added(name + b"=1; Path=/", secure=False, http_only=False, same_site=None) == expected


@given(st.binary(max_size=60), st.booleans(), st.sampled_from([b"Lax", b"Strict", b"None", None]))
def test_a_second_time_adds_nothing(value: bytes, https: bool, same_site: bytes | None) -> None:
    more = added(value, https=https, same_site=same_site)
    assert added(value + more, https=https, same_site=same_site) == b""
    assert not more or more.startswith(b"; ")
