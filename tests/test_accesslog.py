"""The access log: its lines, its thread, its bounds, its file."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from revproxy.accesslog import AccessLog, Record, format_combined, format_json, install_reopen_signal
from revproxy.accesslog_writer import Order, Writer

WHEN = 1795309488.123  # 22 November 2026, 01:04:48.123 UTC


def make(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "time": WHEN,
        "client": "192.0.2.7",
        "method": b"GET",
        "scheme": b"https",
        "host": b"example.com",
        "target": b"/a?b=1",
        "version": 11,
        "status": 200,
        "sent": 512,
        "received": 7,
        "request_id": b"5f0c",
        "route": "api",
        "upstream": "up",
        "backend": "tcp:127.0.0.1:9000",
        "connect": None,
        "first_byte": 0.0125,
        "total": 1.5,
        "fault": "",
        "detail": "not shown",
        "retries": 1,
        "referer": b"http://example.org/",
        "user_agent": b"curl/8",
    }
    return Record(**(values | changes))


class Reactor(Clock):
    """A Clock that also takes calls from threads; :meth:`serve` runs the next ``count`` of them."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()

    def callFromThread(self, call: Callable[..., Any], /, *args: Any) -> None:
        self.from_threads.put((call, args))

    def serve(self, count: int = 1) -> None:
        for _ in range(count):
            call, args = self.from_threads.get(timeout=10)
            call(*args)

    def finish(self, done: Deferred[None]) -> None:
        while not done.called:
            self.serve()


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What was said on Twisted's log."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event["log_namespace"].startswith("revproxy"):
            lines.append(event["log_format"].format(**event))

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


