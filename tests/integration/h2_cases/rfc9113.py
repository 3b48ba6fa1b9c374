"""What RFC 9113 asks beyond RFC 7540, and what matters to a proxy that speaks HTTP/1.1 on its other side."""

from __future__ import annotations

from tests.integration.h2_cases.exchanges import with_field, without
from tests.integration.h2_cases.streams import PROTOCOL
from tests.integration.h2_cases.verdicts import Case, answered, case, require, stream_error
from tests.integration.h2peer import END_HEADERS, END_STREAM, Frame, Gone, Peer, Type, data, headers

_RESET = stream_error(PROTOCOL)
#: Statuses that refuse a request, for what may be answered before it is reset (RFC 9113 section 8.1.1).
_REFUSALS = ("400", "403", "404", "405", "421", "431", "501")


def _refused(peer: Peer) -> None:
    """The stream or the connection is an error, or answered 4xx or 501: the request was not passed on as it is."""
    while True:
        try:
            got: Frame = peer.read()
        except Gone:
            return
        if got.type in (Type.RST_STREAM, Type.GOAWAY):
            return
        if got.type == Type.HEADERS:
            status = str(dict(peer.decoder.decode(got.payload))[":status"])
            require(status in _REFUSALS, f"RST_STREAM or a refusal, and not {status}", peer)
            return


def _replaced(peer: Peer, **values: str) -> bytes:
    """A request with other pseudo-fields."""
    return headers(1, peer.encode([(name, values.get(name[1:], value)) for name, value in peer.fields()]))


def _two_hosts(peer: Peer) -> bytes:
    return with_field(peer, "host", "elsewhere.example")


def _field(number: int, text: str, name: str, value: str) -> Case:
    return case(f"rfc9113/8.2.1/{number}", text, lambda p: with_field(p, name, value), _refused)


CASES: tuple[Case, ...] = (
    # 8.2.1: names and values that would be something else on the other side
    _field(1, "a line break in a value", "x-test", "a\r\nx-forged: 1"),
    _field(2, "a bare LF in a value", "x-test", "a\nb"),
    _field(3, "a bare CR in a value", "x-test", "a\rb"),
    _field(4, "NUL in a value", "x-test", "a\x00b"),
    _field(5, "a space before a value", "x-test", " a"),
    _field(6, "a tab after a value", "x-test", "a\t"),
    _field(7, "a space in a name", "x test", "a"),
    _field(8, "a line break in a name", "x-test\r\nx-forged", "a"),
    _field(9, "a colon in a name", "x-test:x", "a"),
    _field(10, "an empty name", "", "a"),
    _field(11, "DEL in a name", "x\x7f", "a"),
    # 8.2.2: fields of connections
    case("rfc9113/8.2.2/1", "transfer-encoding", lambda p: with_field(p, "transfer-encoding", "chunked"), _RESET),
    case("rfc9113/8.2.2/2", "upgrade", lambda p: with_field(p, "upgrade", "websocket"), _RESET),
    case("rfc9113/8.2.2/3", "keep-alive", lambda p: with_field(p, "keep-alive", "timeout=1"), _RESET),
    case("rfc9113/8.2.2/4", "proxy-connection", lambda p: with_field(p, "proxy-connection", "close"), _RESET),
    case("rfc9113/8.2.2/5", "te: trailers is no error", lambda p: with_field(p, "te", "trailers"), answered),
    # 8.2.3: cookies come in pieces
    case(
        "rfc9113/8.2.3/1",
        "several cookie fields are no error",
        lambda p: headers(1, p.block("GET", ("cookie", "a=1"), ("cookie", "b=2"))),
        answered,
    ),
    # 8.3: pseudo-fields
    case("rfc9113/8.3.1/1", "no :authority, but host", lambda p: _host_only(p), answered),
    case("rfc9113/8.3.1/2", ":authority and another host", _two_hosts, _refused),
    case("rfc9113/8.3.1/3", "a space in :path", lambda p: _replaced(p, path="/ HTTP/1.1"), _refused),
    case("rfc9113/8.3.1/4", "a line break in :path", lambda p: _replaced(p, path="/\r\nx-forged: 1"), _refused),
    case("rfc9113/8.3.1/5", "a :path that does not begin with /", lambda p: _replaced(p, path="index"), _refused),
    case("rfc9113/8.3.1/6", "a line break in :method", lambda p: _replaced(p, method="GET / HTTP/1.1\r\nx:"), _refused),
    case("rfc9113/8.3.1/7", "a space in :method", lambda p: _replaced(p, method="GET /"), _refused),
    case("rfc9113/8.3.1/8", "userinfo in :authority", lambda p: _replaced(p, authority="u@host.example"), _refused),
    case(
        "rfc9113/8.3.1/9", "a line break in :authority", lambda p: _replaced(p, authority="a\r\nx-forged: 1"), _refused
    ),
    case("rfc9113/8.3.1/10", "no :method alone", lambda p: without(p, ":method"), _RESET),
    # 8.1.1: lengths
    case(
        "rfc9113/8.1.1/1",
        "content-length, and no DATA",
        lambda p: headers(1, p.block("POST", ("content-length", "4"))),
        _RESET,
    ),
    case(
        "rfc9113/8.1.1/2",
        "content-length twice, with different values",
        lambda p: (
            headers(1, p.block("POST", ("content-length", "4"), ("content-length", "5")), END_HEADERS)
            + data(1, b"test", END_STREAM)
        ),
        _refused,
    ),
    case(
        "rfc9113/8.1.1/3",
        "content-length that is no number",
        lambda p: headers(1, p.block("POST", ("content-length", "+4")), END_HEADERS) + data(1, b"test", END_STREAM),
        _refused,
    ),
    # 8.1: a field of framing may not be smuggled in afterwards
    case(
        "rfc9113/8.1/1",
        "a name in upper case in trailers",
        lambda p: (
            headers(1, p.block("POST"), END_HEADERS) + data(1, b"test") + headers(1, p.encode([("X-Test", "ok")]))
        ),
        _refused,
    ),
)


def _host_only(peer: Peer) -> bytes:
    fields = [field for field in peer.fields() if field[0] != ":authority"]
    return headers(1, peer.encode([*fields, ("host", peer.server.authority)]))
