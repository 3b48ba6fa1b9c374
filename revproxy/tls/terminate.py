"""TLS to clients, decided: from a ClientHello to a connection of OpenSSL that is ready for its handshake.

Rules of this module:

* no sockets: who has some reads a hello, asks here, and feeds the buffers;
* what will fail is refused before OpenSSL does any work, with the right alert and a word for the log;
* tickets are good with the listener that gave them. Its keys are changed by new initial contexts, on time; who comes
  with an older ticket shakes hands in full;
* a connection that proves control of a name to an ACME authority (RFC 8737) is made from a context that asks no
  certificate of the client and gives no tickets: with one of them it would be let in elsewhere.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from revproxy.config.tls import ListenTls
from revproxy.threads import in_thread
from revproxy.tls import hello as tls
from revproxy.tls.certificate import Certificate
from revproxy.tls.challenges import ACME_TLS, Challenges
from revproxy.tls.context import GROUPS, certificate_context, initial_context
from revproxy.tls.hello import TLS12, TLS13, Hello
from revproxy.tls.internal import INTERVAL, ensure
from revproxy.tls.store import CertificateStore
from revproxy.turns import Turns

_log = Logger()

#: Handshakes that are begun in one turn of the reactor, a millisecond each: who is connected is served in between.
_HANDSHAKES = 4


class Refused(Exception):
    """A client that gets no connection. ``word`` is for counting, ``detail`` for the log.

    :ivar alert: what to answer.
    """

    def __init__(self, alert: int, word: str, detail: str) -> None:
        super().__init__(detail)
        self.alert = alert
        self.word = word
        self.detail = detail


class Accepted:
    """A connection of OpenSSL before its handshake; the hello has to be written into ``incoming`` again.

    :ivar certificate: the one that is served; ``None`` for an ACME authority's check, which
        ends with the handshake: no client may speak HTTP on it (RFC 8737 3).
    """

    __slots__ = ("ssl", "incoming", "outgoing", "certificate")

    def __init__(self, initial: ssl.SSLContext, context: ssl.SSLContext, certificate: Certificate | None) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = initial.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.ssl.context = context
        self.certificate = certificate


class Terminator:
    """Decides about the clients of one listener.

    :param base: the folder that relative paths start from. :param challenges: what an ACME authority may check.
    :param now: gives Unix time. :param protocols: of ALPN, best first, in place of those for HTTP; with none of them
        there is no ALPN, whatever a client offers. :ivar store: its certificates. :ivar turns: to begin a handshake.
    """

    __slots__ = (
        "_any", "_challenges", "_check", "_initial", "_making", "_offered", "_reactor", "_rotating", "_versions",
        "_now", "_written", "store", "turns",
    )  # fmt: skip

    def __init__(
        self,
        written: ListenTls,
        base: str,
        reactor: Any,
        challenges: Challenges | None = None,
        now: Callable[[], float] = time.time,
        *,
        protocols: tuple[str, ...] | None = None,
    ) -> None:
        self._written = written
        self._reactor = reactor
        self._challenges = challenges
        self._now = now
        self.turns = Turns(reactor, _HANDSHAKES)
        if protocols is None:
            protocols = ("h2", "http/1.1") if written.http2 else ("http/1.1",)
        names = protocols
        self._offered = frozenset(name.encode() for name in names)
        self._versions = frozenset((TLS13,) if written.profile == "modern" else (TLS12, TLS13))

        def context(certificate: Certificate) -> ssl.SSLContext:
            return certificate_context(certificate, written.profile, names, written.client, base)

        self.store = CertificateStore(
            os.path.join(base, written.certificates),
            context,
            default=written.default,
            strict=written.strict_sni,
            reactor=reactor,
            now=now,
        )
        self._check = initial_context(written.profile, None, tickets=False)
        self._rotate()
        self._rotating = LoopingCall(self._rotate)
        self._making = LoopingCall(self._make_internal)
        self._rotating.clock = self._making.clock = reactor

    @property
    def asks_certificates(self) -> bool:
        """Whether clients are asked for theirs."""
        return self._written.client is not None

    def start(self) -> None:
        """Read the certificates and begin to watch them. Blocks.

        :raises CertificateError: when there is nothing to serve, unless ACME will bring it.
        """
        acme = self._written.acme
        if acme == "internal":
            ensure(self.store.folder, self._now())
        self.store.start(may_be_empty=acme is not None and acme != "internal")
        self._rotating.start(self._written.tickets, now=False)
        if acme == "internal":
            self._making.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Stop watching, and plan nothing more; connections that were made go on."""
        self.store.stop()
        self.turns.rest()
        for loop in (self._rotating, self._making):
            if loop.running:
                loop.stop()

    def accept(self, hello: Hello) -> Accepted:
        """Make the connection for a client.

        :raises Refused: when there can't be one.
        """
        versions = self._versions
        if versions.isdisjoint(hello.versions):
            raise Refused(tls.PROTOCOL_VERSION, "version", f"it speaks {_hexadecimal(hello.versions)} only")
        protocols = hello.protocols
        if protocols:
            if ACME_TLS in protocols:
                return self._challenged(hello)
            if self._offered and self._offered.isdisjoint(protocols):
                raise Refused(tls.NO_APPLICATION_PROTOCOL, "alpn", f"it speaks {protocols[:5]!r:.200} only")
        served = self.store.pick(hello)
        if served is None:
            name = hello.server_name
            detail = "no certificate for it" if name is None else f"no certificate for {name}"
            raise Refused(tls.UNRECOGNIZED_NAME, "name", detail)
        return Accepted(self._initial_for(hello), served.context, served.certificate)

    def _challenged(self, hello: Hello) -> Accepted:
        name = hello.server_name
        challenges = self._challenges
        context = None if challenges is None or name is None else challenges.contexts.get(name)
        if context is None:
            raise Refused(tls.NO_APPLICATION_PROTOCOL, "acme", f"no challenge is under way for {name or 'no name'}")
        return Accepted(self._check, context, None)

    def _initial_for(self, hello: Hello) -> ssl.SSLContext:
        """The initial context with the group of the key exchange: that of a key share saves a round trip."""
        groups = hello.groups
        initial = self._initial
        if TLS13 in hello.versions:
            for group in GROUPS:
                if group in hello.key_shares and group in groups:
                    return initial[group]
        elif self._any is not None:
            if groups and not any(group in groups for group in GROUPS):
                raise Refused(tls.HANDSHAKE_FAILURE, "group", f"it has the groups {_hexadecimal(groups)} only")
            return self._any
        elif not groups:
            return initial[23]  # it said nothing: RFC 8422 4 leaves it to us, and everybody has P-256
        for group in GROUPS:
            if group in groups:
                return initial[group]
        raise Refused(tls.HANDSHAKE_FAILURE, "group", f"it has the groups {_hexadecimal(groups)} only")

    def _rotate(self) -> None:
        """New initial contexts, which have new ticket keys. Takes a millisecond for each."""
        written = self._written
        client = written.client
        self._initial = {group: initial_context(written.profile, group, client) for group in GROUPS}
        self._any = None if client is None else initial_context(written.profile, None, client)

    def _make_internal(self) -> Deferred[None]:
        async def make() -> None:
            if await in_thread(self._reactor, ensure, self.store.folder, self._now()):
                await self.store.rescan()

        return ensureDeferred(make()).addErrback(
            lambda failure: _log.failure("no certificate for localhost can be made", failure)
        )


def _hexadecimal(numbers: tuple[int, ...]) -> str:
    return ", ".join(f"0x{number:04x}" for number in numbers[:8]) or "nothing"
