"""Cache-Control for some caches only: CDN-Cache-Control and the like (RFC 9213).

Rules of this module:

* the fields of the list are dictionaries of structured fields (RFC 9651 3.2), read by a parser of
  those: an empty or malformed one says nothing, and the next of the list, then Cache-Control and
  Expires, decide; a valid one hides both of these (RFC 9213 2.2);
* a member of the wrong type permits nothing: seconds that are no whole number count as 0;
* nothing is removed: the fields go on to the client (RFC 9213 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import http_sf

from revproxy.cache.directives import FOREVER, NO_CACHE, PERMITS, PRIVATE, Directives
from revproxy.http.message import Headers

_LONGEST = 2048  # bytes of a field that is read; the parser takes about 100 ns for each


def parse_targeted(lines: Sequence[bytes]) -> Directives | None:
    """The directives of a targeted field's lines, ``None`` when it is empty, malformed or too long."""
    text = b", ".join(lines)
    if not text or len(text) > _LONGEST:
        return None
    try:
        members = http_sf.parse(text, tltype="dictionary")
    except ValueError:
        return None
    if not isinstance(members, dict) or not members:
        return None
    said = Directives()
    for key, member in members.items():
        value = member[0] if isinstance(member, tuple) else member
        name = key.encode("ascii")
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if said.give(name, min(int(value), FOREVER) if whole else 0):  # type: ignore[arg-type]  # whole says so
            continue
        if name in (b"private", b"no-cache"):
            bit = PRIVATE if name == b"private" else NO_CACHE
            said.withhold(bit, str(value).encode("utf-8") if isinstance(value, (str, http_sf.Token)) else None)
        else:
            bit = said.flag(name)
            if not bit & PERMITS or value is True:
                said.bits |= bit
    return said


def find_targeted(headers: Headers, names: Sequence[bytes]) -> Directives | None:
    """What the first valid field of a target list says, ``None`` where there is none (RFC 9213 2.2).

    :param names: lower-case field names, the most specific first.
    """
    for name in names:
        lines = headers.get_all(name)
        if lines and (said := parse_targeted(lines)) is not None:
            return said
    return None
