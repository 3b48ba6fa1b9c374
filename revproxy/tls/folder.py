"""A folder of certificates: which files belong together.

Rules of this module:

* it blocks: it is called in a thread;
* what goes together is told by names, so that an unchanged file is never read again: ``x.crt`` (or ``.pem``, ``.cer``,
  ``.cert``) has its key in ``x.key`` or ``x-key.pem`` (as mkcert has it), or in itself; certbot's
  ``fullchain.pem`` has it in ``privkey.pem``, and is all that counts beside ``cert.pem`` and ``chain.pem``;
* folders in the folder count too, and so do those in one called ``live`` (certbot's); names that begin with a dot
  don't. Symbolic links are followed;
* a key without a certificate, an authority without a key and files of other kinds are nobody's fault. A certificate
  without its key and a file that can't be read are told;
* hostile or lost, a folder costs a bounded time: :data:`MOST` files, each of a bounded size.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from cryptography import x509

from revproxy.config.errors import show
from revproxy.tls.certificate import (
    Certificate,
    CertificateError,
    Stamp,
    certificates_in,
    has_key,
    read_file,
    read_pair,
    stamp_of,
)

#: Files that are looked at.
MOST = 10_000

_CHAINS = (".pem", ".crt", ".cer", ".cert")
_LOOKED_AT = (*_CHAINS, ".key", ".privkey")
_KEYS = (".key", "-key.pem", ".key.pem", "_key.pem", ".privkey", ".privkey.pem", "-privkey.pem")
_PLAIN_KEYS = {"fullchain": ("privkey.pem",), "cert": ("key.pem", "privkey.pem")}
_CERTBOT = frozenset(("fullchain.pem", "privkey.pem"))
_PARTS = frozenset(("cert.pem", "chain.pem"))

Files = dict[str, dict[str, Stamp]]


def fingerprint(folder: str) -> Files:
    """The files that count, with their stamps: equal when nothing has changed. Costs a ``stat`` for each.

    :raises CertificateError: when the folder can't be read.
    """
    return _files(folder)[0]


def scan(folder: str, known: Iterable[Certificate] = ()) -> tuple[list[Certificate], list[CertificateError]]:
    """Read a folder's certificates, in the order of their paths.

    :param known: those that were read before: the files of which are not read again when they have not changed.
    :returns: what can be served, and what can't, each with its source.
    :raises CertificateError: when the folder can't be read.
    """
    files, problems = _files(folder)
    before = {(certificate.chain, certificate.key, certificate.stamps): certificate for certificate in known}
    sources = {certificate.source for certificate in before.values()}
    certificates = []
    for chain, key, stamps in _pairs(files):
        certificate = before.get((chain, key or chain, stamps))
        try:
            if certificate is None and _is_meant(chain, key):
                certificate = read_pair(chain, key or chain)
            elif certificate is None and chain in sources:
                # half of it is written by now, or its key is away for a moment
                raise CertificateError(f"{show(chain)} held a certificate and its key, and holds none now", chain)
        except CertificateError as problem:
            problems.append(problem)
        if certificate is not None:
            certificates.append(certificate)
    return certificates, problems


def _files(folder: str) -> tuple[Files, list[CertificateError]]:
    """By folder and name, the files that may be certificates or keys."""
    files: Files = {}
    problems: list[CertificateError] = []
    left = MOST
    waiting = [(folder, 1)]
    while waiting:
        path, deeper = waiting.pop(0)
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            problem = CertificateError(
                f"the folder {show(path)} can't be read: {(error.strerror or str(error)).lower()}", path
            )
            if path == folder:
                raise problem from None
            problems.append(problem)
            continue
        here = files[path] = {}
        for name in names:
            if name.startswith("."):
                continue
            if not left:
                problems.append(CertificateError(f"the folder {show(folder)} has over {MOST} files", folder))
                return files, problems
            left -= 1
            full = os.path.join(path, name)
            try:
                status = os.stat(full)
            except OSError as error:
                if name.endswith(_LOOKED_AT):
                    why = (error.strerror or str(error)).lower()
                    problems.append(CertificateError(f"{show(full)} can't be read: {why}", full))
                continue
            if stat.S_ISDIR(status.st_mode):
                if deeper:
                    waiting.append((full, 1 if deeper == 1 and name == "live" and path == folder else 0))
            elif stat.S_ISREG(status.st_mode) and name.endswith(_LOOKED_AT):
                here[name] = stamp_of(status)
    return files, problems


def _pairs(files: Files) -> Iterator[tuple[str, str | None, tuple[Stamp, Stamp]]]:
    """Chain and key that belong together by their names; ``None`` for a key that is in the chain's file, or nowhere."""
    for folder, names in files.items():
        skipped = _PARTS if names.keys() >= _CERTBOT else frozenset()
        keys = {name: _key_of(name, names) for name in names if name.endswith(_CHAINS) and name not in skipped}
        taken = frozenset(keys.values())
        for name, key in keys.items():
            if name not in taken:
                path = None if key is None else os.path.join(folder, key)
                yield os.path.join(folder, name), path, (names[name], names[key or name])


def _key_of(name: str, names: dict[str, Stamp]) -> str | None:
    stem = name.rpartition(".")[0]
    for key in (*(stem + end for end in _KEYS), *_PLAIN_KEYS.get(stem, ())):
        if key in names and key != name:
            return key
    return None


def _is_meant(chain: str, key: str | None) -> bool:
    """Whether a file is a certificate to be served, as far as one can tell.

    :raises CertificateError: when it is one without a key, or can't be read.
    """
    data, _ = read_file(chain)
    if b"-----BEGIN CERTIFICATE-----" not in data and b"-----BEGIN " in data:
        return False
    if key is not None or has_key(data):
        return True
    if _is_authority(certificates_in(data, chain)[0]):
        return False
    beside = os.path.splitext(chain)[0] + ".key"
    raise CertificateError(f"{show(chain)} has no key: there is none in it, and no {show(beside)} beside it", chain)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
