"""Who a client is, by its certificate."""

from __future__ import annotations

import datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from revproxy.tls.identity import LARGEST, IdentityError, read_identity

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def der(*names: x509.GeneralName, common: str = 'A, "client"', serial: int = 0xABC) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ö"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key()).serial_number(serial)
    builder = builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]))
    builder = builder.not_valid_before(START).not_valid_after(START + datetime.timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_all_that_is_told() -> None:
    data = der(
        x509.DNSName("a.example"),
        x509.UniformResourceIdentifier("spiffe://a/b"),
        x509.RFC822Name("a@example.com"),
        x509.IPAddress(ip_address("2001:db8::1")),
        x509.DirectoryName(x509.Name([])),
    )
    identity = read_identity(data)
    assert identity.subject == 'CN=A\\, \\"client\\",O=Ö' and identity.issuer == "CN=CA"
    assert identity.names == ("DNS:a.example", "URI:spiffe://a/b", "email:a@example.com", "IP:2001:db8::1")
    assert identity.serial == "ABC" and identity.not_after == START.timestamp() + 86400
    certificate = x509.load_pem_x509_certificate(identity.pem)
    assert identity.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert identity.der == data


def test_the_field_for_backends() -> None:
    http_sf = pytest.importorskip("http_sf")
    data = der()
    assert http_sf.parse(read_identity(data).field, tltype="item")[0] == data


def test_nobody_is_told_in_part() -> None:
    assert read_identity(der()).names == ()
    many = [x509.DNSName(f"{number}.example.com") for number in range(LARGEST // 16)]
    with pytest.raises(IdentityError, match="over 4096 bytes"):
        read_identity(der(*many))
    with pytest.raises(IdentityError, match="can't be read"):
        read_identity(b"\x30\x00")
