"""The files of ACME in a listener's certificates folder.

::

    FOLDER/NAME.acme.pem                   the certificate, its chain and its key, in one file
    FOLDER/.acme/lock                      held while one orders
    FOLDER/.acme/DIRECTORY/key.pem         the account's key; DIRECTORY is a hash of the authority's URL
    FOLDER/.acme/DIRECTORY/account.json    the account

Rules of this module:

* it blocks: callers run it in threads;
* files are for their owner alone, and are replaced in one step: certificate and key are never seen mismatched;
* what is being written has a name that begins with a dot and does not end in ``.pem``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from revproxy.tls.acme.certificates import Standing, new_key, standing
from revproxy.tls.challenges import ACME_TLS

if TYPE_CHECKING:
    from revproxy.tls.acme.jose import AccountKey

_PRIVATE = ".acme"
_SIZE = 1 << 20  # bytes of a file that are read


@frozen
class Account:
    """An account as it is kept. :param url: ``""`` before it is registered. :param contact: as the authority has it."""

    key: AccountKey
    url: str = ""
    contact: tuple[str, ...] = ()


class Storage:
    """Reads and writes what belongs to the orders for one list of names in ``folder``.

    :param folder: absolute. :param name: the first of the names. :param directory: the authority's URL.
    """

    __slots__ = ("_account", "certificate", "folder", "private")

    def __init__(self, folder: str, name: str, directory: str) -> None:
        self.folder = Path(folder)
        self.private = self.folder / _PRIVATE
        self.certificate = self.folder / f"{name}.acme.pem"
        self._account = self.private / hashlib.sha256(directory.encode("utf-8")).hexdigest()[:16]

    @property
    def lock(self) -> str:
        """The path of the lock."""
        return str(self.private / "lock")

    def prepare(self) -> None:
        """Make the private folders. :raises OSError: when they can't be made, or the folder is not there."""
        for folder in (self.private, self._account):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)

    def standing(self) -> Standing | None:
        """The certificate in place; ``None`` when there is none that can be used.

        :raises OSError: when it can't be read.
        """
        try:
            return standing(_read(self.certificate))
        except (FileNotFoundError, ValueError):
            return None

    def install(self, pem: bytes) -> None:
        """Put a certificate in place. :raises OSError: when it can't be written; the old one stays."""
        _replace(self.certificate, pem)

    def account(self) -> Account:
        """The account, with a new key where there is none.

        :raises ValueError: when the key can't be used: it is not replaced, for the account hangs on it.
        :raises OSError: when a file can't be read or written.
        """
        # not before it is needed, and then in a thread: josepy is a package of an extra
        from revproxy.tls.acme.jose import AccountKey

        path = self._account / "key.pem"
        try:
            pem = _read(path)
        except FileNotFoundError:
            pem = new_key()
            _replace(path, pem)
        try:
            key = AccountKey(pem)
        except ValueError as error:
            raise ValueError(f"the account's key {json.dumps(str(path))} can't be used: {error}") from None
        try:
            kept: Any = json.loads(_read(self._account / "account.json"))
            return Account(key, str(kept["account"]), tuple(map(str, kept["contact"])))
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return Account(key)  # registering the same key again gives the same account (RFC 8555 7.3.1)

    def keep(self, account: Account) -> None:
        """Remember an account. :raises OSError: when it can't be written."""
        data = {"account": account.url, "contact": list(account.contact)}
        _replace(self._account / "account.json", json.dumps(data).encode("ascii"))

    def context(self, pem: bytes) -> ssl.SSLContext:
        """What answers a TLS-ALPN-01 challenge with this key and certificate (RFC 8737 3)."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols([ACME_TLS.decode("ascii")])
        # OpenSSL's only way in, by Python's ssl
        descriptor, path = tempfile.mkstemp(dir=self.private, prefix=".", suffix=".new")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
            made.load_cert_chain(path)
        finally:
            os.unlink(path)
        return made


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_SIZE)


def _replace(path: Path, data: bytes) -> None:
    """Write a file of the owner's, whole or not at all."""
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
