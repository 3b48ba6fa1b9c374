"""One certificate with its key: what it is for, and what is wrong with its files.

Rules of this module:

* all that can be found wrong is found here, before a certificate is served, and is one sentence that names the file;
* a key is read to see that it is the certificate's, and not kept: contexts read the files themselves. The
  stamps of the files tell whether these are still the files that were judged here;
* names come from subjectAltName only (RFC 9525 2): clients ignore the common name.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from revproxy.config.errors import show
from revproxy.tls.hello import TLS13, Hello

#: Bytes of a file of certificates.
LARGEST = 1 << 20
#: Bits of the shortest RSA key that is served.
RSA_BITS = 2048

#: Device, inode, size, and nanoseconds of the last changes of content and of permissions.
Stamp = tuple[int, int, int, int, int]

_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)

# Signature schemes and groups (RFC 8446 4.2.3, 4.2.7). In TLS 1.3 a scheme says the curve too.
_CURVES = {"secp256r1": (0x0403, 23), "secp384r1": (0x0503, 24), "secp521r1": (0x0603, 25)}
_ECDSA = frozenset((0x0403, 0x0503, 0x0603))
_PSS = frozenset((0x0804, 0x0805, 0x0806))
_RSA = _PSS | frozenset((0x0401, 0x0501, 0x0601))
_ED25519 = frozenset((0x0807,))
# Suites of TLS 1.2 (RFC 5289, RFC 7905), as the profile has them.
_ECDSA_SUITES = frozenset((0xC02B, 0xC02C, 0xCCA9))
_RSA_SUITES = frozenset((0xC02F, 0xC030, 0xCCA8))


class CertificateError(Exception):
    """Files that can't be served; ``str()`` is a sentence for the operator, ``source`` the file it is about."""

    def __init__(self, text: str, source: str = "") -> None:
        super().__init__(text)
        self.source = source


@frozen(kw_only=True)
class Certificate:
    """A certificate that can be served.

    :ivar names: lower-case host names and wildcards, and IP addresses as text.
    :ivar not_before: Unix time; so is ``not_after``. :ivar kind: ``"ecdsa"``, ``"rsa"`` or ``"ed25519"``.
    :ivar chain: path of the file with the certificate, which may be that of the key too.
    :ivar source: what messages call it: the path of the chain. :ivar fingerprint: SHA-256 of it, in hexadecimal.
    :ivar stamps: of chain and key, as they were when they were read.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float
    kind: str
    chain: str
    key: str
    source: str
    serial: int
    fingerprint: str
    stamps: tuple[Stamp, Stamp]
    _schemes: frozenset[int] = field(repr=False)
    _schemes12: frozenset[int] = field(repr=False)
    _suites: frozenset[int] = field(repr=False)
    _curve: int | None = field(repr=False)

    def covers(self, host: str) -> bool:
        """Whether it is for a host, in lower case; a wildcard stands for one whole label, the first (RFC 9525 6.3)."""
        if host in self.names:
            return True
        first, dot, parent = host.partition(".")
        return bool(first and dot) and f"*.{parent}" in self.names

    def suits(self, hello: Hello) -> bool:
        """Whether this client can check it."""
        if TLS13 in hello.versions:
            return not self._schemes.isdisjoint(hello.signatures)
        return (
            not self._suites.isdisjoint(hello.ciphers)
            and not self._schemes12.isdisjoint(hello.signatures)
            and (self._curve is None or not hello.groups or self._curve in hello.groups)
        )

    def valid_at(self, now: float) -> bool:
        """Whether it is neither too early nor too late for it."""
        return self.not_before <= now <= self.not_after

    def unchanged(self) -> bool:
        """Whether its files are those that it was read from."""
        try:
            return self.stamps == (stamp_of(os.stat(self.chain)), stamp_of(os.stat(self.key)))
        except OSError:
            return False


def stamp_of(status: os.stat_result) -> Stamp:
    """What tells that a file is another one, or has changed."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_file(path: str) -> tuple[bytes, Stamp]:
    """A file's content, and its stamp from before it was read.

    :raises CertificateError: when it can't be read or is over :data:`LARGEST`.
    """
    try:
        # a pipe would hold us up here
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CertificateError(f"{show(path)} is no file", path)
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise CertificateError(f"{show(path)} can't be read: {(error.strerror or str(error)).lower()}", path) from None
    if len(data) > LARGEST:
        raise CertificateError(f"{show(path)} is over {LARGEST >> 20} MB", path)
    return data, stamp_of(status)


