"""The method that asks another service, by a request of its own through that service's upstream.

Rules of this module:

* nobody gets in by mistake: 2xx lets a request pass, 401, 403 and redirects are the service's answer to the
  client, and everything else, a timeout among it, is a failure of ours;
* the service is told method, scheme, host, target and address of the request as they are routed: the path is the
  normalised one, so that both speak of the same resource. No client's word about these reaches it;
* the client's body is not sent, and it is paused meanwhile; the service's is bounded;
* an answer that is remembered is one that let pass, for exactly this method, scheme, host and target and what
  ``by`` names. A request that lacks one of these is asked for anew. Cookies in it are one client's, and not remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import Deferred

from revproxy.auth.outcome import ANSWERED, BROKEN, Identity, Refusal
from revproxy.config.auth import ForwardAuth
from revproxy.exchange import Exchange
from revproxy.fault import AUTH_FAILED, AUTH_FORBIDDEN, AUTH_MISSING, AUTH_REFUSED, AUTH_UNAVAILABLE, CLIENT_GONE, Fault
from revproxy.http.message import (
    CODING,
    EXPECT,
    FORWARDED,
    HOP,
    HOST,
    LENGTH,
    OURS,
    Answer,
    Arrival,
    Field,
    Headers,
    Request,
    Response,
    field,
)
from revproxy.http.setcookie import cookie_name
from revproxy.routing import Route
from revproxy.stream import DONE

if TYPE_CHECKING:
    from revproxy.keys import Key

#: Bytes of the service's body: what the client gets of a 401, 403 or redirect.
BODY = 64 * 1024
#: Answers that are remembered.
REMEMBERED = 4096

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_SENT = HOP | LENGTH | CODING | HOST | EXPECT | FORWARDED
#: Of the service's own connection, and ours to say.
_NOT_PASSED = HOP | LENGTH | CODING
_OURS = frozenset(
    b"x-forwarded-method x-forwarded-uri x-original-uri x-original-url x-original-method"
    b" x-auth-request-redirect"
    # of what the client has of the backend: the service would answer 304, 206 or 412 to them
    b" if-match if-none-match if-modified-since if-unmodified-since if-range range".split()
)

Outcome = Identity | Refusal


class ForwardMethod:
    """Asks a service.

    :param route: what leads to it: a handler for requests of our own.
    :param keys: what a remembered answer goes by. :param hide: names of fields of its answers that clients don't get.
    """

    __slots__ = (
        "_cache", "_copied", "_cookies", "_copy", "_hide", "_keep", "_keys", "_method", "_path", "_query", "_route",
        "_secret", "_timeout", "_user",
    )  # fmt: skip

    def __init__(self, written: ForwardAuth, route: Route, keys: Sequence[Key], hide: frozenset[bytes]) -> None:
        self._method = written.method.encode("ascii")
        path, question, query = written.path.partition("?")
        self._path = path.encode("ascii")
        self._query = query.encode("ascii") if question else None
        self._copy = frozenset(name.lower().encode("ascii") for name in written.copy_request)
        self._copied = tuple(name.lower().encode("ascii") for name in written.copy_response)
        names = [name.encode("ascii") for name in written.copy_cookies]
        self._cookies = (
            frozenset(name for name in names if not name.endswith(b"*")),
            tuple(name[:-1] for name in names if name.endswith(b"*")),
        )
        self._user = written.user.lower().encode("ascii")
        self._timeout = written.timeout
        self._keep = written.cache
        self._keys = keys
        self._route = route
        self._hide = hide
        self._secret = token_bytes(32)
        self._cache: dict[bytes, tuple[Identity, float]] = {}

    def check(self, exchange: Exchange) -> Outcome | Deferred[Outcome]:
        key = self._key(exchange) if self._keep else None
        if key is not None:
            known = self._cache.get(key)
            if known is not None:
                if exchange.engine.seconds() < known[1]:
                    return known[0]
                del self._cache[key]
        subrequest = Subrequest(exchange, self.request(exchange), self._route, self._timeout)
        return subrequest.waiter.addCallback(self._judge, key, exchange)

    def _key(self, exchange: Exchange) -> bytes | None:
        request = exchange.request
        parts = [request.method, request.scheme, request.authority, request.target]
        for read in self._keys:
            part = read(exchange)
            if part is None:
                return None
            parts.append(part)
        digest = blake2b(key=self._secret, digest_size=20)
        for part in parts:
            digest.update(b"%d:%b" % (len(part), part))
        return digest.digest()

    def request(self, exchange: Exchange) -> Request:
        """What the service is asked."""
        request = exchange.request
        arrival = request.arrival
        fields = [
            f
            for f in request.headers.fields
            if not f[3] & _NOT_SENT and f[0] not in _OURS and (not self._copy or f[0] in self._copy)
        ]
        chain = request.headers.get_list(b"x-forwarded-for") if arrival.trusted else []
        peer = arrival.peer.encode("ascii", "replace") or b"unknown"
        authority = request.authority or request.host
        for name, value in (
            (b"X-Forwarded-Method", request.method),
            (b"X-Forwarded-Proto", request.scheme),
            (b"X-Forwarded-Host", authority),
            (b"X-Forwarded-Uri", request.target),
            (b"X-Forwarded-For", b", ".join([*chain, peer])),
            (b"X-Real-IP", request.client.encode("ascii", "replace") or b"unknown"),
            (b"X-Original-Method", request.method),
            (b"X-Original-URI", request.target),
            (b"X-Original-URL", b"%b://%b%b" % (request.scheme, authority, request.target)),
            (b"X-Request-ID", exchange.request_id),
        ):
            fields.append(field(name, value))
        return Request(
            self._method,
            self._path,
            self._query,
            Headers(fields),
            host=request.host,
            authority=authority,
            kinds=LENGTH if self._method in (b"POST", b"PUT", b"PATCH") else 0,
            arrival=Arrival(scheme=arrival.scheme),
        )

    def _judge(self, found: tuple[Any, Any], key: bytes | None, exchange: Exchange) -> Outcome:
        response, body = found
        if isinstance(response, Fault):
            why = body if response is AUTH_UNAVAILABLE else f"{response.word}{f' ({body})' if body else ''}"
            return Refusal(BROKEN, AUTH_UNAVAILABLE, f"forward: {why}")
        status = response.status
        if 200 <= status < 300:
            identity = self._identity(response)
            if key is not None:
                if len(self._cache) >= REMEMBERED:
                    del self._cache[next(iter(self._cache))]
                kept = evolve(identity, cookies=()) if identity.cookies else identity
                self._cache[key] = (kept, exchange.engine.seconds() + self._keep)
            return identity
        if status == 401 or status == 403 or (status in _REDIRECTS and b"location" in response.headers):
            if len(body) > BODY:
                return Refusal(BROKEN, AUTH_FAILED, f"forward: more than {BODY} bytes with {status}")
            headers = Headers([f for f in response.headers.fields if not f[3] & _NOT_PASSED and f[0] not in self._hide])
            fault = AUTH_FORBIDDEN if status == 403 else AUTH_REFUSED if status == 401 else AUTH_MISSING
            return Refusal(ANSWERED, fault, f"forward: {status}", answer=Answer(status, headers, body))
        return Refusal(BROKEN, AUTH_FAILED, f"forward: {status}")

    def _identity(self, response: Response) -> Identity:
        fields: list[Field] = []
        for name in self._copied:
            for f in response.headers.fields:
                if f[0] == name:
                    fields.append((f[0], f[1], f[2], OURS))
        user = response.headers.get(self._user) or b""
        exact, begins = self._cookies
        cookies = [
            (f[0], f[1], f[2], OURS)
            for f in response.headers.fields
            if f[0] == b"set-cookie" and ((name := cookie_name(f[1])) in exact or name.startswith(begins))
        ]
        return Identity(user, "forward", fields=tuple(fields), cookies=tuple(cookies))


class Subrequest:
    """The client side of the exchange with the service: it gathers the answer.

    :ivar waiter: fires with response and body (of which at most one byte too many is kept), or with the fault and its
        detail where there was no answer. Cancelling it gives the request up.
    """

    __slots__ = ("_body", "_child", "_response", "_size", "_timer", "waiter")

    def __init__(self, exchange: Exchange, request: Request, route: Route, timeout: float) -> None:
        self.waiter: Deferred[Any] = Deferred(self._cancelled)
        self._response: Response | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._child: Exchange | None = None
        self._timer: Any = exchange.engine.reactor.callLater(timeout, self._late)
        child = self._child = Exchange.child(exchange.engine, self, request)
        child.take(route)

    # -- MessageStream, as the child sees it

    def write_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        if response.status < 200:
            return
        child = self._child
        assert child is not None
        if child.fault is not None:
            self._over((child.fault, child.detail))
            return
        self._response = response.copy()
        if first:
            self.write_body(first)
        if ended:
            self.end()

    def write_body(self, data: bytes) -> None:
        if self._response is None or self._timer is None:
            return
        self._size += len(data)
        if self._size <= BODY:
            self._body.append(data)
            return
        # what lets pass needs no body; what does not fit is not passed on in part
        self._finish(b"x" * (BODY + 1))
        self._give_up()

    def end(self, trailers: Sequence[Any] = ()) -> None:
        if self._response is not None:
            self._finish(b"".join(self._body))

    def abort(self, fault: Fault) -> None:
        child = self._child
        self._over((fault, "" if child is None else child.detail))

    def pause_reading(self, why: int) -> None:
        """There is no body that could be paused."""

    def resume_reading(self, why: int) -> None:
        """There is no body that could be resumed."""

    # -- how it ends

    def _finish(self, body: bytes) -> None:
        self._over((self._response, body))

    def _over(self, result: Any) -> None:
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
            self.waiter.callback(result)

    def _late(self) -> None:
        self._over((AUTH_UNAVAILABLE, "no answer in time"))
        self._give_up()

    def _cancelled(self, waiter: Deferred[Any]) -> None:
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
        self._give_up()

    def _give_up(self) -> None:
        child = self._child
        if child is not None and child.state != DONE:
            child.client_gone(CLIENT_GONE)
