"""What tests of authentication share: hashes that cost little, keys, tokens, and credentials in fields."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from functools import cache
from typing import Any

import bcrypt
from argon2.low_level import Type, hash_secret
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from revproxy.config.tokens import KINDS

SECRET = b"a secret of 64 bytes, which is what the longest of HMAC need....."


@cache
def bcrypted(password: str, prefix: bytes = b"2b") -> str:
    return (
        bcrypt.hashpw(password.encode()[:72], b"$2b$04$abcdefghijklmnopqrstuu")
        .replace(b"$2b$", b"$%b$" % prefix)
        .decode()
    )


@cache
def argon2d(password: str, kind: Type = Type.ID) -> str:
    return hash_secret(password.encode(), b"saltsalt", 1, 64, 1, 16, kind).decode()


def key(alg: str = "RS256", number: int = 0) -> Any:
    """A private key for an algorithm; another one for each number."""
    return _key(KINDS[alg], {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}.get(alg, ""), number)


@cache
def _key(kind: str, curve: str, number: int) -> Any:
    match kind:
        case "RSA":
            return RSAKey.generate_key(2048, auto_kid=False)
        case "EC":
            return ECKey.generate_key(curve, auto_kid=False)
        case "OKP":
            return OKPKey.generate_key("Ed25519", auto_kid=False)
    return OctKey.import_key(SECRET)


def jwks(*members: tuple[str | None, Any]) -> bytes:
    """A set of public keys, by their names."""
    found = []
    for kid, made in members:
        found.append(made.as_dict(private=False) | ({} if kid is None else {"kid": kid}))
    return json.dumps({"keys": found}).encode()


def token(claims: dict[str, Any], alg: str = "RS256", kid: str | None = "one", number: int = 0, **header: Any) -> bytes:
    """A token that joserfc made."""
    head = {"alg": alg, **({} if kid is None else {"kid": kid}), **header}
    return jwt.encode(head, claims, key(alg, number), algorithms=[alg]).encode()


def raw_token(header: Any, claims: Any, signature: bytes = b"x" * 32) -> bytes:
    """Three parts that nobody signed."""
    parts = [json.dumps(part).encode() if not isinstance(part, bytes) else part for part in (header, claims)]
    return b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (*parts, signature))


def basic_field(name: str, password: str) -> str:
    return "Authorization: Basic " + b64encode(f"{name}:{password}".encode()).decode()
