"""Compressors for response bodies: pieces as they come, or a whole body at once.

Rules of this module:

* a coding is asked for by its name and a level of its own scale; which library serves it is
  decided here, by measurement, and never asked again once a :class:`Coding` is made;
* after ``flush`` a client can decode all that was fed, and a flush with nothing new is empty;
* a stream holds a megabyte at most, whatever the level: its window is 128 KB or less, its tables are no larger than
  such a window can use, and levels whose tables can't be made small serve whole bodies only;
* no library is left with its marks on the thread: what ISA-L leaves in the vector registers is cleared;
* all of the libraries release the GIL while they work, so an encoder may be used in a thread, but by one at a time.

Microseconds for each KB of JSON or JavaScript, bytes that are left of 290 KB of JavaScript, and KB
that a stream holds, once a first event was flushed and after 290 KB:

=========== ===== ====== ===== =====
isal 1        3-5 101021    27   288
isal 3          8  94893    78   334
zlib-ng 5   21-26  86283   211   339
zlib 1      10-13 104023    88   223
zlib 5      17-28  86815    88   223
brotli 1      5-6  97662     8    85
brotli 4    19-23  86297   504   938
zstd 1        4-5  98486    89   440
zstd 3        5-6  91008   277   630
=========== ===== ====== ===== =====
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from revproxy.extras import how_to_install

#: Names of codings as Content-Encoding has them; the preferred one first. Zstandard gives fewer bytes than gzip
#: in the same time; brotli gives a tenth fewer still, in four times the time.
CODINGS = ("zstd", "br", "gzip")
#: The same for streams of events, which may be open for hours: what holds the least is first. Of events of
#: 50 bytes, each flushed, gzip leaves 15, the others 19 and 21. Some of brotli's decoders (Bun's, Go's and Python's
#: among them) hold back the end of a flushed piece of 32 KB and more until the next one comes.
STREAM_CODINGS = ("gzip", "zstd", "br")
#: Levels that are used when none is written, and the least and the most that may be.
LEVELS = {"gzip": 1, "br": 4, "zstd": 1}
BOUNDS = {"gzip": (1, 9), "br": (0, 11), "zstd": (1, 19)}

_PACKAGES = {"br": "brotli", "zstd": "backports.zstd"}
_GZIP = 31  # zlib's wbits: a gzip header and a window of 32 KB
_ZSTD_WINDOW = 19  # log2 of the window for a whole body (RFC 9659 allows 23)
_ZSTD_STREAM = 17  # and for a stream: 1.7 % more bytes, in 130 KB less
_TABLE = 15  # log2 of the entries of a table of a zstd stream
_BROTLI_WINDOW = 18  # log2 of the window for a whole body
_BROTLI_STREAM = 16  # and for a stream: 1.3 % more bytes than with 17, in 360 KB less
_STREAM_MOST = {"br": 5, "zstd": 9}  # above: 32 MB a stream (brotli 9), or as slow as nobody waits
_BY_ISAL = 6  # the highest level of gzip that ISA-L serves
_BUDGET = 500  # us that the reactor may be held up at once

#: What a KB costs: the library, levels up to, us.
_COSTS = (
    ("isal", 9, 5),
    ("zlib_ng", 4, 23), ("zlib_ng", 6, 31), ("zlib_ng", 9, 67),
    ("zlib", 4, 20), ("zlib", 6, 40), ("zlib", 9, 78),
    ("br", 1, 6), ("br", 4, 23), ("br", 8, 59), ("br", 11, 2000),
    ("zstd", 4, 7), ("zstd", 5, 23), ("zstd", 9, 49), ("zstd", 12, 103), ("zstd", 19, 500),
)  # fmt: skip


class Encoder(Protocol):
    """One body being compressed; what the calls return, joined, is what the client gets."""

    def feed(self, data: bytes) -> bytes:
        """Compress ``data``; may be empty."""

    def flush(self) -> bytes:
        """What lets a client decode everything that was fed."""

    def finish(self) -> bytes:
        """The end; nothing may be called after it."""


class MissingPackage(Exception):
    """A coding was asked for by name, and the package that does it is not installed."""


class GzipEncoder:
    """gzip (RFC 1952), by any library that has the interface of :mod:`zlib`."""

    __slots__ = ("_compressor", "_pending", "_sync")

    def __init__(self, library: Any, level: int) -> None:
        self._compressor = library.compressobj(level, library.DEFLATED, _GZIP)
        self._sync = library.Z_SYNC_FLUSH
        self._pending = False

    def feed(self, data: bytes) -> bytes:
        self._pending = True
        return self._compressor.compress(data)  # type: ignore[no-any-return]  # untyped library

    def flush(self) -> bytes:
        if not self._pending:
            return b""
        self._pending = False
        return self._compressor.flush(self._sync)  # type: ignore[no-any-return]  # untyped library

    def finish(self) -> bytes:
        return self._compressor.flush()  # type: ignore[no-any-return]  # untyped library


class IsalEncoder(GzipEncoder):
    """gzip by ISA-L. :param clear: what :func:`clearing` gives."""

    __slots__ = ("_clear",)

    def __init__(self, library: Any, level: int, clear: Callable[[], object]) -> None:
        super().__init__(library, level)
        self._clear = clear

    def feed(self, data: bytes) -> bytes:
        made = super().feed(data)
        self._clear()
        return made

    def flush(self) -> bytes:
        made = super().flush()
        if made:
            self._clear()
        return made

    def finish(self) -> bytes:
        made = super().finish()
        self._clear()
        return made


class BrotliEncoder:
    """br (RFC 7932)."""

    __slots__ = ("_compressor", "_pending")

    def __init__(self, library: Any, level: int) -> None:
        self._compressor = library.Compressor(quality=level, lgwin=_BROTLI_STREAM)
        self._pending = False

    def feed(self, data: bytes) -> bytes:
        self._pending = True
        return self._compressor.process(data)  # type: ignore[no-any-return]  # untyped library

    def flush(self) -> bytes:
        if not self._pending:
            return b""
        self._pending = False
        return self._compressor.flush()  # type: ignore[no-any-return]  # untyped library

    def finish(self) -> bytes:
        return self._compressor.finish()  # type: ignore[no-any-return]  # untyped library


class ZstdEncoder:
    """zstd (RFC 8878), by the interface that the standard library has from Python 3.14 on."""

    __slots__ = ("_compressor", "_pending")

    def __init__(self, library: Any, level: int) -> None:
        parameter = library.CompressionParameter
        options = {parameter.compression_level: level, parameter.window_log: _ZSTD_STREAM}
        if level > 2:  # below, tables are small; above, zstd makes them for windows of megabytes
            options[parameter.hash_log] = options[parameter.chain_log] = _TABLE
        self._compressor = library.ZstdCompressor(options=options)
        self._pending = False

    def feed(self, data: bytes) -> bytes:
        self._pending = True
        return self._compressor.compress(data)  # type: ignore[no-any-return]  # untyped library

    def flush(self) -> bytes:
        if not self._pending:
            return b""
        self._pending = False
        return self._compressor.flush(self._compressor.FLUSH_BLOCK)  # type: ignore[no-any-return]  # untyped library

    def finish(self) -> bytes:
        return self._compressor.flush(self._compressor.FLUSH_FRAME)  # type: ignore[no-any-return]  # untyped library


class Coding:
    """A coding at a level, by the library that was found.

    :ivar name: as Content-Encoding has it. :ivar line: that field as it is sent.
    :ivar level: the level written. :ivar library: who does it.
    :ivar inline: bytes of a whole body that take half a millisecond: more at once belongs into a thread.
    :ivar piece: the same of a stream's.
    :ivar encoder: makes an :class:`Encoder`.
    :ivar compress: compresses a whole body; the result grows by no more than a thousandth and 32 bytes.
    """

    __slots__ = ("compress", "encoder", "inline", "level", "library", "line", "name", "piece")

    def __init__(
        self,
        name: str,
        level: int,
        library: str,
        encoder: Callable[[], Encoder],
        compress: Callable[[bytes], bytes],
    ) -> None:
        self.name = name.encode("ascii")
        self.line = b"Content-Encoding: " + self.name
        self.level = level
        self.library = library
        self.encoder = encoder
        self.compress = compress
        costs = library if name == "gzip" else name
        self.inline = _affordable(costs, level)
        self.piece = _affordable(costs, min(level, _STREAM_MOST.get(name, level)))

    def __repr__(self) -> str:
        return f"<Coding {self.name.decode('ascii')} {self.level} by {self.library}>"


def _affordable(costs: str, level: int) -> int:
    """Bytes that take no longer than the reactor may be held up."""
    return _BUDGET * 1024 // next(us for whose, most, us in _COSTS if whose == costs and level <= most)


def make_coding(name: str, level: int | None = None, load: Callable[[str], Any] = import_module) -> Coding:
    """The coding ``name`` at ``level``.

    :param name: one of :data:`CODINGS`. :param level: within :data:`BOUNDS`; ``None`` for :data:`LEVELS`.
    :param load: imports a module.
    :raises MissingPackage: when there is no library for it; gzip there always is.
    """
    if level is None:
        level = LEVELS[name]
    least, most = BOUNDS[name]
    assert least <= level <= most
    if name == "gzip":
        return _gzip(level, load)
    stream_level = min(level, _STREAM_MOST[name])
    if name == "br":
        try:
            library = load("brotli")
        except ImportError:
            raise _missing(name) from None
        return Coding(
            name, level, "brotli",
            lambda: BrotliEncoder(library, stream_level),
            partial(library.compress, quality=level, lgwin=_BROTLI_WINDOW),
        )  # fmt: skip
    library, found = _zstd(load)
    parameter = library.CompressionParameter
    options = {parameter.compression_level: level, parameter.window_log: _ZSTD_WINDOW}
    return Coding(
        name, level, found,
        lambda: ZstdEncoder(library, stream_level),
        partial(library.compress, options=options),
    )  # fmt: skip


def available(load: Callable[[str], Any] = import_module) -> tuple[str, ...]:
    """Those of :data:`CODINGS` for which there is a library, in their order."""
    found = []
    for name in CODINGS:
        try:
            make_coding(name, load=load)
        except MissingPackage:
            continue
        found.append(name)
    return tuple(found)


def _missing(name: str) -> MissingPackage:
    return MissingPackage(f"{name} needs the package {_PACKAGES[name]}: {how_to_install('compress')}")


def clearing(load: Callable[[str], Any] = import_module) -> Callable[[], object]:
    """A call that clears the upper halves of this thread's vector registers, which ISA-L leaves in use.

    Until they are cleared, every SSE instruction waits for its target's upper half (Intel's optimization manual,
    "Mixing Intel AVX and Intel SSE"): after one body was compressed, all that the process does took 74 us a request
    instead of 64. Code that a compiler made for AVX2 ends with clearing them: of zlib-ng the Adler-32, from 32 bytes on
    (0.3 us); without it, SHA-512 of OpenSSL (1.5 us).

    :param load: imports a module.
    """
    try:
        return partial(load("zlib_ng.zlib_ng").adler32, bytes(128))
    except ImportError:
        return hashlib.sha512(usedforsecurity=False).digest


def _by_isal(library: Any, level: int, own: int, clear: Callable[[], object]) -> Coding:
    def compress(data: bytes) -> bytes:
        made: bytes = library.compress(data, own, _GZIP)  # by position: 0.9 us less than by name
        clear()
        return made

    return Coding("gzip", level, "isal", lambda: IsalEncoder(library, own, clear), compress)


def _gzip(level: int, load: Callable[[str], Any]) -> Coding:
    """All but the highest levels by ISA-L, those by zlib-ng, which is 30 % faster than zlib.

    Of 17 KB of JSON ISA-L leaves 2228 bytes in 39 us at its level 1, zlib 2113 in 155 at its level 5. ISA-L's own
    level 3 takes as long as zlib-ng's 5, and leaves as much.
    """
    found = "zlib"
    library: Any = zlib
    wanted = ("isal", "isal.isal_zlib") if level <= _BY_ISAL else ("zlib_ng", "zlib_ng.zlib_ng")
    try:
        library = load(wanted[1])
        found = wanted[0]
        if found == "isal":
            return _by_isal(library, level, min(level, 2), clearing(load))
    except ImportError:
        pass
    return Coding(
        "gzip", level, found,
        lambda: GzipEncoder(library, level),
        partial(library.compress, level=level, wbits=_GZIP),
    )  # fmt: skip


def _zstd(load: Callable[[str], Any]) -> tuple[Any, str]:
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return load(module), module
        except ImportError:
            continue
    raise _missing("zstd")
