"""The examples in README.rst and docs/: TOML loads, Python compiles, commands exist."""

from __future__ import annotations

import importlib
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
DIRECTIVE = re.compile(r"^( *)\.\. (?:code-block|code|sourcecode):: *(\S*) *$")
LANGUAGES = {"toml", "python", "console", "text", "json", "rst", "http", "nginx", "ini"}
#: What a line of a console block may call.
COMMANDS = {"make", "revproxy", "twistd", "python", "pip", "curl", "openssl", "kill", "cd", "systemctl"}


class Block(NamedTuple):
    """A code block: where it is, its language and its text."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks_of(text: str, file: str) -> Iterator[Block]:
    """Yield the code blocks of a reStructuredText document."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = DIRECTIVE.match(line)
        if match is None:
            continue
        indent, body = len(match[1]), []
        for follower in lines[number:]:
            if follower.strip() and len(follower) - len(follower.lstrip()) <= indent:
                break
            body.append(follower)
        while body and (not body[0].strip() or body[0].strip().startswith(":")):
            body.pop(0)
        yield Block(file, number, match[2], textwrap.dedent("\n".join(body)).strip("\n") + "\n")


def documents() -> list[Path]:
    built = ROOT / "docs" / "_build"
    return [
        ROOT / "README.rst",
        ROOT / "NEWS.rst",
        *sorted(path for path in (ROOT / "docs").rglob("*.rst") if not path.is_relative_to(built)),
    ]


BLOCKS = [
    block for path in documents() for block in blocks_of(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())
]


def in_language(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


def test_blocks_are_found_with_their_text() -> None:
    text = (
        "x\n\n.. code-block:: toml\n   :caption: c\n\n   a = 1\n\n   b = 2\n\nafter\n\n  .. code:: python\n\n     c\n"
    )
    assert list(blocks_of(text, "f")) == [
        Block("f", 3, "toml", "a = 1\n\nb = 2\n"),
        Block("f", 12, "python", "c\n"),
    ]


@pytest.mark.parametrize("language", ["toml", "python", "console"])
def test_there_is_something_to_check(language: str) -> None:
    assert in_language(language)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_language_is_stated_and_known(block: Block) -> None:
    assert block.language in LANGUAGES
    assert block.text.strip()


@pytest.mark.parametrize("block", in_language("toml"), ids=str)
def test_toml_loads(block: Block) -> None:
    load_text = importlib.import_module("revproxy.config.load").load_text
    config = load_text(block.text, source=str(block))
    assert config is not None


@pytest.mark.parametrize("block", in_language("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", in_language("console"), ids=str)
def test_commands_are_ones_we_have(block: Block) -> None:
    commands = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        assert Path(shlex.split(command, comments=True)[0]).name in COMMANDS


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.toml")), ids=lambda path: path.name)
def test_example_configurations_load(path: Path) -> None:
    load_text = importlib.import_module("revproxy.config.load").load_text
    config = load_text(path.read_text("utf-8"), source=str(path))
    assert config.listen
    assert config.routes


def test_make_goals_in_the_documentation_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    goals = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for block in in_language("console"):
        for line in block.text.splitlines():
            words = [word for word in shlex.split(line, comments=True) if "=" not in word]
            if words[:2] == ["$", "make"]:
                assert set(words[2:]) <= goals, block
