"""Services of Twisted behind endpoint strings: ``endpoint_process.py FOLDER SIZE``.

It says ``NAME PORT`` for each: a stock Site and a ReverseProxySite, each over ``revproxy-tls:`` and ``ssl:``, and lines
that come back reversed. A Site has ``/told`` and ``/big`` (of SIZE bytes).
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.python import log
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File

from revproxy.downstream.site import ReverseProxySite

reactor: Any = installed


class Reversed(LineReceiver):
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line[::-1])
        if line == b"bye":
            self.transport.loseConnection()


class Told(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"secure" if request.isSecure() else b"not secure"

    def render_POST(self, request: Any) -> bytes:
        return b"%d" % len(request.content.read())


def main(folder: str, size: str) -> None:
    log.startLogging(sys.stderr, setStdout=False)
    with open(f"{folder}/big", "wb") as big:
        big.truncate(int(size))
    root = Resource()
    root.putChild(b"told", Told())
    root.putChild(b"big", File(f"{folder}/big"))
    ours = f"revproxy-tls:certificates={folder}/certs:default=a.example:tcp\\:0\\:interface=127.0.0.1"
    plain = f"ssl:0:interface=127.0.0.1:privateKey={folder}/certs/a.key:certKey={folder}/certs/a.pem"
    services: list[tuple[str, str, Any]] = [
        ("stock", ours, Site(root)),
        ("site", ours, ReverseProxySite(root)),
        ("stock-ssl", plain, Site(root)),
        ("site-ssl", plain, ReverseProxySite(root)),
        ("lines", ours, Factory.forProtocol(Reversed)),
    ]
    for name, endpoint, factory in services:

        def listens(port: Any, name: str = name) -> None:
            print(f"{name} {port.getHost().port}", flush=True)

        serverFromString(reactor, endpoint).listen(factory).addCallbacks(listens, log.err)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
