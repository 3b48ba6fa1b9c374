"""Header changes of a route, end to end."""

from __future__ import annotations

from tests.kit import ADDRESS, OK, get, ok, toml


def test_request_fields_are_removed_set_and_added(play):
    route = """upstream = "app"
headers.request = { remove = ["x-gone"], set = { x-set = "new" }, add = { x-add = "more" } }"""
    scenario = play(toml(route=route))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"X-Gone: 1", b"X-Set: old", b"X-Set: older", b"X-Add: one"))
    message = backend.expect_request(b"GET", b"/", headers={b"X-Gone": None, b"X-Set": b"new"})
    assert message.all(b"x-add") == [b"one", b"more"]


def test_response_fields_are_removed_set_and_added(play):
    route = """upstream = "app"
headers.response = { remove = ["x-gone"], set = { x-set = "new" }, add = { x-add = "more" } }"""
    scenario = play(toml(route=route))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for _ in range(3):  # a response that was seen before passes by the same rules
        client.send(get())
        backend.send(ok(b"x", b"X-Gone: 1", b"X-Set: old", b"X-Set: older", b"X-Add: one"))
        message = client.expect_response(200, b"x", {b"X-Gone": None, b"X-Set": b"new"})
        assert message.all(b"x-add") == [b"one", b"more"]


def test_variables(play):
    values = (
        "$client_ip|$client_port|$host|$authority|$scheme|$method|$path|$query|$target|$route|$upstream|$backend|$listen"
        "|$server_port|$$"
    )
    changes = f'set = {{ x-all = "{values}", x-ua = "${{http_user_agent}}", x-c = "$cookie_a" }}'
    route = f'name = "mine"\nupstream = "app"\nheaders.request = {{ {changes} }}'
    scenario = play(toml(route=route))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/a?b=c", b"User-Agent: me", b"Cookie: b=1; a=2", host=b"Example.com:81"))
    message = backend.expect_request(b"GET", b"/a?b=c", headers={b"x-ua": b"me", b"x-c": b"2"})
    assert message.get(b"x-all") == (
        b"203.0.113.7|40001|example.com|Example.com:81|http|GET|/a|b=c|/a?b=c|mine|app|" + ADDRESS.encode()
        + b"|tcp:8080|8080|$"
    )  # fmt: skip


def test_the_request_id_is_one_everywhere(play):
    route = 'upstream = "app"\nheaders.response = { set = { x-id = "$request_id" } }'
    scenario = play(toml(route=route))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    sent = backend.expect_request(b"GET", b"/").get(b"X-Request-ID")
    backend.send(OK)
    client.expect_response(200, b"ok", {b"X-ID": sent})
    assert scenario.log[0].request_id == sent


def test_a_connection_field_cannot_name_away_what_the_route_sets(play):
    scenario = play(toml(route='upstream = "app"\nheaders.request = { set = { x-tenant = "a" } }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Connection: x-tenant, x-other", b"X-Other: 1"))
    backend.expect_request(b"GET", b"/", headers={b"X-Tenant": b"a", b"X-Other": None})


def test_fields_of_one_request_do_not_reach_the_next(play):
    scenario = play(toml(route='upstream = "app"\nheaders.request = { add = { x-n = "$query" } }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for at in (b"1", b"2", b"3"):
        client.send(get(b"/?" + at))
        backend.expect_request(b"GET", b"/?" + at, headers={b"x-n": at})
        backend.send(OK)
        client.expect_response(200)


def test_our_answers_get_response_changes(play):
    scenario = play(toml(route='respond = { body = "x" }\nheaders.response = { set = { x-frame-options = "DENY" } }'))
    client = scenario.client()
    for _ in range(2):
        client.send(get())
        client.expect_response(200, b"x", {b"X-Frame-Options": b"DENY"})


def test_a_malicious_value_ends_no_field(play):
    scenario = play(toml(route='upstream = "app"\nheaders.request = { set = { x-q = "$query" } }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/?a=%0d%0aX-Evil:%201"))
    backend.expect_request(b"GET", b"/?a=%0d%0aX-Evil:%201", headers={b"x-q": b"a=%0d%0aX-Evil:%201", b"X-Evil": None})
