"""What is done by the media type of a body: patterns such as ``text/html``, ``*+json`` and ``text/*``.

Rules of this module:

* the most specific pattern counts: a whole type, then a suffix, then everything below a type;
* a type that is missing or malformed is ``application/octet-stream`` (RFC 9110 8.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

_TYPE = re.compile(rb"[!#$&^_.+\-0-9a-z]+/[!#$&^_.+\-0-9a-z]+")
UNKNOWN = b"application/octet-stream"


def media_type(value: bytes) -> bytes:
    """The type in a Content-Type field, in lower case and without parameters."""
    found = value.partition(b";")[0].strip(b" \t").lower()
    return found if _TYPE.fullmatch(found) else UNKNOWN


class ByType(Generic[T]):
    """A value for each of some patterns."""

    __slots__ = ("_below", "_suffixes", "_whole")

    def __init__(self, written: Mapping[str, T]) -> None:
        self._whole: dict[bytes, T] = {}
        self._suffixes: dict[bytes, T] = {}
        self._below: dict[bytes, T] = {}
        for pattern, value in written.items():
            name = pattern.encode("ascii")
            if name.startswith(b"*+"):
                self._suffixes[name[2:]] = value
            elif name.endswith(b"/*"):
                self._below[name[:-2]] = value
            else:
                self._whole[name] = value

    def get(self, name: bytes, default: T) -> T:
        """What there is for a type that :func:`media_type` gave, or ``default``."""
        if name in self._whole:
            return self._whole[name]
        if self._suffixes and (suffix := name.rpartition(b"+")[2]) in self._suffixes and b"+" in name:
            return self._suffixes[suffix]
        return self._below.get(name.partition(b"/")[0], default)
