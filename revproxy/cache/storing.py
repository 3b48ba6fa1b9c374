"""What becomes of a response: stored, refused, or news of one that is stored (RFC 9111 3, 4.3.4, 4.3.5).

Rules of this module:

* only whole responses to GET are stored, interim ones and 304 never; for partial ones see
  :mod:`revproxy.cache.partial`, for those to POST :mod:`revproxy.cache.noted`;
* of a response's fields those that end at a connection, those that Connection names and those
  that ``private`` and ``no-cache`` name are not stored; when these last are needed to read the
  body, the response is not;
* everything that a look-up needs is computed here, once;
* a response is refused with a reason in words, for the log and for Cache-Status.
"""

from __future__ import annotations

from collections.abc import Sequence
from wsgiref.handlers import format_date_time

from attrs import frozen

from revproxy.cache.dates import parse_age, parse_date
from revproxy.cache.directives import MUST_UNDERSTAND, NO_CACHE, NO_STORE, PRIVATE, PUBLIC, Directives, parse_directives
from revproxy.cache.key import Key
from revproxy.cache.rules import Rules, ttl_of
from revproxy.cache.stored import HEURISTIC, SHARED, Stored, set_times
from revproxy.cache.tags import TAG_FIELDS
from revproxy.cache.targeted import find_targeted
from revproxy.cache.validators import is_etag, same_strongly, same_weakly
from revproxy.cache.vary import vary_names, vary_values
from revproxy.http.message import CODING, DATE, HOP, LENGTH, Field, Headers, Request, Response

#: Statuses whose meaning for caches is known here (RFC 9111 3: "understood"); RFC 9110 15, but for those
#: that are partial, interim, or about preconditions and ranges.
UNDERSTOOD = frozenset(
    {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408,
     409, 410, 411, 413, 414, 415, 417, 421, 422, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 511}
)  # fmt: skip
_FRAMING = HOP | LENGTH | CODING
#: Of this proxy's connection, or made anew for each answer.
_NOT_STORED = frozenset(
    {b"connection", b"age", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"trailer"}
)
#: Without these a body is not what it was.
_ESSENTIAL = frozenset({b"content-encoding", b"content-type", b"content-range", b"vary"})
#: What a 304 or a HEAD does not change (RFC 9111 3.2): they are about the stored body.
_OF_THE_BODY = frozenset({b"content-length", b"content-encoding", b"content-range"})
#: Tags are for this proxy alone, and those that it was stored with stay.
_NOT_FRESHENED = _OF_THE_BODY | TAG_FIELDS


@frozen
class Refusal:
    """A response that is not stored.

    :param reason: why, in words.
    :param asked: it is the request that forbids it, so that nothing follows from it for what is stored.
    """

    reason: str
    asked: bool = False


@frozen
class Freshened:
    """A stored response with what a 304 or a HEAD said of it.

    :param stored: a new value with the body of the old one, to answer the request with.
    :param refused: why it is not kept in the place of the old one, ``""`` when it is.
    :param drop: the old one is not to be kept either.
    """

    stored: Stored
    refused: str = ""
    drop: bool = False


def policy_of(headers: Headers, rules: Rules) -> tuple[Directives, bool]:
    """The directives that count for a response, and whether a targeted field gave them (RFC 9213 2.2)."""
    targeted = find_targeted(headers, rules.targeted) if rules.targeted else None
    if targeted is not None:
        return targeted, True
    return parse_directives(headers.get_all(b"cache-control")), False


def _kept(fields: Sequence[Field], said: Directives) -> list[Field]:
    """The fields that are stored (RFC 9111 3.1)."""
    named = set(said.withheld)
    for f in fields:
        if f[0] == b"connection":
            named.update(option.strip(b" \t").lower() for option in f[1].split(b","))
    named.discard(b"date")
    return [f for f in fields if not f[3] & _FRAMING and f[0] not in _NOT_STORED and f[0] not in named]


def _refuse_request(request: Request, said: Directives) -> str:
    """Why nothing that answers this request is stored, ``""`` where it may be."""
    if request.method != b"GET":
        return "the method is not GET"
    if request.length != 0 or request.upgrade is not None:
        return "the request has a body or asks for an upgrade"
    if parse_directives(request.headers.get_all(b"cache-control")).bits & NO_STORE:
        return "no-store in the request"
    if not said.bits & SHARED and b"authorization" in request.headers:
        return "the request is authorized and the response does not say that it may be shared"
    return ""


