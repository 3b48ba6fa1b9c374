"""A backend's names mapped back to the public ones."""

from __future__ import annotations

import pytest

from revproxy.http.mapping import Names, map_location, map_path, map_refresh, map_set_cookie, public_origin
from revproxy.http.message import Arrival, Headers, Request

NAMES = Names(internal=frozenset({b"backend:9000", b"10.0.0.9:9000", b"app.lan"}), outer=b"/api")
PLAIN = Names(internal=NAMES.internal)
DEEP = Names(internal=NAMES.internal, inner=b"/v1", outer=b"/")


def request(*fields: tuple[bytes, bytes], authority: bytes = b"Example.com", **arrival: object) -> Request:
    made = Arrival(**{"scheme": b"https", **arrival})  # type: ignore[arg-type]  # fields of several types
    return Request(b"GET", b"/", None, Headers.of(fields), authority=authority, arrival=made)


LOCATIONS = [
    # relative references
    (b"x", b"x"),
    (b"", b""),
    (b"?x", b"?x"),
    (b"../x", b"../x"),
    (b"/", b"/api/"),
    (b"/x?y#z", b"/api/x?y#z"),
    # the backend's own
    (b"http://backend:9000", b"https://Example.com"),
    (b"http://backend:9000/", b"https://Example.com/api/"),
    (b"HTTP://BACKEND:9000/x", b"https://Example.com/api/x"),
    (b"http://backend:9000?x", b"https://Example.com?x"),
    (b"http://app.lan:80/x", b"https://Example.com/api/x"),
    (b"http://user@backend:9000/x", b"https://user@Example.com/api/x"),
    (b"//backend:9000/x", b"//Example.com/api/x"),
    (b"http://example.com/x", b"https://Example.com/api/x"),
    # of the other scheme: the backend sends people there
    (b"https://example.com/x", b"https://Example.com/api/x"),
    # foreign
    (b"http://backend:9001/x", b"http://backend:9001/x"),
    (b"http://backend/x", b"http://backend/x"),
    (b"https://other.example/x", b"https://other.example/x"),
    (b"//other.example/x", b"//other.example/x"),
    (b"http://backend:9000@evil.example/x", b"http://backend:9000@evil.example/x"),
    (b"http://backend:9000.evil.example/x", b"http://backend:9000.evil.example/x"),
    (b"ftp://backend:9000/x", b"ftp://backend:9000/x"),
    (b"mailto:x@backend", b"mailto:x@backend"),
    (b"http:///x", b"http:///x"),
]


@pytest.mark.parametrize(("value", "mapped"), LOCATIONS)
def test_locations(value: bytes, mapped: bytes) -> None:
    assert map_location(value, NAMES, request()) == mapped


def test_the_host_that_was_sent_is_the_backends() -> None:
    fixed = Names(host=b"fixed.lan:81")
    assert map_location(b"http://fixed.lan:81/x", fixed, request()) == b"https://Example.com/x"
    assert map_location(b"http://example.com/x", fixed, request()) == b"http://example.com/x"


def test_from_http_to_https_stays_so() -> None:
    plain = request(scheme=b"http")
    assert map_location(b"https://example.com/x", PLAIN, plain) == b"https://Example.com/x"
    assert map_location(b"http://example.com/x", PLAIN, plain) == b"http://Example.com/x"
    secure = Names(internal=frozenset({b"backend:9443"}), scheme=b"https")
    assert map_location(b"https://backend:9443/x", secure, plain) == b"http://Example.com/x"


def test_without_a_public_name_the_authority_stays() -> None:
    assert map_location(b"http://backend:9000/x", PLAIN, request(authority=b"")) == b"https://backend:9000/x"


def test_a_trusted_proxy_says_what_the_public_name_is() -> None:
    said = ((b"X-Forwarded-Proto", b"HTTP"), (b"X-Forwarded-Host", b"public.example:8000"))
    assert public_origin(request(*said, trusted=True)) == (b"http", b"public.example:8000")
    assert public_origin(request(*said)) == (b"https", b"Example.com")
    odd = ((b"X-Forwarded-Proto", b"javascript"), (b"X-Forwarded-Host", b"a/b"))
    assert public_origin(request(*odd, trusted=True)) == (b"https", b"Example.com")


