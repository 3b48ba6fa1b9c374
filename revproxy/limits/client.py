"""What counts as one client: an IPv4 address, or the /64 of an IPv6 address.

A provider gives a customer a /64 or more (RFC 6177), so addresses below it cost an attacker nothing.
"""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET6, inet_ntop, inet_pton

_MAPPED = bytes(10) + b"\xff\xff"


def counted(address: str) -> str:
    """Under what an address is counted: ``192.0.2.1`` is itself, ``2001:db8::1`` is ``2001:db8::/64``.

    IPv4 in IPv6 (``::ffff:192.0.2.1``) is IPv4; what is no address is itself. IPv6 addresses that were asked for lately
    are remembered.
    """
    return _network(address) if ":" in address else address


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    try:
        packed = inet_pton(AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return address
    if packed.startswith(_MAPPED):
        return ".".join(map(str, packed[12:]))
    return inet_ntop(AF_INET6, packed[:8] + bytes(8)) + "/64"
