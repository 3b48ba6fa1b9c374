"""The tags that a response bears, by which it can be purged with others: Cache-Tag and Surrogate-Key.

Rules of this module:

* Cache-Tag is a list with commas, Surrogate-Key one with spaces; both may be there, and repeated;
* a tag that is left out could not be purged: with too many of them, or one that is too long, a
  response is not stored at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from revproxy.http.message import Field

#: Tags of one response.
MOST_TAGS = 1024
#: Bytes of a tag.
LONGEST = 1024
#: The fields that hold tags; they are not for clients.
TAG_FIELDS = frozenset({b"cache-tag", b"surrogate-key"})


def tags_of(fields: Iterable[Field]) -> tuple[bytes, ...] | None:
    """The tags in a response's fields, each once; ``None`` when they are too many or too long to be kept."""
    found: dict[bytes, None] = {}
    for f in fields:
        if f[0] == b"cache-tag":
            found.update((tag, None) for part in f[1].split(b",") if (tag := part.strip(b" \t")))
        elif f[0] == b"surrogate-key":
            found.update((tag, None) for tag in f[1].split())
    if not found:
        return ()
    tags = tuple(found)
    return tags if fit(tags) else None


def fit(tags: tuple[bytes, ...]) -> bool:
    """Whether there are not too many tags, none too long."""
    return len(tags) <= MOST_TAGS and all(len(tag) <= LONGEST for tag in tags)
