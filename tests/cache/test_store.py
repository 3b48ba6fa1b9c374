"""The store: what is in it, what it weighs, who leaves, what is purged."""

from __future__ import annotations

import gc
import itertools
import tracemalloc

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from revproxy.cache.entry import GHOST, Entry, Filling, Key, weigh, weigh_head
from revproxy.cache.store import _OTHERS, MOST_BESIDE, MOST_VARIANTS, Store
from revproxy.cache.tags import MOST_TAGS
from tests.cache.described import described

MB = 1024 * 1024
KEY = (b"u", b"")
Selected = tuple[bytes | None, ...]


def put(
    store: Store, key: Key | bytes = KEY, size: int = 10, *, selected: Selected = (), tags: tuple[bytes, ...] = ()
) -> Entry:
    key = (key, b"") if isinstance(key, bytes) else key
    filling = store.begin(key, described(key, selected=selected), size, tags)
    assert filling is not None and filling.write(bytes(size))
    entry = filling.commit()
    assert entry is not None
    return entry


def counted(store: Store) -> int:
    """What its parts weigh, added up anew."""
    entries = [entry for variants in store._index.values() for entry in variants]
    assert len(entries) == store.entries == len(store._fifo)
    assert all(entry.size == weigh(entry, weigh_head(entry.key, entry.meta)) for entry in entries)
    bearing: dict[bytes, set[Entry]] = {}
    for entry in entries:
        for tag in entry.tags:
            bearing.setdefault(tag.name, set()).add(entry)
    assert {tag.name: tag.entries for tag in store._tags.values()} == bearing
    assert {(uri, beside) for uri, others in store._beside.items() for beside in others.keys} == {
        key for key in store._index if key[1]
    }
    for uri, others in store._beside.items():
        assert others.entries == sum(len(store._index[uri, beside]) for beside in others.keys)
    return (
        sum(entry.size for entry in entries)
        + sum(tag.size for tag in store._tags.values())
        + _OTHERS * len(store._beside)
        + GHOST * store._fifo.remembered
        + store.filling
        + store.held
    )


# -- storing and finding


def test_what_was_stored_is_found_under_its_key_alone() -> None:
    store = Store(MB, MB)
    assert store.variants(KEY) == ()
    entry = put(store)
    assert store.variants(KEY) == (entry,) and store.variants((b"u", b"x")) == ()
    assert (store.entries, store.bytes) == (1, entry.size) and entry.size > 10


def test_a_variant_takes_the_place_of_its_like_and_its_hits() -> None:
    store = Store(MB, MB)
    first, other = put(store, selected=(b"gzip",)), put(store, selected=(b"br",))
    store.hit(first)
    store.hit(first)
    again = put(store, size=500, selected=(b"gzip",))
    assert store.variants(KEY) == (other, again)
    assert again.frequency == 2 and first.queue is None
    assert store.bytes == counted(store) == other.size + again.size


def test_the_old_variant_is_there_until_the_new_one_is_complete() -> None:
    store = Store(MB, MB)
    old = put(store)
    filling = store.begin(KEY, described())
    assert filling is not None and filling.write(b"new")
    assert store.variants(KEY) == (old,)
    assert store.variants(KEY) == (old,) and (new := filling.commit()) and store.variants(KEY) == (new,)


def test_a_key_has_a_bounded_number_of_variants() -> None:
    store = Store(MB, MB)
    entries = [put(store, selected=(b"%d" % n,)) for n in range(MOST_VARIANTS + 3)]
    assert store.variants(KEY) == tuple(entries[3:]) and store.evictions == 3
    assert store.bytes == counted(store)


def test_a_uri_has_a_bounded_number_of_keys() -> None:
    store = Store(64 * MB, MB)
    for n in range(MOST_BESIDE + 2):
        put(store, (b"u", b"=%d" % n))
    assert store.entries == MOST_BESIDE and store.variants((b"u", b"=1")) == ()
    assert store.variants((b"u", b"=2")) and store.bytes == counted(store)


def test_hits_are_counted_and_capped() -> None:
    store = Store(MB, MB)
    entry = put(store)
    for _ in range(9):
        store.hit(entry)
    assert store.hits == 9 and entry.frequency == 3


