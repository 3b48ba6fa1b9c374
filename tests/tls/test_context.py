"""Two contexts for one connection: what comes from which."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from revproxy.config.tls import ClientCertificates
from revproxy.tls.certificate import Certificate, CertificateError, read_pair
from revproxy.tls.context import GROUPS, SUITES, certificate_context, initial_context
from tests.certificates import authority
from tests.tls.handshake import TLS12, TLS13, Client, client_context, shake

ROOT = authority()
MIDDLE = ROOT.issues(authority=True, called="Middle CA")
BOTH = ("h2", "http/1.1")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "root.pem").write_bytes(ROOT.pem)
    (folder / "middle.pem").write_bytes(MIDDLE.pem)
    MIDDLE.issues("client").write(folder, "client")
    MIDDLE.issues("client", key=ec.generate_private_key(ec.SECP384R1())).write(folder, "client384")
    authority("Stranger").issues("client").write(folder, "stranger")
    return folder


@pytest.fixture(scope="module")
def first(files) -> Certificate:
    return read_pair(*MIDDLE.issues("a.example").write(files, "first"))


@pytest.fixture(scope="module")
def renewed(files) -> Certificate:
    return read_pair(*MIDDLE.issues("a.example").write(files, "renewed"))


@pytest.fixture(scope="module")
def by_rsa(files) -> Certificate:
    made = MIDDLE.issues("a.example", key=rsa.generate_private_key(65537, 2048))
    return read_pair(*made.write(files, "rsa"))


class Side:
    """A server's connection from two contexts."""

    def __init__(self, initial: ssl.SSLContext, context: ssl.SSLContext) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = initial.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.ssl.context = context

    def meet(self, client: Client) -> int:
        return shake(client, self.ssl, self.incoming, self.outgoing)


def meet(initial: ssl.SSLContext, context: ssl.SSLContext, going_by: ssl.SSLContext, session: Any = None) -> Any:
    client, side = Client(going_by, session=session), Side(initial, context)
    side.meet(client)
    return client.ssl, side.ssl


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_sessions_outlive_a_certificate_but_not_the_initial_context(first, renewed, version) -> None:
    initial = initial_context("intermediate", 29)
    old = certificate_context(first, "intermediate", BOTH)
    new = certificate_context(renewed, "intermediate", BOTH)
    going_by = client_context(ROOT, version=version)
    client, _ = meet(initial, old, going_by)
    assert not client.session_reused and int(client.getpeercert()["serialNumber"], 16) == first.serial
    again, server = meet(initial, new, going_by, client.session)
    assert again.session_reused and server.session_reused
    fresh, _ = meet(initial, new, going_by)
    assert int(fresh.getpeercert()["serialNumber"], 16) == renewed.serial
    later, _ = meet(initial_context("intermediate", 29), new, going_by, again.session)
    assert not later.session_reused
    # as good as any: it was the keys
    still, _ = meet(initial, new, going_by, again.session)
    assert still.session_reused


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_no_tickets(first, version) -> None:
    initial = initial_context("intermediate", 29, tickets=False)
    context = certificate_context(first, "intermediate", BOTH)
    going_by = client_context(ROOT, version=version)
    client, _ = meet(initial, context, going_by)
    assert not (client.session and client.session.has_ticket)
    if version is TLS13:
        assert not meet(initial, context, going_by, client.session)[0].session_reused


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        (BOTH, ("http/1.1", "h2"), "h2"),
        (("http/1.1",), ("h2", "http/1.1"), "http/1.1"),
        (BOTH, (), None),
    ],
)
def test_alpn_comes_from_the_certificates_context(first, ours, theirs, chosen) -> None:
    initial = initial_context("intermediate", 29)
    initial.set_alpn_protocols(["never"])
    context = certificate_context(first, "intermediate", ours)
    client, server = meet(initial, context, client_context(ROOT, protocols=theirs))
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == chosen


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize(("group", "name"), GROUPS.items())
def test_only_the_group_of_the_initial_context(by_rsa, version, group, name) -> None:
    initial = initial_context("intermediate", group)
    # whose own group does not matter in TLS 1.2
    context = certificate_context(by_rsa, "intermediate", BOTH)
    others = [other for other in GROUPS.values() if other != name]
    meet(initial, context, client_context(ROOT, version=version, group=name))
    for other in others:
        with pytest.raises(ssl.SSLError):
            meet(initial, context, client_context(ROOT, version=version, group=other))


