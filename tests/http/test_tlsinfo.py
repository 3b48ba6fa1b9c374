"""Who a client is, of the certificate that it showed."""

from __future__ import annotations

import datetime
from base64 import b64decode
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from revproxy.http.tlsinfo import ClientIdentity, TlsInfo, normal_subject

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*names: x509.GeneralName, serial: int = 0xABC, subject: x509.Name | None = None) -> bytes:
    if subject is None:
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."),
                x509.NameAttribute(NameOID.COMMON_NAME, "alice"),
                x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@a.example"),
            ]
        )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_an_identity() -> None:
    der = certificate(
        x509.DNSName("A.example"),
        x509.UniformResourceIdentifier("spiffe://Example/web"),
        x509.RFC822Name("a@a.example"),
        x509.IPAddress(ip_address("2001:db8::1")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    client = ClientIdentity.of(der)
    assert client.subject == r"emailAddress=a@a.example,CN=alice,O=Example\, Inc.,C=DE"
    assert client.sans == ("DNS:a.example", "URI:spiffe://Example/web", "email:a@a.example", "IP:2001:db8::1")
    assert client.fingerprint == x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256()).hex()
    assert client.serial == "0ABC"
    assert (client.header[:1], b64decode(client.header[1:-1]), client.header[-1:]) == (b":", der, b":")
    with pytest.raises(AttributeError):
        client.subject = "CN=root"  # type: ignore[misc]  # wrong on purpose


def test_without_names() -> None:
    client = ClientIdentity.of(certificate(subject=x509.Name([]), serial=0x1F))
    assert (client.subject, client.sans, client.serial, client.joined_sans()) == ("", (), "1F", b"")


@pytest.mark.parametrize("der", [b"", b"x" * 100, certificate()[:-1], certificate() + b"x"])
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        ClientIdentity.of(der)


def test_other_types_of_names_are_left_out() -> None:
    name = x509.DirectoryName(x509.Name([]))
    assert ClientIdentity.of(certificate(name)).sans == ()


def test_one_name_never_becomes_two() -> None:
    client = ClientIdentity("", ("URI:x:,DNS:admin", "DNS:a b\u00e4\x7f", "email:a@b"), "", "", b"")
    assert client.joined_sans() == b"URI:x:%2CDNS:admin,DNS:a%20b%C3%A4%7F,email:a@b"


@pytest.mark.parametrize("text", [r"emailAddress=a@a.example,CN=alice,O=Example\, Inc.,C=DE", "CN=a+OU=b", "1.2.3=x"])
def test_subjects_have_one_form(text: str) -> None:
    assert normal_subject(text) == text


def test_subjects_that_are_the_same() -> None:
    assert normal_subject(r"1.2.840.113549.1.9.1=a@b,2.5.4.3=x") == "emailAddress=a@b,CN=x"
    with pytest.raises(ValueError, match=r".*"):
        normal_subject("CN=a, O=b")


def test_nothing_is_known_at_first() -> None:
    assert (TlsInfo().client, TlsInfo().server_name, TlsInfo().certificate) == (None, None, None)