def test_a_refreshed_entry_is_weighed_again() -> None:
    store = Store(MB, MB)
    entry = put(store)
    before = store.bytes
    assert store.refresh(entry, described(count=9))
    assert store.bytes == counted(store) > before and entry.meta.headers.fields[8:]
    store.remove(entry)
    assert not store.refresh(entry, described()) and store.bytes == 0


def test_a_refreshed_entry_may_become_another_variant() -> None:
    store = Store(MB, MB)
    entry, twin, other = (put(store, selected=selected) for selected in ((b"a",), (b"b",), (b"c",)))
    assert store.refresh(entry, described(selected=(b"b",)))
    assert set(store.variants(KEY)) == {entry, other} and twin.queue is None
    assert store.bytes == counted(store)


def test_a_refreshed_entry_that_grows_makes_others_leave() -> None:
    store = Store(20_000, 5_000)
    entries = [put(store, b"%d" % n, 3000) for n in range(4)]
    assert store.evictions == 0
    assert store.refresh(entries[3], described((b"3" * 3000, b""), count=12))
    assert store.evictions >= 1 and store.bytes <= store.budget and entries[0].queue is None


# -- room


def test_a_body_that_is_known_to_be_too_large_is_not_begun() -> None:
    store = Store(10 * MB, 1000)
    assert store.begin(KEY, described(), 1001) is None
    assert store.begin(KEY, described(), 1000) is not None
    assert Store(4000, 100_000).begin(KEY, described(), 2001) is None


def test_a_body_that_turns_out_to_be_too_large_is_dropped() -> None:
    store = Store(10 * MB, 1000)
    filling = store.begin(KEY, described())
    assert filling is not None and filling.write(bytes(1000)) and not filling.write(b"x")
    assert (store.bytes, store.filling) == (0, 0) and filling.commit() is None and not filling.write(b"x")


def test_what_is_received_has_half_the_budget_at_most() -> None:
    store = Store(MB, MB)
    kept = [put(store, b"%d" % n, 40_000) for n in range(10)]
    fillings = [store.begin((b"f%d" % n, b""), described()) for n in range(30)]
    written = [filling is not None and filling.write(bytes(40_000)) for filling in fillings]
    assert 10 <= sum(written) <= 13 and store.filling <= MB // 2
    assert all(entry.queue for entry in kept)


def test_what_is_being_received_counts_and_makes_others_leave() -> None:
    store = Store(300_000, 200_000)
    entries = [put(store, b"%d" % n, 20_000) for n in range(13)]
    filling = store.begin(KEY, described())
    assert filling is not None
    for _ in range(10):
        assert filling.write(bytes(10_000)) and store.bytes <= 300_000
    assert store.evictions >= 3 and entries[0].queue is None and entries[12].queue is not None
    assert filling.commit() and store.bytes == counted(store) <= 300_000


def test_too_many_tags_are_not_stored() -> None:
    store = Store(64 * MB, MB)
    assert store.begin(KEY, described(), 1, tuple(b"%d" % n for n in range(MOST_TAGS + 1))) is None
    assert put(store, tags=tuple(b"%d" % n for n in range(MOST_TAGS)))


def test_what_somebody_reads_counts_after_it_left() -> None:
    store = Store(MB, MB)
    entry = put(store, size=200_000)
    store.hold(entry)
    store.hold(entry)
    size = store.bytes
    store.remove(entry)
    assert store.entries == 0 and store.bytes == store.held == size
    store.release(entry)
    assert store.bytes == size
    store.release(entry)
    assert store.bytes == store.held == 0


def test_nothing_is_stored_where_all_is_held() -> None:
    store = Store(200_000, 100_000)
    held = [put(store, b"%d" % n, 60_000) for n in range(3)]
    for entry in held:
        store.hold(entry)
    filling = store.begin(KEY, described())
    assert filling is not None and not filling.write(bytes(60_000))  # an eighth comes on top
    assert store.entries == 0 and store.held == store.bytes <= store.budget
    for entry in held:
        store.release(entry)
    assert store.bytes == 0 and put(store)


def test_what_is_read_while_it_comes_counts_until_it_is_read() -> None:
    store = Store(MB, 1000)
    filling = store.begin(KEY, described())
    assert filling is not None
    store.hold(filling)
    assert filling.write(bytes(900)) and not filling.write(bytes(200))
    assert store.filling == store.bytes > 1100 and len(filling.read(0)) == 1100
    store.release(filling)
    assert store.filling == store.bytes == 0 and filling.read(0) == b""


