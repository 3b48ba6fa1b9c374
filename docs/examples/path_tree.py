"""Paths by pattern, the most specific first: python path_tree.py [PORT [BACKEND]]"""

import sys

from twisted.internet import defer, task
from twisted.internet.endpoints import serverFromString
from twisted.web.server import Site
from twisted.web.static import Data

from revproxy import PathTree, ReverseProxyResource


def page(text):
    data = Data(text, "text/plain")
    data.isLeaf = True  # whatever comes below its path
    return data


async def main(reactor, port="8080", backend="tcp:127.0.0.1:9000"):
    paths = PathTree()
    paths.add("/*", page(b"the rest\n"))
    paths.add("/api/*", ReverseProxyResource(backend))
    paths.add("/api/version", page(b"1\n"))
    paths.add("~^/photo-[0-9]+$", ReverseProxyResource(backend, path="/photos"))

    listening = await serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(Site(paths))
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await defer.Deferred()  # until Ctrl-C


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
