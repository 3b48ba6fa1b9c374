"""What is wrong in tables about access, browsers and bodies: by key, with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text

START = 'listen = [{ endpoint = "tcp:1" }]\n'


def problems(text: str, base: Path = Path()) -> list[str]:
    try:
        load_text(START + text, base=str(base))
    except ConfigError as error:
        return [f"{problem.key}: {problem.text}" for problem in error.errors]
    return []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("access = {}", "access: an empty table refuses nothing; leave it out"),
        ("access = { status = 404 }", "access: an empty table refuses nothing; leave it out"),
        ("access = { allow = [] }", "access.allow: is empty: nobody would be let in; write networks"),
        (
            "access = { allow = [], deny_paths = '/x' }",
            "access.allow: is empty: nobody would be let in; write networks",
        ),
        ("access = { methods = [] }", "access.methods: is empty: nobody would be let in; write methods"),
        ("access = { header = { x-key = [] } }", "access.header.x-key: has no value: nobody would be let in; write"),
        ("access = { deny_header = { x-key = [] } }", "access.deny_header.x-key: has no value: it refuses nothing"),
        (
            "access = { header = { x_key = 'a' } }",
            'access.header.x_key: fields with "_" in their names are dropped before; write "x-key": nobody would',
        ),
        (
            "access = { deny_header = { x_key = '*' } }",
            'access.deny_header.x_key: fields with "_" in their names are dropped before; write "x-key": it refuses',
        ),
        (
            "access = { deny = '10.0.0.0/8', status = 200 }",
            "access.status: 200 is out of range; write a whole number from 400",
        ),
        (
            "access = { allow = 'privat' }",
            'access.allow: "privat" is not a network; write a network such as "10.0.0.0/8", an',
        ),
        ("access = { deny = '10.0.0.1/8' }", 'access.deny: "10.0.0.1/8" has bits set behind its prefix; did you mean'),
        ("access = { deny = 'file:' }", 'access.deny: "" can\'t be used here; write a text'),
        ("access = { deny = 'file:none' }", 'access.deny: the file "none" does not exist'),
        ("access = { deny = ['all', 'file:.'] }", 'access.deny[1]: the file "." is no regular file'),
        (
            "access = { allow = '10.0.0.0/8', deny = '10.0.0.0/8' }",
            'access.allow: "10.0.0.0/8" is denied, too, and that counts',
        ),
        (
            "access = { header = { a = '1' }, deny_header = { A = '*' } }",
            'access.deny_header.a: header asks for "a": nobody',
        ),
        ("access = { deny_user_agent = '~(' }", 'access.deny_user_agent: "~(" is not a regular expression'),
        ("access = { deny_user_agent = '漢' }", "access.deny_user_agent: "),
        ("access = { alow = 'all' }", 'access.alow: unknown key; did you mean "allow"?'),
        ("cors = {}", 'cors: "origins" is missing'),
        ("cors = { origins = [] }", 'cors.origins: no origins; write some, or "*" for all'),
        ("cors = ['https://a.b']", "cors: a list is not a table; write an origin such as"),
        (
            "cors = 'a.example'",
            'cors.origins: "a.example" is not an origin; write "https://app.example.com", "https://*.',
        ),
        ("cors = 'null'", 'cors.origins: "null" is not an origin'),
        ("cors = 'https://a.example/'", 'an origin has no path; did you mean "https://a.example"?'),
        ("cors = 'https://a.example:0'", 'cors.origins: "https://a.example:0" has a bad port'),
        ("cors = 'https://a.*.example'", "cors.origins: "),
        ("cors = 'https://'", "cors.origins: "),
        (
            "cors = { origins = ['*', 'https://a.b'] }",
            'cors.origins: "*" is every origin and leaves no place for others',
        ),
        ("cors = { origins = '*', credentials = true }", 'cors.credentials: browsers refuse them where "*" is allowed'),
        (
            "cors = { origins = 'https://a.b', credentials = true, headers = '*' }",
            'cors.headers: "*" is no wildcard beside',
        ),
        (
            "cors = '*'\nmatch.method = 'GET'",
            'cors: match.method leaves out "OPTIONS", by which browsers ask first; add it',
        ),
        ("cors = '*'\naccess.methods = 'GET'", 'cors: access.methods leaves out "OPTIONS"'),
        ("cookies = { same_site = 'none', secure = false }", 'cookies.same_site: "none" needs secure = true'),
        (
            "cookies = { http_only = false, readable = 'a' }",
            "cookies.readable: has no meaning without http_only = true",
        ),
        ("cookies = { secure = false, http_only = false, same_site = 'off' }", "cookies: adds nothing; leave it out"),
        ("cookies = { same_site = 'lux' }", 'did you mean "lax"?'),
        ("security_headers = 'strickt'", 'did you mean "strict"?'),
        (
            "security_headers = { hsts = { max_age = '1d', preload = true, subdomains = true } }",
            "security_headers.hsts.max_age: ",
        ),
        (
            "security_headers = { frame_options = 'ALLOWALL' }",
            'security_headers.frame_options: "ALLOWALL" is not known here',
        ),
        ("content_types = 'json'", 'content_types: "json" is not a media type'),
        ("limits = { body_by_type = { json = 1 } }", 'limits.body_by_type.json: "json" is not a media type'),
        (
            "limits = { body_by_type = { 'a/b' = 1 } }\ncontent_types = ['a/c', 'x/*']",
            'limits.body_by_type."a/b": is not among content_types, so none is let in anyway',
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, expected: str) -> None:
    found = problems(f"[[routes]]\nrespond = 200\n{text}")
    assert len(found) == 1, found
    assert expected in found[0]
    assert found[0].startswith("routes[0].")


def test_the_servers_are_looked_at_as_well() -> None:
    hsts = "{ max_age = '365d', preload = true }"
    text = f"[server]\naccess.deny = 'file:none'\nsecurity_headers.hsts = {hsts}\n[[routes]]\nrespond = 200"
    assert problems(text) == [
        'server.access.deny: the file "none" does not exist',
        'server.security_headers.hsts.preload: needs "subdomains = true": browsers preload a host with all below it',
    ]


def test_names_with_an_underscore_are_right_where_they_pass() -> None:
    routes = "[[routes]]\nrespond = 200\naccess = { header = { x_key = 'a' }, deny_header = { y_key = '*' } }"
    assert problems(f"[server]\nunderscores = 'pass'\n{routes}") == []
    assert ["are refused before" in text for text in problems(f"[server]\nunderscores = 'refuse'\n{routes}")] == [
        True
    ] * 2


@pytest.mark.parametrize(
    "text",
    [
        "limits = { body_by_type = { 'a/b' = 1, 'x/*' = 2 } }\ncontent_types = ['a/*']",
        "limits = { body_by_type = { 'a/b+json' = 1 } }\ncontent_types = ['*+json']",
        "cors = '*'\nmatch.method = ['GET', 'OPTIONS']",
        "security_headers = 'strict'\ncookies = true",
        "access = { allow = ['all', 'loopback'], deny = 'private' }",
    ],
)
def test_what_is_right_is_not(text: str) -> None:
    assert problems(f"[[routes]]\nrespond = 200\n{text}") == []
