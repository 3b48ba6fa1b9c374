"""What counts as one client."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis.strategies import ip_addresses

from revproxy.limits.client import counted


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
