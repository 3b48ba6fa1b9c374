"""Ask backends through an upstream's pool and balance, with treq: python treq_agent.py [BACKEND ...]"""

import sys

import treq
from treq.client import HTTPClient
from twisted.internet import task

from revproxy import Upstream
from revproxy.config import model


async def main(reactor, *addresses):
    backends = tuple(model.Backend(endpoint=address) for address in addresses or ("tcp:127.0.0.1:9000",))
    upstream = Upstream("app", model.Upstream(backends=backends), reactor)

    client = HTTPClient(upstream.agent)
    # the name in the URL is what backends see as Host; where requests go, the upstream says
    response = await client.post("http://app.example.com/form", data={"answer": "42"})
    print(response.code, len(await treq.content(response)), flush=True)
    response = await client.get("http://app.example.com/hello")
    print(response.code, len(await treq.content(response)), flush=True)
    print("connections:", sum(one.pool.open for one in upstream.backends), flush=True)
    upstream.close()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
