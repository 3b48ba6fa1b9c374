"""What is wrong with an ``auth`` table is found, with its key, its line and what would be right."""

from __future__ import annotations

from hashlib import sha256

import pytest
from twisted.internet.task import Clock

from revproxy.config.compile import compile_config
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from tests.auth.kit import bcrypted
from tests.kit import toml

HASH = bcrypted("a")
KEY = "sha256:" + sha256(b"k").hexdigest()
LONG = "s" * 40


def problems(auth, route=""):
    try:
        load_text(toml(route=f'upstream = "app"\nauth = {{ {auth} }}\n{route}'))
    except ConfigError as error:
        return [f"{problem.key}: {problem.text}" for problem in error.errors]
    return []


@pytest.mark.parametrize(
    "auth",
    [
        f'basic = {{ users = {{ a = "{HASH}" }} }}',
        'basic = { file = "users", cache = "0s" }',
        'forward = { upstream = "app" }',
        'forward = { upstream = "app", cache = "5s", by = ["cookie:s"] }',
        'jwt = { algorithms = ["RS256", "ES256"], jwks = "https://id.example/keys", ca = "ca.pem" }',
        'jwt = { algorithms = "HS256", secret_file = "secret" }',
        f'jwt = {{ algorithms = "HS256", secret = "{LONG}", token = "query:t" }}',
        f'api_key = {{ keys = {{ a = "{KEY}" }}, query = "k" }}',
    ],
)
def test_right_ones(auth):
    assert problems(auth) == []


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("", "routes[0].auth: nothing is accepted; write one of"),
        ("basic = {}", 'routes[0].auth.basic: write either "file"'),
        (f'basic = {{ file = "x", users = {{ a = "{HASH}" }} }}', 'routes[0].auth.basic: write either "file"'),
        ('basic = { users = { a = "{SHA}x" } }', "routes[0].auth.basic.users.a: the hash is an unsalted SHA-1"),
        (f'basic = {{ users = {{ "a:b" = "{HASH}" }} }}', 'a name has no ":"'),
        ("api_key = {}", 'write either "file" or "keys"'),
        ('api_key = { keys = { a = "secret" } }', "routes[0].auth.api_key.keys.a: not a hash of a key"),
        (f'api_key = {{ keys = {{ a = "{KEY}", b = "{KEY}" }} }}', 'the same key as that of "a"'),
        (f'api_key = {{ header = "a", query = "b", keys = {{ a = "{KEY}" }} }}', "two places"),
        ('jwt = { jwks = "f" }', 'routes[0].auth.jwt: "algorithms" is missing'),
        ('jwt = { algorithms = [], jwks = "f" }', "no algorithm is taken"),
        (
            'jwt = { algorithms = "RS256", jwks = "f", require = { role = [] } }',
            "routes[0].auth.jwt.require.role: has no",
        ),
        ('jwt = { algorithms = "RS256", jwks = "f", issuer = [] }', "routes[0].auth.jwt.issuer: is empty: every token"),
        ('jwt = { algorithms = "RS256", jwks = "f", audience = [] }', "routes[0].auth.jwt.audience: is empty: every"),
        ("client_certificate = { names = [] }", "routes[0].auth.client_certificate.names: is empty: no certificate"),
        (
            f'api_key = {{ header = "x-user", keys = {{ a = "{KEY}" }} }}',
            'auth.api_key.header: the field "x-user" is taken out of all requests since clients may not',
        ),
        (
            f'api_key = {{ keys = {{ a = "{KEY}" }} }}, strip = "X-API_Key"',
            'auth.api_key.header: the field "x-api-key" is taken out of all requests by strip, before it is looked at',
        ),
        (
            f'api_key = {{ keys = {{ a = "{KEY}" }} }}, headers = {{ x-api-key = "a" }}',
            'auth.api_key.header: the field "x-api-key" is taken out of all requests by headers, before',
        ),
        (
            'basic = { file = "f" }, strip = "authorization"',
            'auth.basic: the field "authorization" is taken out of all',
        ),
        (
            'jwt = { algorithms = "RS256", jwks = "f", token = "header:x-auth-request-t" }',
            'auth.jwt.token: the field "x-auth-request-t" is taken out of all requests since',
        ),
        (
            'jwt = { algorithms = "RS256", jwks = "f", token = "cookie:t" }, strip = "cookie"',
            'auth.jwt.token: the field "cookie" is taken out of all requests by strip',
        ),
        (
            f'api_key = {{ header = "x_key", keys = {{ a = "{KEY}" }} }}',
            'auth.api_key.header: fields with "_" in their names are dropped before; write "x-key": it would never',
        ),
        ('jwt = { algorithms = "none", jwks = "f" }', "tokens that nobody signed"),
        ('jwt = { algorithms = "RS257", jwks = "f" }', 'did you mean "RS256"?'),
        ('jwt = { algorithms = ["HS256", "RS256"], jwks = "f" }', "keep one kind"),
        ('jwt = { algorithms = "HS256", jwks = "f" }', '"HS256" need "secret" or "secret_file"'),
        (f'jwt = {{ algorithms = "RS256", secret = "{LONG}" }}', '"RS256" need "jwks", and nothing else'),
        (f'jwt = {{ algorithms = "RS256", secret = "{LONG}", jwks = "f" }}', "and nothing else"),
        ('jwt = { algorithms = "HS256", secret = "0123456789abcdef" }', "32 bytes or more"),
        ('jwt = { algorithms = "RS256", jwks = "http://id.example/" }', "write an https URL"),
        ('jwt = { algorithms = "RS256", jwks = "f", ca = "x" }', "nothing is fetched"),
        ('jwt = { algorithms = "RS256", jwks = "f", token = "body" }', "is not a place"),
        ('forward = { upstream = "ap" }', 'no upstream is named "ap"'),
        ('forward = { upstream = "app", cache = "5s" }', "remembered by nothing"),
        ('forward = { upstream = "app", method = "HEAD" }', "can't be asked by HEAD"),
        ('client_certificate = "*"', "no listener asks clients for certificates"),
        ('client_certificate = "x"', "routes[0].auth.client_certificate.names"),
        ('forward = { upstream = "app" }, satisfy = "all"', "one method is all there is"),
        (
            f'basic = {{ file = "u" }}, jwt = {{ algorithms = "HS256", secret = "{LONG}" }}, satisfy = "all"',
            "one Authorization field",
        ),
        ('forward = { upstream = "app" }, headers = { x = "$auth_usr" }', "did you mean $auth_user?"),
        ('forward = { upstream = "app" }, headers = { authorization = "x" }, credentials = "pass"', "very field"),
    ],
)
def test_wrong_ones(auth, expected):
    found = problems(auth)
    assert any(expected in text for text in found), found


