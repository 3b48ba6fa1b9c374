"""Request filters, end to end."""

from __future__ import annotations

import time
import timeit

import pytest

from revproxy import slices
from revproxy.filters.report import Report
from revproxy.middleware.filters import _rule_set
from tests.filters.kit import request, work
from tests.kit import ADDRESS, OK, get, post, toml

ON = toml(route='upstream = "app"\nfilter = true')
DETECT = toml(route='upstream = "app"\nfilter = { mode = "detect" }')
SMALL = toml(route='upstream = "app"\nfilter = { body = 100 }')
FORM = b"Content-Type: application/x-www-form-urlencoded"
ATTACK = b"/?id=%27+or+1%3D1--"


def test_an_attack_is_refused_and_logged(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(ATTACK))
    client.expect_response(403)
    assert backend.attempts == []
    (line,) = scenario.log
    assert line.fault == "filtered" and line.detail.startswith("score ")
    assert '2003 sql-condition in query id: "or 1=1' in line.detail


def test_what_is_harmless_passes(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/?name=O%27Brien&q=select+one"))
    backend.expect_request(b"GET", b"/?name=O%27Brien&q=select+one")
    backend.send(OK)
    client.expect_response(200, b"ok")
    assert scenario.log[0].detail == "" and scenario.log[0].fault == ""


def test_detecting_lets_pass_and_tells(play):
    scenario = play(DETECT)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(ATTACK))
    backend.expect_request(b"GET", ATTACK)
    backend.send(OK)
    client.expect_response(200, b"ok")
    assert "2003 sql-condition" in scenario.log[0].detail and scenario.log[0].fault == ""


def test_what_was_found_stays_beside_a_failure(play_once):
    scenario = play_once(DETECT)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get(ATTACK))
    client.expect_response(502)
    assert "2003 sql-condition" in scenario.log[0].detail and scenario.log[0].fault == "backend-connect"


@pytest.mark.parametrize("size", [0, 5000])
def test_an_attack_in_a_body_is_refused(play_once, size):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"a=" + b"x" * size + b"&b=%3Cscript%3E", FORM))
    client.expect_response(403)
    assert backend.attempts == [] and "3001 script-tag in body b" in scenario.log[0].detail


def test_a_body_that_passes_is_sent_on(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"a=1&b=it%27s", FORM))
    backend.expect_request(b"POST", b"/", b"a=1&b=it%27s")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_what_is_over_the_size_passes_and_is_said(play):
    scenario = play(SMALL)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    body = b"a=" + b"x" * 150 + b"%3Cscript%3E"
    client.send(post(body, FORM))
    backend.expect_request(b"POST", b"/", body)
    backend.send(OK)
    client.expect_response(200, b"ok")
    assert scenario.log[0].detail == "not inspected: the body after 100 bytes"


def test_other_bodies_are_not_waited_for(play):
    scenario = play(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 9", b"Content-Type: image/png", method=b"POST") + b"<scr")
    backend.expect_head(b"POST", b"/")
    client.send(b"ipt>>")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_a_coded_body_is_said(play_once):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"abc", FORM, b"Content-Encoding: gzip"))
    backend.expect_request(b"POST", b"/", b"abc")
    backend.send(OK)
    client.expect_response(200, b"ok")
    assert scenario.log[0].detail == "not inspected: a coded body"


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Type: application/octet-stream", FORM),
        (b"Content-Type: application/x-www-form-urlencoded,image/png",),
        (b"Content-Type: image/png;;x",),
        (FORM, b"Content-Encoding: "),
        (FORM, b"Content-Encoding: IDENTITY"),
        (FORM, b"Content-Encoding: foo"),
        (FORM, b"Content-Encoding: identity", b"Content-Encoding: gzip"),
    ],
)
def test_fields_that_backends_read_otherwise_hide_nothing(play_once, fields):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"a=%3Cscript+src=x%3E", *fields))
    client.expect_response(403)
    assert backend.attempts == [] and "3001 script-tag in " in scenario.log[0].detail