def read_pair(chain: str, key: str) -> Certificate:
    """Read and judge a certificate, with those above it, and its key; both may be in one file.

    :raises CertificateError: when they can't be served.
    """
    data, chain_stamp = read_file(chain)
    key_data, key_stamp = (data, chain_stamp) if key == chain else read_file(key)
    certificates = certificates_in(data, chain)
    private: Any = _private_key(key_data, key, chain)
    _check_order(certificates, private.public_key(), chain, key)
    leaf = certificates[0]
    kind, schemes, schemes12, suites, curve = _kind(private, key, chain)
    try:
        return Certificate(
            names=_names(leaf),
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            kind=kind,
            chain=chain,
            key=key,
            source=chain,
            serial=leaf.serial_number,
            fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
            stamps=(chain_stamp, key_stamp),
            schemes=schemes,
            schemes12=schemes12,
            suites=suites,
            curve=curve,
        )
    except ValueError:  # of a part that nobody had to read until now
        raise CertificateError(f"{show(chain)} has a certificate that can't be read", chain) from None


def certificates_in(data: bytes, path: str) -> list[x509.Certificate]:
    """The certificates in a file, in its order.

    :raises CertificateError: when there is none, or one can't be read.
    """
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise CertificateError(f'{show(path)} has no certificate in PEM form ("-----BEGIN CERTIFICATE-----")', path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(f"{show(path)} has a certificate that can't be read", path) from None


def has_key(data: bytes) -> bool:
    """Whether a file holds a private key."""
    return _KEY.search(data) is not None


def _private_key(data: bytes, path: str, source: str) -> Any:
    block = _KEY.search(data)
    if block is None:
        raise CertificateError(f'{show(path)} has no private key in PEM form ("-----BEGIN PRIVATE KEY-----")', source)
    try:
        return serialization.load_pem_private_key(block[0], None)
    except TypeError:
        raise CertificateError(f"the key in {show(path)} is encrypted; write it without a passphrase", source) from None
    except Exception as error:  # UnsupportedAlgorithm is no ValueError
        if isinstance(error, MemoryError):
            raise
        raise CertificateError(f"{show(path)} has a private key that can't be read", source) from None


def _check_order(certificates: list[x509.Certificate], public: Any, chain: str, key: str) -> None:
    """The key's certificate comes first, and each one has issued the one before it."""
    if _public_key(certificates[0], chain) != public:
        for number, other in enumerate(certificates[1:], 2):
            if _public_key(other, chain) == public:
                raise CertificateError(
                    f"the chain in {show(chain)} is out of order: the certificate of the key is number {number}, "
                    "and has to be the first",
                    chain,
                )
        whose = "its first certificate" if chain == key else f"the first certificate in {show(chain)}"
        raise CertificateError(f"the key in {show(key)} is not that of {whose}", chain)
    for number in range(1, len(certificates)):
        try:
            certificates[number - 1].verify_directly_issued_by(certificates[number])
        except (ValueError, TypeError, InvalidSignature):
            raise CertificateError(
                f"the chain in {show(chain)} is out of order: certificate {number + 1} did not issue "
                f"certificate {number}",
                chain,
            ) from None


def _public_key(certificate: x509.Certificate, path: str) -> Any:
    try:
        return certificate.public_key()
    except Exception as error:  # UnsupportedAlgorithm is no ValueError
        if isinstance(error, MemoryError):
            raise
        raise CertificateError(f"{show(path)} has a certificate with a key that can't be read", path) from None


def _kind(
    private: Any, path: str, source: str
) -> tuple[str, frozenset[int], frozenset[int], frozenset[int], int | None]:
    """What a key is, and what a client has to know to check what it signs."""
    if isinstance(private, ec.EllipticCurvePrivateKey):
        if private.curve.name not in _CURVES:
            raise CertificateError(
                f"the key in {show(path)} is on the curve {private.curve.name}, which TLS clients don't know", source
            )
        scheme, curve = _CURVES[private.curve.name]
        return "ecdsa", frozenset((scheme,)), _ECDSA, _ECDSA_SUITES, curve
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < RSA_BITS:
            raise CertificateError(
                f"the RSA key in {show(path)} has {private.key_size} bits; it has to have {RSA_BITS} at least", source
            )
        return "rsa", _PSS, _RSA, _RSA_SUITES, None
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519", _ED25519, _ED25519, _ECDSA_SUITES, None
    raise CertificateError(f"the key in {show(path)} is neither ECDSA, RSA nor Ed25519", source)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        written = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [name.lower().removesuffix(".") for name in written.get_values_for_type(x509.DNSName)]
    names += [str(address) for address in written.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys(names))
