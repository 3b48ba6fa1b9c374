"""Hashes of passwords: which are taken, files of them, and the check itself, which blocks.

Rules of this module:

* what resists guessing is taken: bcrypt and argon2id. What is refused is refused by its name, with what to
  do about it; a message never shows a hash;
* a hash says what checking it costs: one that would keep a thread for minutes is refused;
* the check of a name that nobody has costs what that of some other name costs (:meth:`Users.hash_of`).
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Mapping
from hashlib import blake2b, sha256
from secrets import token_bytes

from revproxy.extras import how_to_install

#: Bytes of a file of names, and of one line in it.
MOST = 16 * 1024 * 1024

#: 22 letters of a salt of 16 bytes, the last of which has two bits, and 31 of the hash.
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_ARGON2 = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,7}),t=([1-9][0-9]{0,2}),p=([1-9][0-9]?)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_HINT = 'make one with "htpasswd -B", or one of argon2id'
#: What others write, by how it begins.
_OTHERS = (
    ("{SHA}", "an unsalted SHA-1"),
    ("{SSHA}", "a salted SHA-1"),
    ("{PLAIN}", "no hash but a password"),
    ("$apr1$", "Apache's MD5"),
    ("$1$", "a crypt of MD5"),
    ("$5$", "a crypt of SHA-256"),
    ("$6$", "a crypt of SHA-512"),
    ("$2x$", "of a bcrypt that was broken"),
    ("$argon2i$", "argon2i, and not argon2id"),
    ("$argon2d$", "argon2d, and not argon2id"),
    ("$y$", "yescrypt"),
    ("$scrypt$", "scrypt"),
)
_KEY = re.compile(r"sha256:([0-9a-fA-F]{64})")


def password_hash(text: str) -> str:
    """A hash that passwords can be checked against. :raises ValueError: says what it is instead."""
    match = _BCRYPT.fullmatch(text)
    if match is not None:
        if not 4 <= int(match[1]) <= 16:
            raise ValueError(f"bcrypt with a cost of {int(match[1])}; 4 to 16 are taken")
        return text
    match = _ARGON2.fullmatch(text)
    if match is not None:
        memory, passes, lanes = map(int, match.groups()[:3])
        if memory > 2**21 or passes * memory > 2**24:
            raise ValueError("argon2id that takes more than 2 GB or too long")
        if memory < 8 * lanes:
            raise ValueError(
                f"argon2id with less memory (m={memory}) than its lanes need (p={lanes}): m is 8 times p or more"
            )
        for part, least, what in ((match[4], 8, "salt"), (match[5], 4, "hash")):
            if (size := _size(part)) < least:
                raise ValueError(f"argon2id with a {what} of {max(size, 0)} bytes; {least} or more are needed; {_HINT}")
        return text
    for begins, what in _OTHERS:
        if text.startswith(begins):
            raise ValueError(f"the hash is {what}, which is not taken; {_HINT}")
    if text.startswith(("$2", "$argon2")):
        raise ValueError(f"the hash is not whole; {_HINT}")
    if re.fullmatch(r"[./A-Za-z0-9]{13}", text):
        raise ValueError(f"the hash is one of crypt, which is not taken; {_HINT}")
    raise ValueError(f"not a hash; {_HINT}")


def _size(text: str) -> int:
    """The bytes of Base64 without padding; -1 for what nobody writes so."""
    try:
        data = a2b_base64(text + "=" * (-len(text) % 4))
    except Error:
        return -1
    return len(data) if b2a_base64(data, newline=False).rstrip(b"=").decode("ascii") == text else -1


def key_hash(text: str) -> bytes:
    """The digest of ``sha256:`` and 64 hexadecimal digits. :raises ValueError: it is none."""
    match = _KEY.fullmatch(text)
    if match is None:
        raise ValueError("not a hash of a key; write sha256: and 64 hexadecimal digits")
    return bytes.fromhex(match[1])


def hash_of_key(key: bytes) -> bytes:
    """What a key is looked up by. Keys are long and random: what makes passwords' hashes slow is not needed."""
    return sha256(key).digest()


def check_name(text: str) -> None:
    """Look at a name as it goes to backends and logs. :raises ValueError: for one that is empty or not printable."""
    if not text or not text.isprintable() or ":" in text or len(text) > 255:
        raise ValueError('no name; it is printable, has no ":", and 255 characters at most')


def read_users(data: bytes) -> dict[str, str]:
    """Names and hashes of a file as htpasswd writes it; a third part of a line is a comment.

    :raises ValueError: with the number of the line, and the name in it.
    """
    users: dict[str, str] = {}
    for number, name, rest in _lines(data):
        try:
            check_name(name)
            users[name] = password_hash(rest.partition(":")[0])
        except ValueError as error:
            raise ValueError(
                f"line {number}{f' ({name[:80]})' if name.isprintable() and name else ''}: {error}"
            ) from None
    return users


def read_keys(data: bytes) -> dict[str, bytes]:
    """Names and digests of a file with a line ``name:sha256:…`` for each key. :raises ValueError: with the line."""
    keys: dict[str, bytes] = {}
    for number, name, rest in _lines(data):
        try:
            check_name(name)
            keys[name] = key_hash(rest)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return keys


def _lines(data: bytes) -> list[tuple[int, str, str]]:
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {where}: not UTF-8") from None
    found: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, rest = line.partition(":")
        if not colon:
            raise ValueError(f'line {number}: no ":" between a name and a hash')
        if name in found:
            raise ValueError(f"line {number}: the name is that of line {found[name][0]}, too")
        found[name] = (number, name, rest)
    return list(found.values())


class Users:
    """Names and hashes, never changed: another file makes others.

    :raises ValueError: when the package that checks one of the hashes is not installed.
    """

    __slots__ = ("_hashes", "_known", "_secret")

    def __init__(self, users: Mapping[str, str], secret: bytes | None = None) -> None:
        self._known = {name.encode("utf-8"): hashed.encode("ascii") for name, hashed in users.items()}
        self._hashes = sorted(self._known.values())
        self._secret = secret or token_bytes(32)
        needed = {"bcrypt" if hashed.startswith(b"$2") else "argon2" for hashed in self._hashes}
        for package in sorted(needed):
            try:
                __import__(package)
            except ImportError:
                name = {"argon2": "argon2-cffi"}.get(package, package)
                raise ValueError(f"{name} is not installed: {how_to_install('auth')}") from None

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: bytes) -> bool:
        return name in self._known

    def hash_of(self, name: bytes) -> bytes | None:
        """The hash that a password for ``name`` is checked against: for an unknown name, that of somebody else.

        It is always the same one, so that an unknown name costs what some known one does. ``None`` without users.
        """
        found = self._known.get(name)
        if found is None and self._hashes:
            digest = blake2b(name, key=self._secret, digest_size=8).digest()
            return self._hashes[int.from_bytes(digest, "big") % len(self._hashes)]
        return found


def verify(hashed: bytes, password: bytes) -> bool:
    """Whether a password is that of a hash. It blocks, and lets other threads run meanwhile.

    bcrypt looks at 72 bytes: what follows is left out, as htpasswd does when it makes the hash.
    """
    if b"\0" in password:
        return False
    if hashed.startswith(b"$2"):
        import bcrypt

        return bcrypt.checkpw(password[:72], hashed)
    from argon2.exceptions import Argon2Error
    from argon2.low_level import Type, verify_secret

    try:
        return bool(verify_secret(hashed, password, Type.ID))
    except Argon2Error:
        return False
