"""Access tables carried out: for a route as a hook, for the whole server before a route is looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, evolve

from revproxy.access.rules import Rule
from revproxy.fault import DENIED, Fault, ProtocolError
from revproxy.http.message import Request
from revproxy.routing import Route, RouteTable

if TYPE_CHECKING:
    from revproxy.exchange import Exchange


def _fault(status: int) -> Fault:
    return DENIED if status == DENIED.status else evolve(DENIED, status=status)


def access_hook(refuses: Rule, status: int) -> Callable[[Exchange], None]:
    """A client-request hook. It raises :class:`~revproxy.fault.ProtocolError` with the rule that refuses."""
    fault = _fault(status)

    def hook(exchange: Exchange) -> None:
        why = refuses(exchange.request)
        if why is not None:
            raise ProtocolError(fault, why)

    return hook


class _Denied:
    """Ends the way of what the server lets nobody send. The rule is asked once more, for its reason."""

    def __init__(self, refuses: Rule, status: int) -> None:
        self._refuses = refuses
        self._fault = _fault(status)

    def start(self, exchange: Exchange) -> None:
        exchange.fail(self._fault, f"server: {self._refuses(exchange.request) or 'a list has just changed'}")


@define(slots=True)
class GuardedTable(RouteTable):
    """A route table behind the server's ``access``: a request that is refused finds no route of it."""

    _refuses: Rule | None = None
    _denied: Route | None = None

    def guard(self, refuses: Rule, status: int, client_response: tuple[Any, ...] = ()) -> None:
        """Stand before the routes from now on. :param client_response: hooks for what the refused are answered."""
        self._refuses = refuses
        self._denied = Route(
            name="", handler=_Denied(refuses, status), client_response=client_response, secrets=self.secrets
        )

    def match(self, request: Request, trace: list[str] | None = None) -> Route | None:
        """The route of a request, or ``None``; reasons are appended to ``trace``."""
        assert self._refuses is not None
        why = self._refuses(request)
        if why is None:
            return RouteTable.match(self, request, trace)
        if trace is not None:
            trace.append(f"server.access: {why}")
        return self._denied
