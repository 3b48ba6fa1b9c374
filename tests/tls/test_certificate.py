"""What a certificate is for, and what is said of files that can't be served."""

from __future__ import annotations

import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from revproxy.tls import certificate as module
from revproxy.tls.certificate import CertificateError, read_pair
from tests.certificates import authority
from tests.tls.handshake import hello

ROOT = authority()
MIDDLE = ROOT.issues(authority=True, called="Middle CA")
RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (None, "ecdsa"),
        (ec.generate_private_key(ec.SECP384R1()), "ecdsa"),
        (RSA_KEY, "rsa"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    ],
)
def test_a_pair(tmp_path, key, kind) -> None:
    made = MIDDLE.issues("A.Example", "*.b.example.", "192.0.2.1", "2001:db8::1", key=key)
    chain, key_path = made.write(tmp_path, "a")
    read = read_pair(chain, key_path)
    assert read.names == ("a.example", "*.b.example", "192.0.2.1", "2001:db8::1")
    assert read.kind == kind
    assert (read.chain, read.key, read.source) == (chain, key_path, chain)
    assert read.not_before == made.certificate.not_valid_before_utc.timestamp()
    assert read.not_after == made.certificate.not_valid_after_utc.timestamp()
    assert read.serial == made.certificate.serial_number
    assert len(read.fingerprint) == 64
    assert read.valid_at(read.not_before) and read.valid_at(read.not_after)
    assert not read.valid_at(read.not_before - 1) and not read.valid_at(read.not_after + 1)


@pytest.mark.parametrize("parts", ["ckm", "kcm", "cmk"])
def test_all_in_one_file(tmp_path, parts) -> None:
    made = MIDDLE.issues("a.example")
    pem = {"c": made.pem, "k": made.key_pem(), "m": MIDDLE.pem}
    path = tmp_path / "a.pem"
    path.write_bytes(b"Some words\n".join(pem[part] for part in parts))
    assert read_pair(str(path), str(path)).names == ("a.example",)


def test_a_file_is_the_same_until_it_is_written(tmp_path) -> None:
    chain, key = ROOT.issues("a.example").write(tmp_path, "a")
    read = read_pair(chain, key)
    assert read.unchanged()
    os.utime(key, ns=(1, 1))
    assert not read.unchanged()
    os.unlink(key)
    assert not read.unchanged()


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("a.example", True),
        ("b.a.example", False),
        ("x.wild.example", True),
        ("wild.example", False),
        ("y.x.wild.example", False),
        (".wild.example", False),
        ("192.0.2.1", True),
        ("*.wild.example", True),
        ("example", False),
        ("", False),
    ],
)
def test_hosts_that_it_covers(tmp_path, host, covered) -> None:
    made = ROOT.issues("a.example", "*.wild.example", "192.0.2.1")
    assert read_pair(*made.write(tmp_path, "a")).covers(host) is covered


def test_the_common_name_is_no_name(tmp_path) -> None:
    assert read_pair(*ROOT.issues(called="a.example").write(tmp_path, "a")).names == ()


@pytest.mark.parametrize(
    ("key", "offered", "suited"),
    [
        (None, {}, True),
        (None, {"signatures": (0x0804,)}, False),
        # in TLS 1.3 the scheme says the curve
        (ec.generate_private_key(ec.SECP384R1()), {}, False),
        (ec.generate_private_key(ec.SECP384R1()), {"signatures": (0x0503,)}, True),
        (RSA_KEY, {}, True),
        (RSA_KEY, {"signatures": (0x0401, 0x0403)}, False),
        (ed25519.Ed25519PrivateKey.generate(), {}, False),
        (ed25519.Ed25519PrivateKey.generate(), {"signatures": (0x0807,)}, True),
        # in TLS 1.2 the suite says the kind, and the groups the curve
        (None, {"versions": (0x0303,), "ciphers": (0xC02B,)}, True),
        (None, {"versions": (0x0303,), "ciphers": (0xC02F,)}, False),
        (None, {"versions": (0x0303,), "ciphers": (0xC02B,), "groups": (29,)}, False),
        (None, {"versions": (0x0303,), "ciphers": (0xC02B,), "groups": ()}, True),
        (None, {"versions": (0x0303,), "ciphers": (0xC02B,), "signatures": (0x0401,)}, False),
        (RSA_KEY, {"versions": (0x0303,), "ciphers": (0xC02F,), "signatures": (0x0401,)}, True),
        (RSA_KEY, {"versions": (0x0303,), "ciphers": (0xC02B,), "signatures": (0x0401,)}, False),
        (RSA_KEY, {"versions": (0x0303,), "ciphers": (0xC02F,), "groups": (29,)}, True),
    ],
)
def test_clients_that_can_check_it(tmp_path, key, offered, suited) -> None:
    read = read_pair(*ROOT.issues("a.example", key=key).write(tmp_path, "a"))
    assert read.suits(hello(**offered)) is suited


