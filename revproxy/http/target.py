"""Request targets: one normal form of the path, for matching and for sending (RFC 3986 6.2.2)."""

from __future__ import annotations

import re

from revproxy.fault import CLIENT_BAD_PATH, CLIENT_BAD_REQUEST, CLIENT_TARGET_TOO_LONG, ProtocolError

#: Printable ASCII without the fragment mark; browsers send ``[ ] { } | ^`` and the like raw.
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")
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


def read_otherwise(path: bytes) -> bytes | None:
    """A normalised path as backends may read it that decode ``%2F`` and merge slashes; ``None`` when it is the same."""
    if b"//" in path or b"%2F" in path:
        return _SLASHES.sub(b"/", path.replace(b"%2F", b"/"))
    return None


def shown(target: bytes) -> bytes:
    """What a log may show of a target that is wrong: a query may hold credentials."""
    return target.partition(b"?")[0][:80]


def check_target(target: bytes, most: int, malformed: type[ProtocolError] = ProtocolError) -> None:
    """Whether a request target, in whatever form, can be one at all.

    :param most: bytes it may have.
    :param malformed: what is raised for characters that no target has.
    :raises ProtocolError: for these, and when it is too long.
    """
    if len(target) > most:
        raise ProtocolError(CLIENT_TARGET_TOO_LONG, f"target of {len(target)} bytes")
    if not _TARGET.fullmatch(target):
        raise malformed(CLIENT_BAD_REQUEST, f"malformed target {shown(target)!r}")


def split_path(target: bytes, merge_slashes: bool = False) -> tuple[bytes, bytes | None]:
    """The normalised path and the query, ``None`` without one, of a target that begins with a slash.

    :raises ProtocolError: for a path that :func:`normalise_path` refuses.
    """
    path, mark, query = target.partition(b"?")
    clean = normalise_path(path, merge_slashes)
    if clean is None:
        raise ProtocolError(CLIENT_BAD_PATH, f"path {path[:80]!r}")
    return clean, query if mark else None
