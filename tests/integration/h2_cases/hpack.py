"""Header blocks that can't be decoded (RFC 7541), which are errors of the connection."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.h2_cases.verdicts import Case, case, connection_error
from tests.integration.h2peer import Code, Peer, Setting, headers, text

_UNDECODABLE = connection_error(Code.COMPRESSION_ERROR)
_NAME = b"\x00" + text(b"x-test", huffman=True)


def _after(field: bytes) -> Callable[[Peer], bytes]:
    return lambda peer: headers(1, peer.block() + field)


def _value(*coded: int) -> bytes:
    """A field with this Huffman code as its value."""
    return _NAME + bytes([len(coded) | 0x80, *coded])


def size_update(size: int) -> bytes:
    """A table size update: an integer with a prefix of 5 bits (RFC 7541 section 6.3)."""
    if size < 31:
        return bytes([0x20 | size])
    out, left = bytearray([0x3F]), size - 31
    while left >= 128:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def _too_large(peer: Peer) -> bytes:
    return headers(1, size_update(peer.settings.get(Setting.HEADER_TABLE_SIZE, 4096) + 1) + peer.block())


CASES: tuple[Case, ...] = (
    case("hpack/2.3.3/1", "an indexed field beyond both tables", _after(b"\xc6"), _UNDECODABLE),
    case("hpack/2.3.3/2", "an indexed name beyond both tables", _after(b"\x7f\x07\x00"), _UNDECODABLE),
    case("hpack/4.2/1", "a table size update after fields", _after(b"\x21"), _UNDECODABLE),
    # 49 50 9f is "test"
    case("hpack/5.2/1", "Huffman padding of more than 7 bits", _after(_value(0x49, 0x50, 0x9F, 0xFF)), _UNDECODABLE),
    case("hpack/5.2/2", "Huffman padding by zeros", _after(_value(0x49, 0x50, 0x90)), _UNDECODABLE),
    case(
        "hpack/5.2/3",
        "the end-of-string code within a Huffman string",
        _after(_value(0x49, 0x51, 0xFF, 0xFF, 0xFF, 0xFA, 0x7F)),
        _UNDECODABLE,
    ),
    case("hpack/6.1/1", "an indexed field of number 0", _after(b"\x80"), _UNDECODABLE),
    case("hpack/6.3/1", "a table size update beyond the limit", _too_large, _UNDECODABLE),
)
