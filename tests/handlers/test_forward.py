"""The rules of forwarding, end to end: what backends are told, what clients see, and our error pages."""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import Deferred

from revproxy.config.model import Middleware
from revproxy.http.message import Answer, Headers
from tests.kit import ADDRESS, OK, SECOND, get, hooked, ok, post, toml


def exchange(play, sent, answer=OK, *, server="", upstream="", route='upstream = "app"', peer="203.0.113.7"):
    """What the backend got and what the client got of one request, which is sent twice: caches must not matter."""
    scenario = play(toml(server, upstream, route))
    client, backend = scenario.client(peer), scenario.backend(ADDRESS)
    method, target, _ = sent.split(b" ", 2)
    for _ in range(2):
        client.send(sent)
        request = backend.expect_head(method, target)
        request.body = backend.connection._body()
        backend.send(answer)
        response = client.expect_response(int(answer.split(b" ")[1]))
    return request, response


TRUSTED = 'trusted_proxies = ["203.0.113.0/24"]'

# -- towards the backend


def test_hop_by_hop_fields_and_what_connection_names_end_here(play):
    request, _ = exchange(
        play,
        get(
            b"/", b"Connection: X-Mine, keep-alive", b"X-Mine: 1", b"Keep-Alive: 5", b"Proxy-Connection: close",
            b"Proxy-Authorization: x", b"TE: trailers, gzip", b"X-Other: 1",
        ),
    )  # fmt: skip
    names = {name.lower() for name, _ in request.fields}
    assert not names & {b"x-mine", b"keep-alive", b"proxy-connection", b"proxy-authorization"}
    assert request.get(b"TE") == b"trailers"
    assert request.get(b"Connection") == b"TE"
    assert request.get(b"X-Other") == b"1"


