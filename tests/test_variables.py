"""Templates with variables: what they render, what they refuse, what never gets through."""

from __future__ import annotations

import re

import pytest
from attrs import Factory, define
from hypothesis import given, strategies as st

from revproxy.auth.outcome import Identity
from revproxy.config import variables as config_variables
from revproxy.config.errors import Wrong
from revproxy.http.message import Arrival, ClientIdentity, Headers, Request, TlsInfo
from revproxy.variables import NAMES, compile_template, is_known, names_in, nearest


@define
class Route:
    name: str | None = "api"


@define
class Exchange:
    request: Request
    request_id: bytes = b"5f0c"
    route: Route | None = Factory(Route)
    identity: Identity | None = None
    upstream_name: str = "up"
    backend_name: str = "tcp:127.0.0.1:9000"


CLIENT = ClientIdentity("CN=\u00e4", ("DNS:a.example", "URI:x:,DNS:b.example"), "0f", "0A", b":MA==:")
TLS = TlsInfo("example.com", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "http/1.1", None, CLIENT)


def exchange(*fields: tuple[bytes, bytes], query: bytes | None = b"b=1", client: str | None = None) -> Exchange:
    arrival = Arrival(
        peer="192.0.2.7", peer_port=4711, port=8443, scheme=b"https", listen="front", local="127.0.0.1", tls=TLS
    )
    request = Request(
        b"GET", b"/a", query, Headers.of(fields), host=b"example.com", authority=b"Example.com:8443", arrival=arrival
    )
    if client is not None:
        request.client = client
    return Exchange(request, identity=Identity("b\u00f6b".encode(), "jwt", {"city": "Bern"}))


def render(text: str, subject: Exchange) -> bytes:
    return compile_template(text, now=lambda: 1795309488.9)(subject)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_ip", b"192.0.2.7"),
        ("client_port", b"4711"),
        ("host", b"example.com"),
        ("authority", b"Example.com:8443"),
        ("scheme", b"https"),
        ("method", b"GET"),
        ("path", b"/a"),
        ("query", b"b=1"),
        ("target", b"/a?b=1"),
        ("request_id", b"5f0c"),
        ("route", b"api"),
        ("listen", b"front"),
        ("upstream", b"up"),
        ("backend", b"tcp:127.0.0.1:9000"),
        ("server_port", b"8443"),
        ("tls_version", b"TLSv1.3"),
        ("tls_cipher", b"TLS_AES_128_GCM_SHA256"),
        ("tls_server_name", b"example.com"),
        ("tls_client_subject", b"CN=\xc3\xa4"),
        ("tls_client_san", b"DNS:a.example,URI:x:%2CDNS:b.example"),
        ("tls_client_fingerprint", b"0f"),
        ("tls_client_serial", b"0A"),
        ("tls_client_certificate", b":MA==:"),
        ("auth_user", b"b\xc3\xb6b"),
        ("auth_method", b"jwt"),
        ("auth_claim_city", b"Bern"),
        ("auth_claim_none", b""),
        ("time_iso8601", b"2026-11-22T01:04:48Z"),
        ("http_user_agent", b"curl/8"),
        ("http_User_Agent", b"curl/8"),
        ("http_x_many", b"one, two"),
        ("http_absent", b""),
        ("cookie_sid", b"first"),
        ("cookie_SID", b"other"),
        ("cookie_bare", b""),
    ],
)
def test_every_name(name: str, value: bytes) -> None:
    subject = exchange(
        (b"User-Agent", b"curl/8"),
        (b"X-Many", b"one"),
        (b"X-Many", b"two"),
        (b"Cookie", b"bare; SID=other;  sid = first; sid=second"),
    )
    assert render(f"${name}", subject) == value
    assert render(f"<${{{name}}}>$${name}", subject) == b"<" + value + b">$" + name.encode()
    assert is_known(name)


def test_every_known_name_is_tested_above() -> None:
    mark = next(m for m in test_every_name.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]  # set by pytest
    assert set(NAMES) <= {name for name, _ in mark.args[1]}


