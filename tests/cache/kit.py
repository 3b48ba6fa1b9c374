"""Requests, responses and stored ones in a line, for the cache's tests."""

from __future__ import annotations

from revproxy.cache.key import make_key
from revproxy.cache.rules import Rules
from revproxy.cache.stored import Stored
from revproxy.cache.storing import Refusal, may_store
from revproxy.fault import BACKEND_BAD_RESPONSE
from revproxy.http.fields import parse_field
from revproxy.http.message import Headers, Request, Response

#: Sun, 06 Nov 1994 08:49:37 GMT
NOW = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
RULES = Rules()


def headers(*lines: str) -> Headers:
    """Fields as a connection reads them, of ``"Name: value"``."""
    return Headers([parse_field(line.encode("latin-1"), BACKEND_BAD_RESPONSE) for line in lines])


def request(*lines: str, method: bytes = b"GET", path: bytes = b"/", query: bytes | None = None, **more) -> Request:
    given = headers(*lines)
    kinds = 0
    for f in given.fields:
        kinds |= f[3]
    more.setdefault("host", b"example.com")
    more.setdefault("authority", more["host"])
    return Request(method, path, query, given, kinds=kinds, **more)


def response(*lines: str, status: int = 200, length: int | None = 10) -> Response:
    return Response(status, headers(*lines), reason=b"X", length=length)


def put(
    *lines: str,
    asked: Request | None = None,
    status: int = 200,
    rules: Rules = RULES,
    dated: bool = True,
    length: int = 10,
    now: float = NOW,
    delay: float = 0,
) -> Stored | Refusal:
    """What becomes of a response with these fields; Date is that of its coming."""
    asked = request() if asked is None else asked
    if dated and not any(line.startswith("Date:") for line in lines):
        lines = (f"Date: {DATE}", *lines)
    made = may_store(
        asked, response(*lines, status=status, length=length), rules, make_key(asked, rules), now - delay, now
    )
    if isinstance(made, Stored):
        made.length = length
    return made


def stored(*lines: str, **more) -> Stored:
    made = put(*lines, **more)
    assert isinstance(made, Stored), made
    return made
