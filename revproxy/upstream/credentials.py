"""Whom a proxy trusts and how it shows itself to backends, read from the files that the operator named.

Rules of this module:

* files are read once, when a configuration is made live, and everything that can be wrong with them is found then;
* what is wrong is a ``ValueError`` with a sentence for the operator, which names the file;
* the result is shared by all backends of an upstream: a context with the system's authorities
  costs 15 ms and 0.8 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, platformTrust, trustRootFromCertificates
from twisted.logger import Logger

from revproxy.config.errors import show
from revproxy.config.upstreams import BackendTls

_log = Logger()

#: What we speak to backends, as ALPN says it (RFC 7301).
PROTOCOLS = (b"http/1.1",)


@frozen
class Credentials:
    """What TLS connections to the backends of one upstream have in common.

    :param options: Twisted's options, with authorities and client certificate.
    :param insecure: any certificate is taken.
    :param name: what certificates have to be for, instead of the endpoint's host.
    """

    options: Any
    insecure: bool = False
    name: str | None = None

    @classmethod
    def of(cls, written: BackendTls, base: str = ".") -> Credentials:
        """Read the files that a ``tls`` table names; ``base`` is the folder that relative paths start from.

        :raises ValueError: when one can't be read, or they don't fit together.
        """
        options: dict[str, Any] = {}
        if written.certificate is not None:
            options |= _client_certificate(written.certificate, written.key or written.certificate, base)
        if not written.insecure:
            options["trustRoot"] = platformTrust() if written.ca is None else _authorities(written.ca, base)
        made = CertificateOptions(
            raiseMinimumTo=TLSVersion.TLSv1_2,
            enableSessionTickets=True,
            acceptableProtocols=list(PROTOCOLS),
            **options,
        )
        try:
            made.getContext()
        except SSL.Error as error:
            reason = error.args[0][-1][-1] if error.args and error.args[0] else "no reason given"
            where = show(written.certificate or written.ca or "")
            raise ValueError(f"the certificate in {where} can't be used: OpenSSL says {show(reason)}") from None
        if written.insecure:
            _log.warn(
                "tls.insecure: any certificate of a backend is taken; "
                "whoever stands in between can read and change everything"
            )
        return cls(made, written.insecure, written.name)


def _read(file: str, base: str) -> bytes:
    try:
        return Path(base, file).read_bytes()
    except OSError as error:
        raise ValueError(f"{show(file)} can't be read: {(error.strerror or str(error)).lower()}") from None


def _certificates(file: str, base: str) -> list[x509.Certificate]:
    data = _read(file, base)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise ValueError(f'{show(file)} has no certificate in PEM form ("-----BEGIN CERTIFICATE-----")')
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ValueError(f"{show(file)} has a certificate that can't be read") from None


def _authorities(file: str, base: str) -> Any:
    certificates = _certificates(file, base)
    return trustRootFromCertificates([Certificate(crypto.X509.from_cryptography(one)) for one in certificates])


def _client_certificate(file: str, key_file: str, base: str) -> dict[str, Any]:
    first, *chain = _certificates(file, base)
    data = _read(key_file, base)
    if b"PRIVATE KEY-----" not in data:
        hint = '; name its file with "key"' if key_file == file else ""
        raise ValueError(f'{show(key_file)} has no private key in PEM form ("-----BEGIN PRIVATE KEY-----"){hint}')
    try:
        key: Any = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise ValueError(f"the key in {show(key_file)} is encrypted; write it without a passphrase") from None
    except Exception as error:  # UnsupportedAlgorithm is no ValueError
        if isinstance(error, MemoryError):
            raise
        raise ValueError(f"{show(key_file)} has a private key that can't be read") from None
    if first.public_key() != key.public_key():
        raise ValueError(f"the key in {show(key_file)} is not that of the first certificate in {show(file)}")
    return {
        "certificate": first,
        "privateKey": key,
        "extraCertChain": chain,
    }
