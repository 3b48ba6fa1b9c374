"""One stored response, and one that is on its way into the store.

Rules of this module:

* a body is kept as it is sent: one ``bytes`` up to :data:`CHUNK`, above it a list of pieces of exactly
  that size, the last one shorter, so that byte ``n`` is in piece ``n // CHUNK``;
* what is kept are exact copies or the very objects that came, never views of something larger;
* what a response says of itself is :class:`Meta`, made elsewhere; here it is weighed and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Protocol

from revproxy.cache.fifo import Node

if TYPE_CHECKING:
    from revproxy.cache.store import Store

#: The first part is the URI, by which is purged; the second what else the response was keyed by, or ``b""``.
Key = tuple[bytes, bytes]

#: Bytes of a piece of a large body; smaller bodies are one object.
CHUNK = 64 * 1024
#: Small pieces that may wait to become a large one.
_PIECES = 64


class _Fields(Protocol):
    @property
    def fields(self) -> Sequence[tuple[bytes, bytes, bytes, int]]: ...


class Meta(Protocol):
    """What the store has to know of a response's description."""

    @property
    def headers(self) -> _Fields: ...

    @property
    def vary(self) -> tuple[bytes, ...]:
        """With ``selected``, which variant of its key it is."""

    @property
    def selected(self) -> tuple[bytes | None, ...]: ...

    def expire(self, now: float) -> None:
        """It is fresh no longer than until ``now``."""


class Tag:
    """A tag, and what bears it. :ivar size: bytes that it takes up."""

    __slots__ = ("entries", "name", "size")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.entries: set[Entry] = set()
        self.size = _TAG + len(name) + getsizeof(self.entries)

    def add(self, entry: Entry) -> int:
        """Returns by how much it grew: sets grow by leaps, and never shrink when something leaves."""
        self.entries.add(entry)
        before = self.size
        self.size = _TAG + len(self.name) + getsizeof(self.entries)
        return self.size - before


class Entry(Node):
    """A stored response.

    Whether it still is one says ``entry.queue is not None``; who holds it can go on reading anyway.

    :ivar meta: as the caller gave it. :ivar body: one object, or a list of pieces; not to be changed.
    :ivar length: bytes of the body. :ivar readers: those that hold it.
    """

    __slots__ = ("body", "key", "length", "meta", "readers", "tags")

    def __init__(self, filling: Filling, tags: tuple[Tag, ...]) -> None:
        self.key = filling.key
        self.meta = filling.meta
        self.body = filling.close()
        self.length = filling.length
        self.tags = tags
        self.readers = filling.readers
        self.size = weigh(self, filling.head)
        self.queue = None

    def fingerprint(self) -> int:
        """Of its key and variant."""
        return hash((self.key, self.meta.selected))

    def read(self, offset: int) -> bytes:
        """Some of the body from there on, ``b""`` at its end."""
        body = self.body
        if type(body) is bytes:
            return body[offset:] if offset else body
        return _piece(body, offset)  # type: ignore[arg-type]  # no bytes, so pieces

    def pieces(self) -> list[bytes]:
        """The body."""
        body = self.body
        return [body] if isinstance(body, bytes) else body

    def __repr__(self) -> str:
        return f"<Entry {self.key!r} {self.length} bytes>"


def _piece(chunks: list[bytes], offset: int) -> bytes:
    index = offset // CHUNK
    if index >= len(chunks):
        return b""
    skip = offset - index * CHUNK
    return chunks[index][skip:] if skip else chunks[index]


