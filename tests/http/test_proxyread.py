"""Reading the PROXY header: what is read, what is waited for, and what is refused."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack

import pytest
from hypothesis import given, strategies as st

from revproxy.fault import CLIENT_BAD_PROXY_LINE, ProtocolError
from revproxy.http.proxyline import proxy_header
from revproxy.http.proxyread import LONGEST_V2, Proxied, crc32c, read_proxy

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
V4_BLOCK = bytes.fromhex("C0000207 C6336401 9C41 01BB")
V4 = (("192.0.2.7", 40001), ("198.51.100.1", 443))
V6_BLOCK = bytes.fromhex(f"20010DB8{7:024x}20010DB8{1:024x}9C4101BB")
V6 = (("2001:db8::7", 40001), ("2001:db8::1", 443))

addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.tuples(st.ip_addresses(v=6).map(str), st.integers(0, 65535)),
    st.tuples(st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"), st.integers(0, 65535)),
)


def v2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, family]) + pack("!H", len(block) if length is None else length) + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + pack("!H", len(value)) + value


def checked(block: bytes, *tlvs: bytes) -> bytes:
    """A header with a checksum among its TLVs, as a sender makes it."""
    before, after = block + tlvs[0], b"".join(tlvs[1:])
    zeroed = v2(0x21, 0x11, before + tlv(3, b"\0\0\0\0") + after)
    return v2(0x21, 0x11, before + tlv(3, pack("!I", crc32c(zeroed))) + after)


def refused(data: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        read_proxy(data)
    assert caught.value.fault is CLIENT_BAD_PROXY_LINE
    assert caught.value.detail
    assert len(caught.value.detail) < 600
    return caught.value.detail


def normal(address: str) -> str:
    ip = ip_address(address)
    return str(getattr(ip, "ipv4_mapped", None) or ip)


@given(st.sampled_from(["v1", "v2"]), addresses, addresses, st.binary(max_size=40))
def test_what_we_say_is_read(version, source, destination, rest):
    header = proxy_header(version, source, destination)
    read = read_proxy(header + rest)
    assert read is not None
    for end, said in ((read.source, source), (read.destination, destination)):
        assert end is not None
        assert (normal(end[0]), end[1]) == (normal(said[0]), said[1])
        assert "." in end[0] or "::ffff:" not in end[0]
    assert read.size == len(header)


@given(st.sampled_from(["v1", "v2"]), addresses, addresses)
def test_a_part_of_it_is_waited_for(version, source, destination):
    header = proxy_header(version, source, destination)
    assert [read_proxy(header[:size]) for size in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_is_not_known_says_nothing(version):
    header = proxy_header(version, None, None)
    assert read_proxy(header + b"GET /") == Proxied(None, None, len(header))
    assert [read_proxy(header[:size]) for size in range(len(header))] == [None] * len(header)


BEGINNINGS = [b"", b"P", b"PROXY ", b"PROXY TCP4 1.1.1.1 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", SIGNATURE,
              SIGNATURE + b"\x21\x11\x00\x20" + V4_BLOCK, SIGNATURE + b"\x21\x21", SIGNATURE + b"\x20"]  # fmt: skip


def verdict(data: bytes) -> Proxied | str | None:
    try:
        return read_proxy(data)
    except ProtocolError as error:
        return error.fault.word


rests = st.one_of(st.binary(max_size=200), st.text(" \r\n.:0123456789abcf").map(str.encode))


@given(st.sampled_from(BEGINNINGS), rests)
def test_never_another_exception_and_once_refused_always_refused(begun, rest):
    data = begun + rest
    verdicts = [verdict(data[:size]) for size in range(len(data) + 1)]
    first = next((at for at, found in enumerate(verdicts) if found is not None), len(data))
    assert verdicts[:first] == [None] * first
    assert verdicts[first:] == [verdicts[first]] * (len(data) + 1 - first)
    if isinstance(verdicts[first], Proxied):
        assert verdicts[first].size == first
    else:
        assert verdicts[first] in (None, "client-bad-proxy-line")


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n", V4),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", (("0.0.0.0", 0), ("255.255.255.255", 65535))),
        (b"PROXY TCP6 2001:DB8::7 2001:db8:0:0:0:0:0:1 40001 443\r\n", V6),
        (b"PROXY TCP6 ::ffff:c000:207 ::ffff:198.51.100.1 40001 443\r\n", V4),
        (b"PROXY UNKNOWN\r\n", (None, None)),
        (b"PROXY UNKNOWN \r\n", (None, None)),
        (b"PROXY UNKNOWN ffff::1 what ever 65535\r\n", (None, None)),
        (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", (None, None)),
    ],
)
def test_lines(line, ends):
    assert read_proxy(line + b"\r\nmore") == Proxied(*ends, len(line))


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 443 \r\n",
        b"PROXY TCP4 192.0.2.7  198.51.100.1 40001 443\r\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 40001 443\r\n",
        b"PROXY\tTCP4 192.0.2.7 198.51.100.1 40001 443\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 40001 443\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.1 40001 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.256 40001 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 040001 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 00\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 65536\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40001 999999\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +4001 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40001\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 40001 443\r\n",
        b"PROXY TCP6 ::1 198.51.100.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
        b"PROXY TCP6 1::2::3 ::2 1 2\r\n",
        b"PROXY TCP6 12345::1 ::2 1 2\r\n",
        b"PROXY TCP6 ::ffff:192.0.2.07 ::2 1 2\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 40001 443\r\n",
        b"PROXY tcp4 192.0.2.7 198.51.100.1 40001 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY UNKNOWN a\0b\r\n",
        b"PROXY UNKNOWN \xff\r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * 93,
        b"PROXY \r\n",
        b"PROXY\r\n",
        b"PROXX",
        b"POST / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 40001 443\r\n",
        b" PROXY UNKNOWN\r\n",
        b"\nPROXY UNKNOWN\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\0",
    ],
)
def test_lines_that_are_refused(line):
    refused(line)


@pytest.mark.parametrize(
    "begun", [b"G", b"\x16", b"\n", b"p", b"PO", b"PROXY\t", b"\r\r", SIGNATURE[:11] + b"\r", SIGNATURE + b"\x11"]
)
def test_refused_with_the_byte_that_tells(begun):
    assert read_proxy(begun[:-1]) is None
    refused(begun)


@pytest.mark.parametrize(
    ("header", "ends"),
    [
        (v2(0x21, 0x11, V4_BLOCK), V4),
        (v2(0x21, 0x21, V6_BLOCK), V6),
        (v2(0x21, 0x11, V4_BLOCK + tlv(4, b"") + tlv(0xEA, b"x" * 300)), V4),
        (v2(0x21, 0x21, V6_BLOCK + tlv(1, b"h2") + tlv(5, b"x" * 128)), V6),
        (checked(V4_BLOCK, tlv(2, b"a.example")), V4),
        (checked(V4_BLOCK, b"", tlv(4, b"xyz")), V4),
        (v2(0x21, 0x00, b""), (None, None)),
        (v2(0x21, 0x00, b"anything"), (None, None)),
        (v2(0x21, 0x12, V4_BLOCK), (None, None)),
        (v2(0x21, 0x22, V6_BLOCK), (None, None)),
        (v2(0x21, 0x31, b"/a".ljust(108, b"\0") * 2), (None, None)),
        (v2(0x21, 0x32, b"/a".ljust(108, b"\0") * 2 + tlv(4, b"")), (None, None)),
        (v2(0x20, 0x00, b""), (None, None)),
        (v2(0x20, 0x11, V4_BLOCK), (None, None)),
        (v2(0x20, 0xFF, b"x"), (None, None)),
        (v2(0x20, 0x00, b"x" * (LONGEST_V2 - 16)), (None, None)),
    ],
)
def test_binary_headers(header, ends):
    assert read_proxy(header + b"\x16\x03") == Proxied(*ends, len(header))
    assert read_proxy(header[:-1]) is None


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (v2(0x22, 0x11, V4_BLOCK), "command"),
        (v2(0x31, 0x11, V4_BLOCK), "version"),
        (v2(0x11, 0x11, V4_BLOCK), "version"),
        (v2(0x21, 0x10, V4_BLOCK), "family"),
        (v2(0x21, 0x01, V4_BLOCK), "family"),
        (v2(0x21, 0x13, V4_BLOCK), "family"),
        (v2(0x21, 0x41, V4_BLOCK), "family"),
        (v2(0x21, 0x11, V4_BLOCK[:-1]), "11 bytes"),
        (v2(0x21, 0x21, V4_BLOCK), "12 bytes"),
        (v2(0x21, 0x31, b"x" * 215), "215 bytes"),
        (v2(0x21, 0x11, b"", 0), "0 bytes"),
        (v2(0x20, 0x00, b"", LONGEST_V2 - 15), "a header of 4097 bytes"),
        (v2(0x21, 0x11, b"", 65535), "a header of 65551 bytes"),
        (v2(0x21, 0x11, V4_BLOCK + b"\x04"), "cut short"),
        (v2(0x21, 0x11, V4_BLOCK + b"\x04\x00"), "cut short"),
        (v2(0x21, 0x11, V4_BLOCK + b"\x04\x00\x01"), "longer"),
        (v2(0x21, 0x11, V4_BLOCK + tlv(4, b"") + b"\x04\x01\x00abc"), "longer"),
        (v2(0x21, 0x11, V4_BLOCK + tlv(3, b"abc")), "checksum"),
        (v2(0x21, 0x11, V4_BLOCK + tlv(3, b"abcde")), "checksum"),
        (v2(0x21, 0x11, V4_BLOCK + tlv(3, b"abcd")), "wrong"),
        (v2(0x21, 0x11, V4_BLOCK + tlv(3, b"abcd") + tlv(3, b"abcd")), "two"),
        (v2(0x21, 0x12, V4_BLOCK + tlv(3, b"abcd")), "wrong"),
        (v2(0x21, 0x11, V4_BLOCK + tlv(5, b"x" * 129)), "129|128"),
    ],
)
def test_binary_headers_that_are_refused(header, why):
    assert any(word in refused(header) for word in why.split("|"))


def test_any_changed_byte_is_noticed_by_the_checksum():
    header = checked(V4_BLOCK, tlv(2, b"a.example"))
    for at in range(16, 28):
        broken = header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :]
        assert "wrong" in refused(broken)


def test_the_checksum_is_castagnolis():
    # RFC 3720 B.4
    assert crc32c(b"\0" * 32) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
