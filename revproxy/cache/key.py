"""What a response is stored under (RFC 9111 2).

Rules of this module:

* a key is two byte strings: the URI (scheme, authority, path, query) within the rules' name, by
  which responses are also invalidated (RFC 9111 4.4), and what the rules add to it;
* every part that a client chooses is in the key or does not reach the backend: the authority is
  always in it, so that an invented Host has entries of its own; parameters that are left out of the
  key are left out of the request for the backend as well, and so are fields that frameworks build
  URLs and methods of (:func:`fill_fields`). Otherwise what one client sends unkeyed would be served
  to the others;
* parts are separated by line feeds, which none of them can hold. A second part is lines: the rules' scope, where
  it has one, then of each field and cookie nothing, or its value after ``=``; each further line of a field after ``+``.
"""

from __future__ import annotations

from collections.abc import Sequence

from revproxy.cache.rules import Rules, is_named
from revproxy.http.message import FORWARDED, Field, Headers, Request

Key = tuple[bytes, bytes]

#: FORWARDED fields that reach the backend although no key holds them: the scheme is in the key
#: itself, the others say who asked, which a response that is shared can't depend on.
_WHO = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"})
#: Others that frameworks route or choose by.
_ROUTED = frozenset(
    b"x-http-method x-http-method-override x-method-override x-host x-forwarded-url x-rewrite-uri"
    b" x-original-uri x-http-host-override x-wap-profile".split()
)
#: Cookies of a request that are looked at.
MOST_COOKIES = 256
#: Preconditions and ranges, which a request that validates replaces (RFC 9111 4.3.1).
CONDITIONS = frozenset(b"if-match if-none-match if-modified-since if-unmodified-since if-range range".split())


def keyed_query(query: bytes | None, rules: Rules) -> bytes | None:
    """The query as the key has it, and as a backend is asked: filtered and sorted as the rules say.

    ``None`` stands for no query; a query of which nothing is left is ``None``, too.
    """
    if not query or not rules.parses_query:
        return query
    parts = query.split(b"&")
    if rules.query_only is not None or rules.query_ignore:
        only, ignore = rules.query_only, rules.query_ignore
        parts = [
            part
            for part in parts
            if (only is None or is_named(part.partition(b"=")[0], only))
            and not is_named(part.partition(b"=")[0], ignore)
        ]
        if not parts:
            return None
    if rules.query_sort:
        parts.sort(key=_name)  # stable: what is repeated keeps its order
    return b"&".join(parts)


def _name(part: bytes) -> bytes:
    return part.partition(b"=")[0]


def authority_of(request: Request) -> bytes:
    """Host and port of a request's target, lower case, without the scheme's own port."""
    authority = request.authority.lower() or request.host
    port = b":443" if request.scheme == b"https" else b":80"
    return authority.removesuffix(port)


def uri_key(rules: Rules, scheme: bytes, authority: bytes, path: bytes, query: bytes | None) -> bytes:
    """The first part of a key; ``authority`` as :func:`authority_of` makes it."""
    if query is not None and rules.parses_query:
        query = keyed_query(query, rules)
    target = path if query is None else path + b"?" + query
    return b"\n".join((rules.name, scheme, authority, target))


def make_key(request: Request, rules: Rules) -> Key:
    """Where the responses to a request are. GET and HEAD share a key (RFC 9110 9.3.2)."""
    authority = request.authority.lower() or request.host
    if b":" in authority:
        authority = authority_of(request)
    uri = uri_key(rules, request.scheme, authority, request.path, request.query)
    if not rules.key_headers and not rules.key_cookies:
        return (uri, rules.scope)
    fields = request.headers.fields
    parts = [rules.scope] if rules.scope else []
    for name in rules.key_headers:
        values = [f[1] for f in fields if f[0] == name]
        parts.append(b"=" + b"\n+".join(values) if values else b"")
    if rules.key_cookies:
        cookies = cookies_of(request.headers)
        parts += [b"=" + b";".join(cookies[name]) if name in cookies else b"" for name in rules.key_cookies]
    return (uri, b"\n".join(parts))


def cookies_of(headers: Headers) -> dict[bytes, list[bytes]]:
    """A request's cookies; of several of one name all values count, in order (RFC 6265 5.4)."""
    cookies: dict[bytes, list[bytes]] = {}
    for f in headers.fields:
        if f[0] == b"cookie":
            for pair in f[1].split(b";"):
                name, _, value = pair.partition(b"=")
                cookies.setdefault(name.strip(b" \t"), []).append(value.strip(b" \t"))
    return cookies


def has_too_many_cookies(headers: Headers) -> bool:
    """Whether it would take long to look at all of them."""
    return sum([f[1].count(b";") for f in headers.fields if f[0] == b"cookie"]) > MOST_COOKIES


def fill_fields(request: Request, rules: Rules, conditions: Sequence[Field] | None = None) -> list[Field]:
    """The fields of the request that a backend is asked with, for a response that may be shared.

    Its query has to be :func:`keyed_query`'s.

    :param conditions: the preconditions of a validation (RFC 9111 4.3.1); with them, the client's own,
        its Range among them, are left out: the whole response is wanted, and the client's are answered from it.
    """
    keyed = rules.key_headers
    left_out = CONDITIONS if conditions is not None else ()
    fields = [
        f
        for f in request.headers.fields
        if f[0] in keyed or not ((f[3] & FORWARDED and f[0] not in _WHO) or f[0] in _ROUTED or f[0] in left_out)
    ]
    if request.kinds & FORWARDED and any(f[0] == b"x-forwarded-proto" for f in fields):
        # what is in the key; a trusted peer may have sent what is no scheme, or several
        fields = [f for f in fields if f[0] != b"x-forwarded-proto"]
        fields.append((b"x-forwarded-proto", request.scheme, b"X-Forwarded-Proto: " + request.scheme, FORWARDED))
    if conditions:
        fields += conditions
    return fields


def _as_get(request: Request, query: bytes | None, headers: Headers) -> Request:
    asked = Request(
        b"GET",
        request.path,
        query,
        headers,
        host=request.host,
        authority=request.authority,
        version=request.version,
        kinds=request.kinds,
        arrival=request.arrival,
    )
    asked.client = request.client
    asked.scheme = request.scheme
    return asked


def fill_request(request: Request, rules: Rules, conditions: Sequence[Field] | None) -> Request:
    """The request that a backend is asked with on behalf of a client's. :param conditions: of :func:`fill_fields`."""
    return _as_get(request, keyed_query(request.query, rules), Headers(fill_fields(request, rules, conditions)))


def inner_path(path: bytes, mapping: tuple[bytes, bytes] | None) -> bytes:
    """A public path as backends, and so keys, have it. :param mapping: the prefix there, and the public one."""
    if mapping is None:
        return path
    inner, outer = (prefix.rstrip(b"/") for prefix in mapping)
    if path != outer and not path.startswith(outer + b"/"):
        return path
    return inner + path[len(outer) :] or b"/"


def as_get(request: Request) -> Request:
    """The GET of the same target and fields, on whose account the response to another method is stored."""
    if request.method == b"GET":
        return request
    return _as_get(request, request.query, request.headers)


def printable_key(key: Key) -> str:
    """A key for people, and for Cache-Status (RFC 9211 2.7): ``https://host/path?query``, then what was added."""
    _, scheme, authority, target = key[0].split(b"\n", 3)
    text = b"%b://%b%b" % (scheme, authority, target)
    if key[1]:
        text += b" " + key[1].replace(b"\n", b" ")
    return text.decode("latin-1")
