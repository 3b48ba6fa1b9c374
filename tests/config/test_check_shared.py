"""What a backend makes for one user is not stored for all: such configurations are refused, and right ones are not."""

from __future__ import annotations

from hashlib import sha256

import pytest

from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from tests.auth.kit import SECRET
from tests.kit import toml

API_KEY = f"keys = {{ a = 'sha256:{sha256(b'k').hexdigest()}' }}"
JWT = f"algorithms = 'HS256', secret = '{SECRET.decode()}'"


def problems(route, end="upstream = 'app'"):
    try:
        load_text(toml(route=f"{end}\n{route}"))
    except ConfigError as error:
        return [f"{problem.key}: {problem.text}" for problem in error.errors]
    return []


@pytest.mark.parametrize(
    ("auth", "cache", "good"),
    [
        ("", "true", True),
        ("", "{ key_headers = 'x-user' }", True),
        (", headers = { x-user = '$auth_user' }", "true", False),
        (", headers = { x-user = '$auth_user' }", "{ key_headers = 'x-tenant' }", False),
        (", headers = { X-User = '$auth_user' }", "{ key_headers = ['x-tenant', 'X-USER'] }", True),
        (", headers = { x-user = '$auth_user', x-b = '$auth_method' }", "{ key_headers = 'x-user' }", False),
        (", headers = { x-dn = '$tls_client_subject' }", "true", False),
        (", headers = { x-dn = '$tls_client_subject' }", "{ key_headers = 'x-dn' }", True),
    ],
)
def test_what_is_made_for_a_user_is_not_cached_for_everybody(auth, cache, good):
    found = problems(f"auth = {{ basic = {{ file = 'u' }}{auth} }}\ncache = {cache}")
    assert (found == []) is good
    assert good or "key_headers = [" in found[0]


def test_what_a_service_tells_is_such_a_thing_too():
    auth = "auth = { forward = { upstream = 'app', copy_response = ['Remote-User'] } }\n"
    assert 'key_headers = ["remote-user"]' in problems(auth + "cache = true")[0]
    assert problems(auth + "cache = { key_headers = 'remote-user' }") == []


@pytest.mark.parametrize(
    "variable",
    [
        "auth_user",
        "auth_method",
        "auth_claim_email",
        "tls_client_subject",
        "tls_client_san",
        "tls_client_fingerprint",
        "tls_client_serial",
        "tls_client_certificate",
    ],
)
@pytest.mark.parametrize("auth", ["", "auth = { basic = { file = 'u' } }\n"])
@pytest.mark.parametrize("table", ["set", "add"])
def test_and_what_fields_for_backends_tell_of_a_user_or_a_certificate(variable, auth, table):
    headers = f"headers.request.{table} = {{ x-u = 'a${{{variable}}}' }}"
    [found] = problems(f"{auth}cache = true\n{headers}")
    assert found.startswith(f"routes[0].headers.request.{table}.x-u: tells the backend who asks (${variable})")
    assert problems(auth + headers) == []


def test_what_requests_say_by_themselves_is_no_such_thing():
    assert (
        problems("cache = true\nheaders.request.set = { x-u = '$client_ip $tls_server_name $host $$auth_user' }") == []
    )


@pytest.mark.parametrize("part", ["to = 'https://a.example/$auth_user'", "path = '/$tls_client_serial'"])
def test_nor_are_redirects_made_of_users(part):
    [found] = problems("cache = true", f"redirect = {{ status = 301, {part} }}")
    assert found.startswith(f"routes[0].redirect.{part.split()[0]}: is made of who asks ($")
    assert problems("", f"redirect = {{ status = 301, {part} }}") == []


@pytest.mark.parametrize(
    ("method", "needed", "good"),
    [
        (f"api_key = {{ {API_KEY} }}", "key_headers", "{ key_headers = ['X-API-Key'] }"),
        (f"api_key = {{ header = 'x-k', {API_KEY} }}", "key_headers", "{ bypass = { header = 'X-K' } }"),
        (f"jwt = {{ token = 'header:X-T', {JWT} }}", "key_headers", "{ key_headers = 'x-t' }"),
        (f"jwt = {{ token = 'cookie:t', {JWT} }}", "key_cookies", "{ key_cookies = 't' }"),
        (f"jwt = {{ token = 'cookie:tt', {JWT} }}", "key_cookies", "{ bypass = { cookie = 't*' } }"),
    ],
)
def test_credentials_that_reach_a_backend_are_in_the_key(method, needed, good):
    for cache in ("true", "{ key_headers = 'x-other', key_cookies = 'T' }"):
        [found] = problems(f"auth = {{ credentials = 'pass', {method} }}\ncache = {cache}")
        assert found.startswith("routes[0].auth.credentials: the ")
        assert f"cache = {{ {needed} = [" in found
    assert problems(f"auth = {{ credentials = 'pass', {method} }}\ncache = {good}") == []
    assert problems(f"auth = {{ {method} }}\ncache = true") == []


@pytest.mark.parametrize(
    "method",
    [
        "basic = { file = 'u' }",
        f"jwt = {{ {JWT} }}",
        f"jwt = {{ token = 'query:t', {JWT} }}",
        f"api_key = {{ header = 'Authorization', {API_KEY} }}",
    ],
)
def test_but_the_cache_knows_of_authorization_and_of_the_query(method):
    assert problems(f"auth = {{ credentials = 'pass', {method} }}\ncache = true") == []
