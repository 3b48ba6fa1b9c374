"""Bodies that go through an encoder come back whole from decoders that know nothing of it."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from revproxy.coding.encoders import BOUNDS, CODINGS, LEVELS, Coding, MissingPackage, available, clearing, make_coding

pytest.importorskip("brotli")
pytest.importorskip("zstandard")


ROOT = Path(__file__).resolve().parents[2]


class GunzipStream:
    def __init__(self) -> None:
        self.decoder = zlib.decompressobj(31)

    def decode(self, data: bytes) -> bytes:
        return self.decoder.decompress(data)

    def ended(self) -> bool:
        return self.decoder.eof and not self.decoder.unused_data


class BrotliStream:
    def __init__(self) -> None:
        self.decoder = import_module("brotli").Decompressor()

    def decode(self, data: bytes) -> bytes:
        # With its buffer of 32 KB full it asks for more input before it has given all that it decoded.
        return self.decoder.process(data) + (b"" if self.decoder.is_finished() else self.decoder.process(b""))

    def ended(self) -> bool:
        return self.decoder.is_finished()


class ZstdStream:
    """The other Zstandard package, held to far less than what clients have to have room for (RFC 9659: 8 MB)."""

    def __init__(self) -> None:
        self.decoder = import_module("zstandard").ZstdDecompressor(max_window_size=512 * 1024).decompressobj()

    def decode(self, data: bytes) -> bytes:
        return self.decoder.decompress(data) if data else b""

    def ended(self) -> bool:
        return self.decoder.eof and not self.decoder.unused_data


DECODERS: dict[bytes, Any] = {b"gzip": GunzipStream, b"br": BrotliStream, b"zstd": ZstdStream}


def without(*missing: str) -> Any:
    """An importer that does not find modules whose names begin so."""

    def load(name: str) -> ModuleType:
        if name.startswith(missing):
            raise ImportError(name)
        return import_module(name)

    return load


ALL: list[Coding] = [
    *(make_coding(name, level) for name in CODINGS for level in sorted({BOUNDS[name][0], LEVELS[name], 5})),
    make_coding("gzip", 1, without("isal")),
    make_coding("gzip", 3),
    make_coding("zstd", 3),
    make_coding("gzip", 6, without("zlib_ng")),
]
DEFAULTS = [make_coding(name) for name in CODINGS]


def text(size: int, seed: int = 1) -> bytes:
    chance = random.Random(seed)
    words = [b"%x" % chance.getrandbits(24) for _ in range(200)]
    return b" ".join(chance.choices(words, k=size // 4))[:size]


@pytest.mark.parametrize("coding", ALL, ids=repr)
@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_whole_bodies_come_back(coding: Coding, size: int) -> None:
    body = text(size)
    decoder = DECODERS[coding.name]()
    packed = coding.compress(body)
    assert decoder.decode(packed) == body and decoder.ended()
    assert packed == coding.compress(body), "a variant made again has the same bytes"
    if size >= 1000:
        assert len(packed) < 0.6 * size


@pytest.mark.parametrize("coding", ALL, ids=repr)
def test_what_is_no_text_hardly_grows(coding: Coding) -> None:
    body = random.Random(2).randbytes(200_000)
    assert len(coding.compress(body)) <= len(body) * 1.001 + 32
    encoder = coding.encoder()
    pieces = [encoder.feed(body[at : at + 65536]) for at in range(0, len(body), 65536)]
    assert sum(map(len, pieces)) + len(encoder.finish()) <= len(body) * 1.001 + 32


STEPS = st.lists(st.one_of(st.binary(max_size=300), st.integers(1, 70_000), st.just("flush")), max_size=8)


@pytest.mark.parametrize("coding", ALL, ids=repr)
@given(steps=STEPS)
@settings(max_examples=12, deadline=None)
def test_any_pieces_and_flushes_come_back(coding: Coding, steps: list[bytes | int | str]) -> None:
    encoder = coding.encoder()
    decoder = DECODERS[coding.name]()
    fed, decoded = b"", b""
    for step in steps:
        if step == "flush":
            decoded += decoder.decode(encoder.flush())
            assert decoded == fed, "a flush brings everything"
            assert encoder.flush() == b""
        else:
            piece = text(step, step) if isinstance(step, int) else step
            assert isinstance(piece, bytes)
            fed += piece
            decoded += decoder.decode(encoder.feed(piece))
            assert fed.startswith(decoded)
    decoded += decoder.decode(encoder.finish())
    assert decoded == fed and decoder.ended()


@pytest.mark.parametrize("coding", DEFAULTS, ids=repr)
def test_events_arrive_one_by_one(coding: Coding) -> None:
    encoder = coding.encoder()
    decoder = DECODERS[coding.name]()
    sizes = []
    for number in range(100):
        event = b'data: {"id": %d, "kind": "tick", "value": %d}\n\n' % (number, number * 37 % 1000)
        packed = encoder.feed(event) + encoder.flush()
        assert decoder.decode(packed) == event
        sizes.append(len(packed))
    assert sum(sizes) / 100 < 30, "the window remembers earlier events"


def test_no_zstd_stream_needs_more_than_its_window() -> None:
    zstd = import_module("zstandard")
    for level in (1, 3, 9, 19):
        encoder = make_coding("zstd", level).encoder()
        head = encoder.feed(b"x") + encoder.flush()
        assert zstd.get_frame_parameters(head).window_size <= 128 * 1024


MEMORY = """
import random, resource, sys
def pages():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])
from revproxy.coding.encoders import make_coding
coding = make_coding(sys.argv[1], int(sys.argv[2]))
chance = random.Random(1)
body = b" ".join(b"%x" % chance.getrandbits(64) for _ in range(20000))
def use():
    encoder = coding.encoder()
    for at in range(0, len(body), 16384):
        encoder.feed(body[at : at + 16384])
        encoder.flush()
    return encoder
