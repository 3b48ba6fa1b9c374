"""HPACK: what the codec says, what it must not be asked, and what is remembered. The oracle is the hpack package."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import given, strategies as st

from revproxy.http.hpack import BlockReader, BlockWriter, TooLarge, Undecodable

FIELDS = [(b":method", b"GET", False), (b":path", b"/", False), (b"x-one", b"1", False)]
INDEXED = hpack.Encoder().encode([(b":method", b"GET"), (b":path", b"/")])


def read(reader: BlockReader, block: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return [(name, value) for name, value, _ in reader.read(block)]
    except Undecodable:
        return None


def oracle(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except hpack.HPACKError:
        return None


@pytest.mark.parametrize(
    "block",
    [
        b"\x40",  # on which the codec panics
        b"\x40\x05abc",
        b"\x40\x01a\x7f",
        b"\x82\x20",  # a size update after a field
        b"\x3f\xe2\x1f",  # and one to more than was allowed
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xc6",  # no such entry
        b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff",  # padded by more than seven bits
        b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90",  # padded by zeros
        b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f",  # with the end of string in it
    ],
)
def test_what_is_no_hpack(block: bytes, capfd: Any) -> None:
    with pytest.raises(Undecodable):
        BlockReader(1 << 16, 1 << 14).read(block)
    assert capfd.readouterr().err == ""


def test_a_bomb() -> None:
    reader = BlockReader(10_000, 5000)
    reader.read(hpack.Encoder().encode([(b"x", b"y" * 3000)]))
    with pytest.raises(TooLarge):
        reader.read(b"\xbe" * 10)


def test_more_than_is_wanted_is_said() -> None:
    reader = BlockReader(1 << 16, 100)
    encoder = hpack.Encoder()
    for _ in range(3):
        reader.read(encoder.encode([(b"x", b"y" * 100)]))
        assert reader.over
        reader.read(INDEXED)
        assert not reader.over


def test_the_same_indexed_block_is_the_same_list() -> None:
    reader = BlockReader(1 << 16, 1 << 14)
    first = reader.read(INDEXED)
    assert reader.read(INDEXED) is first
    other = hpack.Encoder().encode([(b"x", b"y")])
    reader.read(other)
    assert reader.read(INDEXED) is not first  # a table was changed in between
    assert reader.read(INDEXED) == first


def test_indexed_fields_mean_what_the_table_says_by_then() -> None:
    reader = BlockReader(1 << 16, 1 << 14)
    encoder = hpack.Encoder()
    for value in (b"1", b"2", b"3"):
        reader.read(encoder.encode([(b"x-n", value)]))
        assert reader.read(b"\xbe")[0][:2] == (b"x-n", value)


def test_what_is_written_is_read() -> None:
    writer, decoder = BlockWriter(), hpack.Decoder()
    for _ in range(3):
        assert oracle(decoder, writer.write(FIELDS)) == [(name, value) for name, value, _ in FIELDS]
    secret = [(b"set-cookie", b"a=1", True)]
    assert oracle(decoder, writer.write(secret)) == [(b"set-cookie", b"a=1")]
    assert oracle(decoder, writer.write(FIELDS)) == [(name, value) for name, value, _ in FIELDS]
    assert writer.write(FIELDS) is writer.write(FIELDS)


def test_a_smaller_table_of_the_peers() -> None:
    writer, decoder = BlockWriter(), hpack.Decoder()
    oracle(decoder, writer.write(FIELDS))
    decoder.max_allowed_table_size = 0
    writer.limit(0)
    assert oracle(decoder, writer.write(FIELDS)) == [(name, value) for name, value, _ in FIELDS]
    assert oracle(decoder, writer.write(FIELDS)) == [(name, value) for name, value, _ in FIELDS]


SIZES = st.lists(st.sampled_from([0, 40, 100, 300, 4096, 10_000]), max_size=3)
WRITTEN = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=30), st.booleans()), max_size=3)


@given(st.lists(st.tuples(SIZES, WRITTEN), max_size=8))
def test_tables_whose_size_changes(turns: Any) -> None:
    writer, decoder = BlockWriter(), hpack.Decoder()
    for sizes, fields in turns:
        for size in sizes:
            writer.limit(size)
            decoder.max_allowed_table_size = size
        assert oracle(decoder, writer.write(fields)) == [(name, value) for name, value, _ in fields]


TEXT = st.binary(max_size=20)


@given(st.lists(st.lists(st.tuples(TEXT, TEXT, st.booleans()), max_size=4), max_size=4), st.booleans(), st.data())
def test_blocks_mean_what_the_oracle_says(blocks: Any, huffman: bool, data: st.DataObject) -> None:
    reader, encoder, decoder = BlockReader(1 << 16, 1 << 14), hpack.Encoder(), hpack.Decoder()
    for fields in blocks:
        block = bytearray(encoder.encode(fields, huffman=huffman))
        if block and data.draw(st.booleans()):
            block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
        found, expected = read(reader, bytes(block)), oracle(decoder, bytes(block))
        assert found == expected
        if expected is None:
            break


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_any_bytes(blocks: list[bytes]) -> None:
    reader, decoder = BlockReader(1 << 16, 1 << 14), hpack.Decoder()
    for block in blocks:
        found, expected = read(reader, block), oracle(decoder, block)
        assert found == expected
        if expected is None:
            break
