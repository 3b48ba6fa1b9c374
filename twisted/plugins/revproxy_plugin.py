"""What Twisted finds by itself: ``twistd revproxy``, ``twistd --reactor=revproxy`` and ``revproxy-tls:`` endpoints."""

from typing import Any

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class SecureEndpointParser:
    """Reads ``revproxy-tls:certificates=FOLDER:INNER``, INNER being an endpoint string with its colons escaped."""

    prefix = "revproxy-tls"

    def parseStreamServer(self, reactor: Any, *args: str, **options: str) -> Any:
        from revproxy.tls.endpoint import parse  # every twistd imports this module, and few need TLS

        return parse(reactor, *args, **options)


revproxy_service = ServiceMaker("revproxy", "revproxy.service", "An event-driven reverse proxy.", "revproxy")
revproxy_reactor = Reactor("revproxy", "revproxy.reactor", "epoll with a lean dispatch, for revproxy.")
revproxy_tls = SecureEndpointParser()
