"""Cookies and query parameters: pairs of name and value that a request carries.

Rules of this module:

* both are read leniently, as far as they go: what is no pair is passed over. The bound is that of the head;
* what is read as a parameter of a name is what is taken out, and what is masked, however its name is escaped.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from urllib.parse import unquote_to_bytes

from revproxy.http.message import Headers

#: What stands in a log for the value of a parameter that is a secret.
MASK = b"***"


def query_parameters(query: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Names and values of a query, decoded (URL Standard, 5.1: ``application/x-www-form-urlencoded``)."""
    if not query:
        return
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            yield _decoded(name), _decoded(value)


def query_parameter(query: bytes | None, name: bytes) -> bytes | None:
    """The first parameter of this name, or ``None``."""
    for found, value in query_parameters(query):
        if found == name:
            return value
    return None


def without_parameters(query: bytes, names: Container[bytes]) -> bytes | None:
    """A query without the parameters of these (decoded) names: the same object where there are none, ``None`` for
    nothing left."""
    parts = query.split(b"&")
    kept = [part for part in parts if _decoded(part.partition(b"=")[0]) not in names]
    return query if len(kept) == len(parts) else b"&".join(kept) if kept else None


def masked(target: bytes, names: Container[bytes]) -> bytes:
    """A target or URL with :data:`MASK` for the values of the parameters of these (decoded) names.

    With two parameters it takes as long as the rest of a record for the log: for where there are such names.
    """
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    shown = []
    for part in query.split(b"&"):
        name, equals, _ = part.partition(b"=")
        shown.append(name + b"=" + MASK if equals and _decoded(name) in names else part)
    return path + b"?" + b"&".join(shown)


def cookies(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    """Names and values of the cookies, as they stand (RFC 6265 4.2.1), in all ``Cookie`` fields (RFC 9113 8.2.3)."""
    for line in headers.get_all(b"cookie"):
        for pair in line.split(b";"):
            name, equals, value = pair.partition(b"=")
            if equals:
                yield name.strip(b" \t"), value.strip(b" \t")


def cookie(headers: Headers, name: bytes) -> bytes | None:
    """The first cookie of this name (RFC 6265 5.4: the more specific path comes first), or ``None``."""
    for found, value in cookies(headers):
        if found == name:
            return value
    return None


def _decoded(text: bytes) -> bytes:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text
