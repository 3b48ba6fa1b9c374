"""What a purge means for what is being asked for."""

from __future__ import annotations

import pytest

from revproxy.cache import pending
from revproxy.cache.pending import Pending


def test_purges_of_a_uri() -> None:
    fills = Pending()
    fills.purge(b"a")
    since = fills.purges
    assert not fills.was_purged(b"a", since)
    fills.purge(b"b")
    assert not fills.was_purged(b"a", since)
    assert fills.was_purged(b"b", since)
    fills.purge_tag(b"tag")
    assert fills.was_purged(b"a", since)
    since = fills.purges
    assert not fills.was_purged(b"b", since)
    fills.purge_where(lambda uri: False)
    assert fills.was_purged(b"b", since)


def test_what_is_known_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_MOST", 3)
    fills = Pending()
    since = fills.purges
    fills.purge(b"a")
    for number in range(10):
        fills.purge(b"%d" % number)
        assert len(fills._last) <= 3
        assert fills.was_purged(b"a", since)
