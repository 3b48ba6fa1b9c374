"""Authentication in whole conversations: who passes, what backends get, what clients and the log are told."""

from __future__ import annotations

import json
import time
from hashlib import sha256

import pytest
from attrs import evolve
from twisted.internet.protocol import Protocol

from revproxy.accesslog import format_combined, format_json
from revproxy.config.load import load_text
from revproxy.http.message import ClientIdentity, TlsInfo
from revproxy.testing.scenario import Scenario
from tests.auth.kit import SECRET, basic_field, bcrypted, jwks, key, token
from tests.drive import Echo, World
from tests.kit import ADDRESS, logged, toml

BASIC = f'basic = {{ users = {{ alice = "{bcrypted("a")}" }} }}'
KEY = f'api_key = {{ keys = {{ ci = "sha256:{sha256(b"k" * 20).hexdigest()}" }} }}'
API_KEY = "X-API-Key: " + "k" * 20
HS = f'jwt = {{ algorithms = "HS256", secret = "{SECRET.decode()}" }}'
JWT_KEY = f'algorithms = "HS256", secret = "{SECRET.decode()}"'


def world(auth, route='upstream = "app"', more="", backend=Echo, server="", base="."):
    text = toml(server=server, route=f"{route}\nauth = {{ {auth} }}", more=more)
    return World(load_text(text, base=str(base)), backend)


def good_token(**claims):
    return "Authorization: Bearer " + token({"sub": "bob", "exp": time.time() + 60} | claims, "HS256").decode()


def status(answer):
    return int(answer[9:12])


def fields(answer, name):
    head = answer.partition(b"\r\n\r\n")[0].decode()
    return [line.partition(": ")[2] for line in head.split("\r\n")[1:] if line.lower().startswith(name.lower() + ":")]


def seen(answer):
    """What the echoing backend got."""
    return answer.partition(b"\r\n\r\n")[2].decode()


# -- basic


def test_basic_lets_in_who_knows_the_password():
    here = world(f'{BASIC}, headers = {{ remote-user = "$auth_user" }}')
    answer = here.get("/", "a", basic_field("alice", "a"))
    assert status(answer) == 200
    assert "remote-user: alice" in seen(answer)
    assert "uthorization" not in seen(answer)
    assert here.records[-1].user == b"alice"
    assert here.records[-1].fault == ""


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("X: 1", "auth-missing"),
        (basic_field("alice", "b"), "auth-refused"),
        (basic_field("bob", "a"), "auth-refused"),
        ("Authorization: Basic ???", "auth-refused"),
        ("Authorization: Basic", "auth-refused"),
        ("Authorization: Bearer abc", "auth-missing"),
    ],
)
def test_basic_refuses_others(field, fault):
    here = world(f'{BASIC}, realm = "the \\"shop\\""')
    answer = here.get("/", "a", field)
    assert status(answer) == 401
    assert fields(answer, "www-authenticate") == ['Basic realm="the \\"shop\\"", charset="UTF-8"']
    assert fields(answer, "cache-control") == ["no-store"]
    assert here.dialled == []
    (record,) = here.records
    assert (record.fault, record.status, record.user) == (fault, 401, b"")


def test_the_log_says_whose_password_it_was_not_and_never_the_password():
    here = world(BASIC)
    here.get("/", "a", basic_field("alice", "hunter2"))
    assert here.records[-1].detail == "basic: not the password of alice"
    here.get("/", "a", basic_field("\u202eeve", "hunter2"))
    assert here.records[-1].detail.isascii()


def test_credentials_are_passed_on_where_that_is_written():
    here = world(f'{BASIC}, credentials = "pass"')
    assert basic_field("alice", "a") in seen(here.get("/", "a", basic_field("alice", "a")))


