"""A proxied path in an ordinary twisted.web Site: python embed_resource.py [PORT [BACKEND]]"""

import sys

from twisted.internet import defer, task
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from revproxy import ReverseProxyResource


async def main(reactor, port="8080", backend="tcp:127.0.0.1:9000"):
    root = Resource()
    root.putChild(b"", Data(b"this page is served here\n", "text/plain"))
    # /api/x here is /x there
    root.putChild(b"api", ReverseProxyResource(backend))
    # /old/x here is /v1/x there
    root.putChild(b"old", ReverseProxyResource(backend, path="/v1"))

    listening = await serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(Site(root))
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await defer.Deferred()  # until Ctrl-C


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
