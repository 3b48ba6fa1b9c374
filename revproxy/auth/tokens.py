"""The method that takes tokens: reads them, has them judged, and remembers those that were good.

Rules of this module:

* a good token is remembered until it ends, by its digest: judging it takes ten times as long. Another set of
  keys forgets them all; what is wrong is judged each time;
* a token of an unknown key waits for the keys to be fetched once more, which is not done more often than
  :mod:`revproxy.auth.keys` allows.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

from revproxy.auth.credentials import LONGEST_TOKEN, quoted, reader
from revproxy.auth.outcome import BROKEN, FORBIDDEN, MISSING, WRONG, Identity, Refusal
from revproxy.auth.token import Rules, TokenRefused, UnknownKey, expiry, user_of, verify
from revproxy.fault import AUTH_FORBIDDEN, AUTH_MISSING, AUTH_REFUSED, AUTH_UNAVAILABLE

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from revproxy.exchange import Exchange

#: Tokens that are remembered, and for how many seconds at most.
REMEMBERED = 4096
_LONGEST = 3600.0

Outcome = Identity | Refusal


class JwtMethod:
    """Tokens (RFC 7519), with the challenges of RFC 6750.

    :param keys: has ``keys`` (or ``None``), and ``more()``, a Deferred that fires when they were fetched anew, or
        ``None`` where that is not to be done now.
    :param place: as :func:`~revproxy.auth.credentials.reader` has it.
    :param now: seconds since the epoch.
    """

    __slots__ = ("_keys", "_known", "_known_for", "_missing", "_now", "_read", "_realm", "_rules", "_secret")

    def __init__(self, keys: Any, rules: Rules, place: str, realm: str, now: Callable[[], float]) -> None:
        self._keys = keys
        self._rules = rules
        self._read = reader(place)
        self._realm = b"Bearer realm=%b" % quoted(realm)
        self._now = now
        self._missing = Refusal(MISSING, AUTH_MISSING, "jwt: no token", self._realm)
        self._secret = token_bytes(32)
        self._known: dict[bytes, tuple[Identity, float]] = {}
        self._known_for: Any = None

    def check(self, exchange: Exchange) -> Outcome | Deferred[Outcome]:
        token = self._read(exchange.request)
        if token is None:
            return self._missing
        if len(token) > LONGEST_TOKEN:
            return self._refused(TokenRefused(f"longer than {LONGEST_TOKEN} bytes"))
        if self._known_for is not self._keys.keys:
            self._known_for = self._keys.keys
            self._known.clear()
        digest = blake2b(token, key=self._secret, digest_size=20).digest()
        known = self._known.get(digest)
        if known is not None:
            if self._now() < known[1]:
                return known[0]
            del self._known[digest]
        return self._judge(token, digest, False)

    def _judge(self, token: bytes, digest: bytes, asked: bool) -> Outcome | Deferred[Outcome]:
        keys = self._keys.keys
        now = self._now()
        if keys is not None:
            try:
                claims = verify(token, keys, self._rules, now)
            except UnknownKey as error:
                if asked:
                    return self._refused(error)
            except TokenRefused as error:
                return self._refused(error)
            else:
                identity = Identity(user_of(claims, self._rules.user).encode("utf-8", "replace"), "jwt", claims)
                if keys is self._known_for:
                    if len(self._known) >= REMEMBERED:
                        del self._known[next(iter(self._known))]
                    self._known[digest] = (identity, min(expiry(claims) + self._rules.leeway, now + _LONGEST))
                return identity
        more = None if asked else self._keys.more()
        if more is None:
            if keys is None:
                return Refusal(BROKEN, AUTH_UNAVAILABLE, "jwt: there are no keys yet", retry_after=5)
            return self._refused(TokenRefused("no key of its name is known"))
        deferred: Deferred[Any] = more
        return deferred.addCallback(lambda result: self._judge(token, digest, True))

    def _refused(self, error: TokenRefused) -> Refusal:
        why = str(error)
        code = b"insufficient_scope" if error.forbidden else b"invalid_token"
        challenge = b'%b, error="%b", error_description=%b' % (self._realm, code, quoted(why))
        if error.forbidden:
            return Refusal(FORBIDDEN, AUTH_FORBIDDEN, f"jwt: {why}", challenge)
        return Refusal(WRONG, AUTH_REFUSED, f"jwt: {why}", challenge)
