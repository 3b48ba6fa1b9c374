"""One question to name servers (RFC 1035), over UDP and, when the answer is cut, over TCP.

Rules of this module:

* messages are read and written by :mod:`twisted.names.dns`; the exchange is our own, because that of
  ``twisted.names.client.Resolver`` can't be cancelled without leaving timers, sockets and connections behind;
* each try has a socket of its own with a port that the system chose, connected to the server: nobody else is heard,
  and a port where nobody listens is known at once;
* an answer has to have the number and the question of ours (RFC 5452, section 4); anything else is ignored;
* the next server is asked when one does not answer or says that it can't; that a name does not exist is an answer.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory, connectionDone
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.upstream.discovery.report import NoAnswer

#: Seconds that a server has, round by round; those that were silent are asked in the next one, too.
WAITS = (1.0, 2.0, 3.0)

#: Bytes of a datagram, and datagrams that are read in one go.
_DATAGRAM, _READS = 4096, 8

Server = tuple[str, int]

_CODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class NoSuchName(NoAnswer):
    """NXDOMAIN: the name does not exist."""


class _Silence(NoAnswer):
    """Nothing came in time; it may have been lost on the way."""


class NameServers:
    """Asks one server after the other.

    :param servers: addresses and ports, in the order in which they are asked.
    :param randbelow: chooses the number of a message. :param make_socket: makes a socket of a family and a kind.
    """

    __slots__ = ("_randbelow", "_reactor", "_socket", "servers")

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[Server],
        randbelow: Callable[[int], int] = secrets.randbelow,
        make_socket: Callable[[int, int], Any] = socket.socket,
    ) -> None:
        self.servers = tuple(servers)
        self._reactor = reactor
        self._randbelow = randbelow
        self._socket = make_socket

    async def ask(self, name: str, kind: int) -> dns.Message:
        """The answer to a question of class IN, which may be empty.

        :param name: an absolute name, in A-labels, without the final dot.
        :param kind: a record type, such as ``dns.AAAA``.
        :raises NoSuchName: NXDOMAIN. :raises NoAnswer: when no server has a usable answer.
        """
        why = "no name servers"
        servers = list(self.servers)
        for wait in WAITS:
            for server in tuple(servers):
                try:
                    message = await self._exchange(server, name, kind, wait)
                except _Silence as error:
                    why = str(error)
                    continue
                except NoAnswer as error:
                    servers.remove(server)
                    why = str(error)
                    continue
                if message.rCode == dns.ENAME:
                    raise NoSuchName("NXDOMAIN")
                if message.rCode == dns.OK:
                    return message
                servers.remove(server)
                why = f"{_CODES.get(message.rCode, f'code {message.rCode}')} from {_shown(server)}"
        raise NoAnswer(why)

    async def _exchange(self, server: Server, name: str, kind: int, wait: float) -> dns.Message:
        number = self._randbelow(65536)
        query = dns.Message(number, recDes=1)
        query.addQuery(name.encode("ascii"), kind, dns.IN)
        try:
            message = await self._over_udp(server, query).addTimeout(wait, self._reactor)
            if message.trunc:
                message = await self._over_tcp(server, query).addTimeout(wait, self._reactor)
        except TimeoutError:
            raise _Silence(f"no answer from {_shown(server)}") from None
        except (OSError, ConnectError) as error:
            raise NoAnswer(f"{_shown(server)}: {getattr(error, 'strerror', None) or error}") from None
        if message.trunc:
            raise NoAnswer(f"a truncated answer over TCP from {_shown(server)}")
        return message

    def _over_udp(self, server: Server, query: dns.Message) -> Deferred[dns.Message]:
        protocol = _Datagram(server, query, self._reactor, self._socket)

        def close(result: Any) -> Any:
            protocol.close()
            return result

        return protocol.answer.addBoth(close)

    def _over_tcp(self, server: Server, query: dns.Message) -> Deferred[dns.Message]:
        kind = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
        protocols: list[_Stream] = []

        def build() -> _Stream:
            protocols.append(_Stream(server, query))
            return protocols[-1]

        def close(result: Any) -> Any:
            for protocol in protocols:
                if protocol.transport is not None:
                    protocol.transport.abortConnection()
            return result

        endpoint: Any = kind(self._reactor, *server)
        factory = Factory.forProtocol(build)
        factory.noisy = False
        connecting: Deferred[Any] = endpoint.connect(factory)
        connecting.addCallbacks(lambda protocol: protocol.answer, _cancelled)
        return connecting.addBoth(close)


class _Question:
    """What was asked, and whether a message answers it."""

    def __init__(self, server: Server, query: dns.Message) -> None:
        self.server = server
        self.query = query
        self.answer: Deferred[dns.Message] = Deferred()

    def take(self, data: bytes) -> None:
        """Take a message; what is no answer to our question is ignored."""
        message = dns.Message()
        try:
            message.fromStr(data)
        except Exception:
            return  # a stranger's bytes; which errors the reader raises for them is not said anywhere
        ours = self.query
        if message.id == ours.id and message.answer and not message.opCode and message.queries == ours.queries:
            self.ends(message)

    def ends(self, result: dns.Message | Failure) -> None:
        """Tell the result, once."""
        if not self.answer.called:
            self.answer.callback(result)


@implementer(IReadDescriptor)
class _Datagram(_Question):
    """A socket of its own for one question. Twisted's UDP port would write two lines of log for each."""

    def __init__(self, server: Server, query: dns.Message, reactor: Any, make: Callable[[int, int], Any]) -> None:
        super().__init__(server, query)
        self._reactor = reactor
        self._socket = make(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(server)
            self._socket.send(query.toStr())
        except OSError:
            self._socket.close()
            raise
        reactor.addReader(self)

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def logPrefix(self) -> str:
        return "dns"

    def doRead(self) -> None:
        for _ in range(_READS):
            if self.answer.called:
                return
            try:
                data = self._socket.recv(_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionRefusedError:
                self.ends(Failure(NoAnswer(f"{_shown(self.server)} refused: nobody listens there")))
            except OSError as error:
                self.ends(Failure(error))
            else:
                self.take(data)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given it up: it ends, or the socket has an error, which epoll tells this way."""
        self.doRead()
        self.ends(Failure(NoAnswer(f"the socket to {_shown(self.server)} was closed")))

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()


class _Stream(_Question, Int16StringReceiver):
    def connectionMade(self) -> None:
        self.sendString(self.query.toStr())

    def stringReceived(self, string: bytes) -> None:
        self.take(string)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ends(Failure(NoAnswer(f"{_shown(self.server)} closed the connection")))


def _cancelled(failure: Failure) -> Failure:
    """A connection that was cancelled, in the word that all other Deferreds have for it."""
    return Failure(CancelledError()) if failure.check(ConnectingCancelledError) else failure


def _shown(server: Server) -> str:
    host, port = server
    if port == dns.PORT:
        return host
    return f"[{host}]:{port}" if ip_address(host.partition("%")[0]).version == 6 else f"{host}:{port}"
