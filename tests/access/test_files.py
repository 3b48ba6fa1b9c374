"""Lists that live: swapped as a whole, and kept when what comes is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from revproxy.access.files import NetworkFile, NetworkFiles
from revproxy.config.errors import ConfigError
from revproxy.watched import EVERY, SETTLES

LAST = (32, 0xC0000201)


class Lines(list[str]):
    def __call__(self, event: dict[str, object]) -> None:
        if event["log_level"] in (LogLevel.info, LogLevel.error):
            self.append(str(event["log_format"]).format(**event))


@pytest.fixture
def lines():  # type: ignore[no-untyped-def]
    collected = Lines()
    globalLogPublisher.addObserver(collected)  # type: ignore[arg-type]
    yield collected
    globalLogPublisher.removeObserver(collected)  # type: ignore[arg-type]


def put(path: Path, text: str) -> None:
    """Replace the file by another one, as tools do."""
    new = path.with_suffix(".new")
    new.write_text(text, "utf-8")
    os.replace(new, path)


def test_changes_are_seen_and_mistakes_are_not(tmp_path: Path, lines: Lines) -> None:
    clock, path = Clock(), tmp_path / "n.txt"
    put(path, "10.0.0.0/8\n")
    file = NetworkFile(str(path), clock)
    file.start()
    assert not file.table.find(*LAST)
    put(path, "192.0.2.0/24\n")
    clock.advance(EVERY)
    assert not file.table.find(*LAST)  # it may still be written
    clock.advance(SETTLES)
    assert file.table.find(*LAST) == 25
    assert lines == [f"{path}: 1 networks"]
    put(path, "192.0.2.0/24\nnobody\n")
    clock.pump([EVERY, SETTLES, EVERY, EVERY])
    assert file.table.find(*LAST) == 25
    assert len(lines) == 2
    assert lines[1].startswith(f'{path}:2: "nobody" is not a network')
    assert lines[1].endswith("; the 1 networks from before stay")
    os.unlink(path)
    clock.pump([EVERY, SETTLES, EVERY])
    assert file.table.find(*LAST) == 25
    assert "no such file" in lines[2]
    assert len(lines) == 3
    put(path, "\n")
    clock.pump([EVERY, SETTLES])
    assert not file.table.find(*LAST)
    file.close()
    assert not clock.getDelayedCalls()


def test_what_is_there_at_the_start_has_to_be_right(tmp_path: Path) -> None:
    files = NetworkFiles(str(tmp_path), Clock())
    with pytest.raises(ConfigError):
        files.get("none.txt")
    put(tmp_path / "n.txt", "x")
    with pytest.raises(ConfigError):
        files.get("n.txt")
    assert not files.all


def test_a_file_is_read_once_for_all_who_name_it(tmp_path: Path) -> None:
    put(tmp_path / "n.txt", "10.0.0.0/8")
    files = NetworkFiles(str(tmp_path), Clock())
    assert files.get("n.txt") is files.get("./n.txt")
    assert list(files.all) == [str(tmp_path / "n.txt")]
