"""The account's key, and what is signed with it (RFC 8555 6.2, RFC 7515); the one module that imports josepy.

Rules of this module:

* ES256 (P-256), and every field in the protected header;
* it computes: callers run it in threads.
"""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.json_util import encode_b64jose, field
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.jws import JWS, Header, Signature


class _Header(Header):
    """What ACME adds to a header (RFC 8555 6.4, 6.5)."""

    nonce: str | None = field("nonce", omitempty=True)
    url: str | None = field("url", omitempty=True)


class _Signature(Signature):
    __slots__ = ("combined",)  # josepy makes fields of them, and wants them said again
    header_cls = _Header


class _Jws(JWS):
    __slots__ = ("payload", "signatures")
    signature_cls = _Signature


class AccountKey:
    """An account's private key. :raises ValueError: of PEM that has no P-256 key."""

    __slots__ = ("_key", "thumbprint")

    def __init__(self, pem: bytes) -> None:
        try:
            key = serialization.load_pem_private_key(pem, None)
        except TypeError:
            raise ValueError("the key is encrypted") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the key is not of P-256")
        self._key = JWKEC(key=key)
        #: What key authorizations end in (RFC 7638), base64url.
        self.thumbprint: str = encode_b64jose(self._key.thumbprint())

    def sign(self, url: str, nonce: str, account: str | None, payload: bytes) -> bytes:
        """A JWS in its flattened form, as a body of POST.

        :param account: the account's URL, or ``None``, which gives the key itself instead.
        """
        fields: dict[str, Any] = {"kid": account} if account else {}
        protected = frozenset({"alg", "nonce", "url", "kid" if account else "jwk"})
        jws = _Jws.sign(
            payload,
            key=self._key,
            alg=ES256,
            include_jwk=account is None,
            protect=protected,
            nonce=nonce,
            url=url,
            **fields,
        )
        return json.dumps(jws.to_json(), separators=(",", ":")).encode("ascii")

    def authorization(self, token: str) -> str:
        """The key authorization that answers a token (RFC 8555 8.1)."""
        return f"{token}.{self.thumbprint}"
