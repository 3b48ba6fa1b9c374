"""Field blocks of HTTP/2: HPACK (RFC 7541) by the Rust codec that the jh2 package carries.

Rules of this module:

* of jh2 only the codec is used: its connection object takes 180 to 255 us for a small request and its
  response, the codec 10. It has no public name of its own there, so this is the one module that knows it;
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

HeaderList = list[tuple[bytes, bytes, bool]]

#: Bytes of the dynamic tables, ours and the largest that we keep for a peer (RFC 7541 4.2).
TABLE = 4096
_KNOWN = 16  # blocks that are remembered
_INDEXED = re.compile(rb"[\x81-\xfe]+")


class TooLarge(Exception):
    """The fields of a block take more than they may, once they are decoded: a bomb."""


class Undecodable(Exception):
    """A block that is no HPACK: the connection's table can't be trusted any more."""


class BlockReader:
    """The blocks of one connection, in their order.

    :param largest: bytes of a decoded list, by the measure of RFC 9113 6.5.2.
    """

    __slots__ = ("_decoder", "_known")

    def __init__(self, largest: int) -> None:
        self._decoder = Decoder(largest)
        self._known: dict[bytes, HeaderList] = {}

    def read(self, block: bytes) -> HeaderList:
        """Name, value and whether it must not be indexed, of each field.

        The list is shared with later blocks of the same bytes: it must not be changed.

        :raises TooLarge: :raises Undecodable: when the connection has to end.
        """
        fields = self._known.get(block)
        if fields is not None:
            return fields
        try:
            fields = cast(HeaderList, self._decoder.decode(block, True))  # raw: bytes only
        except OversizedHeaderListError as e:
            raise TooLarge(str(e)) from None
        except HPACKError as e:
            raise Undecodable(str(e)) from None
        if _INDEXED.fullmatch(block):
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[block] = fields
        elif self._known:
            self._known.clear()
        return fields


class BlockWriter:
    """Blocks for the peer of one connection, in their order."""

    __slots__ = ("_encoder", "_known")

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._known: dict[int, tuple[HeaderList, bytes]] = {}

    def limit(self, size: int) -> None:
        """The peer keeps a table of so many bytes (SETTINGS_HEADER_TABLE_SIZE)."""
        self._encoder.header_table_size = min(size, TABLE)
        self._known.clear()

    def write(self, fields: HeaderList) -> bytes:
        """The block for these fields; a list that comes again must not have been changed."""
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
