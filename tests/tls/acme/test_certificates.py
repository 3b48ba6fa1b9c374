"""Keys, requests and certificates."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from revproxy.tls.acme.certificates import Standing, answering, checked, new_key, request, standing
from revproxy.tls.acme.messages import AcmeFailed
from tests.certificates import Certified, authority

DIRECTORY = "https://acme.test/dir"
NAMES = ("a.test", "b.test")
ROOT = authority("Root")
ABOVE = ROOT.issues(authority=True, called="Above")


def chain(key: bytes, *names: str, **options: float) -> bytes:
    return ABOVE.issues(*(names or NAMES), key=serialization.load_pem_private_key(key, None), **options).chain_pem


def test_a_request_says_the_names_and_nothing_else() -> None:
    key = new_key()
    found = x509.load_der_x509_csr(request(key, NAMES))
    assert found.is_signature_valid and len(found.extensions) == 1 and not list(found.subject)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(NAMES)


def test_what_is_checked_can_be_read_by_all_who_read_it(tmp_path: Path) -> None:
    key = new_key()
    pem = checked(chain(key), key, NAMES, DIRECTORY, time.time())
    path = tmp_path / "it.pem"
    path.write_bytes(pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    assert len(x509.load_pem_x509_certificates(pem)) == 2
    found = standing(pem)
    assert found.names == set(NAMES) and found.source == DIRECTORY
    assert found.end - found.start == 32 * 86400


def test_only_certificates_come_into_our_files() -> None:
    key = new_key()
    foreign = new_key()
    said = b"hello\n" + foreign + chain(key) + b"-----BEGIN X-----\nAAAA\n-----END X-----\n"
    pem = checked(said, key, NAMES, DIRECTORY, time.time())
    assert foreign not in pem and b"hello" not in pem and b"BEGIN X-" not in pem
    assert pem.count(b"PRIVATE KEY-----") == 2 and pem.endswith(key)


def refusal(said: bytes, key: bytes, now: float = 0.0) -> str:
    with pytest.raises(AcmeFailed) as caught:
        checked(said, key, NAMES, DIRECTORY, now or time.time())
    return str(caught.value)


def test_chains_that_are_not_used() -> None:
    key = new_key()
    assert "can't be read" in refusal(b"", key)
    assert "can't be read" in refusal(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key)
    assert "for another key than ours" in refusal(chain(new_key()), key)
    assert 'for "a.test", not for what was ordered' in refusal(chain(key, "a.test"), key)
    assert "not for what was ordered" in refusal(chain(key, *NAMES, "evil.test"), key)
    assert "not for what was ordered" in refusal(chain(key, *NAMES, "192.0.2.1"), key)
    assert "for no name" in refusal(Certified(issuer=ROOT, key=serialization.load_pem_private_key(key, None)).pem, key)
    assert "ended at" in refusal(chain(key, end=-1), key)
    leaf = chain(key)[: -len(ABOVE.pem)]
    assert "does not hang together" in refusal(leaf + authority("Other").pem, key)
    assert "11 certificates" in refusal(leaf + ABOVE.pem * 10, key)


def test_what_is_in_place() -> None:
    key, other = new_key(), new_key()
    with pytest.raises(ValueError):
        standing(chain(key))
    with pytest.raises(ValueError):
        standing(chain(key) + other)
    with pytest.raises(ValueError):
        standing(b"")
    assert standing(chain(key) + key).source == ""


def test_what_serves() -> None:
    found = Standing(frozenset(NAMES), 100.0, 200.0, DIRECTORY)
    assert found.serves(NAMES[::-1], DIRECTORY, 100.0) and found.serves(NAMES, DIRECTORY, 199.9)
    assert not found.serves(NAMES, DIRECTORY, 200.0) and not found.serves(NAMES, DIRECTORY, 99.0)
    assert not found.serves(NAMES[:1], DIRECTORY, 150.0) and not found.serves((*NAMES, "c.test"), DIRECTORY, 150.0)
    assert not found.serves(NAMES, "https://staging.test/dir", 150.0)


def test_an_answer_of_tls_alpn_is_its_own_certificate() -> None:
    pem = answering("a.test", "token.print", time.time())
    found = x509.load_pem_x509_certificate(pem)
    found.verify_directly_issued_by(found)
    assert {extension.oid.dotted_string: extension.critical for extension in found.extensions} == {
        "2.5.29.17": False, "1.3.6.1.5.5.7.1.31": True,
    }  # fmt: skip
