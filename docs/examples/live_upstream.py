"""A live upstream, and a page that takes its backends out: python live_upstream.py [PORT [BACKEND ...]]"""

import sys

from twisted.internet import defer, task
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource

from revproxy import ReverseProxyResource, ReverseProxySite, Upstream
from revproxy.config import model


class Backends(Resource):
    """GET shows the backends; POST ?drain=ADDRESS and ?resume=ADDRESS change one."""

    isLeaf = True

    def __init__(self, upstream):
        super().__init__()
        self.upstream = upstream

    def render_GET(self, request):
        request.setHeader("content-type", "text/plain")
        return "".join(f"{one.name} {one.state}\n" for one in self.upstream.backends).encode()

    def render_POST(self, request):
        try:
            for address in request.args.get(b"drain", ()):
                self.upstream.drain(address.decode())
            for address in request.args.get(b"resume", ()):
                self.upstream.resume(address.decode())
        except KeyError as error:  # no such backend
            request.setResponseCode(404)
            return f"{error.args[0]}\n".encode()
        return self.render_GET(request)


async def main(reactor, port="8080", *addresses):
    written = model.Upstream(
        backends=tuple(model.Backend(endpoint=address) for address in addresses or ("tcp:127.0.0.1:9000",)),
        balance="least-requests",
        health=model.HealthCheck(type="tcp", interval=2.0),
    )
    upstream = Upstream("app", written, reactor)
    upstream.start()  # the health checks begin

    root = Resource()
    root.putChild(b"app", ReverseProxyResource(upstream))
    root.putChild(b"backends", Backends(upstream))  # not for strangers
    listening = await serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(ReverseProxySite(root))
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    try:
        await defer.Deferred()  # until Ctrl-C
    finally:
        upstream.close()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
