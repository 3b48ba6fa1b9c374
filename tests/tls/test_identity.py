"""Who a client is, by its certificate."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization

from revproxy.http.tlsinfo import ClientIdentity
from revproxy.tls.identity import LARGEST, IdentityError, read_identity
from tests.certificates import Certified, authority

ROOT = authority()


def der(certified: Certified) -> bytes:
    return certified.certificate.public_bytes(serialization.Encoding.DER)


def test_it_is_read_until_it_ends() -> None:
    made = ROOT.issues("a.example")
    end = made.certificate.not_valid_after_utc.timestamp()
    assert read_identity(der(made), end) == ClientIdentity.of(der(made))
    # which only a resumed session can show
    with pytest.raises(IdentityError, match="has ended"):
        read_identity(der(made), end + 1)


def test_nobody_is_told_in_part() -> None:
    many = ROOT.issues(*(f"{number}.example.com" for number in range(LARGEST // 16)))
    with pytest.raises(IdentityError, match="over 4096 bytes"):
        read_identity(der(many), 0.0)
    for data in (b"", b"\x30\x00", der(ROOT)[:-1]):
        with pytest.raises(IdentityError, match="can't be read"):
            read_identity(data, 0.0)
