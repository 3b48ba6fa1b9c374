"""Access tables of routes and of the server, end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from revproxy.config.compile import compile_config
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.http.message import Headers, Request
from tests.h2kit import GET, LISTEN, H2Client
from tests.kit import ADDRESS, OK, get, post, toml

HERE = "203.0.113.7"


def test_a_route_refuses_and_says_why_in_the_log_only(play):
    scenario = play(toml(route='upstream = "app"\naccess.deny = ["203.0.113.0/24"]'))
    client = scenario.client(HERE)
    client.send(get())
    message = client.expect_response(403)
    assert b"203.0.113" not in message.body
    (record,) = scenario.log
    assert (record.fault, record.detail, record.route) == ("denied", "deny: 203.0.113.0/24", "route-1")
    other = scenario.client("198.51.100.1")
    other.send(get())
    scenario.backend(ADDRESS).send(OK)
    other.expect_response(200)


def test_the_server_refuses_before_routes_are_looked_for(play):
    scenario = play(
        toml(server='access = { allow = ["198.51.100.0/24"], status = 404 }', route='match.path = "/x"\nrespond = 200')
    )
    client = scenario.client(HERE)
    client.send(get(b"/x"))
    client.expect_response(404)
    (record,) = scenario.log
    assert record.fault == "denied"
    assert record.detail == "server: allow: 203.0.113.7 is in none of its networks"
    assert record.route == ""
    other = scenario.client("198.51.100.1")
    other.send(get(b"/x"))
    other.expect_response(200)
    other.send(get(b"/none"))
    other.expect_response(404)
    assert scenario.log[-1].fault == "no-route"


def test_an_upload_that_is_refused_reaches_no_backend(play):
    scenario = play(toml(route='upstream = "app"\naccess.methods = ["GET"]'))
    client = scenario.client()
    client.send(post(b"x" * 1000))
    client.expect_response(403)
    assert not scenario.backend(ADDRESS).connections
    assert scenario.log[0].detail == "methods: POST"


def test_the_address_is_the_one_that_a_trusted_proxy_names(play):
    scenario = play(
        toml(server='trusted_proxies = ["203.0.113.7"]\naccess.deny = ["198.51.100.66"]', route="respond = 200")
    )
    client = scenario.client(HERE)
    client.send(get(b"/", b"X-Forwarded-For: 198.51.100.66"))
    client.expect_response(403)
    client.send(get(b"/", b"X-Forwarded-For: 198.51.100.67"))
    client.expect_response(200)


def test_a_client_that_a_trusted_proxy_does_not_name_is_in_no_network(play):
    server = 'trusted_proxies = ["203.0.113.7"]\naccess.allow = ["203.0.113.0/24"]'
    scenario = play(toml(server=server, route="respond = 200"))
    client = scenario.client(HERE)
    for field in (
        b"X-Forwarded-For: 203.0.113.8, unknown",
        b"X-Forwarded-For: 203.0.113.007",
        b"X-Real-IP: 203.0.113.8",
    ):
        client.send(get(b"/", field))
        client.expect_response(403)
        record = scenario.log[-1]
        assert (record.client, record.detail) == ("unknown", "server: allow: the client has no address")
    client.send(get(b"/", b"X-Forwarded-For: 203.0.113.8"))
    client.expect_response(200)
    client.send(get())  # the proxy's own, such as a health check
    client.expect_response(200)


def test_http2_is_refused_as_well(play):
    scenario = play(LISTEN.replace("[[listen]]", '[server.access]\ndeny_paths = ["/x"]\n[[listen]]', 1))
    client = H2Client(scenario.client())
    refused = client.begin((*GET[:3], (b":path", b"/x")))
    assert client[refused].status == b"403"
    taken = client.begin(GET)
    scenario.backend(ADDRESS).send(OK)
    assert client[taken].status == b"200"


def test_the_refused_are_told_what_browsers_are_told(play_once):
    scenario = play_once(toml(server='access.deny = "all"\nsecurity_headers = true'))
    client = scenario.client()
    client.send(get())
    client.expect_response(403, headers={b"X-Content-Type-Options": b"nosniff"})


def test_it_says_why_when_it_is_asked():

    table = compile_config(load_text(toml(server='access.methods = "GET"')), MemoryReactorClock())
    trace: list[str] = []
    table.match(Request(b"PUT", b"/", None, Headers()), trace)
    assert trace == ["server.access: methods: PUT"]


def test_lists_are_shared_and_live_with_the_table(tmp_path: Path):
    (tmp_path / "n.txt").write_text("192.0.2.0/24\n", "utf-8")
    text = toml(server='access.deny = "file:n.txt"', route='upstream = "app"\naccess.allow = ["all", "file:n.txt"]')
    clock = MemoryReactorClock()
    table = compile_config(load_text(text, base=str(tmp_path)), clock)
    (part,) = table.live
    part.start()
    assert clock.getDelayedCalls()
    part.close()
    assert not clock.getDelayedCalls()


def test_a_wrong_list_is_an_error_of_the_configuration(tmp_path: Path):
    (tmp_path / "n.txt").write_text("192.0.2.0/24\n192.0.2.300\n", "utf-8")
    for text in (
        toml(server='access.deny = "file:n.txt"'),
        toml(route='upstream = "app"\naccess.deny = "file:n.txt"'),
    ):
        with pytest.raises(ConfigError, match=r'n\.txt:2: "192\.0\.2\.300" is not a network'):
            compile_config(load_text(text, base=str(tmp_path)), MemoryReactorClock())
