"""Clients' addresses as they are counted: an IPv4 address, or the IPv6 network that one customer has whole.

Rules of this module:

* whoever has an IPv6 address has 2**64 of them at least (RFC 6177, RFC 7421): they count as one;
* an IPv4 address that is mapped into IPv6 is an IPv4 address (RFC 4291 2.5.5.2);
* what is no address is counted by its text: there is none for clients of a Unix socket, and they are one. What
  somebody writes by hand has to be an address, or it would hold nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop, inet_pton

from revproxy.http.forwarding import UNKNOWN

#: Addresses that are remembered with what they count as; the clients of the moment.
_REMEMBERED = 4096
_MAPPED = bytes(10) + b"\xff\xff"


def address_counter(ipv4: int = 32, ipv6: int = 64) -> Callable[[str], str]:
    """A function from an address to what it is counted as: text, whose hash nobody outside can foresee.

    :param ipv4: bits of an IPv4 address that count, 1 to 32. :param ipv6: and of an IPv6 address, 1 to 128.
    """
    known: dict[str, str] = {}

    def counted(address: str) -> str:
        if whole and ":" not in address:
            return address
        found = known.get(address)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = known[address] = _network(address, ipv4, ipv6)
        return found

    whole = ipv4 == 32
    return counted


def _network(address: str, ipv4: int, ipv6: int) -> str:
    try:
        packed = inet_pton(AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        try:
            packed = inet_pton(AF_INET, address)
        except (OSError, ValueError):
            return address
    if len(packed) == 16:
        if not packed.startswith(_MAPPED):
            network = int.from_bytes(packed, "big") >> (128 - ipv6) << (128 - ipv6)
            return f"{inet_ntop(AF_INET6, network.to_bytes(16, 'big'))}/{ipv6}"
        packed = packed[12:]
    if ipv4 == 32:
        return inet_ntoa(packed)
    kept = int.from_bytes(packed, "big") >> (32 - ipv4) << (32 - ipv4)
    return inet_ntoa(kept.to_bytes(4, "big"))


#: Under what an address is counted where nobody says otherwise: ``192.0.2.1`` itself, ``2001:db8::1`` as
#: ``2001:db8::/64``.
counted = address_counter()


def counted_by_hand(text: str) -> str:
    """As what an address counts that somebody wrote, or a network that counts as one client, or ``unknown``.

    :raises ValueError: when it is none of these.
    """
    if text == UNKNOWN:
        return text
    try:
        network = ip_network(text if "/" in text else text.partition("%")[0])
    except ValueError:
        pass
    else:
        first = str(network.network_address)
        if network.num_addresses == 1 or (network.version == 6 and network.prefixlen == 64):
            return counted(first)
    raise ValueError(f"{text!r} is not one client; write an address, or the /64 of addresses of IPv6")
