"""Who a client has to be: what is written of the certificates that clients show.

Rules of this module:

* what is written is brought to the form that :class:`~revproxy.http.tlsinfo.ClientIdentity` has, so that matching
  compares texts;
* a name is written with its type, and only names of that type are compared with it;
* a ``*`` stands only at the end of a URI, after a ``/``: ``spiffe://x*`` would take ``spiffe://x.evil`` in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from revproxy.config.errors import Wrong, nearest, wrong
from revproxy.config.hosts import host_name
from revproxy.http.tlsinfo import ClientIdentity, normal_subject

_HINT = 'write "*", a subject such as "CN=alice,O=Example", or a name with its type such as "DNS:a.example"'
_TYPES = {"dns": "DNS", "uri": "URI", "email": "email", "ip": "IP"}
_TYPED = re.compile(r"([A-Za-z0-9]+):(.*)", re.DOTALL)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-)+-~]+\*?")
_EMAIL = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+")


def identity(value: object) -> str:
    """One value of ``match.client_certificate``, normalised. :raises Wrong: when it is none."""
    if not isinstance(value, str):
        raise wrong(value, "is not a client certificate", _HINT)
    if value == "*":
        return value
    typed = _TYPED.fullmatch(value)
    if typed is not None:
        kind = _TYPES.get(typed[1].lower())
        if kind is None:
            near = nearest(typed[1], _TYPES.values())
            raise wrong(value, "has an unknown type of name", 'write "DNS:", "URI:", "email:" or "IP:"', near)
        return f"{kind}:{_name(value, kind, typed[2])}"
    try:
        if "=" not in value:
            raise ValueError(value)
        return normal_subject(value)
    except ValueError:
        what = "is not a subject in the form of RFC 4514" if "=" in value else "is not a client certificate"
        hint = "write it as openssl x509 -noout -subject -nameopt RFC2253 says it" if "=" in value else _HINT
        raise wrong(value, what, hint) from None


def _name(written: str, kind: str, text: str) -> str:
    if kind == "DNS":
        try:
            return host_name(text)
        except Wrong:
            raise wrong(written, "is not a DNS name", 'write a name such as "DNS:a.example"') from None
    if kind == "IP":
        try:
            return str(ip_address(text))
        except ValueError:
            raise wrong(written, "is not an address", 'write one such as "IP:192.0.2.1"') from None
    if kind == "email":
        if not _EMAIL.fullmatch(text):
            raise wrong(written, "is not an email address", 'write one such as "email:alice@example.com"')
        return text
    if not _URI.fullmatch(text):
        raise wrong(written, "is not a URI", 'write one such as "URI:spiffe://example.com/web"')
    if text.endswith("*") and not text.endswith("/*"):
        raise wrong(written, "is too wide", 'a "*" stands only after a "/", as in "URI:spiffe://example.com/*"')
    return text


def one_of(written: Iterable[str]) -> Callable[[ClientIdentity], bool]:
    """Whether a client is one of those that were written (as :func:`identity` gives them)."""
    words = tuple(written)
    if "*" in words:
        return lambda client: True
    whole = frozenset(words)
    starts = tuple(word[:-1] for word in words if word.startswith("URI:") and word.endswith("/*"))

    def is_one(client: ClientIdentity) -> bool:
        if client.subject in whole:
            return True
        return any(name in whole or (starts and name.startswith(starts)) for name in client.sans)

    return is_one
