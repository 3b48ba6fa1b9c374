"""Routes that end here: fixed answers and redirects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from revproxy.config import model
from revproxy.http.message import Answer, Headers
from revproxy.variables import compile_template

if TYPE_CHECKING:
    from revproxy.exchange import Exchange


class Respond:
    """Gives the same answer to every request."""

    __slots__ = ("_answer",)

    def __init__(self, written: model.Respond) -> None:
        items = [(name.encode("ascii"), value.encode("latin-1")) for name, value in written.headers.items()]
        body = written.body.encode("utf-8")
        if body and not any(name.lower() == b"content-type" for name, _ in items):
            items.insert(0, (b"Content-Type", written.content_type.encode("ascii")))
        self._answer = Answer(written.status, Headers.of(items), body)

    def start(self, exchange: Exchange) -> None:
        exchange.answer(self._answer)


class Redirect:
    """Sends clients elsewhere (RFC 9110 15.4)."""

    __slots__ = ("_location", "_status")

    def __init__(self, written: model.Redirect) -> None:
        self._status = written.status
        if written.to is not None:
            self._location: Callable[[Exchange], bytes] = compile_template(written.to)
        else:
            self._location = _parts(written)

    def start(self, exchange: Exchange) -> None:
        location = self._location(exchange)
        exchange.answer(Answer(self._status, Headers.of([(b"Location", location)])))


def _parts(written: model.Redirect) -> Callable[[Exchange], bytes]:
    """A location that keeps what is not written: scheme, host, port, path and query."""
    scheme = None if written.scheme is None else written.scheme.encode("ascii")
    host = None if written.host is None else written.host.encode("ascii")
    path = None if written.path is None else compile_template(written.path)
    port = written.port

    def location(exchange: Exchange) -> bytes:
        request = exchange.request
        new_scheme = scheme or request.scheme
        if host is not None:
            authority = host
        elif scheme is not None or port is not None:
            # another scheme is at another port: the one of the request says nothing about it
            local = request.arrival.local
            authority = request.host or (local.rpartition(":")[0] or local).encode("ascii")
        else:
            authority = request.authority
        if port is not None and port != {b"http": 80, b"https": 443}[new_scheme]:
            authority += b":%d" % port
        target = request.path if path is None else path(exchange)
        if not target.startswith(b"/"):
            target = b"/" + target.lstrip(b"*")
        if request.query is not None and b"?" not in target:
            target += b"?" + request.query
        return new_scheme + b"://" + authority + target

    return location
