"""The one-line start: ``--listen``, ``--to`` and ``--route`` -> a configuration.

Rules of this module:

* options become the same plain tables that a file has, and are checked by the same code;
* an error names the option and its value in place of a key path and a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from revproxy.config.errors import ConfigError, Problem
from revproxy.config.load import build
from revproxy.config.model import Config
from revproxy.config.structure import Found

#: Name of the upstream and route that ``--to`` makes.
DEFAULT = "default"


def from_options(listen: Sequence[str], to: Sequence[str], routes: Sequence[str]) -> Config:
    """A configuration from the options of a command line.

    :param listen: server endpoint strings.
    :param to: backends of the route that takes everything, as one upstream.
    :param routes: ``HOST/PATH=BACKEND``, split at the first ``=``. An empty host or ``*`` is any; a path
        that ends in ``/`` is that and everything below it. The same left side several times is one upstream.
    :raises ConfigError: when anything is wrong with them.
    """
    found: list[Found] = []
    if not listen:
        found.append(Found(("--listen",), "missing; write --listen tcp:8080"))
    if not to and not routes:
        found.append(Found(("--to",), "missing; write --to tcp:127.0.0.1:9000, or --route 'HOST/PATH=BACKEND'"))
    upstreams: dict[str, Any] = {}
    tables: list[dict[str, Any]] = []
    origins: dict[str, list[str]] = {}
    if to:
        upstreams[DEFAULT] = {"backends": list(to)}
        tables.append({"name": DEFAULT, "upstream": DEFAULT})
        origins[DEFAULT] = [f"--to {item}" for item in to]
    for written in routes:
        left, equals, backend = written.partition("=")
        left, backend = left.strip(), backend.strip()
        if not equals or not left or not backend:
            found.append(Found((f"--route {written}",), "is not a route; write 'HOST/PATH=BACKEND'"))
            continue
        if left == DEFAULT:  # a host of that name, which must not share the backends of --to
            left = f"{DEFAULT}/"
        if left not in upstreams:
            tables.append({"name": left, "upstream": left, "match": _match(left)})
        upstreams.setdefault(left, {"backends": []})["backends"].append(backend)
        origins.setdefault(left, []).append(f"--route {written}")
    document = {"listen": [{"endpoint": item} for item in listen], "upstreams": upstreams, "routes": tables}
    config, problems = build(document)
    for item in problems:
        option = _option(item, listen, tables, origins)
        if option is not None:
            found.append(attrs.evolve(item, key=(option,)))
    if found:
        raise ConfigError([Problem(key=str(item.key[0]), text=item.text, found=item.found) for item in found])
    return config


def _match(left: str) -> dict[str, str]:
    host, slash, rest = left.partition("/")
    match: dict[str, str] = {}
    if host not in ("", "*"):
        match["host"] = host
    path = slash + rest
    if path.endswith("/"):
        path += "*"
    if path not in ("", "/*"):
        match["path"] = path
    return match


def _option(
    item: Found, listen: Sequence[str], tables: list[dict[str, Any]], origins: dict[str, list[str]]
) -> str | None:
    """The option that a problem comes from; ``None`` for what a missing option already says."""
    match item.key:
        case ("listen", int(index), *_):
            return f"--listen {listen[index]}"
        case ("upstreams", str(name), "backends", int(index), *_):
            return origins[name][index]
        case ("upstreams", str(name), *_):
            return origins[name][0]
        case ("routes", int(index), *_):
            return origins[tables[index]["name"]][0]
    return None
