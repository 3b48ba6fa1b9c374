"""Stickiness: a cookie that says which backend a client was given, in a form that says nothing to it.

The value is a MAC of the backend's name (HMAC-SHA-256, cut to 128 bits, RFC 2104 5), so it can be
neither read nor made up; finding the backend is one dictionary look-up.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING

from revproxy.config.upstreams import Sticky
from revproxy.keys import key_reader

if TYPE_CHECKING:
    from revproxy.exchange import Exchange
    from revproxy.upstream.backend import Backend


class Stickiness:
    """The cookies of one upstream.

    :param name: the upstream's.
    """

    __slots__ = ("_attributes", "_backends", "_cookie", "_name", "_read", "_same_site", "_secret", "_tokens")

    def __init__(self, written: Sticky, name: str) -> None:
        self._name = name
        # one of its own for each upstream: those of one site would undo each other
        made = f"revproxy_{blake2b(name.encode(), digest_size=4).hexdigest()}"
        cookie = made if written.cookie is None else written.cookie
        self._cookie = cookie.encode("ascii")
        self._secret = token_bytes(32) if written.secret is None else written.secret.encode("utf-8")
        age = b"" if written.max_age is None else b"; Max-Age=%d" % written.max_age
        self._attributes = b"; Path=/" + age + b"; HttpOnly"
        self._same_site = written.same_site
        self._read: Callable[[Exchange], bytes | None] = key_reader(f"cookie:{cookie}", ".")
        self._backends: dict[bytes, Backend] = {}
        self._tokens: dict[Backend, bytes] = {}

    def update(self, backends: Iterable[Backend]) -> None:
        """The backends that the upstream has now."""
        self._tokens = {backend: self.token(backend.name) for backend in backends}
        self._backends = {token: backend for backend, token in self._tokens.items()}

    def token(self, backend: str) -> bytes:
        """The cookie's value for a backend: 22 characters."""
        mac = hmac.digest(self._secret, f"{self._name}\0{backend}".encode(), "sha256")
        return urlsafe_b64encode(mac[:16]).rstrip(b"=")

    def find(self, exchange: Exchange) -> Backend | None:
        """The backend that the request's cookie stands for, as long as it is one of ours."""
        value = self._read(exchange)
        return None if value is None else self._backends.get(value)

    def renew(self, exchange: Exchange) -> None:
        """A client-response hook: sets the cookie when the client was not at this backend before."""
        response = exchange.response
        token = self._tokens.get(exchange.backend)
        if token is None or response is None or exchange.fault is not None or self._read(exchange) == token:
            return
        value = b"%b=%b%b" % (self._cookie, token, self._attributes)
        secure = exchange.request.scheme == b"https"
        if self._same_site == "lax":
            value += b"; SameSite=Lax"
        elif self._same_site == "strict":
            value += b"; SameSite=Strict"
        elif secure:  # browsers take it with Secure only
            value += b"; SameSite=None"
        if secure:
            value += b"; Secure"
        response.headers.add(b"Set-Cookie", value)
