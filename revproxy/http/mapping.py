"""A backend's own names in a response, mapped back to the public ones.

Rules of this module:

* only what names the backend is changed; URLs of other hosts pass as they are;
* a mapped path stays a path: it never becomes ``//host``, which a browser would follow elsewhere.
"""

from __future__ import annotations

import re

from attrs import frozen

from revproxy.http.h1 import split_host
from revproxy.http.message import Field, Request

_ABSOLUTE = re.compile(rb"(?:(https?):)?//([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL)
_REFRESH = re.compile(rb"([0-9.]*[ \t]*[;,][ \t]*(?:url[ \t]*=[ \t]*)?)([\"']?)(.*)", re.IGNORECASE | re.DOTALL)
_PORTS = {b"http": b":80", b"https": b":443"}


@frozen
class Names:
    """What a backend calls itself, and where it is for the public. Built once for a route and backend.

    :param internal: the backend's own authorities (``host:port``), lower case; the Host that was sent
        counts without being listed.
    :param host: the Host sent to the backend, ``None`` where the client's is preserved.
    :param scheme: ``b"http"`` or ``b"https"``: how the backend is spoken to. A URL of the other
        scheme keeps its scheme, so that a backend may send people from http to https.
    :param inner: the path prefix that the backend sees, ``b"/"`` after ``strip_prefix``.
    :param outer: the public path prefix in its place, such as ``b"/api"``.
    """

    internal: frozenset[bytes] = frozenset()
    host: bytes | None = None
    scheme: bytes = b"http"
    inner: bytes = b"/"
    outer: bytes = b"/"

    def is_internal(self, authority: bytes, scheme: bytes, sent: bytes) -> bool:
        """Whether a URL of this scheme and lower-case authority is the backend's."""
        names = (authority, authority.removesuffix(_PORTS.get(scheme, b"")))
        return any(name in self.internal or (name and name == sent) for name in names)


def public_origin(request: Request) -> tuple[bytes, bytes]:
    """Scheme and authority by which the client named us; a trusted proxy's word counts."""
    scheme, authority = request.arrival.scheme, request.authority
    if request.arrival.trusted:
        said = request.headers.get_list(b"x-forwarded-proto")
        if said and said[0].lower() in _PORTS:
            scheme = said[0].lower()
        said = request.headers.get_list(b"x-forwarded-host")
        if said and split_host(said[0]) is not None:
            authority = said[0]
    return scheme, authority


def map_path(path: bytes, names: Names) -> bytes:
    """The public form of an absolute path of the backend's (query and fragment may follow)."""
    inner, outer = names.inner.rstrip(b"/"), names.outer.rstrip(b"/")
    rest = path[len(inner) :]
    if inner == outer or not path.startswith(inner) or (rest and rest[:1] not in b"/?#"):
        return path
    if not outer and rest[:1] != b"/":
        rest = b"/" + rest
    mapped = outer + rest
    # browsers read "\" as "/" and leave tabs out
    if mapped.replace(b"\t", b"")[1:2] in (b"/", b"\\"):
        return b"/." + mapped
    return mapped


def map_location(value: bytes, names: Names, request: Request) -> bytes:
    """The public form of a Location or Content-Location."""
    match = _ABSOLUTE.fullmatch(value)
    if match is None:
        return map_path(value, names) if value[:1] == b"/" else value
    written, authority, rest = match.groups()
    scheme = written.lower() if written else names.scheme
    user, at, host = authority.rpartition(b"@")
    sent = (names.host or request.authority).lower()
    if not names.is_internal(host.lower(), scheme, sent):
        return value
    public_scheme, public = public_origin(request)
    if scheme != names.scheme:
        public_scheme = scheme
    start = public_scheme + b"://" if written else b"//"
    return start + user + at + (public or host) + (map_path(rest, names) if rest[:1] == b"/" else rest)


def map_refresh(value: bytes, names: Names, request: Request) -> bytes:
    """The public form of a Refresh field: ``5; url=/there``."""
    match = _REFRESH.fullmatch(value)
    if match is None:
        return value
    start, quote, rest = match.groups()
    url, end, tail = rest.partition(quote) if quote else (rest, b"", b"")
    return start + quote + map_location(url.strip(b" \t"), names, request) + end + tail


def map_set_cookie(value: bytes, names: Names, request: Request) -> bytes:
    """The public form of a Set-Cookie field.

    A Domain that covers the backend's host and not the public one is left out, which makes the
    cookie host-only; Path is mapped by prefix, but for ``__Host-`` cookies, which need ``/``.
    """
    first, *attributes = value.split(b";")
    kept = [first]
    fixed = first.lstrip(b" \t")[:7].lower() == b"__host-"
    for attribute in attributes:
        name, equals, content = attribute.partition(b"=")
        word = name.strip(b" \t").lower()
        content = content.strip(b" \t")
        if word == b"domain" and _hides(content.lower().removeprefix(b"."), names, request):
            continue
        if word == b"path" and content[:1] == b"/" and not fixed:
            attribute = name + equals + map_path(content, names)
        kept.append(attribute)
    return b";".join(kept)


def _hides(domain: bytes, names: Names, request: Request) -> bool:
    """Whether a cookie's Domain is the backend's name and not the public one."""
    if not domain or _covers(domain, split_host(public_origin(request)[1])):
        return False
    return any(_covers(domain, split_host(name)) for name in (*names.internal, names.host or b""))


def _covers(domain: bytes, host: bytes | None) -> bool:
    return host is not None and (host == domain or host.endswith(b"." + domain))


def map_field(field: Field, names: Names, request: Request) -> Field:
    """A field of kind MAPPED in its public form."""
    name, value, line, kind = field
    if name == b"set-cookie":
        mapped = map_set_cookie(value, names, request)
    elif name == b"refresh":
        mapped = map_refresh(value, names, request)
    else:
        mapped = map_location(value, names, request)
    if mapped == value:
        return field
    return (name, mapped, line[: len(name)] + b": " + mapped, kind)
