"""The methods that look at a request alone: keys, certificates, names and passwords.

Rules of this module:

* a method has ``check(exchange)``, which gives an :class:`~revproxy.auth.outcome.Identity`, a
  :class:`~revproxy.auth.outcome.Refusal`, or a Deferred of one of the two;
* a detail for the log names who somebody claims to be, and never the secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from revproxy.accesslog_format import printable
from revproxy.auth.credentials import authorization, basic, quoted, reader
from revproxy.auth.hashes import hash_of_key
from revproxy.auth.outcome import BROKEN, MISSING, WRONG, Identity, Refusal
from revproxy.auth.passwords import Busy, Passwords
from revproxy.config.auth import CertificateAuth
from revproxy.config.identities import one_of
from revproxy.fault import AUTH_BUSY, AUTH_FORBIDDEN, AUTH_MISSING, AUTH_REFUSED

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from revproxy.exchange import Exchange
    from revproxy.http.message import ClientIdentity

Outcome = Identity | Refusal


class BasicMethod:
    """Names and passwords (RFC 7617)."""

    __slots__ = ("_busy", "_missing", "_passwords", "_unreadable", "challenge")

    def __init__(self, passwords: Passwords, realm: str) -> None:
        self._passwords = passwords
        self.challenge = b'Basic realm=%b, charset="UTF-8"' % quoted(realm)
        self._missing = Refusal(MISSING, AUTH_MISSING, "basic: no credentials", self.challenge)
        self._unreadable = Refusal(WRONG, AUTH_REFUSED, "basic: no name and password", self.challenge)
        self._busy = Refusal(BROKEN, AUTH_BUSY, "basic: too many passwords wait to be checked")

    def check(self, exchange: Exchange) -> Outcome | Deferred[Outcome]:
        given = authorization(exchange.request, b"basic")
        if given is None:
            return self._missing
        pair = basic(given)
        if pair is None:
            return self._unreadable
        name = pair[0]
        try:
            result = self._passwords.ask(name, pair[1], exchange.request.client)
        except Busy:
            return self._busy
        if isinstance(result, bool):
            return self._outcome(result, name)
        return result.addCallback(self._outcome, name)

    def _outcome(self, right: bool, name: bytes) -> Outcome:
        if right:
            return Identity(name, "basic")
        return Refusal(WRONG, AUTH_REFUSED, f"basic: not the password of {printable(name[:80])}", self.challenge)


class Holder:
    """What a method uses and a watched file changes. :ivar value: what there is now."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def use(self, value: Any) -> None:
        self.value = value


class ApiKeyMethod:
    """Keys of clients. They are found by their digests: what a look-up may tell by its time is of a digest, which
    says nothing of the key.

    :param keys: holds the names of keys, by digest. :param place: as :func:`~revproxy.auth.credentials.reader` has it.
    """

    __slots__ = ("_keys", "_missing", "_read", "_wrong")

    def __init__(self, keys: Holder, place: str, realm: str) -> None:
        self._keys = keys
        self._read = reader(place)
        challenge = b"ApiKey realm=%b" % quoted(realm)
        self._missing = Refusal(MISSING, AUTH_MISSING, "api_key: none", challenge)
        self._wrong = Refusal(WRONG, AUTH_REFUSED, "api_key: an unknown key", challenge)

    def check(self, exchange: Exchange) -> Outcome:
        key = self._read(exchange.request)
        if key is None:
            return self._missing
        name = self._keys.value.get(hash_of_key(key))
        return self._wrong if name is None else Identity(name, "api_key")


def by_digest(keys: Mapping[str, bytes]) -> dict[bytes, bytes]:
    """Names in UTF-8 by the digests of their keys. :raises ValueError: two names have the same key."""
    found: dict[bytes, bytes] = {}
    for name, digest in keys.items():
        if digest in found:
            raise ValueError(f"{name} has the key of {found[digest].decode('utf-8')}")
        found[digest] = name.encode("utf-8")
    return found


class CertificateMethod:
    """Certificates that the listener's authorities signed."""

    __slots__ = ("_is_one", "_missing", "_other", "_user")

    def __init__(self, written: CertificateAuth) -> None:
        self._is_one = one_of(written.names)
        self._user = written.user
        self._missing = Refusal(MISSING, AUTH_FORBIDDEN, "client_certificate: none")
        # a client shows whatever certificate it has, and can't show another when told so: who is asked for a password
        # or a token beside it may still have one
        self._other = Refusal(MISSING, AUTH_FORBIDDEN, "client_certificate: of somebody else")

    def check(self, exchange: Exchange) -> Outcome:
        tls = exchange.request.arrival.tls
        client = None if tls is None else tls.client
        if client is None:
            return self._missing
        if not self._is_one(client):
            return self._other
        return Identity(self._name(client), "client_certificate")

    def _name(self, client: ClientIdentity) -> bytes:
        text = client.fingerprint
        if self._user == "subject":
            text = client.subject or text
        elif self._user == "name" and client.sans:
            text = client.sans[0]
        return (text if text.isprintable() else client.fingerprint).encode("utf-8", "replace")
