"""HTTP/2 requests: decoded field sections to :class:`Request` values, without I/O (RFC 9113 8).

Rules of this module:

* what HTTP/1.1 could not say in its one way is refused here: whatever passes is sent on as one
  HTTP/1.1 message that every reader reads alike (the downgrade attacks live on the difference);
* targets, hosts, limits and the meaning of special fields are HTTP/1.1's, from the same functions;
* ``:authority`` is the host: a Host beside it has to say the same, and the one that is sent on is ours;
* clients repeat themselves (HPACK lives on that): a field section that comes again is recognised,
  as a whole by the identity of its list, and without its pseudo-fields by comparison. What is
  kept is kept by the connection alone.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Sequence

from revproxy.fault import (
    CLIENT_BAD_BODY,
    CLIENT_BAD_REQUEST,
    CLIENT_CONNECT_REFUSED,
    CLIENT_HEAD_TOO_LARGE,
    CLIENT_MISDIRECTED,
    ProtocolError,
)
from revproxy.http.blocks import RequestBlock
from revproxy.http.chunked import MAX_TRAILERS, may_trail
from revproxy.http.fields import Pair, known_pairs, parse_pair
from revproxy.http.h1 import RequestParser, host_of, make_request
from revproxy.http.message import (
    FORWARDED,
    HOP,
    HOST,
    LENGTH,
    TE,
    TOKEN,
    UPGRADE,
    Arrival,
    Field,
    Request,
    field as field_of,
)

REPEATED = 4096  # bytes of the fields that are kept for a next request to repeat
REMEMBERED = 4  # field sections that a connection keeps

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_USUAL = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
#: RFC 9113 8.2.2, and what goes with an upgrade to HTTP/2.
_CONNECTION_SPECIFIC = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding upgrade http2-settings".split()
)
_SCHEME = re.compile(rb"[a-z][a-z0-9+.\-]*")

#: The list it was read from, ended, its arrival; method, path, query, target; its block; the list
#: without the pseudo-fields, and ``:authority``.
_Entry = tuple[list[Pair], bool, Arrival, bytes, bytes, bytes | None, bytes, RequestBlock, list[Pair], bytes | None]


class Malformed(ProtocolError):
    """What RFC 9113 8.1.1 calls malformed: a stream error PROTOCOL_ERROR, with or without an answer before it."""


class H2RequestReader:
    """The requests of one connection, from what HPACK gave.

    :param parser: whose limits and rules hold.
    :param randomness: gives that many random bytes.
    """

    __slots__ = ("_known", "_next", "_parser", "_randomness")

    def __init__(self, parser: RequestParser, randomness: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._parser = parser
        self._randomness = randomness
        self._known: list[_Entry] = []
        self._next = 0

    def read(self, fields: list[Pair], ended: bool, arrival: Arrival) -> Request:
        """A request from its field section.

        An extended CONNECT (RFC 8441) becomes what an HTTP/1.1 client would have sent: a GET with
        ``upgrade`` set, and for WebSocket with a key of ours.

        :param fields: pairs in their order; the list is kept and must not be changed later. The
            same list object again is recognised, so give it again only for the same section.
        :param ended: whether no body follows.
        :param arrival: the connection it came by.
        :return: ``length`` is Content-Length, 0 where nothing follows, ``None`` when that can't be
            known; whether as many bytes come is for the caller to see (RFC 9113 8.1.1).
        :raises Malformed: for what RFC 9113 calls so.
        :raises ProtocolError: for what is answered with the status of its fault.
        """
        known = self._known
        for entry in known:
            if entry[0] is fields and entry[1] is ended and entry[2] is arrival:
                return make_request(entry[3], entry[4], entry[5], entry[6], entry[7], arrival)
        pseudo: dict[bytes, bytes] = {}
        for name, value, _ in fields:
            if name not in _PSEUDO:
                break
            if name in pseudo:
                raise Malformed(CLIENT_BAD_REQUEST, f"more than one {name.decode('ascii')}")
            pseudo[name] = value
        # an unknown, late or repeated pseudo-field is no token, and refused as that
        regular = fields[len(pseudo) :]
        asked = pseudo.get
        method, target, authority = asked(b":method"), asked(b":path"), asked(b":authority")
        protocol = asked(b":protocol")
        if method == b"CONNECT":
            method = self._connect(pseudo)
        elif protocol is not None:
            raise Malformed(CLIENT_BAD_REQUEST, ":protocol without CONNECT")
        scheme = asked(b":scheme")
        if method is None or target is None or scheme is None:
            raise Malformed(CLIENT_BAD_REQUEST, "no :method, :scheme or :path")
        if method not in _USUAL and not TOKEN.fullmatch(method):
            raise Malformed(CLIENT_BAD_REQUEST, f"malformed method {method[:40]!r}")
        if scheme != arrival.scheme:
            _check_scheme(scheme.lower(), arrival)
        path: bytes
        query: bytes | None
        if target == b"*" and method == b"OPTIONS":
            path, query = target, None
        else:
            if target[:1] != b"/":
                raise Malformed(CLIENT_BAD_REQUEST, f"malformed :path {target[:80]!r}")
            path, query = self._parser.split_target(target, Malformed)
        if protocol is not None:
            block = self._block(regular, authority, True)
            self._ask_upgrade(block, protocol.lower())
            return make_request(method, path, query, target, block, arrival)
        found = None
        for entry in known:
            if entry[9] == authority and entry[1] is ended and entry[2] is arrival and entry[8] == regular:
                found = entry
                break
        if found is None:
            block = self._block(regular, authority, ended)
            if sum([len(f[2]) for f in block.fields]) > REPEATED:
                return make_request(method, path, query, target, block, arrival)
        else:
            block, regular = found[7], found[8]
        if len(target) <= REPEATED:
            self._remember((fields, ended, arrival, method, path, query, target, block, regular, authority))
        return make_request(method, path, query, target, block, arrival)

    def read_trailers(self, fields: Sequence[Pair]) -> list[Field]:
        """Trailer fields, those with an underscore in their name left out.

        :raises Malformed: for pseudo-fields, connection-specific and malformed ones.
        :raises ProtocolError: for what no trailer may say (as in HTTP/1.1), and when they are too many.
        """
        if len(fields) > self._parser.max_fields:
            raise ProtocolError(CLIENT_BAD_BODY, f"{len(fields)} trailers")
        trailers = []
        room = MAX_TRAILERS
        for pair in fields:
            field = parse_pair(pair, Malformed, CLIENT_BAD_BODY)
            if field[0] in _CONNECTION_SPECIFIC:
                raise Malformed(CLIENT_BAD_BODY, f"trailer {field[0]!r}")
            room -= len(field[2]) + 2
            if room < 0:
                raise ProtocolError(CLIENT_BAD_BODY, "trailers too long")
            if may_trail(field, CLIENT_BAD_BODY):
                trailers.append(field)
        return trailers

    # -- the parts of a request

    def _connect(self, pseudo: dict[bytes, bytes]) -> bytes:
        """The method that a CONNECT is sent on with."""
        protocol = pseudo.get(b":protocol")
        if protocol is None:
            if b":scheme" in pseudo or b":path" in pseudo:  # RFC 9113 8.5
                raise Malformed(CLIENT_BAD_REQUEST, "CONNECT with :scheme or :path")
            raise ProtocolError(CLIENT_CONNECT_REFUSED, f"CONNECT {pseudo.get(b':authority', b'')[:80]!r}")
        if b":authority" not in pseudo or not TOKEN.fullmatch(protocol):
            raise Malformed(CLIENT_BAD_REQUEST, f"malformed CONNECT for {protocol[:40]!r}")
        if protocol.lower() in (b"h2c", b"h2"):  # a way around everything that is checked here
            raise ProtocolError(CLIENT_CONNECT_REFUSED, f"CONNECT for {protocol!r}")
        return b"GET"

    def _block(self, regular: list[Pair], authority: bytes | None, ended: bool) -> RequestBlock:
        parser = self._parser
        room = parser.max_fields - (authority is not None)
        if len(regular) > room:
            crumbs = sum([pair[0] == b"cookie" for pair in regular])  # sent on as one field
            if len(regular) - max(0, crumbs - 1) > room:
                raise ProtocolError(CLIENT_HEAD_TOO_LARGE, f"{len(regular)} fields")
        known = known_pairs.get
        fields = [known(pair) or parse_pair(pair, Malformed) for pair in regular]
        kinds = cookies = 0
        named = None
        for field in fields:
            kind = field[3]
            if kind:
                if kind == HOST:
                    if named is not None:
                        raise Malformed(CLIENT_BAD_REQUEST, "more than one Host")
                    named = field[1]
                kinds |= kind
            elif field[0] == b"cookie":
                cookies += 1
        if kinds & HOP:
            _check_connection(fields)
        if cookies > 1:
            fields = _join_cookies(fields)
        if authority is None:
            if named is None:
                raise ProtocolError(CLIENT_BAD_REQUEST, "neither :authority nor Host")
            authority = named
        else:
            if named is not None:
                if named.lower() != authority.lower():
                    raise Malformed(CLIENT_BAD_REQUEST, f"Host {named[:80]!r} is not :authority {authority[:80]!r}")
                fields = [f for f in fields if f[3] != HOST]
            fields.insert(0, (b"host", authority, b"Host: " + authority, HOST))
            kinds |= HOST
        block = RequestBlock(b"", fields, kinds, 20)
        block.host = host_of(authority, 20, Malformed)
        block.authority = authority
        block.length = 0 if ended else None
        if kinds & ~(HOST | FORWARDED):
            parser.interpret(block, Malformed)
            if ended and block.length:
                raise Malformed(CLIENT_BAD_REQUEST, f"Content-Length {block.length} without a body")
        return block

    def _ask_upgrade(self, block: RequestBlock, protocol: bytes) -> None:
        """The fields of an extended CONNECT, as an HTTP/1.1 client asks for the same (RFC 6455 4.1)."""
        if block.kinds & LENGTH:
            raise Malformed(CLIENT_BAD_REQUEST, "CONNECT with Content-Length")
        block.kinds |= UPGRADE
        block.upgrade = protocol
        if protocol == b"websocket":
            # a client's own key has no meaning here (RFC 8441 5)
            fields = [f for f in block.fields if f[0] != b"sec-websocket-key"]
            if not any(f[0] == b"sec-websocket-version" for f in fields):
                fields.append(field_of(b"Sec-WebSocket-Version", b"13"))
            fields.append(field_of(b"Sec-WebSocket-Key", b64encode(self._randomness(16))))
            block.fields = fields

    def _remember(self, entry: _Entry) -> None:
        if len(self._known) < REMEMBERED:
            self._known.append(entry)
        else:
            self._known[self._next] = entry
            self._next = (self._next + 1) % REMEMBERED


def _check_scheme(scheme: bytes, arrival: Arrival) -> None:
    """A lower-case ``:scheme`` that is not the connection's: trusted proxies may say so (RFC 9110 7.4)."""
    if not _SCHEME.fullmatch(scheme):
        raise Malformed(CLIENT_BAD_REQUEST, f"malformed :scheme {scheme[:40]!r}")
    if scheme not in (b"http", b"https"):
        raise ProtocolError(CLIENT_BAD_REQUEST, f":scheme {scheme[:40]!r}")
    if scheme != arrival.scheme and not arrival.trusted:
        raise ProtocolError(CLIENT_MISDIRECTED, f":scheme {scheme!r}")


def _check_connection(fields: list[Field]) -> None:
    """RFC 9113 8.2.2: nothing about a connection that is not this one."""
    for field in fields:
        kind = field[3]
        if kind & HOP and field[0] in _CONNECTION_SPECIFIC:
            raise Malformed(CLIENT_BAD_REQUEST, f"connection-specific field {field[0]!r}")
        if kind & TE and field[1] != b"trailers":
            raise Malformed(CLIENT_BAD_REQUEST, f"TE {field[1][:40]!r}")


def _join_cookies(fields: list[Field]) -> list[Field]:
    """One Cookie in the place of the first (RFC 9113 8.2.3); empty pieces would leave white space at an end."""
    value = b"; ".join([f[1] for f in fields if f[0] == b"cookie" and f[1]])
    joined = []
    there = False
    for field in fields:
        if field[0] != b"cookie":
            joined.append(field)
        elif not there:
            there = True
            joined.append((b"cookie", value, b"cookie: " + value, field[3]))
    return joined
