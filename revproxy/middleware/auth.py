"""Authentication, as a client-request hook: who may pass, and what the backend is told of them.

Rules of this module:

* it runs before the cache and for each request, on hits, too;
* fields by which backends are told of users are taken out of every request before anything else, whatever comes of it;
* methods are asked in one order, the cheap ones first: the first that accepts ends it where any will do, and the first
  that does not where all have to;
* a refusal is a fault, with a challenge for each method that has one where the status is 401 (RFC 9110 11.6.1).

Letting a request with a remembered password, token or key pass, with one field for the backend, takes once to twice as
long as parsing its head of 12 fields; a quarter of a parse of that is taking out what clients say of users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from revproxy.auth.credentials import without_told
from revproxy.auth.outcome import Identity, Refusal, merged, most_telling
from revproxy.errorpages import fault_page
from revproxy.http.message import UNDERSCORE, Answer, Field, Request, field
from revproxy.http.setcookie import cookie_name
from revproxy.variables import Value

if TYPE_CHECKING:
    from revproxy.exchange import Exchange


class Authenticate:
    """The hook.

    :param methods: have ``check(exchange)``; see :mod:`revproxy.auth.methods`.
    :param together: all have to accept, and not any.
    :param told: the names that clients can't send.
    :param removers: what takes the credentials out of a request that is let pass.
    :param headers: names and values of the fields for the backend.
    """

    __slots__ = ("_headers", "_hidden", "_methods", "_removers", "_together", "_told")

    def __init__(
        self,
        methods: Sequence[Any],
        together: bool,
        told: frozenset[bytes],
        removers: Sequence[Callable[[Request], None]] = (),
        headers: Sequence[tuple[bytes, Value]] = (),
    ) -> None:
        self._methods = tuple(methods)
        self._together = together
        self._told = told
        self._removers = tuple(removers)
        self._headers = tuple(headers)
        self._hidden = told | {name.lower().replace(b"_", b"-") for name, _ in headers}

    def __call__(self, exchange: Exchange) -> Answer | Deferred[Any] | None:
        request = exchange.request
        headers = request.headers
        headers.fields = without_told(headers.fields, self._told, request.kinds)
        # backends may join trailers to the head; they come before this or after it
        exchange.admit_trailers = self._admitted_trailers
        if exchange.trailers:
            exchange.trailers = self._admitted_trailers(exchange.trailers)
        return self._go(exchange, 0, [], [])

    def _admitted_trailers(self, trailers: Sequence[Field]) -> Sequence[Field]:
        return without_told(list(trailers), self._hidden, UNDERSCORE)

    def _go(
        self, exchange: Exchange, at: int, accepted: list[Identity], refused: list[Refusal]
    ) -> Answer | Deferred[Any] | None:
        methods = self._methods
        while at < len(methods):
            outcome = methods[at].check(exchange)
            at += 1
            if isinstance(outcome, Deferred):
                return outcome.addCallback(self._came, exchange, at, accepted, refused)
            if self._is_over(outcome, accepted, refused):
                break
        return self._verdict(exchange, accepted, refused)

    def _came(
        self,
        outcome: Identity | Refusal,
        exchange: Exchange,
        at: int,
        accepted: list[Identity],
        refused: list[Refusal],
    ) -> Answer | Deferred[Any] | None:
        if self._is_over(outcome, accepted, refused):
            return self._verdict(exchange, accepted, refused)
        return self._go(exchange, at, accepted, refused)

    def _is_over(self, outcome: Identity | Refusal, accepted: list[Identity], refused: list[Refusal]) -> bool:
        if isinstance(outcome, Identity):
            accepted.append(outcome)
            return not self._together
        refused.append(outcome)
        return self._together

    def _verdict(self, exchange: Exchange, accepted: list[Identity], refused: list[Refusal]) -> Answer | None:
        if accepted and not (self._together and refused):
            self._admit(exchange, merged(accepted))
            return None
        return refuse(exchange, refused)

    def _admit(self, exchange: Exchange, identity: Identity) -> None:
        request = exchange.request
        exchange.identity = identity
        # values may be made of the credentials themselves, so they are read before these go
        made = [field(name, value) for name, read in self._headers if (value := read(exchange))]
        headers = request.headers
        for remove in self._removers:
            remove(request)
        if made or identity.fields:
            # those of clients are gone already; what is written here goes before what a service said
            names = {f[0] for f in made} if identity.fields else ()
            headers.fields = [*headers.fields, *(f for f in identity.fields if f[0] not in names), *made]


def give_cookies(exchange: Exchange) -> None:
    """A client-response hook: the cookies of the service that was asked, in place of the backend's of these names."""
    identity, response = exchange.identity, exchange.response
    if identity is None or not identity.cookies or response is None:
        return
    names = {cookie_name(f[1]) for f in identity.cookies}
    fields = response.headers.fields
    response.headers.fields = [
        *(f for f in fields if f[0] != b"set-cookie" or cookie_name(f[1]) not in names),
        *identity.cookies,
    ]


def refuse(exchange: Exchange, refusals: Sequence[Refusal]) -> Answer:
    """The answer for what was refused; the exchange has the fault."""
    told = most_telling(refusals)
    exchange.fault = told.fault
    exchange.detail = told.detail
    if told.answer is not None:
        return told.answer
    status = told.fault.status
    accept = b", ".join(exchange.request.headers.get_all(b"accept"))
    page = fault_page(status, accept, exchange.request_id, told.retry_after)
    if status == 401:
        for refusal in refusals:
            if refusal.challenge:
                page.headers.add(b"WWW-Authenticate", refusal.challenge)
    elif told.challenge:
        page.headers.add(b"WWW-Authenticate", told.challenge)
    return page
