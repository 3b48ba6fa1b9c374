"""What a request that changes things makes invalid (RFC 9111 4.4).

Rules of this module:

* every method that is not known to be safe counts, and only answers that are no errors (2xx, 3xx);
* beside the target, Location and Content-Location name what has changed; those of another origin
  are ignored, so that one site can't empty another's cache;
* the result are first parts of keys: everything below them goes, whatever it was chosen by.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from revproxy.cache.key import authority_of, uri_key
from revproxy.cache.rules import Rules
from revproxy.http.message import Request, Response
from revproxy.http.target import normalise_path

#: RFC 9110 9.2.1, and those of WebDAV that the registry of methods calls safe.
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH"})
_LONGEST = 8192  # bytes of a Location that is followed


def invalidates(request: Request, response: Response, rules: Rules, trace: list[str] | None = None) -> list[bytes]:
    """The URI parts of the keys that become invalid, without repetition; none for most requests."""
    if request.method in SAFE or not 200 <= response.status < 400:
        return []
    scheme, authority = request.scheme, authority_of(request)
    keys = [uri_key(rules, scheme, authority, request.path, request.query)]
    for f in response.headers.fields:
        if f[0] == b"location" or f[0] == b"content-location":
            target = same_origin(f[1], request, authority)
            if target is not None:
                key = uri_key(rules, scheme, authority, *target)
                if key not in keys:
                    keys.append(key)
    if trace is not None:
        trace.append(f"{request.method.decode('latin-1')} invalidates {len(keys)}")
    return keys


def same_origin(reference: bytes, request: Request, authority: bytes) -> tuple[bytes, bytes | None] | None:
    """Path and query of a URI reference, ``None`` when it is malformed or of another origin."""
    if len(reference) > _LONGEST:
        return None
    scheme = request.scheme.decode("latin-1")
    base = f"{scheme}://{authority.decode('latin-1')}{request.path.decode('latin-1')}"
    try:
        parts = urlsplit(urljoin(base, reference.decode("latin-1")))
    except ValueError:
        return None
    named = parts.netloc.lower().removesuffix(":443" if scheme == "https" else ":80")
    if parts.scheme != scheme or named.encode("latin-1", "replace") != authority:
        return None
    path = normalise_path((parts.path or "/").encode("latin-1", "replace"))
    if path is None or b"\n" in path:
        return None
    # an empty query is one to us, as it is in a request's target
    bare = reference.partition(b"#")[0]
    return path, parts.query.encode("latin-1", "replace") if b"?" in bare else None
