"""CORS: what the Fetch standard's algorithms make of what is said.

:class:`Browser` is the client's side of the protocol (Fetch 4.8 "CORS-preflight fetch", 4.9 "CORS check"), so that the
tables say what pages can do, and not what fields there are.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from revproxy.http.cors import CorsRules, is_preflight
from revproxy.http.message import Field, Headers, Request, field

SAFE_METHODS = {"GET", "HEAD", "POST"}


def rules(
    *origins: str,
    methods: tuple[str, ...] = ("GET", "HEAD", "POST"),
    headers: tuple[str, ...] = (),
    expose: tuple[str, ...] = (),
    credentials: bool = False,
    max_age: float = 600.0,
) -> CorsRules:
    return CorsRules(origins, methods, headers, expose, credentials, max_age)


class Browser:
    """What a script of ``origin`` may do."""

    def __init__(self, rules: CorsRules, origin: str, credentials: bool = False) -> None:
        self.rules, self.origin, self.credentials = rules, origin, credentials

    def _check(self, headers: Headers) -> bool:
        """CORS check."""
        allowed = headers.get_all(b"access-control-allow-origin")
        if len(allowed) != 1:
            return False
        if not self.credentials and allowed[0] == b"*":
            return True
        if allowed[0] != self.origin.encode():
            return False
        return not self.credentials or headers.get_all(b"access-control-allow-credentials") == [b"true"]

    def may_read(self, backend: tuple[tuple[bytes, bytes], ...] = ()) -> bool:
        fields = self.rules.response(self.origin.encode(), Headers.of(backend).fields)
        return self._check(Headers(fields))

    def may_send(self, method: str, *names: str) -> bool:
        asked = [(b"Origin", self.origin.encode()), (b"Access-Control-Request-Method", method.encode())]
        if names:
            asked.append((b"Access-Control-Request-Headers", ",".join(sorted(names)).encode()))
        request = Request(b"OPTIONS", b"/", None, Headers.of(asked))
        assert is_preflight(request)
        answer = self.rules.preflight(request)
        if not self._check(answer):
            return False
        methods = [item.decode() for item in answer.get_list(b"access-control-allow-methods")]
        headers = [item.decode().lower() for item in answer.get_list(b"access-control-allow-headers")]
        any_method, any_header = (not self.credentials and "*" in items for items in (methods, headers))
        if method not in methods and method not in SAFE_METHODS and not any_method:
            return False
        return all(name in headers or (any_header and name != "authorization") for name in names)


APP, SUB, DEEP, EVIL = (
    "https://app.example",
    "https://a.wide.example",
    "https://b.a.wide.example",
    "https://evil.example",
)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (APP, True),
        (SUB, True),
        (DEEP, True),
        ("https://x.wide.example:8443", False),
        ("https://port.example:8443", True),
        ("https://port.example", False),
        ("https://wide.example", False),  # the name itself is not below itself
        ("https://.wide.example", False),
        ("https://xwide.example", False),
        ("https://a.wide.example.evil.example", False),
        ("https://evil.example/.wide.example", False),
        ("https://evil.example#.wide.example", False),
        ("http://app.example", False),
        ("https://app.example.evil.example", False),
        ("https://APP.example", False),  # browsers send lower case, and compare bytes
        ("https://app.example:443", False),
        ("null", False),
        ("", False),
        (EVIL, False),
        ("https://" + "a." * 300 + "wide.example", False),
    ],
)
@pytest.mark.parametrize("credentials", [False, True])
def test_who_may_read(origin: str, allowed: bool, credentials: bool) -> None:
    written = rules(APP, "https://*.wide.example", "https://port.example:8443", credentials=credentials)
    browser = Browser(written, origin, credentials)
    assert browser.may_read() is allowed
    assert browser.may_send("GET") is allowed
    # whatever a backend says of its own
    own = ((b"Access-Control-Allow-Origin", origin.encode()), (b"Access-Control-Allow-Credentials", b"true"))
    assert browser.may_read(own) is allowed


def test_credentials_only_where_they_are_allowed() -> None:
    assert not Browser(rules(APP), APP, credentials=True).may_read()
    assert not Browser(rules("*"), APP, credentials=True).may_read()
    assert not Browser(rules("*"), APP, credentials=True).may_read(((b"Access-Control-Allow-Credentials", b"true"),))
    assert Browser(rules("*"), APP).may_read()
    assert Browser(rules("*"), "null").may_read()


@pytest.mark.parametrize(
    ("methods", "method", "allowed"),
    [
        (("GET",), "GET", True),
        (("GET",), "POST", True),  # nobody needs leave for what forms do
        (("GET",), "PUT", False),
        (("GET", "PUT"), "PUT", True),
        (("PUT",), "put", False),
        (("*",), "PATCH", True),
    ],
)
def test_methods(methods: tuple[str, ...], method: str, allowed: bool) -> None:
    assert Browser(rules(APP, methods=methods), APP).may_send(method) is allowed
    assert not Browser(rules(APP, methods=methods), EVIL).may_send(method)


@pytest.mark.parametrize(
    ("headers", "asked", "allowed"),
    [
        ((), (), True),
        ((), ("x-a",), False),
        (("x-a",), ("x-a",), True),
        (("x-a",), ("x-a", "x-b"), False),
        (("*",), ("x-a", "x-b"), True),
        (("*",), ("authorization",), False),
        (("*", "authorization"), ("authorization", "x-a"), True),
    ],
)
def test_fields(headers: tuple[str, ...], asked: tuple[str, ...], allowed: bool) -> None:
    assert Browser(rules(APP, headers=headers), APP).may_send("GET", *asked) is allowed


def lines(fields: list[Field]) -> list[bytes]:
    return [f[2] for f in fields]


def preflight(*fields: tuple[bytes, bytes], method: bytes = b"OPTIONS") -> Request:
    return Request(method, b"/", None, Headers.of(fields))


def test_the_answer_to_a_preflight() -> None:
    written = rules(APP, methods=("PUT",), headers=("x-a", "x-b"), expose=("x-c",), credentials=True, max_age=60.9)
    asked = preflight((b"Origin", APP.encode()), (b"Access-Control-Request-Method", b"PUT"))
    assert lines(written.preflight(asked).fields) == [
        b"Access-Control-Allow-Origin: https://app.example",
        b"Access-Control-Allow-Credentials: true",
        b"Access-Control-Allow-Methods: PUT",
        b"Access-Control-Allow-Headers: x-a, x-b",
        b"Access-Control-Max-Age: 60",
        b"Vary: Origin",
    ]
    refused = preflight((b"Origin", EVIL.encode()), (b"Access-Control-Request-Method", b"PUT"))
    assert lines(written.preflight(refused).fields) == [b"Vary: Origin"]
    two = preflight((b"Origin", APP.encode()), (b"Origin", EVIL.encode()), (b"Access-Control-Request-Method", b"PUT"))
    assert lines(written.preflight(two).fields) == [b"Vary: Origin"]


def test_nothing_about_private_networks_is_said() -> None:
    asked = preflight(
        (b"Origin", APP.encode()),
        (b"Access-Control-Request-Method", b"GET"),
        (b"Access-Control-Request-Private-Network", b"true"),
    )
    assert b"access-control-allow-private-network" not in rules("*").preflight(asked)


def test_what_a_preflight_is() -> None:
    origin, method = (b"Origin", b"https://a"), (b"Access-Control-Request-Method", b"PUT")
    assert is_preflight(preflight(origin, method))
    assert not is_preflight(preflight(origin))
    assert not is_preflight(preflight(method))
    assert not is_preflight(preflight(origin, method, method=b"GET"))


def test_the_fields_of_a_response() -> None:
    written = rules(APP, expose=("x-a", "x-b"), credentials=True)
    backend = [
        field(b"X-A", b"1"),
        field(b"Access-Control-Allow-Origin", b"*"),
        field(b"Access-Control-Allow-Methods", b"*"),
    ]
    assert lines(written.response(APP.encode(), backend)) == [
        b"X-A: 1",
        b"Access-Control-Allow-Origin: https://app.example",
        b"Access-Control-Allow-Credentials: true",
        b"Access-Control-Expose-Headers: x-a, x-b",
        b"Vary: Origin",
    ]
    assert lines(written.response(EVIL.encode(), backend)) == [b"X-A: 1", b"Vary: Origin"]
    assert lines(written.response(None, backend)) == [b"X-A: 1", b"Vary: Origin"]


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        (b"Accept-Encoding", [b"Vary: Accept-Encoding", b"Vary: Origin"]),
        (b"accept, ORIGIN", [b"Vary: accept, ORIGIN"]),
        (b"*", [b"Vary: *"]),
        (b"X-Origin", [b"Vary: X-Origin", b"Vary: Origin"]),
    ],
)
def test_vary_is_said_once(vary: bytes, expected: list[bytes]) -> None:
    assert lines(rules(APP).response(None, [field(b"Vary", vary)])) == expected


def test_what_is_for_all_varies_by_nobody() -> None:
    for origin in (None, APP.encode()):
        assert lines(rules("*", expose=("x-a",)).response(origin, [field(b"Vary", b"Accept")])) == [
            b"Vary: Accept",
            b"Access-Control-Allow-Origin: *",
            b"Access-Control-Expose-Headers: x-a",
        ]


@given(st.text(alphabet="htps:/.*-@#?ae \\wid", max_size=40), st.booleans())
def test_only_what_is_below_a_wildcard_is_named_back(rest: str, plain: bool) -> None:
    origin = rest if plain else f"https://{rest}.wide.example"
    fields = rules("https://*.wide.example").response(origin.encode(), [])
    named = Headers(fields).get(b"access-control-allow-origin")
    if named is not None:
        host = named.decode().removeprefix("https://")
        assert all(re.fullmatch("[a-z0-9_-]+", label) for label in host.split("."))
        assert host.endswith(".wide.example")
