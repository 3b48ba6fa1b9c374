"""The PROXY protocol as its sender says it (HAProxy's proxy-protocol.txt, versions 1 and 2).

Rules of this module:

* a header is made whole and is sent at once, before anything else on the connection;
* addresses of one family are said in it; of two, the IPv4 one is said as ``::ffff:a.b.c.d``; where both are
  IPv4 in that disguise (a listener for both families), they are said as the IPv4 addresses that they are;
* what is no IP address, and a connection of our own (a health check), is said to be unknown: version 1 says
  ``UNKNOWN``, version 2 ``LOCAL``, and the receiver then goes by the connection's own addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack
from typing import Literal

#: Bytes of the longest header of version 1; those of version 2 without TLVs are shorter.
LONGEST = 107

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL = b"\x20"  # version 2, and the command in the lower half
_PROXY = b"\x21"
_UNSPECIFIED = b"\x00"
_TCP4 = b"\x11"  # family, and STREAM in the lower half
_TCP6 = b"\x21"

Address = tuple[str, int]


def proxy_header(version: Literal["v1", "v2"], source: Address | None, destination: Address | None) -> bytes:
    """The header that says whose connection this is.

    :param source: address and port of the client; ``None`` when there is none, or none that is an IP address.
    :param destination: address and port that the client connected to.
    :returns: at most :data:`LONGEST` bytes.
    :raises ValueError: for a port that does not exist.
    """
    ports = [address[1] for address in (source, destination) if address is not None]
    if any(not 0 <= port <= 65535 for port in ports):
        raise ValueError(f"ports go from 0 to 65535: {ports}")
    ends = [_ip(address[0]) for address in (source, destination) if address is not None]
    known = [end for end in ends if end is not None]
    if len(known) < 2:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _SIGNATURE + _LOCAL + _UNSPECIFIED + pack("!H", 0)
    if known[0].version != known[1].version:
        known = [_mapped(end) for end in known]
    family = known[0].version
    if version == "v1":
        words = ["PROXY", f"TCP{family}", *map(_text, known), *map(str, ports)]
        return " ".join(words).encode("ascii") + b"\r\n"
    block = known[0].packed + known[1].packed + pack("!HH", *ports)
    return _SIGNATURE + _PROXY + (_TCP4 if family == 4 else _TCP6) + pack("!H", len(block)) + block


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])  # a zone means something on this machine only
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _mapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def _text(address: IPv4Address | IPv6Address) -> str:
    # version 1 takes hexadecimal groups only, and str() of a mapped address has dots since Python 3.13
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        low = int(address.ipv4_mapped)
        return f"::ffff:{low >> 16:x}:{low & 0xFFFF:x}"
    return str(address)
