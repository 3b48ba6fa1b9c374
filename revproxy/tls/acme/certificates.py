"""Keys, requests and certificates of ACME, in memory.

Rules of this module:

* it computes: callers run it in threads;
* what the authority sends is taken apart and written anew: nothing but certificates comes into our files;
* times are Unix time.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from itertools import pairwise

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from revproxy.config.errors import show
from revproxy.tls.acme.messages import AcmeFailed

#: The extension that says which challenge a certificate answers (RFC 8737 6.1).
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_CHAIN = 10  # certificates
_DAY = datetime.timedelta(days=1)
_BEGIN = "-----BEGIN "
_ORDERED = "Ordered by revproxy from "


@frozen
class Standing:
    """The certificate that is in place. :param source: the directory that it was ordered from."""

    names: frozenset[str]
    start: float
    end: float
    source: str

    def serves(self, names: Iterable[str], source: str, now: float) -> bool:
        """Whether it is what would be ordered, and valid."""
        return self.names == frozenset(names) and self.source == source and self.start <= now < self.end


def new_key() -> bytes:
    """A private key on P-256, as PEM (PKCS #8)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request(key: bytes, names: Iterable[str]) -> bytes:
    """A certificate signing request for these names and nothing else, in DER (RFC 8555 7.4)."""
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(_load(key), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def answering(name: str, authorization: str, now: float) -> bytes:
    """Key and certificate that answer a TLS-ALPN-01 challenge, in one PEM (RFC 8737 3).

    :param authorization: the key authorization. :param now: Unix time.
    """
    key = new_key()
    private = _load(key)
    # RFC 5280 4.1.2.4 wants an issuer that has a name
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    digest = hashlib.sha256(authorization.encode("ascii")).digest()
    here = datetime.datetime.fromtimestamp(now, datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(here - _DAY)
        .not_valid_after(here + 7 * _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        # an OCTET STRING of 32 bytes, in DER
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(private, hashes.SHA256())
    )
    return key + made.public_bytes(serialization.Encoding.PEM)


def checked(chain: bytes, key: bytes, names: Iterable[str], source: str, now: float) -> bytes:
    """What is written of an authority's chain and our key: one PEM, the key last.

    :raises AcmeFailed: when it is no chain, or not one for this key and exactly these names.
    """
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        first = certificates[0]
        public = first.public_key()
        found = _standing(first, source)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise AcmeFailed("what the authority issued can't be read as certificates") from None
    if len(certificates) > _CHAIN:
        raise AcmeFailed(f"the authority sent {len(certificates)} certificates in one chain")
    if public != _load(key).public_key():
        raise AcmeFailed("the authority issued a certificate for another key than ours")
    if found.names != frozenset(names):
        issued = ", ".join(map(show, sorted(found.names)[:5])) or "no name"
        raise AcmeFailed(f"the authority issued a certificate for {issued}, not for what was ordered")
    if found.end <= now:
        raise AcmeFailed(f"the authority issued a certificate that ended at {first.not_valid_after_utc:%Y-%m-%d %H:%M}")
    try:
        for below, above in pairwise(certificates):
            below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        raise AcmeFailed("the chain that the authority sent does not hang together") from None
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
    return f"{_ORDERED}{source}\n".encode("ascii") + pem + key


def standing(pem: bytes) -> Standing:
    """What is in a file that :func:`checked` made.

    :raises ValueError: when it is none, or key and certificate don't belong together.
    """
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
        if first.public_key() != _load(pem).public_key():
            raise ValueError("its key is not that of its certificate")
        head = pem.decode("utf-8", "replace").partition(_BEGIN)[0].strip()
        return _standing(first, head.removeprefix(_ORDERED) if head.startswith(_ORDERED) else "")
    except (TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise ValueError(str(error)) from None


def _standing(certificate: x509.Certificate, source: str) -> Standing:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = frozenset(
            name.value.lower() if isinstance(name, x509.DNSName) else str(name.value)  # any other makes it not ours
            for name in san
        )
    except x509.ExtensionNotFound:
        names = frozenset()
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return Standing(names, start.timestamp(), end.timestamp(), source)


def _load(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not one of ours")
    return key
