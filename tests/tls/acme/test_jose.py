"""What is signed with an account's key, verified by josepy's other half."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.json_util import decode_b64jose, encode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWK

from revproxy.tls.acme.certificates import new_key
from revproxy.tls.acme.jose import AccountKey


@pytest.mark.parametrize("account", [None, "https://acme.test/account/1"])
@pytest.mark.parametrize("payload", [b"", b"{}", b'{"a":1}'])
def test_a_signature_covers_url_nonce_and_who_it_is(account: str | None, payload: bytes) -> None:
    pem = new_key()
    key = AccountKey(pem)
    said = json.loads(key.sign("https://acme.test/x", "nonce-1", account, payload))
    assert set(said) == {"protected", "payload", "signature"}
    assert decode_b64jose(said["payload"]) == payload
    protected = json.loads(decode_b64jose(said["protected"]))
    public = {"kid": account} if account else {"jwk": protected["jwk"]}
    assert protected == {"alg": "ES256", "url": "https://acme.test/x", "nonce": "nonce-1", **public}
    private = serialization.load_pem_private_key(pem, None)
    signed = f"{said['protected']}.{said['payload']}".encode()
    assert ES256.verify(private.public_key(), signed, decode_b64jose(said["signature"]))  # type: ignore[arg-type]
    assert not ES256.verify(private.public_key(), signed + b".", decode_b64jose(said["signature"]))  # type: ignore[arg-type]
    if account is None:
        assert "d" not in protected["jwk"]
        assert JWK.from_json(protected["jwk"]).key.public_numbers() == private.public_key().public_numbers()  # type: ignore[union-attr]


def test_a_key_authorization_ends_in_the_thumbprint() -> None:
    key = AccountKey(new_key())
    jwk = json.loads(decode_b64jose(json.loads(key.sign("https://x", "n", None, b""))["protected"]))["jwk"]
    text = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    assert key.authorization("token") == "token." + encode_b64jose(sha256(text.encode()).digest())


def test_keys_that_are_none() -> None:
    for curve in (ec.SECP384R1(), None):
        pem = b"none"
        if curve is not None:
            pem = ec.generate_private_key(curve).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        with pytest.raises(ValueError):
            AccountKey(pem)


def test_josepy_is_imported_by_nobody_but_who_signs() -> None:
    code = "import sys, revproxy.tls.acme; sys.exit('josepy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
