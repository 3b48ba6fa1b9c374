"""A response as users of ``twisted.web.client`` know it.

Rules of this module:

* what came before ``deliverBody`` is held, and the caller keeps the backend paused;
* ``connectionLost`` of the reader says how the body ended: ``ResponseDone``, ``PotentialDataLoss``
  where only the closing of the connection told, ``ResponseFailed`` where it was cut.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers as WebHeaders
from twisted.web.iweb import UNKNOWN_LENGTH, IClientRequest, IResponse
from zope.interface import implementer

from revproxy.http.message import CODING, Response


@implementer(IClientRequest)
@frozen(eq=False)
class ClientRequest:
    """What a response says of its request."""

    method: bytes
    absoluteURI: bytes
    headers: WebHeaders


@implementer(IResponse, IPushProducer)
class AgentResponse:
    """A response as ``twisted.web.client`` users know it; also the transport that its reader gets.

    ``deliverBody`` gives the body to a protocol as it comes; the protocol may pause it.
    """

    def __init__(self, caller: Any, response: Response, request: ClientRequest, method: bytes) -> None:
        self.version = (b"HTTP", 1, 1)
        self.code = response.status
        self.phrase = response.reason
        self.headers = WebHeaders()
        for name, value in response.headers.items():
            self.headers.addRawHeader(name, value)
        bodiless = method == b"HEAD" or response.status in (204, 304)
        self.length: Any = 0 if bodiless else UNKNOWN_LENGTH if response.length is None else response.length
        self.request = request
        self.previousResponse: Any = None
        # an end that only the closing of the connection tells may have come too early
        self._certain = bodiless or response.length is not None or bool(response.kinds & CODING)
        self._caller = caller
        self._held: list[bytes] = []
        self._protocol: Any = None
        self._delivered = False
        self._paused = False
        self._reason: Failure | None = None

    def setPreviousResponse(self, response: Any) -> None:
        self.previousResponse = response

    def deliverBody(self, protocol: Any) -> None:
        """Give the body to an ``IProtocol``; its ``connectionLost`` says how it ended.

        :raises RuntimeError: when the body was given away already.
        """
        if self._delivered:
            raise RuntimeError("the body of a response can be delivered once")
        self._delivered = True
        self._protocol = protocol
        protocol.makeConnection(self)
        self._pass_on()
        if not self._paused and self._reason is None:
            self._caller.resume()

    def _pass_on(self) -> None:
        while self._held and not self._paused and self._protocol is not None:
            self._protocol.dataReceived(self._held.pop(0))
        if self._reason is not None and not self._held and self._protocol is not None:
            protocol, self._protocol = self._protocol, None
            protocol.connectionLost(self._reason)

    # -- from the exchange

    def data(self, data: bytes) -> None:
        self._held.append(data)
        self._pass_on()

    def complete(self) -> None:
        self.lost(Failure(ResponseDone() if self._certain else PotentialDataLoss()))

    def lost(self, reason: Failure) -> None:
        if self._reason is None:
            self._reason = reason
            self._pass_on()

    # -- the transport of the protocol

    def pauseProducing(self) -> None:
        self._paused = True
        self._caller.pause()

    def resumeProducing(self) -> None:
        self._paused = False
        self._pass_on()
        if not self._paused and self._reason is None:
            self._caller.resume()

    def stopProducing(self) -> None:
        """Give the rest up; the protocol hears of it by ``connectionLost``."""
        if self._reason is None:
            self._held = []
            self._paused = False
            self._caller.leave()
            self.lost(Failure(ResponseFailed([Failure(ConnectionAborted())])))

    loseConnection = abortConnection = stopProducing

    @property
    def disconnecting(self) -> bool:
        """Whether the body has ended."""
        return self._reason is not None