def test_a_file_of_users_is_watched(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"alice:{bcrypted('a')}\n")
    here = world('basic = { file = "users" }', base=tmp_path)
    for task in here.table.live:
        task.start()
    assert status(here.get("/", "a", basic_field("alice", "a"))) == 200

    def pass_time():
        for _ in range(30):
            here.advance(0.1)

    path.write_text(f"bob:{bcrypted('bb')}\n")
    pass_time()
    assert status(here.get("/", "a", basic_field("alice", "a"))) == 401
    assert status(here.get("/", "a", basic_field("bob", "bb"))) == 200
    path.write_text("bob:{SHA}xxxx\n")
    pass_time()
    assert status(here.get("/", "a", basic_field("bob", "bb"))) == 200
    for task in here.table.live:
        task.close()
    assert here.getDelayedCalls() == [] or all("_look" not in str(call.func) for call in here.getDelayedCalls())


def test_too_many_passwords_are_503(monkeypatch):
    from revproxy.auth.passwords import Busy, Passwords

    def busy(*args):
        raise Busy

    monkeypatch.setattr(Passwords, "ask", busy)
    here = world(BASIC)
    answer = here.get("/", "a", basic_field("alice", "a"))
    assert status(answer) == 503
    assert fields(answer, "retry-after") == ["1"]
    assert here.records[-1].fault == "auth-busy"


# -- API keys


@pytest.mark.parametrize(
    ("where", "field", "target"),
    [("", "X-API-Key: {}", "/?a=1"), ('header = "X-Key"', "X-Key: {}", "/?a=1"), ('query = "k"', "X: 1", "/?a=1&k={}")],
)
def test_api_keys(where, field, target):
    keys = KEY.partition("{ ")[2]
    here = world(f'api_key = {{ {where}{"," if where else ""} {keys}, headers = {{ x-caller = "$auth_user" }}')
    answer = here.get(target.format("k" * 20), "a", field.format("k" * 20))
    assert status(answer) == 200
    assert "x-caller: ci" in seen(answer)
    assert "k" * 20 not in seen(answer)
    assert "GET /?a=1 HTTP" in seen(answer)
    for wrong in ("k" * 19, "", "K" * 20):
        answer = here.get(target.format(wrong), "a", field.format(wrong))
        assert status(answer) == 401
        assert fields(answer, "www-authenticate") == ['ApiKey realm="restricted"']
    assert here.records[-1].fault == "auth-refused"


IN_QUERY = f'api_key = {{ query = "k", {KEY.partition("{ ")[2]}'


@pytest.mark.parametrize("given", ["k" * 20, "x" * 20])
def test_a_key_in_the_query_is_in_no_log(given):
    more = '[[routes]]\nmatch = { path = "/open" }\nupstream = "app"'
    here = world(IN_QUERY, more=more, server='access = { deny_paths = ["/denied"] }')
    with logged() as lines:
        here.get(f"/?a=1&k={given}", "a", f"Referer: http://a/?k={given}&b=2")
        here.get("/open", "a", f"Referer: http://a/?%6b={given}")
        here.get(f"/denied?k={given}", "a")
        here.say(f"GET /?k={given} HTTP/1.1\r\n\r\n".encode())  # no Host: it is for no route
    targets = [b"/?a=1&k=***", b"/open", b"/denied?k=***", b"/?k=***"]
    assert [record.target for record in here.records] == targets
    assert [record.referer for record in here.records[:2]] == [b"http://a/?k=***&b=2", b"http://a/?%6b=***"]
    text = "".join(format_json(record) + format_combined(record) for record in here.records) + "".join(lines)
    assert given not in text


def test_a_key_in_the_query_is_in_no_line_about_a_failure():
    here = world(IN_QUERY, backend=lambda address: Garbage())
    with logged() as lines:
        here.get("/?k=" + "k" * 20, "a")
    assert "/?k=***" in "".join(lines)
    assert "k" * 20 not in "".join(lines)


class Garbage(Protocol):
    def dataReceived(self, data):
        self.transport.write(b"no HTTP at all\r\n\r\n")


