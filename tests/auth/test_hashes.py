"""Which hashes of passwords are taken, files of them, and the check itself."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from hashlib import sha256
from shutil import which

import bcrypt
import pytest
from argon2.exceptions import Argon2Error, VerifyMismatchError
from argon2.low_level import Type, verify_secret
from hypothesis import given, settings, strategies as st

from revproxy.auth.hashes import Users, key_hash, password_hash, read_keys, read_users, verify
from tests.auth.kit import argon2d, bcrypted


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
def test_bcrypt_is_taken_and_checked(prefix):
    hashed = bcrypted("secret", prefix)
    assert password_hash(hashed) == hashed
    assert verify(hashed.encode(), b"secret")
    assert not verify(hashed.encode(), b"Secret")


def test_argon2id_is_taken_and_checked():
    hashed = argon2d("secret")
    assert password_hash(hashed) == hashed
    assert verify(hashed.encode(), b"secret")
    assert not verify(hashed.encode(), b"Secret")


LETTERS = st.text("./ABYZabyz0189+", min_size=1, max_size=16)


@given(st.integers(0, 99), st.integers(1, 3), st.integers(0, 12), LETTERS, LETTERS)
def test_what_is_taken_a_library_takes(memory, passes, lanes, salt, tag):
    text = f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${tag}"
    try:
        taken = password_hash(text) == text
    except ValueError:
        taken = False
    try:
        verify_secret(text.encode(), b"x", Type.ID)
        known = True
    except VerifyMismatchError:
        known = True
    except Argon2Error:
        known = False
    assert taken is known


@given(st.text("./AOYZaeuyz0189", min_size=22, max_size=22), st.text("./AOYZaeuyz0189", min_size=31, max_size=31))
@settings(max_examples=50)
def test_and_so_with_bcrypt(salt, tag):
    text = f"$2b$04${salt}{tag}"
    try:
        taken = password_hash(text) == text
    except ValueError:
        taken = False
    try:
        bcrypt.checkpw(b"x", text.encode())
        known = True
    except ValueError:
        known = False
    assert taken is known


@pytest.mark.parametrize("hashed", [bcrypted("x"), argon2d("x")])
def test_a_password_with_a_null_byte_is_nobodys(hashed):
    assert not verify(hashed.encode(), b"x\0")


def test_bcrypt_leaves_out_what_follows_72_bytes():
    hashed = bcrypted("p" * 80).encode()
    assert verify(hashed, b"p" * 80)
    assert verify(hashed, b"p" * 72 + b"other")
    assert not verify(hashed, b"p" * 71)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
        ("$apr1$abc$defghijklmnopqrstuv", "Apache's MD5"),
        ("$1$abc$def", "MD5"),
        ("$5$abc$def", "SHA-256"),
        ("$6$abc$def", "SHA-512"),
        ("rqXexS6ZhobKA", "crypt"),
        ("password", "not a hash"),
        ("", "not a hash"),
        (argon2d("x", Type.I), "not argon2id"),
        (argon2d("x", Type.D), "not argon2id"),
        (bcrypted("x")[:-1], "not whole"),
        ("$2b$31$" + "a" * 21 + "u" + "a" * 31, "cost of 31"),
        ("$2b$04$" + "a" * 53, "not whole"),
        ("$argon2id$v=19$m=1,t=1,p=8$c2FsdHNhbHQ$aGFzaA", "m is 8 times p"),
        ("$argon2id$v=19$m=63,t=1,p=8$c2FsdHNhbHQ$aGFzaA", "m is 8 times p"),
        ("$argon2id$v=19$m=64,t=1,p=8$A$aGFzaA", "a salt of 0 bytes; 8 or more"),
        ("$argon2id$v=19$m=64,t=1,p=8$c2FsdHNhbA$aGFzaA", "a salt of 7 bytes"),
        ("$argon2id$v=19$m=64,t=1,p=8$c2FsdHNhbHR$aGFzaA", "a salt of 0 bytes"),
        ("$argon2id$v=19$m=64,t=1,p=8$c2FsdHNhbHQ$aGFz", "a hash of 3 bytes; 4 or more"),
        ("$argon2id$v=19$m=064,t=1,p=8$c2FsdHNhbHQ$aGFzaA", "not whole"),
        ("$argon2id$v=19$m=64,t=0,p=8$c2FsdHNhbHQ$aGFzaA", "not whole"),
        ("$argon2id$v=19$m=99999999,t=3,p=4$c2FsdHNhbHQ$aGFzaA", "2 GB"),
    ],
)
def test_other_hashes_are_refused_by_their_name(text, what):
    with pytest.raises(ValueError, match=what) as refused:
        password_hash(text)
    assert not text or text not in str(refused.value)


def test_a_file_of_users():
    data = f"# people\n\nalice:{bcrypted('a')}\r\n b\u00f6b:{argon2d('b')}:a comment\n".encode()
    assert read_users(data) == {"alice": bcrypted("a"), "b\u00f6b": argon2d("b")}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"a:" + bcrypted("a").encode() + b"\nbob:{SHA}xx\n", r"line 2 \(bob\): the hash is an unsalted SHA-1"),
        (b"alice\n", 'line 1: no ":"'),
        (f"a:{bcrypted('a')}\na:{bcrypted('a')}".encode(), "line 2: the name is that of line 1"),
        (b"\xff:x", "line 1: not UTF-8"),
        (b":x", "line 1: no name"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(data, what):
    with pytest.raises(ValueError, match=what):
        read_users(data)


@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(data):
    for read in (read_users, read_keys):
        found = {}
        with suppress(ValueError):
            found = read(data)
        assert isinstance(found, dict)


def test_a_file_of_keys():
    digest = sha256(b"k").hexdigest()
    assert read_keys(f"ci:sha256:{digest}\n".encode()) == {"ci": bytes.fromhex(digest)}
    with pytest.raises(ValueError, match="line 1"):
        read_keys(b"ci:sha256:12")
    with pytest.raises(ValueError, match="sha256"):
        key_hash("secret")


def test_an_unknown_name_is_checked_against_somebody_elses_hash_always_the_same():
    users = Users({"alice": bcrypted("a"), "bob": argon2d("b")})
    found = {users.hash_of(b"nobody%d" % number) for number in range(64)}
    assert found == {bcrypted("a").encode(), argon2d("b").encode()}
    assert len({users.hash_of(b"nobody") for _ in range(8)}) == 1
    assert users.hash_of(b"alice") == bcrypted("a").encode()
    assert b"nobody" not in users
    assert Users({}).hash_of(b"a") is None


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bcrypt", None)
    with pytest.raises(ValueError, match=r"bcrypt is not installed.*revproxy\[auth\]"):
        Users({"a": bcrypted("a")})


@pytest.mark.skipif(which("htpasswd") is None, reason="needs htpasswd of apache2-utils")
def test_files_of_htpasswd(tmp_path):
    path = tmp_path / "users"
    subprocess.run(["htpasswd", "-cbB", "-C", "4", path, "alice", "w\u00f6rd"], check=True, capture_output=True)
    users = read_users(path.read_bytes())
    assert verify(users["alice"].encode(), "w\u00f6rd".encode())
    assert not verify(users["alice"].encode(), b"word")
    for option, what in (
        ("-m", "Apache's MD5"),
        ("-s", "SHA-1"),
        ("-d", "crypt"),
        ("-5", "SHA-512"),
        ("-p", "not a hash"),
    ):
        subprocess.run(["htpasswd", "-b", option, path, "bob", "x"], check=True, capture_output=True)
        with pytest.raises(ValueError, match=rf"line 2 \(bob\): .*{what}"):
            read_users(path.read_bytes())