@pytest.mark.parametrize("name", [b"Host", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Via", b"X-Request-ID"])
def test_connection_cannot_name_away_what_is_ours(play, name):
    request, _ = exchange(play, get(b"/", b"Connection: " + name))
    assert request.get(name) is not None


def test_connection_cannot_name_away_the_length(play):
    request, _ = exchange(play, post(b"body", b"Connection: Content-Length, Transfer-Encoding"))
    assert request.get(b"Content-Length") == b"4"
    assert request.body == b"body"


def test_order_and_case_stay(play):
    request, _ = exchange(play, get(b"/", b"x-B: 1", b"X-a: 2", b"x-B: 3"))
    assert [field for field in request.fields if field[0].lower() in (b"x-a", b"x-b")] == [
        (b"x-B", b"1"),
        (b"X-a", b"2"),
        (b"x-B", b"3"),
    ]


def test_what_strangers_say_of_where_they_come_from_is_replaced(play):
    request, _ = exchange(
        play,
        get(
            b"/", b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil",
            b"X-Forwarded-Port: 1",
            b"Forwarded: for=1.1.1.1", b"X-Real-IP: 1.1.1.1", b"X-Request-ID: mine", b"X-Original-URL: /admin",
        ),
    )  # fmt: skip
    assert request.get(b"X-Forwarded-For") == b"203.0.113.7"
    assert request.get(b"X-Forwarded-Proto") == b"http"
    assert request.get(b"X-Forwarded-Host") == b"example.com"
    assert request.get(b"X-Forwarded-Port") == b"8080"
    assert request.get(b"X-Request-ID") not in (None, b"mine")
    assert request.get(b"Via") == b"1.1 revproxy"
    for name in (b"Forwarded", b"X-Real-IP", b"X-Original-URL"):
        assert request.get(name) is None


def test_what_trusted_proxies_say_is_continued(play):
    request, _ = exchange(
        play,
        get(
            b"/", b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: public.example",
            b"X-Forwarded-Port: 443", b"X-Request-ID: given-1",
        ),
        server=TRUSTED,
    )  # fmt: skip
    assert request.get(b"X-Forwarded-For") == b"1.1.1.1, 203.0.113.7"
    assert request.get(b"X-Forwarded-Proto") == b"https"
    assert request.get(b"X-Forwarded-Host") == b"public.example"
    assert request.get(b"X-Forwarded-Port") == b"443"
    assert request.get(b"X-Request-ID") == b"given-1"


def test_the_client_in_the_log_is_whom_a_trusted_proxy_says(play):
    scenario = play(toml(TRUSTED, route='respond = { body = "x" }'))
    for peer, client_address in [("203.0.113.7", "198.51.100.1"), ("192.0.2.9", "192.0.2.9")]:
        client = scenario.client(peer)
        client.send(get(b"/", b"X-Forwarded-For: 6.6.6.6, 198.51.100.1"))
        client.expect_response(200)
        assert scenario.log[-1].client == client_address


def test_forwarded_where_it_is_asked_for(play):
    request, _ = exchange(play, get(b"/", b"Forwarded: for=1.1.1.1"), server="forwarded = true")
    assert request.get(b"Forwarded") == b"for=203.0.113.7;host=example.com;proto=http"
    request, _ = exchange(play, get(b"/", b"Forwarded: for=1.1.1.1"), server=f"forwarded = true\n{TRUSTED}")
    assert request.get(b"Forwarded") == b"for=1.1.1.1, for=203.0.113.7;host=example.com;proto=http"


def test_ipv6_clients(play):
    request, _ = exchange(play, get(), server="forwarded = true", peer="2001:db8::1")
    assert request.get(b"X-Forwarded-For") == b"2001:db8::1"
    assert b'for="[2001:db8::1]"' in (request.get(b"Forwarded") or b"")


@pytest.mark.parametrize(
    ("host", "sent"), [("preserve", b"example.com"), ("backend", b"127.0.0.1:9000"), ("app.internal", b"app.internal")]
)
def test_the_host_that_a_backend_sees(play, host, sent):
    request, _ = exchange(play, get(), upstream=f'host = "{host}"')
    assert request.get(b"Host") == sent
    assert request.get(b"X-Forwarded-Host") == b"example.com"


def test_via_continues_and_can_be_off(play):
    request, _ = exchange(play, get(b"/", b"Via: 1.0 first"))
    assert request.all(b"Via") == [b"1.0 first", b"1.1 revproxy"]
    request, _ = exchange(play, get(), server='via = "off"')
    assert request.get(b"Via") is None


def test_what_is_matched_is_what_is_sent(play):
    scenario = play(toml(route='match = { path = "/a/b~c" }\nupstream = "app"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/%61/b%7Ec?%61=%2F"))
    backend.expect_request(b"GET", b"/a/b~c?%61=%2F")
    backend.send(OK)
    client.expect_response(200)
    client.send(get(b"/a%2fb~c"))
    client.expect_response(404)
    assert [record.target for record in scenario.log] == [b"/%61/b%7Ec?%61=%2F", b"/a%2fb~c"]


@pytest.mark.parametrize("length", [b"0", b"00"])
def test_an_empty_body_stays_an_empty_body(play, length):
    request, _ = exchange(play, get(b"/", b"Content-Length: " + length, method=b"POST"))
    assert request.get(b"Content-Length") == b"0"


# -- towards the client


def test_backends_stay_hidden(play):
    fields = [b"Server: nginx/1.2", b"X-Powered-By: PHP", b"X-AspNet-Version: 4", b"X-Kept: 1"]
    _, response = exchange(play, get(), ok(b"x", *fields))
    names = {name.lower() for name, _ in response.fields}
    assert not names & {b"server", b"x-powered-by", b"x-aspnet-version", b"via"}
    assert response.get(b"X-Kept") == b"1"


def test_what_is_hidden_can_be_said(play):
    _, response = exchange(play, get(), ok(b"x", b"Server: mine", b"X-Secret: 1"), server='hide = ["X-Secret"]')
    assert response.get(b"Server") == b"mine"
    assert response.get(b"X-Secret") is None


def test_via_towards_clients_only_if_asked_for(play):
    _, response = exchange(play, get(), server="via_response = true")
    assert response.get(b"Via") == b"1.1 revproxy"


def test_the_date_of_the_backend_is_kept_and_ours_added_where_there_is_none(play):
    date = b"Thu, 01 Jan 1970 00:00:00 GMT"
    _, response = exchange(play, get(), ok(b"x", b"Date: " + date))
    assert response.get(b"Date") == date
    _, response = exchange(play, get())
    assert response.get(b"Date") is not None


def test_hop_by_hop_fields_of_the_backend_end_here(play):
    fields = [b"Connection: X-Mine", b"X-Mine: 1", b"Keep-Alive: 5", b"Proxy-Authenticate: x", b"Upgrade: h2c"]
    _, response = exchange(play, get(), ok(b"x", *fields))
    names = {name.lower() for name, _ in response.fields}
    assert not names & {b"x-mine", b"keep-alive", b"proxy-authenticate", b"upgrade", b"connection"}


def test_cookies_stay_apart(play):
    _, response = exchange(play, get(), ok(b"x", b"Set-Cookie: a=1", b"Set-Cookie: b=2"))
    assert response.all(b"Set-Cookie") == [b"a=1", b"b=2"]


def test_one_clients_response_fields_never_reach_another(play):
    scenario = play(toml())
    backend = scenario.backend(ADDRESS)
    for at in range(4):
        client = scenario.client()
        client.send(get())
        backend.send(ok(b"x", b"Set-Cookie: id=%d" % at, b"X-N: %d" % at))
        client.expect_response(200, b"x", {b"Set-Cookie": b"id=%d" % at, b"X-N": b"%d" % at})


# -- error pages


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (b"text/html,application/xhtml+xml,*/*;q=0.8", b"text/html; charset=utf-8"),
        (b"application/json", b"application/problem+json"),
        (b"*/*", b"text/plain; charset=utf-8"),
        (b"text/plain", b"text/plain; charset=utf-8"),
    ],
)
def test_error_pages_by_accept(play, accept, kind):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get(b"/secret-path", b"Accept: " + accept))
    message = client.expect_response(502, headers={b"Content-Type": kind, b"Cache-Control": b"no-store"})
    assert scenario.log[0].request_id in message.body
    page = (
        message.body.replace(scenario.log[0].request_id, b"").replace(b"application", b"").replace(b"appearance", b"")
    )
    for secret in (b"127.0.0.1", b"9000", b"app", b"secret-path", b"route-1", b"refused", b"revproxy"):
        assert secret not in page
    if kind.endswith(b"json"):
        assert json.loads(message.body)["status"] == 502


def test_an_error_page_for_head_has_no_body(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get(method=b"HEAD") + get())
    length = client.expect_response(502, head=True).get(b"Content-Length")
    assert length == client.expect_response(502).get(b"Content-Length")


def test_errors_of_the_backend_pass_as_they_are(play):
    _, response = exchange(play, get(), ok(b"my own page", status=b"500 Internal Server Error"))
    assert response.body == b"my own page"
    assert response.status == 500


# -- another try

THREE = [ADDRESS, SECOND, "tcp:127.0.0.1:9002"]


def several(play, upstream="", rules=None, addresses=THREE):
    """A scenario of several backends, and these."""
    route = 'upstream = "app"' + ("" if rules is None else f"\nretry = {rules}")
    written = ", ".join(f'"{address}"' for address in addresses)
    scenario = play(toml("", f"backends = [{written}]\n{upstream}", route))
    return scenario, [scenario.backend(address) for address in addresses]


def counts(scenario):
    return [backend.active for backend in scenario.engine.table.upstreams["app"].backends]


def test_each_try_goes_to_another_backend(play):
    scenario, backends = several(play)
    for backend in backends:
        backend.refuse()
    client = scenario.client()
    client.send(get())
    client.expect_response(502)
    assert [len(backend.attempts) for backend in backends] == [1, 1, 1]
    assert scenario.log[0].retries == 2


@pytest.mark.parametrize(("rules", "tries"), [("{ tries = 2 }", 2), ("{ tries = 1 }", 1), ('"off"', 1)])
def test_so_many_tries(play, rules, tries):
    scenario, backends = several(play, rules=rules)
    for backend in backends:
        backend.refuse()
    client = scenario.client()
    client.send(get())
    client.expect_response(502)
    assert sum(len(backend.attempts) for backend in backends) == tries


@pytest.mark.parametrize(("rules", "again"), [(None, True), ('{ tries = 1, budget = "0%" }', True), ('"off"', False)])
def test_a_connection_that_was_closed_at_rest_is_nobodys_fault_and_costs_no_try(play, rules, again):
    addresses = THREE[:1]
    scenario, (backend,) = several(play, "breaker = { minimum = 1 }", rules, addresses)
    client = scenario.client()
    client.send(get())
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.connection.close_unseen()
    client.send(get(b"/x"))
    if again:
        backend.expect_request(b"GET", b"/x")
        backend.send(OK)
    client.expect_response(200 if again else 502)
    assert scenario.engine.table.upstreams["app"].watch.breaker_state == "closed"
    assert counts(scenario) == [0]


def test_routes_have_rules_of_their_own_at_one_upstream(play):
    first = 'match = { path = "/once" }\nupstream = "app"\nretry = "off"'
    more = '[[routes]]\nupstream = "app"'
    scenario = play(toml("", f'backends = ["{ADDRESS}", "{SECOND}"]\nbalance = "round-robin"', first, more))
    scenario.backend(ADDRESS).refuse()
    client, second = scenario.client(), scenario.backend(SECOND)
    client.send(get(b"/once"))
    client.expect_response(502)
    for path in (b"/once", b"/"):
        client.send(get(path))
        second.expect_request(b"GET", path)
        second.send(OK)
        client.expect_response(200, b"ok")
    assert [record.retries for record in scenario.log] == [0, 0, 1]


def test_a_spent_budget_is_said_in_the_log(play_once):
    scenario, backends = several(play_once, 'passive = "off"', '{ budget = "0%" }')
    for backend in backends:
        backend.refuse()
    client = scenario.client()
    for _ in range(60):
        client.send(get())
        client.expect_response(502)
    assert sum(record.retries for record in scenario.log) == 100
    assert scenario.log[0].retries == 2
    assert scenario.log[-1].retries == 0
    assert "the budget of retries is spent" in scenario.log[-1].detail
    assert scenario.log[-1].fault == "backend-connect"


def test_a_client_that_waits_for_100_sends_its_body_to_the_one_that_wants_it(play):
    scenario, (first, second) = several(play, rules='{ on = [503], methods = ["PUT"] }', addresses=THREE[:2])
    client = scenario.client()
    client.send(get(b"/", b"Content-Length: 4", b"Expect: 100-continue", method=b"PUT"))
    first.expect_head(b"PUT", b"/", {b"Expect": b"100-continue"})
    first.send(ok(b"", status=b"503 No"))
    second.expect_head(b"PUT", b"/", {b"Expect": b"100-continue"})
    second.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.expect_response(100)
    client.send(b"body")
    second.connection.expect_body(b"body")
    second.send(OK)
    client.expect_response(200, b"ok")
    assert counts(scenario) == [0, 0]


def test_interim_responses_pass_before_a_status_that_is_a_failed_try(play):
    scenario, (first, second) = several(play, rules="{ on = [503] }", addresses=THREE[:2])
    client = scenario.client()
    client.send(get())
    first.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"", status=b"503 No"))
    second.expect_request(b"GET", b"/")
    second.send(OK)
    client.expect_response(103)
    client.expect_response(200, b"ok")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart"])