def _refuse_response(response: Response, said: Directives, rules: Rules) -> str:
    """Why RFC 9111 3 or the rules keep a response from being stored, ``""`` where they do not."""
    status, headers, bits, withheld = response.status, response.headers, said.bits, said.withheld
    if status < 200:
        return "the status is interim"
    if status == 206:
        return "the response is partial"
    if status == 304:
        return "the response has no body of its own"
    if bits & MUST_UNDERSTAND:
        if status not in UNDERSTOOD:
            return "must-understand, and the status is not understood"
    elif bits & NO_STORE:
        return "no-store"
    if bits & PRIVATE:
        return "private"
    if not rules.store_set_cookie and b"set-cookie" in headers and b"set-cookie" not in withheld:
        return "set-cookie"
    if withheld and any(f[0] in withheld and f[0] in _ESSENTIAL for f in headers.fields):
        return "private or no-cache names a field that the body needs"
    if response.length is not None and response.length > rules.largest:
        return "the body is too large"
    return ""


def _unspecified(stored: Stored, rules: Rules) -> str:
    """Why there is nothing to gain from storing, or nothing that allows it (RFC 9111 3), or ``""``."""
    status = stored.status
    allowed = (
        stored.bits & PUBLIC
        or stored.source not in ("none", "heuristic")
        or status in HEURISTIC
        or ttl_of(rules.default_ttl, status) is not None
    )
    if not allowed:
        return "the status is not cacheable without explicit freshness"
    if stored.etag or stored.last_modified is not None:
        return ""
    if stored.serve_until > stored.response_time:
        return ""
    if max(stored.while_until, stored.error_until) > max(stored.fresh_until, stored.response_time):
        return ""  # stale at once, but stale is allowed
    if stored.bits & NO_CACHE:
        return "no-cache, and there is nothing to validate it with"
    return "not fresh, and there is nothing to validate it with" if stored.source != "none" else "no freshness"


def may_store(
    request: Request,
    response: Response,
    rules: Rules,
    key: Key,
    request_time: float,
    response_time: float,
    trace: list[str] | None = None,
) -> Stored | Refusal:
    """Whether a response is stored, and as what (RFC 9111 3).

    :param request: as the client sent it: Vary selects by its fields.
    :param response: as it came through the backend-response hooks.
    :param key: the request's key. :param request_time: when the backend was asked.
    :param response_time: when the head came.
    """
    policy = said, _ = policy_of(response.headers, rules)
    reason = asked = _refuse_request(request, said)
    reason = reason or _refuse_response(response, said, rules)
    names = None if reason else vary_names(response.headers, rules.written)
    if not reason and names is None:
        reason = "vary names everything"
    if reason or names is None:
        if trace is not None:
            trace.append(f"not stored: {reason}")
        return Refusal(reason, bool(asked))
    stored = _make(key, response, policy, rules, (request_time, response_time))
    stored.length = None
    stored.vary = names
    stored.selected = vary_values(names, request.headers) if names else ()
    reason = _unspecified(stored, rules)
    if trace is not None:
        trace.append(f"not stored: {reason}" if reason else f"stored: {stored.source} {stored.lifetime:.0f} s")
    return Refusal(reason) if reason else stored


def _make(
    key: Key, response: Response, policy: tuple[Directives, bool], rules: Rules, times: tuple[float, float]
) -> Stored:
    """All but ``length``, ``vary`` and ``selected``."""
    headers, response_time = response.headers, times[1]
    stored = Stored()
    stored.key = key
    stored.status = response.status
    stored.reason = response.reason
    fields = _kept(headers.fields, policy[0])
    sent = headers.get(b"date")
    date = None if sent is None else parse_date(sent, response_time)
    if date is None:  # RFC 9110 6.6.1: it gets the one of when it came
        line = format_date_time(int(response_time)).encode("ascii")
        fields = [f for f in fields if f[0] != b"date"]
        fields.append((b"date", line, b"Date: " + line, DATE))
    stored.date = response_time if date is None else date
    stored.headers = Headers(fields)
    etag = stored.headers.get(b"etag", b"") or b""
    stored.etag = etag if is_etag(etag) else b""
    modified = stored.headers.get(b"last-modified")
    stored.last_modified = None if modified is None else parse_date(modified, response_time)
    set_times(stored, policy, rules, parse_age(headers.get_all(b"age")), times)
    return stored