def test_a_secret_is_not_shown():
    assert LONG[:20] not in str(problems(f'jwt = {{ algorithms = "HS512", secret = "{LONG}" }}'))


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ('basic = { file = "none" }', "auth.basic: .*none can't be read: no such file"),
        ('basic = { file = "users" }', r"auth.basic: .*users: line 2 \(bob\): the hash is Apache's MD5"),
        ('api_key = { file = "none" }', "auth.api_key: .*can't be read"),
        ('jwt = { algorithms = "RS256", jwks = "users" }', "auth.jwt: .*not a set of keys"),
        ('jwt = { algorithms = "HS256", secret_file = "short" }', "auth.jwt: the secret has 5 bytes"),
        ('jwt = { algorithms = "RS256", jwks = "https://a/", ca = "none" }', "auth.jwt: .*none"),
        ('forward = { upstream = "app", cache = "1s", by = "no.module:x" }', "auth.forward: .*no module"),
    ],
)
def test_what_is_wrong_with_files_is_found_before_anything_listens(tmp_path, auth, expected):
    (tmp_path / "users").write_text(f"alice:{HASH}\nbob:$apr1$abc$def\n")
    (tmp_path / "short").write_text("short\n")
    config = load_text(toml(route=f'upstream = "app"\nauth = {{ {auth} }}'), source="x.toml", base=str(tmp_path))
    with pytest.raises(ConfigError, match=expected):
        compile_config(config, Clock())