@pytest.mark.parametrize("boundary", [b"xboundary=foo; boundary=B", b'boundary="\\B"', b"boundary = B", b"boundary=C"])
def test_parts_that_cannot_be_told_are_looked_at(play_once, boundary):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    body = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n<script src=x>\r\n--B--\r\n'
    client.send(post(body, b"Content-Type: multipart/form-data; " + boundary))
    client.expect_response(403)
    assert backend.attempts == []


def test_compressed_bodies_are_not_refused_for_their_bytes(play_once):
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    body = b"\x1f\x8b\x08\x00\x00\x00\x00\x00'--<%00\x00|`;\x00" * 9
    client.send(post(body, FORM, b"Content-Encoding: gzip"))
    backend.expect_request(b"POST", b"/", body)
    backend.send(OK)
    client.expect_response(200, b"ok")


@pytest.mark.parametrize("harmless", [True, False])
def test_what_takes_long_goes_on_in_later_turns(play_once, monkeypatch, harmless):
    monkeypatch.setattr(slices, "SLICE", -1.0)  # each step is over a slice
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    body = b"b=" + (b"it%27s" if harmless else b"%3Cscript%3E")
    client.send(get(b"/?name=O%27Brien", b"Cookie: a='; b={}", FORM, b"Content-Length: %d" % len(body), method=b"POST"))
    client.send(body)
    if harmless:
        backend.expect_request(b"POST", b"/?name=O%27Brien", body)
        backend.send(OK)
        client.expect_response(200, b"ok")
    else:
        client.expect_response(403)
        assert backend.attempts == []


def test_too_much_that_waits_is_refused(play_once, monkeypatch):
    monkeypatch.setattr(slices, "WAITING", 0)
    scenario = play_once(ON)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(ATTACK))
    client.expect_response(503)
    assert scenario.log[0].fault == "filter-busy" and backend.attempts == []
    client = scenario.client()
    client.send(get(b"/harmless"))
    backend.expect_request(b"GET", b"/harmless")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_the_cost_of_a_harmless_request():
    """Told in the time of a loop, so that a slow machine does not matter: 100 squares take some 4 us."""
    rules, made = _rule_set((), (), 1), request(b"/products/list?category=shoes&page=2&sort=price_asc&q=running+shoes")
    work(rules.head(made, Report()))  # remembers the agent, as that of a browser is
    rules._jars.clear()

    def new_cookies() -> int:
        rules._jars.clear()
        return rules.glance(made)

    assert not new_cookies()
    cost = min(timeit.repeat(new_cookies, number=200, repeat=9, timer=time.process_time))
    unit = min(
        timeit.repeat(lambda: [each * each for each in range(100)], number=200, repeat=9, timer=time.process_time)
    )
    print(f"{cost / 200 * 1e6:.1f} us, {cost / unit:.1f} times 100 squares")
    assert cost < 4 * unit  # 1.0, where others leave the machine alone


SECRETS = 'upstream = "app"\nfilter = true\nauth = {{ {} }}'
KEYS = 'keys = {{ ci = "sha256:{}" }}'.format("a" * 64)


@pytest.mark.parametrize(
    ("auth", "request_"),
    [
        (f'api_key = {{ query = "k", {KEYS} }}', get(b"/?k=s3cret../../../etc/passwd'")),
        (
            f'api_key = {{ query = "k", {KEYS} }}',
            get(b"/", b"Referer: https://h/p?k=s3cret&q=<script>alert(1)</script>"),
        ),
        (f'api_key = {{ header = "x-key", {KEYS} }}', get(b"/", b"X-Key: s3cret'${jndi:ldap://x}")),
        (
            'jwt = { algorithms = "HS256", secret = "' + "x" * 40 + '", token = "cookie:t" }',
            get(b"/", b"Cookie: t=s3cret../../../etc/passwd'"),
        ),
    ],
)
def test_no_credential_is_in_the_log(play_once, auth, request_):
    scenario = play_once(toml(route=SECRETS.format(auth)))
    client = scenario.client()
    client.send(request_)
    client.expect_response(403)
    assert scenario.log[0].fault == "filtered" and "score " in scenario.log[0].detail
    assert "s3cret" not in scenario.log[0].detail and "etc/passwd" not in scenario.log[0].detail
