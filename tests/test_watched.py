"""Files that are watched: what is read when, and what stays when a file is wrong."""

from __future__ import annotations

import os

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from revproxy import watched as module
from revproxy.config.errors import ConfigError, Problem
from revproxy.watched import EVERY, SETTLES, Watch, read_file
from tests.kit import logged


class Watched:
    """A file and its watch.

    :ivar found: what it held. :ivar failed: what was wrong. :ivar raises: what reading raises, in turn.
    """

    def __init__(self, path, text=b"one", **options):
        self.path = path
        path.write_bytes(text)
        self.clock = Clock()
        self.found = []
        self.failed = []
        self.raises = []
        self.meanwhile = None
        self.watch = Watch(str(path), self.read, self.clock, self.found.append, self.failed.append, **options)

    def start(self):
        assert self.watch.load() == self.path.read_bytes()
        self.watch.start()
        return self

    def read(self, path):
        if self.raises:
            raise self.raises.pop(0)
        data = read_file(path, 100)
        if self.meanwhile is not None:
            self.meanwhile()
        return data

    def settle(self):
        self.clock.pump([EVERY, SETTLES, EVERY])


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path / "f").start()


def test_a_change_is_read_when_it_has_settled(watched):
    watched.path.write_bytes(b"two!")
    watched.clock.advance(EVERY - 0.01)
    watched.clock.advance(0.01)
    assert watched.found == []
    watched.clock.advance(SETTLES)
    assert watched.found == [b"two!"]
    watched.settle()
    assert len(watched.found) == 1


def test_a_file_that_takes_its_place_is_seen(watched, tmp_path):
    (tmp_path / "g").write_bytes(b"new")
    os.replace(tmp_path / "g", watched.path)
    watched.settle()
    assert watched.found == [b"new"]


