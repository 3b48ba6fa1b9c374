"""A Klein application beside proxied paths: python klein_app.py [PORT [BACKEND]]"""

import sys

from klein import Klein
from twisted.internet import defer, task
from twisted.internet.endpoints import serverFromString

from revproxy import PathTree, ReverseProxyResource, ReverseProxySite

app = Klein()


@app.route("/")
def index(request):
    return "Klein answers\n"


@app.route("/hello/<name>")
async def hello(request, name):
    return f"hello {name}\n"


async def main(reactor, port="8080", backend="tcp:127.0.0.1:9000"):
    paths = PathTree()
    paths.add("/*", app.resource())
    paths.add("/api/*", ReverseProxyResource(backend))

    site = ReverseProxySite(paths)
    listening = await serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(site)
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await defer.Deferred()  # until Ctrl-C


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
