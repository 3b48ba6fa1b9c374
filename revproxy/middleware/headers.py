"""Header changes of a route: remove, set, add, in that order; values are templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from revproxy.config.model import HeaderChanges
from revproxy.http.message import Headers
from revproxy.variables import compile_template

if TYPE_CHECKING:
    from revproxy.exchange import Exchange


def _change(written: HeaderChanges) -> Callable[[Headers, Exchange], None]:
    removed = [name.lower().encode("ascii") for name in written.remove]
    replaced = [(name.encode("ascii"), compile_template(value)) for name, value in written.set.items()]
    added = [(name.encode("ascii"), compile_template(value)) for name, value in written.add.items()]

    def change(headers: Headers, exchange: Exchange) -> None:
        for name in removed:
            headers.remove(name)
        for name, value in replaced:
            headers.set(name, value(exchange))
        for name, value in added:
            headers.add(name, value(exchange))

    return change


def request_changes(written: HeaderChanges) -> Callable[[Exchange], None]:
    """A backend-request hook. :raises ValueError: for a template with an unknown name."""
    change = _change(written)

    def hook(exchange: Exchange) -> None:
        change(exchange.request.headers, exchange)

    return hook


def response_changes(written: HeaderChanges) -> Callable[[Exchange], None]:
    """A client-response hook. :raises ValueError: for a template with an unknown name."""
    change = _change(written)

    def hook(exchange: Exchange) -> None:
        assert exchange.response is not None
        change(exchange.response.headers, exchange)

    return hook
