"""The PROXY protocol as its receiver reads it (HAProxy's proxy-protocol.txt, versions 1 and 2).

Rules of this module:

* the first byte says which version it is, and anything else is refused with that byte: whether there is a header is
  never guessed, and no byte of what follows is read before the header is whole and right;
* what is refused is refused as soon as it can be known, and what is read is bounded: :data:`LONGEST_V1`,
  :data:`LONGEST_V2`;
* an address is the client's only where the header says TCP over IPv4 or IPv6. What is local, unknown, a Unix socket
  or a datagram is valid and says nothing: the connection's own addresses count;
* IPv4 addresses in IPv6 (``::ffff:a.b.c.d``) are given as the IPv4 addresses that they are.
"""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct
from typing import NamedTuple, NoReturn

from revproxy.fault import CLIENT_BAD_PROXY_LINE, ProtocolError

#: Bytes of the longest header of version 1, with its CRLF (2.1).
LONGEST_V1 = 107
#: Bytes of the longest header of version 2 that is read. Its addresses need 232 at most; TLVs (certificates' names,
#: cloud networks' identifiers) the rest.
LONGEST_V2 = 4096

_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(
    rb"PROXY (?:TCP(?:4 ([0-9.]+) ([0-9.]+)|6 ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+)) %b %b|UNKNOWN(?: [ -~]*)?)\r\n"
    % (_PORT, _PORT)
)
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL = 0x20
_PROXY = 0x21
_TCP4 = 0x11
_TCP6 = 0x21
#: Where the addresses of each family and transport end (2.2): those that the specification lists, and no others.
_ENDS = {0x00: 16, _TCP4: 28, 0x12: 28, _TCP6: 52, 0x22: 52, 0x31: 232, 0x32: 232}
_HEAD = Struct("!12sBBH")
_V4 = Struct("!4s4sHH")
_V6 = Struct("!16s16sHH")
_MAPPED = b"\0" * 10 + b"\xff\xff"
_CRC32C = 0x03
_UNIQUE_ID = 0x05

Address = tuple[str, int]


class Proxied(NamedTuple):
    """What a header said.

    :ivar source: address and port of the client; ``None`` when the connection's own count.
    :ivar destination: address and port that the client connected to; ``None`` together with ``source``.
    :ivar size: bytes of the header; what follows is the client's.
    """

    source: Address | None
    destination: Address | None
    size: int


def read_proxy(data: bytes) -> Proxied | None:
    """Read the header that a connection begins with.

    :param data: all that came so far.
    :returns: ``None`` when it may become a header and more bytes are needed.
    :raises ProtocolError: with ``CLIENT_BAD_PROXY_LINE`` when it can't become one.
    """
    if data.startswith(b"P"):
        return _version_1(data)
    if data.startswith(b"\r"):
        return _version_2(data)
    if data:
        _refuse(f"a connection that begins with {data[:16]!r}")
    return None


def _refuse(why: str) -> NoReturn:
    raise ProtocolError(CLIENT_BAD_PROXY_LINE, why)


def _version_1(data: bytes) -> Proxied | None:
    end = data.find(b"\n", 0, LONGEST_V1) + 1
    match = _LINE.fullmatch(data, 0, end or LONGEST_V1)
    if match is None:
        begun = data[:6]
        if end or len(data) >= LONGEST_V1 or not b"PROXY ".startswith(begun) or b"\r" in data[:-1]:
            _refuse(f"no PROXY line: {data[: end or LONGEST_V1]!r}")
        return None
    four, four_here, six, six_here, port, port_here = match.groups()
    if port is None:
        return Proxied(None, None, end)
    ports = int(port), int(port_here)
    if max(ports) > 65535:
        _refuse(f"ports {ports}")
    try:
        if four is not None:
            # what this takes is in its normal form: four numbers without leading zeros
            source, destination = four.decode("ascii"), four_here.decode("ascii")
            inet_pton(AF_INET, source)
            inet_pton(AF_INET, destination)
        else:
            source = _text(inet_pton(AF_INET6, six.decode("ascii")))
            destination = _text(inet_pton(AF_INET6, six_here.decode("ascii")))
    except OSError:
        _refuse(f"no addresses of their family: {data[:end]!r}")
    return Proxied((source, ports[0]), (destination, ports[1]), end)


def _text(packed: bytes) -> str:
    if len(packed) == 16:
        if packed[:12] != _MAPPED:
            return inet_ntop(AF_INET6, packed)
        packed = packed[12:]
    return inet_ntop(AF_INET, packed)


def _version_2(data: bytes) -> Proxied | None:
    length = len(data)
    if length < 16:
        _check_beginning(data)
        return None
    signature, command, family, size = _HEAD.unpack_from(data)
    size += 16
    if signature != _SIGNATURE or (command != _PROXY and command != _LOCAL):
        _check_beginning(data)
    if size > LONGEST_V2:
        _refuse(f"a header of {size} bytes")
    if command == _LOCAL:  # its family and its block mean nothing
        return None if length < size else Proxied(None, None, size)
    tlvs = _ENDS.get(family)
    if tlvs is None:
        _refuse(f"family and transport {family:#04x}")
    if size < tlvs:
        _refuse(f"{size - 16} bytes of addresses for family and transport {family:#04x}")
    if length < size:
        return None
    if size > tlvs and family:  # the block of an unspecified family is no list of TLVs
        _check_tlvs(data[:size], tlvs)
    if family == _TCP4:
        source, destination, port, port_here = _V4.unpack_from(data, 16)
        return Proxied((inet_ntop(AF_INET, source), port), (inet_ntop(AF_INET, destination), port_here), size)
    if family == _TCP6:
        source, destination, port, port_here = _V6.unpack_from(data, 16)
        return Proxied((_text(source), port), (_text(destination), port_here), size)
    return Proxied(None, None, size)


def _check_beginning(data: bytes) -> None:
    """Refuse the first bytes of what can't become a header."""
    if not _SIGNATURE.startswith(data[:12]):
        _refuse(f"no PROXY signature: {data[:12]!r}")
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        _refuse(f"version and command {data[12]:#04x}")
    if len(data) > 13 and data[12] == _PROXY and data[13] not in _ENDS:
        _refuse(f"family and transport {data[13]:#04x}")


def _check_tlvs(header: bytes, at: int) -> None:
    """Walk the type-length-value vectors from ``at`` on (2.2); only the checksum means something to us."""
    size = len(header)
    checksum = 0
    while at < size:
        begin = at + 3
        if begin > size:
            _refuse("a TLV that is cut short")
        at = begin + (header[begin - 2] << 8 | header[begin - 1])
        if at > size:
            _refuse("a TLV that is longer than its header")
        kind = header[begin - 3]
        if kind == _CRC32C:
            if at != begin + 4 or checksum:
                _refuse("a checksum of another size than 4 bytes, or two of them")
            checksum = begin
        elif kind == _UNIQUE_ID and at - begin > 128:
            _refuse("a unique identifier of more than 128 bytes")
    if checksum:
        zeroed = header[:checksum] + b"\0\0\0\0" + header[checksum + 4 :]
        if crc32c(zeroed).to_bytes(4, "big") != header[checksum : checksum + 4]:
            _refuse("a checksum that is wrong")


def _table() -> tuple[int, ...]:
    entries = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # Castagnoli's polynomial, reflected
        entries.append(value)
    return tuple(entries)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 9260 appendix A (it was RFC 4960 appendix B)."""
    value = 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
