"""The files of ACME."""

from __future__ import annotations

import os
import ssl
import stat
import time
from pathlib import Path

import pytest

from revproxy.tls.acme import storage as module
from revproxy.tls.acme.certificates import answering, new_key
from revproxy.tls.acme.storage import Account, Storage
from tests.tls.acme.authority import proves

DIRECTORY = "https://acme.test/dir"


@pytest.fixture
def kept(tmp_path: Path) -> Storage:
    made = Storage(str(tmp_path), "a.test", DIRECTORY)
    made.prepare()
    made.prepare()
    return made


def test_an_account_is_kept_by_authority(kept: Storage, tmp_path: Path) -> None:
    first = kept.account()
    assert first.url == "" and first.contact == ()
    kept.keep(Account(first.key, "https://acme.test/account/1", ("mailto:me@a.test",)))
    again = Storage(str(tmp_path), "b.test", DIRECTORY).account()
    assert again.key.thumbprint == first.key.thumbprint
    assert (again.url, again.contact) == ("https://acme.test/account/1", ("mailto:me@a.test",))
    other = Storage(str(tmp_path), "a.test", "https://other.test/dir")
    other.prepare()
    assert other.account().key.thumbprint != first.key.thumbprint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"account": 7}', '{"account": "x", "contact": 7}', "[" * 100_000]
)
def test_an_account_that_is_forgotten_is_registered_again(kept: Storage, text: str) -> None:
    key = kept.account().key
    (next(kept.private.glob("*/key.pem")).parent / "account.json").write_text(text)
    found = kept.account()
    assert found.url == "" and found.key.thumbprint == key.thumbprint


def test_a_key_that_can_not_be_used_is_not_replaced(kept: Storage) -> None:
    kept.account()
    path = next(kept.private.glob("*/key.pem"))
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match=r"key\.pem.* can't be used"):
        kept.account()
    assert path.read_bytes() == b"none"


def test_a_certificate_is_replaced_whole_or_not_at_all(kept: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.install(b"first")
    assert stat.S_IMODE(kept.certificate.stat().st_mode) == 0o600

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError):
        kept.install(b"second")
    assert kept.certificate.read_bytes() == b"first"
    assert sorted(os.listdir(kept.folder)) == [".acme", "a.test.acme.pem"]


def test_a_link_is_replaced_and_not_written_through(kept: Storage, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    kept.certificate.symlink_to(target)
    kept.install(b"new")
    assert target.read_bytes() == b"precious" and kept.certificate.read_bytes() == b"new"


def test_a_challenge_s_key_is_on_disk_only_while_it_is_loaded(kept: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(context: ssl.SSLContext, path: str) -> None:
        seen.append((path, stat.S_IMODE(os.stat(path).st_mode)))
        load(context, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    context = kept.context(answering("a.test", "token.print", time.time()))
    monkeypatch.undo()
    assert proves(context, "a.test", "token.print") and not proves(context, "a.test", "token.other")
    assert not proves(context, "b.test", "token.print")
    ((path, mode),) = seen
    assert mode == 0o600 and os.path.dirname(path) == str(kept.private) and not os.path.exists(path)
    with pytest.raises(ssl.SSLError):
        kept.context(new_key())
    assert [name for name in os.listdir(kept.private) if name.endswith(".new")] == []


def test_nothing_is_in_place(kept: Storage) -> None:
    assert kept.standing() is None
    kept.install(b"none")
    assert kept.standing() is None
    kept.certificate.unlink()
    kept.certificate.mkdir()
    with pytest.raises(OSError):
        kept.standing()
