"""What Twisted finds by itself: ``twistd revproxy`` and ``twistd --reactor=revproxy``."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

revproxy_service = ServiceMaker("revproxy", "revproxy.service", "An event-driven reverse proxy.", "revproxy")
revproxy_reactor = Reactor("revproxy", "revproxy.reactor", "epoll with a lean dispatch, for revproxy.")
