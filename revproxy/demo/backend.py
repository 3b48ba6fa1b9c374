"""One demo backend: a ``twisted.web`` Site whose channel streams uploads and can be upgraded.

Rules of this module:

* a body is counted, never kept: of each only the first :data:`KEPT` bytes stay, for the echo. A
  stock Site holds whole bodies; here the request is given a file that forgets;
* the channel hands its bytes to another protocol once a request was upgraded;
* every number that a client gives is bounded.
"""

from __future__ import annotations

import io
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site

from revproxy.demo.resources import make_tree

#: Bytes of a request body that are kept, to be shown by ``/api/``.
KEPT = 64 * 1024

#: Seconds a connection may be idle between requests. Longer than what proxies keep connections for.
IDLE = 300


class CountedBody(io.BytesIO):
    """The file a request body is written to: counts all of it, keeps the first ``KEPT`` bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.received = 0

    def write(self, data: Any) -> int:
        """Count ``data`` and keep what still fits."""
        room = KEPT - self.received
        self.received += len(data)
        if room > 0:
            super().write(data[:room])
        return len(data)


class BackendRequest(Request):
    """A request whose body goes into a :class:`CountedBody`."""

    channel: BackendChannel
    content: CountedBody

    def gotLength(self, length: int | None) -> None:
        """Be told of the body, before its first byte."""
        self.content = CountedBody()

    def upgrade(self, protocol: Protocol) -> None:
        """Hand the connection to ``protocol``; the 101 must have been written."""
        self.channel.upgrade(protocol)


class BackendChannel(HTTPChannel):
    """An HTTP/1.1 server connection that can change to another protocol."""

    upgraded: Protocol | None = None
    transport: Any

    def upgrade(self, protocol: Protocol) -> None:
        """Give ``protocol`` every byte from here on; this channel becomes its transport."""
        self.upgraded = protocol
        protocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        """Parse requests, or pass everything on."""
        if self.upgraded is not None:
            self.upgraded.dataReceived(data)
        else:
            super().dataReceived(data)

    def rawDataReceived(self, data: bytes) -> None:
        """Pass on what came in one read with the upgrading request."""
        if self.upgraded is not None:
            self.upgraded.dataReceived(data)
        else:
            super().rawDataReceived(data)

    def pauseProducing(self) -> None:
        """Stop reading while the client does not: the stock channel does so only between requests."""
        super().pauseProducing()
        if self.upgraded is not None:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        super().resumeProducing()
        if self.upgraded is not None:
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol that took over, too."""
        super().connectionLost(reason)
        if self.upgraded is not None:
            self.upgraded.connectionLost(reason)


class BackendSite(Site):
    """A Site of :class:`BackendChannel`; it keeps no access log."""

    protocol = BackendChannel  # type: ignore[assignment]  # Site names its own wrapper, any channel will do
    displayTracebacks = False

    def log(self, request: Any) -> None:
        """Say nothing: the proxy in front has the log to look at."""


def make_backend(reactor: Any, name: str) -> Site:
    """Return the factory of a demo backend that calls itself ``name``.

    reactor: IReactorTime, for the slow answers and the idle connections.
    """
    return BackendSite(
        make_tree(reactor, name),
        requestFactory=BackendRequest,
        parsePOSTFormSubmission=False,
        reactor=reactor,
        timeout=IDLE,
    )
