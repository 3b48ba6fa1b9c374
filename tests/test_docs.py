"""The examples in README.rst and docs/: TOML loads and compiles, Python runs, commands and files exist.

Conventions of the documents:

* the line ``.. fragment`` before a block of TOML says that it is part of a configuration: listeners, upstreams and
  whatever else it only names are added before it is checked;
* ``:caption: name.py`` makes a block of Python a module of that name for the other blocks of its document, and
  ``:caption: name.toml`` or ``name.txt`` another block a file beside them; one of nothing but
  ``backends`` is a file of members;
* the blocks of Python of a document run one after another, in one namespace.
"""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from twisted.internet.testing import MemoryReactorClock

from revproxy.config.compile import compile_config
from revproxy.config.load import build, load_members, load_text
from tests.certificates import authority

ROOT = Path(__file__).resolve().parents[1]
DIRECTIVE = re.compile(r"^( *)\.\. (?:code-block|code|sourcecode):: *(\S*) *$")
LANGUAGES = {"toml", "python", "console", "text", "json", "rst", "http", "nginx", "ini"}
#: What a line of a console block may call.
COMMANDS = {
    "make", "revproxy", "twistd", "python", "python3", "pip", "curl", "openssl", "export", "kill", "cd", "systemctl",
}  # fmt: skip


#: The options that commands in the documentation may have; those of other commands are not looked at.
OPTIONS = {
    "curl": {
        "-i",
        "-s",
        "-v",
        "-N",
        "-o",
        "-H",
        "-X",
        "-d",
        "-T",
        "-k",
        "-u",
        "--data-binary",
        "--resolve",
        "--http1.1",
        "--http2",
        "--http2-prior-knowledge",
        "--cert",
        "--key",
    },
    "revproxy": {"--config", "--listen", "--to", "--route", "--version", "--help"},
    "twistd": {
        *("--config", "--listen", "--to", "--route"),
        *("--path", "-n", "--reactor", "--pidfile", "--logfile", "--uid", "--gid", "--umask", "--syslog"),
    },
}


class Block(NamedTuple):
    """A code block: where it is, its language, its text and what is said of it."""

    file: str
    line: int
    language: str
    text: str
    caption: str = ""
    fragment: bool = False

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
        caption = ""
        while body and (not body[0].strip() or body[0].strip().startswith(":")):
            name, _, value = body.pop(0).strip().rpartition(": ")
            caption = value if name == ":caption" else caption
        fragment = ".. fragment" in [before.strip() for before in lines[max(0, number - 3) : number - 1]]
        text_ = textwrap.dedent("\n".join(body)).strip("\n") + "\n"
        yield Block(file, number, match[2], text_, caption, fragment)


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
        "\n.. fragment\n\n.. code:: toml\n\n   d = 1\n"
    )
    assert list(blocks_of(text, "f")) == [
        Block("f", 3, "toml", "a = 1\n\nb = 2\n", "c"),
        Block("f", 12, "python", "c\n"),
        Block("f", 18, "toml", "d = 1\n", fragment=True),
    ]


@pytest.mark.parametrize("language", ["toml", "python", "console"])
def test_there_is_something_to_check(language: str) -> None:
    assert in_language(language)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_language_is_stated_and_known(block: Block) -> None:
    assert block.language in LANGUAGES
    assert block.text.strip()


def completed(text: str, base: Path) -> dict[str, Any]:
    """The tables of a fragment, with what it takes for granted added."""
    tables = tomllib.loads(text)
    tables.setdefault("listen", [{"endpoint": "tcp:8080"}])
    routes = tables.setdefault("routes", [{"respond": 404}])
    upstreams = tables.setdefault("upstreams", {})
    for route in routes:
        if "upstream" in route:
            upstreams.setdefault(route["upstream"], {"backends": ["tcp:127.0.0.1:9000"]})
        for name in route.get("split", {}).get("upstreams", ()):
            upstreams.setdefault(name, {"backends": ["tcp:127.0.0.1:9000"]})
        if "files" in route:
            (base / route["files"]).mkdir()
    for listen in tables["listen"]:
        if "tls" in listen:
            write_certificates(listen["tls"], base)
    return tables


