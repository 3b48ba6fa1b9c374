"""From a ClientHello to a connection, or to the alert that it gets."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.task import Clock

from revproxy.config.tls import Acme, ClientCertificates, ListenTls
from revproxy.tls import hello as tls
from revproxy.tls.certificate import CertificateError
from revproxy.tls.challenges import Challenges
from revproxy.tls.context import GROUPS
from revproxy.tls.hello import read_hello
from revproxy.tls.identity import client_of
from revproxy.tls.terminate import Accepted, Refused, Terminator
from tests.certificates import authority
from tests.tls.handshake import TLS12, TLS13, Client, client_context, hello, shake

ROOT = authority()


class Listener:
    """A terminator over a folder with an ECDSA certificate for ``a.example`` and ``*.b.example``."""

    def __init__(self, folder: Path, challenges: Challenges | None = None, **options: Any) -> None:
        ROOT.issues("a.example", "*.b.example").write(folder, "a")
        (folder / "root.pem").write_bytes(ROOT.pem)
        self.clock = Clock()
        written = ListenTls(certificates=".", **options)
        self.terminator = Terminator(written, str(folder), self.clock, challenges)
        self.terminator.start()

    def meet(self, context: ssl.SSLContext, name: str | None = "a.example", session: Any = None) -> Any:
        client = Client(context, name, session)
        offered = read_hello(client.hello)
        assert offered is not None
        accepted = self.terminator.accept(offered)
        self.flights = shake(client, accepted.ssl, accepted.incoming, accepted.outgoing)
        return client.ssl, accepted

    def refuses(self, **offered: Any) -> tuple[int, str]:
        with pytest.raises(Refused) as caught:
            self.terminator.accept(hello(**offered))
        assert caught.value.detail == str(caught.value)
        return caught.value.alert, caught.value.word

    def accepts(self, **offered: Any) -> Accepted:
        return self.terminator.accept(hello(**offered))


@pytest.fixture
def listening(tmp_path):
    made: list[Listener] = []

    def listen(**options: Any) -> Listener:
        made.append(Listener(tmp_path, **options))
        return made[-1]

    yield listen
    for one in made:
        one.terminator.stop()
        assert not one.clock.getDelayedCalls()


@pytest.mark.parametrize("version", [TLS12, TLS13, None])
@pytest.mark.parametrize("group", [None, "X25519", "prime256v1", "secp384r1"])
def test_a_handshake(listening, version, group) -> None:
    if version is TLS12 and group in ("X25519", "secp384r1"):
        group = None  # it could not check the certificate
    listener = listening()
    client, accepted = listener.meet(client_context(ROOT, version=version, group=group, protocols=("http/1.1", "h2")))
    assert client.selected_alpn_protocol() == accepted.ssl.selected_alpn_protocol() == "h2"
    assert accepted.certificate.names == ("a.example", "*.b.example")
    assert client.version() == ("TLSv1.2" if version is TLS12 else "TLSv1.3")
    # no round trip for another key share
    assert listener.flights == 2
    assert client_of(accepted.ssl) is None


def test_a_name_by_wildcard_and_none(listening) -> None:
    listener = listening()
    assert listener.meet(client_context(ROOT), "x.b.example")[1].certificate.names[0] == "a.example"
    assert listener.meet(client_context(), None)[1].certificate.names[0] == "a.example"


def test_http1_only(listening) -> None:
    listener = listening(http2=False)
    client, _ = listener.meet(client_context(ROOT, protocols=("h2", "http/1.1")))
    assert client.selected_alpn_protocol() == "http/1.1"
    assert listener.refuses(protocols=(b"h2",)) == (tls.NO_APPLICATION_PROTOCOL, "alpn")


def test_refusals(listening) -> None:
    listener = listening(strict_sni=True)
    assert listener.refuses(server_name=None) == (tls.UNRECOGNIZED_NAME, "name")
    assert listener.refuses(server_name="b.example") == (tls.UNRECOGNIZED_NAME, "name")
    assert listener.refuses(protocols=(b"spdy/1",)) == (tls.NO_APPLICATION_PROTOCOL, "alpn")
    assert listener.refuses(protocols=(b"h2", b"acme-tls/1")) == (tls.NO_APPLICATION_PROTOCOL, "acme")
    assert listener.refuses(versions=(0x0302, 0x0301)) == (tls.PROTOCOL_VERSION, "version")
    assert listener.refuses(groups=(4588, 30)) == (tls.HANDSHAKE_FAILURE, "group")
    assert listener.refuses(groups=()) == (tls.HANDSHAKE_FAILURE, "group")
    assert listener.refuses(versions=(0x0303,), groups=(30,)) == (tls.HANDSHAKE_FAILURE, "group")
    assert listener.accepts().certificate is not None
    assert listener.accepts(versions=(0x0303,), groups=()).certificate is not None


def test_modern(listening) -> None:
    listener = listening(profile="modern")
    assert listener.refuses(versions=(0x0303,)) == (tls.PROTOCOL_VERSION, "version")
    assert listener.meet(client_context(ROOT))[0].version() == "TLSv1.3"


def test_ecdsa_or_rsa_by_the_client(listening, tmp_path) -> None:
    ROOT.issues("a.example", key=rsa.generate_private_key(65537, 2048)).write(tmp_path, "r")
    listener = listening()
    for suite, kind in (("ECDHE-RSA-AES128-GCM-SHA256", "rsa"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ecdsa")):
        client, accepted = listener.meet(client_context(ROOT, version=TLS12, ciphers=suite))
        assert accepted.certificate.kind == kind and client.cipher()[0] == suite
    assert listener.meet(client_context(ROOT))[1].certificate.kind == "ecdsa"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_tickets_last_until_the_keys_change(listening, version) -> None:
    listener = listening(tickets=60.0)
    going_by = client_context(ROOT, version=version)
    client, _ = listener.meet(going_by)
    listener.clock.advance(59)
    again, _ = listener.meet(going_by, session=client.session)
    assert again.session_reused
    listener.clock.advance(1)
    assert not listener.meet(going_by, session=again.session)[0].session_reused


@pytest.mark.parametrize(
    ("groups", "shares", "group"),
    [
        ((23, 24, 29), (23, 24, 29), "X25519"),
        ((29, 23, 24), (24, 23), "prime256v1"),
        ((29, 23, 24), (24,), "secp384r1"),
        ((4588, 29), (4588, 29), "X25519"),
        # a round trip more
        ((25, 24, 23), (25,), "prime256v1"),
        ((24,), (), "secp384r1"),
        # a share for a group that it does not offer is none
        ((23,), (29,), "prime256v1"),
    ],
)
def test_the_group_is_one_that_saves_a_round_trip(listening, groups, shares, group) -> None:
    listener = listening()
    for name in GROUPS.values():
        client = Client(client_context(ROOT, version=TLS13, group=name))
        accepted = listener.accepts(groups=groups, key_shares=shares)
        if name == group:
            assert shake(client, accepted.ssl, accepted.incoming, accepted.outgoing) == 2
        else:
            with pytest.raises(ssl.SSLError):
                shake(client, accepted.ssl, accepted.incoming, accepted.outgoing)


def test_the_group_in_tls12(listening) -> None:
    listener = listening()
    for groups, name in (((24, 23), "prime256v1"), ((), "prime256v1")):
        client = Client(client_context(ROOT, version=TLS12, group=name))
        accepted = listener.accepts(versions=(0x0303,), groups=groups, key_shares=())
        assert shake(client, accepted.ssl, accepted.incoming, accepted.outgoing) == 2


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_clients_that_show_certificates(listening, tmp_path, version) -> None:
    shows = ROOT.issues("client.example", "192.0.2.9", called="A client").write(tmp_path, "client")
    (tmp_path / "client.pem").rename(tmp_path / "client.txt")
    shows = str(tmp_path / "client.txt"), shows[1]
    listener = listening(client=ClientCertificates(ca="root.pem"))
    going_by = client_context(ROOT, version=version, shows=shows)
    for session in (None, listener.meet(going_by)[0].session):
        client, accepted = listener.meet(going_by, session=session)
        assert client.session_reused is (session is not None)
        identity = client_of(accepted.ssl)
        assert identity is not None and identity.subject == "CN=A client"
        assert identity.sans == ("DNS:client.example", "IP:192.0.2.9")
    with pytest.raises(ssl.SSLError):
        listener.meet(client_context(ROOT, version=version))
    if version is TLS12:
        assert listener.refuses(versions=(0x0303,), groups=(30,)) == (tls.HANDSHAKE_FAILURE, "group")


def test_optional_client_certificates(listening) -> None:
    listener = listening(client=ClientCertificates(ca="root.pem", required=False))
    assert client_of(listener.meet(client_context(ROOT))[1].ssl) is None


def challenge(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority("Check").issues("new.example").write(folder, "check"))
    context.set_alpn_protocols(["acme-tls/1"])
    return context


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_an_acme_authority_checks(listening, tmp_path_factory, version) -> None:
    challenges = Challenges()
    listener = listening(challenges=challenges, client=ClientCertificates(ca="root.pem"), strict_sni=True)
    going_by = client_context(version=version, protocols=("acme-tls/1",))
    with pytest.raises(Refused) as caught:
        listener.meet(going_by, "new.example")
    assert (caught.value.alert, caught.value.word) == (tls.NO_APPLICATION_PROTOCOL, "acme")
    challenges.contexts["new.example"] = challenge(tmp_path_factory.mktemp("check"))
    # it shows no certificate, and gets nothing that lets it in without one
    client, accepted = listener.meet(going_by, "new.example")
    assert accepted.certificate is None and client.selected_alpn_protocol() == "acme-tls/1"
    assert not (client.session and client.session.has_ticket)
    with pytest.raises(Refused):
        listener.meet(going_by, "a.example")
    with pytest.raises(Refused):
        listener.meet(going_by, None)


def test_a_listener_without_certificates(tmp_path) -> None:
    written = ListenTls(certificates="none")
    with pytest.raises(CertificateError, match="no such file"):
        Terminator(written, str(tmp_path), Clock()).start()
    clock = Clock()
    waiting = Terminator(ListenTls(certificates="none", acme=Acme(names=("a.example",))), str(tmp_path), clock)
    waiting.start()
    with pytest.raises(Refused):
        waiting.accept(hello())
    waiting.stop()
    assert not clock.getDelayedCalls()


def test_authorities_of_clients_that_are_not_there(tmp_path) -> None:
    with pytest.raises(CertificateError, match="has no authorities of clients"):
        Listener(tmp_path, client=ClientCertificates(ca="none.pem"))


def test_a_certificate_for_localhost(tmp_path) -> None:
    clock = Clock()
    later = [1_800_000_000.0]
    written = ListenTls(certificates="new/folder", acme="internal")
    terminator = Terminator(written, str(tmp_path), clock, now=lambda: later[0])
    terminator.start()
    first = terminator.accept(hello(server_name="localhost")).certificate
    assert first is not None and first.covers("x.localhost")
    later[0] += 340 * 86400
    clock.pump([5.0] * 721)
    second = terminator.accept(hello(server_name="localhost")).certificate
    assert second is not None and second.serial != first.serial
    terminator.stop()
    assert not clock.getDelayedCalls()
