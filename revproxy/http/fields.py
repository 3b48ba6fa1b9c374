"""Field lines: bytes to :data:`~revproxy.http.message.Field` values, remembered.

Rules of this module:

* one grammar for requests, responses and trailers, so that a line accepted by one of them may be
  accepted by the others from the same table;
* the table is bounded in entries and bytes and emptied when full;
* it never holds what is secret (credentials, cookies, URLs with a query, what a client marked as
  such), and a line is logged by its name only.
"""

from __future__ import annotations

import re

from revproxy.fault import CLIENT_BAD_REQUEST, Fault, ProtocolError
from revproxy.http.message import TOKEN, VALUE, Field, kind_of

CACHED = 4096  # entries of a table
CACHED_LINE = 256  # bytes of the longest line that is kept

#: Fields whose values open doors.
SECRET = frozenset(
    b"authorization proxy-authorization authentication-info proxy-authentication-info www-authenticate"
    b" proxy-authenticate cookie cookie2 set-cookie set-cookie2 api-key x-api-key x-auth-token x-access-token"
    b" x-csrf-token x-xsrf-token csrf-token x-session-token x-amz-security-token x-vault-token"
    b" x-goog-iap-jwt-assertion private-token sec-websocket-key sec-websocket-protocol x-forwarded-access-token".split()
)
#: Fields that hold URLs, whose queries open doors.
_URLS = frozenset(b"referer location content-location refresh link x-original-url x-rewrite-url".split())

#: Lines that were accepted, without their CRLF.
known_fields: dict[bytes, Field] = {}

#: A field as HPACK has it: name, value, and whether no table may hold it (RFC 7541 7.1.3).
Pair = tuple[bytes, bytes, bool]

#: Pairs that were accepted.
known_pairs: dict[Pair, Field] = {}

#: RFC 9113 8.2.1: a token without upper case.
_LOWER_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BLANKS = (b" ", b"\t")


def is_secret(name: bytes, value: bytes) -> bool:
    """Whether a field of this lower-case name and value may open doors: no table holds it."""
    return name in SECRET or (name in _URLS and b"?" in value)


def parse_field(line: bytes, fault: Fault) -> Field:
    """One field line without its CRLF.

    :raises ProtocolError: for a name that is no token, white space before the colon, obs-fold,
        control bytes, or no colon at all (RFC 9112 5).
    """
    name, colon, value = line.partition(b":")
    if not colon or not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
        raise ProtocolError(fault, f"malformed field line {name[:40]!r}" if colon else "field line without a colon")
    lower = name.lower()
    value = value.strip(b" \t")
    parsed = (lower, value, name + b": " + value, kind_of(lower))
    if len(line) <= CACHED_LINE and not is_secret(lower, value):
        if len(known_fields) >= CACHED:
            known_fields.clear()
        known_fields[line] = parsed
    return parsed


def parse_pair(pair: Pair, malformed: type[ProtocolError], fault: Fault = CLIENT_BAD_REQUEST) -> Field:
    """One field of an HTTP/2 message; the line that is sent on keeps the name's lower case.

    :raises malformed: for a name that is no token or has upper case (so for pseudo-fields, too),
        and for a value with control bytes or white space around it (RFC 9113 8.2.1).
    """
    name, value, sensitive = pair
    if not _LOWER_TOKEN.fullmatch(name):
        raise malformed(fault, f"malformed field name {name[:40]!r}")
    if not VALUE.fullmatch(value) or value[:1] in _BLANKS or value[-1:] in _BLANKS:
        raise malformed(fault, f"malformed value of {name[:40]!r}")
    parsed = (name, value, b"%b: %b" % (name, value), kind_of(name))
    if not sensitive and len(parsed[2]) <= CACHED_LINE and not is_secret(name, value):
        if len(known_pairs) >= CACHED:
            known_pairs.clear()
        known_pairs[pair] = parsed
    return parsed


def find_flaw(partial: bytes, known: int = 0) -> bool:
    """Whether an unfinished head can't become a valid one: bare CR or LF, or NUL.

    :param known: bytes of it in which there was none: by the byte, 30 KB would take 200 us for each.
    """
    if known:
        partial = partial[known - (2 if partial[known - 1] == 0x0A else 1) :]
    if b"\0" in partial:
        return True
    left = partial.replace(b"\r\n", b"")
    return b"\n" in left or b"\r" in (left[:-1] if partial[-1:] == b"\r" else left)
