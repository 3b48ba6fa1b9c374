"""Lists in files: comments, words, and every wrong line by its number."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from revproxy.access import lists
from revproxy.access.lists import read_list
from revproxy.access.networks import SLICE
from revproxy.config.errors import ConfigError


def written(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "networks.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_lines_comments_and_words(tmp_path: Path) -> None:
    text = "\ufeff# ours\r\n10.0.0.0/8 # private\n\n  2001:db8::1\t; others write semicolons\n192.0.2.1;SBL1\nloopback"
    table = read_list(written(tmp_path, text))
    assert table.size == 5
    assert table.find(32, 0x0A010101) == 9
    assert table.find(32, 0xC0000201) == 33
    assert table.find(128, 1) == 129


def test_an_empty_file_is_an_empty_list(tmp_path: Path) -> None:
    assert read_list(written(tmp_path, "")).size == 0


def test_every_wrong_line_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, b"10.0.0.0/8\n10.0.0.1/8\n1.2.3.4\n\xff\xfe\nprivat\n")
    with pytest.raises(ConfigError) as caught:
        read_list(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f'{path}:2: "10.0.0.1/8" has bits set behind its prefix; did you mean "10.0.0.0/8"?'
    assert lines[1].startswith(f"{path}:4: ")
    assert lines[2].endswith('did you mean "private"?')
    assert len(lines) == 3


def test_it_gives_up_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_list(written(tmp_path, "x\n" * 1000))
    assert len(caught.value.errors) == 21


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="can't be read: no such file or directory"):
        read_list(str(tmp_path / "none"))
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ConfigError, match="no regular file"):
            read_list(str(tmp_path / name))
    monkeypatch.setattr(lists, "MAX_FILE", 10)
    with pytest.raises(ConfigError, match="larger than"):
        read_list(written(tmp_path, "1.2.3.4\n1.2.3.5\n"))


def test_how_many_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_NETWORKS", 2)
    assert read_list(written(tmp_path, "1.2.3.4\n1.2.3.5\n# x\n")).size == 2
    with pytest.raises(ConfigError, match=r":3: more than 2 networks"):
        read_list(written(tmp_path, "1.2.3.4\n1.2.3.5\n1.2.3.6\n"))


def test_it_rests_while_it_reads(tmp_path: Path) -> None:
    rests: list[int] = []
    read_list(written(tmp_path, "# nothing\n" * (2 * SLICE)), lambda: rests.append(1))
    assert len(rests) == 2
