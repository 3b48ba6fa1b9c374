"""Request paths: one normal form, for matching and for sending (RFC 3986 6.2.2)."""

from __future__ import annotations

import re

_ESCAPE = re.compile(rb"%(..?)?", re.DOTALL)
_HEX = re.compile(rb"[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
#: A dot segment between any two separators a backend could see, with path parameters ("..;x").
_DOTS = re.compile(rb"[/\\]\.{1,2}(?:;[^/\\]*)?(?=[/\\]|$)")
_SLASHES = re.compile(rb"//+")


class _Bad(Exception):
    pass


def _decode(match: re.Match[bytes]) -> bytes:
    digits = match[1]
    if digits is None or not _HEX.fullmatch(digits):
        raise _Bad
    value = int(digits, 16)
    if value == 0:
        raise _Bad
    if value in _UNRESERVED:
        return bytes((value,))
    return b"%" + digits.upper()


def normalise_path(path: bytes, merge_slashes: bool = False) -> bytes | None:
    """The path that is matched and sent: escaped unreserved characters decoded, others upper case.

    ``None`` when it is refused: a broken escape, an escaped NUL, or a dot segment once ``%2F``
    and ``%5C`` are read as separators. Escaped slashes stay escaped; doubled slashes stay unless
    ``merge_slashes``.
    """
    if b"%" in path:
        try:
            path = _ESCAPE.sub(_decode, path)
        except _Bad:
            return None
        if b"/." in path or b"\\." in path or b"%2F." in path or b"%5C." in path:
            if _DOTS.search(path.replace(b"%2F", b"/").replace(b"%5C", b"\\").replace(b"%3B", b";")):
                return None
    elif (b"/." in path or b"\\." in path) and _DOTS.search(path):
        return None
    return _SLASHES.sub(b"/", path) if merge_slashes else path
