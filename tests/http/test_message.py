"""Fields and headers as values."""

from __future__ import annotations

import pytest

from revproxy.http.message import (
    CONNECTION,
    FORWARDED,
    HOP,
    OURS,
    UNDERSCORE,
    Answer,
    Arrival,
    Headers,
    Request,
    Response,
    field,
    kind_of,
)


def test_a_field_keeps_its_case_and_loses_white_space_around_its_value() -> None:
    assert field(b"X-One", b" two\t ") == (b"x-one", b"two", b"X-One: two", OURS)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"a\n", b"\xe9", b"a\0", b" a"])
def test_names_that_are_no_tokens(name: bytes) -> None:
    with pytest.raises(ValueError, match="not a field name"):
        field(name, b"x")


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\n", b"\r", b"\0", b"\x7f", b"\x1b"])
def test_values_with_control_bytes(value: bytes) -> None:
    with pytest.raises(ValueError, match="control bytes"):
        field(b"x", value)
    with pytest.raises(ValueError, match="control bytes"):
        Headers().set(b"x", value)
    with pytest.raises(ValueError, match="control bytes"):
        Headers().add(b"x", value)
    with pytest.raises(ValueError, match="control bytes"):
        Headers.of([(b"x", value)])


def test_kinds() -> None:
    assert kind_of(b"accept") == 0
    assert kind_of(b"connection") == CONNECTION | HOP
    assert kind_of(b"x_y") == UNDERSCORE
    assert kind_of(b"set_cookie") == UNDERSCORE
    for twin in (b"x_forwarded_for", b"x_forwarded-for", b"transfer_encoding", b"content_length", b"x_request_id"):
        assert kind_of(twin) == UNDERSCORE | HOP


#: What proxies tell their backends of clients' certificates, as their own documentation names it.
TELLING = """client-cert client-cert-chain x-client-cert x-client-cert-chain x-ssl-cert x-ssl-client-cert
x-ssl-client-verify x-ssl-client-dn x-ssl-client-s-dn x-ssl-client-i-dn x-ssl-client-serial x-ssl-client-fingerprint
x-ssl-client-cn x-ssl-client-subject x-ssl-client-subject-dn x-ssl-client-sha1 x-ssl-protocol ssl-client-cert
ssl-client-verify ssl-client-s-dn ssl-client-subject-dn ssl-client-issuer-dn x-forwarded-client-cert
x-forwarded-tls-client-cert x-forwarded-tls-client-cert-info x-forwarded-ssl-client-cn x-arr-clientcert x-arr-ssl
x-amzn-mtls-clientcert x-amzn-mtls-clientcert-leaf x-amzn-mtls-clientcert-serial-number x-amzn-tls-version
x-client-cert-present x-client-cert-hash cf-client-cert-der-base64 cf-cert-verified"""


@pytest.mark.parametrize("name", TELLING.encode().split())
def test_what_tells_of_certificates_is_believed_only_from_trusted_peers(name: bytes) -> None:
    assert kind_of(name) == FORWARDED
    assert kind_of(name.replace(b"-", b"_")) == UNDERSCORE | HOP
    assert field(name.title(), b"x")[3] == OURS


#: What proxies tell their backends of who a client is and where it is, as their own documentation names it.
IDENTITIES = """x-forwarded-user x-forwarded-email x-forwarded-groups x-forwarded-preferred-username
x-forwarded-access-token x-forwarded-method x-auth-request-user x-auth-request-email remote-user
remote-groups remote-name remote-email x-remote-user x-remote-group x-remote-extra-scopes
x-authentik-username x-authenticated-userid x-webauth-user x-pomerium-claim-email x-vouch-user
tailscale-user-login x-consumer-username x-credential-identifier x-anonymous-consumer
x-goog-authenticated-user-email cf-access-authenticated-user-email x-amzn-oidc-identity
x-ms-client-principal-name x-middleware-subrequest proxy cf-connecting-ip fastly-client-ip
fly-client-ip x-azure-clientip x-original-uri x-original-method"""


@pytest.mark.parametrize("name", IDENTITIES.encode().split())
def test_what_tells_who_a_client_is_is_believed_only_from_trusted_peers(name: bytes) -> None:
    assert kind_of(name) == FORWARDED
    assert kind_of(name.replace(b"-", b"_")) == (UNDERSCORE | HOP if b"-" in name else FORWARDED)
    assert field(name.title(), b"x")[3] == OURS


