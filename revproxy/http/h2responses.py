"""HTTP/2 responses: what HPACK is given, made once for a head that repeats (RFC 9113 8.3.2).

Rules of this module:

* the fields are those of :func:`~revproxy.http.serialise.response_lines`: framing is what the
  response says, Date is added where it is missing, what is about a connection stays behind;
* values that open doors are marked as never to be indexed (RFC 7541 7.1.3): a table of HPACK is
  shared by all requests of the connection, and its hits can be measured;
* a 101 does not exist in HTTP/2: a backend's becomes the 200 of an extended CONNECT (RFC 8441 5).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha1

from revproxy.http.fields import Pair, is_secret
from revproxy.http.message import CODING, DATE, HOP, LENGTH, Field, Response
from revproxy.http.serialise import date_value

_FRAMING = LENGTH | CODING | HOP
_STATUS: dict[int, Pair] = {status: (b":status", b"%d" % status, False) for status in range(100, 1000)}
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


def response_fields_h2(response: Response) -> list[Pair]:
    """``:status`` and the fields of a response, interim or final, as (name, value, never indexed).

    What was remembered of a repeated head is the same list again, unless a hook changed it: it
    must not be changed.

    :raises ValueError: for 101, see :func:`switching_response`.
    """
    block = response.block
    fields = response.headers.fields
    if block is not None and block.fields is fields and block.pairs:
        return block.pairs
    status = response.status
    pairs = [_STATUS[status]]
    if status < 200:
        if status == 101:
            raise ValueError("101 in HTTP/2")
        pairs += [(f[0], f[1], is_secret(f[0], f[1])) for f in fields if not f[3] & _FRAMING]
        return pairs
    length = b"" if response.length is None else b"%d" % response.length
    framed = not length
    for name, value, _, kind in fields:
        if not kind & _FRAMING:
            pairs.append((name, value, is_secret(name, value)))
        elif kind & LENGTH and not framed and value == length:
            framed = True
            pairs.append((b"content-length", length, False))
    if not framed:
        pairs.append((b"content-length", length, False))
    if not response.kinds & DATE and b"date" not in response.headers:
        pairs.append((b"date", date_value(), False))
    elif block is not None and block.fields is fields:
        block.pairs = pairs
    return pairs


def trailer_fields_h2(trailers: Iterable[Field]) -> list[Pair]:
    """Trailer fields as (name, value, never indexed); what frames or is about a connection is left out."""
    return [(f[0], f[1], is_secret(f[0], f[1])) for f in trailers if not f[3] & _FRAMING]


# -- extended CONNECT


def switching_response(response: Response) -> list[Pair]:
    """A backend's 101, as the client of an extended CONNECT gets it: 200 and no fields about the switch."""
    pairs = [_STATUS[200]]
    pairs += [
        (f[0], f[1], is_secret(f[0], f[1]))
        for f in response.headers.fields
        if not f[3] & _FRAMING and f[0] != b"sec-websocket-accept"
    ]
    return pairs


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return b64encode(sha1(key + _WEBSOCKET, usedforsecurity=False).digest())


def accepts(response: Response, key: bytes) -> bool:
    """Whether a backend's 101 answers the WebSocket handshake with this key, and only that one."""
    return response.headers.get_all(b"sec-websocket-accept") == [accept_of(key)]
