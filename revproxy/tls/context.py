"""Contexts of OpenSSL for TLS to clients, through the standard library.

Rules of this module:

* a connection has two contexts. It is made from an *initial* one, of which it keeps options, versions, groups, whether
  clients show certificates, and the keys of session tickets. Before the handshake it is given that of a
  *certificate*, from which come the certificate, ALPN, the suites of TLS 1.2 and the authorities of clients. So a new
  certificate ends no session, and new initial contexts end all;
* the profiles are Mozilla's (https://ssl-config.mozilla.org, guidelines 5.8, of which the groups are those of 5.7):
  no DHE, the client's order of suites, since with these any is good;
* the standard library sets one group and no list, so there is an initial context for each. X25519MLKEM768 takes
  OpenSSL 3.5, which can't be counted on yet;
* clients are not told the names of authorities: the standard library can't. They may show any certificate then.
"""

from __future__ import annotations

import os
import ssl

from revproxy.config.errors import show
from revproxy.config.tls import ClientCertificates
from revproxy.tls.certificate import Certificate, CertificateError

#: The groups, best first, with OpenSSL's names (RFC 8446 4.2.7).
GROUPS = {29: "X25519", 23: "prime256v1", 24: "secp384r1"}

#: The suites of TLS 1.2, with OpenSSL's names. All suites of TLS 1.3 that OpenSSL has on by itself are the profile's.
SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


def initial_context(
    profile: str, group: int | None, client: ClientCertificates | None = None, *, tickets: bool = True
) -> ssl.SSLContext:
    """What connections are made from; with ticket keys of its own.

    :param profile: ``"intermediate"`` or ``"modern"``.
    :param group: one of :data:`GROUPS`; ``None`` leaves OpenSSL's list, which is for clients that show certificates
        by TLS 1.2: it takes these on curves only that are in its own list of groups.
    """
    context = _context(profile)
    if group is not None:
        context.set_ecdh_curve(GROUPS[group])
    if client is not None:
        context.verify_mode = ssl.CERT_REQUIRED if client.required else ssl.CERT_OPTIONAL
        # What is in the file is trusted, whether it is a root or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # OpenSSL would give two; each costs 9 % of a handshake, and a client that comes back gets another one.
    context.num_tickets = 1 if tickets else 0
    if not tickets:
        context.options |= ssl.OP_NO_TICKET
    return context


def certificate_context(
    certificate: Certificate,
    profile: str,
    protocols: tuple[str, ...],
    client: ClientCertificates | None = None,
    base: str = ".",
) -> ssl.SSLContext:
    """What a connection is given when it is known which certificate it gets.

    :param protocols: of ALPN, best first. :param base: the folder that relative paths start from.
    :raises CertificateError: when OpenSSL does not take the certificate, or the authorities of clients can't be read.
    """
    context = _context(profile)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    try:
        # never ask a terminal: what is encrypted by now has changed since it was judged
        context.load_cert_chain(certificate.chain, certificate.key, password="")
    except (OSError, ValueError) as error:
        source = certificate.source
        raise CertificateError(f"{show(source)} can't be served: OpenSSL says {_reason(error)}", source) from None
    if client is not None:
        path = os.path.join(base, client.ca)
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise CertificateError(f"{show(path)} has no authorities of clients: {_reason(error)}", path) from None
    return context


def _context(profile: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    modern = profile == "modern"
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if modern else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).lower().replace("_", " ")