def test_a_key_in_the_query_is_taken_out_of_what_repeats_it():
    here = world(IN_QUERY, server='trusted_proxies = ["192.0.2.7"]')
    key = "k" * 20
    answer = here.get(
        f"/?k={key}", "a", f"Referer: http://a/p?b=2&k={key}", f"X-Original-URI: /?k={key}", "X-Forwarded-For: 9.9.9.9"
    )
    assert "Referer: http://a/p?b=2\r\n" in seen(answer)
    assert key not in seen(answer)
    passed = world(f'{IN_QUERY}, credentials = "pass"').get(f"/?k={key}", "a", f"Referer: http://a/?k={key}")
    assert f"Referer: http://a/?k={key}" in seen(passed)


# -- tokens


def test_tokens_and_their_claims():
    here = world(
        f'{HS}, headers = {{ x-user = "$auth_user", x-roles = "$auth_claim_roles", x-city = "${{auth_claim_at.city}}",'
        ' x-none = "$auth_claim_none", x-bad = "$auth_claim_bad", x-via = "$auth_method" }'
    )
    answer = here.get("/", "a", good_token(roles=["a", "b"], at={"city": "Bern"}, bad="a\r\nX-Evil: 1"))
    assert status(answer) == 200
    text = seen(answer)
    for line in ("x-user: bob\r\n", "x-roles: a,b\r\n", "x-city: Bern\r\n", "x-via: jwt\r\n"):
        assert line in text
    assert "x-bad" not in text and "Evil" not in text
    assert "x-none" not in text
    assert "Bearer" not in text


@pytest.mark.parametrize(
    ("field", "challenge"),
    [
        ("X: 1", 'Bearer realm="restricted"'),
        (
            "Authorization: Bearer a.b.c",
            'Bearer realm="restricted", error="invalid_token", error_description="its header can\'t be read"',
        ),
        (
            good_token(exp=1),
            'Bearer realm="restricted", error="invalid_token", error_description="it is expired"',
        ),
    ],
)
def test_challenges_of_bearer_tokens(field, challenge):
    here = world(HS)
    answer = here.get("/", "a", field)
    assert status(answer) == 401
    assert fields(answer, "www-authenticate") == [challenge]


def test_a_good_token_of_somebody_who_may_not_is_403():
    here = world(f'jwt = {{ {JWT_KEY}, require = {{ role = "admin" }} }}')
    answer = here.get("/", "a", good_token(role="guest"))
    assert status(answer) == 403
    assert 'error="insufficient_scope"' in fields(answer, "www-authenticate")[0]
    assert here.records[-1].fault == "auth-forbidden"
    assert status(here.get("/", "a", good_token(role=["admin"]))) == 200


def test_a_token_in_a_cookie_is_taken_out_of_it():
    here = world(f'jwt = {{ {JWT_KEY}, token = "cookie:session" }}')
    value = good_token().rpartition(" ")[2]
    text = seen(here.get("/", "a", f"Cookie: a=b; session={value}", "Authorization: Basic eDp5"))
    assert "Cookie: a=b\r\n" in text
    assert value not in text
    assert "Authorization: Basic eDp5" in text  # nobody here asked for it: it is the backend's


def test_keys_of_a_file(tmp_path):
    (tmp_path / "keys.json").write_bytes(jwks(("one", key("RS256"))))
    here = world('jwt = { algorithms = "RS256", jwks = "keys.json" }', base=tmp_path)
    made = token({"sub": "bob", "exp": time.time() + 60}).decode()
    assert status(here.get("/", "a", f"Authorization: Bearer {made}")) == 200
    other = token({"sub": "bob", "exp": time.time() + 60}, kid="two").decode()
    assert status(here.get("/", "a", f"Authorization: Bearer {other}")) == 401


# -- client certificates


def test_client_certificates():
    listen = '[[listen]]\nendpoint = "tcp:8443"\ntls = { certificates = ".", client = "client-ca.pem" }'
    text = toml(
        route='upstream = "app"\nauth = { client_certificate = "DNS:a.example", headers = { x-dn = "$auth_user" } }',
        more=listen,
    )
    config = load_text(text, base="conf")
    here = World(evolve(config, listen=config.listen[:1]))

    def shown(*sans):
        return {"tls": TlsInfo(version="TLSv1.3", client=ClientIdentity("CN=x", sans, "0f", "0A", b":MA==:"))}

    answer = here.get("/", "a", **shown("DNS:a.example"))
    assert status(answer) == 200
    assert "x-dn: CN=x" in seen(answer)
    for options in (shown("DNS:b.example"), shown(), {}):
        answer = here.get("/", "a", **options)
        assert status(answer) == 403
        assert fields(answer, "www-authenticate") == []
        assert here.records[-1].fault == "auth-forbidden"


