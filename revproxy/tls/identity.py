"""Who a client is, by the certificate that it showed and OpenSSL verified.

Rules of this module:

* it is asked once for a connection, after the handshake; a resumed session tells the certificate of its first
  handshake, which was verified then, and is refused when it has ended since;
* names are told whole or not at all: part of one could be somebody else's. A certificate that is
  too large for that is refused.
"""

from __future__ import annotations

import ssl
import time

from cryptography import x509

from revproxy.http.tlsinfo import ClientIdentity

#: Bytes of a client's certificate: it has to fit into a field for the backend, in base64.
LARGEST = 4096


class IdentityError(Exception):
    """A client's certificate that can't be told about, or has ended; ``str()`` is for the log."""


def client_of(connection: ssl.SSLObject, now: float | None = None) -> ClientIdentity | None:
    """Who the client is, ``None`` when it showed no certificate. After the handshake.

    :param now: Unix time.
    :raises IdentityError: for a certificate over :data:`LARGEST`, one that can't be read, or has ended.
    """
    der = connection.getpeercert(binary_form=True)
    return None if der is None else read_identity(der, time.time() if now is None else now)


def read_identity(der: bytes, now: float) -> ClientIdentity:
    """Read a client's certificate. :raises IdentityError: as :func:`client_of` does."""
    if len(der) > LARGEST:
        raise IdentityError(f"the client's certificate is over {LARGEST} bytes")
    try:
        if x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() < now:
            raise IdentityError("the client's certificate has ended since its session began")
        return ClientIdentity.of(der)
    except ValueError:
        raise IdentityError("the client's certificate can't be read") from None
