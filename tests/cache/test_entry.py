"""Bodies on their way into the store: pieces, copies, reading while they come."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.entry import CHUNK, Entry, Filling
from revproxy.cache.store import Store
from tests.cache.described import described

MB = 1024 * 1024
KEY = (b"u", b"")


def begun(store: Store | None = None, expected: int | None = None) -> Filling:
    filling = (store or Store(64 * MB, 16 * MB)).begin(KEY, described(KEY), expected)
    assert filling is not None
    return filling


def entry_of(*parts: bytes) -> Entry:
    filling = begun()
    for part in parts:
        assert filling.write(part)
    entry = filling.commit()
    assert entry is not None
    return entry


def whole(what: Entry | Filling, start: int = 0) -> bytes:
    parts = []
    while part := what.read(start):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK])
def test_a_small_body_is_one_object(length: int) -> None:
    data = bytes(range(256)) * 256
    entry = entry_of(data[: length // 2], data[length // 2 : length])
    assert entry.body == data[:length] and type(entry.body) is bytes and entry.length == length


def test_a_large_body_is_pieces_of_one_size() -> None:
    data = bytes(range(251)) * 1000
    entry = entry_of(data[:100], data[100:200_000], data[200_000:])
    assert isinstance(entry.body, list) and b"".join(entry.body) == data
    assert [len(piece) for piece in entry.body] == [CHUNK, CHUNK, CHUNK, len(data) - 3 * CHUNK]


def test_a_body_that_came_at_once_is_not_copied() -> None:
    data = b"x" * 5000
    assert entry_of(data).body is data
    piece = b"y" * CHUNK
    entry = entry_of(piece, piece)
    assert entry.body[0] is piece and entry.body[1] is piece


def test_a_view_is_copied_so_that_it_pins_nothing() -> None:
    buffer = bytearray(b"x" * CHUNK)
    filling = begun()
    assert filling.write(memoryview(buffer)[:10]) and filling.write(buffer[:5])
    buffer.clear()  # raises BufferError while a view of it is kept
    entry = filling.commit()
    assert entry is not None and entry.body == b"x" * 15 and type(entry.body) is bytes


def test_single_bytes_take_up_no_more_than_their_sum() -> None:
    filling = begun()
    for n in range(2000):
        filling.write(bytes([n % 256]))
        assert len(filling._pieces) <= 64
    assert whole(filling) == bytes(n % 256 for n in range(2000))


@given(st.lists(st.integers(0, 3 * CHUNK), max_size=8), st.data())
def test_whoever_reads_meanwhile_reads_it_all(sizes: list[int], data: st.DataObject) -> None:
    store = Store(64 * MB, 16 * MB)
    filling = begun(store)
    expected = b""
    store.hold(filling)
    at = 0
    read = []
    for number, size in enumerate(sizes):
        part = bytes([number]) * size
        expected += part
        assert filling.write(part)
        assert filling.length == len(expected)
        for _ in range(data.draw(st.integers(0, 2))):
            got = filling.read(at)
            at += len(got)
            read.append(got)
        start = data.draw(st.integers(0, len(expected)))
        assert whole(filling, start) == expected[start:]
    entry = filling.commit()
    assert entry is not None and entry.length == len(expected)
    read.append(whole(filling, at))
    assert b"".join(read) == expected
    start = data.draw(st.integers(0, len(expected)))
    assert whole(entry, start) == whole(filling, start) == expected[start:]


def test_nothing_is_written_after_the_end() -> None:
    store = Store(MB, MB)
    filling = begun(store)
    assert filling.commit() is not None
    assert not filling.write(b"x") and filling.commit() is None
    filling.abort()
    assert store.entries == 1
    filling = begun(store)
    filling.abort()
    filling.abort()
    assert not filling.write(b"x") and filling.commit() is None and filling.read(0) == b""
    assert store.filling == 0 and store.entries == 1
