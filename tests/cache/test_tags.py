"""Cache-Tag and Surrogate-Key."""

from __future__ import annotations

import pytest

from revproxy.cache.tags import LONGEST, MOST_TAGS, tags_of
from revproxy.http.message import field

MANY = tuple(b"%d" % n for n in range(MOST_TAGS))


@pytest.mark.parametrize(
    ("lines", "tags"),
    [
        ([], ()),
        ([(b"Content-Type", b"text/html, a")], ()),
        ([(b"Cache-Tag", b"a,b c , ,a")], (b"a", b"b c")),
        ([(b"Surrogate-Key", b"a  b\tc a")], (b"a", b"b", b"c")),
        ([(b"Surrogate-Key", b"x,y"), (b"cache-tag", b"a"), (b"Cache-Tag", b"x,y")], (b"x,y", b"a", b"x", b"y")),
        ([(b"Cache-Tag", b"")], ()),
        ([(b"Cache-Tag", b",".join(MANY)), (b"Cache-Tag", b"0")], MANY),
        ([(b"Cache-Tag", b",".join(MANY)), (b"Cache-Tag", b"x")], None),
        ([(b"Surrogate-Key", b"t" * LONGEST)], (b"t" * LONGEST,)),
        ([(b"Surrogate-Key", b"a " + b"t" * (LONGEST + 1))], None),
    ],
)  # fmt: skip
def test_tags(lines: list[tuple[bytes, bytes]], tags: tuple[bytes, ...] | None) -> None:
    assert tags_of([field(*line) for line in lines]) == tags