class Filling:
    """A response that is being received, on its way to an :class:`Entry`.

    Others may read it meanwhile: :meth:`read` gives what is there, and who has read it all is given
    what comes by whoever writes.

    :ivar length: bytes that were written. :ivar size: bytes that count. :ivar head: of these, key and ``meta``.
    :ivar chunks: its full pieces. :ivar readers: those that hold it.
    :ivar open: it takes more. :ivar entry: what it became.
    :ivar purged: what was asked for it is out of date, it will not be stored.
    :ivar expired: since when it is to be taken for stale, ``None`` for not.
    """

    __slots__ = (
        "key", "meta", "tags", "chunks", "length", "size", "head", "open", "purged", "expired", "entry", "readers",
        "_store", "_pieces", "_loose",
    )  # fmt: skip

    def __init__(self, store: Store, key: Key, meta: Any, tags: tuple[bytes, ...]) -> None:
        self.key = key
        self.meta = meta
        self.tags = tags
        self.chunks: list[bytes] = []
        self.length = 0
        self.head = weigh_head(key, meta)
        self.size = FILLING + self.head + (sum([41 + len(tag) for tag in tags]) if tags else 0)
        self.open = True
        self.purged = False
        self.expired: float | None = None
        self.entry: Entry | None = None
        self.readers = 0
        self._store = store
        self._pieces: list[bytes] = []
        self._loose = 0

    def write(self, data: bytes | bytearray | memoryview) -> bool:
        """Take the next bytes.

        ``False`` when it no longer takes any: too large, no room, or ended before. What was written can
        still be read by those who hold it.
        """
        if not self.open:
            return False
        if type(data) is not bytes:
            data = bytes(data)
        added = len(data)
        if not added:
            return True
        self.length += added
        self._loose += added
        self._pieces.append(data)
        if self._loose >= CHUNK or len(self._pieces) > _PIECES:
            added += self._gather()
        return self._store.grow(self, added)

    def read(self, offset: int) -> bytes:
        """Some of what is there from that byte on, ``b""`` when there is no more yet."""
        at = len(self.chunks) * CHUNK
        if offset < at or not self._pieces:
            return _piece(self.chunks, offset)
        self._gather()
        loose = self._pieces[0]
        return loose[offset - at :] if offset > at else loose

    def commit(self) -> Entry | None:
        """The response is complete: store it, in the place of the variant that it is.

        ``None`` when it was dropped or purged meanwhile.
        """
        return self._store.keep(self) if self.open else None

    def abort(self) -> None:
        """The response will not be complete. May be called at any time, also more than once."""
        if self.open:
            self._store.drop(self)

    def close(self) -> bytes | list[bytes]:
        """End it, for the store. Returns the body as it is kept."""
        self.open = False
        if self._pieces:
            self._gather()
            self.chunks += self._pieces
            self._pieces = []
        chunks = self.chunks
        return b"" if not chunks else chunks[0] if len(chunks) == 1 else chunks

    def discard(self) -> None:
        """End it, and let go of what was written, for the store."""
        self.open = False
        self.chunks = []
        self._pieces = []

    def _gather(self) -> int:
        """Make large pieces of small ones, by one copy. Returns what this adds to its size."""
        pieces = self._pieces
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        loose = self._loose
        if loose < CHUNK:
            self._pieces = [whole]
            return 0
        if loose == CHUNK:
            self.chunks.append(whole)
            self._pieces, self._loose = [], 0
            return PIECE
        full = loose // CHUNK
        self.chunks += [whole[at : at + CHUNK] for at in range(0, full * CHUNK, CHUNK)]
        rest = whole[full * CHUNK :]
        self._pieces, self._loose = [rest] if rest else [], len(rest)
        return full * PIECE


# -- what things weigh: measured, CPython 3.11 to 3.14 on 64 bits; a test compares with what is really allocated

#: Beside the data: an empty ``bytes``, and its place in a list.
PIECE = 42
#: A filling, its lists, small pieces that wait.
FILLING = 1200
#: A fingerprint: an integer, its places in a set and in a deque.
GHOST = 88
#: An entry, its own numbers, and its place in the index.
_ENTRY = 136 + 64 + 160
#: A description without its fields: its numbers, its list of fields.
_META = 630
#: A field: a tuple of four, two strings; the names are mostly shared.
_FIELD = 88 + 66 + 16
#: A key: a tuple of two, a string.
_KEY = 56 + 33
#: What the second part adds: a string, its places among those of the URI.
_BESIDE = 33 + 80
#: A tag: an object, a string, its place in the index.
_TAG = 88 + 33 + 100
#: Its place among those of an entry.
_LINK = 8


def weigh_head(key: Key, meta: Meta) -> int:
    """Bytes that a key and a response's description take up, wherever they stand."""
    fields = meta.headers.fields
    weight = _KEY + _META + _FIELD * len(fields) + len(key[0])
    for f in fields:
        weight += len(f[1]) + len(f[2])
    for value in meta.selected:
        weight += 16 if value is None else 49 + len(value)
    if key[1]:
        weight += _BESIDE + len(key[1])
    return weight


def weigh(entry: Entry, head: int) -> int:
    """Bytes that an entry takes up, everything that goes with it included. :param head: of :func:`weigh_head`."""
    body = entry.body
    pieces = 1 if type(body) is bytes else len(body) + 2
    weight = _ENTRY + head + entry.length + PIECE * pieces
    return weight + 56 + _LINK * len(entry.tags) if entry.tags else weight