def test_another_certificate_does_not_stand_in_the_way_of_a_password():
    listen = '[[listen]]\nendpoint = "tcp:8443"\ntls = { certificates = ".", client = "client-ca.pem" }'
    for more, asked in ((BASIC, ["Basic"]), (f"{KEY}, {BASIC}", ["ApiKey", "Basic"])):
        route = f'upstream = "app"\nauth = {{ client_certificate = "DNS:a.example", {more} }}'
        config = load_text(toml(route=route, more=listen), base="conf")
        here = World(evolve(config, listen=config.listen[:1]))
        client = ClientIdentity("CN=x", ("DNS:b.example",), "0f", "0A", b":MA==:")
        for options in ({}, {"tls": TlsInfo(version="TLSv1.3", client=client)}):
            for given in ([], [basic_field("alice", "wrong")]):
                answer = here.get("/", "a", *given, **options)
                assert status(answer) == 401
                assert [value.split()[0] for value in fields(answer, "www-authenticate")] == asked
            assert status(here.get("/", "a", basic_field("alice", "a"), **options)) == 200


# -- several methods


def test_any_of_several():
    here = world(f"{BASIC}, {KEY}, {HS}")
    assert status(here.get("/", "a", basic_field("alice", "a"))) == 200
    assert here.records[-1].user == b"alice"
    assert status(here.get("/", "a", API_KEY)) == 200
    assert here.records[-1].user == b"ci"
    assert status(here.get("/", "a", good_token())) == 200
    assert here.records[-1].user == b"bob"
    answer = here.get("/", "a")
    assert status(answer) == 401
    assert [value.split()[0] for value in fields(answer, "www-authenticate")] == ["ApiKey", "Bearer", "Basic"]
    assert status(here.get("/", "a", basic_field("alice", "x"), "X-API-Key: wrong")) == 401
    # a wrong key does not stand in the way of a right password
    assert status(here.get("/", "a", basic_field("alice", "a"), "X-API-Key: wrong")) == 200


def test_all_of_several():
    here = world(f'{BASIC}, {KEY}, satisfy = "all", headers = {{ x-how = "$auth_user $auth_method" }}')
    answer = here.get("/", "a", basic_field("alice", "a"), API_KEY)
    assert status(answer) == 200
    assert "x-how: alice api_key+basic" in seen(answer)
    for some in ([basic_field("alice", "a")], [API_KEY], [basic_field("alice", "b"), API_KEY], []):
        assert status(here.get("/", "a", *some)) == 401


# -- what clients say of users


FORGED = ("Remote-User: root", "X-Forwarded-User: root", "X-Auth-Request-Email: root", "X-Webauth-User: root",
          "X-Tenant: root", "X-Extra: root", "Connection: x-user")  # fmt: skip


def test_nobody_else_tells_backends_who_a_user_is():
    here = world(
        f'{BASIC}, headers = {{ x-user = "$auth_user", x-tenant = "$auth_claim_tenant" }}, strip = ["x-extra"]'
    )
    text = seen(here.get("/", "a", basic_field("alice", "a"), *FORGED))
    assert "root" not in text
    assert "x-user: alice\r\n" in text


def test_underscores_are_no_way_around_it():
    here = world(f'{BASIC}, headers = {{ x-user = "$auth_user" }}', server='underscores = "pass"')
    text = seen(here.get("/", "a", basic_field("alice", "a"), "X_User: root", "REMOTE_USER: root", "x_other: fine"))
    assert "root" not in text
    assert "x_other: fine" in text


