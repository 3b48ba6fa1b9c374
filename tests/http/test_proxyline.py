"""The PROXY header: what a receiver reads in it."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import unpack

import pytest
from hypothesis import given, strategies as st

from revproxy.http.proxyline import LONGEST, proxy_header

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
V4 = ("192.0.2.7", 40001)
V4_HERE = ("198.51.100.1", 443)
V6 = ("2001:db8::7", 40001)
V6_HERE = ("2001:db8::1", 443)

addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 65535)),
    st.tuples(st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"), st.integers(0, 65535)),
)


def read_v1(line: bytes):
    """What a strict receiver makes of version 1: None for UNKNOWN, else both ends."""
    assert len(line) <= 107
    if line == b"PROXY UNKNOWN\r\n":
        return None
    match = re.fullmatch(rb"PROXY TCP([46]) ([0-9a-f:.]+) ([0-9a-f:.]+) (0|[1-9]\d*) (0|[1-9]\d*)\r\n", line)
    assert match, line
    kind = {b"4": IPv4Address, b"6": IPv6Address}[match[1]]
    assert match[1] == b"4" or b"." not in match[2] + match[3]
    return (kind(match[2].decode()), int(match[4])), (kind(match[3].decode()), int(match[5]))


def read_v2(header: bytes):
    """What a strict receiver makes of version 2: None for LOCAL, else both ends."""
    assert header[:12] == SIGNATURE
    command, family, length = unpack("!BBH", header[12:16])
    assert len(header) == 16 + length
    if command == 0x20:
        assert (family, length) == (0, 0)
        return None
    assert command == 0x21
    kind, size = {0x11: (IPv4Address, 4), 0x21: (IPv6Address, 16)}[family]
    assert length == 2 * size + 4
    ports = unpack("!HH", header[-4:])
    return (kind(header[16 : 16 + size]), ports[0]), (kind(header[16 + size : 16 + 2 * size]), ports[1])


READ = {"v1": read_v1, "v2": read_v2}


def plain(address: str) -> IPv4Address | IPv6Address:
    """An address, out of its IPv6 disguise."""
    ip = ip_address(address)
    return getattr(ip, "ipv4_mapped", None) or ip


@given(st.sampled_from(["v1", "v2"]), addresses, addresses)
def test_a_receiver_reads_what_was_said(version, source, destination):
    header = proxy_header(version, source, destination)
    assert len(header) <= LONGEST
    ends = READ[version](header)
    for (address, port), said in zip(ends, (source, destination), strict=True):
        assert plain(str(address)) == plain(said[0])
        assert port == said[1]
    both_v4 = plain(source[0]).version == plain(destination[0]).version == 4
    assert {end[0].version for end in ends} == ({4} if both_v4 else {6})


@pytest.mark.parametrize(
    ("version", "source", "destination", "header"),
    [
        ("v1", V4, V4_HERE, b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n"),
        ("v1", V6, V6_HERE, b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 443\r\n"),
        ("v1", V4, V6_HERE, b"PROXY TCP6 ::ffff:c000:207 2001:db8::1 40001 443\r\n"),
        ("v1", V6, V4_HERE, b"PROXY TCP6 2001:db8::7 ::ffff:c633:6401 40001 443\r\n"),
        ("v1", ("::ffff:192.0.2.7", 1), V4_HERE, b"PROXY TCP4 192.0.2.7 198.51.100.1 1 443\r\n"),
        ("v1", ("fe80::1%eth0", 1), V6_HERE, b"PROXY TCP6 fe80::1 2001:db8::1 1 443\r\n"),
        ("v2", V4, V4_HERE, SIGNATURE + bytes.fromhex("2111000C C0000207 C6336401 9C41 01BB")),
        ("v2", ("::1", 1), ("::2", 2), SIGNATURE + bytes.fromhex("21210024" + f"{1:032x}{2:032x}" + "00010002")),
    ],
)
def test_headers(version, source, destination, header):
    assert proxy_header(version, source, destination) == header


@pytest.mark.parametrize(
    ("source", "destination"),
    [(None, None), (V4, None), (None, V6), (("", 0), V4), (("/run/client.sock", 0), V4), (("example.com", 1), V4)],
)
def test_what_is_not_known(source, destination):
    assert proxy_header("v1", source, destination) == b"PROXY UNKNOWN\r\n"
    assert proxy_header("v2", source, destination) == SIGNATURE + b"\x20\x00\x00\x00"


def test_the_longest():
    widest = ("1111:" * 7 + "1111", 65535)
    assert len(proxy_header("v1", widest, widest)) == 104
    assert len(proxy_header("v2", widest, widest)) == 52


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_do_not_exist(port):
    with pytest.raises(ValueError, match="ports go from 0 to 65535"):
        proxy_header("v1", ("192.0.2.7", port), V4_HERE)
