"""A file that is watched; :mod:`tests.access.test_files` has its whole way."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock

from revproxy.config.errors import ConfigError, Problem
from revproxy.filewatch import EVERY, SETTLES, FileWatch, look, mark


def test_a_file_that_changes_while_it_is_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("1", "utf-8")
    now = mark(str(path))

    def read(name: str) -> str:
        path.write_text("22", "utf-8")
        return "half"

    after, found = look(str(path), read, (), now)
    assert found is None
    assert after == mark(str(path)) != now


def test_it_is_read_only_when_it_is_new_and_at_rest(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("1", "utf-8")
    now = mark(str(path))
    assert look(str(path), str, now, now) == (now, None)
    assert look(str(path), str, (), ()) == (now, None)
    assert look(str(path), str, (), now) == (now, str(path))


def test_it_goes_on_after_a_look_that_failed_and_stops_when_told(tmp_path: Path) -> None:
    clock, found, failed = Clock(), [], []  # type: ignore[var-annotated]
    path = tmp_path / "f"
    path.write_text("1", "utf-8")
    problem = ConfigError([Problem(key="", text="wrong", line=1), Problem(key="", text="also", line=2)])
    raises: list[Exception] = [OSError("disk"), problem]

    def read(name: str) -> str:
        if raises:
            raise raises.pop(0)
        return name

    watch = FileWatch(str(path), read, clock, found.append, failed.append, ())
    watch.start()
    watch.start()
    assert len(clock.getDelayedCalls()) == 1
    clock.pump([EVERY, SETTLES])
    assert failed == [f"{path}: can't be looked at: disk"]
    clock.advance(EVERY)
    assert failed[1:] == ["line 1: wrong (and 1 more)"]
    clock.advance(EVERY)
    assert not found  # it is known to be wrong
    path.write_text("22", "utf-8")
    clock.pump([EVERY, SETTLES])
    assert found == [str(path)]
    watch.close()
    assert not clock.getDelayedCalls()
