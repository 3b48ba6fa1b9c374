"""Response heads for clients: values to bytes, each line made once."""

from __future__ import annotations

import time
from wsgiref.handlers import format_date_time

from revproxy.http.message import CODING, DATE, HOP, LENGTH, Response

_FRAMING = LENGTH | CODING | HOP
_status_lines: dict[tuple[int, bytes], bytes] = {}
_date: tuple[int, bytes, bytes] = (0, b"", b"")


def status_line(response: Response) -> bytes:
    """``HTTP/1.1 200 OK``, from a bounded table."""
    key = (response.status, response.reason)
    line = _status_lines.get(key)
    if line is None:
        line = b"HTTP/1.1 %d %b" % key
        if len(_status_lines) >= 512:
            _status_lines.clear()
        _status_lines[key] = line
    return line


def date_line() -> bytes:
    """The Date field line of now, made once a second (RFC 9110 6.6.1)."""
    return _now()[2]


def date_value() -> bytes:
    """The value of Date of now, made once a second (RFC 9110 6.6.1)."""
    return _now()[1]


def _now() -> tuple[int, bytes, bytes]:
    global _date
    now = int(time.time())
    if now != _date[0]:
        value = format_date_time(now).encode("ascii")
        _date = (now, value, b"Date: " + value)
    return _date


def response_lines(response: Response) -> bytes:
    """The status line and the fields, each with its CRLF; Date is added where it is missing.

    What was remembered of a repeated head is serialised once, unless a hook changed it.
    """
    block = response.block
    fields = response.headers.fields
    if block is not None and block.fields is fields and block.wire:
        return block.wire
    lines = [status_line(response)]
    if response.status < 200:
        lines += [f[2] for f in fields]
        lines.append(b"")
        return b"\r\n".join(lines)
    # whatever a hook did to the fields: framing is what the response says
    length = b"" if response.length is None else b"%d" % response.length
    framed = not length
    for f in fields:
        kind = f[3]
        if not kind & _FRAMING:
            lines.append(f[2])
        elif kind & LENGTH and not framed and f[1] == length:
            framed = True
            lines.append(f[2])
    if not framed:
        lines.append(b"Content-Length: " + length)
    if not response.kinds & DATE and b"date" not in response.headers:
        lines.append(date_line())
        block = None
    lines.append(b"")
    wire = b"\r\n".join(lines)
    if block is not None and block.fields is fields:
        block.wire = wire
    return wire
