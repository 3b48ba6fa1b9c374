"""Tokens: which are good, by whomever they were made, and which are not, by whoever attacks."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import new as hmac

import jwt as pyjwt
import pytest
from hypothesis import given, strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from revproxy.auth.token import Rules, TokenRefused, UnknownKey, read_keys, secret_keys, user_of, verify
from revproxy.config.tokens import HMAC, KINDS
from tests.auth.kit import SECRET, jwks, key, raw_token, token

NOW = 1_800_000_000
GOOD = {"sub": "alice", "exp": NOW + 600}
RULES = Rules(("RS256",))


def keys(alg="RS256", kid="one"):
    return secret_keys(SECRET, [alg]) if alg in HMAC else read_keys(jwks((kid, key(alg))), [alg])


@pytest.mark.parametrize("alg", KINDS)
def test_every_algorithm(alg):
    assert verify(token(GOOD, alg), keys(alg), Rules((alg,)), NOW) == GOOD
    changed = bytearray(token(GOOD, alg))
    changed[-8] ^= 1
    with pytest.raises(TokenRefused, match="signature"):
        verify(bytes(changed), keys(alg), Rules((alg,)), NOW)


@pytest.mark.parametrize("alg", [alg for alg in KINDS if alg != "Ed25519"])
def test_tokens_that_another_library_made(alg):
    private = SECRET if alg in HMAC else key(alg).as_pem(private=True)
    made = pyjwt.encode(GOOD, private, algorithm=alg, headers={"kid": "one"}).encode()
    assert verify(made, keys(alg), Rules((alg,)), NOW) == GOOD


def test_what_is_accepted_the_other_library_accepts():
    made = token(GOOD)
    public = key("RS256").as_pem(private=False)
    assert pyjwt.decode(made, public, algorithms=["RS256"], options={"verify_exp": False}) == GOOD


def test_an_algorithm_that_is_not_pinned_is_refused():
    with pytest.raises(TokenRefused, match="algorithm is not taken"):
        verify(token(GOOD, "RS512"), keys(), RULES, NOW)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, 1, ["RS256"], "HS256", {}])
def test_tokens_that_nobody_signed(alg):
    for signature in (b"", b"x"):
        with pytest.raises(TokenRefused):
            verify(raw_token({"alg": alg, "kid": "one"}, GOOD, signature), keys(), RULES, NOW)


def test_a_public_key_is_no_secret():
    """The classic confusion: HS256 with the public key's text, where both kinds are taken."""
    rules = Rules(("RS256", "HS256"))
    for public in (key("RS256").as_pem(private=False), json.dumps(key("RS256").as_dict(private=False)).encode()):
        signed = raw_token({"alg": "HS256", "kid": "one"}, GOOD).rpartition(b".")[0]
        mac = urlsafe_b64encode(hmac(public, signed, sha256).digest()).rstrip(b"=")
        with pytest.raises(TokenRefused, match="signature"):
            verify(signed + b"." + mac, keys(), rules, NOW)


def test_secrets_in_a_set_of_keys_are_left_out():
    assert read_keys(json.dumps({"keys": [OctKey.import_key(SECRET).as_dict()]}).encode(), ["HS256"]).keys == ()


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_token_brings_no_key_of_its_own(name):
    other = key("RS256", 2)
    values = {
        "jwk": other.as_dict(private=False),
        "jku": "https://evil.example/k",
        "x5u": "https://e/x",
        "x5c": ["AA=="],
    }
    made = token(GOOD, number=2, **{name: values[name]})
    with pytest.raises(TokenRefused, match="signature"):
        verify(made, keys(), RULES, NOW)


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1", "two", "", "x" * 256])
def test_an_unknown_kid_is_told_apart(kid):
    with pytest.raises(UnknownKey):
        verify(raw_token({"alg": "RS256", "kid": kid}, GOOD), keys(), RULES, NOW)


@pytest.mark.parametrize("kid", [1, ["one"], {"a": 1}, True, "x" * 257])
def test_a_kid_that_is_no_name_asks_for_no_keys(kid):
    with pytest.raises(TokenRefused) as refused:
        verify(raw_token({"alg": "RS256", "kid": kid}, GOOD), keys(), RULES, NOW)
    assert not isinstance(refused.value, UnknownKey)


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": False}]
)
def test_critical_parts_are_refused(header):
    with pytest.raises(TokenRefused, match="critical"):
        verify(raw_token({"alg": "RS256", "kid": "one", **header}, GOOD), keys(), RULES, NOW)