def test_the_whole_time_is_the_backends_fault_as_long_as_it_owes_a_head(play, answer, lines):
    scenario, (first, _) = several(play, 'passive = { failures = 1 }\ntimeouts = { total = "2s" }', addresses=THREE[:2])
    client = scenario.client()
    client.send(get())
    first.expect_request(b"GET", b"/")
    if answer:
        first.send(answer)
        client.expect_head(200)
        scenario.advance(2.1)
        client.expect_body(b"part")
        client.expect_reset()
        assert lines == []
    else:
        scenario.advance(2.1)
        client.expect_response(504)
        assert len(lines) == 1
        assert "the last: backend-total-timeout" in lines[0]
    assert counts(scenario) == [0, 0]


def test_a_hook_before_the_backend_counts_as_a_request_there_until_it_ends(play_once):
    waits = []

    def hook(exchange):
        if exchange.request.path == b"/answer":
            return Answer(403, Headers(), b"no")
        waits.append(Deferred())
        return waits[-1]

    scenario = play_once(hooked(toml(), Middleware(call=hook, at="backend-request", timeout=None)))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/answer"))
    client.expect_response(403, b"no")
    assert counts(scenario) == [0]
    client.send(get(b"/wait"))
    assert counts(scenario) == [1]
    client.reset()
    assert counts(scenario) == [0]
    other = scenario.client()
    other.send(get(b"/wait"))
    waits[-1].callback(None)
    scenario.advance(0)
    backend.expect_request(b"GET", b"/wait")
    backend.send(OK)
    other.expect_response(200, b"ok")
    assert counts(scenario) == [0]
