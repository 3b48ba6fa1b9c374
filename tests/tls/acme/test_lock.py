"""One at a time in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.tls.acme.lock import FolderLock

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def taken(lock: FolderLock) -> tuple[Deferred[None], list[Any]]:
    told: list[Any] = []
    taking = Deferred.fromCoroutine(lock.take())
    taking.addBoth(told.append)
    return taking, told


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    clock = Clock()
    path = str(tmp_path / "lock")
    first, second, third = (FolderLock(path, clock) for _ in range(3))
    assert taken(first)[1] == [None]
    _, told = taken(second)
    clock.pump([1.0] * 5)
    assert told == []
    first.release()
    first.release()
    clock.pump([1.0])
    assert told == [None]
    waiting, told = taken(third)
    waiting.cancel()
    assert told[0].check(CancelledError) and clock.getDelayedCalls() == []
    third.release()
    second.release()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_process_that_is_killed_gives_it_back(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        clock = Clock()
        lock = FolderLock(path, clock)
        _, told = taken(lock)
        clock.pump([1.0] * 3)
        assert told == []
        holder.kill()
        holder.wait()
    clock.pump([1.0])
    assert told == [None]
    lock.release()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    _, told = taken(FolderLock(str(tmp_path / "gone" / "lock"), Clock()))
    assert told[0].check(FileNotFoundError)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    _, told = taken(FolderLock(str(tmp_path / "lock"), Clock()))
    assert told[0].check(OSError) and not (tmp_path / "other").exists()


@implementer(IReactorThreads)
class Threads(Clock):
    """A reactor whose threads end when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[Callable[[], None]] = []
        self.results: list[Any] = []

    def getThreadPool(self) -> Threads:
        return self

    def callInThreadWithCallback(self, told: Any, work: Any, *args: Any) -> None:
        def run() -> None:
            try:
                result = work(*args)
            except Exception:
                told(False, Failure())
            else:
                self.results.append(result)  # or the collector would close it
                told(True, result)

        self.work.append(run)

    def callFromThread(self, call: Any, *args: Any) -> None:
        call(*args)


@pytest.mark.parametrize("path", ["lock", "gone/lock"])
def test_what_a_thread_gets_after_the_end_is_given_back(tmp_path: Path, path: str) -> None:
    reactor = Threads()
    lock = FolderLock(str(tmp_path / path), reactor)
    waiting, told = taken(lock)
    waiting.cancel()
    lock.release()
    assert told[0].check(CancelledError)
    reactor.work.pop()()  # the thread was not to be stopped
    if path == "lock":
        assert taken(FolderLock(str(tmp_path / path), Clock()))[1] == [None]