def test_without_a_kid_keys_are_tried_but_few():
    several = read_keys(jwks((None, key("RS256", 1)), (None, key("RS256", 2)), (None, key("RS256"))), ["RS256"])
    assert verify(token(GOOD, kid=None), several, RULES, NOW) == GOOD
    many = read_keys(jwks(*((None, key("RS256", 1)) for _ in range(4)), (None, key("RS256"))), ["RS256"])
    with pytest.raises(TokenRefused, match="signature"):
        verify(token(GOOD, kid=None), many, RULES, NOW)


def test_a_key_is_for_the_algorithm_that_it_names():
    member = key("RS256").as_dict(private=False) | {"kid": "one", "alg": "PS256"}
    with pytest.raises(TokenRefused, match="signature"):
        verify(token(GOOD), read_keys(json.dumps({"keys": [member]}).encode(), ["RS256"]), RULES, NOW)


def test_keys_for_encryption_and_weak_ones_are_left_out():
    good = key("RS256").as_dict(private=False) | {"kid": "one"}
    weak = RSAKey.generate_key(1024, auto_kid=False).as_dict(private=False)
    for member in (good | {"use": "enc"}, weak, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": "AQAB"}, "x", None):
        none = read_keys(json.dumps({"keys": [member]}).encode(), ["RS256"])
        assert none.keys == ()
        for kid in ("one", None):
            with pytest.raises(UnknownKey):
                verify(token(GOOD, kid=kid), none, RULES, NOW)
    assert len(read_keys(json.dumps({"keys": [weak, good, None]}).encode(), ["RS256"]).keys) == 1


@pytest.mark.parametrize(
    ("alg", "other"),
    [
        *(("Ed25519", OKPKey.generate_key(curve)) for curve in ("X25519", "X448", "Ed448")),
        *(("EdDSA", OKPKey.generate_key(curve)) for curve in ("X25519", "X448")),
        *(("ES256", ECKey.generate_key(curve)) for curve in ("P-384", "P-521", "secp256k1")),
        ("ES384", ECKey.generate_key("P-256")),
        ("ES512", ECKey.generate_key("P-384")),
    ],
)
def test_keys_of_other_curves_are_left_out(alg, other):
    several = read_keys(jwks(("other", other), ("one", key(alg))), [alg])
    assert [found.kid for found in several.keys] == ["one"]
    for kid in ("one", None):
        assert verify(token(GOOD, alg, kid), several, Rules((alg,)), NOW) == GOOD
    with pytest.raises(UnknownKey):
        verify(raw_token({"alg": alg, "kid": "other"}, GOOD, b"x" * 64), several, Rules((alg,)), NOW)


def test_of_several_algorithms_each_has_keys_of_its_curve():
    algs = ["ES256", "ES384"]
    several = read_keys(jwks(("two", key("ES384")), ("one", key("ES256"))), algs)
    for alg in algs:
        assert verify(token(GOOD, alg, None), several, Rules(tuple(algs)), NOW) == GOOD
    with pytest.raises(TokenRefused, match="signature"):
        verify(raw_token({"alg": "ES256", "kid": "two"}, GOOD, b"x" * 64), several, Rules(tuple(algs)), NOW)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"keys": 1}', b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_set_of_keys(data):
    with pytest.raises(ValueError, match="not a set of keys"):
        read_keys(data, ["RS256"])


def test_times_and_their_leeway():
    for claims, good_from, good_to in (
        ({"exp": 1000}, 0, 1060),
        ({"exp": 1000, "nbf": 500}, 440, 1060),
        ({"exp": 1000, "iat": 500.5}, 440.5, 1060),
    ):
        made = token({"sub": "a"} | claims)
        for now, good in (
            (good_from - 0.1, good_from == 0),
            (good_from, True),
            (good_to - 0.1, True),
            (good_to, False),
        ):
            if good:
                assert verify(made, keys(), RULES, now)["sub"] == "a"
            else:
                with pytest.raises(TokenRefused):
                    verify(made, keys(), RULES, now)


@pytest.mark.parametrize("value", ["9999999999", None, True, [], {}, 1e400, float("nan"), 10**400, -1e300])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_what_is_no_time_is_refused(name, value):
    with pytest.raises(TokenRefused, match=f"its {name} is no time"):
        verify(
            pyjwt.api_jws.encode(
                json.dumps(GOOD | {name: value}).encode(), key().as_pem(private=True), "RS256"
            ).encode(),
            keys(),
            RULES,
            NOW,
        )


