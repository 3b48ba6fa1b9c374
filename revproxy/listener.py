"""One listener: its endpoint, what it speaks, and what goes with it: certificates, ACME, PROXY protocol.

Rules of this module:

* everything is made before anything is opened, and what an operator got wrong is raised as it is found;
* what belongs to a listener starts and stops with it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString

from revproxy.config import model
from revproxy.config.conditions import in_networks
from revproxy.config.endpoints import TLS_TYPES, server_endpoint, split_endpoint
from revproxy.downstream.factory import ClientFactory
from revproxy.engine import Engine
from revproxy.middleware.browsers import hsts_value
from revproxy.tls.challenges import Challenges
from revproxy.tls.terminate import Terminator

if TYPE_CHECKING:
    from revproxy.tls.acme import AcmeManager

#: Endpoint types of Twisted's that put nothing between a listener and its factory.
_BARE = ("tcp", "tcp4", "tcp6", "unix", "systemd", "")
#: Endpoint types under which HTTP comes by TLS.
_SECURE = (*TLS_TYPES, "revproxy-tls")


def scheme_of(endpoint: str) -> bytes:
    """``b"https"`` where the endpoint speaks TLS itself, else ``b"http"``."""
    return b"https" if split_endpoint(endpoint)[0] in _SECURE else b"http"


def client_factory(written: model.Listen, engine: Engine, terminator: Terminator | None = None) -> ClientFactory:
    """What builds the connections of a listener, whose ``proxy_protocol`` peers are never banned from now on.

    :param terminator: its TLS; without, bytes come as if it were done.
    """
    tls = written.tls
    proxied = in_networks(written.proxy_protocol) if written.proxy_protocol else None
    if proxied is not None and engine.bans is not None:
        engine.bans.spare(proxied)  # the connection is theirs, whoever sends on it
    scheme = scheme_of(written.endpoint) if tls is None else b"https"
    return ClientFactory(
        engine,
        written.name or written.endpoint,
        scheme,
        terminator=terminator,
        hsts=b"" if tls is None or tls.hsts is None else hsts_value(tls.hsts),
        proxied=proxied,
        http2=written.http2 or (tls is None and scheme == b"https"),
        bare=split_endpoint(written.endpoint)[0] in _BARE,
        patience=engine.server.timeouts.head if tls is None else tls.handshake_timeout,
    )


class Listener:
    """A ``[[listen]]`` table, live.

    :param base: the folder that paths start from. :param challenges: those of the whole process.
    :ivar factory: builds its connections. :ivar port: what listens, once it does.
    :raises ValueError: when certificates can't be had. :raises OSError: when files can't be read.
    """

    def __init__(self, written: model.Listen, base: str, engine: Engine, challenges: Challenges) -> None:
        self.written = written
        self.port: Any = None
        self._reactor = engine.reactor
        tls = written.tls
        self.terminator = None if tls is None else Terminator(tls, base, engine.reactor, challenges)
        self.factory = client_factory(written, engine, self.terminator)
        self._acme: AcmeManager | None = None
        if tls is not None and isinstance(tls.acme, model.Acme):
            assert self.terminator is not None
            folder = os.path.join(base, tls.certificates)
            # imported where it is used: twisted.web's client and more, 70 ms of every start
            from revproxy.tls.acme import AcmeManager

            self._acme = AcmeManager(tls.acme, folder, challenges, engine.reactor, renewed=self.terminator.store.rescan)

    def listen(self) -> Deferred[Any]:
        """Open it; fires with its address. :raises Exception: whatever the endpoint raises."""
        if self.terminator is not None:
            if self._acme is not None:  # what it orders is kept there
                os.makedirs(self.terminator.store.folder, mode=0o700, exist_ok=True)
            self.terminator.start()
        endpoint = serverFromString(self._reactor, server_endpoint(self.written.endpoint))
        waiting: Deferred[Any] = endpoint.listen(self.factory)
        return waiting.addCallback(self._listens)

    def _listens(self, port: Any) -> Any:
        self.port = port
        address = port.getHost()
        self.factory.listening(address)
        if self._acme is not None:
            self._acme.start()
        return address

    async def stop(self) -> None:
        """Accept nothing more, and renew nothing more; connections that are there go on."""
        port, self.port = self.port, None
        if self._acme is not None:
            await maybeDeferred(self._acme.stop)
        if port is not None:
            await maybeDeferred(port.stopListening)

    def close(self) -> None:
        """No connection is left."""
        if self.terminator is not None:
            self.terminator.stop()
