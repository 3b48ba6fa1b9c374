"""TOML -> :class:`~revproxy.config.model.Config`, with every error at once.

Rules of this module:

* ``tomllib`` reads, :mod:`~revproxy.config.structure` builds, :mod:`~revproxy.config.check` compares;
* whatever is wrong leaves as one :class:`~revproxy.config.errors.ConfigError`, never as another exception;
* what follows from an error that is already reported is not reported.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from revproxy.config.check import ENDS, check
from revproxy.config.check_upstreams import check_backends
from revproxy.config.errors import ConfigError, Problem, key_text
from revproxy.config.lines import Lines
from revproxy.config.model import Backend, Config
from revproxy.config.structure import Found, Structurer

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
#: The largest file that is read, in bytes: a configuration is text that someone wrote.
MAX_FILE = 16 * 1024 * 1024
#: What is wrong with a file of no backends: one that is half written looks like that.
EMPTY = 'no backends; write backends = ["tcp:127.0.0.1:9000"]'


@frozen(kw_only=True)
class Members:
    """What the ``file`` of an upstream holds."""

    backends: tuple[Backend, ...]


def load_file(path: str | Path) -> Config:
    """The configuration in a TOML file; relative paths in it start from its folder.

    :raises ConfigError: when it can't be read, is not TOML, or anything in it is wrong.
    """
    path = Path(path)
    return load_text(_read(path), source=str(path), base=str(path.parent))


def load_text(text: str, *, source: str = "<string>", base: str = ".") -> Config:
    """The configuration in a TOML text.

    :param source: name that messages give the text.
    :param base: folder that relative paths in it start from.
    :raises ConfigError: when it is not TOML, or anything in it is wrong.
    """
    config, found = build(_document(text, source), base=base)
    _refuse(found, text, source)
    return attrs.evolve(config, source=source)


def load_members(path: str | Path, *, others: bool = False) -> tuple[Backend, ...]:
    """The backends in a TOML file that has ``backends`` as an upstream's table has them, and nothing else.

    :param others: whether the upstream has other backends, too: then these may all be backups.
    :raises ConfigError: when it can't be read, is not TOML, has no backends, or anything in it is wrong.
    """
    path = Path(path)
    source = str(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise ConfigError([Problem(key="", text="can't be read: no regular file", source=source)])
    text = _read(path)
    structurer = Structurer()
    members: Members = structurer.table(Members, _document(text, source), ())
    reported = structurer.problems
    key = ("backends",)
    more = check_backends(key, members.backends, others) if members.backends else [Found(key, EMPTY)]
    _refuse(reported + [item for item in more if not _follows(item, reported)], text, source)
    return members.backends


def _read(path: Path) -> str:
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(key="", text=f"can't be read: {why.lower()}", source=source)]) from None
    if len(data) > MAX_FILE:
        raise ConfigError([Problem(key="", text="can't be read: larger than 16MB", source=source)])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"not UTF-8: byte 0x{data[error.start]:02X}; TOML files are written in UTF-8"
        raise ConfigError([Problem(key="", text=why, line=line, source=source)]) from None
    return text.removeprefix("\ufeff")


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError([_syntax(text, str(error), source)]) from None
    except RecursionError:
        raise ConfigError([Problem(key="", text="not readable: nested too deeply", line=1, source=source)]) from None


def _refuse(found: Sequence[Found], text: str, source: str) -> None:
    if found:
        lines = Lines(text)
        raise ConfigError([_problem(item, source, lines.line(item.key)) for item in found])


def build(document: dict[str, Any], *, base: str = ".") -> tuple[Config, list[Found]]:
    """A configuration from plain tables, and what is wrong with it; never raises for what is written."""
    structurer = Structurer()
    config: Config = attrs.evolve(structurer.table(Config, document, ()), base=base)
    reported = structurer.problems
    return config, reported + [item for item in check(config) if not _follows(item, reported)]


def _follows(item: Found, reported: Sequence[Found]) -> bool:
    """Whether a problem comes of one that is already reported, and so would only add noise."""
    size = len(item.key)
    for other in reported:
        if item.key[: len(other.key)] == other.key:
            return True
        if other.key[:size] == item.key:
            below = other.key[size:]
            # A route or table that lacks something, beside a key that nobody knows or that is wrong.
            if other.unknown_key and len(below) == 1:
                return True
            if below[0] in ENDS and "nothing ends" in item.text:
                return True
            if item.key[-1] in ("listen", "routes", "backends", "rewrite", "redirect"):
                return True
    if item.key[-1] == "upstream" and any(
        other.key == ("upstreams",) or other.suggestion == "upstreams" for other in reported
    ):
        return True
    return any(
        other.unknown_key and other.suggestion == item.key[-1] and other.key[:-1] == item.key[:-1] for other in reported
    )


def _problem(item: Found, source: str, line: int | None) -> Problem:
    return Problem(
        key=key_text(item.key),
        text=item.text,
        line=line,
        source=source,
        found=item.found,
        expected=item.expected,
        suggestion=item.suggestion,
    )


def _syntax(text: str, message: str, source: str) -> Problem:
    match = _POSITION.search(message)
    line, column = 1, ""
    if match is not None:
        message = message[: match.start()]
        if match[1]:
            line, column = int(match[1]), f" (column {match[2]})"
        else:
            line, column = text.rstrip().count("\n") + 1, " (at the end)"
    message = message[:1].lower() + message[1:]
    if not message.isprintable():
        message = message.encode("unicode_escape").decode("ascii")
    return Problem(key="", text=f"not valid TOML: {message}{column}", line=line, source=source)