def test_a_client_without_a_share_of_our_group_sends_one(first) -> None:
    context = certificate_context(first, "intermediate", BOTH)
    for group, flights in ((29, 2), (23, 3)):
        client, side = (
            Client(client_context(ROOT, version=TLS13)),
            Side(initial_context("intermediate", group), context),
        )
        assert side.meet(client) == flights


def suites(client: str, *certificates: ssl.SSLContext) -> set[str]:
    got = set()
    for context in certificates:
        for suite in ssl.create_default_context().get_ciphers():
            if suite["name"].startswith("TLS_"):
                continue
            going_by = client_context(ROOT, version=TLS12, ciphers=suite["name"])
            try:
                got.add(meet(initial_context(client, 29), context, going_by)[1].cipher()[0])
            except ssl.SSLError:
                pass
    return got


def test_the_suites_are_the_profiles(first, by_rsa) -> None:
    contexts = [certificate_context(one, "intermediate", BOTH) for one in (first, by_rsa)]
    assert suites("intermediate", *contexts) == set(SUITES)
    _, server = meet(initial_context("intermediate", 29), contexts[0], client_context(ROOT))
    assert {name for name, version, _ in server.shared_ciphers() if version == "TLSv1.3"} == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
    assert server.compression() is None


def test_the_order_of_suites_is_the_clients(first) -> None:
    context = certificate_context(first, "intermediate", BOTH)
    for order in (SUITES, SUITES[::-1]):
        going_by = client_context(ROOT, version=TLS12, ciphers=":".join(order))
        client, _ = meet(initial_context("intermediate", 29), context, going_by)
        assert client.cipher()[0] == next(name for name in order if "ECDSA" in name)


def test_modern_is_tls13_only(first) -> None:
    initial, context = initial_context("modern", 29), certificate_context(first, "modern", BOTH)
    assert meet(initial, context, client_context(ROOT))[0].version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION"):
        meet(initial, context, client_context(ROOT, version=TLS12))


def test_no_renegotiation() -> None:
    for context in (initial_context("intermediate", 29), initial_context("modern", None)):
        assert context.options & ssl.OP_NO_RENEGOTIATION and context.options & ssl.OP_NO_COMPRESSION


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("ca", ["root.pem", "middle.pem"])
@pytest.mark.parametrize("shown", ["client", "client384"])
def test_clients_that_show_certificates(first, files, version, ca, shown) -> None:
    asked = ClientCertificates(ca=ca)
    # what 1.2 needs is the reason for contexts without a group
    initial = initial_context("intermediate", None if version is TLS12 else 29, asked)
    context = certificate_context(first, "intermediate", BOTH, asked, str(files))
    paths = str(files / f"{shown}.pem"), str(files / f"{shown}.key")
    going_by = client_context(ROOT, version=version, shows=paths)
    client, server = meet(initial, context, going_by)
    der = server.getpeercert(binary_form=True)
    assert der is not None
    again, server = meet(initial, context, going_by, client.session)
    assert again.session_reused and server.getpeercert(binary_form=True) == der


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("required", [True, False])
def test_clients_that_show_a_wrong_certificate_or_none(first, files, version, required) -> None:
    asked = ClientCertificates(ca="root.pem", required=required)
    initial = initial_context("intermediate", None, asked)
    context = certificate_context(first, "intermediate", BOTH, asked, str(files))
    wrong = client_context(ROOT, version=version, shows=(str(files / "stranger.pem"), str(files / "stranger.key")))
    with pytest.raises(ssl.SSLError):
        meet(initial, context, wrong)
    nobody = client_context(ROOT, version=version)
    if required:
        with pytest.raises(ssl.SSLError):
            meet(initial, context, nobody)
    else:
        assert meet(initial, context, nobody)[1].getpeercert(binary_form=True) is None


def test_files_that_openssl_does_not_take(first, files, tmp_path) -> None:
    made = MIDDLE.issues("a.example")
    pair = read_pair(*made.write(tmp_path, "a"))
    (tmp_path / "a.key").write_bytes(made.key_pem(b"secret"))
    with pytest.raises(CertificateError, match="can't be served: OpenSSL says") as caught:
        certificate_context(pair, "intermediate", BOTH)
    assert caught.value.source == pair.source
    (tmp_path / "a.key").unlink()
    with pytest.raises(CertificateError, match="no such file or directory"):
        certificate_context(pair, "intermediate", BOTH)
    for ca in ("nothing.pem", "client.key"):
        with pytest.raises(CertificateError, match="has no authorities of clients"):
            certificate_context(first, "intermediate", BOTH, ClientCertificates(ca=ca), str(files))
