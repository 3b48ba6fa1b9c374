"""What is known of the TLS of a client's connection, and of the certificate that the client showed.

Rules of this module:

* a value that is here was proven: a client certificate only after an authority of the listener's vouched for it;
* a name keeps its type (``DNS:``, ``URI:``, …), so that a name of one type never passes for one of another;
* nothing of Twisted and no socket; certificates are read by ``cryptography``, once for a connection.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

from attrs import define, frozen

#: RFC 4514 3 knows no short name for it, and everybody writes this one.
_NAMES = {"emailAddress": "1.2.840.113549.1.9.1"}
_SPLITS = re.compile(rb"[^!-+\--~]")


@frozen
class ClientIdentity:
    """Who a client is: what its certificate says, which an authority of the listener's signed.

    :param subject: in the form of RFC 4514: ``"CN=alice,O=Example"``; ``""`` when it is empty.
    :param sans: subject alternative names with their types: ``"DNS:a.example"`` (lower case), ``"URI:spiffe://…"``,
        ``"email:…"``, ``"IP:…"``. Other types are left out.
    :param fingerprint: SHA-256 of the certificate, 64 hexadecimal digits, lower case.
    :param serial: the serial number, hexadecimal, upper case, an even number of digits, as OpenSSL writes it.
    :param header: the certificate as Client-Cert has it (RFC 9440 2.2): ``:`` base64 of the DER ``:``.
    """

    subject: str
    sans: tuple[str, ...]
    fingerprint: str
    serial: str
    header: bytes

    @classmethod
    def of(cls, der: bytes) -> ClientIdentity:
        """Of a certificate in DER. :raises ValueError: when it is none, or has names that can't be read."""
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            certificate = x509.load_der_x509_certificate(der)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            sans: tuple[str, ...] = ()
        except (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType) as error:
            raise ValueError(f"a certificate that can't be read: {error}") from None
        else:
            sans = tuple(text for name in names if (text := _typed(name)) is not None)
        serial = f"{certificate.serial_number:X}"
        return cls(
            _subject_text(certificate.subject),
            sans,
            certificate.fingerprint(SHA256()).hex(),
            serial if len(serial) % 2 == 0 else f"0{serial}",
            b":%b:" % b64encode(der),
        )

    def joined_sans(self) -> bytes:
        """All names, separated by commas. In a name, a comma and what is not printable ASCII are percent-encoded.

        Nobody who is given a certificate for one name of their choice gets two of them out of it.
        """
        return b",".join([_SPLITS.sub(_escape, name.encode("utf-8", "replace")) for name in self.sans])


@define(eq=False)
class TlsInfo:
    """The TLS of one connection, shared by all its requests; made when its handshake is complete.

    :param server_name: the host that the client asked for (SNI), lower case; ``None`` when it named none.
    :param version: ``"TLSv1.3"`` or ``"TLSv1.2"``.
    :param cipher: the suite as OpenSSL names it.
    :param protocol: what ALPN agreed on, ``""`` for nothing.
    :param certificate: what was served; its ``covers(host)`` says whether it is valid for a host.
    :param client: who the client is, ``None`` without a certificate that was verified.
    """

    server_name: str | None = None
    version: str = ""
    cipher: str = ""
    protocol: str = ""
    certificate: Any = None
    client: ClientIdentity | None = None

    def may_serve(self, host: bytes) -> bool:
        """Whether the connection is for a host, in lower case; ``b""`` names none (RFC 9110 7.4)."""
        name = host.decode("ascii")
        if not name or name == self.server_name:
            return True
        return self.certificate is not None and bool(self.certificate.covers(name))


def normal_subject(text: str) -> str:
    """A subject as :attr:`ClientIdentity.subject` has it, of one that somebody wrote.

    :raises ValueError: when it is none in the form of RFC 4514.
    """
    from cryptography import x509

    names = {name: x509.ObjectIdentifier(oid) for name, oid in _NAMES.items()}
    return _subject_text(x509.Name.from_rfc4514_string(text, names))


def _subject_text(name: Any) -> str:
    from cryptography import x509

    text: str = name.rfc4514_string({x509.ObjectIdentifier(oid): short for short, oid in _NAMES.items()})
    return text


def _typed(name: Any) -> str | None:
    from cryptography import x509

    if isinstance(name, x509.DNSName):
        return f"DNS:{name.value.lower()}"
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"URI:{name.value}"
    if isinstance(name, x509.RFC822Name):
        return f"email:{name.value}"
    if isinstance(name, x509.IPAddress):
        return f"IP:{name.value}"
    return None


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]