# -- news of what is stored


def select_freshened(variants: Sequence[Stored], response: Response) -> Stored | None:
    """Which of the stored responses that could have been chosen a 304 is about (RFC 9111 4.3.4).

    ``None`` when it is about none of them; then the request goes out again, without preconditions.
    A 304 without any validator is taken to be about a single response, since validations carry its
    preconditions alone; many servers leave the validators out.
    """
    etag = response.headers.get(b"etag")
    if etag is not None and is_etag(etag):
        same = same_weakly if etag.startswith(b"W/") else same_strongly
        matching = [stored for stored in variants if same(stored.etag, etag)]
    else:
        modified = response.headers.get(b"last-modified")
        if modified is None:
            return variants[0] if len(variants) == 1 else None
        matching = [stored for stored in variants if stored.headers.get(b"last-modified") == modified]
    return max(matching, key=lambda stored: (stored.date, stored.response_time), default=None)


def freshen(
    stored: Stored,
    request: Request,
    response: Response,
    rules: Rules,
    request_time: float,
    response_time: float,
    trace: list[str] | None = None,
) -> Freshened:
    """A stored response with the fields of a 304, or of the answer to HEAD (RFC 9111 3.2, 4.3.4).

    All fields of the new one replace those of their names but Content-Length, -Encoding and
    -Range; its directives then decide anew for how long.

    :param request: the one that was being answered.
    """
    new = [f for f in response.headers.fields if not f[3] & _FRAMING and f[0] not in _NOT_FRESHENED]
    replaced = {f[0] for f in new}
    for f in response.headers.fields:  # fields that end at the connection are gone before they replace anything
        if f[0] == b"connection":
            replaced.difference_update(option.strip(b" \t").lower() for option in f[1].split(b","))
    fields = [f for f in stored.headers.fields if f[0] not in replaced]
    if b"date" not in replaced:  # it is as old as this answer, which has to say when it came
        fields = [f for f in fields if f[0] != b"date"]
    fields += [f for f in new if f[0] in replaced]
    merged = Response(stored.status, Headers(fields), reason=stored.reason, length=stored.length)
    if b"accept-encoding" in stored.vary and b"accept-encoding" not in (vary_names(merged.headers) or stored.vary):
        # what was compressed on its way here was chosen by it, whatever the origin says
        merged.headers.fields = [*fields, (b"vary", b"Accept-Encoding", b"Vary: Accept-Encoding", 0)]
    policy = said, _ = policy_of(merged.headers, rules)
    made = _make(stored.key, merged, policy, rules, (request_time, response_time))
    made.length = stored.length
    names = vary_names(merged.headers, rules.written)
    if names is None or names == stored.vary:
        made.vary, made.selected = stored.vary, stored.selected
    else:
        made.vary, made.selected = names, vary_values(names, request.headers)
    refused = _refuse_response(merged, said, rules)
    drop = refused != "set-cookie"  # that is for this client alone; the old one can be asked about again
    if not refused and names is None:
        refused = "vary names everything"
    if not refused and parse_directives(request.headers.get_all(b"cache-control")).bits & NO_STORE:
        refused, drop = "no-store in the request", False
    if not refused and not said.bits & SHARED and b"authorization" in request.headers:
        refused, drop = "the request is authorized and the response does not say that it may be shared", False
    if trace is not None:
        trace.append(f"freshened, but not kept: {refused}" if refused else f"freshened: {made.source}")
    return Freshened(made, refused, bool(refused) and drop)


def freshen_by_head(
    stored: Stored, request: Request, response: Response, rules: Rules, request_time: float, response_time: float
) -> Freshened | None:
    """A stored response with what a 200 to HEAD says of it; ``None`` when it is another (RFC 9111 4.3.5).

    It is then to be taken for stale.
    """
    etag = response.headers.get(b"etag")
    modified = response.headers.get(b"last-modified")
    if (
        response.status != stored.status
        or (etag is not None and etag != stored.headers.get(b"etag"))
        or (modified is not None and modified != stored.headers.get(b"last-modified"))
        or (response.length is not None and response.length != stored.length)
    ):
        return None
    return freshen(stored, request, response, rules, request_time, response_time)
