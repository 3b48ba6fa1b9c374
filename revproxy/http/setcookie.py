"""Set-Cookie fields (RFC 6265bis 5.6), read as browsers read them, and what is missing in them.

Rules of this module:

* nothing is taken away and nothing that is there is changed: attributes are appended;
* an attribute is there when a browser would take it for that, whatever its value and case;
* Secure is added on https only: elsewhere a browser would drop the cookie.
"""

from __future__ import annotations

from collections.abc import Collection

_SAME_SITE = (b"lax", b"strict", b"none")
#: Name prefixes that browsers take without Secure for forgeries; those with Http ask for HttpOnly, too.
_SECURE_NAMES = (b"__secure-", b"__host-", b"__http-")
_HTTP_NAMES = (b"__http-", b"__host-http-")


def cookie_name(value: bytes) -> bytes:
    """The name of the cookie that a Set-Cookie field's value sets."""
    return value.partition(b";")[0].partition(b"=")[0].strip(b" \t")


def missing_attributes(
    value: bytes, *, https: bool, secure: bool, http_only: bool, readable: Collection[bytes], same_site: bytes | None
) -> bytes:
    """What has to be appended to a Set-Cookie field's value, such as ``; Secure; HttpOnly``; ``b""`` for nothing.

    :param https: whether the client came by https.
    :param secure: whether Secure is wanted; cookies whose names ask for it get it in any case.
    :param http_only: whether HttpOnly is wanted. :param readable: names of cookies that scripts read.
    :param same_site: ``Lax``, ``Strict``, ``None`` as bytes, or nothing.
    """
    pair, *attributes = value.split(b";")
    name = pair.partition(b"=")[0].strip(b" \t")
    has_secure = has_http_only = has_same_site = False
    for attribute in attributes:
        key, _, rest = attribute.partition(b"=")
        key = key.strip(b" \t").lower()
        if key == b"secure":
            has_secure = True
        elif key == b"httponly":
            has_http_only = True
        elif key == b"samesite":
            # the last one counts, and a value that nobody knows is none
            has_same_site = rest.strip(b" \t").lower() in _SAME_SITE
    lower = name.lower()
    added = b""
    if https and not has_secure and (secure or lower.startswith(_SECURE_NAMES)):
        added = b"; Secure"
        has_secure = True
    if not has_http_only and ((http_only and name not in readable) or lower.startswith(_HTTP_NAMES)):
        added += b"; HttpOnly"
    # browsers drop SameSite=None without Secure
    if not has_same_site and same_site is not None and (has_secure or same_site != b"None"):
        added += b"; SameSite=" + same_site
    return added
