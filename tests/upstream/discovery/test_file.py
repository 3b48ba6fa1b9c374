"""Backends from a watched file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from revproxy.config.errors import ConfigError
from revproxy.config.model import Backend
from revproxy.upstream.discovery.file import FileSource
from revproxy.watched import SETTLES
from tests.upstream.discovery.kit import Watched, logged

ONE = 'backends = ["tcp:10.0.0.1:9000"]\n'
TWO = 'backends = ["tcp:10.0.0.1:9000", { endpoint = "tcp:10.0.0.2:9000", weight = 3 }]\n'


class Scene(Watched):
    def __init__(self, log: list[str], path: Path, **options: Any):
        self.path = path
        clock = Clock()
        super().__init__(FileSource(str(path), clock, **options), clock, log)

    def rest(self) -> None:
        """Long enough for a look, and one more when it has settled."""
        self.clock.pump([1, SETTLES])


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    path = tmp_path / "members.toml"
    path.write_text(ONE)
    with logged() as lines:
        yield Scene(lines, path)


def test_it_is_read_at_once(scene: Scene) -> None:
    scene.path.write_text(TWO)
    scene.start()
    assert scene.told == [(Backend(endpoint="tcp:10.0.0.1:9000"), Backend(endpoint="tcp:10.0.0.2:9000", weight=3))]
    assert scene.next_in() == 1
    assert scene.log == []


def test_a_change_is_seen_within_a_second_and_used_when_it_settled(scene: Scene) -> None:
    scene.start()
    scene.path.write_text(TWO)
    scene.clock.advance(0.99)
    assert len(scene.told) == 1
    scene.clock.pump([0.01, SETTLES])
    assert len(scene.told) == 2
    assert len(scene.told[1]) == 2
    assert scene.next_in() == 1


def test_a_touched_file_is_nothing_new(scene: Scene) -> None:
    scene.start()
    os.utime(scene.path, (1, 1))
    scene.rest()
    assert len(scene.told) == 1


def test_replaced_by_renaming(scene: Scene, tmp_path: Path) -> None:
    scene.start()
    (tmp_path / "new").write_text(TWO)
    os.replace(tmp_path / "new", scene.path)
    scene.rest()
    assert len(scene.endpoints()) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("backends = [", ":1: not valid TOML: invalid value (at the end)"),
        ("", ':1: "backends" is missing'),
        ("backends = []", ':1: backends: no backends; write backends = ["tcp:127.0.0.1:9000"]'),
        ('\nbackend = ["tcp:a:1"]', ':1: "backends" is missing (and 1 more)'),
        (
            'backends = [\n"tcp:a:1", "tcp:a:1"]',
            ':2: backends[1]: "tcp:a:1" is there twice, here and as number 0; use weight',
        ),
        (
            'backends = [{ endpoint = "tcp:a:1", backup = true }]',
            ":1: backends: all are backups; at least one has to serve without backup = true",
        ),
        (b"\xff", ":1: not UTF-8: byte 0xFF; TOML files are written in UTF-8"),
        (None, ": can't be read: no such file or directory"),
    ],
)
def test_a_mistake_is_one_line_and_the_old_list_stays(scene: Scene, text: Any, why: str) -> None:
    scene.start()
    scene.path.unlink()
    if text is not None:
        scene.path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for _ in range(10):
        scene.rest()
    assert len(scene.told) == 1
    name = f"file {scene.path}"
    assert scene.log == [f"{name}: {scene.path}{why}; the last answer is kept (1 backend)"]
    with pytest.raises(ConfigError):
        FileSource(str(scene.path), Clock()).start(scene.told.append)
    scene.path.write_text(TWO)
    scene.rest()
    assert scene.log[1:] == [f"{name} answers again"]
    assert len(scene.endpoints()) == 2


def test_the_old_text_again_is_the_end_of_a_mistake(scene: Scene) -> None:
    scene.start()
    scene.path.write_text("backends")
    scene.rest()
    scene.path.write_text(ONE)
    scene.rest()
    assert scene.log[1:] == [f"file {scene.path} answers again"]
    assert len(scene.told) == 1


def test_all_may_be_backups_where_there_are_others(tmp_path: Path) -> None:
    path = tmp_path / "members.toml"
    path.write_text('backends = [{ endpoint = "tcp:a:1", backup = 2 }]')
    scene = Scene([], path, others=True).start()
    assert scene.told == [(Backend(endpoint="tcp:a:1", backup=2),)]


def test_stop_leaves_nothing(scene: Scene) -> None:
    scene.start()
    scene.path.write_text(TWO)
    scene.source.stop()
    scene.source.stop()
    scene.rest()
    assert len(scene.told) == 1
    assert scene.clock.getDelayedCalls() == []
    scene.start()
    assert len(scene.endpoints()) == 2
    scene.start()  # once more is once
    assert len(scene.clock.getDelayedCalls()) == 1
    scene.source.stop()
