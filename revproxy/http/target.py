"""Request paths: one normal form, for matching and for sending (RFC 3986 6.2.2)."""

from __future__ import annotations

import re

_ESCAPE = re.compile(rb"%.{0,2}", re.DOTALL)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
#: Every escape but ``%00``, in every case, and what it becomes.
_DECODED: dict[bytes, bytes] = {
    b"%" + high + low: bytes((value,)) if value in _UNRESERVED else b"%%%02X" % value
    for value in range(1, 256)
    for high in {b"%x" % (value >> 4), b"%X" % (value >> 4)}
    for low in {b"%x" % (value & 15), b"%X" % (value & 15)}
}
#: A dot segment between any two separators a backend could see, with path parameters ("..;x").
_DOTS = re.compile(rb"[/\\]\.{1,2}(?:;[^/\\]*)?(?=[/\\]|$)")
_SLASHES = re.compile(rb"//+")


def _decode(match: re.Match[bytes]) -> bytes:
    return _DECODED[match[0]]


def normalise_path(path: bytes, merge_slashes: bool = False) -> bytes | None:
    """The path that is matched and sent: escaped unreserved characters decoded, others upper case.

    ``None`` when it is refused: a broken escape, an escaped NUL, or a dot segment once ``%2F``
    and ``%5C`` are read as separators. Escaped slashes stay escaped; doubled slashes stay unless
    ``merge_slashes``.
    """
    if b"%" in path:
        try:
            path = _ESCAPE.sub(_decode, path)
        except KeyError:
            return None
        seen = path.replace(b"%2F", b"/").replace(b"%5C", b"\\").replace(b"%3B", b";")
    else:
        seen = path
    if (b"/." in seen or b"\\." in seen) and _DOTS.search(seen):
        return None
    return _SLASHES.sub(b"/", path) if merge_slashes else path
