"""Stored responses in memory, within a budget of bytes.

Rules of this module:

* everything counts: bodies, fields, keys, tags, the places in the indexes, what is being received,
  and what was removed while somebody still reads it. Of this last, an eighth of the budget comes on top
  of it; otherwise ``bytes`` is above ``budget`` only while these two alone take up more;
* what is read slowly can't be freed, whether it is stored or not: more than half the budget is not held for
  that (:meth:`Store.may_hold`), so that who reads slowly does not drive out what others ask for;
* all that leaves does so in :meth:`Store._leave`, and all that comes in :meth:`Store.keep`;
* a hit is one look-up in a dict; nothing is moved. Who sends an entry calls :meth:`Store.hit`;
* a purge takes effect on what is being received as well: it was asked for before;
* what may take long is done in slices: a :class:`Purge` is an iterator, and the caller puts its
  steps between other work (``task.cooperate``);
* no I/O, no clock: ``now`` is an argument. A second tier, on disk, would be filled where entries are
  evicted and asked where nothing is found; bodies are in pieces of one size already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from revproxy.cache.entry import CHUNK, GHOST, Entry, Filling, Key, Meta, Tag, weigh, weigh_head
from revproxy.cache.fifo import MOST, S3Fifo
from revproxy.cache.steps import Purge, purge_these, purge_where
from revproxy.cache.tags import fit

#: Variants of a key, and entries of a URI by keys with a second part; the oldest go when there is one more.
MOST_VARIANTS = 32
MOST_BESIDE = 1024
#: The share of the budget that comes on top of it for what was removed and is still read.
_SPARE = 8
#: What bears a tag is copied into a list up to this number; where there is more, a purge looks at all entries.
_SNAPSHOT = 10_000


class Store:
    """Stored responses.

    :param budget: bytes of everything. :param largest: bytes of the largest body that is stored.

    :ivar bytes: everything that counts. :ivar filling: of these, what is being received or was dropped
        and is still read; at most half the budget, so that a burst of large responses leaves room for
        what is asked for again. :ivar held: of these, entries that were removed and are still read.
    :ivar pinned: bytes of entries that are being read, removed or not.
    :ivar entries: how many there are. :ivar hits: how often :meth:`hit` was called.
    :ivar evictions: entries that had to make room. :ivar purges: entries that were purged.
    """

    __slots__ = (
        "_index", "bytes", "budget", "filling", "largest", "hits", "entries", "evictions", "purges", "held", "pinned",
        "_beside", "_fifo", "_fillings", "_tags", "_target",
    )  # fmt: skip

    def __init__(self, budget: int, largest: int) -> None:
        self.budget = self._target = budget
        self.largest = largest
        self.bytes = 0
        self.filling = 0
        self.held = 0
        self.pinned = 0
        self.entries = 0
        self.hits = 0
        self.evictions = 0
        self.purges = 0
        self._index: dict[Key, tuple[Entry, ...]] = {}
        # of URIs with keys that have a second part: these
        self._beside: dict[bytes, _Beside] = {}
        self._tags: dict[bytes, Tag] = {}
        self._fifo: S3Fifo[Entry] = S3Fifo(budget)
        self._fillings: set[Filling] = set()

    # -- looking up

    def variants(self, key: Key) -> tuple[Entry, ...]:
        """What is stored under a key, the oldest first; ``()`` for nothing."""
        return self._index.get(key, ())

    def hit(self, entry: Entry) -> None:
        """An entry is sent: it is worth more now."""
        self.hits += 1
        if entry.frequency < MOST:
            entry.frequency += 1

    def hold(self, what: Entry | Filling) -> None:
        """Somebody reads it for some time: it counts until it is released, even when it was or is removed."""
        if not what.readers and isinstance(what, Entry):
            self.pinned += what.size
            if what.queue is None:
                self.held += what.size
                self.bytes += what.size
                if self.bytes > self.budget:
                    self._make_room()
        what.readers += 1

    def may_hold(self, entry: Entry) -> bool:
        """Whether one more may read it for some time."""
        if entry.readers or not self.pinned or entry.length <= CHUNK:  # that is sent at once
            return True
        return self.pinned + entry.size <= self.budget // 2

    def release(self, what: Entry | Filling) -> None:
        """Once for each :meth:`hold`."""
        what.readers -= 1
        if isinstance(what, Filling):
            if what.entry is not None:
                self.release(what.entry)
            elif not what.open and not what.readers:
                self._free(what)
        elif not what.readers:
            self.pinned -= what.size
            if what.queue is None:
                self.held -= what.size
                self.bytes -= what.size

    # -- storing

    def begin(self, key: Key, meta: Meta, expected: int | None = None, tags: tuple[bytes, ...] = ()) -> Filling | None:
        """Start to store a response that will be written as it comes.

        :param expected: bytes of its body, ``None`` where it is not known.
        :param tags: of :func:`revproxy.cache.tags.tags_of`.
        :returns: ``None`` when there is no room for it.
        """
        if expected is not None and (expected > self.largest or not self._takes(expected, expected)):
            return None
        if tags and not fit(tags):
            return None
        filling = Filling(self, key, meta, tags)
        self._fillings.add(filling)
        size = filling.size
        filling.size = 0
        return filling if self.grow(filling, size) else None

    def grow(self, filling: Filling, added: int) -> bool:
        """Count more of a filling, for itself. ``False`` when it was dropped."""
        filling.size += added
        self.filling += added
        self.bytes += added
        if self.bytes > self.budget:
            self._make_room()
        if filling.length <= self.largest and self._takes(filling.length, 0) and not self._is_over:
            return True
        self.drop(filling)
        return False

    def drop(self, filling: Filling) -> None:
        """End a filling without storing it, for itself. Those who hold it can go on reading."""
        self._fillings.discard(filling)
        if filling.readers:
            filling.open = False
        else:
            self._free(filling)

    def keep(self, filling: Filling) -> Entry | None:
        """Store what a filling has received, for itself."""
        if filling.purged:
            self.drop(filling)
            return None
        self._fillings.discard(filling)
        self.filling -= filling.size
        self.bytes -= filling.size
        key, meta = filling.key, filling.meta
        tags = tuple([self._tag(name) for name in filling.tags]) if filling.tags else ()
        filling.entry = entry = Entry(filling, tags)
        if filling.expired is not None:
            meta.expire(filling.expired)
        variants = self._index.get(key, ())
        old = _same(variants, meta)
        for tag in tags:  # before others leave, so that none of these is taken for unused
            self.bytes += tag.add(entry)
        if old is None and len(variants) >= MOST_VARIANTS:
            self.evictions += self.remove(variants[0])
        self._fifo.add(entry, old)
        if old is not None:
            self._leave(old)
        self._index[key] = (*self._index.get(key, ()), entry)
        if key[1]:
            self._add_beside(key)
        self.entries += 1
        self.bytes += entry.size
        if entry.readers:
            self.pinned += entry.size
        if self.bytes > self.budget:
            self._make_room()
        return entry

    def refresh(self, entry: Entry, meta: Meta, tags: tuple[bytes, ...] | None = None) -> bool:
        """Give an entry a new description, after a validation. ``False`` when it is no longer stored.

        It takes the place of another one that is the same variant now.

        :param tags: those that it bears from now on, ``None`` for the same as before.
        """
        if entry.queue is None:
            return False
        twin = _same(self._index[entry.key], meta)
        if twin is not None and twin is not entry:
            self.remove(twin)
        entry.meta = meta
        if tags is not None:
            before, entry.tags = entry.tags, tuple([self._tag(name) for name in tags])
            for tag in entry.tags:
                self.bytes += tag.add(entry)
            self._untag(entry, [tag for tag in before if tag not in entry.tags])
        size = weigh(entry, weigh_head(entry.key, meta))
        self.bytes += size - entry.size
        if entry.readers:
            self.pinned += size - entry.size
        self._fifo.resize(entry, size)
        if self.bytes > self.budget:
            self._make_room()
        return True

    def remove(self, entry: Entry) -> bool:
        """Take out an entry; ``False`` when it is not there any more."""
        if entry.queue is None:
            return False
        self._fifo.remove(entry)
        self._leave(entry)
        return True

    def resize(self, budget: int) -> Purge:
        """Change the budget: at once when it grows, otherwise step by step."""
        self._target = budget
        if budget >= self.budget:
            self._set_budget(budget)
        return Purge(self._shrink(budget))

    # -- purging

    def purge(self, uri: bytes, now: float | None = None) -> int:
        """Remove everything of one URI, whatever else it was keyed by: how many entries.

        :param now: only mark it as stale from this moment on. So for the other purges.
        """
        self._purge_fillings(lambda filling: filling.key[0] == uri, now)
        keys = [(uri, b"")]
        if uri in self._beside:
            keys += [(uri, beside) for beside in self._beside[uri].keys]
        entries = [entry for key in keys for entry in self._index.get(key, ())]
        for entry in entries:
            self.purge_entry(entry, now)
        return len(entries)

    def purge_prefix(self, prefix: bytes, now: float | None = None) -> Purge:
        """Remove everything whose URI begins so."""
        self._purge_fillings(lambda filling: filling.key[0].startswith(prefix), now)
        return self._purge_where(lambda entry: entry.key[0].startswith(prefix), now)

    def purge_tag(self, name: bytes, now: float | None = None) -> Purge:
        """Remove everything that bears a tag."""
        self._purge_fillings(lambda filling: name in filling.tags, now)
        tag = self._tags.get(name)
        if tag is None:
            return Purge(iter(()))
        if len(tag.entries) <= _SNAPSHOT:
            return Purge(purge_these(self, list(tag.entries), now))
        return self._purge_where(lambda entry: tag in entry.tags, now)

    def purge_all(self, now: float | None = None) -> Purge:
        """Remove everything."""
        return self.purge_prefix(b"", now)

    # -- inside

    def _tag(self, name: bytes) -> Tag:
        tag = self._tags.get(name)
        if tag is None:
            tag = self._tags[name] = Tag(name)
            self.bytes += tag.size
        return tag

    def _add_beside(self, key: Key) -> None:
        uri, beside = key
        others = self._beside.get(uri)
        if others is None:
            others = self._beside[uri] = _Beside()
            self.bytes += _OTHERS
        keys = others.keys
        keys.pop(beside, None)
        keys[beside] = None  # the newest one, so that it is not the one that has to go
        others.entries += 1
        if others.entries > MOST_BESIDE:
            for entry in self._index[uri, next(iter(keys))]:
                self.evictions += self.remove(entry)

    @property
    def _is_over(self) -> bool:
        return self.bytes - min(self.held, self.budget // _SPARE) > self.budget

    def _takes(self, length: int, more: int) -> bool:
        """Whether there is room for what is so long. :param more: bytes that are not counted yet."""
        # what is short is never held, and so goes on to be stored however much is
        pinned = self.pinned if length > CHUNK else 0
        return self.filling + pinned + more <= self.budget // 2

    def _make_room(self) -> None:
        fifo = self._fifo
        while self._is_over:
            ghosts = fifo.remembered
            entry = fifo.evict()
            if entry is not None:
                self.evictions += 1
                self._leave(entry)
            elif not fifo.forget():
                return
            self.bytes += GHOST * (fifo.remembered - ghosts)

    def _leave(self, entry: Entry) -> None:
        """Undo what :meth:`keep` did for an entry that stands in no queue any more."""
        key = entry.key
        left = self._index[key]
        if len(left) > 1:
            self._index[key] = tuple([other for other in left if other is not entry])
        else:
            del self._index[key]
        if key[1]:
            others = self._beside[key[0]]
            others.entries -= 1
            if len(left) == 1:
                del others.keys[key[1]]
                if not others.keys:
                    del self._beside[key[0]]
                    self.bytes -= _OTHERS
        self._untag(entry, entry.tags)
        self.entries -= 1
        if entry.readers:
            self.held += entry.size
        else:
            self.bytes -= entry.size

    def _untag(self, entry: Entry, tags: Iterable[Tag]) -> None:
        for tag in tags:
            tag.entries.discard(entry)
            if not tag.entries:
                del self._tags[tag.name]
                self.bytes -= tag.size

    def _free(self, filling: Filling) -> None:
        filling.discard()
        self.filling -= filling.size
        self.bytes -= filling.size

    def _purge_fillings(self, match: Callable[[Filling], bool], now: float | None) -> None:
        for filling in self._fillings:
            if match(filling):
                if now is None:
                    filling.purged = True
                elif filling.expired is None:
                    filling.expired = now

    def purge_entry(self, entry: Entry, now: float | None) -> bool:
        """Remove an entry, or mark it as stale from ``now`` on; ``False`` when it is not there any more."""
        if entry.queue is None:
            return False
        if now is None:
            self.remove(entry)
        else:
            entry.meta.expire(now)
        self.purges += 1
        return True

    def _purge_where(self, match: Callable[[Entry], bool], now: float | None) -> Purge:
        return Purge(purge_where(self, self._fifo.walk(), match, now))

    def _set_budget(self, budget: int) -> None:
        self.budget = budget
        self._fifo.set_budget(budget)

    def _shrink(self, budget: int) -> Iterator[int]:
        while self._target == budget < self.budget:
            before = self.evictions
            self._set_budget(max(budget, min(self.budget, self.bytes) - _SLICE))
            self._make_room()
            yield self.evictions - before


class _Beside:
    """The keys of a URI that have a second part. :ivar entries: under all of them."""

    __slots__ = ("entries", "keys")

    def __init__(self) -> None:
        self.keys: dict[bytes, None] = {}
        self.entries = 0


#: What the first key with a second part adds to its URI: a dict, what holds it, and its place.
_OTHERS = 232 + 48
#: Bytes by which a budget shrinks in one step.
_SLICE = 16 * CHUNK


def _same(variants: tuple[Entry, ...], meta: Meta) -> Entry | None:
    for entry in variants:
        if entry.meta.selected == meta.selected and entry.meta.vary == meta.vary:
            return entry
    return None
