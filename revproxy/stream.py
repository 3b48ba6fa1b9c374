"""The verbs of both sides of an exchange, and the table that says who may end first.

Rules of this module:

* clients and backends offer the same six verbs, whatever they are made of;
* the state of an exchange is one number, and what follows from an event is one look-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from zope.interface import Attribute, Interface

from revproxy.fault import Fault


class MessageStream(Interface):  # type: ignore[misc]  # zope.interface has no stubs
    """One side of an exchange; clients and backends offer the same verbs."""

    exchange = Attribute("the exchange it takes part in, or None")

    def write_head(head: Any, first: bytes = b"", ended: bool = False) -> None:
        """A head, with what is there of the body, so that both leave in one write.

        1xx heads may come first; after 101 the same verbs tunnel.
        """

    def write_body(data: bytes) -> None:
        """Body bytes, not empty."""

    def end(trailers: Sequence[Any] = ()) -> None:
        """The body is complete."""

    def abort(fault: Fault) -> None:
        """Give up at once, so that the peer can tell that something is missing."""

    def pause_reading(why: int) -> None:
        """Read no more for this reason (a bit); several may hold at once."""

    def resume_reading(why: int) -> None:
        """This reason is gone; reading goes on when none is left."""


class Filter(Protocol):
    """Changes the body of a response on its way, as compression does; it stands between the sink and the client.

    It hands on by :meth:`~revproxy.exchange.Exchange.pass_head` (once, at any time after ``begin``) and
    ``pass_body``. When it has nothing more to do it takes itself off the exchange; then ``response_end`` ends that.
    """

    def begin(self, first: bytes, ended: bool) -> None:
        """The head may go out; what is there of the body, and whether that is all."""

    def feed(self, data: bytes) -> None:
        """Body bytes."""

    def end(self, trailers: Sequence[Any]) -> None:
        """The body is complete."""

    def drop(self) -> None:
        """Nobody wants the rest: nothing may be handed on any more."""


# The one transition table: who may end or abort first, and what that means.
ASKING, ASKED, EARLY, ANSWERING, TUNNEL, TUNNEL_DOWN, TUNNEL_UP, DONE = range(8)
REQUEST_END, HEAD, RESPONSE_END, SWITCH = range(4)
NO = -1
TABLE = (
    # REQUEST_END, HEAD, RESPONSE_END, SWITCH; a failure leads from anywhere to DONE
    (ASKED, EARLY, NO, NO),  # ASKING: the request's body is still coming
    (NO, ANSWERING, NO, TUNNEL),  # ASKED: the backend's turn
    (ANSWERING, NO, DONE, NO),  # EARLY: both bodies are moving
    (NO, NO, DONE, NO),  # ANSWERING: the response's body is moving
    (TUNNEL_DOWN, NO, TUNNEL_UP, NO),  # TUNNEL: bytes both ways
    (NO, NO, DONE, NO),  # TUNNEL_DOWN: only the backend still sends
    (DONE, NO, NO, NO),  # TUNNEL_UP: only the client still sends
    (DONE, NO, DONE, NO),  # DONE: the client's connection drains the rest
)