def test_a_route_without_auth_is_as_before():
    here = World(load_text(toml()))
    assert "X-Staff: root" in seen(here.get("/", "a", "X-Staff: root"))
    assert "root" not in seen(here.get("/", "a", "Remote-User: root"))  # a stranger's word is dropped everywhere


# -- the cache


class Private(Protocol):
    """A backend whose responses are for everybody, it says."""

    def __init__(self, address):
        pass

    def dataReceived(self, data):
        user = data.lower().partition(b"remote-user: ")[2].partition(b"\r\n")[0]
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%b"
            % (len(user) + 3, b"for" + user)
        )


def test_hits_are_for_those_who_may_see_them():
    here = world(BASIC, 'upstream = "app"\ncache = true', backend=Private)
    assert status(here.get("/", "a", basic_field("alice", "a"))) == 200
    answer = here.get("/", "a", basic_field("alice", "a"))
    assert "hit" in fields(answer, "cache-status")[0]
    assert status(here.get("/", "a")) == 401
    assert status(here.get("/", "a", basic_field("alice", "b"))) == 401
    assert len(here.dialled) == 1


def test_what_was_made_for_one_user_is_not_sent_to_another():
    users = f'basic = {{ users = {{ alice = "{bcrypted("a")}", bob = "{bcrypted("b")}" }} }}'
    here = world(
        f'{users}, headers = {{ remote-user = "$auth_user" }}',
        'upstream = "app"\ncache = { key_headers = ["remote-user"] }',
        backend=Private,
    )
    for _ in range(2):
        assert here.get("/", "a", basic_field("alice", "a")).endswith(b"\r\n\r\nforalice")
        assert here.get("/", "a", basic_field("bob", "b"), "Remote-User: alice").endswith(b"\r\n\r\nforbob")


def test_credentials_that_are_passed_on_keep_responses_private():
    here = world(f'{BASIC}, credentials = "pass"', 'upstream = "app"\ncache = true', backend=Private)
    for _ in range(2):
        answer = here.get("/", "a", basic_field("alice", "a"))
        assert "hit" not in fields(answer, "cache-status")[0]


# -- logs


def test_both_formats_say_who_it_was():
    from revproxy.accesslog_format import format_combined, format_json

    here = world(HS)
    here.get("/", "a", good_token(sub='b\u00f6b "x"'))
    record = here.records[-1]
    assert " - b\\xc3\\xb6b\\x20\\x22x\\x22 [" in format_combined(record)
    assert json.loads(format_json(record))["user"] == 'b\u00f6b "x"'
    here.get("/", "a")
    assert " - - [" in format_combined(here.records[-1])
    assert "user" not in json.loads(format_json(here.records[-1]))


def test_routes_with_the_same_table_share_what_lives(tmp_path):
    (tmp_path / "users").write_text(f"alice:{bcrypted('a')}\n")
    more = '[[routes]]\nmatch = { path = "/x" }\nupstream = "app"\nauth = { basic = { file = "users" } }'
    here = world('basic = { file = "users" }', more=more, base=tmp_path)
    assert len(here.table.live) == 1
    one, two = here.table.routes
    assert one.client_request == two.client_request


# -- trailers


@pytest.mark.parametrize("filtered", ["", "\nfilter = true"])
@pytest.mark.parametrize("at_once", [True, False])
def test_trailers_tell_nothing_of_users(at_once, filtered):
    auth = f'auth = {{ {KEY}, headers = {{ x-tenant = "$auth_user" }}, strip = ["x-role"] }}'
    here = Scenario(toml(route=f'upstream = "app"\n{auth}{filtered}'))
    client, backend = here.client(), here.backend(ADDRESS)
    head = f"POST / HTTP/1.1\r\nHost: a\r\n{API_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n".encode()
    end = b"0\r\nX-Tenant: root\r\nX-Role: admin\r\nX-Checksum: 1\r\n\r\n"
    for data in (head + end,) if at_once else (head, end):
        client.send(data)
    got = backend.connections[-1].received
    assert got.endswith(b"0\r\nX-Checksum: 1\r\n\r\n") and b"x-tenant: ci" in got
    assert b"root" not in got and b"admin" not in got
