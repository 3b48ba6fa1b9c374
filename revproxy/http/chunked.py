"""The chunked coding, incrementally (RFC 9112 7.1).

Rules of this module:

* CR and LF come only together: a bare one ends a line for some readers, and then what follows is
  body for one and a request for another;
* a chunk extension is bounded, ignored and never passed on (RFC 9112 7.1.1);
* the verdict does not depend on how the bytes were cut, and time is linear in them: a read is
  walked by position, never shortened chunk by chunk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from revproxy.fault import BACKEND_BAD_BODY, CLIENT_BAD_BODY, Fault, ProtocolError
from revproxy.http.fields import find_flaw, parse_field
from revproxy.http.message import UNDERSCORE, Field

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t\x20-\x7e\x80-\xff]*)?")
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_MAX_SIZE = (1 << 62) - 1  # bytes of a chunk
_MAX_SIZE_LINE = 512  # bytes of a chunk's size and extensions
MAX_TRAILERS = 8192  # bytes of a trailer section
_MAX_EXTENSIONS = 16 * 1024  # bytes of extensions in one body
#: RFC 9110 6.5.1: fields that frame, route, authenticate or describe a message can't trail it,
#: nor can those whose kind says that the proxy has to do something about them.
FORBIDDEN_TRAILERS = frozenset(
    b"age authorization cache-control connection content-encoding content-length content-location content-range"
    b" content-type cookie date expect expires forwarded host if-match if-modified-since if-none-match if-range"
    b" if-unmodified-since keep-alive location max-forwards pragma proxy-authenticate proxy-authorization"
    b" proxy-connection range retry-after set-cookie te trailer transfer-encoding upgrade vary via"
    b" www-authenticate x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip".split()
)

# What is read next.
_SIZE, _DATA, _END, _TRAILER = range(4)


class ChunkedReader:
    """Reads one chunked body.

    ``feed`` gives the body bytes of what it read; when ``done``, ``rest`` holds what came after
    the body (before that what was too much at once) and ``trailers`` its trailer fields (those with
    an underscore in their name left out).

    :param fault: what a malformed body is. For a client forbidden trailers are refused, from a
        backend they are dropped.
    :param max_trailers: bytes of the trailer section.
    """

    __slots__ = ("_extensions", "_left", "_line", "_next", "_room", "done", "fault", "max_trailers", "rest", "trailers")

    def __init__(self, fault: Fault = CLIENT_BAD_BODY, max_trailers: int = MAX_TRAILERS) -> None:
        self.fault = fault
        self.max_trailers = max_trailers
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []
        self._line = b""  # an unfinished line
        self._next = _SIZE
        self._left = 0  # bytes of the chunk's data still to come
        self._room = max_trailers  # bytes of the trailer section still to come
        self._extensions = 0

    def feed(self, data: bytes, most: int = -1) -> bytes:
        """The body bytes in ``data``, as one string.

        :param most: chunks that are read; what comes after them is :attr:`rest`, for another call.
        :raises ProtocolError: when the coding is violated.
        """
        parts: list[bytes] = []
        at = 0
        size = len(data)
        while at < size and not self.done:
            if self._next == _DATA:
                stop = at + self._left
                if stop > size:
                    self._left = stop - size
                    parts.append(data[at:] if at else data)
                    at = size
                    break
                parts.append(data[at:stop])
                at = stop + 2
                if data[stop:at] == b"\r\n":
                    self._next = _SIZE
                else:
                    at = stop
                    self._next = _END
            elif self._next == _END:
                at = self._end(data, at)
            elif self._next == _SIZE:
                # nearly all size lines come whole and plain: 3.1 -> 1.9 us a chunk
                match = None if self._line else _PLAIN_SIZE.match(data, at)
                if match is None:
                    at = self._size(data, at)
                else:
                    if not most:
                        break
                    most -= 1
                    at = match.end()
                    self._left = int(match[1], 16)
                    self._next = _DATA if self._left else _TRAILER
            else:
                at = self._trailer(data, at)
        if at < size:
            self.rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next_line(self, data: bytes, at: int, limit: int) -> tuple[bytes | None, int]:
        """A whole line (or ``None``) and where the next one starts."""
        held = self._line
        line = held + data[at : at + limit + 2 - len(held)]
        end = line.find(b"\r\n")
        if end >= 0:
            self._line = b""
            return line[:end], at + end + 2 - len(held)
        # one byte over the limit may be the CR that ends the line
        if len(line) > limit + (line[-1] == 0x0D) or find_flaw(line):
            raise ProtocolError(self.fault, f"malformed chunk line {line[:40]!r}")
        self._line = line
        return None, len(data)

    def _size(self, data: bytes, at: int) -> int:
        line, at = self._next_line(data, at, _MAX_SIZE_LINE)
        if line is None:
            return at
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise ProtocolError(self.fault, f"malformed chunk size {line[:40]!r}")
        if match[2]:
            self._extensions += len(match[2])
            if self._extensions > _MAX_EXTENSIONS:
                raise ProtocolError(self.fault, "too many chunk extensions")
        self._left = int(match[1], 16)
        if self._left > _MAX_SIZE:
            raise ProtocolError(self.fault, f"chunk size {match[1]!r}")
        self._next = _DATA if self._left else _TRAILER
        return at

    def _end(self, data: bytes, at: int) -> int:
        seen = self._line + data[at : at + 2 - len(self._line)]
        if not b"\r\n".startswith(seen):
            raise ProtocolError(self.fault, "no CRLF after a chunk")
        at += len(seen) - len(self._line)
        if len(seen) < 2:
            self._line = seen
        else:
            self._line = b""
            self._next = _SIZE
        return at

    def _trailer(self, data: bytes, at: int) -> int:
        line, at = self._next_line(data, at, self._room)
        if line is None:
            return at
        if not line:
            self.done = True
            return at
        self._room = max(0, self._room - len(line) - 2)
        field = parse_field(line, self.fault)
        if may_trail(field, self.fault):
            self.trailers.append(field)
        return at


def may_trail(field: Field, fault: Fault) -> bool:
    """Whether a trailer field is passed on (RFC 9110 6.5.1): ``False`` for one that is dropped.

    :param fault: what a forbidden trailer is: a client's is refused, a backend's is dropped.
    """
    kind = field[3]
    if kind & UNDERSCORE:
        return False
    if not kind and field[0] not in FORBIDDEN_TRAILERS:
        return True
    if fault is BACKEND_BAD_BODY:
        return False
    raise ProtocolError(fault, f"trailer {field[0][:40]!r} is not allowed")


def chunk(data: bytes) -> bytes:
    """``data`` (not empty) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Sequence[Field] = ()) -> bytes:
    """The end of a chunked body, with its trailer fields."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"\r\n".join([b"0", *[f[2] for f in trailers], b"", b""])
