"""A Site that streams uploads and switches protocols: python site.py [PORT [BACKEND]]"""

import sys

from twisted.internet import defer, task
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.static import Data

from revproxy import ReverseProxyResource, ReverseProxySite


async def main(reactor, port="8080", backend="tcp:127.0.0.1:9000"):
    root = Resource()
    root.putChild(b"", Data(b"this page is served here\n", "text/plain"))
    root.putChild(b"api", ReverseProxyResource(backend))

    # the only line that differs from a stock Site
    site = ReverseProxySite(root)
    listening = await serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(site)
    # what is put into the tree later counts from the next request on
    root.putChild(b"late", ReverseProxyResource(backend))
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await defer.Deferred()  # until Ctrl-C


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
