"""What conversations in tests share: a short configuration, and requests and responses in few words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

from attrs import evolve
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher

from revproxy.config.load import load_text
from revproxy.config.model import Config, Middleware

ADDRESS = "tcp:127.0.0.1:9000"
SECOND = "tcp:127.0.0.1:9001"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


#: Configurations are frozen: those that many tests share are read once.
load = lru_cache(maxsize=512)(load_text)


def toml(server: str = "", upstream: str = "", route: str = 'upstream = "app"', more: str = "") -> str:
    """A configuration of one listener, one upstream ``app`` and one route, with these lines in its tables."""
    if "backends" not in upstream:
        upstream = f'backends = ["{ADDRESS}"]\n{upstream}'
    return f"""
[server]
{server}

[[listen]]
endpoint = "tcp:8080"

[upstreams.app]
{upstream}

[[routes]]
{route}

{more}
"""


def get(path: bytes = b"/", *fields: bytes, method: bytes = b"GET", host: bytes = b"example.com") -> bytes:
    """A request without a body."""
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, path), b"Host: " + host, *fields, b"", b""])


def post(body: bytes, *fields: bytes, path: bytes = b"/", method: bytes = b"POST") -> bytes:
    """A request with a body and its Content-Length."""
    return get(path, b"Content-Length: %d" % len(body), *fields, method=method) + body


def ok(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with a body and its Content-Length."""
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields, b"", body])


def hooked(text: str, *middleware: Middleware) -> Config:
    """The configuration in a text, its first route with these hooks."""
    config = load(text)
    first, *rest = config.routes
    return evolve(config, routes=(evolve(first, middleware=middleware), *rest))


@contextmanager
def logged(*namespaces: str) -> Iterator[list[str]]:
    """The texts of what is logged meanwhile, by these modules or by all of revproxy's."""
    texts: list[str] = []

    def observe(event: Any) -> None:
        namespace = str(event.get("log_namespace"))
        if namespace in namespaces or (not namespaces and namespace.startswith("revproxy.")):
            texts.append(formatEvent(event))

    globalLogPublisher.addObserver(cast(ILogObserver, observe))
    try:
        yield texts
    finally:
        globalLogPublisher.removeObserver(cast(ILogObserver, observe))
