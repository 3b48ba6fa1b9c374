"""Which stored response was meant for requests like this one: Vary (RFC 9111 4.1, RFC 9110 12.5.5).

Rules of this module:

* two requests match when the nominated fields have the same values in normal form; a field that is
  absent matches only where it is absent;
* the normal form joins lines and drops white space around commas outside quotes; codings,
  languages and charsets are lower case, and codings and charsets sorted. Languages are not: many
  servers take the order of those of one quality for the preference (RFC 9110 12.5.4). Fields that are
  no lists, and values too long to be a browser's, are left as they are;
* ``*`` anywhere in the list never matches, so that such a response is not stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from revproxy.http.message import Headers

_SORTED = frozenset({b"accept-encoding", b"accept-charset"})
#: Their names in any case are the same.
_FOLDED = _SORTED | {b"accept-language"}
#: Fields whose commas are no separators.
_SINGLE = frozenset(
    b"user-agent cookie authorization referer origin host if-modified-since date from sec-ch-ua-platform".split()
)
#: What the backend sees is not what the client sent, and differs from client to client.
_WRITTEN = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-request-id"})
_SEPARATOR = re.compile(rb"[ \t]*,[ \t]*")
_REMEMBERED = 1024  # values
_SHORT = 256  # bytes of a value that is remembered
_remembered: dict[tuple[bytes, bytes], bytes] = {}
_MOST = 32  # names of a Vary that is followed
_LONGEST = 2048  # bytes of a value that is brought to normal form


def vary_names(headers: Headers, written: frozenset[bytes] = frozenset()) -> tuple[bytes, ...] | None:
    """The fields that a response was chosen by: lower case, sorted; ``None`` when it never matches.

    That is so for ``*``, for more than 32 names, and for those that this proxy writes of each client.

    :param written: such names besides those that it always writes.
    """
    names: set[bytes] = set()
    for f in headers.fields:
        if f[0] == b"vary":
            names.update(name for part in f[1].split(b",") if (name := part.strip(b" \t").lower()))
    if b"*" in names or len(names) > _MOST or not (names.isdisjoint(_WRITTEN) and names.isdisjoint(written)):
        return None
    return tuple(sorted(names))


def normal_value(name: bytes, values: list[bytes]) -> bytes | None:
    """The value of a request's field that is compared; ``None`` where there is no such field.

    :param name: lower case. :param values: those of its lines, in order.
    """
    if not values:
        return None
    if name in _SINGLE:
        return b"\n".join(values)
    joined = values[0] if len(values) == 1 else b",".join(values)
    if b'"' in joined or len(joined) > _LONGEST:  # commas and spaces in quotes mean themselves
        return joined
    if name in _FOLDED:
        members = filter(None, joined.lower().replace(b" ", b"").replace(b"\t", b"").split(b","))
        return b",".join(sorted(members) if name in _SORTED else members)
    return _SEPARATOR.sub(b",", joined).strip(b" \t,")


def vary_values(names: tuple[bytes, ...], headers: Headers) -> tuple[bytes | None, ...]:
    """What a request's fields of these names say, to be compared with those of another request."""
    fields = headers.fields
    said: list[bytes | None] = []
    for name in names:
        values = [f[1] for f in fields if f[0] == name]
        if len(values) == 1 and name in _FOLDED:  # the same few values, again and again
            value = _remembered.get((name, values[0]))
            if value is None:
                value = normal_value(name, values)
                if value is not None and len(values[0]) <= _SHORT:
                    if len(_remembered) >= _REMEMBERED:
                        _remembered.clear()
                    _remembered[name, values[0]] = value
            said.append(value)
        else:
            said.append(normal_value(name, values))
    return tuple(said)


def vary_table(
    names: Iterable[tuple[bytes, ...]], headers: Headers
) -> dict[tuple[bytes, ...], tuple[bytes | None, ...]]:
    """:func:`vary_values` for several tuples of names, each field read once."""
    lines: dict[bytes, list[bytes]] = {}
    for f in headers.fields:
        lines.setdefault(f[0], []).append(f[1])
    said: dict[bytes, bytes | None] = {}
    table = {}
    for each in names:
        for name in each:
            if name not in said:
                said[name] = normal_value(name, lines.get(name, []))
        table[each] = tuple([said[name] for name in each])
    return table


def was_written(
    names: tuple[bytes, ...], selected: tuple[bytes | None, ...], sent: Headers, fixed: frozenset[bytes]
) -> bool:
    """Whether one of these fields reached the backend with another value than the client's.

    :param selected: what the client's request said of them. :param sent: the fields that the backend got. What was left
        out there is the same for everybody. :param fixed: so are these.
    """
    values = vary_values(names, sent)
    return any(
        got is not None and got != said and name not in fixed
        for name, said, got in zip(names, selected, values, strict=True)
    )