use()
before = pages()
held = [use() for _ in range(20)]
print((pages() - before) * resource.getpagesize() / 1024 / 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")
@pytest.mark.parametrize(("name", "level"), [("zstd", 4), ("zstd", 19), ("br", 4), ("br", 11), ("gzip", 9)])
def test_a_stream_holds_a_megabyte_at_most(name: str, level: int) -> None:
    """Left to themselves zstd 19 takes 80 MB for a stream, and brotli 9 takes 32."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, name, str(level)], check=True, capture_output=True, timeout=60, cwd=ROOT
    )
    assert 10 < float(done.stdout) < 1100


def test_each_level_has_its_library() -> None:
    pytest.importorskip("isal")
    pytest.importorskip("zlib_ng")
    assert [make_coding("gzip", level).library for level in (1, 6, 7, 9)] == ["isal", "isal", "zlib_ng", "zlib_ng"]
    assert make_coding("gzip", 1, without("isal")).library == "zlib"
    assert make_coding("gzip", 9, without("zlib_ng")).library == "zlib"


def test_what_is_not_installed_is_named() -> None:
    nothing = without("isal", "zlib_ng", "brotli", "compression", "backports")
    assert available(nothing) == ("gzip",)
    assert available() == CODINGS
    with pytest.raises(MissingPackage, match=r'br needs the package brotli: .*"brotli>=1\.2"'):
        make_coding("br", 4, nothing)
    with pytest.raises(MissingPackage, match=r"zstd needs the package backports\.zstd"):
        make_coding("zstd", None, nothing)
    assert make_coding("gzip", 5, nothing).library == "zlib"


def test_slow_levels_belong_into_a_thread_sooner() -> None:
    for name, (least, most) in BOUNDS.items():
        bounds = [make_coding(name, level).inline for level in range(least, most + 1)]
        if name != "gzip":  # whose scale two libraries share
            assert bounds == sorted(bounds, reverse=True)
        assert all(bounds)
    # a read of 64 KB is compressed where it arrives, by all defaults but brotli's
    assert [make_coding(name).inline >= 65536 for name in CODINGS] == [True, False, True]


class Marking:
    """zlib as ISA-L is: what it does is noted, as is the call that clears the vector registers."""

    DEFLATED, Z_SYNC_FLUSH = zlib.DEFLATED, zlib.Z_SYNC_FLUSH

    def __init__(self) -> None:
        self.calls: list[str] = []

    def compress(self, data: bytes, level: int, wbits: int) -> bytes:
        self.calls.append("compress")
        return zlib.compress(data, level, wbits)

    def compressobj(self, *args: Any) -> Any:
        inner, marks = zlib.compressobj(*args), self.calls

        class Compressor:
            def compress(self, data: bytes) -> bytes:
                marks.append("feed")
                return inner.compress(data)

            def flush(self, mode: int = zlib.Z_FINISH) -> bytes:
                marks.append("flush")
                return inner.flush(mode)

        return Compressor()

    def adler32(self, data: bytes) -> int:
        assert len(data) >= 32
        self.calls.append("clear")
        return 1


def test_the_vector_registers_are_cleared_after_each_call_of_isal() -> None:
    marking = Marking()
    coding = make_coding("gzip", 5, lambda name: marking)
    assert coding.library == "isal"
    assert zlib.decompress(coding.compress(b"x" * 99), 31) == b"x" * 99
    assert marking.calls == ["compress", "clear"]
    marking.calls.clear()
    encoder = coding.encoder()
    encoder.feed(b"x")
    encoder.flush()
    encoder.flush()
    encoder.finish()
    assert marking.calls == ["feed", "clear", "flush", "clear", "flush", "clear"]


def test_without_zlib_ng_they_are_cleared_by_a_hash() -> None:
    def load(name: str) -> Any:
        if name.startswith("zlib_ng"):
            raise ImportError(name)
        return import_module(name)

    assert len(clearing(load)()) == 64
    assert isinstance(clearing(lambda name: Marking())(), int)
