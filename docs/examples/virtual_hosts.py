"""Several hosts on one port, proxied or not: python virtual_hosts.py [PORT [BACKEND]]"""

import sys

from twisted.internet import defer, task
from twisted.internet.endpoints import serverFromString
from twisted.web.server import Site
from twisted.web.static import Data

from revproxy import ReverseProxyResource, VirtualHosts


def page(text):
    data = Data(text, "text/plain")
    data.isLeaf = True  # whatever comes below its path
    return data


async def main(reactor, port="8080", backend="tcp:127.0.0.1:9000"):
    hosts = VirtualHosts(default=page(b"nobody by that name lives here\n"))
    hosts.add("www.example.com", page(b"welcome\n"))
    hosts.add("api.example.com", ReverseProxyResource(backend))
    hosts.add("*.users.example.com", ReverseProxyResource(backend, path="/users"))

    listening = await serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(Site(hosts))
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await defer.Deferred()  # until Ctrl-C


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
