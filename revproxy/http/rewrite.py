"""Rewriting of request targets: the ``rewrite`` table as a function.

Rules of this module:

* the steps run in this order: ``strip_prefix``, ``add_prefix``, ``replace``, ``regex`` with ``to``,
  then ``query.remove`` and ``query.set``;
* a prefix ends at a segment: ``/api`` is taken from ``/api`` and ``/api/x``, never from ``/apix``;
  a path without the prefix stays as it is;
* the first part of the path that ``regex`` finds is replaced by ``to``, and the rest stays; a path
  in which it finds nothing stays as it is. ``^`` and ``$`` tie it to the ends;
* what the operator wrote is checked once, when it is compiled; the result of every rewriting is
  brought to normal form again, and refused when it has none, so that no combination of groups
  makes a dot segment or another target;
* query parameters are separated by ``&`` alone, and those that no rule names keep their bytes and
  their order.

A regular expression that backtracks badly (``(a+)+$``) stops the whole proxy while it runs. Paths
are chosen by clients: the operator has to write expressions whose time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote_to_bytes

from revproxy.config.model import QueryRewrite, Rewrite
from revproxy.http.target import normalise_path

Rewriter = Callable[[bytes, bytes | None], tuple[bytes, bytes | None]]
_PathStep = Callable[[bytes], bytes]
_QueryStep = Callable[[bytes | None], bytes | None]

#: Printable ASCII without space, ``?`` and ``#``: what a path can hold on the request line.
_PATH = re.compile(rb"/[\x21\x22\x24-\x3e\x40-\x7e]*")
_FORBIDDEN = re.compile(r"[\x00-\x20?#\x7f]")
_GROUP = re.compile(r"\$(?:(\$)|([0-9]+)|\{(\w+)\})?")


def compile_rewrite(rewrite: Rewrite, merge_slashes: bool = False) -> Rewriter:
    """The table as a function of a normalised path and a query (``None`` for no query).

    The function returns the new path, which begins with ``/``, and the new query. It raises
    ``ValueError`` when a path comes out that must not be sent (answer 400).

    :param merge_slashes: as for the paths that routes match.
    :raises ValueError: for a table that can't work, naming its key, what was found and what is right.
    """
    path_steps = _path_steps(rewrite)
    query_step = _query_step(rewrite.query) if rewrite.query is not None else None

    def run(path: bytes, query: bytes | None) -> tuple[bytes, bytes | None]:
        if path_steps:
            for step in path_steps:
                path = step(path)
            normal = normalise_path(path, merge_slashes)
            if normal is None or not _PATH.fullmatch(normal):
                raise ValueError(f"not a path after rewriting: {path!r}")
            path = normal
        return path, query if query_step is None else query_step(query)

    return run


def prefix_mapping(rewrite: Rewrite) -> tuple[bytes, bytes] | None:
    """The prefix that backends see and the public one, when prefixes are all that is rewritten.

    Both without a slash at the end, ``b""`` for the root: a backend's path that is the first one
    or continues it with ``/`` is public with the second in its place.

    :return: ``None`` when nothing maps paths back: no prefix, or a ``replace`` or ``regex``.
    :raises ValueError: as :func:`compile_rewrite` does.
    """
    if rewrite.replace is not None or rewrite.regex is not None:
        return None
    internal = b"" if rewrite.add_prefix is None else _prefix("add_prefix", rewrite.add_prefix)
    public = b"" if rewrite.strip_prefix is None else _prefix("strip_prefix", rewrite.strip_prefix)
    return (internal, public) if internal != public else None


def _path_steps(rewrite: Rewrite) -> list[_PathStep]:
    steps: list[_PathStep] = []
    if rewrite.strip_prefix is not None and (prefix := _prefix("strip_prefix", rewrite.strip_prefix)):
        steps.append(_strip(prefix))
    if rewrite.add_prefix is not None and (prefix := _prefix("add_prefix", rewrite.add_prefix)):
        steps.append(_add(prefix))
    if rewrite.replace is not None:
        steps.append(_replace(_path("replace", rewrite.replace)))
    if rewrite.regex is not None:
        if rewrite.to is None:
            raise ValueError("regex: needs 'to', the text that takes the place of what it finds")
        steps.append(_substitute(rewrite.regex, rewrite.to))
    elif rewrite.to is not None:
        raise ValueError("to: needs 'regex', or write 'replace' for a fixed path")
    return steps


def _text(key: str, text: str) -> bytes:
    """Bytes of a path that the operator wrote; letters beyond ASCII are escaped (RFC 3986 2.5)."""
    if found := _FORBIDDEN.search(text):
        right = "use 'query' for parameters" if found[0] == "?" else f"write {quote(found[0], safe='')}"
        raise ValueError(f"{key}: {text!r} holds {found[0]!r}, which no path can; {right}")
    return b"".join([b"%c" % c if c < 0x80 else b"%%%02X" % c for c in text.encode("utf-8")])


def _path(key: str, text: str) -> bytes:
    if not text.startswith("/"):
        raise ValueError(f"{key}: {text!r} does not begin with '/'; '/{text}' would")
    path = normalise_path(_text(key, text))
    if path is None:
        raise ValueError(f"{key}: {text!r} has a dot segment or a broken %-escape; write the path without")
    return path


def _prefix(key: str, text: str) -> bytes:
    return _path(key, text).rstrip(b"/")


def _strip(prefix: bytes) -> _PathStep:
    start, length = prefix + b"/", len(prefix)

    def step(path: bytes) -> bytes:
        if path.startswith(start):
            return path[length:]
        return b"/" if path == prefix else path

    return step


def _add(prefix: bytes) -> _PathStep:
    return lambda path: prefix + path


def _replace(new: bytes) -> _PathStep:
    return lambda path: new


def _substitute(regex: str, to: str) -> _PathStep:
    try:
        pattern = re.compile(regex.encode("utf-8"))
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"regex: {regex!r}: {error}") from None
    expand = _expansion(to, pattern)

    def step(path: bytes) -> bytes:
        match = pattern.search(path)
        return path if match is None else path[: match.start()] + expand(match) + path[match.end() :]

    return step


def _expansion(to: str, pattern: re.Pattern[bytes]) -> Callable[[re.Match[bytes]], bytes]:
    """``to`` as a function of what the expression found; a group that took no part is empty."""
    pieces: list[bytes | int] = []
    at = 0
    for mark in _GROUP.finditer(to):
        pieces.append(_text("to", to[at : mark.start()]))
        at = mark.end()
        dollar, number, name = mark.groups()
        if dollar:
            pieces.append(b"$")
        elif number or name:
            pieces.append(_group(number or name, pattern, to))
        else:
            raise ValueError(f"to: a '$' without a group in {to!r}; write '$$' for a dollar")
    pieces.append(_text("to", to[at:]))

    def expand(match: re.Match[bytes]) -> bytes:
        return b"".join([(match[piece] or b"") if isinstance(piece, int) else piece for piece in pieces])

    return expand


def _group(name: str, pattern: re.Pattern[bytes], to: str) -> int:
    number = int(name) if name.isdecimal() else pattern.groupindex.get(name)
    if number is None or number > pattern.groups:
        known = [f"${n}" for n in range(pattern.groups + 1)] + [f"${{{n}}}" for n in pattern.groupindex]
        raise ValueError(f"to: {to!r} names the group {name!r}; the expression has {', '.join(known)}")
    return number


def _query_step(rules: QueryRewrite) -> _QueryStep:
    removed = frozenset(name.encode("utf-8") for name in rules.remove)
    new = _encoded(rules.set)

    def step(query: bytes | None) -> bytes | None:
        kept: list[bytes] = []
        missing = dict(new)
        for part in query.split(b"&") if query else ():
            name = part.partition(b"=")[0]
            if b"%" in name or b"+" in name:
                name = unquote_to_bytes(name.replace(b"+", b" "))
            if name in new:
                if name in missing:
                    kept.append(missing.pop(name))
            elif name not in removed:
                kept.append(part)
        kept.extend(missing.values())
        return b"&".join(kept) if kept else query and None

    return step


def _encoded(parameters: Mapping[str, str]) -> dict[bytes, bytes]:
    return {
        name.encode("utf-8"): f"{quote(name, safe='')}={quote(value, safe='')}".encode("ascii")
        for name, value in parameters.items()
    }
