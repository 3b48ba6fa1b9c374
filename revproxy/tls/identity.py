"""Who a client is, by the certificate that it showed and OpenSSL verified.

Rules of this module:

* it is asked once for a connection, after the handshake; a resumed session tells the certificate of its first
  handshake, which was verified then, and may have ended since: ``not_after`` is for who cares;
* names are told whole or not at all: part of one could be somebody else's. A certificate that is
  too large for that is refused.
"""

from __future__ import annotations

import ssl
from base64 import b64encode

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes

#: Bytes of a client's certificate: it has to fit into a field for the backend, in base64.
LARGEST = 4096


class IdentityError(Exception):
    """A client's certificate that can't be told about; ``str()`` is for the log."""


@frozen
class ClientIdentity:
    """What a client's certificate says.

    :ivar subject: as RFC 4514 writes it; may be empty. :ivar names: of subjectAltName, such as ``"DNS:a.example"``,
        ``"URI:spiffe://a/b"``, ``"email:a@example.com"``, ``"IP:192.0.2.1"``.
    :ivar fingerprint: SHA-256, in hexadecimal. :ivar serial: in hexadecimal, as OpenSSL writes it.
    :ivar not_after: Unix time. :ivar der: the certificate.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    fingerprint: str
    serial: str
    not_after: float
    der: bytes

    @property
    def field(self) -> bytes:
        """The value of Client-Cert (RFC 9440 2.2)."""
        return b":" + b64encode(self.der) + b":"

    @property
    def pem(self) -> bytes:
        """The certificate in PEM form."""
        return ssl.DER_cert_to_PEM_cert(self.der).encode("ascii")


def client_of(connection: ssl.SSLObject) -> ClientIdentity | None:
    """Who the client is, ``None`` when it showed no certificate. After the handshake.

    :raises IdentityError: when its certificate is over :data:`LARGEST` or can't be read.
    """
    der = connection.getpeercert(binary_form=True)
    return None if der is None else read_identity(der)


def read_identity(der: bytes) -> ClientIdentity:
    """Read a client's certificate. :raises IdentityError: as :func:`client_of` does."""
    if len(der) > LARGEST:
        raise IdentityError(f"the client's certificate is over {LARGEST} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        return ClientIdentity(
            certificate.subject.rfc4514_string(),
            certificate.issuer.rfc4514_string(),
            _names(certificate),
            certificate.fingerprint(hashes.SHA256()).hex(),
            f"{certificate.serial_number:X}",
            certificate.not_valid_after_utc.timestamp(),
            der,
        )
    except ValueError:
        raise IdentityError("the client's certificate can't be read") from None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        written = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = []
    for name in written:
        if isinstance(name, x509.DNSName):
            names.append(f"DNS:{name.value}")
        elif isinstance(name, x509.UniformResourceIdentifier):
            names.append(f"URI:{name.value}")
        elif isinstance(name, x509.RFC822Name):
            names.append(f"email:{name.value}")
        elif isinstance(name, x509.IPAddress):
            names.append(f"IP:{name.value}")
    return tuple(names)
