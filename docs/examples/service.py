"""A whole proxy as a service beside others: PORT=8080 BACKEND=tcp:127.0.0.1:9000 twistd -ny service.py

``python service.py`` does the same without twistd.
"""

import os

from twisted.application import service

from revproxy import ReverseProxyService
from revproxy.config.model import AccessLog, Backend, Config, Listen, Match, Respond, Route, Upstream

PORT = os.environ.get("PORT", "8080")
BACKEND = os.environ.get("BACKEND", "tcp:127.0.0.1:9000")

proxy = ReverseProxyService(
    Config(
        access_log=AccessLog(enabled=False),
        listen=(Listen(endpoint=f"tcp:{PORT}:interface=127.0.0.1"),),
        upstreams={"app": Upstream(backends=(Backend(endpoint=BACKEND),))},
        routes=(
            Route(upstream="app"),
            Route(match=Match(path=("/about",)), respond=Respond(body="answered by the proxy\n")),
        ),
    )
)
everything = service.MultiService()
proxy.setServiceParent(everything)
# … and your own services

application = service.Application("proxy and more")
everything.setServiceParent(application)

if __name__ == "__main__":
    from twisted.internet import reactor

    def started():
        print(f"http://127.0.0.1:{proxy.ports[0].getHost().port}/", flush=True)

    everything.startService()
    reactor.callWhenRunning(started)
    reactor.addSystemEventTrigger("before", "shutdown", everything.stopService)
    reactor.run()
