"""Reaches backends by their addresses on the real reactor: cases as JSON in, what came of each out.

A case has ``written`` and may have ``tls``, ``header`` (hexadecimal) and ``times``; its outcome is a list with the body
of each response, or with what a failure says after ``"!"``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from revproxy.config.upstreams import BackendTls
from revproxy.upstream.endpoint import backend_endpoint


class Getter(Protocol):
    """One request; fires ``done`` with the body when the connection is closed."""

    def __init__(self) -> None:
        self.done: Deferred[str] = Deferred()
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.done.callback(self.received.partition(b"\r\n\r\n")[2].decode() or f"! lost: {reason.getErrorMessage()}")


async def outcome(endpoint: Any) -> str:
    """The body of the answer, or the failure."""
    try:
        getter = await endpoint.connect(Factory.forProtocol(Getter))
    except Exception as e:
        return f"! {e}"
    getter.transport.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return str(await getter.done)


async def main(reactor: Any, cases: str) -> None:
    """Go through the cases, one after another."""
    outcomes = []
    for case in json.loads(cases):
        tls = BackendTls(**case["tls"]) if "tls" in case else None
        try:
            endpoint = backend_endpoint(case["written"], tls, reactor, timeout=5.0)
        except ValueError as e:
            outcomes.append([f"! {e}"])
            continue
        if "header" in case:
            endpoint = endpoint.announcing(bytes.fromhex(case["header"]))
        outcomes.append([await outcome(endpoint) for _ in range(case.get("times", 1))])
    print("outcomes", json.dumps(outcomes))


if __name__ == "__main__":
    react(lambda reactor, cases: Deferred.fromCoroutine(main(reactor, cases)), sys.argv[1:])