def refused(chain: Any, key: Any) -> str:
    with pytest.raises(CertificateError) as caught:
        read_pair(str(chain), str(key))
    assert caught.value.source in (str(chain), str(key))
    text = str(caught.value)
    assert "\n" not in text and str(chain.parent) in text
    return text.replace(f"{chain.parent}/", "")


def test_what_is_wrong_with_files(tmp_path) -> None:
    chain, key = tmp_path / "a.pem", tmp_path / "a.key"
    made = MIDDLE.issues("a.example")
    assert refused(chain, key) == '"a.pem" can\'t be read: no such file or directory'
    chain.write_bytes(made.certificate.public_bytes(module.serialization.Encoding.DER))
    key.write_bytes(made.key_pem())
    assert refused(chain, key) == '"a.pem" has no certificate in PEM form ("-----BEGIN CERTIFICATE-----")'
    chain.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert refused(chain, key) == '"a.pem" has a certificate that can\'t be read'
    chain.write_bytes(made.pem[:200])
    assert refused(chain, key) == '"a.pem" has a certificate that can\'t be read'
    chain.write_bytes(made.pem)
    key.write_bytes(b"")
    assert refused(chain, key) == '"a.key" has no private key in PEM form ("-----BEGIN PRIVATE KEY-----")'
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert refused(chain, key) == '"a.key" has a private key that can\'t be read'
    key.write_bytes(made.key_pem(b"secret"))
    assert refused(chain, key) == 'the key in "a.key" is encrypted; write it without a passphrase'
    key.write_bytes(MIDDLE.key_pem())
    assert refused(chain, key) == 'the key in "a.key" is not that of the first certificate in "a.pem"'
    key.write_bytes(made.key_pem())
    chain.write_bytes(MIDDLE.pem + made.pem)
    assert refused(chain, key) == (
        'the chain in "a.pem" is out of order: the certificate of the key is number 2, and has to be the first'
    )
    chain.write_bytes(made.pem + MIDDLE.pem + authority("Other").pem)
    assert refused(chain, key) == 'the chain in "a.pem" is out of order: certificate 3 did not issue certificate 2'
    chain.write_bytes(made.pem + ROOT.pem)
    assert refused(chain, key) == 'the chain in "a.pem" is out of order: certificate 2 did not issue certificate 1'
    chain.write_bytes(made.pem + MIDDLE.pem + ROOT.pem)
    assert read_pair(str(chain), str(key)).names == ("a.example",)
    chain.write_bytes(bytes(module.LARGEST + 1))
    assert refused(chain, key) == '"a.pem" is over 1 MB'
    chain.unlink()
    os.mkfifo(chain)
    assert refused(chain, key) == '"a.pem" is no file'


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (rsa.generate_private_key(65537, 1024), 'the RSA key in "a.key" has 1024 bits; it has to have 2048 at least'),
        (
            ec.generate_private_key(ec.SECP256K1()),
            'the key in "a.key" is on the curve secp256k1, which TLS clients don\'t know',
        ),
        (ed448.Ed448PrivateKey.generate(), 'the key in "a.key" is neither ECDSA, RSA nor Ed25519'),
    ],
)
def test_keys_that_are_not_served(tmp_path, key, why) -> None:
    ROOT.issues("a.example", key=key).write(tmp_path, "a")
    assert refused(tmp_path / "a.pem", tmp_path / "a.key") == why
