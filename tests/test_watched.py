"""Files that are watched: what is read when, and what stays when a file is wrong."""

from __future__ import annotations

import os

import pytest
from twisted.internet.task import Clock

from revproxy import watched as module
from revproxy.watched import WatchedFile, read_file
from tests.kit import logged


def read(data):
    if b"bad" in data:
        raise ValueError("it is bad")
    return data


class Watch:
    def __init__(self, path, text=b"one"):
        self.path = path
        path.write_bytes(text)
        self.clock = Clock()
        self.changes = []
        self.file = WatchedFile(str(path), read, self.clock, most=100, changed=self.changes.append)
        self.file.start()

    def settle(self):
        for _ in range(15):
            self.clock.advance(0.1)


def test_a_change_is_read_when_it_has_settled(tmp_path):
    watch = Watch(tmp_path / "f")
    assert watch.file.value == b"one"
    watch.path.write_bytes(b"two!")
    watch.clock.advance(1.0)
    assert watch.changes == []
    watch.clock.advance(0.1)
    assert watch.changes == [b"two!"]
    assert watch.file.value == b"two!"
    watch.settle()
    assert len(watch.changes) == 1


def test_a_file_that_takes_its_place_is_seen(tmp_path):
    watch = Watch(tmp_path / "f")
    (tmp_path / "g").write_bytes(b"new")
    os.replace(tmp_path / "g", watch.path)
    watch.settle()
    assert watch.changes == [b"new"]


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b"bad!"), os.unlink, lambda path: path.write_bytes(b"x" * 101)]
)
def test_what_is_wrong_is_told_once_and_what_was_stays(tmp_path, spoil):
    watch = Watch(tmp_path / "f")
    with logged("revproxy.watched") as lines:
        spoil(watch.path)
        watch.settle()
        watch.settle()
    assert len(lines) == 1
    assert "what was read before stays" in lines[0]
    assert watch.file.value == b"one"
    watch.path.write_bytes(b"well again")
    watch.settle()
    assert watch.file.value == b"well again"


def test_half_a_file_is_not_used(tmp_path, monkeypatch):
    watch = Watch(tmp_path / "f")
    watch.path.write_bytes(b"first half")
    watch.clock.advance(1.0)
    original = module.read_file

    def grows(path, most):
        data = original(path, most)
        with open(path, "ab") as file:
            file.write(b" second")
        return data

    monkeypatch.setattr(module, "read_file", grows)
    watch.clock.advance(0.1)
    monkeypatch.setattr(module, "read_file", original)
    assert watch.changes == []
    watch.settle()
    assert watch.changes == [b"first half second"]


def test_it_is_watched_until_it_is_stopped(tmp_path):
    watch = Watch(tmp_path / "f")
    watch.file.start()
    assert len(watch.clock.getDelayedCalls()) == 1
    watch.file.close()
    assert watch.clock.getDelayedCalls() == []
    watch.path.write_bytes(b"two!")
    watch.settle()
    assert watch.changes == []


def test_what_can_not_be_read_is_an_error_at_the_start(tmp_path):
    for make, why in (
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"bad"), "it is bad"),
        (lambda path: path.write_bytes(b"x" * 101), "larger than 100"),
    ):
        path = tmp_path / why.replace(" ", "-")
        make(path)
        with pytest.raises(ValueError, match=why) as refused:
            WatchedFile(str(path), read, Clock(), most=100)
        assert str(path) in str(refused.value)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_file(str(tmp_path / "pipe"), 10)