def test_who_holds_what_comes_holds_what_it_became() -> None:
    store = Store(MB, MB)
    filling = store.begin(KEY, described())
    assert filling is not None
    store.hold(filling)
    filling.write(bytes(100))
    entry = filling.commit()
    assert entry is not None
    store.remove(entry)
    assert store.held == entry.size and len(filling.read(0)) == 100
    store.release(filling)
    assert store.held == store.bytes == 0


def test_the_budget_changes_while_it_runs() -> None:
    store = Store(8 * MB, MB)
    for n in range(100):
        put(store, b"%d" % n, 60_000)
    assert store.resize(3 * MB).finish() > 0
    assert store.budget == 3 * MB and store.bytes == counted(store) <= 3 * MB
    steps = store.resize(MB)
    next(steps)
    assert MB < store.budget < 3 * MB and store.bytes <= store.budget
    store.resize(2 * MB).finish()
    store.resize(9 * MB)
    steps.finish()
    assert store.budget == 9 * MB


# -- purging


def test_purge_of_a_uri_takes_all_variants_and_keys_of_it() -> None:
    store = Store(MB, MB)
    put(store, selected=(b"a",)), put(store, selected=(b"b",)), put(store, (b"u", b"=1")), put(store, (b"u", b"=2"))
    other = put(store, b"u2")
    assert store.purge(b"u") == 4 and store.purge(b"u") == 0
    assert store.entries == 1 and store.variants(other.key) and store.purges == 4
    assert store.bytes == counted(store) == other.size


def test_purge_of_a_prefix() -> None:
    store = Store(MB, MB)
    for uri in (b"/a", b"/a/1", b"/a/2", b"/b", b"/"):
        put(store, uri)
    assert store.purge_prefix(b"/a/").finish() == 2 and store.purge_prefix(b"/a").finish() == 1
    assert set(store._index) == {(b"/b", b""), (b"/", b"")}
    assert store.purge_all().finish() == 2 and store.bytes == 0


def test_purge_of_a_tag() -> None:
    store = Store(MB, MB)
    put(store, b"1", tags=(b"a", b"b"))
    put(store, b"2", tags=(b"b",))
    put(store, b"3")
    assert store.purge_tag(b"c").finish() == 0
    assert store.purge_tag(b"a").finish() == 1 and store.purge_tag(b"b").finish() == 1
    assert set(store._index) == {(b"3", b"")} and not store._tags and store.bytes == counted(store)


def test_a_replacement_with_the_same_tags_keeps_them() -> None:
    store = Store(MB, MB)
    put(store, tags=(b"a",))
    put(store, tags=(b"a",))
    assert store.bytes == counted(store) and store.purge_tag(b"a").finish() == 1 and store.bytes == 0


@pytest.mark.parametrize("how", ["uri", "prefix", "tag", "all"])
def test_a_soft_purge_marks_what_is_there_and_what_comes(how: str) -> None:
    store = Store(MB, MB)
    entry, other = put(store, tags=(b"t",)), put(store, b"x")
    filling = store.begin(KEY, described(selected=(b"a",)), None, (b"t",))
    assert filling is not None
    purged = {
        "uri": lambda: store.purge(b"u", 5.0),
        "prefix": lambda: store.purge_prefix(b"u", 5.0).finish(),
        "tag": lambda: store.purge_tag(b"t", 5.0).finish(),
        "all": lambda: store.purge_all(5.0).finish(),
    }[how]()
    assert purged == 1 + (how == "all") and store.entries == 2
    assert entry.meta.serve_until == 5.0 and (other.meta.serve_until == 5.0) == (how == "all")
    late = filling.commit()
    assert late is not None and late.meta.serve_until == 5.0


@pytest.mark.parametrize("how", ["uri", "prefix", "tag", "all"])
def test_what_is_being_received_is_purged_as_well(how: str) -> None:
    store = Store(MB, MB)
    filling = store.begin(KEY, described(), None, (b"t",))
    spared = store.begin((b"x", b""), described())
    assert filling is not None and spared is not None and filling.write(b"x")
    match how:
        case "uri":
            store.purge(b"u")
        case "prefix":
            store.purge_prefix(b"u")
        case "tag":
            store.purge_tag(b"t")
        case _:
            store.purge_all()
    assert filling.write(b"y") and whole(filling) == b"xy"  # whoever reads it has asked before
    assert filling.commit() is None and store.variants(KEY) == ()
    assert (spared.commit() is None) == (how == "all") and store.filling == 0


