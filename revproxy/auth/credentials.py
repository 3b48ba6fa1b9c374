"""Credentials in requests: where they stand, and how they are taken out; and names that only the proxy may tell.

Rules of this module:

* what is ambiguous is nobody's: two Authorization fields, or one that is no credentials;
* a request whose fields are not changed keeps its list of fields: that it is the same tells that nothing was changed.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Callable, Iterable

from revproxy.http.message import UNDERSCORE, Field, Request
from revproxy.http.parameters import cookie, query_parameter, without_parameters

#: Fields by which proxies tell backends who a user is. Nobody else's reach a backend.
WELL_KNOWN = frozenset(
    b"remote-user x-remote-user x-authenticated-user x-forwarded-user x-forwarded-email x-forwarded-groups"
    b" x-forwarded-preferred-username x-forwarded-access-token x-user x-webauth-user remote-groups remote-email"
    b" remote-name x-remote-group x-remote-groups x-remote-email".split()
)
#: And how others begin.
BEGINNINGS = (b"x-auth-request-", b"x-webauth-", b"x-remote-extra-")

#: Fields that repeat a target: the page's that a request comes from, and in the words of proxies the request's own.
_TARGETS = frozenset(b"referer x-original-uri x-original-url x-forwarded-uri x-rewrite-url".split())

#: Bytes of a name with its password, and of a token.
LONGEST_BASIC = 1536
LONGEST_TOKEN = 8192

_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


def without_told(fields: list[Field], names: frozenset[bytes], kinds: int) -> list[Field]:
    """The fields that clients may send: the same list where all are.

    :param names: lower-case names beside :data:`BEGINNINGS`. :param kinds: all bits of the fields' kinds together.
    """
    if kinds & UNDERSCORE:
        return [f for f in fields if not is_told(f[0], names)]
    for f in fields:
        name = f[0]
        if name in names or (name[:2] == b"x-" and name.startswith(BEGINNINGS)):
            return [f for f in fields if not is_told(f[0], names)]
    return fields


def is_told(name: bytes, names: frozenset[bytes]) -> bool:
    """Whether :func:`without_told` takes a field of this name (lower case) out."""
    plain = name.replace(b"_", b"-")
    return plain in names or plain.startswith(BEGINNINGS)


def authorization(request: Request, scheme: bytes) -> bytes | None:
    """The credentials of Authorization of this scheme (lower case), ``b""`` for ambiguous ones, ``None`` for none."""
    found: bytes | None = None
    for f in request.headers.fields:
        if f[0] == b"authorization":
            if found is not None:
                return b""
            found = f[1]
    if found is None:
        return None
    name, _, rest = found.partition(b" ")
    return rest.strip(b" ") if name.lower() == scheme else None


def basic(credentials: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of Basic credentials (RFC 7617 2), ``None`` for what is none."""
    if len(credentials) > LONGEST_BASIC or len(credentials) % 4 or not _BASE64.fullmatch(credentials):
        return None
    try:
        plain = a2b_base64(credentials, strict_mode=True)
        plain.decode("utf-8")
    except (Error, ValueError):
        return None
    name, colon, password = plain.partition(b":")
    return (name, password) if colon and not _CONTROLS.search(plain) else None


def reader(place: str) -> Callable[[Request], bytes | None]:
    """How a token is read at ``header`` (Bearer), ``header:NAME``, ``cookie:NAME`` or ``query:NAME``."""
    kind, _, name = place.partition(":")
    wire = name.encode("utf-8")
    if kind == "query":
        return lambda request: query_parameter(request.query, wire)
    if kind == "cookie":
        return lambda request: cookie(request.headers, wire)
    if name:
        return lambda request: _only(request, wire)
    return lambda request: authorization(request, b"bearer")


def _only(request: Request, name: bytes) -> bytes | None:
    values = request.headers.get_all(name)
    return None if not values else values[0] if len(values) == 1 else b""


def remover(place: str) -> Callable[[Request], None]:
    """How what :func:`reader` reads is taken out of a request; ``header`` is the whole of Authorization."""
    kind, _, name = place.partition(":")
    wire = name.encode("utf-8")
    if kind == "query":
        return lambda request: _remove_parameter(request, wire)
    if kind == "cookie":
        return lambda request: _remove_cookie(request, wire)
    return _field_remover(wire or b"authorization")


def _field_remover(name: bytes) -> Callable[[Request], None]:
    def remove(request: Request) -> None:
        headers = request.headers
        if name in headers:
            headers.remove(name)

    return remove


def _remove_parameter(request: Request, name: bytes) -> None:
    names = (name,)
    if request.query:
        request.query = without_parameters(request.query, names)
    headers = request.headers
    made: list[Field] = []
    changed = False
    for f in headers.fields:
        if f[0] in _TARGETS and b"?" in f[1]:
            path, _, query = f[1].partition(b"?")
            kept = without_parameters(query, names)
            if kept is not query:
                changed = True
                value = path if kept is None else path + b"?" + kept
                f = (f[0], value, f[2][: len(f[0])] + b": " + value, f[3])
        made.append(f)
    if changed:
        headers.fields = made


def _remove_cookie(request: Request, name: bytes) -> None:
    headers = request.headers
    made: list[Field] = []
    changed = False
    for f in headers.fields:
        if f[0] == b"cookie":
            pairs = f[1].split(b";")
            kept = [pair for pair in pairs if pair.partition(b"=")[0].strip(b" \t") != name]
            if len(kept) != len(pairs):
                changed = True
                value = b";".join(kept).strip(b" \t")
                if not value:
                    continue
                f = (b"cookie", value, b"Cookie: " + value, f[3])
        made.append(f)
    if changed:
        headers.fields = made


def told_names(*written: Iterable[str]) -> frozenset[bytes]:
    """The names that only the proxy may tell: :data:`WELL_KNOWN` and those that were written."""
    return WELL_KNOWN | {name.lower().replace("_", "-").encode("ascii") for names in written for name in names}


def quoted(text: str) -> bytes:
    """A quoted string (RFC 9110 5.6.4) of printable ASCII; what is none becomes ``?``."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return b'"%b"' % plain.replace("\\", "\\\\").replace('"', '\\"').encode("ascii")
