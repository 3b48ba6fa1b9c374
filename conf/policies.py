"""The policies of conf/policies.toml: one function for each, plain, with a Deferred, or async."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed

from revproxy.exchange import Exchange
from revproxy.http.message import Answer, Headers

#: What a real one would look up elsewhere.
TOKENS = {b"Bearer let-me-in": b"alice"}


def authenticate(exchange: Exchange) -> Answer | None:
    """Client request: only with a known token."""
    headers = exchange.request.headers
    user = TOKENS.get(headers.get(b"authorization") or b"")
    if user is None:
        return Answer(401, Headers.of([(b"WWW-Authenticate", b"Bearer")]), b"Who are you?\n")
    exchange.context["user"] = user
    return None


def tag(exchange: Exchange) -> None:
    """Backend request: the backend gets the name, and not the token."""
    exchange.request.headers.remove(b"authorization")
    exchange.request.headers.set(b"X-User", exchange.context["user"])


def signed_in_as(exchange: Exchange) -> None:
    """Client response: it runs on the 401 as well, where there is no user."""
    assert exchange.response is not None
    if "user" in exchange.context:
        exchange.response.headers.set(b"X-Signed-In-As", exchange.context["user"])


async def no_programs(exchange: Exchange) -> Answer | None:
    """Client request, async: wait for the start of the body."""
    start = await exchange.body_prefix(4)
    if start in (b"\x7fELF", b"MZ\x90\x00"):
        return Answer(422, body=b"No programs, please.\n")
    return None


def maintenance(exchange: Exchange) -> Deferred[Answer | None]:
    """Client request, with a Deferred: a file in the working directory closes the site."""
    if os.path.exists("closed-for-maintenance"):
        return succeed(Answer(503, Headers.of([(b"Retry-After", b"600")]), b"Back soon.\n"))
    return succeed(None)


def never_store_errors(exchange: Exchange) -> None:
    """Backend response: caches on the way keep no errors."""
    assert exchange.response is not None
    if exchange.response.status >= 400:
        exchange.response.headers.set(b"Cache-Control", b"no-store")
