"""Certificates for tests, made when they are asked for: an authority, what it issues, and the files."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
DAY = datetime.timedelta(days=1)


class Certified:
    """A certificate, its key and those who issued it.

    :param names: host names and IP addresses that it is for. :param issuer: who signs it; ``None`` signs itself.
    :param start: days from now. :param end: days from now.
    """

    def __init__(
        self,
        *names: str,
        issuer: Certified | None = None,
        authority: bool = False,
        called: str = "",
        start: float = -2,
        end: float = 30,
        key: Any = None,
    ) -> None:
        self.issuer = issuer
        self.key: Any = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called or (names[0] if names else "nobody"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start * DAY)
            .not_valid_after(now + end * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )
        if authority:  # as strict verifiers want it (RFC 5280 4.2.1.3)
            usage = dict.fromkeys(_USES, False) | {"key_cert_sign": True, "crl_sign": True}
            builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        if issuer is not None:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        self.certificate = builder.sign((issuer or self).key, hashes.SHA256())

    def issues(self, *names: str, **options: Any) -> Certified:
        """A certificate of this authority's."""
        return Certified(*names, issuer=self, **options)

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificate and those above it, without the root."""
        above, issuer = b"", self.issuer
        while issuer is not None and issuer.issuer is not None:
            above += issuer.pem
            issuer = issuer.issuer
        return self.pem + above

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        """The private key."""
        encryption: Any = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase)
        form = serialization.PrivateFormat.PKCS8
        return bytes(self.key.private_bytes(serialization.Encoding.PEM, form, encryption))

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """Write ``NAME.pem`` (with the chain) and ``NAME.key``; return their paths."""
        (folder / f"{name}.pem").write_bytes(self.chain_pem)
        (folder / f"{name}.key").write_bytes(self.key_pem())
        return str(folder / f"{name}.pem"), str(folder / f"{name}.key")


def authority(called: str = "Test CA", **options: Any) -> Certified:
    """A root."""
    return Certified(authority=True, called=called, **options)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