def test_the_same_size_and_time_are_seen_too(watched):
    before = watched.path.stat()
    watched.path.write_bytes(b"two")
    os.utime(watched.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    watched.settle()
    assert watched.found == [b"two"]


def test_a_link_that_is_switched_is_seen(tmp_path):
    for name, text in (("..1", b"one"), ("..2", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(text)
        os.utime(tmp_path / name / "f", (1, 1))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "f").symlink_to("..data/f")
    watched = Watched(tmp_path / "f").start()
    (tmp_path / "..tmp").symlink_to("..2")
    os.replace(tmp_path / "..tmp", tmp_path / "..data")
    watched.settle()
    assert watched.found == [b"two"]


@pytest.mark.parametrize("spoil", [os.unlink, lambda path: path.write_bytes(b"x" * 101)])
def test_what_is_wrong_is_told_once_until_it_is_right(watched, spoil):
    spoil(watched.path)
    watched.settle()
    watched.settle()
    (why,) = watched.failed
    assert why.startswith(f"{watched.path} can't be read: ")
    assert watched.found == []
    watched.path.write_bytes(b"well again")
    watched.settle()
    assert watched.found == [b"well again"]
    spoil(watched.path)
    watched.settle()
    assert watched.failed == [why, why]


def test_the_same_mistake_again_is_not_told_again_and_another_one_is(watched):
    problem = ConfigError([Problem(key="", text="wrong", line=1), Problem(key="", text="also", line=2)])
    watched.raises = [ValueError("bad"), ValueError("bad"), problem]
    for text in (b"2", b"22", b"222"):
        watched.path.write_bytes(text)
        watched.settle()
    assert watched.raises == []
    assert watched.failed == ["bad", "line 1: wrong (and 1 more)"]


def test_half_a_file_is_not_used(watched):
    watched.path.write_bytes(b"first half")
    watched.clock.advance(EVERY)
    watched.path.write_bytes(b"first half second")
    watched.clock.advance(SETTLES)
    assert watched.found == []
    watched.clock.advance(SETTLES)
    assert watched.found == [b"first half second"]


def test_a_writer_that_pauses_is_waited_for(watched):
    for number in range(1, 6):
        watched.path.write_bytes(b"line\n" * number)
        watched.clock.pump([0.2] * 3)
    assert watched.found == []
    watched.settle()
    assert watched.found == [b"line\n" * 5]


def test_a_change_holds_within_two_seconds(watched):
    watched.path.write_bytes(b"new")
    watched.clock.pump([0.05] * 39)
    assert watched.found == [b"new"]


def test_what_changes_while_it_is_read_is_not_used(watched):
    watched.path.write_bytes(b"first half")
    watched.clock.advance(EVERY)
    watched.meanwhile = lambda: watched.path.write_bytes(b"first half second")
    watched.clock.advance(SETTLES)
    watched.meanwhile = None
    assert watched.found == []
    watched.clock.advance(SETTLES)
    assert watched.found == [b"first half second"]


def test_a_change_that_is_taken_back_is_none(tmp_path):
    marks = iter("abaaaa")
    watched = Watched(tmp_path / "f", mark=lambda path: next(marks)).start()
    watched.clock.pump([EVERY, SETTLES, EVERY])
    assert watched.found == watched.failed == []
    assert list(marks) == ["a", "a"]


def test_it_is_looked_at_now_for_whoever_changed_it(watched):
    watched.path.write_bytes(b"two")
    Deferred.fromCoroutine(watched.watch.look_now())
    assert watched.found == [b"two"]
    watched.settle()
    assert watched.found == [b"two"]
    assert len(watched.clock.getDelayedCalls()) == 1


def test_what_changes_while_it_is_looked_at_now_is_read_again(watched):
    watched.path.write_bytes(b"two")
    watched.meanwhile = lambda: watched.path.write_bytes(b"three")
    Deferred.fromCoroutine(watched.watch.look_now())
    watched.meanwhile = None
    assert watched.found == [b"two"]
    watched.settle()
    assert watched.found == [b"two", b"three"]


def test_looks_come_one_after_the_other(watched, monkeypatch):
    looks = []

    def in_thread(reactor, seek, *args):
        looks.append((Deferred(), args))
        return looks[-1][0]

    monkeypatch.setattr(module, "in_thread", in_thread)
    watched.clock.advance(EVERY)
    now = Deferred.fromCoroutine(watched.watch.look_now())
    assert len(looks) == 1 and watched.clock.getDelayedCalls() == []
    looks[0][0].callback(((1,), b"two", ""))
    assert len(looks) == 2 and looks[1][1] == ((1,), (1,), True) and not now.called
    looks[1][0].callback(((1,), None, ""))
    assert now.called and watched.found == [b"two"]
    assert len(watched.clock.getDelayedCalls()) == 1


def test_a_look_that_finds_nothing_new_is_told_to_who_asks(tmp_path):
    same = []
    watched = Watched(tmp_path / "f", same=lambda: same.append(1), every=5.0).start()
    watched.clock.advance(4.9)
    assert same == []
    watched.clock.advance(0.1)
    assert same == [1]


def test_what_was_never_read_is_found_by_the_first_looks(tmp_path):
    watched = Watched(tmp_path / "f")
    watched.watch.start()
    watched.settle()
    assert watched.found == [b"one"]


def test_a_fault_of_ours_is_logged_once_and_it_is_read_again(watched):
    watched.raises = [RuntimeError("ours"), RuntimeError("ours")]
    watched.path.write_bytes(b"two")
    with logged("revproxy.watched") as lines:
        watched.clock.pump([EVERY, SETTLES, EVERY])
    assert watched.raises == [] and watched.failed == []
    assert len(lines) == 1 and "can't be looked at" in lines[0]
    watched.clock.advance(EVERY)
    assert watched.found == [b"two"]


def test_it_is_watched_until_it_is_stopped(watched):
    watched.watch.start()
    assert len(watched.clock.getDelayedCalls()) == 1
    watched.watch.close()
    watched.watch.close()
    assert watched.clock.getDelayedCalls() == []
    watched.path.write_bytes(b"two!")
    watched.settle()
    assert watched.found == []


def test_a_look_that_ends_after_the_watch_has_no_effect(watched, monkeypatch):
    looking = Deferred()
    monkeypatch.setattr(module, "in_thread", lambda *args: looking)
    watched.clock.advance(EVERY)
    watched.watch.close()
    looking.callback(((1,), b"late", ""))
    assert watched.found == [] and watched.clock.getDelayedCalls() == []
    watched.watch.start()
    assert len(watched.clock.getDelayedCalls()) == 1


def test_who_stops_it_when_told_is_not_called_again(watched):
    watched.watch._found = lambda value: watched.watch.close()
    watched.path.write_bytes(b"two")
    watched.settle()
    assert watched.clock.getDelayedCalls() == []


def test_what_can_not_be_read_is_an_error_at_the_start(tmp_path):
    for make, why in (
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b"x" * 101), "larger than 100"),
    ):
        watched = Watched(tmp_path / why.replace(" ", "-"))
        make(watched.path)
        with pytest.raises(ValueError, match=why) as refused:
            watched.watch.load()
        assert str(watched.path) in str(refused.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_file(str(tmp_path / "pipe"), 10)
