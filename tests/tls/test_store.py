"""The certificates of a folder, in and out of service while it changes."""

from __future__ import annotations

import os
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from revproxy.tls import store as module
from revproxy.tls.certificate import Certificate, CertificateError
from revproxy.tls.store import INTERVAL, CertificateStore
from revproxy.watched import SETTLES
from tests.certificates import Certified, authority
from tests.tls.handshake import hello

ROOT = authority()


class Watched:
    """A folder and its store. :ivar said: what was logged. :ivar made: the sources that contexts were made of."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.later = 0.0
        self.made: list[str] = []
        self.said: list[str] = []
        self.refuses = False
        self.meanwhile: Any = None
        self.store = CertificateStore(
            str(folder), self._context, reactor=self.clock, now=lambda: module.time.time() + self.later, **options
        )

    def _context(self, certificate: Certificate) -> ssl.SSLContext:
        self.made.append(os.path.basename(certificate.source))
        if self.refuses:
            raise CertificateError("OpenSSL does not like it", "another")
        if self.meanwhile is not None:
            self.meanwhile()
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def put(self, name: str, certified: Certified) -> None:
        temporary = self.folder / ".new"
        temporary.write_bytes(certified.key_pem() + certified.chain_pem)
        os.replace(temporary, self.folder / name)

    def turn(self) -> None:
        self.clock.pump([INTERVAL, SETTLES])

    def serves(self, name: str = "a.example") -> int | None:
        served = self.store.pick(hello(server_name=name))
        return None if served is None else served.certificate.serial

    def told(self) -> list[str]:
        said, self.said[:] = [text.replace(f"{self.folder}/", "") for text in self.said], []
        return said

    def _log(self, event: dict[str, Any]) -> None:
        if event["log_namespace"] == module.__name__:
            self.said.append(event["log_format"].format(**event))

    def __enter__(self) -> Watched:
        globalLogPublisher.addObserver(self._log)
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self._log)
        self.store.stop()
        assert not self.clock.getDelayedCalls()


@pytest.fixture
def watched(tmp_path):
    with Watched(tmp_path) as made:
        yield made


def test_the_life_of_a_certificate(watched) -> None:
    first, second = ROOT.issues("a.example"), ROOT.issues("a.example")
    watched.put("a.pem", first)
    watched.store.start()
    assert watched.serves() == first.certificate.serial_number
    (said,) = watched.told()
    assert said.startswith("certificate a.pem is served: ecdsa for a.example, to ")
    context = watched.store.pick(hello()).context
    watched.turn()
    # a new one for another name leaves it alone
    watched.put("b.pem", ROOT.issues("b.example"))
    watched.turn()
    assert watched.made == ["a.pem", "b.pem"] and watched.store.pick(hello()).context is context
    assert [one.names for one in watched.store.certificates] == [("a.example",), ("b.example",)]
    watched.told()
    watched.put("a.pem", second)
    watched.turn()
    assert watched.serves() == second.certificate.serial_number
    assert watched.store.pick(hello()).context is not context
    (said,) = watched.told()
    assert said.startswith("certificate a.pem is replaced: ")
    (watched.folder / "a.pem").unlink()
    watched.turn()
    assert watched.serves() == watched.serves("b.example")
    assert watched.told() == ["certificate a.pem is gone and no longer served"]
    assert watched.made == ["a.pem", "b.pem", "a.pem"]


def test_what_breaks_stays_in_service(watched) -> None:
    first, second = ROOT.issues("a.example"), ROOT.issues("a.example")
    watched.put("a.pem", first)
    watched.store.start()
    watched.told()
    for broken in (b"", second.pem, second.pem + first.key_pem()):
        (watched.folder / "a.pem").write_bytes(broken)
        watched.turn()
        watched.turn()
        assert watched.serves() == first.certificate.serial_number
        (said,) = watched.told()
        assert said.endswith("; what it held before stays in service")
    watched.put("a.pem", second)
    watched.turn()
    assert watched.serves() == second.certificate.serial_number
    watched.told()
    # broken again, it is told again
    (watched.folder / "a.pem").write_bytes(b"")
    watched.turn()
    assert len(watched.told()) == 1
    (watched.folder / "a.pem").unlink()
    watched.turn()
    assert watched.serves() is None
    assert watched.told() == ["certificate a.pem is gone and no longer served", "there is no certificate to serve"]


def test_what_openssl_refuses_does_not_replace_what_is_good(watched) -> None:
    first, second = ROOT.issues("a.example"), ROOT.issues("a.example")
    watched.put("a.pem", first)
    watched.store.start()
    watched.told()
    watched.refuses = True
    watched.put("a.pem", second)
    watched.turn()
    assert watched.serves() == first.certificate.serial_number
    assert watched.told() == ["OpenSSL does not like it; what it held before stays in service"]


def test_files_that_change_while_they_are_loaded(watched) -> None:
    first, second, third = (ROOT.issues("a.example") for _ in range(3))
    watched.put("a.pem", first)
    watched.store.start()
    watched.told()
    watched.put("a.pem", second)
    watched.meanwhile = lambda: watched.put("a.pem", third)
    watched.turn()
    assert watched.serves() == first.certificate.serial_number and watched.told() == []
    ensureDeferred(watched.store.rescan())
    # the context may be of either
    assert watched.serves() == first.certificate.serial_number
    assert watched.told() == ['"a.pem" is changing; what it held before stays in service']
    watched.meanwhile = None
    watched.turn()
    assert watched.serves() == third.certificate.serial_number


def test_a_folder_that_can_not_be_read_changes_nothing(watched) -> None:
    first = ROOT.issues("a.example")
    watched.put("a.pem", first)
    watched.store.start()
    watched.told()
    away = watched.folder.with_name("away")
    for _ in range(2):
        watched.folder.rename(away)
        watched.turn()
        watched.turn()
        assert watched.serves() == first.certificate.serial_number
        (said,) = watched.told()
        assert "can't be read" in said and said.endswith("; what was in service stays so")
        away.rename(watched.folder)
        watched.turn()
    assert watched.told() == [] and watched.made == ["a.pem"]


def test_a_folder_in_it_that_can_not_be_read_keeps_what_it_had(watched, monkeypatch) -> None:
    inner = watched.folder / "inner"
    inner.mkdir()
    watched.put("inner/a.pem", ROOT.issues("a.example"))
    watched.store.start()
    before, listdir = watched.serves(), os.listdir

    def refuse(path: Any) -> list[str]:
        if str(path) == str(inner):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    watched.turn()
    assert watched.serves() == before
    monkeypatch.undo()
    watched.turn()
    assert watched.serves() == before and watched.made == ["a.pem"]


def test_an_end_is_told_once_and_acted_on(watched) -> None:
    old, new = ROOT.issues("a.example", start=-1, end=10), ROOT.issues("a.example", start=-2, end=20)
    watched.put("old.pem", old)
    watched.put("new.pem", new)
    watched.store.start()
    assert watched.serves() == old.certificate.serial_number
    watched.told()
    for days, words in ((4, '"old.pem" expires at'), (11, '"old.pem" expired at'), (14, '"new.pem" expires at')):
        watched.later = days * 86400.0
        watched.turn()
        watched.turn()
        said = [text for text in watched.told() if "same names" not in text]
        assert len(said) == 1 and said[0].startswith(words)
    assert watched.serves() == new.certificate.serial_number
    assert watched.made == ["new.pem", "old.pem"]


def test_nothing_to_start_with(watched, tmp_path) -> None:
    with pytest.raises(CertificateError, match=r"has no certificate to serve$"):
        watched.store.start()
    (watched.folder / "a.pem").write_bytes(b"garbage")
    with pytest.raises(CertificateError, match=r"to serve: .* has no certificate in PEM form"):
        watched.store.start()
    assert watched.serves() is None
    watched.store.start(may_be_empty=True)
    watched.put("a.pem", ROOT.issues("a.example"))
    watched.turn()
    assert watched.serves() is not None


def test_a_folder_that_comes_later(tmp_path) -> None:
    with Watched(tmp_path / "later") as watched:
        with pytest.raises(CertificateError):
            watched.store.start()
        watched.store.start(may_be_empty=True)
        watched.folder.mkdir()
        watched.put("a.pem", ROOT.issues("a.example"))
        ensureDeferred(watched.store.rescan())
        assert watched.serves() is not None


def test_strict(tmp_path) -> None:
    with Watched(tmp_path, strict=True) as watched:
        watched.put("a.pem", ROOT.issues("a.example"))
        watched.store.start()
        assert watched.serves() is not None and watched.serves("b.example") is None


@implementer(IReactorThreads)
class Threaded(Clock):
    """Has a pool of one thread, and does what it asks for when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def getThreadPool(self) -> Threaded:
        return self

    def callInThreadWithCallback(self, told: Any, work: Any, *args: Any) -> None:
        def run() -> None:
            told(True, work(*args))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    def callFromThread(self, call: Any, *args: Any) -> None:
        self.asked.append((call, *args))


def test_the_folder_is_read_in_a_thread(tmp_path) -> None:
    threads = []

    def context(certificate: Certificate) -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    reactor = Threaded()
    store = CertificateStore(str(tmp_path), context, reactor=reactor)
    store.start(may_be_empty=True)
    ROOT.issues("a.example").write(tmp_path, "a")
    done: list[object] = []
    # two at once look one after the other
    for _ in range(2):
        ensureDeferred(store.rescan()).addCallback(done.append)
    assert len(threads) == 1 and threads[0] != threading.get_ident()
    assert store.certificates == () and done == []
    while reactor.asked:
        call, *args = reactor.asked.pop(0)
        call(*args)
    assert len(store.certificates) == 1 and done == [None, None] and len(threads) == 1
    store.stop()
