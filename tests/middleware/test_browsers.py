"""What browsers are told, end to end: security headers, CORS, cookies."""

from __future__ import annotations

import pytest
from attrs import evolve

from revproxy.config.browsers import PRESETS
from revproxy.config.load import load_text
from revproxy.config.model import Middleware
from revproxy.http.message import Answer
from tests.drive import World
from tests.h2kit import GET, H2Client
from tests.kit import ADDRESS, OK, get, hooked, logged, ok, toml

TRUSTED = 'trusted_proxies = ["203.0.113.7"]'
HTTPS = b"X-Forwarded-Proto: https"
ORIGIN = b"Origin: https://app.example"
PREFLIGHT = (ORIGIN, b"Access-Control-Request-Method: PUT", b"Access-Control-Request-Headers: x-a")
CORS = 'upstream = "app"\ncors = { origins = ["https://app.example"], methods = ["PUT"], headers = ["x-a"] }'


def asked(play, route: str, response: bytes, *fields: bytes, server: str = TRUSTED, target: bytes = b"/"):
    """The answer to one request, in a world of one route."""
    scenario = play(toml(server=server, route=route))
    client = scenario.client()
    client.send(get(target, *fields))
    scenario.backend(ADDRESS).send(response)
    return client.expect_response(200)


# -- security headers


def test_the_default_fields(play):
    message = asked(play, 'upstream = "app"\nsecurity_headers = true', OK)
    assert message.get(b"X-Content-Type-Options") == b"nosniff"
    assert message.get(b"X-Frame-Options") == b"SAMEORIGIN"
    assert message.get(b"Referrer-Policy") == b"strict-origin-when-cross-origin"
    assert message.get(b"Cross-Origin-Opener-Policy") == b"same-origin-allow-popups"
    assert message.get(b"Content-Security-Policy") is None
    assert message.get(b"Strict-Transport-Security") is None  # not by http


def test_strict_ones(play_once):
    message = asked(play_once, 'upstream = "app"\nsecurity_headers = "strict"', OK, HTTPS)
    for name in ("Content-Security-Policy", "Permissions-Policy", "Cross-Origin-Embedder-Policy"):
        key = name.lower().replace("-", "_")
        assert message.get(name.encode()) == PRESETS["strict"][key].encode()
    assert message.get(b"Strict-Transport-Security") == b"max-age=63072000; includeSubDomains"


def test_each_may_be_written_or_left_out(play_once):
    route = (
        'upstream = "app"\nsecurity_headers = { frame_options = "off", referrer_policy = "same-origin", hsts = "30d" }'
    )
    message = asked(play_once, route, OK, HTTPS)
    assert message.get(b"X-Frame-Options") is None
    assert message.all(b"referrer-policy") == [b"same-origin"]
    assert message.all(b"strict-transport-security") == [b"max-age=2592000"]
    assert message.get(b"X-Content-Type-Options") == b"nosniff"


SAME = b"X-Content-Type-Options"
WRITTEN = 'security_headers = true\naccess = { deny_paths = ["/denied"] }\ntimeouts = { head = "5s" }'
SELECTIVE = 'match = { host = "example.com" }\nupstream = "app"\naccess = { methods = ["GET"] }\nrate_limit = "1/h"'


def test_answers_of_our_own_have_them_whether_there_is_a_route_or_not(play):
    scenario = play(toml(WRITTEN, route=SELECTIVE))

    def answered(status: int, data: bytes, wait: float = 0) -> None:
        client = scenario.client()
        client.send(data)
        if wait:
            scenario.advance(wait)
        assert client.expect_response(status).get(SAME) == b"nosniff"

    answered(404, get(host=b"nobody.example"))
    answered(403, get(b"/denied"))
    answered(403, get(method=b"PUT"))
    answered(400, b"NONSENSE\r\n\r\n")
    answered(400, b"GET / HTTP/1.1\r\n\r\n")
    answered(431, get(b"/", b"X: " + b"x" * 40_000))
    answered(408, b"GET / HTTP/1.1\r\nHost: example.com\r\n", 6)
    backend = scenario.backend(ADDRESS)
    backend.refuse()
    answered(502, get())
    answered(429, get())


def test_answers_of_our_own_without_a_route_in_http2(play):
    text = toml("security_headers = true", route='match = { host = "a.example" }\nrespond = 200')
    client = H2Client(play(text.replace('"tcp:8080"', '"tcp:8080"\nhttp2 = true')).client())
    (head,) = client[client.begin(GET)].heads
    assert (head[b":status"], head[b"x-content-type-options"]) == (b"404", b"nosniff")


