"""What is wrong in tables about caps, shedding, bans and rate limits: by key and line, with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from

from revproxy.access.networks import parse_networks
from revproxy.config.check import check
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.model import Bans, Config, Listen, RateLimit, Respond, Route, Server, Shed
from revproxy.limits.refusals import NO_CLIENTS_DOING, REFUSALS, WORDS
from tests.certificates import authority

TLS = "tls = { certificates = 'made', acme = 'internal', client = 'ca.pem' }"


def problems(server: str = "", route: str = "", listen: str = "", base: Path = Path()) -> list[str]:
    """Problems of a configuration: ``server`` is on line 2, ``listen`` on line 5 and ``route`` on line 7."""
    text = f'[server]\n{server}\n[[listen]]\nendpoint = "tcp:1"\n{listen}\n[[routes]]\n{route}\nrespond = 200\n'
    try:
        load_text(text, base=str(base))
    except ConfigError as error:
        return [f"{problem.line}: {problem.key}: {problem.text}" for problem in error.errors]
    return []


NEVER = "so it is never banned; keep one"
REACHED = "so it is never reached; write less, or leave it out"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (
            "limits = { requests = 5, requests_per_address = 6 }",
            f'limits.requests_per_address: 6 is more than the 5 of "requests", {REACHED}',
        ),
        (
            "limits = { connections = 5, connections_per_address = 9 }",
            f'limits.connections_per_address: 9 is more than the 5 of "connections", {REACHED}',
        ),
        (
            "shed = { queue = '0%' }",
            'shed.queue: "0%" would let nobody wait; write more, or "off" for not looking at queues',
        ),
        (
            "bans = { rules = [{ when = 'banned' }] }",
            'bans.rules[0].when: "banned" is how requests of the banned end, and they are banned already; leave it out',
        ),
        (
            "bans = { rules = [{ when = [404, 'backend-none'] }] }",
            'bans.rules[0].when[1]: "backend-none" is no client\'s doing: while it lasts all of them would be banned; '
            "leave it out",
        ),
        (
            "bans = { addresses = '192.0.2.0/24', allow = ['10.0.0.0/8', '192.0.2.0/24'] }",
            f'bans.addresses: "192.0.2.0/24" is in "allow", {NEVER}',
        ),
        (
            "bans = { addresses = ['203.0.113.0/24', '10.1.2.3'], allow = 'private' }",
            f'bans.addresses[1]: "10.1.2.3" is in "allow", {NEVER}',
        ),
        (
            "bans = { addresses = '2001:db8::1' }\ntrusted_proxies = '2001:db8::/32'",
            f'bans.addresses: "2001:db8::1" is in "trusted_proxies", {NEVER}',
        ),
        (
            "rate_limit = { rate = '1/s', hits = false }",
            'rate_limit.hits: has no meaning without "cache" on any route; leave it out',
        ),
        (
            "rate_limit = ['1/s', { rate = '2/s', name = 'a' }, { rate = '3/s', name = 'a' }]",
            'rate_limit[2].name: "a" is also the name of another limit of these requests',
        ),
    ],
)
def test_the_server(server: str, expected: str) -> None:
    assert problems(server) == [f"2: server.{expected}"]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (
            "limits = { requests = 1, requests_per_address = 2 }",
            f'limits.requests_per_address: 2 is more than the 1 of "requests", {REACHED}',
        ),
        (
            "priority = 'low'",
            'priority: has no meaning without "shed" in [server]; write that, or leave the priority out',
        ),
        (
            "rate_limit = { rate = '1/s', waiting = 5 }",
            'rate_limit.waiting: has no meaning without "delay": no request waits; write that, or leave it out',
        ),
        (
            "rate_limit = { rate = '1/s', missing = 'pass' }",
            'rate_limit.missing: has no meaning with by = "client", which all have; leave it out',
        ),
        (
            "rate_limit = { rate = '1/s', by = 'path', missing = 'route' }",
            'rate_limit.missing: has no meaning with by = "path", which all have; leave it out',
        ),
        (
            "rate_limit = { rate = '1/s', by = 'route', ipv6 = 48 }",
            'rate_limit.ipv6: has no meaning with by = "route": no addresses are counted; leave it out',
        ),
        (
            "rate_limit = ['9/s', { rate = '1/s', by = 'header:a', missing = 'pass', ipv4 = 24 }]",
            'rate_limit[1].ipv4: has no meaning with missing = "pass": no addresses are counted; leave it out',
        ),
        (
            "rate_limit = { rate = '1/s', by = 'client_certificate' }",
            "rate_limit.by: no listener asks clients for certificates; "
            "write tls = { …, client = … } in a [[listen]] table",
        ),
        ("rate_limit = ['1/s', '2/s', '1/s']", "rate_limit[2]: says the same as rate_limit[0]; keep one"),
        (
            "rate_limit = ['1/s', { rate = '1/s', name = 'again' }]",
            "rate_limit[1]: says the same as rate_limit[0]; keep one",
        ),
        (
            "rate_limit = { rate = '1/s', burst = 10000000000 }",
            "rate_limit.burst: 10000000000 is out of range; write a whole number from 1 to 2147483648",
        ),
        (
            "rate_limit = { rate = '1/s', keys = 0 }",
            "rate_limit.keys: 0 is out of range; write a whole number of 1 or more",
        ),
    ],
)
def test_a_route(route: str, expected: str) -> None:
    assert problems(route=route) == [f"7: routes[0].{expected}"]


@pytest.mark.parametrize(
    ("server", "route"),
    [
        ("limits = { requests = 5, requests_per_address = 5 }", ""),
        ("limits = { connections_per_address = 5 }", "limits = { requests_per_address = 5 }"),
        ("shed = { queue = 'off' }", "priority = 'low'"),
        ("bans = { addresses = '192.0.2.0/24', allow = '192.0.2.7' }", ""),
        ("bans = { addresses = 'all', allow = '0.0.0.0/0' }", ""),
        ("bans = { rules = [{ when = ['shed', 'backend-first-byte-timeout', 'hook-failed', 503, 403] }] }", ""),
        ("rate_limit = { rate = '1/s', hits = false }", "cache = true"),
        ("rate_limit = '1/s'", "rate_limit = ['1/m', { rate = '1/s', by = 'route' }]"),
        ("", "rate_limit = { rate = '1/m', burst = 1, delay = '1s', waiting = 5 }"),
        ("", "rate_limit = { rate = '1/s', by = 'header:a', ipv6 = 48 }"),
        ("", "rate_limit = { rate = '1/s', by = 'header:a', missing = 'pass' }"),
    ],
)
def test_what_may_be_meant(server: str, route: str) -> None:
    assert problems(server, route) == []


def test_what_listeners_say_counts(tmp_path: Path) -> None:
    server = "bans = { addresses = '192.0.2.7' }"
    expected = f'2: server.bans.addresses: "192.0.2.7" is in "proxy_protocol" of listen[0], {NEVER}'
    assert problems(server, listen='proxy_protocol = "192.0.2.0/24"') == [expected]
    (tmp_path / "ca.pem").write_bytes(authority().pem)
    assert problems("", "rate_limit = { rate = '1/s', by = 'client_certificate' }", TLS, tmp_path) == []


def test_a_configuration_without_listeners_may_stand_behind_certificates() -> None:
    limit = RateLimit(rate="1/s", by="client_certificate")
    route = Route(rate_limit=(limit,), respond=Respond())
    assert not [each for each in check(Config(routes=(route,))) if "rate_limit" in each.key]
    found = check(Config(routes=(route,), listen=(Listen(endpoint="tcp:1"),)))
    assert ("routes", 0, "rate_limit", "by") in [each.key for each in found]


def test_from_python_it_is_the_same() -> None:
    found = check(Config(server=Server(shed=Shed(queue=0.0))))
    assert ("server", "shed", "queue") in [each.key for each in found]
    found = check(Config(server=Server(shed=Shed(queue=None))))
    assert ("server", "shed", "queue") not in [each.key for each in found]


NETWORKS = sampled_from(
    ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.0.0.1", "::/0", "2001:db8::/32", "2001:db8::/64",
     "2001:db8::1", "::ffff:10.0.0.1"]
)  # fmt: skip


@given(NETWORKS, NETWORKS)
def test_a_network_is_in_another_when_all_of_its_addresses_are(one: str, other: str) -> None:
    bans = Bans(addresses=(one,), allow=(other,))
    refused = any("addresses" in each.key for each in check(Config(server=Server(bans=bans))))
    ((bits, first, length),), ((_bits, start, size),) = parse_networks(one), parse_networks(other)
    assert refused == (bits == _bits and start <= first and first + 2 ** (bits - length) <= start + 2 ** (bits - size))


def test_no_clients_doing_is_none_that_is_refused_for_a_clients_sake() -> None:
    assert not NO_CLIENTS_DOING & REFUSALS
    assert all(WORDS[word].blame != "client" for word in NO_CLIENTS_DOING)
    assert {"backend-none", "backend-connect", "circuit-open", "stopped", "auth-unavailable"} <= NO_CLIENTS_DOING
    assert not {"hook-failed", "backend-reset", "shed", "no-route"} & NO_CLIENTS_DOING
