"""Which of many networks an address is in, in a time that hardly grows with their number.

Rules of this module:

* an address is a family and a number: ``(32, n)`` or ``(128, n)``; IPv4 in IPv6 (RFC 4291 2.5.5.2) is IPv4;
* networks are compiled to disjoint intervals: their first addresses, sorted, and beside each the length of the longest
  prefix that holds there. A look-up is one bisection, however networks are nested;
* building many rests in between: whoever builds in a thread leaves the interpreter to others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_pton

from revproxy.config.hosts import NETWORKS, network

#: Family (32 or 128 bits) and number.
Address = tuple[int, int]
#: Family, first address and length of the prefix.
Prefix = tuple[int, int, int]

#: Networks that are read or compiled in one go, between two rests: a few milliseconds.
SLICE = 500


def parse_address(text: str) -> Address | None:
    """An address from its text, a zone left out; ``None`` when it is none. 0.6 us, a seventh of :mod:`ipaddress`."""
    try:
        if ":" not in text:
            return 32, int.from_bytes(inet_pton(AF_INET, text), "big")
        value = int.from_bytes(inet_pton(AF_INET6, text.partition("%")[0]), "big")
    except (OSError, ValueError):  # ValueError: a NUL, or not ASCII
        return None
    return (32, value & 0xFFFFFFFF) if value >> 32 == 0xFFFF else (128, value)


def parse_networks(text: str) -> tuple[Prefix, ...]:
    """The networks that a network, an address or a word such as ``"private"`` stands for.

    :raises Wrong: (of :mod:`revproxy.config.errors`) when it is none of these.
    """
    found = _prefix(text)
    if found is not None:
        return (found,)
    normal = network(text)
    made = (_prefix(item) for item in NETWORKS.get(normal, (normal,)))
    return tuple(item for item in made if item is not None)


def _prefix(text: str) -> Prefix | None:
    """The common forms, at a tenth of the time; others and mistakes are for :func:`~revproxy.config.hosts.network`."""
    address, slash, length = text.partition("/")
    family = AF_INET6 if ":" in address else AF_INET
    try:
        packed = inet_pton(family, address)
    except (OSError, ValueError):
        return None
    bits, first = len(packed) * 8, int.from_bytes(packed, "big")
    if not slash:
        size = bits
    elif length.isascii() and length.isdigit() and len(length) <= 3:
        size = int(length)
    else:
        return None
    if size > bits or first & ((1 << (bits - size)) - 1):
        return None
    if bits == 128 and size >= 96 and first >> 32 == 0xFFFF:
        return 32, first & 0xFFFFFFFF, size - 96
    return bits, first, size


def network_text(address: Address, length: int) -> str:
    """The network of so many bits that an address is in, as text."""
    bits, value = address
    first = value >> (bits - length) << (bits - length)
    # a bare number below 2**32 would be taken for IPv4
    return f"{ip_address(first.to_bytes(bits // 8, 'big'))}/{length}"


class NetworkTable:
    """Networks, compiled. Immutable.

    :param networks: in any order, also repeated. :param rest: called after every :data:`SLICE` of them.
    """

    __slots__ = ("_v4", "_v6", "size")

    def __init__(self, networks: Iterable[Prefix] = (), rest: Callable[[], None] | None = None) -> None:
        # one number for each: sorted by the first address, shorter prefixes before those inside
        v4: set[int] = set()
        v6: set[int] = set()
        for bits, first, length in networks:
            (v4 if bits == 32 else v6).add(first << 8 | length)
        self.size = len(v4) + len(v6)
        self._v4 = _intervals(v4, 32, rest)
        self._v6 = _intervals(v6, 128, rest)

    def find(self, bits: int, value: int) -> int:
        """The length of the longest prefix that holds an address, plus one; 0 when none does."""
        firsts, lengths = self._v4 if bits == 32 else self._v6
        return lengths[bisect_right(firsts, value) - 1]


def _sorted(packed: set[int], bits: int) -> Iterator[int]:
    """In order; by parts, since nobody else gets the interpreter while one list is sorted."""
    parts: dict[int, list[int]] = {}
    for item in packed:
        parts.setdefault(item >> (bits - 4), []).append(item)
    for part in sorted(parts):
        yield from sorted(parts[part])


def _intervals(packed: set[int], bits: int, rest: Callable[[], None] | None) -> tuple[list[int], bytes]:
    """First addresses of disjoint intervals, from 0 on, and for each the longest prefix's length plus one, or 0."""
    firsts, lengths = [0], bytearray(1)
    inside: list[tuple[int, int]] = []  # ends of the networks around, innermost last, and their lengths plus one

    def begin(at: int, length: int) -> None:
        if firsts[-1] == at:
            lengths[-1] = length
        else:
            firsts.append(at)
            lengths.append(length)

    for count, item in enumerate(_sorted(packed, bits), 1):
        first, length = item >> 8, item & 0xFF
        while inside and inside[-1][0] <= first:
            end = inside.pop()[0]
            begin(end, inside[-1][1] if inside else 0)
        begin(first, length + 1)
        inside.append((first + (1 << (bits - length)), length + 1))
        if rest is not None and not count % SLICE:
            rest()
    while inside:
        end = inside.pop()[0]
        if end < 1 << bits:
            begin(end, inside[-1][1] if inside else 0)
    return firsts, bytes(lengths)