def test_where_it_is_not_the_servers_only_its_routes_have_them(play):
    text = toml(route='match = { host = "example.com" }\nsecurity_headers = true\nrespond = 404')
    client = play(text).client()
    client.send(get())
    assert client.expect_response(404).get(SAME) == b"nosniff"
    client.send(get(host=b"nobody.example"))
    assert client.expect_response(404).get(SAME) is None


@pytest.mark.parametrize("hook", [lambda exchange: Answer(418), lambda exchange: 1 / 0])
def test_answers_of_hooks_and_pages_for_their_failures_have_them(hook):
    config = hooked(toml("security_headers = true", route="respond = 200"), Middleware(call=hook, at="client-response"))
    with logged():
        answer = World(config).get("/")
    assert answer[9:12] in (b"418", b"500")
    assert SAME + b": nosniff" in answer


OWN = (b"X-Frame-Options: DENY", b"Referrer-Policy: origin", b"Strict-Transport-Security: max-age=1")


def test_a_backends_own_stay(play):
    message = asked(play, 'upstream = "app"\nsecurity_headers = true', ok(b"x", *OWN), HTTPS)
    assert message.all(b"x-frame-options") == [b"DENY"]
    assert message.all(b"referrer-policy") == [b"origin"]
    assert message.all(b"strict-transport-security") == [b"max-age=1"]


def test_or_give_way(play_once):
    message = asked(play_once, 'upstream = "app"\nsecurity_headers.override = true', ok(b"x", *OWN), HTTPS)
    assert message.all(b"x-frame-options") == [b"SAMEORIGIN"]
    assert message.all(b"referrer-policy") == [b"strict-origin-when-cross-origin"]
    assert message.all(b"strict-transport-security") == [b"max-age=31536000"]


@pytest.mark.parametrize(
    ("policy", "frames"),
    [
        (b"Frame-Ancestors https://a", []),
        (b"default-src x; frame-ancestors", []),
        (b"default-src x;frame-ancestors\t'self'", []),
        (b"default-src x, frame-ancestors 'none'", []),
        (b"default-src x", [b"SAMEORIGIN"]),
        (b"default-src x; report-uri /csp/frame-ancestors", [b"SAMEORIGIN"]),
        (b"default-src x; report-to frame-ancestors", [b"SAMEORIGIN"]),
        (b"frame-ancestors-x 'self'", [b"SAMEORIGIN"]),
    ],
)
def test_frames_are_said_once(play_once, policy, frames):
    message = asked(
        play_once, 'upstream = "app"\nsecurity_headers = true', ok(b"x", b"Content-Security-Policy: " + policy)
    )
    assert message.all(b"x-frame-options") == frames


def test_the_servers_hold_for_routes_that_say_nothing(play_once):
    more = '[[routes]]\nmatch.path = "/not"\nrespond = 200\nsecurity_headers = false\n'
    more += '[[routes]]\nmatch.path = "/other"\nrespond = 200\nsecurity_headers = { frame_options = "DENY" }'
    scenario = play_once(toml(server="security_headers = true", route='match.path = "/"\nrespond = 200', more=more))
    client = scenario.client()
    for path, frames in ((b"/", [b"SAMEORIGIN"]), (b"/not", []), (b"/other", [b"DENY"])):
        client.send(get(path))
        assert client.expect_response(200).all(b"x-frame-options") == frames


def test_error_pages_and_hits_have_them_too(play_once):
    route = 'upstream = "app"\nsecurity_headers = true\ncache = true\nlimits.body = 0'
    scenario = play_once(toml(route=route))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(ok(b"x", b"Cache-Control: max-age=60"))
    for _ in range(2):
        assert client.expect_response(200).all(b"x-frame-options") == [b"SAMEORIGIN"]
        client.send(get())
    client.expect_response(200)
    client.send(get(b"/", b"Content-Length: 1", method=b"POST"))
    assert client.expect_response(413).all(b"x-frame-options") == [b"SAMEORIGIN"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [("true", b"max-age=86400"), ('{ hsts = "2d" }', b"max-age=172800"), ('{ hsts = "off" }', b"max-age=86400")],
)
def test_a_listeners_hsts_counts_before_a_presets_and_none_is_doubled(play_once, written, expected):
    scenario = play_once(load_text(toml(route=f"respond = 200\nsecurity_headers = {written}")))
    client = scenario.client()
    protocol = client.transport.protocol
    protocol.arrival = evolve(protocol.arrival, scheme=b"https", hsts=b"max-age=86400")
    client.send(get())
    assert client.expect_response(200).all(b"strict-transport-security") == [expected]


# -- CORS


