"""Lists of networks in files: one on a line, and comments.

Rules of this module:

* a line has a network, an address or a word for networks, and after ``#`` or ``;`` what nobody reads;
* one wrong line and the whole file counts for nothing: a list that is half read lets in whom it should not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from revproxy.access.networks import SLICE, NetworkTable, Prefix, parse_networks
from revproxy.config.errors import ConfigError, Problem, Wrong, show

#: The largest file that is read, in bytes.
MAX_FILE = 32 * 1024 * 1024
#: Networks at most: about 100 bytes of memory each.
MAX_NETWORKS = 1_000_000
#: Wrong lines that are told one by one.
_TOLD = 20


def read_list(path: str, rest: Callable[[], None] | None = None) -> NetworkTable:
    """The networks in a file. It blocks.

    :param rest: called after each part of the work; for threads.
    :raises ConfigError: when it can't be read or any line is wrong, with the lines.
    """
    place = Path(path)
    try:
        if place.exists() and not place.is_file():  # a pipe would be waited for without end
            raise ConfigError([Problem(key="", text="can't be read: no regular file", source=path)])
        with place.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(key="", text=f"can't be read: {why.lower()}", source=path)]) from None
    if len(data) > MAX_FILE:
        raise ConfigError([Problem(key="", text="can't be read: larger than 32MB", source=path)])
    return NetworkTable(_networks(data, path, rest), rest)


def _networks(data: bytes, path: str, rest: Callable[[], None] | None) -> Iterator[Prefix]:
    problems: list[Problem] = []
    count = 0
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if rest is not None and not number % SLICE:
            rest()
        text = line.decode("utf-8", "replace").partition("#")[0].partition(";")[0].strip()
        if not text:
            continue
        count += 1
        if count > MAX_NETWORKS:
            problems.append(Problem(key="", text=f"more than {MAX_NETWORKS} networks", line=number, source=path))
            break
        try:
            yield from parse_networks(text)
        except Wrong as error:
            problems.append(Problem(key="", text=error.text, line=number, source=path, found=error.found or show(text)))
            if len(problems) > _TOLD:
                break
    if problems:
        raise ConfigError(problems)
