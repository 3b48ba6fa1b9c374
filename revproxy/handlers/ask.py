"""The handler for requests of our own to an upstream: they go out as they were made."""

from __future__ import annotations

from revproxy.exchange import Exchange
from revproxy.handlers.forward import Forward
from revproxy.http.forwarding import response_fields
from revproxy.http.message import HOP, LENGTH, Response


class Ask(Forward):
    """Forwards for a caller of ours: its request goes out as it is, and it sees what came back."""

    __slots__ = ()

    def request_head(self, exchange: Exchange) -> bytes:
        request = exchange.request
        host = self._host if self._host != b"" else exchange.backend.authority
        lines = [b"%b %b HTTP/1.1" % (request.method, request.target), b"Host: " + (host or request.authority)]
        lines += [f[2] for f in request.headers.fields]
        if request.length is None:
            lines.append(b"Transfer-Encoding: chunked")
        elif request.length or request.kinds & LENGTH:
            lines.append(b"Content-Length: %d" % request.length)
        return b"\r\n".join([*lines, b"", b""])

    def clean_response(self, exchange: Exchange, response: Response) -> None:
        response.headers.fields = [f for f in response.headers.fields if not f[3] & HOP]


class AskForClient(Ask):
    """The same where clients get what is not 2xx: of that, fields that Connection names stay here (RFC 9110 7.6.1)."""

    __slots__ = ()

    def clean_response(self, exchange: Exchange, response: Response) -> None:
        if 200 <= response.status < 300:
            super().clean_response(exchange, response)
        else:
            response.headers.fields = response_fields(response, frozenset())
