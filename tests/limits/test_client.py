"""What addresses count as."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, strategies as st
from hypothesis.strategies import ip_addresses

from revproxy.limits.client import address_counter, counted, counted_by_hand


def test_ipv4_counts_by_address() -> None:
    assert counted("192.0.2.7") == "192.0.2.7" != counted("192.0.2.8")


def test_ipv6_counts_by_what_one_customer_has() -> None:
    assert counted("2001:db8:0:1::1") == counted("2001:db8:0:1:ffff::9") != counted("2001:db8:0:2::1")
    assert counted("fe80::1%eth0") == counted("fe80::2%eth0")


def test_a_mapped_address_is_the_one_it_maps() -> None:
    assert counted("::ffff:192.0.2.7") == counted("::ffff:c000:207") == counted("192.0.2.7")


def test_prefixes_are_options() -> None:
    wide = address_counter(24, 48)
    assert wide("192.0.2.7") == wide("192.0.2.8") == wide("::ffff:192.0.2.9") != wide("192.0.3.7")
    assert wide("2001:db8:1:1::1") == wide("2001:db8:1:2::1") != wide("2001:db8:2:1::1")


def test_what_is_no_address_counts_by_its_text() -> None:
    for text in ("", "unix", "a:b", "1.2.3", "\0:", "é:"):
        assert counted(text) == text
    assert address_counter(16)("x\0") == "x\0"


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1), st.integers(1, 128))
def test_two_addresses_are_one_when_their_prefixes_are(one: int, other: int, bits: int) -> None:
    count = address_counter(ipv6=bits)
    first, second = IPv6Address(one), IPv6Address(other)
    if first.ipv4_mapped is None and second.ipv4_mapped is None:
        assert (count(str(first)) == count(second.exploded)) == (one >> 128 - bits == other >> 128 - bits)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(1, 32))
def test_and_so_with_ipv4(one: int, other: int, bits: int) -> None:
    count = address_counter(ipv4=bits)
    same = count(str(IPv4Address(one))) == count(str(IPv4Address(other)))
    assert same == (one >> 32 - bits == other >> 32 - bits)


def test_what_is_remembered_is_bounded() -> None:
    count = address_counter()
    for n in range(10_000):
        count(f"2001:db8::{n:x}")
    known = next(cell.cell_contents for cell in count.__closure__ or () if isinstance(cell.cell_contents, dict))
    assert len(known) <= 4096


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("2001:db8::/64", "2001:db8::/64"),
        ("a:b", "a:b"),
    ],
)
def test_counted(address: str, expected: str) -> None:
    assert counted(address) == expected


@given(ip_addresses(v=6))
def test_an_ipv6_address_is_its_64(address: IPv6Address) -> None:
    if address.ipv4_mapped is None:
        assert ip_network(counted(str(address))) == ip_network((address, 64), strict=False)


@given(ip_addresses(v=4))
def test_an_ipv4_address_is_itself_however_it_is_written(address: object) -> None:
    assert counted(str(address)) == counted(f"::ffff:{address}") == str(address)


@given(ip_addresses())
def test_what_is_written_by_hand_counts_as_what_it_names(address: object) -> None:
    key = counted(str(address))
    assert counted_by_hand(str(address)) == counted_by_hand(key) == key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2001:DB8:0:0::/64", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::/64", "::/64"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("2001:db8::1/128", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201/128", "192.0.2.1"),
        ("unknown", "unknown"),
    ],
)
def test_by_hand(text: str, expected: str) -> None:
    assert counted_by_hand(text) == expected


@pytest.mark.parametrize(
    "text",
    ["203.0.113.0/24", "evil.example", "203.0.113.007", "2001:db8::/32", "2001:db8::/65", "2001:db8::1/64",
     "::ffff:192.0.2.0/120", "192.0.2.1/", "192.0.2.1:80", "[2001:db8::1]", "private", "192.0.2.1, 192.0.2.2", " "],
)  # fmt: skip
def test_what_is_not_one_client_is_not_counted_as_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not one client") as caught:
        counted_by_hand(text)
    assert repr(text) in str(caught.value)
