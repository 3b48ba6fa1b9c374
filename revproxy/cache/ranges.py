"""Parts of a stored response: Range, 206 and 416 (RFC 9110 14, 15.3.7).

Rules of this module:

* what is malformed, in another unit, too many parts or parts that overlap is answered with the
  whole (RFC 9110 14.2 leaves that to the server), so that a request can't cost more than its response;
* positions are bytes, counted from 0, with the end left out.
"""

from __future__ import annotations

import re
from itertools import pairwise

MOST = 16  # parts of one answer
_LONGEST = 512  # bytes of a Range field
_BYTES = re.compile(rb"bytes=", re.IGNORECASE)
_SPEC = re.compile(rb"([0-9]{0,19})-([0-9]{0,19})")

Parts = tuple[tuple[int, int], ...]


def parse_range(value: bytes, length: int) -> Parts | None:
    """The parts of a body that a Range asks for, in its order; ``()`` when none can be had (416).

    ``None`` when the field is to be ignored. :param length: bytes of the body.
    """
    unit = _BYTES.match(value)
    if unit is None or len(value) > _LONGEST:
        return None
    parts: list[tuple[int, int]] = []
    some = False
    for spec in value[unit.end() :].split(b","):
        spec = spec.strip(b" \t")
        if not spec:
            continue
        match = _SPEC.fullmatch(spec)
        if match is None or spec == b"-":
            return None
        some = True
        if not match[1]:
            wanted = min(int(match[2]), length)
            start, stop = length - wanted, length
        else:
            start = int(match[1])
            stop = min(int(match[2]) + 1, length) if match[2] else length
            if match[2] and int(match[2]) < start:
                return None
        if start < stop:
            parts.append((start, stop))
    if not some or len(parts) > MOST:
        return None
    ordered = sorted(parts)
    if any(before[1] > after[0] for before, after in pairwise(ordered)):
        return None
    return tuple(parts)


def content_range(part: tuple[int, int], length: int) -> bytes:
    """The value of Content-Range (RFC 9110 14.4)."""
    return b"bytes %d-%d/%d" % (part[0], part[1] - 1, length)


def part_heads(parts: Parts, length: int, boundary: bytes, content_type: bytes | None) -> tuple[list[bytes], bytes]:
    """What goes before each part of multipart/byteranges, and after the last (RFC 9110 14.6).

    :param boundary: 1 to 70 letters and digits that the body does not hold: chance, so the caller's.
    """
    kind = b"" if content_type is None else b"Content-Type: " + content_type + b"\r\n"
    heads = [
        b"\r\n--%b\r\n%bContent-Range: %b\r\n\r\n" % (boundary, kind, content_range(part, length)) for part in parts
    ]
    return heads, b"\r\n--%b--\r\n" % boundary
