"""The certificate for localhost."""

from __future__ import annotations

import os
import ssl
import stat
import time

import pytest
from twisted.logger import globalLogPublisher

from revproxy.tls import internal
from revproxy.tls.certificate import CertificateError, read_pair
from revproxy.tls.context import certificate_context, initial_context
from revproxy.tls.internal import CHAIN, DAYS, KEY, RENEWED, ensure
from tests.certificates import Certified
from tests.tls.handshake import Client, shake

DAY = 86400.0
NOW = time.time()


def test_it_is_made_once_and_renewed_in_time(tmp_path) -> None:
    folder = tmp_path / "a" / "b"
    said = []
    globalLogPublisher.addObserver(said.append)
    try:
        assert ensure(str(folder), NOW)
        assert not ensure(str(folder), NOW)
    finally:
        globalLogPublisher.removeObserver(said.append)
    (event,) = [event for event in said if event["log_namespace"] == internal.__name__]
    text = event["log_format"].format(**event)
    assert "for development only" in text and f"--cacert {folder / CHAIN}" in text
    first = read_pair(str(folder / CHAIN), str(folder / KEY))
    assert first.names == ("localhost", "*.localhost", "127.0.0.1", "::1") and first.kind == "ecdsa"
    assert not ensure(str(folder), NOW + (DAYS - RENEWED - 1) * DAY)
    assert ensure(str(folder), NOW + (DAYS - RENEWED) * DAY + 1)
    second = read_pair(str(folder / CHAIN), str(folder / KEY))
    assert second.not_after > first.not_after and sorted(os.listdir(folder)) == [KEY, CHAIN]


def test_nobody_else_reads_the_key(tmp_path, monkeypatch) -> None:
    modes = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: (modes.append(stat.S_IMODE(os.stat(old).st_mode)), replace(old, new))
    )
    mask = os.umask(0o022)
    try:
        ensure(str(tmp_path), NOW)
    finally:
        os.umask(mask)
    assert modes == [0o600, 0o644] and stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600


def test_the_operators_own_comes_first(tmp_path) -> None:
    Certified("localhost", end=5).write(tmp_path, "own")
    assert not ensure(str(tmp_path), NOW)
    assert ensure(str(tmp_path), NOW + 6 * DAY)


def test_what_is_half_written_is_made_again(tmp_path) -> None:
    ensure(str(tmp_path), NOW)
    (tmp_path / KEY).write_bytes(Certified("x").key_pem())
    assert ensure(str(tmp_path), NOW)
    assert read_pair(str(tmp_path / CHAIN), str(tmp_path / KEY)).covers("localhost")


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CertificateError, match="no space left on device"):
        ensure(str(tmp_path), NOW)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_is_told_to_trusts_it(tmp_path, name) -> None:
    ensure(str(tmp_path), NOW)
    certificate = read_pair(str(tmp_path / CHAIN), str(tmp_path / KEY))
    client = Client(ssl.create_default_context(cafile=certificate.chain), name)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = initial_context("modern", 29).wrap_bio(incoming, outgoing, server_side=True)
    server.context = certificate_context(certificate, "modern", ("h2",))
    shake(client, server, incoming, outgoing)
