"""Entity tags, and the preconditions that carry validators (RFC 9110 8.8, 13; RFC 9111 4.3).

Rules of this module:

* a validator that is not well-formed is none: it is passed on but neither sent nor compared;
* If-None-Match compares weakly, ranges strongly (RFC 9110 13.1.2, 13.1.5);
* If-Match and If-Unmodified-Since are the origin's to judge (RFC 9111 4.3.2).
"""

from __future__ import annotations

import re

from revproxy.cache.dates import parse_date
from revproxy.cache.stored import Stored
from revproxy.http.message import Field, Headers

_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ETAG = re.compile(_TAG)
_LISTED = re.compile(rb"[ \t,]*+(" + _TAG + rb")[ \t]*+(?=,|\Z)")
_MOST = 256  # tags of a line that are looked at


def is_etag(text: bytes) -> bool:
    """Whether it is one entity tag (RFC 9110 8.8.3)."""
    return _ETAG.fullmatch(text) is not None


def same_weakly(one: bytes, other: bytes) -> bool:
    """RFC 9110 8.8.3.2: the opaque parts are the same; false for ``b""``."""
    return bool(one) and one.removeprefix(b"W/") == other.removeprefix(b"W/")


def same_strongly(one: bytes, other: bytes) -> bool:
    """RFC 9110 8.8.3.2: the same, and neither is weak; false for ``b""``."""
    return bool(one) and one == other and not one.startswith(b"W/")


def _lists(values: list[bytes], etag: bytes) -> bool:
    """Whether an If-None-Match names this tag; what is malformed, or too much, ends its line."""
    opaque = etag.removeprefix(b"W/")
    for value in values:
        if opaque not in value:
            continue
        at = 0
        for _ in range(_MOST):
            match = _LISTED.match(value, at)
            if match is None:
                break
            if same_weakly(match[1], etag):
                return True
            at = match.end()
    return False


def is_unmodified(stored: Stored, headers: Headers, now: float) -> bool:
    """Whether a request's preconditions make the answer a 304 (RFC 9110 13.2.2, RFC 9111 4.3.2).

    If-None-Match hides If-Modified-Since; only a stored 200 has them judged. Without Last-Modified
    the response's Date stands for it.
    """
    if stored.status != 200:
        return False
    tags = headers.get_all(b"if-none-match")
    if tags:
        if len(tags) == 1 and tags[0] == b"*":
            return True
        return _lists(tags, stored.etag)
    since = headers.get_all(b"if-modified-since")
    if len(since) != 1:
        return False
    moment = parse_date(since[0], now)
    if moment is None:
        return False
    modified = stored.date if stored.last_modified is None else stored.last_modified
    return modified <= moment


def range_applies(stored: Stored, headers: Headers, now: float) -> bool:
    """Whether If-Range, where there is one, lets a Range be answered (RFC 9110 13.1.5).

    A date has to be the stored Last-Modified exactly, at least a second before its Date (8.8.2.2).
    """
    wanted = headers.get_all(b"if-range")
    if not wanted:
        return True
    if len(wanted) > 1:
        return False
    if b'"' in wanted[0]:
        return is_etag(wanted[0]) and same_strongly(stored.etag, wanted[0])
    moment = parse_date(wanted[0], now)
    return moment is not None and moment == stored.last_modified and stored.last_modified + 1 <= stored.date


def can_validate(stored: Stored) -> bool:
    """Whether there is anything to ask a backend with."""
    return bool(stored.etag) or stored.last_modified is not None


def conditions_of(stored: Stored) -> list[Field]:
    """The preconditions that validate a stored response: both kinds where it has both (RFC 9111 4.3.1)."""
    conditions: list[Field] = []
    if stored.etag:
        conditions.append((b"if-none-match", stored.etag, b"If-None-Match: " + stored.etag, 0))
    if stored.last_modified is not None:
        modified = stored.headers.get(b"last-modified", b"") or b""
        conditions.append((b"if-modified-since", modified, b"If-Modified-Since: " + modified, 0))
    return conditions
