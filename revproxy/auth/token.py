"""Tokens (RFC 7519) and the keys that they are signed with (RFC 7517): a pure judgement, at a given time.

Rules of this module:

* which algorithms are taken is the operator's word, never a token's; a key serves one kind of them: a public key
  can't be the secret of HMAC (RFC 8725 3.1);
* a token's header chooses among our keys by ``kid`` and brings none of its own: ``jwk``, ``jku``, ``x5c`` and
  ``x5u`` are passed over; one that has something critical (``crit``) is refused, since nothing is understood;
* a time is a finite number. A token ends: one without ``exp`` is refused;
* whatever is wrong is one :class:`TokenRefused`, in a bounded time: sizes and numbers of tries are bounded.

A token takes 110 us (RS256), 200 us (ES256, EdDSA) or 70 us (HS256): that is done on the reactor.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from binascii import Error, a2b_base64
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from revproxy.auth.credentials import LONGEST_TOKEN
from revproxy.config.tokens import HMAC, KINDS

#: Keys of a set that are looked at, and of those without the token's name, that are tried.
_MOST_KEYS = 100
_TRIES = 4
#: Bits of the shortest modulus (RFC 7518 3.3).
_RSA_BITS = 2048
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
#: Claims that are one text of several values with blanks between them (RFC 8693 4.2, RFC 9068 2.2.3; Microsoft's scp).
_SCOPES = ("scope", "scp")
#: The curves of an algorithm (RFC 7518 3.4, RFC 8037 3.1, RFC 9864 2.2): keys of others are for encryption, or weaker.
_CURVES = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
    "Ed25519": ("Ed25519",),
}
_TYPES: dict[str, type] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey, "oct": OctKey}


class TokenRefused(Exception):
    """A token that is not taken. :ivar forbidden: it is a good one, for somebody who may not."""

    def __init__(self, why: str, *, forbidden: bool = False) -> None:
        super().__init__(why)
        self.forbidden = forbidden


class UnknownKey(TokenRefused):
    """No key of that name is known: there may be a new one."""


@frozen(eq=False)
class Key:
    """One key.

    :param kind: ``RSA``, ``EC``, ``OKP`` or ``oct``. :param alg: the only algorithm it is for, or ``None``.
    :param curve: of ``EC`` and ``OKP``, as RFC 7518 6.2.1.1 and RFC 8037 2 name them.
    """

    kid: str | None
    kind: str
    alg: str | None
    key: Any
    curve: str | None = None

    def serves(self, alg: str) -> bool:
        """Whether it is one for this algorithm."""
        return self.alg in (None, alg) and _is_for(self.kind, self.curve, alg)


def _is_for(kind: str, curve: str | None, alg: str) -> bool:
    return kind == KINDS[alg] and curve in _CURVES.get(alg, (None,))


@frozen(eq=False)
class Keys:
    """The keys that there are; none, and every token is refused."""

    keys: tuple[Key, ...]
    by_name: Mapping[str, tuple[Key, ...]] = field(init=False)

    @by_name.default
    def _named(self) -> Mapping[str, tuple[Key, ...]]:
        names: dict[str, tuple[Key, ...]] = {}
        for key in self.keys:
            if key.kid is not None:
                names[key.kid] = (*names.get(key.kid, ()), key)
        return names

    def candidates(self, kid: str | None, alg: str) -> Sequence[Key]:
        """The keys that a token may be signed with. :raises UnknownKey: there is none of its name, or none at all."""
        if not self.keys:
            raise UnknownKey("there is no key that can be used")
        if kid is None:
            among = self.keys
        elif kid in self.by_name:
            among = self.by_name[kid]
        else:
            raise UnknownKey("no key of its name is known")
        return [key for key in among if key.serves(alg)][:_TRIES]


@frozen(eq=False)
class Rules:
    """What tokens have to be; the words are those of :class:`revproxy.config.auth.JwtAuth`."""

    algorithms: tuple[str, ...]
    issuer: frozenset[str] | None = None
    audience: frozenset[str] | None = None
    leeway: float = 60.0
    user: str = "sub"
    require: Mapping[str, tuple[str, ...]] = {}  # never changed
    verifiers: Mapping[str, Any] = field(init=False)

    @verifiers.default
    def _verifiers(self) -> Mapping[str, Any]:
        registry = JWSRegistry(algorithms=self.algorithms)
        with warnings.catch_warnings():  # it calls EdDSA by a name that RFC 9864 has another one for
            warnings.simplefilter("ignore")
            return {name: registry.get_alg(name) for name in self.algorithms}


def read_keys(data: bytes, algorithms: Sequence[str]) -> Keys:
    """The keys of a JWK set that are for these algorithms; secrets and what can't be read in it are left out.

    There may be none left: whoever publishes a set withdraws keys so. :raises ValueError: when it is no set.
    """
    try:
        document = json.loads(data)
        members = document["keys"]
        if not isinstance(members, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError('not a set of keys: a JSON object with "keys"') from None
    kinds = {KINDS[algorithm] for algorithm in algorithms} - {"oct"}
    keys = []
    for member in members[:_MOST_KEYS]:
        if not isinstance(member, dict) or member.get("kty") not in kinds or member.get("use", "sig") != "sig":
            continue
        kid, alg = member.get("kid"), member.get("alg")
        if not isinstance(kid, str | None) or not isinstance(alg, str | None):
            continue
        public = {name: value for name, value in member.items() if name in ("kty", "n", "e", "crv", "x", "y")}
        try:
            made: Any = JWKRegistry.import_key(public)
            if made.key_type == "RSA" and made.raw_value.key_size < _RSA_BITS:
                continue
            made.raw_value  # noqa: B018  # reads it, so that it is known to be one
        except (JoseError, ValueError, TypeError, KeyError, OverflowError):
            continue
        curve = made.curve_name if made.key_type in ("EC", "OKP") else None
        if any(_is_for(made.key_type, curve, algorithm) for algorithm in algorithms):
            keys.append(Key(kid, made.key_type, alg, made, curve))
    return Keys(tuple(keys))


def secret_keys(secret: bytes, algorithms: Sequence[str]) -> Keys:
    """The one key of HMAC. :raises ValueError: it is shorter than what it makes (RFC 7518 3.2)."""
    least = max(HMAC[algorithm] for algorithm in algorithms)
    if len(secret) < least:
        raise ValueError(f"the secret has {len(secret)} bytes; {' and '.join(algorithms)} need {least} or more")
    return Keys((Key(None, "oct", None, OctKey.import_key(secret)),))


def verify(token: bytes, keys: Keys, rules: Rules, now: float) -> dict[str, Any]:
    """The claims of a token that is good at the time ``now`` (seconds since the epoch).

    :raises UnknownKey: where other keys may help. :raises TokenRefused: it is not taken.
    """
    if len(token) > LONGEST_TOKEN:
        raise TokenRefused(f"longer than {LONGEST_TOKEN} bytes")
    parts = token.split(b".")
    if len(parts) != 3:
        raise TokenRefused("not three parts")
    header = _table(parts[0], "header")
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in rules.algorithms:
        raise TokenRefused("its algorithm is not taken")
    if "crit" in header or "b64" in header:
        raise TokenRefused("it has critical parts")
    if not isinstance(kid, str | None) or (kid is not None and len(kid) > 256):
        raise TokenRefused("its kid is no name")
    if KINDS[algorithm] == "oct":
        kid = None  # there is but one secret
    signed = token[: len(parts[0]) + 1 + len(parts[1])]
    signature = _bytes(parts[2], "signature")
    judge = rules.verifiers[algorithm]
    if not any(_is_right(judge, signed, signature, key.key) for key in keys.candidates(kid, algorithm)):
        raise TokenRefused("its signature is not right")
    claims = _table(parts[1], "claims")
    _check_times(claims, rules.leeway, now)
    _check_claims(claims, rules)
    return claims


def _is_right(judge: Any, signed: bytes, signature: bytes, key: Any) -> bool:
    try:
        return bool(judge.verify(signed, signature, key))
    except (JoseError, ValueError, TypeError):  # a key of another curve, a signature of another length
        return False


def _bytes(part: bytes, what: str) -> bytes:
    """Base64url without padding (RFC 7515 2)."""
    if not _BASE64URL.fullmatch(part):
        raise TokenRefused(f"its {what} can't be read")
    try:
        return a2b_base64(part.translate(_TO_BASE64) + b"=" * (-len(part) % 4))
    except Error:
        raise TokenRefused(f"its {what} can't be read") from None


def _table(part: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(part, what))
    except (ValueError, RecursionError):
        raise TokenRefused(f"its {what} can't be read") from None
    if not isinstance(found, dict):
        raise TokenRefused(f"its {what} can't be read")
    return found


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15 or math.isnan(value):
        raise TokenRefused(f"its {name} is no time")
    return float(value)


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    """RFC 7519 4.1.4 to 4.1.6."""
    expires, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise TokenRefused("it has no exp")
    if now >= expires + leeway:
        raise TokenRefused("it is expired")
    if begins is not None and now < begins - leeway:
        raise TokenRefused("it is not valid yet")
    if issued is not None and now < issued - leeway:
        raise TokenRefused("it was made in the future")


def _check_claims(claims: Mapping[str, Any], rules: Rules) -> None:
    issuer = claims.get("iss")
    if rules.issuer is not None and not (isinstance(issuer, str) and issuer in rules.issuer):
        raise TokenRefused("it is of another issuer")
    if rules.audience is not None:
        audience = claims.get("aud")
        among = audience if isinstance(audience, list) else [audience]
        if not any(isinstance(name, str) and name in rules.audience for name in among):
            raise TokenRefused("it is for others")
    user = user_of(claims, rules.user)
    if not user or not user.isprintable() or len(user) > 1024:
        raise TokenRefused(f"its {rules.user} names nobody")
    for name, wanted in rules.require.items():
        found = _at(claims, name)
        values = found if isinstance(found, list) else [found]
        if name in _SCOPES and isinstance(found, str):
            values = [found, *found.split(" ")]
        if not any(_plain(value) in wanted for value in values):
            raise TokenRefused(f"its {name} is not one of those that may", forbidden=True)


def user_of(claims: Mapping[str, Any], name: str) -> str:
    """The user that claims name: a text or a number, ``""`` for none."""
    found = _at(claims, name)
    return _plain(found) or "" if not isinstance(found, bool) else ""


def _at(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _plain(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else None


def expiry(claims: Mapping[str, Any]) -> float:
    """When a token that was verified ends, in seconds since the epoch."""
    return float(claims["exp"])