def whole(filling: Filling) -> bytes:
    return filling.read(0)


def test_a_purge_goes_on_in_steps_while_others_come_and_go() -> None:
    store = Store(64 * MB, MB)
    for n in range(3000):
        put(store, b"/%s/%d" % (b"ab"[n % 2 : n % 2 + 1], n), tags=(b"t",))
    steps = others = 0
    for step in (purge := store.purge_prefix(b"/a/")):
        assert step is None
        steps += 1
        others += store.purge(b"/a/%d" % (2998 - 2 * steps))
        put(store, b"/b/new%d" % steps)
    assert steps - 1 <= others <= steps > 5 and purge.purged + others == 1500
    assert not any(key[0].startswith(b"/a/") for key in store._index) and store.entries == 1500 + steps
    assert store.purge_tag(b"t").finish() == 1500 and store.bytes == counted(store)


def test_a_tag_that_very_many_bear_is_purged_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revproxy.cache.steps._STEP", 50)
    monkeypatch.setattr("revproxy.cache.store._SNAPSHOT", 200)
    store = Store(64 * MB, MB)
    for n in range(400):
        put(store, b"%d" % n, tags=(b"t",) if n % 4 else (b"s",))
    purge = store.purge_tag(b"t")
    assert len(list(purge)) > 50 and purge.purged == 300 and store.entries == 100
    assert len(list(store.purge_tag(b"s"))) > 20 and store.bytes == 0


# -- what it weighs


