"""Another service decides: what it is asked, what its answers do, and that nothing else lets anybody in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.protocol import Protocol

from revproxy.auth import forward
from revproxy.auth.outcome import Identity
from revproxy.config.load import load_text
from revproxy.http.message import Headers, Response, field
from revproxy.middleware.auth import give_cookies
from tests.drive import Echo, World
from tests.kit import toml

SERVICE = "127.0.0.1:9100"


class Network:
    """A service whose answers are given, beside echoing backends.

    :ivar asked: the heads that the service got.
    """

    def __init__(self, auth="", *answers, route="", server="", outer="", backend=Echo):
        self.asked = []
        self.answers = list(answers) or [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
        self.closed = 0
        more = f'[upstreams.auth]\nbackends = ["tcp:{SERVICE}"]'
        table = (
            f'auth = {{ forward = {{ upstream = "auth"{", " if auth else ""}{auth} }}{", " if outer else ""}{outer} }}'
        )
        text = toml(server=server, route=f'upstream = "app"\nretry = "off"\n{table}\n{route}', more=more)
        self.world = World(load_text(text), lambda address: Service(self) if address == SERVICE else backend(address))

    def get(self, *fields, target="/p%61th?q=1", **options):
        return self.world.get(target, "app.example", *fields, **options)


class Service(Protocol):
    def __init__(self, network):
        self.network = network
        self.data = b""

    def dataReceived(self, data):
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            network = self.network
            network.asked.append(head.decode())
            answer = network.answers[min(len(network.asked), len(network.answers)) - 1]
            if answer is not None:
                self.transport.write(answer)

    def connectionLost(self, reason):
        self.network.closed += 1


def said(status, *fields, body=b""):
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields, b"", body])


def status(answer):
    return int(answer[9:12])


def values(head, name):
    return [line.partition(": ")[2] for line in head.split("\r\n")[1:] if line.lower().startswith(name + ":")]


def test_what_the_service_is_asked():
    network = Network('path = "/verify?rd=x"')
    network.get(
        "Cookie: a=b", "Accept: */*", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Uri: /public", "X-Original-URL: http://e/",
        "Remote-User: root", "X-Forwarded-Method: GET", "X-Original-Method: GET", "TE: trailers", "Content-Length: 3",
        "If-None-Match: *", "If-Match: *", "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT", "Range: bytes=0-1",
        method="POST",
    )  # fmt: skip
    (head,) = network.asked
    assert head.startswith("GET /verify?rd=x HTTP/1.1\r\n")
    expected = {
        "cookie": ["a=b"],
        "accept": ["*/*"],
        "host": ["app.example"],
        "x-forwarded-method": ["POST"],
        "x-forwarded-proto": ["http"],
        "x-forwarded-host": ["app.example"],
        "x-forwarded-uri": ["/path?q=1"],
        "x-forwarded-for": ["192.0.2.7"],
        "x-real-ip": ["192.0.2.7"],
        "x-original-uri": ["/path?q=1"],
        "x-original-method": ["POST"],
        "x-original-url": ["http://app.example/path?q=1"],
        "content-length": [],
        "transfer-encoding": [],
        "remote-user": [],
        "te": [],
        "if-none-match": [],
        "if-match": [],
        "if-modified-since": [],
        "range": [],
    }
    assert {name: values(head, name) for name in expected} == expected


def test_a_trusted_proxys_word_is_continued():
    network = Network(server='trusted_proxies = ["192.0.2.7"]')
    network.get("X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https")
    (head,) = network.asked
    assert values(head, "x-forwarded-for") == ["203.0.113.5, 192.0.2.7"]
    assert values(head, "x-real-ip") == ["203.0.113.5"]
    assert values(head, "x-forwarded-proto") == ["https"]


def test_only_some_fields_where_they_are_named():
    network = Network('copy_request = ["cookie"]')
    network.get("Cookie: a=b", "Authorization: Basic x", "Accept: */*")
    (head,) = network.asked
    assert values(head, "cookie") == ["a=b"]
    assert values(head, "authorization") == values(head, "accept") == []
    assert values(head, "x-forwarded-uri") == ["/path?q=1"]


@pytest.mark.parametrize("line", [b"200 OK", b"204 No Content", b"299 X"])
def test_2xx_lets_pass_and_tells_the_backend(line):
    answer = said(line, b"Remote-User: alice", b"X-Groups: a", b"X-Groups: b", b"X-Other: 1", b"Connection: x-groups")
    network = Network(
        'copy_response = ["Remote-User", "X-Groups"]',
        answer.replace(b"Content-Length: 0\r\n", b"") if line.startswith(b"204") else answer,
    )
    answer = network.get("Remote-User: root", "X-Groups: root", "X-Groups: wheel")
    assert status(answer) == 200
    head = answer.partition(b"\r\n\r\n")[2].decode().replace("\n", "\r\n").replace("\r\r\n", "\r\n")
    assert values(head, "remote-user") == ["alice"]
    assert values(head, "x-groups") == ["a", "b"]
    assert "root" not in head
    assert "x-other" not in head.lower()
    assert network.world.records[-1].user == b"alice"


COOKIES = (
    b"Set-Cookie: sid=1; Path=/; HttpOnly",
    b"Set-Cookie: part_0=2",
    b"Set-Cookie: part_1=3",
    b"Set-Cookie: own=4",
)


def set_cookies(answer):
    return values(answer.partition(b"\r\n\r\n")[0].decode(), "set-cookie")


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("", []),
        ('copy_cookies = "sid"', ["sid=1; Path=/; HttpOnly"]),
        ('copy_cookies = ["sid", "part*"]', ["sid=1; Path=/; HttpOnly", "part_0=2", "part_1=3"]),
        ('copy_cookies = ["si", "par_*", "SID"]', []),
        ('copy_cookies = "*"', ["sid=1; Path=/; HttpOnly", "part_0=2", "part_1=3", "own=4"]),
    ],
)
def test_cookies_of_2xx_reach_the_client_where_they_are_named(written, given):
    network = Network(written, said(b"200 OK", *COOKIES))
    answer = network.get()
    assert status(answer) == 200
    assert set_cookies(answer) == given
    assert b"sid=1" not in answer.partition(b"\r\n\r\n")[2], "the backend does not get them"


def test_cookies_of_2xx_get_the_routes_attributes():
    network = Network('copy_cookies = "part_0"', said(b"200 OK", *COOKIES), route="cookies = true")
    assert set_cookies(network.get()) == ["part_0=2; HttpOnly; SameSite=Lax"]


class Garbage(Protocol):
    def dataReceived(self, data):
        self.transport.write(b"no HTTP at all\r\n\r\n")


def test_cookies_of_2xx_are_on_answers_of_our_own():
    network = Network('copy_cookies = "part_0"', said(b"200 OK", *COOKIES), backend=lambda address: Garbage())
    answer = network.get()
    assert (status(answer), set_cookies(answer)) == (502, ["part_0=2"])


def test_the_backends_cookie_of_the_same_name_gives_way():
    identity = Identity(b"", "forward", cookies=(field(b"Set-Cookie", b"sid=new"),))
    exchange = SimpleNamespace(identity=identity, response=Response(200, Headers.of([
        (b"Set-Cookie", b"sid=old; Path=/"), (b"Set-Cookie", b"b=1"), (b"X", b"1")])))  # fmt: skip
    give_cookies(exchange)
    assert exchange.response.headers.get_all(b"set-cookie") == [b"b=1", b"sid=new"]
    exchange.identity = None
    give_cookies(exchange)


def test_a_remembered_answer_has_no_cookies():
    network = Network('cache = "10s", by = "cookie:s", copy_cookies = "*"', said(b"200 OK", *COOKIES))
    answers = [network.get("Cookie: s=1") for _ in range(2)]
    assert [len(set_cookies(answer)) for answer in answers] == [4, 0]
    assert len(network.asked) == 1


def test_a_field_that_the_service_does_not_send_is_nobodys():
    network = Network('copy_response = ["X-Groups"]')
    assert b"root" not in network.get("X-Groups: root")


@pytest.mark.parametrize(
    ("line", "fields", "fault"),
    [
        (b"401 Unauthorized", [b'WWW-Authenticate: Bearer realm="sso"'], "auth-refused"),
        (b"403 Forbidden", [], "auth-forbidden"),
        (
            b"302 Found",
            [b"Location: https://sso.example/?rd=x", b"Set-Cookie: s=1; Path=/", b"Set-Cookie: t=2"],
            "auth-missing",
        ),
        (b"303 See Other", [b"Location: /login"], "auth-missing"),
        (b"307 Temporary Redirect", [b"Location: /login"], "auth-missing"),
    ],
)
def test_refusals_and_redirects_are_the_services_answer(line, fields, fault):
    network = Network("", said(line, b"Server: sso/1.0", *fields, body=b"who are you?"))
    answer = network.get()
    assert answer.startswith(b"HTTP/1.1 " + line[:3])
    assert answer.endswith(b"\r\n\r\nwho are you?")
    for line in fields:
        assert line in answer
    assert b"sso/1.0" not in answer
    assert network.world.dialled == [SERVICE]
    assert network.world.records[-1].fault == fault


@pytest.mark.parametrize("line", [b"401 Unauthorized", b"403 Forbidden", b"302 Found"])
def test_what_connection_names_in_a_refusal_stays_here(line):
    hops = (b"X-Hop: internal", b"Connection: x-hop, keep-alive", b"Keep-Alive: timeout=5")
    fields = (b"Location: /login", *hops, b"X-A: 1")
    answer = Network("", said(line, *fields, body=b"no")).get()
    assert answer.startswith(b"HTTP/1.1 " + line[:3])
    head = answer.partition(b"\r\n\r\n")[0].decode()
    assert values(head, "x-hop") == values(head, "keep-alive") == []
    assert values(head, "x-a") == ["1"]


@pytest.mark.parametrize(
    "line",
    [
        b"100 Continue",
        b"300 Multiple Choices",
        b"302 Found",
        b"304 Not Modified",
        b"400 Bad Request",
        b"404 Not Found",
        b"418 X",
        b"429 X",
        b"500 X",
        b"502 X",
        b"503 X",
        b"999 X",
    ],
)
def test_everything_else_lets_nobody_in(line):
    network = Network('timeout = "1s"', said(line))
    answer = network.get(wait=2.0)
    assert status(answer) in (502, 503)
    assert network.world.dialled == [SERVICE]
    assert network.world.records[-1].fault in ("auth-failed", "auth-unavailable")


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
    ],
)
def test_nonsense_lets_nobody_in(answer):
    network = Network('timeout = "1s"', answer)
    assert status(network.get(wait=2.0)) == 503
    assert network.world.dialled == [SERVICE]
    assert network.world.records[-1].fault == "auth-unavailable"


def test_a_service_that_is_silent_is_given_up():
    network = Network('timeout = "2s"', None)
    assert network.get(wait=1.9) == b""
    network = Network('timeout = "2s"', None)
    answer = network.get(wait=2.1)
    assert status(answer) == 503
    assert network.closed == 1
    assert network.world.records[-1].detail.startswith("forward: no answer in time")


def test_a_body_that_never_ends_is_given_up():
    network = Network('timeout = "2s"', b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
    assert status(network.get(wait=2.1)) == 503
    assert network.world.dialled == [SERVICE]


def test_bodies_are_bounded(monkeypatch):
    monkeypatch.setattr(forward, "BODY", 10)
    network = Network("", said(b"403 Forbidden", body=b"x" * 11))
    assert status(network.get()) == 502
    network = Network("", said(b"200 OK", body=b"x" * 1000))
    assert status(network.get()) == 200


def test_a_client_that_leaves_is_not_asked_for_any_more():
    network = Network("", None)
    network.get()
    assert network.closed == 1
    assert not [call for call in network.world.getDelayedCalls() if "_late" in str(call.func)]


def test_the_body_waits_and_then_goes_to_the_backend_alone():
    network = Network()
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc"
    answer = network.world.say(head, b"def")
    assert answer.endswith(b"\n\nabcdef")
    assert "abc" not in network.asked[0]


def test_connections_to_the_service_are_used_again():
    network = Network()
    for _ in range(3):
        assert status(network.get()) == 200
    assert network.world.dialled.count(SERVICE) == 1


# -- what is remembered


def test_answers_are_remembered_by_what_is_named():
    network = Network(
        'cache = "10s", by = "cookie:s", copy_response = "Remote-User"',
        said(b"200 OK", b"Remote-User: a"),
        said(b"200 OK", b"Remote-User: b"),
    )
    assert b"remote-user: a" in network.get("Cookie: s=1").lower()
    assert b"remote-user: a" in network.get("Cookie: s=1; x=2").lower()
    assert len(network.asked) == 1
    assert b"remote-user: b" in network.get("Cookie: s=2").lower()
    network.get("Cookie: s=1", target="/other")
    network.get("Cookie: s=1", method="DELETE")
    assert len(network.asked) == 4
    network.world.advance(10.0)
    network.get("Cookie: s=1")
    assert len(network.asked) == 5


def test_a_request_that_lacks_what_is_named_is_asked_for_each_time():
    network = Network('cache = "10s", by = ["path", "cookie:s"]')
    network.get()
    network.get()
    assert len(network.asked) == 2


def test_refusals_are_not_remembered():
    network = Network('cache = "10s", by = "cookie:s"', said(b"401 Unauthorized"), said(b"200 OK"))
    assert status(network.get("Cookie: s=1")) == 401
    assert status(network.get("Cookie: s=1")) == 200


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(forward, "REMEMBERED", 4)
    network = Network('cache = "1h", by = "cookie:s"')
    for number in range(10):
        network.get(f"Cookie: s={number}")
    network.get("Cookie: s=9")
    network.get("Cookie: s=5")
    assert len(network.asked) == 11