@pytest.mark.parametrize(
    ("inner", "outer", "path", "mapped"),
    [
        (b"/", b"/", b"/x", b"/x"),
        (b"/", b"/api", b"/", b"/api/"),
        (b"/", b"/api/", b"/x", b"/api/x"),
        (b"/v1", b"/", b"/v1/x", b"/x"),
        (b"/v1", b"/", b"/v1", b"/"),
        (b"/v1", b"/", b"/v1?x", b"/?x"),
        (b"/v1", b"/", b"/v1#x", b"/#x"),
        (b"/v1", b"/", b"/v10", b"/v10"),
        (b"/v1", b"/", b"/other", b"/other"),
        (b"/v1/", b"/api", b"/v1/x", b"/api/x"),
        (b"/v1", b"/api", b"/v1", b"/api"),
        (b"/v1", b"/", b"/v1//evil.example", b"/.//evil.example"),
        (b"/v1", b"/", b"/v1/\\evil.example", b"/./\\evil.example"),
        (b"/v1", b"/", b"/v1/\t/evil.example", b"/./\t/evil.example"),
        (b"/v1", b"/api", b"/v1//x", b"/api//x"),
    ],
)
def test_paths(inner: bytes, outer: bytes, path: bytes, mapped: bytes) -> None:
    assert map_path(path, Names(inner=inner, outer=outer)) == mapped


@pytest.mark.parametrize(
    ("value", "mapped"),
    [
        (b"5", b"5"),
        (b"5; url=/x", b"5; url=/api/x"),
        (b"0;URL=http://backend:9000/x", b"0;URL=https://Example.com/api/x"),
        (b"0; url='/x'", b"0; url='/api/x'"),
        (b'0; url="/x"; y', b'0; url="/api/x"; y'),
        (b"0, /x", b"0, /api/x"),
        (b"0; url=https://other.example/", b"0; url=https://other.example/"),
        (b"soon", b"soon"),
    ],
)
def test_refresh(value: bytes, mapped: bytes) -> None:
    assert map_refresh(value, NAMES, request()) == mapped


@pytest.mark.parametrize(
    ("value", "mapped"),
    [
        (b"a=b", b"a=b"),
        (b"a=b; Path=/; HttpOnly", b"a=b; Path=/api/; HttpOnly"),
        (b"a=b;path=/x;Secure", b"a=b;path=/api/x;Secure"),
        (b"a=b; Path=x", b"a=b; Path=x"),
        (b"a=b; Path", b"a=b; Path"),
        (b"a=b; Domain=app.lan; Path=/", b"a=b; Path=/api/"),
        (b"a=b; domain=.APP.lan; Secure", b"a=b; Secure"),
        (b"a=b; Domain=lan", b"a=b"),
        (b"a=b; Domain=backend", b"a=b"),
        (b"a=b; Domain=example.com", b"a=b; Domain=example.com"),
        (b"a=b; Domain=.com", b"a=b; Domain=.com"),
        (b"a=b; Domain=other.example", b"a=b; Domain=other.example"),
        (b"a=b; Domain=", b"a=b; Domain="),
        (b"a=Domain=app.lan", b"a=Domain=app.lan"),
        (b"__Host-a=b; Path=/; Secure", b"__Host-a=b; Path=/; Secure"),
        (b"__host-a=b; Path=/", b"__host-a=b; Path=/"),
        (
            b"a=b; Expires=Wed, 01 Jan 2031 00:00:00 GMT; SameSite=Lax",
            b"a=b; Expires=Wed, 01 Jan 2031 00:00:00 GMT; SameSite=Lax",
        ),
    ],
)
def test_cookies(value: bytes, mapped: bytes) -> None:
    assert map_set_cookie(value, NAMES, request()) == mapped
