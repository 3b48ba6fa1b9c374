"""Words about tokens, keys and passwords: what was written -> what it means.

Rules of this module:

* an algorithm is known by its name (RFC 7518 3.1, RFC 8037, RFC 9864), with the kind of key it takes;
* what is secret is not shown in messages.
"""

from __future__ import annotations

import re

from revproxy.auth.hashes import key_hash, password_hash
from revproxy.config.errors import Wrong, nearest, wrong

#: Algorithms and the ``kty`` of their keys.
KINDS = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "EdDSA": "OKP",
    "Ed25519": "OKP",
    "HS256": "oct",
    "HS384": "oct",
    "HS512": "oct",
}
#: Those that sign with a shared secret, and the bytes of the shortest.
HMAC = {"HS256": 32, "HS384": 48, "HS512": 64}

_PLACE = re.compile(r"(?:header|cookie):[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query:\S+")


def algorithm(value: object) -> str:
    """One of :data:`KINDS`. :raises Wrong: for others, and ``none`` above all."""
    if isinstance(value, str):
        if value in KINDS:
            return value
        if value.lower() == "none":
            raise wrong(value, "would take tokens that nobody signed", 'write one such as "RS256" or "ES256"')
        raise wrong(value, "is no algorithm that is known", f"known are {', '.join(KINDS)}", nearest(value, KINDS))
    raise wrong(value, "is no algorithm", 'write one such as "RS256" or "ES256"')


def place(value: object) -> str:
    """Where a token stands. :raises Wrong: for what is no place."""
    hint = 'write "header" (Authorization: Bearer), "header:NAME", "cookie:NAME" or "query:NAME"'
    if not isinstance(value, str):
        raise wrong(value, "is not a place", hint)
    if value == "header" or value.lower() == "header:authorization":
        return "header"
    if not _PLACE.fullmatch(value):
        raise wrong(value, "is not a place", hint)
    return value.lower() if value.startswith("header:") else value


def hashed_password(value: object) -> str:
    """A hash of bcrypt or argon2id. :raises Wrong: for others."""
    try:
        return password_hash(value if isinstance(value, str) else "")
    except ValueError as error:
        raise Wrong(str(error), found="a hash") from None


def hashed_key(value: object) -> str:
    """``sha256:`` and 64 hexadecimal digits. :raises Wrong: for others."""
    try:
        return f"sha256:{key_hash(value if isinstance(value, str) else '').hex()}"
    except ValueError as error:
        raise Wrong(str(error), found="a hash") from None
