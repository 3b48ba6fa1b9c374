"""What bodies a route takes: which types, and how much of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from revproxy.fault import CLIENT_BODY_TOO_LARGE, CLIENT_CONTENT_TYPE, ProtocolError
from revproxy.http.mediatypes import UNKNOWN, ByType, media_type
from revproxy.stream import ASKING

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from revproxy.exchange import Exchange


def body_rules(
    types: Sequence[str], by_type: Mapping[str, int | None], otherwise: int | None
) -> Callable[[Exchange], Deferred[None] | None]:
    """A client-request hook; requests without a body pass.

    :param types: patterns of the types that are taken; none takes all.
    :param by_type: bytes that are taken of types, by patterns; ``None`` is no limit. :param otherwise: bytes of others.
    """
    taken = ByType(dict.fromkeys(types, True)) if types else None
    limits = ByType(by_type) if by_type else None

    def hook(exchange: Exchange) -> Deferred[None] | None:
        request = exchange.request
        if request.length == 0 or (exchange.state != ASKING and not exchange.received):
            return None
        values = [f[1] for f in request.headers.fields if f[0] == b"content-type"]
        names = [media_type(value) for value in values] or [UNKNOWN]
        if taken is not None and not (len(names) == 1 and taken.get(names[0], False)):
            refusal = ProtocolError(CLIENT_CONTENT_TYPE, ", ".join(name[:80].decode("ascii") for name in names[:3]))
            if request.length or exchange.received or request.expects_continue:
                raise refusal
            # of a body without a length it is known with its first byte whether there is one
            return exchange.body_prefix(1).addCallback(_none, refusal)
        if limits is None:
            return None
        # of two types nobody knows which one a backend believes: the lesser limit holds
        most: int | None = None
        for name in names:
            limit = limits.get(name, otherwise)
            if limit is not None and (most is None or limit < most):
                most = limit
        exchange.max_body = most
        if most is not None and (request.length or exchange.received) > most:
            raise ProtocolError(CLIENT_BODY_TOO_LARGE, f"{names[0][:80].decode('ascii')}: more than {most} bytes")
        return None

    return hook


def _none(begins: bytes, refusal: ProtocolError) -> None:
    if begins:
        raise refusal
