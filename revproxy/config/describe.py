"""A configuration as a few aligned lines of plain text, for ``revproxy check``.

Rules of this module:

* every listener, route and upstream has a line; routes stand as written, not as they are tried;
* what stands before routes is told where there is any, of the server once and of each route in its line;
* control characters never reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import fields

from revproxy.config.errors import show
from revproxy.config.model import Config, Match, Redirect, Route, Upstream
from revproxy.config.protections import before_all, before_route


def describe(config: Config) -> str:
    """The summary of a configuration: listeners, routes, upstreams; ends without a newline."""
    listeners = [(listen.name or listen.endpoint, listen.endpoint) for listen in config.listen]
    head = ["name", "matches", "ends in"]
    routes = [
        [route.name or f"route-{index + 1}", _conditions(route.match), _end(route)]
        for index, route in enumerate(config.routes)
    ]
    before = [before_route(route) for route in config.routes]
    if any(before):
        head.append("behind")
        for row, words in zip(routes, before, strict=True):
            row.append(words or "-")
    everything = before_all(config.server)
    return "\n\n".join(
        (
            _table("Listeners", ("name", "endpoint"), listeners),
            *([f"All routes are behind: {_plain(everything)}"] if everything else []),
            _table("Routes", head, routes),
            _table(
                "Upstreams", ("name", "balance", "backends"), list(_upstreams(config.upstreams)), len(config.upstreams)
            ),
        )
    )


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], count: int = 0) -> str:
    if not rows:
        return f"{title}: none"
    clean = [tuple(_plain(cell) for cell in row) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in clean]
    return "\n".join([f"{title} ({count or len(rows)})", *(f"  {line}" for line in lines)])


def _plain(text: str) -> str:
    return text if text.isprintable() else show(text)


def _conditions(match: Match) -> str:
    parts = []
    for name in (field.name for field in fields(Match)):
        condition = getattr(match, name)
        if isinstance(condition, Mapping):
            parts += [f"{name} {key}={_values(values)}" for key, values in condition.items()]
        elif condition:
            parts.append(f"{name} {_values(condition)}")
    return ", ".join(parts) or "everything"


def _values(values: Iterable[str]) -> str:
    return "|".join(values)


def _end(route: Route) -> str:
    if route.upstream is not None:
        return f"upstream {route.upstream}"
    if route.split is not None:
        return "split " + " ".join(f"{name}={weight}" for name, weight in route.split.upstreams.items())
    if route.respond is not None:
        return f"respond {route.respond.status}"
    if route.redirect is not None:
        return f"redirect {route.redirect.status} to {_target(route.redirect)}"
    if route.files is not None:
        return f"files {route.files}"
    return f"resource {route.resource}"


def _target(redirect: Redirect) -> str:
    if redirect.to is not None:
        return redirect.to
    names = ("scheme", "host", "port", "path")
    return " ".join(f"{name}={value}" for name in names if (value := getattr(redirect, name)) is not None)


def _upstreams(upstreams: Mapping[str, Upstream]) -> Iterable[tuple[str, str, str]]:
    for name, upstream in upstreams.items():
        found = [f"{kind} {source.name}" for kind in ("dns", "srv") if (source := getattr(upstream, kind)) is not None]
        found += [] if upstream.file is None else [f"file {upstream.file}"]
        texts = []
        for backend in upstream.backends:
            text = backend.endpoint
            if backend.weight != 1:
                text += f" (weight {backend.weight})"
            if backend.backup:
                text += " (backup)" if backend.backup == 1 else f" (backup {backend.backup})"
            texts.append(text)
        for index, text in enumerate([*texts, *found]):
            yield (name, upstream.balance, text) if index == 0 else ("", "", text)
