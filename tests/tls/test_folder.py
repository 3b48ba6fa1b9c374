"""Which files of a folder belong together."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from revproxy.tls import folder as module
from revproxy.tls.certificate import LARGEST, CertificateError
from revproxy.tls.folder import fingerprint, scan
from tests.certificates import Certified, authority

ROOT = authority()
MIDDLE = ROOT.issues(authority=True, called="Middle CA")
A = MIDDLE.issues("a.example")
B = MIDDLE.issues("b.example")


def put(folder: Path, **files: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def whole(made: Certified) -> bytes:
    return made.key_pem() + made.chain_pem


def found(folder: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    certificates, problems = scan(str(folder))
    for problem in problems:
        assert problem.source.startswith(str(folder))
    return [one.names for one in certificates], [str(problem).replace(f"{folder}/", "") for problem in problems]


@pytest.mark.parametrize(
    "names",
    [
        ("a.pem", "a.key"),
        ("a.crt", "a.key"),
        ("a.cer", "a.key"),
        ("a.example+2.pem", "a.example+2-key.pem"),
        ("a.pem", "a.key.pem"),
        ("a.crt", "a.privkey"),
        ("a.pem", "a.privkey.pem"),
        ("a.example.crt", "a.example.key"),
        ("cert.pem", "key.pem"),
        ("cert.pem", "privkey.pem"),
        ("fullchain.pem", "privkey.pem"),
        ("tls.crt", "tls.key"),
    ],
)
def test_pairs(tmp_path, names) -> None:
    put(tmp_path, **dict(zip(names, (A.chain_pem, A.key_pem()), strict=True)))
    assert found(tmp_path) == ([("a.example",)], [])


def test_one_file_for_all(tmp_path) -> None:
    put(tmp_path, **{"b.pem": whole(B), "a.crt": whole(A)})
    assert found(tmp_path) == ([("a.example",), ("b.example",)], [])


def test_what_is_nobodys_fault(tmp_path) -> None:
    put(
        tmp_path,
        **{
            "a.pem": whole(A),
            "README": b"words",
            "notes.txt": whole(B),
            "account.key": B.key_pem(),
            "account.pem": B.key_pem(),
            "ca.pem": ROOT.pem,
            "ca.crt": ROOT.pem,
            "x.csr": b"-----BEGIN CERTIFICATE REQUEST-----",
            "dh.pem": b"-----BEGIN DH PARAMETERS-----",
            ".b.pem": whole(B),
        },
    )
    (tmp_path / ".hidden").mkdir()
    put(tmp_path / ".hidden", **{"b.pem": whole(B)})
    assert found(tmp_path) == ([("a.example",)], [])


def test_what_is_told(tmp_path) -> None:
    put(
        tmp_path,
        **{
            "a.pem": whole(A),
            "b.crt": B.pem,
            "c.pem": b"garbage",
            "d.pem": A.pem,
            "d.key": B.key_pem(),
            "e.pem": bytes(LARGEST + 1),
        },
    )
    (tmp_path / "f.pem").symlink_to(tmp_path / "nothing")
    names, problems = found(tmp_path)
    assert names == [("a.example",)]
    assert sorted(problems) == [
        '"b.crt" has no key: there is none in it, and no "b.key" beside it',
        '"c.pem" has no certificate in PEM form ("-----BEGIN CERTIFICATE-----")',
        '"e.pem" is over 1 MB',
        '"f.pem" can\'t be read: no such file or directory',
        'the key in "d.key" is not that of the first certificate in "d.pem"',
    ]


def certbot(folder: Path) -> None:
    for made, name in ((A, "a.example"), (B, "b.example")):
        archive = folder / "archive" / name
        put(archive, **{"cert1.pem": made.pem, "chain1.pem": MIDDLE.pem, "fullchain1.pem": made.chain_pem})
        put(archive, **{"privkey1.pem": made.key_pem()})
        live = folder / "live" / name
        put(live, README=b"words")
        for part in ("cert", "chain", "fullchain", "privkey"):
            (live / f"{part}.pem").symlink_to(f"../../archive/{name}/{part}1.pem")
    put(folder / "live", README=b"words")
    put(folder / "keys", **{"0000_key-certbot.pem": A.key_pem()})
    put(folder / "csr", **{"0000_csr-certbot.pem": b"-----BEGIN CERTIFICATE REQUEST-----"})


@pytest.mark.parametrize(("under", "names"), [("", "ab"), ("live", "ab"), ("live/b.example", "b")])
def test_certbots_folders(tmp_path, under, names) -> None:
    certbot(tmp_path)
    certificates, problems = scan(str(tmp_path / under))
    assert [one.names for one in certificates] == [(f"{name}.example",) for name in names]
    assert [os.path.basename(one.chain) for one in certificates] == ["fullchain.pem"] * len(names)
    assert problems == []


def test_folders_are_not_followed_for_ever(tmp_path) -> None:
    put(tmp_path, **{"a.pem": whole(A)})
    (tmp_path / "live").symlink_to(tmp_path)
    put(tmp_path / "one" / "two", **{"b.pem": whole(B)})
    certificates, problems = scan(str(tmp_path))
    assert [one.names for one in certificates] == [("a.example",)] * 3 and problems == []


def test_a_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(CertificateError, match="can't be read: no such file or directory"):
        scan(str(tmp_path / "none"))
    with pytest.raises(CertificateError):
        fingerprint(str(tmp_path / "none"))


def test_too_many_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    put(tmp_path, **{"a.pem": whole(A), "b.pem": whole(B)})
    assert len(scan(str(tmp_path))[0]) == 2 and scan(str(tmp_path))[1] == []
    put(tmp_path, **{"c.pem": whole(A)})
    certificates, (problem,) = scan(str(tmp_path))
    assert len(certificates) == 2 and "has over 2 files" in str(problem)


def test_an_unchanged_folder_is_only_looked_at(tmp_path, monkeypatch) -> None:
    put(tmp_path, **{"a.pem": whole(A), "b.crt": B.chain_pem, "b.key": B.key_pem()})
    before = fingerprint(str(tmp_path))
    certificates, _ = scan(str(tmp_path))
    assert fingerprint(str(tmp_path)) == before
    monkeypatch.setattr(module, "read_pair", None)
    assert scan(str(tmp_path), certificates)[0] == certificates
    assert fingerprint(str(tmp_path)) == before
    monkeypatch.undo()
    put(tmp_path, **{"b.key": B.key_pem() + b"\n"})
    assert fingerprint(str(tmp_path)) != before
    again, _ = scan(str(tmp_path), certificates)
    assert again[0] is certificates[0] and again[1] is not certificates[1]


@pytest.mark.parametrize("change", ["replace", "remove", "add", "mode"])
def test_every_change_shows(tmp_path, change) -> None:
    put(tmp_path, **{"a.pem": whole(A)})
    before = fingerprint(str(tmp_path))
    if change == "replace":
        shutil.copy2(tmp_path / "a.pem", tmp_path / ".new")
        os.replace(tmp_path / ".new", tmp_path / "a.pem")
    elif change == "remove":
        (tmp_path / "a.pem").unlink()
    elif change == "add":
        put(tmp_path, **{"b.pem": whole(A)})
    else:
        (tmp_path / "a.pem").chmod(0o600 if (tmp_path / "a.pem").stat().st_mode & 0o044 else 0o644)
    assert fingerprint(str(tmp_path)) != before
