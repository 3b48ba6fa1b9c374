"""What a client gets of a stored response: all of it, a part, or that it has it already.

Rules of this module:

* a precondition is judged before a range (RFC 9110 13.2.2), and both only for a stored 200;
* Date stays what it was, Age is ours (RFC 9111 4); what describes a representation is left out of
  a 304 (RFC 9110 15.4.5); a 206 has the whole head, which is never wrong;
* the answer to HEAD is the head of what GET would get, without ranges (RFC 9110 14.2).
"""

from __future__ import annotations

from attrs import frozen

from revproxy.cache.ranges import Parts, content_range, parse_range, part_heads
from revproxy.cache.stored import Stored
from revproxy.cache.validators import is_unmodified, range_applies
from revproxy.http.message import Field, Request

#: About the representation, so not for a 304 (RFC 9110 15.4.5, 8.3 to 8.6).
_NOT_IN_304 = frozenset(
    {b"content-type", b"content-encoding", b"content-language", b"content-range", b"content-length"}
)


@frozen
class Whole:
    """All of it, with its own status."""


@frozen
class NotModified:
    """304: the client has it."""


@frozen
class Partial:
    """206. :param parts: start and end (left out) of each, in the order that was asked for."""

    parts: Parts


@frozen
class NotSatisfiable:
    """416: none of the parts exist."""


Answer = Whole | NotModified | Partial | NotSatisfiable

_WHOLE = Whole()
_NOT_MODIFIED = NotModified()
_NOT_SATISFIABLE = NotSatisfiable()


def answer_conditional(stored: Stored, request: Request, now: float, trace: list[str] | None = None) -> Answer:
    """What of a stored response answers a request (RFC 9111 4.3.2, 3.4; RFC 9110 13, 14).

    To be asked when the request is ``conditional``. A body that is still coming (``length`` is
    ``None``) is sent whole.
    """
    headers = request.headers
    answer: Answer = _WHOLE
    if is_unmodified(stored, headers, now):
        answer = _NOT_MODIFIED
    elif stored.status == 200 and stored.length is not None and request.method == b"GET":
        wanted = headers.get_all(b"range")
        if len(wanted) == 1 and range_applies(stored, headers, now):
            parts = parse_range(wanted[0], stored.length)
            if parts is not None:
                answer = Partial(parts) if parts else _NOT_SATISFIABLE
    if trace is not None:
        trace.append(f"answer: {type(answer).__name__}")
    return answer


def hit_fields(stored: Stored, now: float, status_field: Field | None = None) -> list[Field]:
    """The fields of a stored response as it is sent: with Age, and Cache-Status where there is one."""
    age = b"%d" % stored.age(now)
    fields = [*stored.headers.fields, (b"age", age, b"Age: " + age, 0)]
    if status_field is not None:
        fields.append(status_field)
    return fields


def not_modified_fields(fields: list[Field]) -> list[Field]:
    """The fields of a 304 of those of the whole response (RFC 9110 15.4.5)."""
    tagged = any(f[0] == b"etag" for f in fields)
    return [f for f in fields if f[0] not in _NOT_IN_304 and not (tagged and f[0] == b"last-modified")]


def _field(name: bytes, shown: bytes, value: bytes) -> Field:
    return (name, value, shown + b": " + value, 0)


@frozen
class Slices:
    """A 206 as it is sent. :param fields: its head's. :param length: bytes of its body.

    :param parts: of the stored body, in order. :param before: what goes before each of them, and
    :param after: after the last; empty for one part.
    """

    fields: list[Field]
    length: int
    parts: Parts
    before: list[bytes]
    after: bytes


def slices(fields: list[Field], parts: Parts, length: int, boundary: bytes) -> Slices:
    """The head and the framing of a 206 (RFC 9110 15.3.7): one part as it is, several as multipart/byteranges.

    :param fields: of the whole response. :param length: bytes of the whole body.
    :param boundary: as for :func:`~revproxy.cache.ranges.part_heads`.
    """
    if len(parts) == 1:
        start, stop = parts[0]
        head = [*fields, _field(b"content-range", b"Content-Range", content_range(parts[0], length))]
        return Slices(head, stop - start, parts, [b""], b"")
    kind = next((f[1] for f in fields if f[0] == b"content-type"), None)
    before, after = part_heads(parts, length, boundary, kind)
    size = sum(len(b) for b in before) + sum(stop - start for start, stop in parts) + len(after)
    head = [f for f in fields if f[0] != b"content-type"]
    head.append(_field(b"content-type", b"Content-Type", b"multipart/byteranges; boundary=" + boundary))
    return Slices(head, size, parts, before, after)


def not_satisfiable_fields(stored: Stored) -> list[Field]:
    """The fields of a 416 (RFC 9110 15.5.17)."""
    return [_field(b"content-range", b"Content-Range", b"bytes */%d" % (stored.length or 0))]
