"""Rewriting of a route's targets, as a client-request hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from revproxy.config.model import Rewrite
from revproxy.fault import CLIENT_BAD_PATH, ProtocolError
from revproxy.http.rewrite import compile_rewrite

if TYPE_CHECKING:
    from revproxy.exchange import Exchange


def rewriting(written: Rewrite, merge_slashes: bool = False) -> Callable[[Exchange], None]:
    """A hook that rewrites the request's path and query.

    :raises ValueError: when the rewrite makes no sense. The hook raises
        :class:`~revproxy.fault.ProtocolError` when a rewritten path is none.
    """
    rewrite = compile_rewrite(written, merge_slashes)

    def hook(exchange: Exchange) -> None:
        request = exchange.request
        if request.path == b"*":  # OPTIONS * has no path
            return
        try:
            request.path, request.query = rewrite(request.path, request.query)
        except ValueError as e:
            raise ProtocolError(CLIENT_BAD_PATH, str(e)) from None

    return hook