def test_a_token_without_an_end_is_refused():
    with pytest.raises(TokenRefused, match="no exp"):
        verify(token({"sub": "alice"}), keys(), RULES, NOW)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"iss": "https://i", "aud": "me"}, True),
        ({"iss": "https://i", "aud": ["you", "me"]}, True),
        ({"iss": "https://i/", "aud": "me"}, False),
        ({"iss": ["https://i"], "aud": "me"}, False),
        ({"iss": "https://i", "aud": "you"}, False),
        ({"iss": "https://i", "aud": []}, False),
        ({"iss": "https://i", "aud": {"me": 1}}, False),
        ({"iss": "https://i"}, False),
        ({"aud": "me"}, False),
    ],
)
def test_issuer_and_audience(claims, good):
    rules = Rules(("HS256",), frozenset({"https://i"}), frozenset({"me"}))
    made = token(GOOD | claims, "HS256")
    if good:
        verify(made, keys("HS256"), rules, NOW)
    else:
        with pytest.raises(TokenRefused):
            verify(made, keys("HS256"), rules, NOW)


@pytest.mark.parametrize("sub", ["", None, [], True, "a\nb", "a\x00", "x" * 1025, {}])
def test_a_token_names_somebody(sub):
    with pytest.raises(TokenRefused, match="names nobody"):
        verify(
            token(GOOD | {"sub": sub}, "HS256")
            if isinstance(sub, str)
            else pyjwt.api_jws.encode(json.dumps(GOOD | {"sub": sub}).encode(), SECRET, "HS256").encode(),
            keys("HS256"),
            Rules(("HS256",)),
            NOW,
        )


@pytest.mark.parametrize("name", ["scope", "scp"])
@pytest.mark.parametrize(
    ("found", "good"),
    [
        ("read", True),
        ("read write", True),
        ("openid read", True),
        ("openid  write ", True),
        (["read", "x"], True),
        ("a b", True),
        ("openid", False),
        ("readers openid", False),
        ("", False),
        (["x read"], False),
        (None, False),
    ],
)
def test_scopes_are_one_text_with_blanks(name, found, good):
    made = token(GOOD | {name: found}, "HS256")
    rules = Rules(("HS256",), require={name: ("read", "write", "a b")})
    if good:
        assert verify(made, keys("HS256"), rules, NOW)[name] == found
    else:
        with pytest.raises(TokenRefused, match=f"its {name} is not") as caught:
            verify(made, keys("HS256"), rules, NOW)
        assert caught.value.forbidden


def test_other_texts_with_blanks_are_one_value():
    with pytest.raises(TokenRefused, match="its role is not"):
        verify(
            token(GOOD | {"role": "admin x"}, "HS256"), keys("HS256"), Rules(("HS256",), require={"role": ("x",)}), NOW
        )


def test_required_claims():
    rules = Rules(("HS256",), require={"realm.roles": ("admin", "ops"), "verified": ("true",)})
    good = GOOD | {"realm": {"roles": ["x", "ops"]}, "verified": True}
    assert verify(token(good, "HS256"), keys("HS256"), rules, NOW) == good
    for bad in ({"verified": False}, {"realm": {"roles": []}}, {"realm": {"roles": "adm"}}, {"realm": 1}):
        with pytest.raises(TokenRefused) as refused:
            verify(token(good | bad, "HS256"), keys("HS256"), rules, NOW)
        assert refused.value.forbidden


def test_users_are_texts_and_numbers():
    assert [user_of({"sub": value}, "sub") for value in ("a", 7, True, None, ["a"])] == ["a", "7", "", "", ""]
    assert user_of({"a": {"b": "c"}}, "a.b") == "c"
    assert user_of({"a.b": "d", "a": {"b": "c"}}, "a.b") == "d"


def test_short_secrets_are_refused():
    with pytest.raises(ValueError, match="31 bytes; HS256 need 32"):
        secret_keys(b"x" * 31, ["HS256"])


@pytest.mark.parametrize("made", [b"", b".", b"..", b"a.b", b"a.b.c", b"a.b.c.d.e", b"x" * 8193, b"\xff.\xff.\xff"])
def test_what_is_no_token(made):
    with pytest.raises(TokenRefused):
        verify(made, keys(), RULES, NOW)


def test_deep_tables_are_refused():
    with pytest.raises(TokenRefused, match="header can't be read"):
        verify(raw_token(b"[" * 5000, GOOD), keys(), RULES, NOW)


@given(st.binary(max_size=300) | st.builds(raw_token, st.dictionaries(st.text(), st.none() | st.text()), st.just(GOOD)))
def test_whatever_it_is_it_is_refused(made):
    with pytest.raises(TokenRefused):
        verify(made, keys(), RULES, NOW)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_token_says_anything_else(at, change):
    made = bytearray(token(GOOD))
    made[at % len(made)] ^= change
    try:
        assert verify(bytes(made), keys(), RULES, NOW) == GOOD  # unused bits of base64
    except TokenRefused:
        pass
