"""``$variables`` in header values and redirect targets.

Rules of this module:

* a template is compiled once and rendered per request; text without variables is one constant;
* ``$name`` and ``${name}`` stand for a value, ``$$`` for a dollar; any other dollar is an error;
* whatever a value holds, no control byte of it is rendered, so that no client can end a field or
  begin another one. Bytes that are escaped (``%0D%0A``) stay escaped;
* what a request does not have is the empty value.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from difflib import get_close_matches
from typing import Protocol

from revproxy.auth.outcome import Identity
from revproxy.http.message import ClientIdentity, Request, TlsInfo
from revproxy.http.parameters import cookie


class _Named(Protocol):
    @property
    def name(self) -> str | None: ...


class Subject(Protocol):
    """What a template is rendered for: an exchange."""

    @property
    def request(self) -> Request: ...

    @property
    def request_id(self) -> bytes: ...

    @property
    def route(self) -> _Named | None: ...

    @property
    def identity(self) -> Identity | None: ...

    @property
    def upstream_name(self) -> str: ...

    @property
    def backend_name(self) -> str: ...


Value = Callable[[Subject], bytes]

_CONTROLS = bytes(range(0x20)) + b"\x7f"
_CLAIM_NAME = re.compile(r"[A-Za-z0-9_.:/-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PART = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([^{}$]*)\})?")
_FIELD_NAME = re.compile(r"[a-z0-9_-]+")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def _client_port(subject: Subject) -> bytes:
    request = subject.request
    # Behind a trusted proxy the port is that proxy's and not the client's.
    if request.client != request.arrival.peer or not request.arrival.peer_port:
        return b""
    return b"%d" % request.arrival.peer_port


def _host(subject: Subject) -> bytes:
    local = subject.request.arrival.local
    return subject.request.host or (local.rpartition(":")[0] or local).encode()


def _route(subject: Subject) -> bytes:
    route = subject.route
    return b"" if route is None else (route.name or "").encode()


def _server_port(subject: Subject) -> bytes:
    port = subject.request.arrival.port
    return b"%d" % port if port else b""


def _tls(read: Callable[[TlsInfo], bytes]) -> Value:
    def value(subject: Subject) -> bytes:
        tls = subject.request.arrival.tls
        return b"" if tls is None else read(tls)

    return value


def _tls_client(read: Callable[[ClientIdentity], bytes]) -> Value:
    return _tls(lambda tls: b"" if tls.client is None else read(tls.client))


def _auth(read: Callable[[Identity], bytes]) -> Value:
    return lambda subject: b"" if subject.identity is None else read(subject.identity)


_VALUES: dict[str, Value] = {
    "client_ip": lambda s: s.request.client.encode("utf-8", "replace"),
    "client_port": _client_port,
    "host": _host,
    "authority": lambda s: s.request.authority,
    "scheme": lambda s: s.request.scheme,
    "method": lambda s: s.request.method,
    "path": lambda s: s.request.path,
    "query": lambda s: s.request.query or b"",
    "target": lambda s: s.request.target,
    "request_id": lambda s: s.request_id,
    "route": _route,
    "listen": lambda s: s.request.arrival.listen.encode(),
    "upstream": lambda s: s.upstream_name.encode(),
    "backend": lambda s: s.backend_name.encode(),
    "server_port": _server_port,
    "tls_version": _tls(lambda tls: tls.version.encode()),
    "tls_cipher": _tls(lambda tls: tls.cipher.encode()),
    "tls_server_name": _tls(lambda tls: (tls.server_name or "").encode("utf-8", "replace")),
    "tls_client_subject": _tls_client(lambda client: client.subject.encode("utf-8", "replace")),
    "tls_client_san": _tls_client(ClientIdentity.joined_sans),
    "tls_client_fingerprint": _tls_client(lambda client: client.fingerprint.encode()),
    "tls_client_serial": _tls_client(lambda client: client.serial.encode()),
    "tls_client_certificate": _tls_client(lambda client: client.header),
    "auth_user": _auth(lambda identity: identity.user),
    "auth_method": _auth(lambda identity: identity.method.encode()),
}

#: The known names; besides them ``http_NAME`` (a request field, dashes written as underscores),
#: ``cookie_NAME`` and ``auth_claim_NAME``.
NAMES: tuple[str, ...] = (*_VALUES, "time_iso8601")
PREFIXES: tuple[str, ...] = ("http_", "cookie_", "auth_claim_")


def is_known(name: str) -> bool:
    """Whether a template may use this name."""
    return name in NAMES or bool(
        (name.startswith("http_") and _FIELD_NAME.fullmatch(name[5:].lower()))
        or (name.startswith("cookie_") and _COOKIE_NAME.fullmatch(name[7:]))
        or (name.startswith("auth_claim_") and _CLAIM_NAME.fullmatch(name[11:]))
    )


def nearest(name: str) -> str | None:
    """The known name that looks most like this one, or ``None``."""
    close = get_close_matches(name, [*NAMES, "http_NAME", "cookie_NAME", "auth_claim_NAME"], n=1, cutoff=0.5)
    return close[0] if close else None


def names_in(text: str) -> list[str]:
    """The names that a template uses, known or not, in their order.

    :raises ValueError: for a dollar that begins nothing and for a control character.
    """
    return [part for part, is_name in _parts(text) if is_name]


def compile_template(text: str, now: Callable[[], float] = time.time) -> Value:
    """A function that renders the template for an exchange (see :class:`Subject`).

    :param now: seconds since the epoch, for ``$time_iso8601``.
    :return: gives the same bytes object each time when there is no variable in the text.
    :raises ValueError: as :func:`names_in` does, and for unknown names, naming the nearest one.
    """
    values: list[Value] = []
    literal = ""
    for part, is_name in _parts(text):
        if not is_name:
            literal += part
            continue
        if literal:
            values.append(_constant(literal.encode()))
            literal = ""
        values.append(_value(part, now))
    if not values:
        return _constant(literal.encode())
    if literal:
        values.append(_constant(literal.encode()))
    if len(values) == 1:
        only = values[0]
        return lambda subject: only(subject).translate(None, _CONTROLS)
    return lambda subject: b"".join([value(subject) for value in values]).translate(None, _CONTROLS)


def _parts(text: str) -> list[tuple[str, bool]]:
    """Pieces of the template: literal text (``False``) and names (``True``)."""
    if found := _CONTROL.search(text):
        raise ValueError(f"control character {found[0]!r} in {text!r}")
    parts: list[tuple[str, bool]] = []
    at = 0
    for match in _PART.finditer(text):
        if match.start() > at:
            parts.append((text[at : match.start()], False))
        at = match.end()
        dollar, plain, braced = match.groups()
        if dollar:
            parts.append(("$", False))
        elif plain or braced:
            parts.append((plain or braced, True))
        else:
            raise ValueError(
                f"a '$' without a name at character {match.start() + 1} of {text!r}; write '$$' for a dollar"
            )
    if at < len(text):
        parts.append((text[at:], False))
    return parts


def _constant(value: bytes) -> Value:
    return lambda subject: value


def _value(name: str, now: Callable[[], float]) -> Value:
    if name == "time_iso8601":
        return lambda subject: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now())).encode()
    if name in _VALUES:
        return _VALUES[name]
    if not is_known(name):
        near = nearest(name)
        hint = (
            f"; did you mean '${near}'?"
            if near
            else f"; known are {', '.join(NAMES)}, http_NAME, cookie_NAME and auth_claim_NAME"
        )
        raise ValueError(f"unknown variable '${name}'{hint}")
    if name.startswith("http_"):
        return _field(name[5:].lower().replace("_", "-").encode())
    if name.startswith("auth_claim_"):
        claim = name[11:]
        return _auth(lambda identity: identity.claim(claim))
    return _cookie(name[7:].encode())


def _field(name: bytes) -> Value:
    # RFC 9110 5.3 and, for cookies, RFC 9113 8.2.3.
    separator = b"; " if name == b"cookie" else b", "

    def value(subject: Subject) -> bytes:
        found = subject.request.headers.get_all(name)
        return found[0] if len(found) == 1 else separator.join(found)

    return value


def _cookie(name: bytes) -> Value:
    """The first cookie of this name (RFC 6265 5.4: the more specific path comes first)."""

    def value(subject: Subject) -> bytes:
        return cookie(subject.request.headers, name) or b""

    return value
