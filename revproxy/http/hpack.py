"""Field blocks of HTTP/2: HPACK (RFC 7541) by the Rust codec that the jh2 package carries.

Rules of this module:

* of jh2 only the codec is used: its connection object takes 180 to 255 us for a small request and its
  response, the codec 10. It has no public name of its own there, so this is the one module that knows it;
* the form of a block is looked at before the codec decodes it: the codec panics on some that are cut off,
  with a trace of its own on standard error, and lets pass what RFC 7541 4.2 and 5.2 refuse;
* a block of indexed fields alone (one byte each, RFC 7541 6.1) changes no table: as long as no other kind of block
  comes between, the same bytes mean the same fields, and the same list says so by its identity.
  That takes 0.3 us where decoding takes 5, and as much on the way out.
"""

from __future__ import annotations

import re
from typing import cast

from jh2._hazmat import (  # type: ignore[import-untyped]  # it has stubs, but does not say so
    Decoder,
    Encoder,
    HPACKError,
    OversizedHeaderListError,
)
from jh2.hpack.huffman_constants import REQUEST_CODES_LENGTH  # type: ignore[import-untyped]  # as above

HeaderList = list[tuple[bytes, bytes, bool]]

#: Bytes of the dynamic tables, ours and the largest that we keep for a peer (RFC 7541 4.2).
TABLE = 4096
_KNOWN = 16  # blocks that are remembered
_CODE_SIZES = tuple(REQUEST_CODES_LENGTH[:256])  # bits of each byte in Huffman's code (RFC 7541 B)
_INDEXED = re.compile(rb"[\x81-\xfe]+")


class TooLarge(Exception):
    """The fields of a block take more than they may, once they are decoded: a bomb."""


class Undecodable(Exception):
    """A block that is no HPACK: the connection's table can't be trusted any more."""


class BlockReader:
    """The blocks of one connection, in their order.

    :param largest: bytes of a decoded list, by the measure of RFC 9113 6.5.2.
    :param limit: bytes of names and values that are not too many.
    :ivar over: whether the last one read had more.
    """

    __slots__ = ("_decoder", "_known", "_limit", "over")

    def __init__(self, largest: int, limit: int) -> None:
        self._decoder = Decoder(largest)
        self._limit = limit
        self.over = False
        self._known: dict[bytes, HeaderList] = {}

    def read(self, block: bytes) -> HeaderList:
        """Name, value and whether it must not be indexed, of each field.

        The list is shared with later blocks of the same bytes: it must not be changed.

        :raises TooLarge: :raises Undecodable: when the connection has to end.
        """
        fields = self._known.get(block)
        if fields is not None:
            self.over = False
            return fields
        plain = _INDEXED.fullmatch(block) is not None
        strings = () if plain else _walk(block)
        try:
            fields = cast(HeaderList, self._decoder.decode(block, True))  # raw: bytes only
        except OversizedHeaderListError as e:
            raise TooLarge(str(e)) from None
        except HPACKError as e:
            raise Undecodable(str(e)) from None
        self.over = sum([len(name) + len(value) for name, value, _ in fields]) > self._limit
        if plain:
            if not self.over:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[block] = fields
            return fields
        if self._known:
            self._known.clear()
        for index, part, size, last in strings:
            text = fields[index][1] if part else fields[index][0]
            padding = 8 * size - sum(map(_CODE_SIZES.__getitem__, text))
            ones = (1 << padding) - 1 if 0 <= padding < 8 else -1
            if ones < 0 or last & ones != ones:
                raise Undecodable("a Huffman string that is not padded by less than a byte of ones")
        return fields


def _walk(block: bytes) -> list[tuple[int, int, int, int]]:
    """Look at the form of a block before the codec does: it panics on some that are cut off, and passes others.

    0.3 us for an indexed field, 1.5 for a literal one.

    :return: of each Huffman string, the index of its field, 0 for its name and 1 for its value, its size in bytes,
        and the last byte.
    :raises Undecodable: for what is cut off, numbers without end, and a table size update after fields (RFC 7541 4.2,
        5).
    """
    strings = []
    at = 0
    size = len(block)
    index = 0
    try:
        while at < size:
            byte = block[at]
            at += 1
            if byte & 0x80:
                if byte == 0xFF:
                    _, at = _number(block, at, 0x7F)
                index += 1
                continue
            if byte & 0xE0 == 0x20:
                if index:
                    raise Undecodable("a table size update after fields")
                if byte == 0x3F:
                    _, at = _number(block, at, 0x1F)
                continue
            prefix = 0x3F if byte & 0x40 else 0x0F
            named = byte & prefix
            if named == prefix:
                _, at = _number(block, at, prefix)
            for part in (1,) if named else (0, 1):
                first = block[at]
                at += 1
                length = first & 0x7F
                if length == 0x7F:
                    length, at = _number(block, at, 0x7F)
                at += length
                if at > size:
                    raise IndexError
                if first & 0x80 and length:
                    strings.append((index, part, length, block[at - 1]))
            index += 1
    except IndexError:
        raise Undecodable("a field block that is cut off") from None
    return strings


def _number(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The rest of a number whose prefix is full (RFC 7541 5.1), and where it ends."""
    number = prefix
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, at
    raise Undecodable("a number that is too large")


class BlockWriter:
    """Blocks for the peer of one connection, in their order."""

    __slots__ = ("_encoder", "_known", "_least", "_size", "_wanted")

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._known: dict[int, tuple[HeaderList, bytes]] = {}
        self._size = TABLE
        self._wanted: int | None = None
        self._least = TABLE

    def limit(self, size: int) -> None:
        """The peer keeps a table of so many bytes (SETTINGS_HEADER_TABLE_SIZE)."""
        wanted = min(size, TABLE)
        self._least = wanted if self._wanted is None else min(self._least, wanted)
        self._wanted = wanted

    def write(self, fields: HeaderList) -> bytes:
        """The block for these fields; a list that comes again must not have been changed."""
        if self._wanted is not None:
            self._resize(self._wanted)
        known = self._known.get(id(fields))
        if known is not None:
            return known[1]
        block: bytes = self._encoder.encode(fields)
        if _INDEXED.fullmatch(block):
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[id(fields)] = (fields, block)
        elif self._known:
            self._known.clear()
        return block

    def _resize(self, wanted: int) -> None:
        # RFC 7541 4.2: the smallest size that there was since the last block, and the last
        for size in (self._least, wanted):
            if size != self._size:
                self._encoder.header_table_size = self._size = size
        self._wanted = None
        self._known.clear()
