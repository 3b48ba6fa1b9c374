"""TLS with a folder of certificates for any Twisted service: ``revproxy-tls:certificates=certs:tcp\\:443``.

Rules of this module:

* what is written means what the keys of a listener's ``tls`` table mean, and is read and judged by the same code;
* what is wrong ends a starting process with one line, and is an exception as any other for who takes it: twistd, where
  such endpoints are written, knows no other way to say a line;
* a protocol is built when the handshake is done: half-open ones cost a buffer and a timer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    ILoggingContext,
    IProtocolNegotiationFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from revproxy.config.endpoints import server_endpoint
from revproxy.config.errors import nearest, show
from revproxy.config.structure import Structurer
from revproxy.config.tls import ListenTls
from revproxy.refusals import Refusals
from revproxy.tls.certificate import CertificateError
from revproxy.tls.entering import EnteringWire
from revproxy.tls.session import Session
from revproxy.tls.terminate import Terminator
from revproxy.tls.transport import SecureWire

_log = Logger()

#: The arguments of an endpoint string, and the keys of a ``tls`` table that they are.
ARGUMENTS = {
    "certificates": ("certificates",),
    "profile": ("profile",),
    "default": ("default",),
    "strictSni": ("strict_sni",),
    "clientCa": ("client", "ca"),
    "clientRequired": ("client", "required"),
    "handshakeTimeout": ("handshake_timeout",),
    "tickets": ("tickets",),
}
_SWITCHES = {"strictSni", "clientRequired"}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class WrittenWrong(ValueError, SystemExit):
    """An endpoint string that can't be used."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = f"revproxy-tls: {text}"  # what the interpreter says where nobody takes it


class NothingToServe(CertificateError, SystemExit):
    """Certificates that can't be served, when the endpoint starts to listen."""

    def __init__(self, error: CertificateError) -> None:
        super().__init__(str(error), error.source)
        self.code = f"revproxy-tls: {error}"


def parse(reactor: Any, *args: str, **options: str) -> SecureEndpoint:
    """The endpoint for the parts of an endpoint string. :raises WrittenWrong: what is wrong with them."""
    try:
        return _parse(reactor, args, options)
    except ValueError as error:
        raise WrittenWrong(str(error)) from None


def _parse(reactor: Any, args: Sequence[str], options: Mapping[str, str]) -> SecureEndpoint:
    # "tcp\\:443\\:interface=::1" looks like the argument "tcp:443:interface"
    inner = [*args, *(f"{name}={value}" for name, value in options.items() if ":" in name)]
    if len(inner) != 1:
        raise ValueError("it takes one endpoint, with its colons escaped, such as tcp\\:443")
    written = read_options({name: value for name, value in options.items() if ":" not in name})
    return SecureEndpoint(reactor, serverFromString(reactor, server_endpoint(inner[0])), written)


def read_options(options: Mapping[str, str]) -> ListenTls:
    """The ``tls`` table that the arguments of an endpoint string stand for. :raises ValueError: what is wrong."""
    table: dict[str, Any] = {}
    for name, text in options.items():
        if name not in ARGUMENTS:
            near = nearest(name, ARGUMENTS)
            raise ValueError(f"unknown argument {show(name)}" + (f"; did you mean {show(near)}?" if near else ""))
        value: Any = text
        if name in _SWITCHES:
            value = _TRUTH.get(text.lower())
            if value is None:
                raise ValueError(f"{show(text)} is not a switch; write {name}=true or {name}=false")
        within = table
        *above, key = ARGUMENTS[name]
        for word in above:
            within = within.setdefault(word, {})
        within[key] = value
    structurer = Structurer()
    written: ListenTls = structurer.table(ListenTls, table, ())
    if structurer.problems:
        problem = structurer.problems[0]
        names = {keys: name for name, keys in ARGUMENTS.items()}
        where = names.get(tuple(map(str, problem.key)), "")
        raise ValueError(f"{where}: {problem.text}" if where else problem.text)
    if written.strict_sni and written.default is not None:
        raise ValueError("default is for names that nothing is there for, which strictSni refuses; keep one")
    return written


@implementer(IStreamServerEndpoint)
class SecureEndpoint:
    """TLS over any endpoint.

    What is negotiated by ALPN is what the factory accepts, where it is an ``IProtocolNegotiationFactory``.

    :param inner: an ``IStreamServerEndpoint``. :param base: the folder that paths start from.
    """

    def __init__(self, reactor: Any, inner: Any, written: ListenTls, base: str = ".") -> None:
        self._reactor = reactor
        self._inner = inner
        self._written = written
        self._base = base

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        """Serve these protocols; fires with the port. Reads the certificates, which blocks.

        Fails with :exc:`~revproxy.tls.certificate.CertificateError` when there are none (:class:`NothingToServe`).
        """
        negotiating: Any = IProtocolNegotiationFactory(protocolFactory, None)
        names = () if negotiating is None else tuple(name.decode() for name in negotiating.acceptableProtocols())
        terminator = Terminator(self._written, self._base, self._reactor, protocols=names)
        try:
            terminator.start()
        except CertificateError as error:
            terminator.stop()
            return fail(NothingToServe(error))
        except Exception:
            terminator.stop()
            return fail()
        factory = SecureFactory(self._reactor, protocolFactory, terminator, self._written.handshake_timeout)

        def failed(failure: Any) -> Any:
            terminator.stop()
            return failure

        waiting: Deferred[Any] = self._inner.listen(factory)
        return waiting.addCallbacks(factory.listens, failed)


@implementer(ILoggingContext)
class SecureFactory(Factory):
    """Builds what another factory builds, with TLS below it.

    :param terminator: started. :param patience: seconds until a handshake is done.
    """

    noisy = False

    def __init__(self, reactor: Any, wrapped: Any, terminator: Terminator, patience: float) -> None:
        self.reactor = reactor
        self.wrapped = wrapped
        self.terminator = terminator
        self.patience = patience
        self.port = 0
        self.refusals = Refusals(reactor, _log)

    def logPrefix(self) -> str:
        """How Twisted names it in its log: "Site (TLS) starting on 8443"."""
        context: Any = ILoggingContext(self.wrapped, None)
        return f"{type(self.wrapped).__name__ if context is None else context.logPrefix()} (TLS)"

    def listens(self, port: Any) -> Any:
        """It does, on this port."""
        self.port = getattr(port.getHost(), "port", 0)
        return port

    def doStart(self) -> None:
        """Part of IProtocolFactory."""
        self.wrapped.doStart()
        super().doStart()

    def doStop(self) -> None:
        """Part of IProtocolFactory."""
        self.wrapped.doStop()
        super().doStop()

    def stopFactory(self) -> None:
        """Nobody listens any more; connections go on."""
        self.terminator.stop()
        self.refusals.rest()

    def buildProtocol(self, addr: Any) -> Any:
        """A connection of which TLS has to come yet."""
        return _Entrance(self, addr)


class _Entrance(EnteringWire):
    """A connection on its way to the protocol of another factory."""

    __slots__ = ("_address", "_factory")

    def __init__(self, factory: SecureFactory, address: Any) -> None:
        peer = getattr(address, "host", "")
        super().__init__(factory.reactor, factory.terminator, factory.refusals.refused, peer, factory.port)
        self._address = address
        self._factory = factory

    def connected(self) -> None:
        self.set_deadline(self._factory.patience)
        self.dataReceived = self.read_hello

    def shaken(self, session: Session, client: Any) -> None:
        wrapped = self._factory.wrapped
        self.become(SecureWire(self.clock, lambda: wrapped.buildProtocol(self._address)), session)