def test_the_configuration_knows_the_same_names() -> None:
    assert config_variables.VARIABLES == NAMES
    for text in (
        "$http_a",
        "${http_a-b}",
        "${cookie_a.b}",
        "${auth_claim_a.b}",
        "${auth_claim_a b}",
        "$auth_claim_",
        "${cookie_a!}",
        "$a",
        "${cookie_a b}",
        "$http_",
        "$$",
        "$1",
    ):
        try:
            config_variables.split(text)
        except Wrong:
            with pytest.raises(ValueError, match=r"unknown variable|without a name"):
                compile_template(text)
        else:
            compile_template(text)


def test_braces_take_dashes() -> None:
    subject = exchange((b"X-Tenant", b"a"), (b"Cookie", b"my-id=7; a=b=c"))
    assert render("${http_x-tenant}/${cookie_my-id}/$cookie_a", subject) == b"a/7/b=c"


def test_a_name_ends_where_names_end() -> None:
    assert render("https://$host:$server_port$path?$query.", exchange()) == b"https://example.com:8443/a?b=1."


def test_what_a_request_does_not_have_is_empty() -> None:
    subject = exchange(query=None)
    subject.route = None
    subject.request.arrival.port = 0
    assert render("[$query$route$server_port]", subject) == b"[]"
    names = "".join(f"${name}" for name in NAMES if name.startswith("tls_"))
    for tls in (None, TlsInfo()):
        subject.request.arrival.tls = tls
        assert render(f"[{names}]", subject) == b"[]"
    subject.route = Route(None)
    assert render("[$route]", subject) == b"[]"


def test_a_forwarded_client_has_no_port() -> None:
    assert render("$client_ip:$client_port", exchange(client="198.51.100.1")) == b"198.51.100.1:"


def test_a_request_without_a_host_has_our_address() -> None:
    subject = exchange()
    subject.request.host = b""
    assert render("$host", subject) == b"127.0.0.1"


def test_a_constant_is_one_object() -> None:
    for text, value in (("", b""), ("plain", b"plain"), ("a $$ b", b"a $ b"), ("\u00fc", b"\xc3\xbc")):
        template = compile_template(text)
        assert template(exchange()) == value
        assert template(exchange()) is template(exchange())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$client_pi", "unknown variable '$client_pi'; did you mean '$client_ip'?"),
        ("${hots}", "did you mean '$host'?"),
        ("$qqqqqq", "known are client_ip,"),
        ("$http_", "unknown variable '$http_'"),
        ("${cookie_a=b}", "unknown variable '$cookie_a=b'"),
        ("costs 5$", "a '$' without a name at character 8 of 'costs 5$'; write '$$' for a dollar"),
        ("$1", "a '$' without a name"),
        ("${}", "a '$' without a name"),
        ("${host", "a '$' without a name"),
        ("a\r\nb", "control character '\\r'"),
        ("a\0", "control character"),
        ("a\tb", "control character"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        compile_template(text)


def test_names_in() -> None:
    assert names_in("$host/${cookie_a}$$x$nonsense") == ["host", "cookie_a", "nonsense"]
    assert names_in("") == []
    with pytest.raises(ValueError, match="without a name"):
        names_in("$")


def test_nearest() -> None:
    assert nearest("clientip") == "client_ip"
    assert nearest("%%%") is None


hostile = st.binary(max_size=30) | st.sampled_from([b"a\r\nSet-Cookie: x=1", b"\0", b"\n", b"\x7f", b"\x1b[2J", b"\t"])


@given(hostile, hostile)
def test_no_control_byte_gets_through(one: bytes, other: bytes) -> None:
    subject = exchange()
    request = subject.request
    request.path = request.query = request.method = request.host = request.authority = subject.request_id = one
    request.client = subject.upstream_name = one.decode("latin-1")
    request.headers.fields.append((b"x-a", other, b"", 0))
    request.headers.fields.append((b"cookie", b"a=" + other, b"", 0))
    for name in (*NAMES, "http_x_a", "http_cookie", "cookie_a"):
        for text in (f"${name}", f"<${name}>"):
            value = compile_template(text)(subject)
            assert not any(byte < 0x20 or byte == 0x7F for byte in value)
    assert compile_template("$path")(subject) == bytes(b for b in one if b >= 0x20 and b != 0x7F)
