"""An extended CONNECT (RFC 8441): nothing but a tunnel is a success of it.

Rules of this module:

* a 2xx would tell the client that the tunnel is there (RFC 8441 5). One that opens none is refused before it is
  delivered, so that the log says what the client was told;
* it is known here and nowhere else: other requests pay nothing for it.
"""

from __future__ import annotations

from revproxy.exchange import Exchange
from revproxy.fault import BACKEND_BAD_RESPONSE, UPGRADE_UNSUPPORTED
from revproxy.http.h2responses import accepts
from revproxy.http.message import Answer, Response


class ConnectExchange(Exchange):
    """The exchange of an extended CONNECT."""

    __slots__ = ()

    def response_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        if 200 <= response.status < 300:
            self._refuse(f"{response.status}, but no tunnel")
        else:
            super().response_head(response, first, ended)

    def serve(self, response: Response, first: bytes, ended: bool) -> None:
        if 200 <= response.status < 300:
            self._refuse(f"{response.status}, but no tunnel")
        else:
            super().serve(response, first, ended)

    def switch(self, response: Response, first: bytes) -> None:
        key = self.request.headers.get(b"sec-websocket-key")
        if key is not None and not accepts(response, key):
            self.fail(BACKEND_BAD_RESPONSE, "101 with a wrong Sec-WebSocket-Accept")
        else:
            super().switch(response, first)

    def answer(self, answer: Answer) -> None:
        if answer.status < 300:
            self.fail(UPGRADE_UNSUPPORTED, "this route answers itself")
        else:
            super().answer(answer)

    def _refuse(self, why: str) -> None:
        # where the route lets nobody switch, the backend was not asked for a tunnel
        if self.request.upgrade is None:
            self.fail(UPGRADE_UNSUPPORTED, "not among the route's upgrades")
        else:
            self.fail(BACKEND_BAD_RESPONSE, f"{why}, to an extended CONNECT")
