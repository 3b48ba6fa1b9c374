"""Who waits and who reads, whoever of them leaves, each at its own pace: whole conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cache.talk import Talk, cache_of, config, is_clean
from tests.kit import ok

Start = Callable[..., Talk]
FRESH = b"Cache-Control: max-age=60"
HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"


pytestmark = pytest.mark.usefixtures("nothing_goes_round")


def test_join_before_the_head(play: Any) -> None:
    scenario = play(config())
    t = Talk(scenario, scenario.backend("tcp:127.0.0.1:9000"))
    clients = [t.ask() for _ in range(5)]
    assert t.asked == 1
    t.answer(ok(b"body", FRESH))
    first, *others = [client.expect_response(200, b"body") for client in clients]
    assert first.get(b"Age") is None
    assert first.get(b"Cache-Status") == b"revproxy; fwd=uri-miss; ttl=60; stored"
    assert {other.get(b"Cache-Status") for other in others} == {b"revproxy; fwd=uri-miss; ttl=60; stored; collapsed"}
    assert {other.get(b"Age") for other in others} == {b"0"}
    assert t.asked == 1
    is_clean(t)


def test_join_while_the_body_comes(play: Any) -> None:
    scenario = play(config())
    t = Talk(scenario, scenario.backend("tcp:127.0.0.1:9000"))
    one = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + b"Content-Length: 9\r\n\r\nabc")
    one.expect_head(200)
    one.expect_body(b"abc")
    two = t.ask()
    two.expect_head(200, {b"Content-Length": b"9", b"Age": b"0"})
    two.expect_body(b"abc")
    connection.send(b"def")
    three = t.ask()
    three.expect_head(200)
    three.expect_body(b"abcdef")
    connection.send(b"ghi")
    one.expect_body(b"defghi")
    two.expect_body(b"defghi")
    three.expect_body(b"ghi")
    for client in (one, two, three):
        client.expect_end()
    t.hit(b"abcdefghi")
    assert t.asked == 1
    is_clean(t)


def test_trailers_of_what_is_not_stored_go_through(talk: Start) -> None:
    t = talk()
    client = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    client.expect_head(200)
    connection.send(b"0\r\nX-Trailer: 1\r\n\r\n")
    client.expect_body(b"abc")
    client.expect_end([(b"X-Trailer", b"1")])
    is_clean(t)


def test_the_leader_leaves_before_the_head(talk: Start) -> None:
    t = talk()
    leader, other = t.ask(), t.ask()
    leader.reset()
    t.answer(ok(b"body", FRESH))
    response = other.expect_response(200, b"body")
    assert response.get(b"Cache-Status") == b"revproxy; fwd=uri-miss; ttl=60; stored; collapsed"
    assert t.asked == 1
    t.hit()
    is_clean(t)


def test_the_leader_leaves_and_it_is_private(talk: Start) -> None:
    t = talk()
    leader, other = t.ask(), t.ask()
    leader.reset()
    t.answer(ok(b"the leader's", b"Cache-Control: private"))
    other.expect_nothing()
    t.answer(ok(b"the other's", b"Cache-Control: private"))
    other.expect_response(200, b"the other's")
    is_clean(t)


def test_the_leader_leaves_in_a_private_body(talk: Start) -> None:
    t = talk()
    leader = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nCache-Control: private\r\n\r\nabc")
    leader.expect_head(200)
    leader.reset()
    assert connection.ended == "reset"
    is_clean(t)


def test_the_leader_leaves_in_the_body(talk: Start) -> None:
    t = talk()
    leader, other = t.ask(), t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + b"Content-Length: 6\r\n\r\nabc")
    leader.reset()
    connection.send(b"def")
    other.expect_response(200, b"abcdef")
    t.hit(b"abcdef")
    is_clean(t)


def test_all_leave_before_the_head(talk: Start) -> None:
    t = talk()
    clients = [t.ask(), t.ask(), t.ask()]
    for client in clients[:2]:
        client.reset()
    t.backend.connections[0].expect_open()
    clients[2].reset()
    assert t.backend.connections[0].ended == "reset"
    is_clean(t)
    t.store()


def test_all_leave_in_the_body_and_it_is_stored_all_the_same(talk: Start) -> None:
    t = talk()
    clients = [t.ask(), t.ask()]
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + b"Content-Length: 6\r\n\r\nabc")
    for client in clients:
        client.reset()
    connection.send(b"def")
    t.hit(b"abcdef")
    is_clean(t)


def test_all_leave_a_body_that_became_too_large(talk: Start) -> None:
    t = talk('{ size = "1MB", largest = "100KB" }')
    client = t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"fa00\r\n" + b"x" * 64000 + b"\r\n")
    client.reset()
    connection.expect_open()
    connection.send(b"fa00\r\n" + b"x" * 64000 + b"\r\n")
    assert connection.ended == "reset"
    is_clean(t)
    assert cache_of(t).store.bytes == 0


def test_private_responses_are_asked_for_one_by_one(talk: Start) -> None:
    t = talk()
    clients = [t.ask() for _ in range(4)]
    assert t.asked == 1
    t.answer(ok(b"0", b"Cache-Control: private"))
    assert t.asked == 4  # not one after the other
    for number in range(1, 4):
        connection = t.backend.connections[number - 1]
        connection.expect_request(b"GET", b"/")
        connection.send(ok(b"%d" % number, b"Cache-Control: private"))
    bodies = {client.expect_response(200).body for client in clients}
    assert bodies == {b"0", b"1", b"2", b"3"}
    is_clean(t)


def test_and_later_ones_do_not_wait(talk: Start) -> None:
    t = talk()
    client = t.ask()
    t.answer(ok(b"own", b"Cache-Control: private"))
    client.expect_response(200, b"own")
    clients = [t.ask(), t.ask()]
    assert t.asked == 3
    for number in range(2):
        t.answer(ok(b"%d" % number, FRESH))
    for client in clients:
        client.expect_response(200)
    t.hit(b"1")
    t.scenario.advance(61)
    clients = [t.ask(), t.ask()]  # a minute later they do
    assert t.asked == 4
    t.answer(ok(b"x", FRESH))
    for client in clients:
        client.expect_response(200, b"x")


def test_what_one_may_not_have_the_others_wait_for(talk: Start) -> None:
    """A request that asks for itself alone does not make the others of its key wait, nor stop waiting."""
    t = talk()
    special = [t.ask(b"/", b"Range: bytes=0-0"), t.ask(b"/", b"Cache-Control: no-store")]
    auth = t.ask(b"/", b"Authorization: Basic x")
    assert t.asked == 3
    plain = [t.ask(), t.ask()]
    assert t.asked == 4
    connections = list(t.backend.connections)
    for connection, client in zip(connections, [*special, auth], strict=False):
        connection.expect_request(b"GET", b"/")
        connection.send(ok(b"own", b"Cache-Control: private"))
        client.expect_response(200, b"own")
    connections[3].expect_request(b"GET", b"/")
    connections[3].send(ok(b"all", FRESH))
    for client in plain:
        client.expect_response(200, b"all")
    t.hit(b"all")


def test_no_cache_is_asked_for_by_each(talk: Start) -> None:
    t = talk()
    clients = [t.ask(), t.ask()]
    t.answer(ok(b"0", b"Cache-Control: no-cache", b'ETag: "a"'))
    clients[0].expect_response(200, b"0")
    clients[1].expect_nothing()
    t.answer(ok(b"1", b"Cache-Control: no-cache", b'ETag: "a"'))
    clients[1].expect_response(200, b"1")
    clients = [t.ask(), t.ask()]
    assert t.asked == 4
    for _ in range(2):
        t.answer(b"HTTP/1.1 304 Not Modified\r\n\r\n", If_None_Match=b'"a"')
    for client in clients:
        client.expect_response(200, b"1")
    is_clean(t)


def test_one_validation_for_all(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    clients = [t.ask(), t.ask(b"/", b'If-None-Match: "a"'), t.ask(b"/", b"Range: bytes=1-2"), t.ask(method=b"HEAD")]
    assert t.asked == 2
    t.answer(b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=10\r\n\r\n", If_None_Match=b'"a"')
    clients[0].expect_response(200, b"body")
    clients[1].expect_response(304)
    clients[2].expect_response(206, b"od")
    clients[3].expect_response(200, b"", {b"Content-Length": b"4"}, head=True)
    is_clean(t)


def test_the_leader_leaves_a_validation(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    leader, other = t.ask(), t.ask()
    leader.reset()
    t.answer(b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=10\r\n\r\n", If_None_Match=b'"a"')
    other.expect_response(200, b"body")
    is_clean(t)


def test_stale_on_error_for_those_who_may(talk: Start) -> None:
    t = talk()
    t.store(b"body", b"Cache-Control: max-age=10", b'ETag: "a"')
    t.scenario.advance(11)
    clients = [
        t.ask(b"/", b"Cache-Control: stale-if-error=100"),
        t.ask(),
        t.ask(b"/", b"Cache-Control: stale-if-error=1"),
    ]
    t.answer(ok(b"oops", status=b"503 Busy"))
    clients[0].expect_response(200, b"body")
    for number in range(2):
        t.answer(ok(b"%d" % number, status=b"503 Busy"))
    assert {client.expect_response(503).body for client in clients[1:]} == {b"0", b"1"}
    is_clean(t)


def test_no_backend_for_all(talk: Start) -> None:
    t = talk()
    t.backend.hang()
    clients = [t.ask(), t.ask()]
    t.backend.refuse()
    for client in clients:
        client.expect_response(502)
    is_clean(t)


def test_too_large_on_the_way(talk: Start) -> None:
    t = talk('{ size = "1MB", largest = "100KB" }')
    fast, slow = t.ask(), t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    slow.stop_reading()
    body = b""
    for number in range(40):
        piece = b"%06d" % number + b"x" * 15_994
        body += piece
        connection.send(b"3e80\r\n" + piece + b"\r\n")
    assert not connection.is_read  # at the pace of the slowest
    late = t.ask()
    assert t.asked == 2
    connection.send(b"0\r\n\r\n")
    assert slow.waiting < 400_000
    fast.expect_head(200)
    slow.resume_reading()
    t.scenario.advance(0)
    slow.expect_response(200, body)
    fast.expect_body(body)
    fast.expect_end()
    t.answer(ok(b"late", b"Cache-Control: private"))
    late.expect_response(200, b"late")
    is_clean(t)
    assert cache_of(t).store.bytes == 0


def test_the_slowest_of_a_too_large_body_leaves(talk: Start) -> None:
    t = talk('{ size = "1MB", largest = "100KB" }')
    fast, slow = t.ask(), t.ask()
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    slow.stop_reading()
    body = b"x" * 400_000
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert not connection.is_read
    slow.reset()
    slow.transport.reading = True
    slow.transport.deliver()
    t.scenario.advance(0)
    fast.expect_response(200, body)
    is_clean(t)


def test_a_slow_client_does_not_hold_up_the_store(talk: Start) -> None:
    t = talk()
    slow = t.ask()
    slow.stop_reading()
    body = b"x" * 2_000_000
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(ok(body, FRESH))
    assert connection.is_read
    t.hit(body)
    assert slow.waiting < 300_000
    slow.resume_reading()
    t.scenario.advance(0)
    slow.expect_response(200, body)
    is_clean(t)


def test_what_is_not_stored_comes_at_the_clients_pace(talk: Start) -> None:
    t = talk()
    slow = t.ask()
    slow.stop_reading()
    body = b"x" * 2_000_000
    connection = t.busy()
    connection.expect_request(b"GET", b"/")
    connection.send(ok(body, b"Cache-Control: private"))
    assert not connection.is_read
    slow.resume_reading()
    t.scenario.advance(0)
    slow.expect_response(200, body)
    is_clean(t)


def test_interim_responses_are_the_leaders(talk: Start) -> None:
    t = talk()
    leader, other = t.ask(), t.ask()
    t.answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + ok(b"body", FRESH))
    leader.expect_head(103, {b"Link": b"</a.css>"})
    leader.expect_response(200, b"body", {b"Link": None})
    other.expect_response(200, b"body", {b"Link": None})
    assert t.hit().get(b"Link") is None