def lines_of(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines()


# -- lines --


def test_combined() -> None:
    assert format_combined(make()) == (
        '192.0.2.7 - - [22/Nov/2026:01:04:48 +0000] "GET /a?b=1 HTTP/1.1" 200 512 "http://example.org/" "curl/8"'
    )


def test_tls_is_in_json_where_there_is_some() -> None:
    tls = {"tls_version": "TLSv1.3", "tls_client_subject": 'CN=a"\n\u00e4'}
    record = make(**tls)
    assert json.loads(format_json(record)) == json.loads(format_json(make())) | tls
    assert format_json(record).isprintable()
    assert format_json(record).isascii()
    assert format_combined(record) == format_combined(make())
    assert "tls_client_subject" not in format_json(make(tls_version="TLSv1.2"))


def test_combined_absent() -> None:
    line = format_combined(make(client="", method=b"", target=b"", status=0, sent=0, referer=b"", user_agent=b""))
    assert line == '- - - [22/Nov/2026:01:04:48 +0000] "-" 000 0 "-" "-"'


def test_combined_half_a_request_line() -> None:
    assert '"PUT - HTTP/2.0"' in format_combined(make(method=b"PUT", target=b"", version=20))
    assert '"- /x HTTP/1.0"' in format_combined(make(method=b"", target=b"/x", version=10))


def test_combined_escapes() -> None:
    line = format_combined(
        make(client="::1 x", target=b'/"\n b', referer=b"\x1b[2J\\", user_agent=b'"\r\n\x7f\xff "ok')
    )
    assert line.startswith(r"::1\x20x - - ")
    assert r'"GET /\x22\x0a\x20b HTTP/1.1" 200 512 "\x1b[2J\x5c" "\x22\x0d\x0a\x7f\xff \x22ok"' in line


def test_json() -> None:
    line = format_json(make())
    assert json.loads(line) == {
        "time": "2026-11-22T01:04:48.123Z",
        "client": "192.0.2.7",
        "method": "GET",
        "scheme": "https",
        "host": "example.com",
        "path": "/a?b=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes": 512,
        "received": 7,
        "request_id": "5f0c",
        "route": "api",
        "upstream": "up",
        "backend": "tcp:127.0.0.1:9000",
        "connect_ms": None,
        "first_byte_ms": 12.5,
        "total_ms": 1500,
        "fault": "",
        "detail": "not shown",
        "retries": 1,
        "referer": "http://example.org/",
        "user_agent": "curl/8",
    }


hostile = st.binary(max_size=40) | st.sampled_from(
    [b'"', b"\\", b'\\"', b"\n", b"\r\n", b"\x1b]0;x\x07", b"\x9b2J", b"\x7f"]
)
words = st.text(alphabet=[*'aZ0-. "\\\n\r\t\x1b\x7f\x9b\u00e9\u2028\u202e', "\ud800", "\U0001f600"], max_size=20)
records = st.builds(
    make,
    time=st.floats(0, 4e9),
    client=words,
    method=hostile,
    scheme=hostile,
    host=hostile,
    target=hostile,
    request_id=hostile,
    route=words,
    upstream=words,
    backend=words,
    connect=st.none() | st.floats(0, 1e6),
    total=st.floats(0, 1e6),
    fault=words,
    referer=hostile,
    user_agent=hostile,
)


def check_line(line: str) -> None:
    assert line.isascii()
    assert line.isprintable()
    assert len(line.splitlines()) == 1


@given(records)
def test_combined_is_one_printable_line_of_nine_parts(record: Record) -> None:
    line = format_combined(record)
    check_line(line)
    assert line.count('"') == 6
    before, request, between, referer, space, agent, after = line.split('"')
    assert (len(before.split(" ")), len(between.split(" ")), space, after) == (6, 4, " ", "")
    assert len(request.split(" ")) == (3 if record.method or record.target else 1)
    for shown, value in ((referer, record.referer), (agent, record.user_agent)):
        assert shown.encode().decode("unicode_escape").encode("latin-1") == (value or b"-")


@given(records)
def test_json_is_one_printable_line_and_loses_nothing(record: Record) -> None:
    line = format_json(record)
    check_line(line)
    read = json.loads(line)
    assert len(read) == 22 and read["detail"] == record.detail
    for key in ("method", "scheme", "host", "request_id", "referer", "user_agent"):
        assert read[key].encode("latin-1") == getattr(record, key)
    assert read["path"].encode("latin-1") == record.target
    assert [read[key] for key in ("client", "route", "upstream", "backend", "fault")] == [
        record.client,
        record.route,
        record.upstream,
        record.backend,
        record.fault,
    ]


# -- batches and the thread --


def test_records_are_written_in_order_after_an_interval(reactor: Reactor, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "json", reactor)
    for status in (200, 201, 202):
        log.log(make(status=status))
    assert len(reactor.getDelayedCalls()) == 1
    assert not path.exists()
    reactor.advance(0.2)
    assert not reactor.getDelayedCalls()
    log.log(make(status=203))
    reactor.finish(log.stop())
    assert [json.loads(line)["status"] for line in lines_of(path)] == [200, 201, 202, 203]
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    assert not reactor.getDelayedCalls()


def test_a_full_batch_does_not_wait_for_the_timer(reactor: Reactor, tmp_path: Path) -> None:
    written = threading.Semaphore(0)
    log = AccessLog(str(tmp_path / "access.log"), "combined", reactor)

    def write(fd: int, data: bytes) -> int:
        written.release(data.count(b"\n"))
        return len(data)

    log._writer._os_write = write
    record = make()
    for _ in range(512 + 100):
        log.log(record)
    for _ in range(512):
        assert written.acquire(timeout=10)
    assert not written.acquire(blocking=False)
    assert len(reactor.getDelayedCalls()) == 1
    reactor.finish(log.stop())
    assert log._writer.taken == 612


def test_stop_without_a_record(reactor: Reactor, tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"), "combined", reactor)
    assert log.stop().called
    assert log.stop().called
    assert not (tmp_path / "access.log").exists()


def test_every_stop_fires_and_later_records_are_passed_over(reactor: Reactor, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "combined", reactor)
    log.log(make())
    stops = [log.stop(), log.stop()]
    assert [done.called for done in stops] == [False, False]
    log.log(make())
    reactor.finish(stops[1])
    assert [done.called for done in stops] == [True, True]
    assert log.stop().called
    log.log(make())
    assert not reactor.getDelayedCalls()
    assert len(lines_of(path)) == 1
    assert log._batch == []


def test_start_says_at_once_that_a_path_is_wrong(reactor: Reactor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog(str(tmp_path / "absent" / "access.log"), "combined", reactor).start()


def test_standard_output(reactor: Reactor, capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-", "combined", reactor)
    log.log(make())
    log.reopen()
    reactor.finish(log.stop())
    os.write(1, b"still open\n")
    assert capfd.readouterr().out == format_combined(make()) + "\nstill open\n"


def test_what_does_not_fit_is_dropped_and_said_once(reactor: Reactor, tmp_path: Path, said: list[str]) -> None:
    stuck, free = threading.Event(), threading.Event()
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "json", reactor, capacity=10)

    def write(fd: int, data: bytes) -> int:
        stuck.set()
        assert free.wait(10)
        return os.write(fd, data)

    log._writer._os_write = write
    for round_ in range(3):
        for i in range(6):
            log.log(make(retries=10 * round_ + i))
        reactor.advance(0.2)
        assert stuck.wait(10)
    assert said == []
    assert len(reactor.getDelayedCalls()) == 1  # waits for room, to say how many
    free.set()
    while log._waiting():
        log._thread.join(0.001)  # type: ignore[union-attr]  # it was started above
    reactor.advance(0.2)
    assert said == ["access log: the writer fell behind; 8 records dropped"]
    assert not reactor.getDelayedCalls()
    log.log(make(retries=99))
    reactor.finish(log.stop())
    kept = [json.loads(line)["retries"] for line in lines_of(path)]
    assert kept == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 99]
    assert len(said) == 1


def test_a_stuck_writer_does_not_hold_up_the_end(reactor: Reactor, tmp_path: Path, said: list[str]) -> None:
    free = threading.Event()
    log = AccessLog(str(tmp_path / "access.log"), "combined", reactor, patience=5.0)
    log._writer._os_write = lambda fd, data: (free.wait(10), len(data))[1]
    log.log(make())
    fired: list[None] = []
    log.stop().addCallback(fired.append)
    reactor.advance(4.9)
    assert fired == []
    reactor.advance(0.1)
    assert fired == [None]
    assert said == ["access log: the writer is stuck; 1 records are lost"]
    free.set()
    reactor.serve()
    assert len(said) == 1


def test_no_thread_to_be_had(
    reactor: Reactor, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "access.log"
    log = AccessLog(str(path), "combined", reactor)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        log.log(make())
        reactor.advance(0.2)
    assert said == ["access log: can't start new thread"]
    log.log(make())
    reactor.finish(log.stop())
    assert len(lines_of(path)) == 2


def test_a_writer_that_died_is_started_again(
    reactor: Reactor, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "json", reactor)

    def die(fd: int, data: bytes) -> int:
        log._writer._os_write = os.write
        raise MemoryError

    log._writer._os_write = die
    log.log(make(status=200))
    reactor.advance(0.2)
    log._thread.join(10)  # type: ignore[union-attr]  # it was started above
    reactor.serve()
    assert said == ["access log: the writer ended"]
    log.log(make(status=201))
    reactor.finish(log.stop())
    assert [json.loads(line)["status"] for line in lines_of(path)] == [200, 201]


# -- the file --


def test_rotation(reactor: Reactor, tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path), "json", reactor)
    log.start()
    log.log(make(status=200))
    reactor.advance(0.2)
    while log._waiting():
        log._thread.join(0.001)  # type: ignore[union-attr]  # it was started above
    path.rename(old)
    log.reopen()
    log.log(make(status=201))
    reactor.finish(log.stop())
    assert [json.loads(line)["status"] for line in lines_of(old)] == [200]
    assert [json.loads(line)["status"] for line in lines_of(path)] == [201]


class Disk:
    """Stands for ``os.write``: takes ``room`` bytes, then says that the disk is full."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = os.write(fd, data[: self.room])
        self.room -= taken
        return taken


def run_writer(path: Path, disk: Disk, orders: list[Order | Callable[[], None]]) -> tuple[Writer, list[str]]:
    """Run the loop over these orders in this thread; a callable is called between two orders."""

    class Orders:
        def get(self, timeout: float | None = None) -> Order:
            while callable(order := orders.pop(0)):
                order()
            return order

    said: list[str] = []
    writer = Writer(str(path), lambda r: f"line {r.status}", Orders(), said.append, 1.0, disk.write)  # type: ignore[arg-type]  # only get() is used
    writer.run()
    assert orders == []
    return writer, said


def test_a_full_disk_is_said_once_and_tried_again(tmp_path: Path) -> None:
    path, disk = tmp_path / "access.log", Disk(12)

    def more_room() -> None:
        disk.room = 10_000

    orders: list[Any] = [
        [make(status=1), make(status=2)],
        [make(status=3)],
        [make(status=4)],
        more_room,
        [make(status=5)],
    ]
    writer, said = run_writer(path, disk, [*orders, "stop"])
    assert lines_of(path) == [f"line {n}" for n in range(1, 6)]
    assert said == [
        f"can't write to {path}: No space left on device; trying again until it works",
        f"{path} is written again",
    ]
    assert writer.taken == 5


def test_a_cut_line_is_repeated_whole_in_the_next_file(tmp_path: Path) -> None:
    path, old, disk = tmp_path / "access.log", tmp_path / "old", Disk(10)

    def rotate() -> None:
        path.rename(old)
        disk.room = 10_000

    run_writer(path, disk, [[make(status=1), make(status=2)], rotate, "reopen", "stop"])
    assert old.read_text() == "line 1\nlin"
    assert path.read_text() == "line 2\n"


def test_what_a_full_disk_costs_is_said_at_the_end(reactor: Reactor, tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "combined", reactor)
    log._writer._os_write = Disk(0).write
    log.log(make())
    log.log(make())
    reactor.finish(log.stop())
    assert said == [
        f"access log: can't write to {path}: No space left on device; trying again until it works",
        "access log: 2 records could not be written",
    ]


def test_the_old_file_stays_in_use_when_a_new_one_cannot_be_opened(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "access.log"
    moved = tmp_path / "moved"
    orders: list[Any] = [[make(status=1)], lambda: folder.rename(moved), "reopen", [make(status=2)], "stop"]
    _, said = run_writer(path, Disk(1000), orders)
    assert lines_of(moved / "access.log") == ["line 1", "line 2"]
    assert said == [f"can't reopen {path}: No such file or directory; the old file stays in use"]


def test_a_retry_needs_no_order(tmp_path: Path) -> None:
    path, disk = tmp_path / "access.log", Disk(0)
    timeouts: list[float | None] = []

    class Orders:
        def get(self, timeout: float | None = None) -> Order:
            timeouts.append(timeout)
            if len(timeouts) == 1:
                return [make()]
            if len(timeouts) == 2:
                disk.room = 1000
                raise queue.Empty
            return "stop"

    Writer(str(path), format_combined, Orders(), lambda text: None, 1.0, disk.write).run()  # type: ignore[arg-type]  # only get() is used
    assert timeouts == [None, 1.0, None]
    assert len(lines_of(path)) == 1


def test_a_record_that_cannot_be_formatted_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    orders.put([make(), make(sent="many"), make(sent=None), make()])
    orders.put("stop")
    said: list[str] = []
    writer = Writer(str(path), format_combined, orders, said.append, 1.0)
    writer.run()
    assert len(lines_of(path)) == 2
    assert len(said) == 1
    assert "can't be formatted" in said[0]
    assert writer.taken == 4


# -- the signal --


@contextlib.contextmanager
def handler(of: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, of)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


class Reopened(AccessLog):
    """Counts."""

    count = 0

    def reopen(self) -> None:
        type(self).count += 1


def test_the_signal_reopens_and_calls_the_handler_before(reactor: Reactor) -> None:
    calls: list[int] = []

    class Log(Reopened):
        count = 0

    with handler(lambda number, frame: calls.append(number)):
        first = install_reopen_signal(Log("-", "json", reactor))
        second = install_reopen_signal(Log("-", "json", reactor))
        signal.raise_signal(signal.SIGUSR1)
        assert (Log.count, calls) == (2, [signal.SIGUSR1])
        first()  # not the last to come: the chain has to hold
        signal.raise_signal(signal.SIGUSR1)
        assert (Log.count, len(calls)) == (3, 2)
        second()
        signal.raise_signal(signal.SIGUSR1)
        assert (Log.count, len(calls)) == (3, 3)


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_the_signal_where_there_was_no_handler(reactor: Reactor, before: Any) -> None:
    class Log(Reopened):
        count = 0

    with handler(before):
        uninstall = install_reopen_signal(Log("-", "json", reactor))
        signal.raise_signal(signal.SIGUSR1)
        assert Log.count == 1
        uninstall()
        assert signal.getsignal(signal.SIGUSR1) is before


def test_a_real_signal_reopens_a_real_file(reactor: Reactor, tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with handler(signal.SIG_IGN):
        log = AccessLog(str(path), "json", reactor)
        log.start()
        uninstall = install_reopen_signal(log)
        path.rename(old)
        os.kill(os.getpid(), signal.SIGUSR1)
        log.log(make())
        reactor.finish(log.stop())
        uninstall()
    assert (len(lines_of(old)), len(lines_of(path))) == (0, 1)


def test_off_the_main_thread_nothing_is_installed(reactor: Reactor) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    result: list[Callable[[], None]] = []
    log = AccessLog("-", "json", reactor)
    thread = threading.Thread(target=lambda: result.append(install_reopen_signal(log)))
    thread.start()
    thread.join(10)
    result[0]()
    assert signal.getsignal(signal.SIGUSR1) is before
