"""Bodies from clients in HTTP/1.1, in very many chunks."""

from __future__ import annotations

import pytest

from revproxy.downstream.bodies import CHUNKS
from tests.kit import ADDRESS, OK, get, ok, toml
from tests.turns import turns_of

HEAD = b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
TINY = b"1\r\nx\r\n"


@pytest.mark.parametrize("together", [True, False])
def test_many_little_chunks_leave_others_their_turn(play_once, together):
    """64 KB of one-byte chunks took 66 ms of the reactor, and ten connections with them held others up for a second."""
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    turns = turns_of(scenario)
    count = CHUNKS * 6
    body = TINY * count + b"0\r\nX-Trailer: a\r\n\r\n"
    if together:
        client.send(HEAD + body + get(b"/next"))
    else:
        client.send(HEAD)
        client.send(body + get(b"/next"))
    assert len(turns) >= 5
    backend.expect_request(b"POST", b"/", b"x" * count, trailers=[(b"X-Trailer", b"a")])
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.expect_request(b"GET", b"/next")
    backend.send(ok(b"next"))
    client.expect_response(200, b"next")


def test_chunks_that_wait_are_given_up_with_their_exchange(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(HEAD + TINY * CHUNKS * 2 + b"z\r\n")
    assert scenario.log[0].fault == "client-bad-body"
    client = scenario.client()
    client.send(HEAD)
    backend.connection.close()
    client.send(TINY * CHUNKS * 3)
    client.close()
    scenario.advance(100)  # what is not on TCP has a keep-alive
    assert not scenario.engine.connections