@pytest.mark.parametrize(
    "name", b"authorization cookie x-goog-iap-jwt-assertion cf-access-jwt-assertion cf-ray".split()
)
def test_what_proves_itself_passes(name: bytes) -> None:
    assert kind_of(name) == 0


@pytest.mark.parametrize("name", [b"ssl", b"x-client", b"x-clientele", b"client", b"cf-ray", b"x-ss"])
def test_what_only_looks_like_it_passes(name: bytes) -> None:
    assert kind_of(name) == 0


def test_our_own_fields_are_believed_but_for_those_that_the_proxy_writes() -> None:
    assert field(b"X-Real-IP", b"1.2.3.4")[3] == OURS
    assert field(b"X-Forwarded-For", b"1.2.3.4")[3] == FORWARDED | OURS
    assert field(b"Connection", b"close")[3] == CONNECTION | HOP | OURS


def test_look_ups_ignore_case() -> None:
    headers = Headers.of([(b"Accept", b"a, b"), (b"X", b"1"), (b"ACCEPT", b",c ,")])
    assert headers.get(b"aCCept") == b"a, b"
    assert headers.get(b"none") is None
    assert headers.get(b"none", b"d") == b"d"
    assert headers.get_all(b"Accept") == [b"a, b", b",c ,"]
    assert headers.get_list(b"Accept") == [b"a", b"b", b"c"]
    assert b"x" in headers
    assert b"y" not in headers
    assert len(headers) == 3


def test_set_replaces_in_place_add_appends_remove_removes_all() -> None:
    headers = Headers.of([(b"A", b"1"), (b"B", b"2"), (b"a", b"3")])
    headers.set(b"a", b"4")
    assert list(headers.items()) == [(b"a", b"4"), (b"b", b"2")]
    headers.set(b"C", b"5")
    headers.add(b"B", b"6")
    assert list(headers.items()) == [(b"a", b"4"), (b"b", b"2"), (b"c", b"5"), (b"b", b"6")]
    headers.remove(b"b")
    headers.remove(b"none")
    assert list(headers.items()) == [(b"a", b"4"), (b"c", b"5")]


def test_copies_are_apart_and_equal_ignoring_the_case_of_names() -> None:
    headers = Headers.of([(b"A", b"1")])
    other = headers.copy()
    assert other == headers == Headers.of([(b"a", b"1")])
    other.add(b"B", b"2")
    assert other != headers
    assert headers != [(b"a", b"1")]
    assert repr(headers) == "Headers([b'A: 1'])"


def test_answers_share_no_headers() -> None:
    Answer(200).headers.add(b"X", b"1")
    assert len(Answer(200).headers) == 0


def test_request() -> None:
    request = Request(b"GET", b"/a", b"b", Headers(), host=b"h")
    assert (request.target, request.raw_target, request.client) == (b"/a?b", b"/a?b", "")
    assert Request(b"GET", b"/a", None, Headers()).target == b"/a"
    assert Request(b"GET", b"/a", b"", Headers()).target == b"/a?"
    assert Request(b"GET", b"/", None, Headers(), arrival=Arrival(peer="127.0.0.1")).client == "127.0.0.1"
    assert repr(request) == "<Request b'GET' b'h' b'/a?b' length=0>"
    assert repr(Response(200)) == "<Response 200 length=None Headers([])>"


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "403"},
        {"status": 403, "body": "text"},
        {"status": 403, "headers": {"x": "y"}},
        {"status": 200, "headers": [1]},
    ],
)
def test_an_answer_of_wrong_types_is_refused_when_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Answer(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_an_answer_takes_fields_in_several_forms() -> None:
    for given in ([(b"A", b"1")], {b"A": b"1"}, Headers.of([(b"A", b"1")])):
        assert Answer(200, given).headers.get(b"a") == b"1"  # type: ignore[arg-type]  # converted
    with pytest.raises(ValueError, match="no final status"):
        Answer(103)


def test_names_as_text_are_refused_rather_than_never_found() -> None:
    headers = Headers.of([(b"X-Key", b"1")])
    for look in (headers.get, headers.get_all, headers.remove, headers.__contains__):
        with pytest.raises(TypeError):
            look("x-key")  # type: ignore[operator]  # wrong on purpose
