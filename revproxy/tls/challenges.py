"""What answers an ACME authority while it checks that a name is ours (RFC 8555 8, RFC 8737).

Rules of this module:

* ACME puts answers here and takes them away; listeners only look them up;
* one object for the whole process: the authority may come by any listener.
"""

from __future__ import annotations

import ssl

#: Where HTTP-01 is asked for (RFC 8555 8.3).
WELL_KNOWN = b"/.well-known/acme-challenge/"
#: What TLS-ALPN-01 negotiates (RFC 8737 6.2).
ACME_TLS = b"acme-tls/1"


class Challenges:
    """Answers to challenges that are under way.

    :ivar files: by token, the key authorization that HTTP-01 is answered with.
    :ivar contexts: by lower-case name, what TLS-ALPN-01 is answered with: a context with its certificate and ALPN.
    """

    __slots__ = ("contexts", "files")

    def __init__(self) -> None:
        self.files: dict[bytes, bytes] = {}
        self.contexts: dict[str, ssl.SSLContext] = {}
