"""What may be written of clients' certificates."""

from __future__ import annotations

import pytest

from revproxy.config.errors import Wrong
from revproxy.config.identities import identity, one_of
from revproxy.http.tlsinfo import ClientIdentity


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("*", "*"),
        ("CN=alice,O=Example", "CN=alice,O=Example"),
        ("2.5.4.3=alice", "CN=alice"),
        ("CN=DNS:a.example", "CN=DNS:a.example"),
        ("emailAddress=a@b.example,CN=a", "emailAddress=a@b.example,CN=a"),
        ("dns:A.Example.", "DNS:a.example"),
        ("URI:spiffe://Example/a,b", "URI:spiffe://Example/a,b"),
        ("uri:urn:x:1", "URI:urn:x:1"),
        ("URI:spiffe://example/*", "URI:spiffe://example/*"),
        ("EMAIL:A@b.example", "email:A@b.example"),
        ("IP:2001:DB8:0::1", "IP:2001:db8::1"),
    ],
)
def test_normal_forms(written: str, normal: str) -> None:
    assert identity(written) == normal
    assert identity(normal) == normal


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("", '"" is not a client certificate; write "*", a subject such as "CN=alice,O=Example", or a name with its'),
        ("alice", '"alice" is not a client certificate; write "*"'),
        (7, "7 is not a client certificate"),
        ("CN=a, O=b", "is not a subject in the form of RFC 4514; write it as openssl x509 -noout -subject -nameopt"),
        ("cn=a", "is not a subject"),
        ("DN:a.example", 'has an unknown type of name; write "DNS:", "URI:", "email:" or "IP:"; did you mean "DNS"?'),
        ("https://a.example", "has an unknown type of name"),
        ("DNS:", "is not a DNS name"),
        ("DNS:*.a.example", "is not a DNS name"),
        ("DNS:a b", "is not a DNS name"),
        ("IP:a.example", "is not an address"),
        ("email:a.example", "is not an email address"),
        ("URI:a.example", "is not a URI"),
        ("URI:spiffe://a b/", "is not a URI"),
        ("URI:spiffe://a/*/b", "is not a URI"),
        ("URI:spiffe://a*", 'is too wide; a "*" stands only after a "/"'),
    ],
)
def test_what_is_wrong(written: object, text: str) -> None:
    with pytest.raises(Wrong) as caught:
        identity(written)
    assert text in str(caught.value)


def client(subject: str = "", *sans: str) -> ClientIdentity:
    return ClientIdentity(subject, sans, "", "", b"")


def test_types_are_kept_apart() -> None:
    is_one = one_of(("DNS:a.example", "CN=alice", "URI:spiffe://x/*"))
    assert is_one(client("CN=alice"))
    assert is_one(client("", "email:b", "DNS:a.example"))
    assert is_one(client("", "URI:spiffe://x/y"))
    for other in (
        client(),
        client("CN=a.example", "URI:a.example", "email:a.example"),
        client("CN=alice,O=Other"),
        client("", "DNS:CN=alice"),
        client("", "URI:spiffe://x"),
        client("", "URI:spiffe://x.evil/y"),
        client("", "DNS:spiffe://x/y"),
    ):
        assert not is_one(other)
    assert one_of(("*",))(client())
