"""The rules of forwarding: what of a request a backend gets, and what of its response the client."""

from __future__ import annotations

from attrs import evolve

from revproxy.exchange import Exchange
from revproxy.http.forwarding import request_head, request_section, response_fields
from revproxy.http.message import EXPECT, HOP, MAPPED, UPGRADE, Field, Response
from revproxy.upstream.group import Upstream

_VARYING = EXPECT | UPGRADE  # kinds whose serialised form depends on more than the fields


class Rules:
    """How the heads of one upstream's requests and responses are written anew.

    :param upstream: the live upstream.
    :param hide: lower-case names of response fields that clients never see.
    :param forwarded: whether backends get Forwarded (RFC 7239) too.
    """

    __slots__ = ("_forwarded", "_hide", "_host", "_memo", "upstream")

    def __init__(self, upstream: Upstream, hide: frozenset[bytes] = frozenset(), forwarded: bool = False) -> None:
        self.upstream = upstream
        self._hide = hide
        self._host = upstream.host
        self._forwarded = forwarded
        self._memo = upstream.host != b""

    def request_head(self, exchange: Exchange) -> bytes:
        """5: the head that the backend gets."""
        request = exchange.request
        if request.upgrade is not None and (request.length != 0 or not self._may_switch(exchange)):
            request.upgrade = None  # with a body to come, there is no telling where the tunnel begins
        block = request.block
        if (
            self._memo
            and block is not None
            and block.fields is request.headers.fields
            and block.authority is request.authority
            and block.length == request.length
        ):
            if block.sender is self:
                section = block.sent
            else:
                section = request_section(request, self._host, self._forwarded)
                if not request.kinds & _VARYING:
                    block.sender = self
                    block.sent = section
        else:
            host = self._host
            section = request_section(request, exchange.backend.authority if host == b"" else host, self._forwarded)
        return request_head(request, section, exchange.request_id)

    def clean_response(self, exchange: Exchange, response: Response) -> None:
        """7: what of the backend's fields the client gets."""
        names = exchange.backend.names if response.kinds & MAPPED else None
        if names is not None and exchange.route is not None and exchange.route.mapping is not None:
            inner, outer = exchange.route.mapping
            names = evolve(names, inner=inner, outer=outer)
        response.headers.fields = response_fields(response, self._hide, exchange.request, names)

    def clean_trailers(self, trailers: list[Field]) -> list[Field]:
        """7: what of the backend's trailers the client gets."""
        return [f for f in trailers if not f[3] & HOP and f[0] not in self._hide] if trailers else trailers

    def switched(self, exchange: Exchange, response: Response) -> bool:
        """Whether a 101 is an answer to what was asked."""
        asked = exchange.request.upgrade
        given = [item.lower() for item in response.headers.get_list(b"upgrade")]
        if asked is None or not given or given[0].partition(b"/")[0] != asked.partition(b"/")[0]:
            return False
        self.clean_response(exchange, response)
        return True

    def _may_switch(self, exchange: Exchange) -> bool:
        asked = exchange.request.upgrade
        return asked is not None and exchange.route is not None and asked.partition(b"/")[0] in exchange.route.upgrade
