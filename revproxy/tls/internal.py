"""A certificate for development: self-signed, for this machine's own names.

Rules of this module:

* it blocks: it is called at the start and in a thread;
* the operator's own certificate for localhost comes first: while one is valid, none is made;
* nobody but the owner can read the key, not even while it is written. Each file appears as a whole, the key
  first: until the certificate is there, the pair that was served stays in service.
"""

from __future__ import annotations

import datetime
import os
import secrets
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.logger import Logger

from revproxy.config.errors import show
from revproxy.tls.certificate import CertificateError
from revproxy.tls.folder import scan

_log = Logger()

#: What it is for.
NAMES = ("localhost", "*.localhost")
ADDRESSES = ("127.0.0.1", "::1")
#: Days that it is valid for, and the days before its end at which there is a new one.
DAYS = 365
RENEWED = 30
#: Seconds between two looks whether it is time for that.
INTERVAL = 3600.0
#: Its files, in the folder of the certificates.
CHAIN = "internal-localhost.pem"
KEY = "internal-localhost.key"


def ensure(folder: str, now: float) -> bool:
    """Make a certificate for localhost in a folder that has no valid one; whether it did. ``now`` is Unix time.

    :raises CertificateError: when it can't be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        for certificate in scan(folder)[0]:
            ours = os.path.basename(certificate.chain) == CHAIN
            spare = RENEWED * 86400.0 if ours else 0.0
            if certificate.covers("localhost") and certificate.not_before <= now < certificate.not_after - spare:
                return False
        chain, key = make(now)
        _write(os.path.join(folder, KEY), key, 0o600)
        _write(os.path.join(folder, CHAIN), chain, 0o644)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CertificateError(f"no certificate can be made in the folder {show(folder)}: {why}", folder) from None
    _log.warn(
        "made a self-signed certificate for localhost, for development only; clients trust it when they are "
        'told to: "curl --cacert {path}", or import it as an authority in a browser',
        path=os.path.join(folder, CHAIN),
    )
    return True


def make(now: float) -> tuple[bytes, bytes]:
    """A certificate, valid from an hour before ``now`` (Unix time), and its key, both in PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(microsecond=0)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost (revproxy, for development)")])
    hosts: list[x509.GeneralName] = [x509.DNSName(host) for host in NAMES]
    hosts += [x509.IPAddress(ip_address(address)) for address in ADDRESSES]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - datetime.timedelta(hours=1))
        .not_valid_after(start + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        # trusting it trusts nothing else: it can't issue
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    )


def _write(path: str, data: bytes, mode: int) -> None:
    """Put a file in place as a whole."""
    folder, name = os.path.split(path)
    # hidden, so that nobody takes it for a certificate
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
