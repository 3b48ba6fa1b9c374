"""HTTP-01 (RFC 8555 8.3) before all routes: what an ACME authority asks plain listeners for.

Rules of this module:

* it answers for tokens that are out by now, and for nothing else: applications may have challenges of their own;
* where no listener has ACME there is no such table, and no request pays for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revproxy.http.message import Answer, Headers, Request
from revproxy.routing import Route
from revproxy.tls.challenges import WELL_KNOWN, Challenges

if TYPE_CHECKING:
    from revproxy.exchange import Exchange


class ChallengeTable:
    """A route table behind the answers to challenges.

    :param table: a :class:`~revproxy.routing.RouteTable`.
    """

    def __init__(self, table: Any, challenges: Challenges) -> None:
        self.table = table
        self.routes = table.routes
        self.upstreams = table.upstreams
        self.stores = table.stores
        self.load = table.load
        self.live = table.live
        self.secrets = table.secrets
        self.told = table.told
        self._files = challenges.files
        self._route = Route(name="acme-challenge", handler=_Challenge(challenges), secrets=table.secrets)

    def match(self, request: Request, trace: list[str] | None = None) -> Route | None:
        """The route of a request, or ``None``; reasons are appended to ``trace``."""
        if self._files and request.path.startswith(WELL_KNOWN) and request.path[len(WELL_KNOWN) :] in self._files:
            if trace is not None:
                trace.append("an ACME challenge that is under way")
            return self._route
        route: Route | None = self.table.match(request, trace)
        return route


class _Challenge:
    """Ends the route: says what the authority wants to hear."""

    def __init__(self, challenges: Challenges) -> None:
        self._files = challenges.files

    def start(self, exchange: Exchange) -> None:
        text = self._files.get(exchange.request.path[len(WELL_KNOWN) :])
        headers = Headers.of([(b"Content-Type", b"application/octet-stream")])  # RFC 8555 8.3
        exchange.answer(Answer(404) if text is None else Answer(200, headers, text))
