"""Runs health checks with the real reactor and writes what came of them: a process of its own for the tests.

Each argument is a JSON object: ``endpoint`` and the words of a check. With ``--watch`` there is one, which is
checked until the process is ended, and each change is a line.
"""

from __future__ import annotations

import json
import sys
from random import Random

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver

from revproxy.config.upstreams import HealthCheck
from revproxy.upstream.check import Check
from revproxy.upstream.health import Monitor


def make(text):
    words = json.loads(text)
    endpoint = clientFromString(reactor, words.pop("endpoint"))
    words = {name: tuple(value) if isinstance(value, list) else value for name, value in words.items()}
    written = HealthCheck(**words)
    return written, Check(written, endpoint, reactor, b"backend.internal")


async def check_all(arguments):
    """Write the results as a list, and after each connection is gone, how many sockets are left."""
    checks = [make(text)[1] for text in arguments]
    print(json.dumps(await gatherResults([check.run() for check in checks])), flush=True)
    rest = Deferred()
    reactor.callLater(0.3, rest.callback, None)
    await rest
    left = [reader for reader in reactor.getReaders() if hasattr(reader, "getPeer")]
    print(f"left: {len(left)}", flush=True)


async def watch(argument):
    written, check = make(argument)

    def changed(up, why):
        print(f"{'up' if up else 'down'}: {why}", flush=True)

    Monitor(check, written, reactor, Random(), changed).start()
    print("watching", flush=True)
    await Deferred()


def main(reactor, *arguments):
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    job = watch(arguments[1]) if arguments[0] == "--watch" else check_all(arguments)
    return Deferred.fromCoroutine(job)


if __name__ == "__main__":
    react(main, sys.argv[1:])
