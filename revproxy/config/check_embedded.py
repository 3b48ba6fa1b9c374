"""What a ``[server]`` table may say where there is no whole proxy: what would not be done is an error.

Rules of this module:

* in a resource nothing can be done about connections: they are the site's;
* a site that is ours has connections and no routes: what stands before routes is its resources' part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from revproxy.config.errors import ConfigError, Problem, key_text
from revproxy.config.lines import locate
from revproxy.config.model import Server

_CONNECTIONS = (("bans",), ("limits", "connections"), ("limits", "connections_per_address"),
    ("limits", "requests_per_connection"))  # fmt: skip
_REQUESTS = (("access",), ("rate_limit",), ("shed",), ("security_headers",), ("limits", "requests"),
    ("limits", "requests_per_address"))  # fmt: skip


def check_in_resource(server: Server, source: str = "") -> None:
    """Of a ReverseProxyResource. :param source: the file. :raises ConfigError: for what it can't do."""
    why = "is about connections, which are not a resource's; its place is the server of a ReverseProxySite or a service"
    _refuse(_written(server, _CONNECTIONS), why, source)


def check_in_site(server: Server) -> None:
    """Of a ReverseProxySite. :raises ConfigError: for what it can't do."""
    why = "stands before routes, and a site has none; its place is the server of a ReverseProxyResource or a service"
    _refuse(_written(server, _REQUESTS), why, "")


def _written(server: Server, keys: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for key in keys:
        value = getattr(server.limits if len(key) > 1 else server, key[-1])
        if value is not None and value != ():
            yield ("server", *key)


def _refuse(keys: Iterator[tuple[str, ...]], why: str, source: str) -> None:
    problems = [
        Problem(key=key_text(key), text=why, line=locate(source, key) if source else None, source=source)
        for key in keys
    ]
    if problems:
        raise ConfigError(problems)
