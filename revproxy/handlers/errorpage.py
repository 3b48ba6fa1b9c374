"""The proxy's own error pages as ``twisted.web`` resources."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource

from revproxy.errorpages import error_page, reason


class ErrorPage(Resource):
    """One of the proxy's own error pages as a resource.

    :param status: the status; the page is HTML, JSON or text by Accept.
    """

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status

    def getChild(self, path: bytes, request: Any) -> Resource:
        return self

    def render(self, request: Any) -> bytes:
        exchange = getattr(request.channel, "exchange", None)
        kind, body = error_page(self.status, request.getHeader(b"accept"), exchange.request_id if exchange else b"")
        request.setResponseCode(self.status, reason(self.status))
        request.setHeader(b"content-type", kind)
        request.setHeader(b"cache-control", b"no-store")
        return body
