"""The files of a ``tls`` table: what is read from them, and what the operator is told when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.logger import LogLevel, globalLogPublisher

from revproxy.config.upstreams import BackendTls
from revproxy.upstream.credentials import Credentials
from tests.certificates import Certified, authority
from tests.upstream.test_tls import Backends, Reached, judged as judged, outcome_with, visit, why
from tests.upstream.tlspeer import TLS12, TLS13, server_context

ROOT = authority()
SERVER = ROOT.issues("a.test")


def refused(base: Path, **written: str) -> str:
    with pytest.raises(ValueError) as caught:
        Credentials.of(BackendTls(**written), str(base))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_authorities_of_a_bundle(tmp_path):
    others = b"".join(b"# " + name.encode() + b"\n" + authority(name).pem for name in ("One", "Two"))
    (tmp_path / "ca.pem").write_bytes(others + ROOT.pem + b"# the end\n")
    trusting = Credentials.of(BackendTls(ca="ca.pem"), str(tmp_path))
    assert outcome_with(SERVER, credentials=trusting).lost is None
    (tmp_path / "ca.pem").write_bytes(others)
    others_only = Credentials.of(BackendTls(ca="ca.pem"), str(tmp_path))
    assert "not trusted" in why(outcome_with(SERVER, credentials=others_only))


def test_the_system_is_trusted_otherwise(tmp_path, monkeypatch):
    assert "not trusted" in why(outcome_with(SERVER, credentials=Credentials.of(BackendTls())))
    (tmp_path / "system.pem").write_bytes(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    assert outcome_with(SERVER, credentials=Credentials.of(BackendTls())).lost is None


@pytest.mark.parametrize("together", [False, True])
def test_client_certificates(tmp_path, together):
    between = ROOT.issues(authority=True, called="Between")
    mine = between.issues("proxy.test")
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    mine.write(tmp_path, "mine")
    written = BackendTls(ca="ca.pem", certificate="mine.pem", key="mine.key")
    if together:
        (tmp_path / "both.pem").write_bytes(mine.key_pem() + mine.chain_pem)
        written = BackendTls(ca="ca.pem", certificate="both.pem")
    credentials = Credentials.of(written, str(tmp_path))
    # the server knows the root alone: the certificate between has to come along
    assert outcome_with(SERVER, credentials=credentials, version=TLS13, client_ca=ROOT).lost is None


def test_what_is_offered(tmp_path):
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    context = server_context(SERVER)
    offered = []

    def select(connection, protocols):
        offered.extend(protocols)
        return protocols[0]

    context.set_alpn_select_callback(select)
    backends = Backends(context)
    credentials = Credentials.of(BackendTls(ca="ca.pem"), str(tmp_path))
    (protocol,) = backends.connect(Reached(backends, credentials=credentials))
    assert offered == [b"http/1.1"]
    assert protocol.transport.negotiatedProtocol == b"http/1.1"


def test_tickets_are_taken(tmp_path, judged):
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    context = server_context(SERVER, TLS12)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # which leaves tickets
    backends = Backends(context)
    reached = Reached(backends, credentials=Credentials.of(BackendTls(ca="ca.pem"), str(tmp_path)))
    for _ in range(3):
        visit(backends, reached)
    assert judged == ["a.test"]


def test_insecure_says_so(caught_warnings):
    credentials = Credentials.of(BackendTls(insecure=True, name="b.test"))
    assert credentials.insecure
    assert [event["log_format"].partition(":")[0] for event in caught_warnings] == ["tls.insecure"]
    assert outcome_with(Certified("c.test", end=-1), credentials=credentials).lost is None


@pytest.fixture
def caught_warnings():
    events = []

    def observe(event):
        if event["log_level"] is LogLevel.warn:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def test_files_that_are_wrong(tmp_path):
    mine, other = ROOT.issues("mine"), ROOT.issues("other")
    mine.write(tmp_path, "mine")
    other.write(tmp_path, "other")
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "torn.pem").write_bytes(mine.pem[:200] + b"\n-----END CERTIFICATE-----\n")
    (tmp_path / "torn.key").write_bytes(mine.key_pem()[:80] + b"\n-----END PRIVATE KEY-----\n")
    (tmp_path / "secret.key").write_bytes(mine.key_pem(b"passphrase"))
    assert refused(tmp_path, ca="no.pem") == '"no.pem" can\'t be read: no such file or directory'
    assert refused(tmp_path, ca="folder") == '"folder" can\'t be read: is a directory'
    no_certificate = 'has no certificate in PEM form ("-----BEGIN CERTIFICATE-----")'
    assert refused(tmp_path, ca="empty.pem") == f'"empty.pem" {no_certificate}'
    assert refused(tmp_path, ca="mine.key") == f'"mine.key" {no_certificate}'
    assert refused(tmp_path, ca="torn.pem") == '"torn.pem" has a certificate that can\'t be read'
    assert refused(tmp_path, certificate="mine.key", key="mine.key") == f'"mine.key" {no_certificate}'
    no_key = 'has no private key in PEM form ("-----BEGIN PRIVATE KEY-----")'
    assert refused(tmp_path, certificate="mine.pem") == f'"mine.pem" {no_key}; name its file with "key"'
    assert refused(tmp_path, certificate="mine.pem", key="other.pem") == f'"other.pem" {no_key}'
    assert (
        refused(tmp_path, certificate="mine.pem", key="torn.key") == '"torn.key" has a private key that can\'t be read'
    )
    assert (
        refused(tmp_path, certificate="mine.pem", key="secret.key")
        == 'the key in "secret.key" is encrypted; write it without a passphrase'
    )
    assert (
        refused(tmp_path, certificate="mine.pem", key="other.key")
        == 'the key in "other.key" is not that of the first certificate in "mine.pem"'
    )


def test_a_key_that_openssl_finds_too_small(tmp_path):
    Certified("mine", key=rsa.generate_private_key(65537, 1024)).write(tmp_path, "small")
    text = refused(tmp_path, certificate="small.pem", key="small.key")
    assert text == 'the certificate in "small.pem" can\'t be used: OpenSSL says "ee key too small"'