@pytest.mark.parametrize(
    ("count", "size", "tags", "of", "keyed", "variants"),
    [
        (1000, 0, 0, 1, False, 1),
        (1000, 1000, 0, 1, False, 1),
        (400, 20_000, 3, 10, False, 1),
        (600, 1000, 10, 200, False, 1),
        (600, 1000, 2, 10**6, False, 1),
        (600, 500, 0, 1, True, 1),
        (600, 500, 0, 1, False, 8),
        (100, 200_000, 0, 1, False, 1),
        (12, 5_000_000, 1, 1, False, 1),
    ],
)
def test_what_counts_is_what_is_held(count: int, size: int, tags: int, of: int, keyed: bool, variants: int) -> None:
    put(Store(MB, MB))
    gc.collect()
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        store = Store(1 << 40, 1 << 40)
        for n in range(count):
            _put_fresh(store, n, size, tuple(b"tag-%d" % ((n * 7 + i) % of) for i in range(tags)), keyed, variants)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - base
        print(f"{count} of {size}: counted {store.bytes}, held {held}: {store.bytes / held:.3f}")
        assert 0.9 < store.bytes / held < 1.1
        store.resize(store.bytes // 3).finish()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - base
        print(f"after evictions {store.bytes / held:.3f}")
        assert 0.9 < store.bytes / held < 1.1
        store.purge_all().finish()
        gc.collect()
        assert store.bytes == GHOST * store._fifo.remembered
    finally:
        tracemalloc.stop()


def _put_fresh(store: Store, n: int, size: int, tags: tuple[bytes, ...], keyed: bool, variants: int) -> None:
    key = (
        b"cache\nhttps\nwww.example.com\n/some/path/of/things/%d" % (n // variants),
        b"=user%d" % n if keyed else b"",
    )
    selected = (b"gzip, br %d" % n,) if variants > 1 else ()
    filling = store.begin(key, described(key, selected=selected, count=8), size, tags)
    assert filling is not None
    for at in range(0, size, 50_000):
        assert filling.write(bytes(min(50_000, size - at)))
    assert filling.commit() is not None


def test_a_filling_weighs_what_it_holds() -> None:
    tracemalloc.start()
    try:
        store = Store(1 << 40, 1 << 40)
        base = tracemalloc.get_traced_memory()[0]
        fillings = []
        for n in range(300):
            key = (b"https://www.example.com/%d" % n, b"")
            filling = store.begin(key, described(key, count=8), None, ())
            assert filling is not None
            for at in range(n):
                filling.write(bytes([at % 256]) * 100)
            fillings.append(filling)
        held = tracemalloc.get_traced_memory()[0] - base
        assert 0.9 < store.bytes / held < 1.1
    finally:
        tracemalloc.stop()


# -- against a model

URIS = st.sampled_from([b"/a", b"/a/1", b"/a/2", b"/b", b"/b/1"])
BESIDE = st.sampled_from([b"", b"", b"=1", b"=2"])
SELECTED = st.sampled_from([(), (b"gzip",), (b"br",), (None,)])
TAGS = st.lists(st.sampled_from([b"x", b"y", b"z"]), max_size=2, unique=True).map(tuple)
BUDGET, LARGEST = 60_000, 20_000


class Model(RuleBasedStateMachine):
    """What was stored and not removed, replaced or purged is there, or had to make room."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(BUDGET, LARGEST)
        self.there: dict[tuple[Key, Selected], tuple[Entry, bytes]] = {}
        self.fillings: dict[Filling, list[bytes]] = {}
        self.held: list[Entry] = []
        self.gone = self.purged = 0
        self.numbers = itertools.count()

    def settle(self) -> None:
        """Those that left otherwise had to make room."""
        for identity, (entry, _) in list(self.there.items()):
            if entry.queue is None:
                del self.there[identity]
                self.gone += 1

    @rule(uri=URIS, beside=BESIDE, selected=SELECTED, tags=TAGS)
    def begin(self, uri: bytes, beside: bytes, selected: Selected, tags: tuple[bytes, ...]) -> None:
        key = (uri, beside)
        filling = self.store.begin(key, described(key, selected=selected), None, tags)
        if filling is not None:
            self.fillings[filling] = []
        else:
            assert self.store.filling > self.store.budget // 2 - 4000 or self.store.held

    @precondition(lambda self: self.fillings)
    @rule(data=st.data(), size=st.sampled_from([0, 1, 100, 3000, 9000]))
    def write(self, data: st.DataObject, size: int) -> None:
        filling = data.draw(st.sampled_from(list(self.fillings)))
        part = bytes([next(self.numbers) % 256]) * size
        written = self.fillings[filling]
        if filling.write(part):
            written.append(part)
            assert filling.length == sum(map(len, written)) <= LARGEST
        else:
            del self.fillings[filling]
            assert not filling.open

    @precondition(lambda self: self.fillings)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        filling = data.draw(st.sampled_from(list(self.fillings)))
        body = b"".join(self.fillings.pop(filling))
        entry = filling.commit()
        assert (entry is None) == filling.purged
        if entry is not None:
            identity = (filling.key, filling.meta.selected)
            old = self.there.pop(identity, None)
            assert old is None or old[0].queue is None
            self.there[identity] = (entry, body)
            assert (entry.meta.serve_until == 5.0) == (filling.expired is not None)

    @precondition(lambda self: self.fillings)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        filling = data.draw(st.sampled_from(list(self.fillings)))
        del self.fillings[filling]
        filling.abort()

    @precondition(lambda self: self.there)
    @rule(data=st.data(), verb=st.sampled_from(["hit", "hit", "hold", "remove", "refresh"]), selected=SELECTED)
    def touch(self, data: st.DataObject, verb: str, selected: Selected) -> None:
        identity = data.draw(st.sampled_from(sorted(self.there, key=repr)))
        entry, body = self.there[identity]
        if verb == "hit":
            self.store.hit(entry)
        elif verb == "hold":
            self.store.hold(entry)
            self.held.append(entry)
        elif verb == "remove":
            assert self.store.remove(entry) and not self.store.remove(entry)
            del self.there[identity]
        else:
            assert self.store.refresh(entry, described(identity[0], selected=selected, count=4))
            del self.there[identity]
            self.there[identity[0], selected] = (entry, body)

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        self.store.release(self.held.pop())

    @rule(
        how=st.sampled_from(["uri", "prefix", "tag", "all"]),
        uri=URIS,
        tag=st.sampled_from([b"x", b"y", b"z"]),
        now=st.sampled_from([None, 5.0]),
    )
    def purge(self, how: str, uri: bytes, tag: bytes, now: float | None) -> None:
        match how:
            case "uri":
                matching = {i for i in self.there if i[0][0] == uri}
                purged = self.store.purge(uri, now)
            case "prefix":
                matching = {i for i in self.there if i[0][0].startswith(uri)}
                purged = self.store.purge_prefix(uri, now).finish()
            case "tag":
                matching = {i for i, (e, _) in self.there.items() if tag in [t.name for t in e.tags]}
                purged = self.store.purge_tag(tag, now).finish()
            case _:
                matching = set(self.there)
                purged = self.store.purge_all(now).finish()
        assert purged == len(matching)
        self.purged += purged
        for identity in matching:
            if now is None:
                assert self.there.pop(identity)[0].queue is None
            else:
                assert self.there[identity][0].meta.serve_until == now

    @rule(budget=st.sampled_from([BUDGET, BUDGET // 2, BUDGET * 2]))
    def resize(self, budget: int) -> None:
        self.store.resize(budget).finish()
        assert self.store.budget == budget

    @invariant()
    def agrees(self) -> None:
        self.settle()
        store = self.store
        assert store.bytes == counted(store)
        on_top = min(store.held, store.budget // 8)
        assert store.bytes <= max(store.budget + on_top, store.filling + store.held)
        assert store.pinned == sum(entry.size for entry in set(self.held))
        assert store.evictions == self.gone and store.purges == self.purged
        assert store.filling == sum(filling.size for filling in self.fillings)
        assert store.held == sum(entry.size for entry in set(self.held) if entry.queue is None)
        assert store.entries == len(self.there)
        for (key, selected), (entry, body) in self.there.items():
            assert entry in store.variants(key) and entry.meta.selected == selected and entry.body == body


Model.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestModel = Model.TestCase


def test_what_has_left_counts_while_it_is_read() -> None:
    store = Store(1_000_000, 500_000)
    filling = store.begin(KEY, described())
    assert filling is not None
    filling.write(b"x" * 1000)
    entry = filling.commit()
    assert entry is not None
    store.remove(entry)
    assert (store.bytes, store.held) == (0, 0)
    store.hold(entry)
    store.hold(entry)
    assert (store.bytes, store.held) == (entry.size, entry.size)
    store.release(entry)
    assert store.held == entry.size
    store.release(entry)
    assert (store.bytes, store.held) == (0, 0)


def test_what_is_read_slowly_leaves_room_for_the_rest() -> None:
    store = Store(2 * MB, MB)
    hot = [put(store, b"hot%d" % n, 10_000) for n in range(40)]
    for entry in hot * 3:
        store.hit(entry)
    held = []
    for n in range(30):
        if store.begin((b"%d" % n, b""), described(), 200_000) is None:
            break
        entry = put(store, b"%d" % n, 200_000)
        if store.may_hold(entry):
            store.hold(entry)
            held.append(entry)
    assert 3 <= len(held) <= 5 and store.pinned <= MB
    assert all(entry.queue is not None for entry in hot)
    assert store.may_hold(held[0])  # that costs nothing more
    assert store.may_hold(hot[0])
    filling = store.begin((b"long", b""), described())
    assert filling is not None and not filling.write(bytes(300_000))
    assert store.begin((b"short", b""), described(), 20_000) is not None
    for entry in held:
        store.release(entry)
    assert store.pinned == 0 and store.begin((b"long", b""), described(), 200_000) is not None


def test_one_may_always_be_read() -> None:
    store = Store(200_000, 150_000)
    entry = put(store, size=90_000)
    store.resize(100_000).finish()
    assert store.may_hold(entry)


def test_new_tags_take_the_place_of_the_old_ones() -> None:
    store = Store(MB, MB)
    entry = put(store, tags=(b"a", b"b"))
    assert store.refresh(entry, described(), (b"b", b"c")) and store.bytes == counted(store)
    assert store.purge_tag(b"a").finish() == 0 and [tag.name for tag in entry.tags] == [b"b", b"c"]
    assert store.refresh(entry, described()) and store.bytes == counted(store)
    assert store.purge_tag(b"c").finish() == 1 and store.bytes == 0


def test_a_uri_has_a_bounded_number_of_entries() -> None:
    """What one request to it may make invalid is done at once."""
    store = Store(64 * MB, MB)
    for n in range(MOST_BESIDE // 8 + 2):
        for variant in range(8):
            put(store, (b"u", b"=%d" % n), selected=(b"%d" % variant,))
    assert store.entries == MOST_BESIDE and store.variants((b"u", b"=1")) == ()
    assert len(store.variants((b"u", b"=2"))) == 8 and store.bytes == counted(store)