def write_certificates(tls: Any, base: Path) -> None:
    """The folder and the authorities' file that a ``tls`` table names."""
    tls = tls if isinstance(tls, dict) else {"certificates": tls}
    (base / tls["certificates"]).mkdir(parents=True, exist_ok=True)
    client = tls.get("client")
    if client is not None:
        (base / (client if isinstance(client, str) else client["ca"])).write_bytes(authority().pem)


@pytest.fixture
def document_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Block], None]]:
    """Makes the captioned blocks of a block's document, and what is in conf/, modules that can be imported."""
    before = set(sys.modules)
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(ROOT / "conf"))
    monkeypatch.syspath_prepend(str(folder))

    def write(block: Block) -> None:
        for other in in_language("python"):
            if other.file == block.file and other.caption.endswith(".py"):
                (folder / other.caption).write_text(other.text, "utf-8")

    yield write
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent in (folder, ROOT / "conf"):
            del sys.modules[name]


@pytest.mark.parametrize("block", in_language("toml"), ids=str)
def test_toml_loads_and_compiles(block: Block, tmp_path: Path, document_modules: Callable[[Block], None]) -> None:
    document_modules(block)
    for other in in_language("toml") + in_language("text"):
        if other.file == block.file and other.caption:
            (tmp_path / other.caption).write_text(other.text, "utf-8")
    if set(tomllib.loads(block.text)) == {"backends"}:
        assert load_members(str(tmp_path / block.caption))
        return
    if block.fragment:
        config, found = build(completed(block.text, tmp_path), base=str(tmp_path))
        assert not found
    else:
        config = load_text(block.text, source=str(block), base=str(tmp_path))
    table = compile_config(config, MemoryReactorClock())
    assert len(table.routes) == len(config.routes)


@pytest.mark.parametrize("file", sorted({block.file for block in in_language("python")}))
def test_python_runs(file: str, document_modules: Callable[[Block], None]) -> None:
    blocks = [block for block in in_language("python") if block.file == file]
    document_modules(blocks[0])
    namespace: dict[str, Any] = {"__name__": "documented"}
    for block in blocks:
        exec(compile(block.text, str(block), "exec"), namespace)


@pytest.mark.parametrize("block", in_language("console"), ids=str)
def test_commands_are_ones_we_have(block: Block) -> None:
    commands = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)
        assert Path(words[0]).name in COMMANDS
        options = {word.partition("=")[0] for word in words[1:] if word.startswith("-") and word != "-"}
        assert options <= OPTIONS.get(Path(words[0]).name, options), command


def test_make_goals_in_the_documentation_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    goals = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for block in in_language("console"):
        for line in block.text.splitlines():
            words = [word for word in shlex.split(line, comments=True) if "=" not in word]
            if words[:2] == ["$", "make"]:
                assert set(words[2:]) <= goals, block


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_files_that_are_named_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    for name in re.findall(r"``((?:conf|docs|tests|revproxy|twisted)/[\w./*-]*)``", text):
        assert list(ROOT.glob(name.rstrip("/"))), name
    for name in re.findall(r":doc:`(?:[^`<]*<)?([\w/-]+)>?`", text):
        assert (ROOT / "docs" / f"{name}.rst").is_file(), name


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.rst").read_text("utf-8").split()
    pages = {path.stem for path in (ROOT / "docs").glob("*.rst")} - {"index"}
    assert pages <= set(index)


@pytest.mark.parametrize("name", ["test_the_prefix_is_stripped", "test_a_slow_backend_is_given_up"])
def test_the_documented_tests_pass(name: str) -> None:
    (block,) = (block for block in in_language("python") if block.file == "docs/testing.rst")
    namespace: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), namespace)
    namespace[name]()
