"""Parts of a body: storing a 206, answering from it, adding to it, and asking for the rest (RFC 9111 3.3, 3.4).

Rules of this module:

* a part is an entry beside the key of the whole (:func:`part_key`), so that nothing finds it that did not ask
  for a part, and whatever purges the URL takes it, too. There is one for each variant, in one piece;
* it answers ranges that lie within it while it is fresh, and the very Range that it was the answer to; it is
  never validated, and never sent as the whole;
* two become one if they have the same strong ETag and length of the whole, and touch; the fields are the newer
  one's, and the older one's where it says nothing. Otherwise the newer takes the place of the older. Once
  nothing is missing it is the whole, a 200;
* bytes count from the first position of Content-Range: what comes short of the last one is a shorter part, what
  is more than it says is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from revproxy.cache.key import CONDITIONS, Key
from revproxy.cache.policy import Ask, Serve, choose, decide
from revproxy.cache.ranges import parse_range
from revproxy.cache.stored import Stored
from revproxy.cache.storing import Refusal, may_store
from revproxy.cache.validators import range_applies
from revproxy.http.message import LENGTH, Field, Headers, Request, Response

if TYPE_CHECKING:
    from revproxy.cache.entry import Entry, Filling
    from revproxy.cache.rules import Rules
    from revproxy.cache.store import Store

#: Bytes up to which parts are put together; it is done at once.
LARGEST = 8 * 1024 * 1024
#: No key has a second part that ends so: its lines are empty or begin with ``=``.
_BESIDE = b"\npart"
_CONTENT_RANGE = re.compile(rb"bytes[ \t]+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
_EXPLICIT = frozenset({"s-maxage", "max-age", "expires", "override", "default"})


class StoredPart(Stored):
    """A stored part, described as the whole would be.

    :ivar first: position of its first byte. :ivar most: bytes that it said it would be; it may have become fewer.
    :ivar total: bytes of the whole. :ivar asked: the Range that it answered, ``b""`` for parts put together.
    """

    __slots__ = ("asked", "first", "most", "total")

    asked: bytes
    first: int
    most: int
    total: int


def part_key(key: Key) -> Key:
    """Where the parts of what has this key are."""
    return (key[0], key[1] + _BESIDE)


def parse_content_range(headers: Headers) -> tuple[int, int, int] | None:
    """First position, the one after the last, the length of the whole (RFC 9110 14.4); ``None`` for none."""
    values = headers.get_all(b"content-range")
    match = _CONTENT_RANGE.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    first, last, total = int(match[1]), int(match[2]), int(match[3])
    return (first, last + 1, total) if first <= last < total else None


def may_store_part(
    request: Request, response: Response, rules: Rules, key: Key, request_time: float, response_time: float
) -> StoredPart | Refusal:
    """Whether a 206 is stored, and as what: by what would be done with the whole.

    :param key: of the whole. The other arguments are those of :func:`revproxy.cache.storing.may_store`.
    """
    where = parse_content_range(response.headers)
    asked = request.headers.get_all(b"range")
    if where is None or len(asked) != 1:
        return Refusal("the response is partial, and not one part of a known whole")
    first, stop, total = where
    if response.length is not None and response.length > stop - first:
        return Refusal("the part is longer than it says")
    fields = [f for f in response.headers.fields if f[0] != b"content-range"]
    whole = Response(200, Headers(fields), reason=b"OK", length=response.length)
    made = may_store(request, whole, rules, key, request_time, response_time)
    if isinstance(made, Refusal):
        return made
    if made.source not in _EXPLICIT or made.serve_until <= response_time:
        return Refusal("the response is partial, and not fresh")
    part = StoredPart()
    _copy(made, part)
    part.key = part_key(key)
    part.first, part.most, part.total, part.asked = first, stop - first, total, asked[0]
    return part


def may_store_asked(
    request: Request, response: Response, rules: Rules, key: Key, request_time: float, response_time: float
) -> Stored | Refusal:
    """The same for any response to a request with the client's own conditions, which may be what it is about."""
    if response.status == 206:
        return may_store_part(request, response, rules, key, request_time, response_time)
    if response.status != 200 and any(f[0] in CONDITIONS for f in request.headers.fields):
        return Refusal("the answer to a precondition or a range")
    return may_store(request, response, rules, key, request_time, response_time)


def find_part(store: Store, key: Key, request: Request, ask: Ask, now: float) -> Entry | None:
    """The part that may be used for a request, if there is one. :param key: of the whole."""
    entries = store.variants(part_key(key))
    if not entries:
        return None
    stored = choose([entry.meta for entry in entries], request)
    decision = None if stored is None else decide(stored, ask, now)
    if not isinstance(decision, Serve) or decision.validate:
        return None
    return next(entry for entry in entries if entry.meta is stored)


