"""Conditions of routes, as they meet requests."""

from __future__ import annotations

import pytest

from revproxy.config.conditions import conditions, in_networks
from revproxy.config.load import load_text
from revproxy.http.message import Arrival, ClientIdentity, Headers, Request, TlsInfo
from tests.certificates import authority
from tests.kit import get, load, toml


def holds(match, *fields, method=b"GET", query=None, client="192.0.2.1", listen="", scheme=b"http"):
    config = load(toml(route=f'match = {{ {match} }}\nrespond = {{ body = "x" }}', more=MORE))
    arrival = Arrival(peer=client, listen=listen, scheme=scheme)
    request = Request(method, b"/", query, Headers.of(fields), arrival=arrival)
    found = conditions(config.routes[0].match)
    assert len(found) == 1
    return found[0][0](request)


ALICE = ClientIdentity("CN=alice,O=Example", ("DNS:a.example", "URI:spiffe://x/web/1"), "", "", b"")


@pytest.mark.parametrize(
    ("written", "yes"),
    [
        ('"*"', True),
        ('"CN=alice,O=Example"', True),
        ('"CN=bob,O=Example"', False),
        ('"CN=alice"', False),
        ('["CN=bob", "DNS:A.example"]', True),
        ('"email:a@a.example"', False),
        ('"URI:spiffe://x/web/1"', True),
        ('"URI:spiffe://x/*"', True),
        ('"URI:spiffe://y/*"', False),
    ],
)
def test_client_certificates(tmp_path, written, yes):
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    text = toml(route=f"match.client_certificate = {written}\nrespond = 404", more=CERTIFIED)
    config = load_text(text, base=str(tmp_path))
    ((test, words),) = conditions(config.routes[0].match)
    assert words.startswith("client certificate ")
    for tls, expected in ((TlsInfo(client=ALICE), yes), (TlsInfo(), False), (None, False)):
        assert test(Request(b"GET", b"/", None, Headers(), arrival=Arrival(tls=tls))) is expected


CERTIFIED = """
[[listen]]
endpoint = "tcp:8443"
tls = { certificates = ".", client = "ca.pem" }
"""

MORE = """
[[listen]]
name = "admin"
endpoint = "tcp:8081"
"""


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ('method = "GET"', {}, {"method": b"HEAD"}),
        ('method = ["PUT", "BREW"]', {"method": b"BREW"}, {"method": b"brew"}),
        ('scheme = "https"', {"scheme": b"https"}, {"scheme": b"http"}),
        ('listen = "admin"', {"listen": "admin"}, {"listen": "tcp:8080"}),
        ('client = "10.0.0.0/8"', {"client": "10.1.2.3"}, {"client": "11.1.2.3"}),
        ('client = "10.0.0.0/8"', {"client": "::ffff:10.1.2.3"}, {"client": ""}),
        ('client = ["2001:db8::/32", "192.0.2.7"]', {"client": "2001:db8::1"}, {"client": "192.0.2.8"}),
        ('client = "loopback"', {"client": "127.0.0.9"}, {"client": "192.0.2.8"}),
        ('client = "private"', {"client": "192.168.0.9"}, {"client": "8.8.8.8"}),
        ('query = { a = "1" }', {"query": b"x=y&a=1"}, {"query": b"a=2"}),
        ('query = { a = "1" }', {"query": b"a=2&a=1"}, {"query": None}),
        ('query = { a = "*" }', {"query": b"a"}, {"query": b"b=a"}),
        ('query = { a = ["1", "2"] }', {"query": b"a=2"}, {"query": b"a=3"}),
        ('query = { "ä b" = "c d" }', {"query": b"%C3%A4+b=c%20d"}, {"query": b"a+b=c+d"}),
    ],
)
def test_conditions_of_the_request(match, yes, no):
    assert holds(match, **yes)
    assert not holds(match, **no)


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ('header = { x-beta = "1" }', (b"X-Beta", b"1"), (b"X-Beta", b"2")),
        ('header = { X-Beta = "*" }', (b"x-beta", b""), (b"x-alpha", b"1")),
        ('header = { x-beta = ["1", "2"] }', (b"x-beta", b"2"), (b"x-beta", b"12")),
        ('cookie = { a = "1" }', (b"Cookie", b"b=2; a=1"), (b"Cookie", b"b=1; c=a")),
        ('cookie = { a = "*" }', (b"Cookie", b"a="), (b"Cookie", b"aa=1")),
        ('cookie = { a = "1" }', (b"Cookie", b'a="1"'), (b"Cookie", b"A=1")),
        ('content_type = "application/json"', (b"Content-Type", b"aPPlication/json"), (b"Accept", b"*/*")),
        ('content_type = "image/*"', (b"Content-Type", b"image/png"), (b"Content-Type", b"imagex/png")),
        ('content_type = "image/*"', (b"Content-Type", b"IMAGE/PNG"), (b"Accept", b"image/png")),
    ],
)  # fmt: skip
def test_conditions_of_fields(match, yes, no):
    assert holds(match, yes)
    assert not holds(match, no)


def test_one_of_several_fields_is_enough():
    assert holds('header = { x = "2" }', (b"X", b"1"), (b"x", b"2"))
    assert holds('cookie = { a = "2" }', (b"Cookie", b"a=1"), (b"Cookie", b"a=2"))


def test_all_conditions_must_hold(play):
    match = 'match = { method = "GET", header = { x = "1" }, query = { q = "1" } }\nrespond = { body = "x" }'
    client = play(toml(route=match)).client()
    for sent, status in [
        (get(b"/?q=1", b"x: 1"), 200),
        (get(b"/?q=1"), 404),
        (get(b"/", b"x: 1"), 404),
        (get(b"/?q=1", b"x: 1", method=b"PUT"), 404),
    ]:
        client.send(sent)
        client.expect_response(status)


def test_the_client_is_whom_a_trusted_proxy_says(play):
    route = 'match = { client = "198.51.100.0/24" }\nrespond = { body = "x" }'
    scenario = play(toml('trusted_proxies = ["203.0.113.0/24"]', route=route))
    for peer, said, status in [
        ("203.0.113.7", b"198.51.100.9", 200),
        ("203.0.113.7", b"198.51.100.9, 192.0.2.1", 404),
        ("203.0.113.7", b"192.0.2.1, 198.51.100.9, 203.0.113.8", 200),
        ("192.0.2.1", b"198.51.100.9", 404),
        ("198.51.100.3", b"192.0.2.1", 200),
    ]:
        client = scenario.client(peer)
        client.send(get(b"/", b"X-Forwarded-For: " + said))
        client.expect_response(status)


def test_the_listener(play):
    route = 'match = { listen = "admin" }\nrespond = { body = "x" }'
    scenario = play(toml(route=route, more=MORE))
    for listen, status in [("admin", 200), ("tcp:8080", 404)]:
        client = scenario.client(listen=listen)
        client.send(get())
        client.expect_response(status)


@pytest.mark.parametrize("text", ["", "unknown", "10.0.0", "10.0.0.1:80", "1.2.3.4.5"])
def test_what_is_no_address_is_in_no_network(text):
    assert not in_networks(["0.0.0.0/0", "::/0"])(text)


def test_zones_are_left_out():
    assert in_networks(["fe80::/10"])("fe80::1%eth0")
