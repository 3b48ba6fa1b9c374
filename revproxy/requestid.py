"""Request ids: unlike any other of any process."""

from __future__ import annotations

import itertools
import os

_start = os.urandom(8).hex().encode("ascii")
_count = itertools.count(1)


def new_request_id() -> bytes:
    """An id that no other request of any process has: 24 hex digits, then more after 4 billion."""
    return b"%b%08x" % (_start, next(_count))