def range_within(part: StoredPart, request: Request, now: float) -> tuple[int, int] | None:
    """From where to where in the stored part its answer to a request is; ``None`` when it is none.

    Positions count from the part's first byte.
    """
    headers = request.headers
    wanted = headers.get_all(b"range")
    length = part.length
    if len(wanted) != 1 or length is None or b"if-none-match" in headers or b"if-modified-since" in headers:
        return None
    if not range_applies(part, headers, now):
        return None
    if wanted[0] == part.asked:
        return (0, length)
    parts = parse_range(wanted[0], part.total)
    if parts is None or len(parts) != 1:
        return None
    start, stop = parts[0]
    return (start - part.first, stop - part.first) if part.first <= start and stop <= part.first + length else None


# -- the rest


def rest_of(part: StoredPart) -> list[Field] | None:
    """The fields of the request for what is missing behind a part; ``None`` when that is of no use.

    Without a strong ETag the two could not be put together (RFC 9111 3.4).
    """
    stop = part.first + (part.length or 0)
    if part.first or not part.etag or part.etag.startswith(b"W/") or not 0 < stop < part.total or part.total > LARGEST:
        return None
    wanted = b"bytes=%d-" % stop
    return [
        (b"range", wanted, b"Range: " + wanted, 0),
        (b"if-range", part.etag, b"If-Range: " + part.etag, 0),
    ]


def completed(part: StoredPart, response: Response) -> Response | None:
    """The head of the whole, of a part and the 206 for its rest; ``None`` when they are not of the same."""
    stop = part.first + (part.length or 0)
    if parse_content_range(response.headers) != (stop, part.total, part.total):
        return None
    if response.headers.get(b"etag") != part.etag or response.length != part.total - stop:
        return None
    fields = _merged(response.headers.fields, part.headers.fields)
    line = b"Content-Length: %d" % part.total
    fields.append((b"content-length", line[16:], line, LENGTH))
    whole = response.copy()
    whole.status, whole.reason, whole.length = 200, b"OK", part.total
    whole.headers = Headers(fields)
    whole.kinds |= LENGTH
    return whole


def _merged(new: list[Field], old: list[Field]) -> list[Field]:
    names = {f[0] for f in new}
    kept = [f for f in old if f[0] not in names]
    return [f for f in new if f[0] not in (b"content-range", b"content-length")] + kept


# -- in the store


def drop_parts(store: Store, key: Key) -> None:
    """The whole is stored. :param key: of the whole."""
    for entry in store.variants(part_key(key)):
        store.remove(entry)


def keep_part(store: Store, filling: Filling, meta: StoredPart) -> Entry | None:
    """Store a part that was received, together with the one that is there, if they touch."""
    if not 0 < filling.length <= meta.most:
        filling.abort()
        return None
    meta.length = filling.length
    old = next((entry for entry in store.variants(meta.key) if _same_variant(entry.meta, meta)), None)
    entry = filling.commit()
    if entry is None or (old is None and (meta.first or meta.length != meta.total)):
        return entry
    return _put_together(store, old, entry, meta)


def _same_variant(one: Stored, other: Stored) -> bool:
    return one.vary == other.vary and one.selected == other.selected


def _put_together(store: Store, old: Entry | None, new: Entry, meta: StoredPart) -> Entry | None:
    first, stop = meta.first, meta.first + new.length
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)
    names = [tag.name for tag in new.tags]
    fields = meta.headers.fields
    if old is not None:
        was: StoredPart = old.meta
        begin, end = was.first, was.first + old.length
        one = was.etag == meta.etag and meta.etag[:1] == b'"' and was.total == meta.total
        if not one or begin > stop or end < first or max(end, stop) - min(begin, first) > LARGEST:
            return new
        before = (0, max(0, first - begin))
        after = (min(old.length, stop - begin), old.length) if end > stop else (0, 0)
        first, stop = min(begin, first), max(end, stop)
        fields = _merged(fields, was.headers.fields)
        names += [tag.name for tag in old.tags if tag.name not in names]
    is_whole = first == 0 and stop == meta.total
    made = Stored() if is_whole else StoredPart()
    _copy(meta, made)
    made.headers = Headers(fields)
    made.length = stop - first
    if isinstance(made, StoredPart):
        made.first, made.most, made.total, made.asked = first, stop - first, meta.total, b""
    else:
        made.key = (meta.key[0], meta.key[1].removesuffix(_BESIDE))
    filling = store.begin(made.key, made, stop - first, tuple(names))
    if filling is None:
        return new
    for entry, (start, until) in ((old, before), (new, (0, new.length)), (old, after)):
        while entry is not None and start < until:
            data = entry.read(start)[: until - start]
            start += len(data)
            if not filling.write(data):
                return new
    whole = filling.commit()
    if is_whole and whole is not None:
        store.remove(new)
    return whole


def _copy(source: Stored, target: Stored) -> None:
    for name in Stored.__slots__:
        setattr(target, name, getattr(source, name))
