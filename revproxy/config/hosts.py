"""Networks and host names: their normal forms, and what is wrong with others.

Rules of this module:

* text in, text out; :class:`~revproxy.config.errors.Wrong` says what would be right;
* host names are lower case and in A-labels (RFC 5890), as they are on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import idna

from revproxy.config.errors import nearest, wrong

NETWORK_HINT = 'write a network such as "10.0.0.0/8", an address, "private", "loopback" or "all"'
#: Words that stand for networks (RFC 1918, RFC 4193, RFC 3927, RFC 6598; RFC 1122 and RFC 4291).
NETWORKS = {
    "private": (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "fe80::/10",
    ),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "all": ("0.0.0.0/0", "::/0"),
}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def networks(words: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks that a condition or a list of trusted proxies names, words such as ``"private"`` resolved.

    :raises ValueError: when one is neither a network, an address nor a known word.
    """
    return tuple(ip_network(text) for word in words for text in NETWORKS.get(word, (word,)))


def network(text: str) -> str:
    """A network in its normal form, or one of the words. :raises Wrong: when it is neither."""
    if text in NETWORKS:
        return text
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        raise wrong(text, "has bits set behind its prefix", "", str(ip_network(text, strict=False)))
    except ValueError:
        raise wrong(text, "is not a network", NETWORK_HINT, nearest(text, NETWORKS)) from None


def host_name(text: str) -> str:
    """A host name as it is on the wire: lower case, A-labels, no final dot. :raises Wrong: when it is none."""
    bare = text.removesuffix(".")
    if bare.startswith("[") and bare.endswith("]"):
        try:
            return f"[{ip_address(bare[1:-1])}]"
        except ValueError:
            raise wrong(text, "is not a host", "its IPv6 address is malformed") from None
    if not bare.isascii():
        try:
            bare = idna.encode(bare, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise wrong(text, "is not an international host name", f"{error}; write its xn--… form") from None
    bare = bare.lower()
    if ":" in bare:
        if "://" in text:
            raise wrong(text, "is not a host", "leave out the scheme; match.scheme is its place")
        raise wrong(text, "is not a host", "leave out the port (an IPv6 address stands in brackets)")
    if "/" in bare:
        raise wrong(text, "is not a host", 'write only the name, such as "example.com"; a path has a key of its own')
    if len(bare) > 253 or not all(map(_LABEL.fullmatch, bare.split("."))):
        raise wrong(text, "is not a host", 'write a name such as "example.com"')
    return bare


def cors_origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454 6.2), ``https://*.name`` or ``*``. :raises Wrong: when it is none."""
    hint = 'write "https://app.example.com", "https://*.example.com" or "*"'
    if text == "*":
        return text
    scheme, slashes, rest = text.partition("://")
    scheme = scheme.lower()
    if not slashes or not _SCHEME.fullmatch(scheme):
        near = f"https://{text}" if text and not slashes and text != "null" else None
        raise wrong(text, "is not an origin", hint, near)
    if "/" in rest:
        bare = rest.partition("/")[0]
        raise wrong(text, "is not an origin", "an origin has no path", f"{scheme}://{bare}" if bare else None)
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, ""
    elif not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise wrong(text, "has a bad port", "a port is a number from 1 to 65535")
    if port and int(port) == {"http": 80, "https": 443}.get(scheme):
        port = ""  # browsers leave it out
    return f"{scheme}://{host_pattern(host)}{f':{int(port)}' if port else ''}"


def host_pattern(text: str) -> str:
    """``example.com`` or ``*.example.com``, normalised. :raises Wrong: when it is neither."""
    if text == "*":
        raise wrong(text, "is not a host pattern", "leave the condition out to match any host")
    rest = text.removeprefix("*.")
    if "*" in rest:
        raise wrong(text, "is not a host pattern", 'a "*" stands only for all that comes first, as in "*.example.com"')
    return text[: len(text) - len(rest)] + host_name(rest)


def upstream_host(text: str) -> str:
    """``preserve``, ``backend`` or a host with an optional port, normalised. :raises Wrong: when it is none."""
    if text in ("preserve", "backend"):
        return text
    host, colon, port = text.rpartition(":")
    if colon and not text.endswith("]"):
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
            raise wrong(text, "has a bad port", "a port is a number from 1 to 65535")
        return f"{host_name(host)}:{int(port)}"
    return host_name(text)
