"""The kit for testing configurations: whole conversations in memory, with time moved by hand.

A test plays both sides. Clients send bytes and expect responses; backends expect requests and send
bytes; :meth:`Scenario.advance` lets time pass. No socket is opened and nothing sleeps::

    def test_api_gets_the_prefix_stripped():
        scenario = Scenario(Path("revproxy.toml").read_text())
        client = scenario.client()
        client.send(b"GET /api/users HTTP/1.1\\r\\nHost: example.com\\r\\n\\r\\n")
        api = scenario.backend("tcp:127.0.0.1:9000")
        api.expect_request(b"GET", b"/users")
        api.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
        client.expect_response(200, b"ok")
        scenario.finish()

Rules of this module:

* what does not go as expected raises :class:`Unexpected`, which prints the whole conversation;
* an expectation takes what it names off what was received: what comes next is expected next;
* the reading of messages here is its own, so that it does not repeat a mistake of the proxy's.
"""

from __future__ import annotations

from revproxy.testing.peers import Client, Connection, Message, Unexpected
from revproxy.testing.scenario import Backend, Scenario

__all__ = ["Backend", "Client", "Connection", "Message", "Scenario", "Unexpected"]