def test_a_preflight_is_answered_here(play):
    scenario = play(toml(route=CORS))
    client = scenario.client()
    client.send(get(b"/", *PREFLIGHT, method=b"OPTIONS"))
    message = client.expect_response(204)
    assert message.get(b"Access-Control-Allow-Origin") == b"https://app.example"
    assert message.get(b"Access-Control-Allow-Methods") == b"PUT"
    assert message.get(b"Access-Control-Allow-Headers") == b"x-a"
    assert message.all(b"vary") == [b"Origin"]
    assert not scenario.backend(ADDRESS).connections
    client.send(get(b"/", method=b"OPTIONS"))  # of others the backend hears
    scenario.backend(ADDRESS).expect_request(b"OPTIONS", b"/")


def test_a_response_says_who_may_read_it(play):
    own = (b"Access-Control-Allow-Origin: *", b"Access-Control-Allow-Credentials: true", b"Vary: Accept")
    message = asked(play, CORS, ok(b"x", *own), ORIGIN)
    assert message.all(b"access-control-allow-origin") == [b"https://app.example"]
    assert message.all(b"access-control-allow-credentials") == []
    assert message.all(b"vary") == [b"Accept", b"Origin"]


@pytest.mark.parametrize("fields", [(), (b"Origin: https://evil.example",), (b"Origin: null",)])
def test_and_to_others_that_it_depends(play_once, fields):
    message = asked(play_once, CORS, OK, *fields)
    assert message.all(b"access-control-allow-origin") == []
    assert message.all(b"vary") == [b"Origin"]


def test_a_backend_that_hears_of_no_origin_changes_nothing(play_once):
    message = asked(play_once, CORS + '\nheaders.request.remove = ["origin"]', OK, ORIGIN)
    assert message.get(b"Access-Control-Allow-Origin") == b"https://app.example"


def test_error_pages_can_be_read_too(play_once):
    scenario = play_once(toml(route=CORS + '\naccess.deny_paths = "/x"'))
    client = scenario.client()
    client.send(get(b"/x", ORIGIN))
    client.expect_response(403, headers={b"Access-Control-Allow-Origin": b"https://app.example"})
    client.send(get(b"/x", *PREFLIGHT, method=b"OPTIONS"))
    client.expect_response(403, headers={b"Access-Control-Allow-Origin": None})


def test_what_is_stored_for_one_is_not_said_to_another(play_once):
    route = 'upstream = "app"\ncache = true\ncors.origins = ["https://app.example", "https://b.example"]'
    scenario = play_once(toml(route=route))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", ORIGIN))
    backend.send(ok(b"x", b"Cache-Control: max-age=60", b"Access-Control-Allow-Origin: https://app.example"))
    client.expect_response(200, headers={b"Access-Control-Allow-Origin": b"https://app.example"})
    client.send(get(b"/", b"Origin: https://b.example"))
    client.expect_response(200, headers={b"Access-Control-Allow-Origin": b"https://b.example"})
    client.send(get(b"/", b"Origin: https://evil.example"))
    client.expect_response(200, headers={b"Access-Control-Allow-Origin": None})


# -- cookies


def test_cookies_get_what_they_lack(play):
    fields = (
        b"Set-Cookie: a=1; Path=/",
        b"X: 1",
        b"Set-Cookie: csrf=2; Secure ",
        b"Set-Cookie: c=3; samesite=None; httponly",
    )
    route = 'upstream = "app"\ncookies = { readable = "csrf" }'
    message = asked(play, route, ok(b"x", *fields), HTTPS)
    assert message.all(b"set-cookie") == [
        b"a=1; Path=/; Secure; HttpOnly; SameSite=Lax",
        b"csrf=2; Secure; SameSite=Lax",
        b"c=3; samesite=None; httponly; Secure",
    ]
    assert message.get(b"X") == b"1"


def test_by_http_none_is_secure(play_once):
    message = asked(play_once, 'upstream = "app"\ncookies = true', ok(b"x", b"Set-Cookie: a=1"))
    assert message.all(b"set-cookie") == [b"a=1; HttpOnly; SameSite=Lax"]


def test_cookies_of_our_own_and_of_rules_are_looked_at_as_well(play_once):
    route = 'upstream = "app"\ncookies = true\nheaders.response.add = { set-cookie = "mine=1" }'
    message = asked(play_once, route, OK, HTTPS)
    assert message.all(b"set-cookie") == [b"mine=1; Secure; HttpOnly; SameSite=Lax"]


def test_a_preflights_answer_has_no_length():
    """RFC 9110 8.6: a 204 must not say one. The connection stays."""
    here = World(load_text(toml(route='upstream = "app"\ncors = { origins = ["https://b.example"] }')))
    answer = here.get("/", "a", "Origin: https://b.example", "Access-Control-Request-Method: PUT", method="OPTIONS")
    assert answer.startswith(b"HTTP/1.1 204 ") and answer.endswith(b"\r\n\r\n")
    assert b"content-length" not in answer.lower() and b"close" not in answer
