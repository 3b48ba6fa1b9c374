"""A process that keeps certificates by ACME, and answers the authority's questions itself.

Its argument is JSON: ``acme`` (the table), ``folder``, ``managers`` (how many share it), ``http`` and ``tls`` (ports).
It says ``renewed`` for each certificate that came.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.web.resource import Resource
from twisted.web.server import Site

from revproxy.config.tls import Acme
from revproxy.tls.acme import AcmeManager
from revproxy.tls.challenges import ACME_TLS, WELL_KNOWN, Challenges

reactor: Any = _reactor


class Http01(Resource):
    """Answers HTTP-01."""

    isLeaf = True

    def __init__(self, challenges: Challenges) -> None:
        super().__init__()
        self._challenges = challenges

    def render_GET(self, request: Any) -> bytes:
        found = None
        if request.path.startswith(WELL_KNOWN):
            found = self._challenges.files.get(request.path.removeprefix(WELL_KNOWN))
        if found is None:
            request.setResponseCode(404)
        return found or b""


def serve_tls_alpn(challenges: Challenges, port: int) -> None:
    """Answer TLS-ALPN-01, in a thread."""
    listener = socket.create_server(("127.0.0.1", port))
    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outer.set_alpn_protocols([ACME_TLS.decode()])

    def choose(connection: Any, name: str, context: Any) -> int | None:
        found = challenges.contexts.get(name)
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = found
        return None

    outer.sni_callback = choose  # type: ignore[assignment]  # typeshed wants another class of socket

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            try:
                with outer.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(1)
            except OSError as error:
                print("tls:", error, flush=True)

    threading.Thread(target=accept, daemon=True).start()


def main() -> None:
    options = json.loads(sys.argv[1])
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    challenges = Challenges()
    if options.get("http"):
        reactor.listenTCP(options["http"], Site(Http01(challenges)), interface="127.0.0.1")
    if options.get("tls"):
        serve_tls_alpn(challenges, options["tls"])
    table = {**options["acme"], "names": tuple(options["acme"]["names"])}

    def renewed() -> None:
        print("renewed", flush=True)

    managers = [
        AcmeManager(Acme(**table), options["folder"], challenges, reactor, renewed=renewed)
        for _ in range(options.get("managers", 1))
    ]
    for manager in managers:
        manager.start()

    def left(_: Any = None) -> None:
        print("left", len(challenges.files), len(challenges.contexts), flush=True)

    def stop() -> Any:
        for manager in managers[1:]:
            manager.stop()
        return managers[0].stop().addCallback(left)

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    reactor.run()


if __name__ == "__main__":
    main()
