"""A stored response without its body, and everything about it that can be decided beforehand.

Rules of this module:

* times are seconds of the wall clock; what a hit has to compare was computed when storing: the
  moments until which it is fresh, may be sent stale while it is validated, on errors, and while
  no backend can be reached (RFC 9111 4.2.4, RFC 5861);
* what forbids to send it stale moves those moments, so that nobody has to ask again. Explicit
  ``stale-while-revalidate`` and ``stale-if-error`` stand against ``s-maxage``, which forbids stale
  responses only by implication (RFC 9111 4: an extension may override), but against nothing else;
* age counts from ``born``: the moment at which the response's corrected initial age was 0 (4.2.3).
"""

from __future__ import annotations

from revproxy.cache.dates import parse_date
from revproxy.cache.directives import (
    FOREVER,
    MUST_REVALIDATE,
    NO_CACHE,
    PROXY_REVALIDATE,
    PUBLIC,
    S_MAXAGE,
    Directives,
)
from revproxy.cache.rules import Rules, ttl_of
from revproxy.http.message import Headers

#: RFC 9110 15.1; 206 is one, too, but partial responses are not stored here.
HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
_NEVER_STALE = MUST_REVALIDATE | PROXY_REVALIDATE
#: With one of these no agreement allows to send a response stale (RFC 9111 4.2.4).
FORBIDS_STALE = NO_CACHE | _NEVER_STALE | S_MAXAGE
#: One of these lets a response to a request with Authorization be shared (RFC 9111 3.5).
SHARED = PUBLIC | MUST_REVALIDATE | S_MAXAGE

NEVER = float("-inf")


class Stored:
    """What is known of a stored response.

    :ivar key: the two parts of its key, as :func:`revproxy.cache.key.make_key` made them.
    :ivar status: with ``reason`` and ``headers``, what is sent; Date is among the fields,
        Content-Length and Age are not.
    :ivar length: bytes of the body; ``None`` until all of it was received.
    :ivar bits: of its directives.
    :ivar lifetime: seconds of freshness, at least 0. :ivar source: what gave it: ``"s-maxage"``,
        ``"max-age"``, ``"expires"``, ``"default"``, ``"override"``, ``"heuristic"`` or ``"none"``.
    :ivar born: when its age was 0. :ivar request_time, response_time: of what stored or validated it.
    :ivar serve_until: before this it may be sent as it is; ``NEVER`` with an unqualified ``no-cache``.
    :ivar fresh_until: the end of its lifetime.
    :ivar while_until, error_until, disconnected_until: before these it may be sent stale while it is
        validated, when that gives an error, when no backend answers. None is before ``fresh_until``,
        but that all are ``NEVER`` with an unqualified ``no-cache``.
    :ivar date: of its Date field, or when it came. :ivar last_modified: ``None`` where it is not known.
    :ivar etag: its entity tag as received, ``b""`` for none or a malformed one.
    :ivar vary: the names that it was chosen by; :ivar selected: what the request said of them.
    """

    __slots__ = (
        "born", "serve_until", "vary", "selected", "bits", "fresh_until", "while_until", "error_until",
        "disconnected_until", "lifetime", "source", "key", "status", "reason", "headers", "length", "request_time",
        "response_time", "date", "etag", "last_modified",
    )  # fmt: skip

    born: float
    serve_until: float
    vary: tuple[bytes, ...]
    selected: tuple[bytes | None, ...]
    bits: int
    fresh_until: float
    while_until: float
    error_until: float
    disconnected_until: float
    lifetime: float
    source: str
    key: tuple[bytes, bytes]
    status: int
    reason: bytes
    headers: Headers
    length: int | None
    request_time: float
    response_time: float
    date: float
    etag: bytes
    last_modified: int | None

    def age(self, now: float) -> int:
        """Whole seconds of its current age (RFC 9111 4.2.3), never negative."""
        return max(0, int(now - self.born))

    def ttl(self, now: float) -> int:
        """Whole seconds of freshness left, rounded down: negative once it is stale (RFC 9211 2.4)."""
        return int((self.fresh_until - now) // 1)

    def expire(self, now: float) -> None:
        """It is stale from this moment on, and may be validated; what allows it stale counts from here."""
        early = self.fresh_until - now
        if early > 0:
            self.fresh_until = now
            self.serve_until = min(self.serve_until, now)
            self.while_until -= early
            self.error_until -= early
            self.disconnected_until -= early

    def __repr__(self) -> str:
        return f"<Stored {self.status} {self.source}={self.lifetime} vary={self.vary} length={self.length}>"


def lifetime_of(
    status: int, headers: Headers, said: Directives, targeted: bool, rules: Rules, date: float, response_time: float
) -> tuple[float, str]:
    """Seconds of freshness and what gave them (RFC 9111 4.2.1, 4.2.2).

    :param said: of Cache-Control, or of a targeted field when ``targeted``: Expires does not count
        then (RFC 9213 2.2).
    :param date: of the Date field, or when the response came.
    """
    override = ttl_of(rules.override_ttl, status)
    if override is not None:
        return override, "override"
    if said.s_maxage is not None:
        return said.s_maxage, "s-maxage"
    if said.max_age is not None:
        return said.max_age, "max-age"
    if not targeted:
        expires = headers.get(b"expires")
        if expires is not None:
            moment = parse_date(expires, response_time)  # an invalid one is in the past (5.3)
            return (0 if moment is None else min(max(0, moment - date), FOREVER)), "expires"
    default = ttl_of(rules.default_ttl, status)
    if default is not None:
        return default, "default"
    if rules.heuristic and (status in HEURISTIC or said.bits & PUBLIC):
        modified = headers.get(b"last-modified")
        moment = None if modified is None else parse_date(modified, response_time)
        if moment is not None and moment < date:
            return min((date - moment) * rules.heuristic, rules.heuristic_most), "heuristic"
    return 0, "none"


def set_times(
    stored: Stored, policy: tuple[Directives, bool], rules: Rules, age: int, times: tuple[float, float]
) -> None:
    """Compute every moment of a stored response; its status, headers, and date are there already.

    :param policy: what its directives say, and whether a targeted field gave them.
    :param age: seconds of the Age field that came with it (RFC 9111 5.1).
    :param times: when it was asked for, and when it came.
    """
    said, targeted = policy
    request_time, response_time = times
    lifetime, source = lifetime_of(stored.status, stored.headers, said, targeted, rules, stored.date, response_time)
    # RFC 9111 4.2.3, the more conservative way: the Date of a cache that sends no Age counts as well
    delay = max(0.0, response_time - request_time)
    initial = max(0.0, response_time - stored.date, age + delay)
    bits = said.bits
    stored.bits = bits
    stored.lifetime = lifetime
    stored.source = source
    stored.request_time = request_time
    stored.response_time = response_time
    stored.born = response_time - initial
    stored.fresh_until = fresh = stored.born + lifetime
    stored.serve_until = NEVER if bits & NO_CACHE else fresh
    if bits & NO_CACHE:
        stored.while_until = stored.error_until = stored.disconnected_until = NEVER
        return
    if bits & _NEVER_STALE:
        stored.while_until = stored.error_until = stored.disconnected_until = fresh
        return
    implied = bool(bits & S_MAXAGE)
    grace = 0.0 if implied else rules.grace
    on_error = said.stale_if_error
    stored.while_until = fresh + max(grace, said.stale_while_revalidate or 0)
    stored.error_until = fresh + max(grace, on_error or 0)
    disconnected = rules.disconnected if on_error is None and not implied else 0.0
    stored.disconnected_until = max(stored.error_until, fresh + disconnected)
