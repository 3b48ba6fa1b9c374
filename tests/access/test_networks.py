"""Networks: the same answers as :mod:`ipaddress` gives, one network at a time."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from revproxy.access.networks import SLICE, NetworkTable, network_text, parse_address, parse_networks
from revproxy.config.errors import Wrong


def _cut(bits: int, value: int, length: int) -> tuple[int, int, int]:
    return bits, value >> (bits - length) << (bits - length), length


# few values and close ones, so that networks nest, touch and repeat
_NUMBERS = {32: st.integers(0, 2**32 - 1), 128: st.integers(0, 2**128 - 1)}
_NEAR = st.sampled_from([0, 1, 2, 3, 0x0A000000, 0x0A000001, 0x0A0000FF, 0x0A000100, 0x0AFFFFFF, 2**32 - 1])


@st.composite
def prefixes(draw: st.DrawFn) -> tuple[int, int, int]:
    bits = draw(st.sampled_from([32, 128]))
    value = draw(_NEAR | _NUMBERS[bits])
    return _cut(bits, value, draw(st.integers(0, bits)))


def _network(prefix: tuple[int, int, int]):  # type: ignore[no-untyped-def]
    bits, first, length = prefix
    return ip_network((first.to_bytes(bits // 8, "big"), length))


@given(st.lists(prefixes(), max_size=30), st.lists(_NEAR | _NUMBERS[32] | _NUMBERS[128], max_size=20))
def test_the_longest_prefix_is_found(written: list[tuple[int, int, int]], values: list[int]) -> None:
    table = NetworkTable(written)
    assert table.size == len(set(written))
    edges = [
        at + by for bits, first, length in written for at in (first, first + (1 << bits - length)) for by in (-1, 0)
    ]
    for bits, make in ((32, IPv4Address), (128, IPv6Address)):
        for value in values + edges:
            if not 0 <= value < 1 << bits:
                continue
            holding = [
                n.prefixlen
                for n in map(_network, written)
                if n.version == (4 if bits == 32 else 6) and make(value) in n
            ]
            assert table.find(bits, value) == max(holding, default=-1) + 1
            if holding:
                assert make(value) in ip_network(network_text((bits, value), max(holding)))


def test_an_empty_table_holds_nobody() -> None:
    table = NetworkTable()
    assert table.find(32, 0) == table.find(128, 2**128 - 1) == table.size == 0


def test_it_rests_between_parts() -> None:
    rests: list[int] = []
    NetworkTable([(32, n << 8, 24) for n in range(3 * SLICE)], lambda: rests.append(1))
    assert len(rests) == 3


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_read_in_both_families(value: int) -> None:
    assert parse_address(str(IPv4Address(value))) == (32, value)
    assert parse_address(f"::ffff:{IPv4Address(value)}") == (32, value)
    assert parse_address(str(IPv6Address(0xFFFF << 32 | value))) == (32, value)


@given(st.integers(0, 2**128 - 1))
def test_an_ipv6_address_is_read(value: int) -> None:
    expected = (32, value & 0xFFFFFFFF) if value >> 32 == 0xFFFF else (128, value)
    assert parse_address(str(IPv6Address(value))) == expected
    assert parse_address(f"{IPv6Address(value)}%eth0") == expected


@given(st.text(alphabet="0123456789abcdef:.%/x \0ü", max_size=20))
def test_what_is_no_address_is_none(text: str) -> None:
    found = parse_address(text)
    if found is not None:
        address = ip_address(text.partition("%")[0])
        assert found == (32, int(address)) or found == (128, int(address)) or getattr(address, "ipv4_mapped", None)


@pytest.mark.parametrize(
    "text", ["", "unknown", "_hidden", "1.2.3", "01.2.3.4", "1.2.3.4 ", "1.2.3.4\0", "::g", "1.2.3.4.5"]
)
def test_these_are_no_addresses(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", [(32, 10 << 24, 8)]),
        ("10.0.0.0/255.0.0.0", [(32, 10 << 24, 8)]),
        ("192.0.2.1", [(32, 0xC0000201, 32)]),
        ("0.0.0.0/0", [(32, 0, 0)]),
        ("2001:db8::/32", [(128, 0x20010DB8 << 96, 32)]),
        ("::1", [(128, 1, 128)]),
        ("::ffff:10.0.0.0/104", [(32, 10 << 24, 8)]),
        ("all", [(32, 0, 0), (128, 0, 0)]),
        ("loopback", [(32, 127 << 24, 8), (128, 1, 128)]),
    ],
)
def test_networks_are_read(text: str, expected: list[tuple[int, int, int]]) -> None:
    assert list(parse_networks(text)) == expected


def test_private_is_what_the_registries_say() -> None:
    table = NetworkTable(parse_networks("private"))
    for text in ("10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.1.1", "100.64.0.1", "fd00::1", "fe80::1"):
        bits, value = parse_address(text) or (0, 0)
        assert table.find(bits, value), text
    for text in ("172.32.0.1", "100.128.0.1", "8.8.8.8", "2001:db8::1", "127.0.0.1"):
        bits, value = parse_address(text) or (0, 0)
        assert not table.find(bits, value), text


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/٣", "", "privat"])
def test_what_is_no_network_is_wrong(text: str) -> None:
    with pytest.raises(Wrong):
        parse_networks(text)
