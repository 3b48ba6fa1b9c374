"""What responses that passed the cache by add to what is stored: those to HEAD (RFC 9111 4.3.5) and to POST.

Rules of this module:

* only answers to requests by which a cache may be filled count: not those with fields or parameters that no key
  holds, since what one client sent would be in the answers for the others;
* the answer to HEAD freshens what GET stored, or makes it stale;
* the answer to POST is stored if it is what GET would get from now on, and says so (RFC 9110 9.3.3): a 200 with
  explicit freshness whose Content-Location is the target;
* the POST takes its own way, with the client's fields; its body is read along as it leaves for the client;
* what was purged while it was being answered is not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from revproxy.cache.invalidate import same_origin
from revproxy.cache.key import as_get, authority_of, fill_fields, inner_path, keyed_query, make_key
from revproxy.cache.policy import Forward, choose, read_request
from revproxy.cache.storing import Refusal, freshen_by_head, may_store
from revproxy.cache.tags import TAG_FIELDS, tags_of
from revproxy.http.message import Request, Response

if TYPE_CHECKING:
    from revproxy.cache.entry import Filling
    from revproxy.cache.rules import Rules
    from revproxy.cache.store import Store
    from revproxy.cache.stored import Stored
    from revproxy.exchange import Exchange

_EXPLICIT = frozenset({"s-maxage", "max-age", "expires"})


class Noted:
    """What is remembered of a POST or a HEAD that passes by.

    :ivar decision: as of any other. :ivar request: the GET of the same target and fields, before any hook changed
        them. :ivar asked: the wall clock. :ivar purges: how many there had been of what was pending.
        :ivar stale: there were more when its response came.
    """

    __slots__ = ("asked", "decision", "purges", "request", "stale")

    def __init__(self, decision: Forward, request: Request, asked: float, purges: int) -> None:
        self.decision = decision
        self.asked = asked
        self.purges = purges
        self.stale = False
        self.request = as_get(request)
        self.request.headers = request.headers.copy()


def speaks_for_all(request: Request, rules: Rules) -> bool:
    """Whether what a backend answers to a request with all of its fields is what it answers to a fill."""
    if read_request(request, rules).forward is not None:
        return False
    return (
        len(fill_fields(request, rules)) == len(request.headers) and keyed_query(request.query, rules) == request.query
    )


def may_store_posted(
    posted: Noted, response: Response, rules: Rules, mapping: tuple[bytes, bytes] | None, now: float
) -> Stored | Refusal:
    """Whether the response to a POST answers later GETs, and as what.

    :param response: as it came through the backend-response hooks.
    :param mapping: the prefix of paths at backends, and the public one.
    """
    request, headers = posted.request, response.headers
    located = headers.get_all(b"content-location")
    if response.status != 200 or len(located) != 1:
        return Refusal("no 200 that says where it is found")
    target = same_origin(located[0], request, authority_of(request))
    if target is None or target[1] != request.query or request.path not in (target[0], inner_path(target[0], mapping)):
        return Refusal("Content-Location is not the target")
    if not speaks_for_all(request, rules):
        return Refusal("a GET like it would pass by, or the request says what no key holds")
    if b"set-cookie" in headers:
        return Refusal("set-cookie")
    made = may_store(request, response, rules, make_key(request, rules), posted.asked, now)
    if not isinstance(made, Refusal) and made.source not in _EXPLICIT:
        return Refusal("no explicit freshness")
    return made


def take_note(
    exchange: Exchange,
    noted: Noted,
    response: Response,
    rules: Rules,
    store: Store,
    mapping: tuple[bytes, bytes] | None,
    now: float,
) -> None:
    """Do to what is stored what a response that passed by says of it, after the backend-response hooks.

    :param mapping: the prefix of paths at backends, and the public one. :param now: the wall clock in seconds.
    """
    if exchange.request.method == b"POST":
        _keep(exchange, noted, rules, store, mapping, now)
    elif speaks_for_all(noted.request, rules):
        _freshen(noted, response, rules, store, now)


def _freshen(noted: Noted, response: Response, rules: Rules, store: Store, now: float) -> None:
    request = noted.request
    if response.status != 200 or b"authorization" in request.headers:
        return
    entries = store.variants(make_key(request, rules))
    stored = choose([entry.meta for entry in entries], request)
    if stored is None:
        return
    freshened = freshen_by_head(stored, request, response, rules, noted.asked, now)
    if freshened is None:
        stored.expire(now)
    elif not freshened.refused:
        entry = next(entry for entry in entries if entry.meta is stored)
        fields = response.headers.fields
        tags = tags_of(fields) if any(f[0] in TAG_FIELDS for f in fields) else None
        store.refresh(entry, freshened.stored, tags)


def _keep(
    exchange: Exchange,
    posted: Noted,
    rules: Rules,
    store: Store,
    mapping: tuple[bytes, bytes] | None,
    now: float,
) -> None:
    response = exchange.response
    if response is None or exchange.filter is not None:
        return
    made = may_store_posted(posted, response, rules, mapping, now)
    tags = tags_of(response.headers.fields)
    if isinstance(made, Refusal) or tags is None:
        return
    made.headers.fields = [f for f in made.headers.fields if f[0] not in TAG_FIELDS]
    filling = store.begin(made.key, made, response.length, tags)
    if filling is not None:
        exchange.filter = Keeper(exchange, made, filling)


class Keeper:
    """A filter that changes nothing, and stores what it sees."""

    __slots__ = ("_exchange", "_filling", "_meta")

    def __init__(self, exchange: Exchange, meta: Stored, filling: Filling) -> None:
        self._exchange = exchange
        self._meta = meta
        self._filling = filling

    def begin(self, first: bytes, ended: bool) -> None:
        """The head, and what is there of the body."""
        self._filling.write(first)
        if ended:
            self._done()
        self._exchange.pass_head(first, ended)

    def feed(self, data: bytes) -> None:
        """Body bytes."""
        self._filling.write(data)
        self._exchange.pass_body(data)

    def end(self, trailers: Sequence[Any]) -> None:
        """The body is complete."""
        self._done()
        self._exchange.response_end(trailers)

    def drop(self) -> None:
        """The response was cut short."""
        self._filling.abort()

    def _done(self) -> None:
        self._exchange.filter = None
        self._meta.length = self._filling.length
        self._filling.commit()
