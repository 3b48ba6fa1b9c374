"""Requests, responses and their header fields as values.

Rules of this module:

* what is on the wire is ``bytes``; a field keeps its order, its case and its wire form;
* a field is a plain tuple ``(name, value, line, kind)``: the lower-case name, the value without
  surrounding white space, the line as it is sent (without CRLF), and what the proxy has to do
  about it (0 for most, so that the hot path can pass by with one test);
* nothing here does I/O and nothing here knows which side of the proxy it is on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field as field_of

from revproxy.http.telling import TELLING
from revproxy.http.tlsinfo import ClientIdentity as ClientIdentity, TlsInfo as TlsInfo

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from revproxy.http.blocks import Lines, RequestBlock

    Network = IPv4Network | IPv6Network

Field = tuple[bytes, bytes, bytes, int]

# What the proxy has to do about a field. Bits, so that one test covers several.
CONNECTION = 1 << 0  # names further hop-by-hop fields (RFC 9110 7.6.1)
HOP = 1 << 1  # hop-by-hop: never forwarded as it is
LENGTH = 1 << 2  # Content-Length
CODING = 1 << 3  # Transfer-Encoding
HOST = 1 << 4
EXPECT = 1 << 5
FORWARDED = 1 << 6  # says where a request came from: believed only from trusted peers
UPGRADE = 1 << 7
TE = 1 << 8
MAPPED = 1 << 9  # holds a URL, domain or path of the backend's
UNDERSCORE = 1 << 10  # a name that backends could confuse with another
DATE = 1 << 11
OURS = 1 << 12  # made by us or by the user's code: a peer's Connection can't name it away

_KINDS: dict[bytes, int] = {
    b"connection": CONNECTION | HOP,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"proxy-authenticate": HOP,
    b"proxy-authorization": HOP,
    b"http2-settings": HOP,
    b"te": TE | HOP,
    b"upgrade": UPGRADE | HOP,
    b"transfer-encoding": CODING | HOP,
    b"content-length": LENGTH,
    b"host": HOST,
    b"date": DATE,
    b"expect": EXPECT,
    b"forwarded": FORWARDED,
    b"x-forwarded-for": FORWARDED,
    b"x-forwarded-proto": FORWARDED,
    b"x-forwarded-host": FORWARDED,
    b"x-forwarded-port": FORWARDED,
    b"x-forwarded-server": FORWARDED,
    b"x-forwarded-prefix": FORWARDED,
    b"x-forwarded-ssl": FORWARDED,
    b"x-forwarded-scheme": FORWARDED,
    b"x-forwarded": FORWARDED,
    b"x-forwarded-by": FORWARDED,
    b"x-forwarded-protocol": FORWARDED,
    b"x-forwarded-uri": FORWARDED,
    b"x-forwarded-path": FORWARDED,
    b"x-original-forwarded-for": FORWARDED,
    b"x-original-host": FORWARDED,
    b"x-original-url": FORWARDED,  # some frameworks route by these two instead of the target
    b"x-rewrite-url": FORWARDED,
    b"x-original-uri": FORWARDED,
    b"x-original-method": FORWARDED,
    b"x-url-scheme": FORWARDED,
    b"front-end-https": FORWARDED,
    b"x-client-ip": FORWARDED,
    b"x-cluster-client-ip": FORWARDED,
    b"true-client-ip": FORWARDED,
    b"x-real-ip": FORWARDED,
    b"cf-connecting-ip": FORWARDED,
    b"cf-connecting-ipv6": FORWARDED,
    b"fastly-client-ip": FORWARDED,
    b"fly-client-ip": FORWARDED,
    b"x-azure-clientip": FORWARDED,
    b"x-azure-socketip": FORWARDED,
    b"x-appengine-user-ip": FORWARDED,
    b"proxy": FORWARDED,  # CGI makes HTTP_PROXY of it, which clients in applications obey (CVE-2016-5385)
    b"x-request-id": FORWARDED,
    b"location": MAPPED,
    b"content-location": MAPPED,
    b"refresh": MAPPED,
    b"set-cookie": MAPPED,
}


#: Most names are told apart by one look-up.
_TELL_BEGINNINGS = frozenset(name[:4] for name in TELLING)


#: FORWARDED fields that the proxy writes itself: nobody else's reach a backend beside them.
OWN = frozenset(b"forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-request-id".split())


def kind_of(name: bytes) -> int:
    """What the proxy has to do about fields of this lower-case name: bits, 0 for nothing.

    CGI-like backends read ``X_Forwarded_For`` as ``X-Forwarded-For``: where underscores pass, the
    twin of a name that has a kind still goes no further than a hop-by-hop field does.
    """
    if b"_" not in name:
        kind = _KINDS.get(name, 0)
        if kind or name[:4] not in _TELL_BEGINNINGS:
            return kind
        return FORWARDED if name.startswith(TELLING) else 0
    twin = kind_of(name.replace(b"_", b"-")) & ~MAPPED
    return UNDERSCORE | HOP if twin else UNDERSCORE


TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: RFC 9110 5.5: no control bytes but the tab.
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def field(name: bytes, value: bytes) -> Field:
    """A field made by us or by the user's code.

    It is believed: of the FORWARDED names only those that the proxy writes itself (:data:`OWN`)
    keep that kind, so that a hook's ``X-Real-IP`` reaches the backend.

    :raises ValueError: when the name is no token or the value holds a control byte.
    """
    if not TOKEN.fullmatch(name):
        raise ValueError(f"not a field name: {name!r}")
    if not VALUE.fullmatch(value):
        raise ValueError(f"control bytes in the value of {name.decode('ascii')}: {value!r}")
    lower = name.lower()
    value = value.strip(b" \t")
    kind = kind_of(lower)
    if kind == FORWARDED and lower not in OWN:
        kind = 0
    return (lower, value, name + b": " + value, kind | OURS)


class Headers:
    """Header fields in their order; look-ups ignore case (RFC 9110 5.1).

    ``fields`` is never changed in place, only replaced: messages share lists, and a list that is
    still the same says that nothing was changed.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: list[Field] | None = None) -> None:
        self.fields: list[Field] = [] if fields is None else fields

    @classmethod
    def of(cls, items: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Fields from pairs of name and value. :raises ValueError: as :func:`field` does."""
        return cls([field(name, value) for name, value in items])

    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        """The first value of the field, or ``default``."""
        name = bytes.lower(name)  # a TypeError for str, which would never be found
        for f in self.fields:
            if f[0] == name:
                return f[1]
        return default

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of the field, in order."""
        name = bytes.lower(name)  # a TypeError for str, which would never be found
        return [f[1] for f in self.fields if f[0] == name]

    def get_list(self, name: bytes) -> list[bytes]:
        """The members of a comma-separated field over all its lines, empty ones left out."""
        return [item for value in self.get_all(name) for part in value.split(b",") if (item := part.strip(b" \t"))]

    def __contains__(self, name: bytes) -> bool:
        name = bytes.lower(name)  # a TypeError for str, which would never be found
        return any(f[0] == name for f in self.fields)

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every field of this name by one. :raises ValueError: as :func:`field` does."""
        new = field(name, value)
        for at, f in enumerate(self.fields):
            if f[0] == new[0]:
                rest = [g for g in self.fields[at + 1 :] if g[0] != new[0]]
                self.fields = [*self.fields[:at], new, *rest]
                return
        self.fields = [*self.fields, new]

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field. :raises ValueError: as :func:`field` does."""
        self.fields = [*self.fields, field(name, value)]

    def remove(self, name: bytes) -> None:
        """Remove every field of this name; no error when there is none."""
        name = bytes.lower(name)  # a TypeError for str, which would never be found
        self.fields = [f for f in self.fields if f[0] != name]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of lower-case name and value."""
        return ((f[0], f[1]) for f in self.fields)

    def copy(self) -> Headers:
        return Headers(self.fields[:])

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and [f[:2] for f in self.fields] == [f[:2] for f in other.fields]

    def __repr__(self) -> str:
        return f"Headers({[f[2] for f in self.fields]})"


@define(eq=False)
class Arrival:
    """How requests of one connection reached us; shared by all of them.

    :param peer: the address of the client's end of the connection, as text (``""`` for a Unix socket).
    :param peer_port: its port, 0 where there is none.
    :param port: the port of ours that it connected to, 0 where there is none.
    :param scheme: ``b"http"`` or ``b"https"``.
    :param listen: the name of the listener.
    :param trusted: whether ``peer`` is one of the trusted proxies.
    :param forwarded: the serialised fields that say so to a backend (made once for a connection).
    :param local: the address of our end, for requests that name no host.
    :param hsts: the value of Strict-Transport-Security for responses that have none, or ``b""``.
    :param tls: what is known of its TLS; ``None`` without, and where an endpoint has TLS of its own.
    """

    peer: str = ""
    peer_port: int = 0
    port: int = 0
    scheme: bytes = b"http"
    listen: str = ""
    trusted: bool = False
    forwarded: bytes = b""
    local: str = ""
    hsts: bytes = b""
    tls: TlsInfo | None = None


#: Of a request that came by no connection.
NOWHERE = Arrival()


class Request:
    """One request as it is routed and sent on.

    :ivar method: the method token.
    :ivar path: normalised path (RFC 3986 6.2.2.2); what routes match and what backends get.
    :ivar query: the query without ``?``, or ``None``.
    :ivar raw_target: the request target as the client sent it, for the log.
    :ivar host: lower-case host without port, ``b""`` when the client named none.
    :ivar authority: the Host field's value as received.
    :ivar version: 10 or 11 (20 for HTTP/2).
    :ivar headers: all fields as received, in order.
    :ivar kinds: all bits of the fields' kinds together.
    :ivar length: bytes of the body, ``None`` when it is chunked.
    :ivar keep_alive: whether the client's connection may carry another request.
    :ivar expects_continue: the client waits for 100 (RFC 9110 10.1.1).
    :ivar upgrade: the protocol it asks to switch to, lower case, or ``None``.
    :ivar arrival: the connection it came by.
    :ivar client: the client's address: the peer's, or what a trusted proxy said, which may be ``unknown``; ``""`` of a
        Unix socket's peer.
    :ivar scheme: ``b"http"`` or ``b"https"``: the connection's, or what a trusted proxy said.
    :ivar block: the parsed field section, for the connection to recognise when it is repeated.
    """

    __slots__ = (
        "arrival", "authority", "block", "client", "expects_continue", "headers", "host", "keep_alive",
        "kinds", "length", "method", "path", "query", "raw_target", "scheme", "upgrade", "version",
    )  # fmt: skip

    def __init__(
        self,
        method: bytes,
        path: bytes,
        query: bytes | None,
        headers: Headers,
        *,
        raw_target: bytes | None = None,
        host: bytes = b"",
        authority: bytes = b"",
        version: int = 11,
        kinds: int = 0,
        length: int | None = 0,
        keep_alive: bool = True,
        expects_continue: bool = False,
        upgrade: bytes | None = None,
        arrival: Arrival | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.raw_target = self.target if raw_target is None else raw_target
        self.host = host
        self.authority = authority
        self.version = version
        self.kinds = kinds
        self.length = length
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.upgrade = upgrade
        self.arrival: Arrival = NOWHERE if arrival is None else arrival
        self.client: str = self.arrival.peer
        self.scheme: bytes = self.arrival.scheme
        self.block: RequestBlock | None = None

    @property
    def target(self) -> bytes:
        """The origin-form target that backends get."""
        return self.path if self.query is None else self.path + b"?" + self.query

    def __repr__(self) -> str:
        return f"<Request {self.method!r} {self.host!r} {self.target!r} length={self.length}>"


class Response:
    """One response head, interim (1xx) or final.

    :ivar length: bytes of the body as declared, ``None`` when not declared.
    :ivar kinds: all bits of the fields' kinds together.
    :ivar block: where it is kept as it is sent, or ``None``.
    """

    __slots__ = ("block", "headers", "kinds", "length", "reason", "status")

    def __init__(
        self,
        status: int,
        headers: Headers | None = None,
        *,
        reason: bytes = b"",
        length: int | None = None,
        kinds: int = 0,
    ) -> None:
        self.status = status
        self.headers = Headers() if headers is None else headers
        self.reason = reason
        self.length = length
        self.kinds = kinds
        self.block: Lines | None = None

    def copy(self) -> Response:
        """A response of its own, for who may change it; what is remembered of it stays with the original."""
        response = Response(self.status, Headers(self.headers.fields), reason=self.reason)
        response.length = self.length
        response.kinds = self.kinds
        return response

    def __repr__(self) -> str:
        return f"<Response {self.status} length={self.length} {self.headers!r}>"


def _headers(value: Any) -> Headers:
    if isinstance(value, Headers):
        return value
    return Headers.of(value.items() if isinstance(value, Mapping) else value)


@define(eq=False)
class Answer:
    """A whole response made by us: what a hook or a handler returns to answer at once.

    :param status: 200 to 999.
    :param headers: :class:`Headers`, pairs, or a mapping, of bytes. Content-Length is added when it is sent.
    :param body: bytes.
    :raises TypeError: for text where bytes belong, and other wrong types.
    :raises ValueError: for an interim status, and as :func:`field` does.
    """

    status: int
    headers: Headers = field_of(factory=Headers, converter=_headers)
    body: bytes = b""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.status, int):
            raise TypeError(f"status is a number, not {type(self.status).__name__}")
        if not 200 <= self.status <= 999:
            raise ValueError(f"{self.status} is no final status")
        if not isinstance(self.body, bytes):
            raise TypeError(f"body is bytes, not {type(self.body).__name__}")
