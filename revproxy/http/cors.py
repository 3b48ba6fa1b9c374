"""The CORS protocol of the Fetch standard (3.3), on the server's side.

Rules of this module:

* what is allowed is decided by browsers; a server says what it allows, and to whom. Nothing here refuses a request;
* an origin is named back only when it is allowed; where that depends on the request every response has ``Vary:
  Origin``. For ``*`` it does not: all responses are the same, and have none (Fetch, "CORS protocol and HTTP caches");
* a preflight is answered here and never by a backend; in other responses a backend's own fields are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from revproxy.http.message import OURS, Field, Headers, Request, field

#: Beginning of the names of the protocol's response fields.
_OURS = b"access-control-"
_VARY: Field = (b"vary", b"Origin", b"Vary: Origin", OURS)
_LABELS = rb"(?:[a-z0-9_-]+\.)+"


def is_preflight(request: Request) -> bool:
    """Whether a browser asks what it may send (Fetch 3.3.2: a CORS-preflight request)."""
    if request.method != b"OPTIONS":
        return False
    headers = request.headers
    return b"origin" in headers and b"access-control-request-method" in headers


class CorsRules:
    """What is said to whom.

    :param origins: ``https://name``, ``https://*.name``, or ``*`` alone.
    :param methods: those that may be used. :param headers: fields that requests may have.
    :param expose: fields that scripts may read. :param max_age: seconds for which a preflight's answer holds.
    """

    __slots__ = ("_answers", "_any", "_behind", "_exact", "_pattern", "_permits")

    def __init__(
        self,
        origins: Sequence[str],
        methods: Sequence[str],
        headers: Sequence[str],
        expose: Sequence[str],
        credentials: bool,
        max_age: float,
    ) -> None:
        self._any = "*" in origins
        wild = [origin.encode("ascii") for origin in origins if "*" in origin and origin != "*"]
        parts = [re.escape(origin).replace(rb"\*\.", _LABELS) for origin in wild]
        self._pattern = re.compile(b"|".join(parts)) if parts else None
        permitted = [field(b"Access-Control-Allow-Credentials", b"true")] if credentials else []
        answer = [*permitted, field(b"Access-Control-Allow-Methods", ", ".join(methods).encode("ascii"))]
        if headers:
            answer.append(field(b"Access-Control-Allow-Headers", ", ".join(headers).encode("ascii")))
        answer.append(field(b"Access-Control-Max-Age", b"%d" % int(max_age)))
        if expose:
            permitted = [*permitted, field(b"Access-Control-Expose-Headers", ", ".join(expose).encode("ascii"))]
        #: Behind the field that names the origin: in responses, and in answers to preflights.
        self._permits = permitted
        self._answers = answer
        exact = [origin.encode("ascii") for origin in origins if "*" not in origin]
        self._exact = {origin: _named(origin) for origin in exact}
        if self._any:
            self._behind = [_named(b"*"), *permitted]

    def _allowed(self, origin: bytes) -> Field | None:
        """The field that allows this origin, or ``None``."""
        if self._any:
            return self._behind[0]
        found = self._exact.get(origin)
        if found is None and self._pattern is not None and len(origin) <= 512 and self._pattern.fullmatch(origin):
            return _named(origin)
        return found

    def preflight(self, request: Request) -> Headers:
        """The fields of the answer to a preflight; none but Vary for an origin that is not allowed."""
        origins = request.headers.get_all(b"origin")
        allowed = self._allowed(origins[0]) if len(origins) == 1 else None
        fields = [] if self._any else [_VARY]
        return Headers(fields if allowed is None else [allowed, *self._answers, *fields])

    def response(self, origin: bytes | None, fields: list[Field]) -> list[Field]:
        """The fields of a response to a request from ``origin``, ``None`` where it names none, with ours among them."""
        kept = []
        varies = self._any
        for f in fields:
            name = f[0]
            if name == b"vary":
                varies = varies or _lists_origin(f[1])
            elif name.startswith(_OURS):
                continue
            kept.append(f)
        if self._any:
            return kept + self._behind
        if origin is not None and (allowed := self._allowed(origin)) is not None:
            kept.append(allowed)
            kept += self._permits
        if not varies:
            kept.append(_VARY)
        return kept


def _named(origin: bytes) -> Field:
    return (b"access-control-allow-origin", origin, b"Access-Control-Allow-Origin: " + origin, OURS)


def _lists_origin(value: bytes) -> bool:
    """Whether a Vary field covers Origin (RFC 9110 12.5.5)."""
    members = [member.strip(b" \t") for member in value.lower().split(b",")]
    return b"origin" in members or b"*" in members
