"""Field lines: bytes to :data:`~revproxy.http.message.Field` values, remembered.

Rules of this module:

* one grammar for requests, responses and trailers, so that a line accepted by one of them may be
  accepted by the others from the same table;
* the table is bounded in entries and bytes and emptied when full;
* it never holds what is secret (credentials, cookies, URLs with a query), and a line is logged by
  its name only.
"""

from __future__ import annotations

from revproxy.fault import Fault, ProtocolError
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
    if len(line) <= CACHED_LINE and lower not in SECRET and not (lower in _URLS and b"?" in value):
        if len(known_fields) >= CACHED:
            known_fields.clear()
        known_fields[line] = parsed
    return parsed


def find_flaw(partial: bytes) -> bool:
    """Whether an unfinished head can't become a valid one: bare CR or LF, or NUL."""
    if b"\0" in partial:
        return True
    left = partial.replace(b"\r\n", b"")
    return b"\n" in left or b"\r" in (left[:-1] if partial[-1:] == b"\r" else left)
