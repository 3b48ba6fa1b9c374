"""Backends that refuse, hang, fail, cut and come back, and clients that leave: what each costs whom."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred

from revproxy.config.model import Middleware
from revproxy.upstream.backend import EJECTED, TRIAL, WELL
from tests.kit import ADDRESS, OK, SECOND, get, hooked, ok, post, toml

TWO = f'backends = ["{ADDRESS}", "{SECOND}"]'
THIRD = "tcp:127.0.0.1:9002"
BAD = ok(b"bad", status=b"503 Service Unavailable")


def two(upstream="", route='upstream = "app"', more=""):
    return toml("", f"{TWO}\n{upstream}", route, more)


def retry(rules):
    return f'upstream = "app"\nretry = {{ {rules} }}'


def live(scenario, address=None):
    upstream = scenario.engine.table.upstreams["app"]
    return upstream if address is None else upstream.backend(address)


def counts(scenario):
    return [backend.active for backend in live(scenario).backends]


def serve(scenario, client, path=b"/served"):
    """One request, answered by whichever backend gets it, whose address is returned."""
    client.send(get(path))
    for backend in live(scenario).backends:
        played = scenario.backend(backend.name)
        for connection in played.connections:
            if connection.unread.startswith(b"GET %b " % path) and not connection.gone:
                connection.expect_request(b"GET", path)
                connection.send(OK)
                client.expect_response(200, b"ok")
                return backend.name
    raise AssertionError(scenario.conversation())


# -- backends that don't serve


def test_one_that_refuses_costs_nobody_an_error_and_is_ejected(play, lines):
    scenario = play(two("passive = { failures = 3 }"))
    client, second = scenario.client(), scenario.backend(SECOND)
    scenario.backend(ADDRESS).refuse()
    for _ in range(10):
        assert serve(scenario, client) == SECOND
    assert len(scenario.backend(ADDRESS).attempts) == 3
    assert {record.fault for record in scenario.log} == {""}
    assert sum(record.retries for record in scenario.log) == 3
    assert len(lines) == 1
    assert f"{ADDRESS} is ejected for 10 s: 3 failures in a row, the last: backend-connect" in lines[0]
    second.expect_connections(1)


def test_it_comes_back_by_one_trial(play, lines):
    scenario = play(two('passive = { failures = 1, eject = "10s" }'))
    client, first = scenario.client(), scenario.backend(ADDRESS)
    first.refuse()
    serve(scenario, client)
    scenario.advance(10)
    assert live(scenario, ADDRESS).health == TRIAL
    serve(scenario, client)  # the trial fails, and costs the client nothing
    assert live(scenario, ADDRESS).health == EJECTED
    assert "for 20 s" in lines[-1]
    first.accept()
    scenario.advance(20)
    assert serve(scenario, client) == ADDRESS
    assert live(scenario, ADDRESS).health == WELL
    assert [line.split(": ")[1].split(" ", 1)[1] for line in lines] == [
        "is ejected for 10 s", "is on trial", "is ejected for 20 s", "is on trial", "serves again",
    ]  # fmt: skip
    assert {serve(scenario, client) for _ in range(4)} == {ADDRESS, SECOND}


@pytest.mark.parametrize("sent", [get(method=b"POST"), post(b"body"), post(b"body", method=b"PUT"), get()])
def test_any_method_goes_elsewhere_when_nothing_was_sent(play, sent):
    scenario = play(two())
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    first.refuse()
    client.send(sent)
    second.connection.expect_head(sent.split(b" ", 1)[0], b"/")
    second.send(OK)
    client.expect_response(200, b"ok")
    assert counts(scenario) == [0, 0]


def test_one_that_does_not_accept_is_left_after_its_time(play):
    scenario = play(two('timeouts = { connect = "2s" }'))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    first.hang()
    client.send(post(b"body"))
    scenario.advance(1.9)
    assert second.attempts == []
    assert counts(scenario) == [1, 0]
    scenario.advance(0.2)
    assert counts(scenario) == [0, 1]
    second.expect_request(b"POST", b"/", b"body")
    second.send(OK)
    client.expect_response(200, b"ok")


def test_one_that_hangs_is_left_after_the_time_of_a_try(play):
    scenario = play(two(route=retry('per_try = "1s"')))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(get(b"/x"))
    first.expect_request(b"GET", b"/x")
    scenario.advance(0.9)
    assert second.attempts == []
    scenario.advance(0.2)
    first.connection.expect_reset()
    second.expect_request(b"GET", b"/x")
    scenario.advance(0.8)
    second.send(OK)
    client.expect_response(200, b"ok")
    assert [(record.fault, record.retries) for record in scenario.log] == [("", 1)]


def test_the_time_of_a_try_is_not_for_what_is_tried_once(play):
    scenario = play(two('timeouts = { first_byte = "5s" }', retry('per_try = "1s"')))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(post(b"body"))
    scenario.advance(4.9)
    client.expect_nothing()
    scenario.advance(0.2)
    client.expect_response(504)
    first.expect_connections(1)
    assert second.attempts == []


def test_every_try_hangs(play):
    scenario = play(two(route=retry('per_try = "1s"')))
    client = scenario.client()
    client.send(get())
    scenario.advance(2.5)
    client.expect_response(504)
    assert counts(scenario) == [0, 0]
    assert [(record.fault, record.retries) for record in scenario.log] == [("backend-first-byte-timeout", 1)]


def test_a_backend_that_hangs_in_its_trial_is_not_taken_for_well(play_once):
    scenario = play_once(two('passive = { failures = 1, eject = "10s" }\ntimeouts = { first_byte = "60s" }'))
    client, first = scenario.client(), scenario.backend(ADDRESS)
    first.refuse()
    serve(scenario, client)
    first.accept()
    scenario.advance(10)
    client.send(get(b"/hangs"))
    for _ in range(5):
        scenario.advance(10)
        assert serve(scenario, scenario.client()) == SECOND
    assert live(scenario, ADDRESS).health == TRIAL
    scenario.advance(11)
    assert live(scenario, ADDRESS).health == EJECTED


def test_500_counts_and_passes(play, lines):
    scenario = play(two("passive = { failures = 2 }"))
    client = scenario.client()
    first = scenario.backend(ADDRESS)
    for _ in range(2):
        client.send(get())
        first.expect_request(b"GET", b"/")
        first.send(ok(b"mine", status=b"500 Internal Server Error"))
        client.expect_response(500, b"mine")
        if not lines:
            assert serve(scenario, client) == SECOND
    assert live(scenario, ADDRESS).health == EJECTED
    assert len(lines) == 1
    assert "the last: status 500" in lines[0]
    assert serve(scenario, client) == SECOND


def test_one_that_cuts_its_bodies_is_ejected_by_its_rate(play_once):
    scenario = play_once(two('passive = { minimum = 5, window = "100s" }', retry('budget = "off"')))
    client = scenario.client()
    first = scenario.backend(ADDRESS)
    for _ in range(5):
        client = scenario.client()
        client.send(get())
        first.expect_request(b"GET", b"/")
        first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        first.connection.reset()
        client.expect_head(200)
        if live(scenario, ADDRESS).health == WELL:
            assert serve(scenario, scenario.client()) == SECOND
    assert live(scenario, ADDRESS).health == EJECTED
    assert counts(scenario) == [0, 0]


def test_a_lone_primary_that_is_dead_gives_way_to_its_backup(play_once):
    backup = f'backends = ["{ADDRESS}", {{ endpoint = "{SECOND}", backup = true }}]\npassive = {{ failures = 2 }}'
    scenario = play_once(toml("", backup))
    scenario.backend(ADDRESS).refuse()
    client = scenario.client()
    for _ in range(8):
        assert serve(scenario, client) == SECOND
    assert len(scenario.backend(ADDRESS).attempts) == 2


# -- statuses


STATUS = 'on = ["connect", "reset", 503], methods = ["GET", "HEAD", "PUT"]'


@pytest.mark.parametrize("answer", [BAD, b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\npart",
                                    b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n",
                                    b"HTTP/1.1 503 No\r\n\r\nuntil the end"])  # fmt: skip
@pytest.mark.parametrize("method", [b"GET", b"PUT"])
def test_a_status_is_a_failed_try(play, answer, method):
    scenario = play(two(route=retry(STATUS)))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    body = b"" if method == b"GET" else b"body"
    client.send(get() if method == b"GET" else post(body, method=method))
    first.expect_request(method, b"/", body)
    first.send(answer)
    second.expect_request(method, b"/", body)
    second.send(OK)
    client.expect_response(200, b"ok")
    assert counts(scenario) == [0, 0]
    assert [(record.status, record.retries) for record in scenario.log] == [(200, 1)]
    if answer is not BAD:  # what is left of it must not become the answer to another request
        first.connection.expect_reset()


def test_head_and_a_status(play):
    scenario = play(two(route=retry(STATUS)))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(get(method=b"HEAD"))
    first.expect_request(b"HEAD", b"/")
    first.send(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n")
    second.expect_request(b"HEAD", b"/")
    second.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    client.expect_response(200, head=True)
    first.connection.expect_open()
    assert counts(scenario) == [0, 0]


def test_the_last_one_is_passed_on_with_its_body(play):
    scenario = play(two(route=retry(STATUS)))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(get())
    first.send(BAD)
    second.send(ok(b"still bad", status=b"503 Service Unavailable"))
    client.expect_response(503, b"still bad")
    assert [(record.fault, record.retries) for record in scenario.log] == [("", 1)]


def test_other_methods_get_what_came(play):
    scenario = play(two(route=retry(STATUS)))
    client, first = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"body"))
    first.send(BAD)
    client.expect_response(503, b"bad")
    assert scenario.backend(SECOND).attempts == []


def test_an_upload_that_is_still_coming_begins_again_and_goes_on(play):
    scenario = play(two(route=retry(STATUS)))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"PUT") + b"3\r\nabc\r\n")
    first.expect_head(b"PUT", b"/")
    client.send(b"3\r\ndef\r\n")
    first.send(BAD)
    first.connection.expect_body(b"abcdef")
    first.connection.expect_reset()
    second.expect_head(b"PUT", b"/")
    second.connection.expect_body(b"abcdef")
    client.send(b"3\r\nghi\r\n0\r\nx-t: 1\r\n\r\n")
    second.connection.expect_body(b"ghi")
    second.connection.expect_end([(b"x-t", b"1")])
    second.send(OK)
    client.expect_response(200, b"ok")


@pytest.mark.parametrize(("size", "again"), [(64 * 1024, True), (64 * 1024 + 1, False)])
def test_bodies_are_kept_up_to_a_bound(play_once, size, again):
    scenario = play_once(two(route=retry(STATUS)))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    body = b"x" * size
    client.send(post(body, method=b"PUT"))
    first.expect_request(b"PUT", b"/", body)
    first.send(BAD)
    if again:
        second.expect_request(b"PUT", b"/", body)
        second.send(OK)
        client.expect_response(200)
    else:
        assert second.attempts == []
        client.expect_response(503, b"bad")


CHUNKED = get(b"/", b"Transfer-Encoding: chunked", method=b"PUT") + b"1\r\nx\r\n0\r\n\r\n"


@pytest.mark.parametrize("sent", [post(b"body", method=b"PUT"), CHUNKED], ids=["length", "chunked"])
def test_no_body_is_kept_where_none_may_be(play, sent):
    scenario = play(two(route=retry(f"{STATUS}, body = 0")))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(sent)
    first.send(BAD)
    client.expect_response(503, b"bad")
    assert second.attempts == []
    client.send(get())  # it has none
    scenario.backend(SECOND).send(BAD)
    first.send(OK)
    client.expect_response(200, b"ok")


def test_a_client_that_was_held_back_by_a_full_backend_is_read_again(play_once):
    scenario = play_once(two(route=retry(f'{STATUS}, body = "1MB"')))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    body = b"x" * 300_000
    client.send(get(b"/", b"Content-Length: 400000", method=b"PUT"))
    first.expect_head(b"PUT", b"/")
    first.connection.stop_reading()
    client.send(body)
    assert not client.is_read
    first.connection.reset()
    second.expect_head(b"PUT", b"/")
    assert client.is_read
    client.send(b"y" * 100_000)
    second.connection.expect_body(body + b"y" * 100_000)
    second.send(OK)
    client.expect_response(200, b"ok")


# -- the pause before the same backend


def test_a_lone_backend_is_asked_again_after_a_pause(play):
    scenario = play(toml(route=retry('on = ["connect"], backoff = "1s"')))
    live(scenario).chance = SimpleNamespace(random=iter([0.0, 0.99]).__next__)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get())
    assert len(backend.attempts) == 1
    assert counts(scenario) == [0]
    scenario.advance(0.49)
    assert len(backend.attempts) == 1
    scenario.advance(0.02)  # from half to one and a half of it
    assert len(backend.attempts) == 2
    backend.accept()
    scenario.advance(2.9)
    assert len(backend.attempts) == 2
    scenario.advance(0.1)  # and twice as long
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    client.expect_response(200, b"ok")
    assert [(record.fault, record.retries) for record in scenario.log] == [("", 2)]


def test_the_pause_comes_after_every_backend_and_no_earlier(play_once):
    scenario = play_once(two(route=retry('on = ["connect"], backoff = "1s", tries = 4')))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    first.refuse()
    second.refuse()
    client.send(get())
    assert (len(first.attempts), len(second.attempts)) == (1, 1)
    scenario.advance(1.51)
    assert (len(first.attempts), len(second.attempts)) == (2, 2)
    client.expect_response(502)


def test_a_client_that_leaves_in_the_pause(play):
    scenario = play(toml(route=retry('on = ["connect"], backoff = "1s"')))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get())
    client.reset()
    scenario.advance(5)
    assert len(backend.attempts) == 1
    assert counts(scenario) == [0]
    assert scenario.log[0].status == 499


def test_an_upload_goes_on_in_the_pause(play):
    scenario = play(toml(route=retry('on = ["connect"], backoff = "1s"')))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get(b"/", b"Content-Length: 6", method=b"POST") + b"abc")
    backend.accept()
    client.send(b"def")
    scenario.advance(1.6)
    backend.expect_request(b"POST", b"/", b"abcdef")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_the_whole_time_ends_a_pause(play):
    scenario = play(toml("", 'timeouts = { total = "1s" }', retry('on = ["connect"], backoff = "30s"')))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get())
    scenario.advance(1.1)
    client.expect_response(504)
    backend.accept()
    scenario.advance(60)
    assert len(backend.attempts) == 1
    assert counts(scenario) == [0]


# -- the queue


def test_the_whole_time_ends_a_wait_in_the_queue(play, lines):
    scenario = play(toml("", 'max_requests = 1\ntimeouts = { total = "2s" }\nbreaker = { minimum = 1 }'))
    first, second, backend = scenario.client(), scenario.client(), scenario.backend(ADDRESS)
    first.send(get(b"/ws", b"Connection: Upgrade", b"Upgrade: websocket"))  # which has a time of its own
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    second.send(get(b"/2"))
    assert len(live(scenario).room) == 1
    scenario.advance(2.1)
    second.expect_response(504)
    assert len(live(scenario).room) == 0
    assert counts(scenario) == [1]
    first.reset()
    second.expect_nothing()
    backend.expect_connections(1)
    assert counts(scenario) == [0]
    assert lines == []  # the backend was not even asked
    assert serve(scenario, second) == ADDRESS


def test_a_body_that_is_too_large_ends_a_wait_in_the_queue(play_once):
    limited = 'upstream = "app"\nlimits = { body = "10B" }'
    scenario = play_once(toml("", "max_requests = 1", limited))
    first, second, backend = scenario.client(), scenario.client(), scenario.backend(ADDRESS)
    first.send(get(b"/1"))
    second.send(get(b"/2", b"Transfer-Encoding: chunked", method=b"POST") + b"4\r\nabcd\r\n")
    assert len(live(scenario).room) == 1
    second.send(b"8\r\nabcdefgh\r\n")
    second.expect_response(413)
    assert len(live(scenario).room) == 0
    backend.send(OK)
    first.expect_response(200, b"ok")
    backend.expect_connections(1)
    assert counts(scenario) == [0]


def test_who_waits_for_its_cookies_backend_holds_up_nobody(play):
    scenario = play(two('sticky = { cookie = "at", secret = "0123456789abcdef" }\nmax_requests = 1'))
    upstream = live(scenario)
    token = upstream.sticky.token(ADDRESS)
    clients = [scenario.client() for _ in range(4)]
    first, second = scenario.backend(ADDRESS), scenario.backend(SECOND)
    kept = b"Cookie: at=" + token
    clients[0].send(get(b"/0", kept))
    clients[1].send(get(b"/1", kept))  # waits for the first
    assert len(upstream.room) == 1
    clients[2].send(get(b"/2"))
    second.expect_request(b"GET", b"/2")
    clients[3].send(get(b"/3"))
    assert len(upstream.room) == 2
    second.send(OK)
    clients[2].expect_response(200, b"ok")
    second.expect_request(b"GET", b"/3")  # overtakes the one in front of it
    second.send(OK)
    clients[3].expect_response(200, b"ok")
    first.expect_request(b"GET", b"/0")
    first.send(OK)
    clients[0].expect_response(200, b"ok")
    first.expect_request(b"GET", b"/1")
    first.send(OK)
    clients[1].expect_response(200, b"ok", {b"Set-Cookie": None})
    assert counts(scenario) == [0, 0]


def test_who_waits_after_a_failed_try_takes_no_place_there(play_once):
    scenario = play_once(two("max_requests = 1"))
    first, second = scenario.backend(ADDRESS), scenario.backend(SECOND)
    one, other, third = (scenario.client() for _ in range(3))
    one.send(get(b"/1"))
    other.send(get(b"/2"))
    first.connection.reset()
    assert counts(scenario) == [0, 1]
    assert len(live(scenario).room) == 1
    third.send(get(b"/3"))
    first.expect_request(b"GET", b"/3")
    first.send(OK)
    third.expect_response(200, b"ok")
    second.expect_request(b"GET", b"/2")
    second.send(OK)
    other.expect_response(200, b"ok")
    second.expect_request(b"GET", b"/1")
    second.send(OK)
    one.expect_response(200, b"ok")
    assert counts(scenario) == [0, 0]


def test_who_comes_back_takes_those_that_wait(play_once):
    scenario = play_once(two("max_requests = 1\npassive = { failures = 1 }\nqueue_time = '60s'"))
    first, second = scenario.backend(ADDRESS), scenario.backend(SECOND)
    one, other = scenario.client(), scenario.client()
    first.refuse()
    one.send(get(b"/1"))
    second.expect_request(b"GET", b"/1")
    assert live(scenario, ADDRESS).health == EJECTED
    other.send(get(b"/2", method=b"POST"))
    assert len(live(scenario).room) == 1
    first.accept()
    scenario.advance(20.1)
    first.expect_request(b"POST", b"/2")
    first.send(OK)
    other.expect_response(200, b"ok")
    second.send(OK)
    one.expect_response(200, b"ok")


def test_those_that_wait_go_in_the_order_in_which_they_came(play_once):
    scenario = play_once(toml("", "max_requests = 1\nqueue_time = '60s'"))
    backend = scenario.backend(ADDRESS)
    clients = [scenario.client() for _ in range(50)]
    for at, client in enumerate(clients):
        client.send(get(b"/%d" % at))
    for at, client in enumerate(clients):
        backend.expect_request(b"GET", b"/%d" % at)
        assert counts(scenario) == [1]
        backend.send(OK)
        client.expect_response(200, b"ok")
    assert counts(scenario) == [0]


# -- the breaker


BREAKER = 'passive = "off"\nbreaker = { minimum = 4, error_rate = "50%", open = "5s", probes = 2 }'


def broken(scenario, count=4):
    """Requests that fail until the breaker opens."""
    scenario.backend(ADDRESS).refuse()
    for _ in range(count):
        client = scenario.client()
        client.send(get())
        client.expect_response(502)


def test_an_open_breaker_is_503_at_once_with_the_time_that_is_left(play, lines):
    scenario = play(toml("", BREAKER))
    broken(scenario)
    backend, client = scenario.backend(ADDRESS), scenario.client()
    for left in (b"5", b"4", b"3", b"2", b"1"):
        client.send(get())
        client.expect_response(503, headers={b"Retry-After": left})
        scenario.advance(1)
    assert len(backend.attempts) == 4
    assert [record.fault for record in scenario.log][4:] == ["circuit-open"] * 5
    assert lines == ["upstream app: the circuit breaker is open: 4 of 4 requests failed"]


def test_probes_close_it(play, lines):
    scenario = play(toml("", BREAKER))
    broken(scenario)
    backend = scenario.backend(ADDRESS)
    backend.accept()
    scenario.advance(5.1)
    clients = [scenario.client() for _ in range(3)]
    for client in clients:
        client.send(get())
    clients[2].expect_response(503)
    assert counts(scenario) == [2]
    for at in range(2):
        backend.connections[at].expect_request(b"GET", b"/")
        backend.connections[at].send(OK)
        clients[at].expect_response(200, b"ok")
    serve(scenario, scenario.client())
    assert [line.split(": ")[1] for line in lines] == [
        "the circuit breaker is open", "the circuit breaker is half-open", "the circuit breaker is closed",
    ]  # fmt: skip


def test_a_probe_that_fails_opens_it_again_and_is_not_tried_again(play, lines):
    scenario = play(two(BREAKER, retry("tries = 2")))
    for address in (ADDRESS, SECOND):
        scenario.backend(address).refuse()
    for _ in range(2):
        client = scenario.client()
        client.send(get())
        client.expect_response(502)
    scenario.advance(5.1)
    before = len(scenario.backend(ADDRESS).attempts) + len(scenario.backend(SECOND).attempts)
    assert before == 4
    client.send(get())
    client.expect_response(502)
    assert len(scenario.backend(ADDRESS).attempts) + len(scenario.backend(SECOND).attempts) == before + 1
    client.send(get())
    client.expect_response(503, headers={b"Retry-After": b"5"})
    assert len(lines) == 3


def test_probes_whose_clients_left_are_replaced(play):
    scenario = play(toml("", BREAKER))
    broken(scenario)
    backend = scenario.backend(ADDRESS)
    backend.accept()
    scenario.advance(5.1)
    for _ in range(2):
        client = scenario.client()
        client.send(get())
        client.reset()
    client = scenario.client()
    client.send(get())
    client.expect_response(503, headers={b"Retry-After": b"5"})
    scenario.advance(5.1)
    for _ in range(3):
        serve(scenario, client)
    assert live(scenario).watch.breaker_state == "closed"


def test_a_few_failures_among_many_open_nothing(play_once):
    scenario = play_once(toml("", BREAKER))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    for at in range(30):
        if at % 4:
            serve(scenario, client)
        else:
            client.send(get())
            backend.expect_request(b"GET", b"/")
            backend.send(ok(b"", status=b"500 No"))
            client.expect_response(500)
    assert live(scenario).watch.breaker_state == "closed"


# -- a client's fault is no backend's


BROKEN = [
    pytest.param(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\nzz\r\n", id="bad chunk"),
    pytest.param(get(b"/", b"Content-Length: 9", method=b"POST") + b"abc", id="cut upload"),
    pytest.param(get(), id="gone while it waits"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="malformed"),
    pytest.param(get(b"/", b"Connection: Upgrade", b"Upgrade: websocket"), id="handshake"),
]


@pytest.mark.parametrize("sent", BROKEN)
def test_a_clients_fault_never_counts(play, sent, lines):
    scenario = play(two("passive = { failures = 1 }\nbreaker = { minimum = 1 }"))
    for _ in range(6):
        client = scenario.client()
        client.send(sent)
        if not client.gone:
            client.reset()
    assert lines == []
    assert counts(scenario) == [0, 0]
    for backend in live(scenario).backends:
        assert backend.outlier is None
    serve(scenario, scenario.client())


@pytest.mark.parametrize("sent", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
def test_a_backend_that_tires_of_a_client_that_sends_no_body_is_well(play, sent, lines):
    scenario = play(two("passive = { failures = 1 }\nbreaker = { minimum = 1 }"))
    for address in (ADDRESS, SECOND):
        client = scenario.client()
        client.send(get(b"/", sent, method=b"POST"))
        scenario.advance(5)
        scenario.backend(address).connection.close()
        client.expect_response(502)
    assert lines == []
    assert counts(scenario) == [0, 0]
    # with all of its body there, it is the backend's doing
    client = scenario.client()
    client.send(post(b"body"))
    scenario.backend(ADDRESS).connection.reset()
    client.expect_response(502)
    assert [line.split(": ")[1] for line in lines] == [f"{ADDRESS} is ejected for 10 s", "the circuit breaker is open"][
        ::-1
    ]


def test_a_client_that_aborts_in_a_response_never_counts(play, lines):
    scenario = play(two("passive = { failures = 1 }"))
    for address in (ADDRESS, SECOND):
        client = scenario.client()
        client.send(get())
        scenario.backend(address).expect_request(b"GET", b"/")
        scenario.backend(address).send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        client.expect_head(200)
        client.reset()
        scenario.backend(address).connection.expect_reset()
    assert lines == []
    assert counts(scenario) == [0, 0]


# -- a client that leaves, in each phase


def test_leaving_in_the_queue(play):
    scenario = play(toml("", "max_requests = 1"))
    first, second, backend = scenario.client(), scenario.client(), scenario.backend(ADDRESS)
    first.send(get())
    second.send(get())
    second.reset()
    assert len(live(scenario).room) == 0
    assert counts(scenario) == [1]
    first.reset()
    assert counts(scenario) == [0]
    backend.expect_connections(1)
    assert [record.status for record in scenario.log] == [499, 499]


def test_leaving_while_it_is_dialled(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.hang()
    client.send(get())
    assert counts(scenario) == [1]
    client.reset()
    assert counts(scenario) == [0]
    assert backend.attempts[0].state == "given up"


def test_leaving_while_the_head_is_waited_for(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    assert counts(scenario) == [1]
    client.reset()
    assert counts(scenario) == [0]
    backend.expect_request(b"GET", b"/")
    backend.connection.expect_reset()


def test_leaving_in_an_upload(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"Content-Length: 9", method=b"PUT") + b"abc")
    client.reset()
    assert counts(scenario) == [0]
    backend.expect_head(b"PUT", b"/")
    backend.connection.expect_body(b"abc")
    backend.connection.expect_reset()


def test_leaving_between_two_tries(play):
    scenario = play(two())
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    second.hang()
    client.send(get())
    first.connection.reset()
    assert counts(scenario) == [0, 1]
    client.reset()
    assert counts(scenario) == [0, 0]
    assert second.attempts[0].state == "given up"


@pytest.mark.parametrize("by", ["client", "backend"])
def test_a_tunnel_counts_until_it_ends(play, by):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/ws", b"Connection: Upgrade", b"Upgrade: websocket"))
    backend.expect_head(b"GET", b"/ws")
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    client.expect_head(101)
    client.expect(b"hello")
    scenario.advance(600)
    assert counts(scenario) == [1]
    if by == "client":
        client.reset()
    else:
        backend.connection.close()
        client.half_close()
    assert counts(scenario) == [0]


def test_a_drain_waits_for_a_tunnel(play_once, lines):
    scenario = play_once(two())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/ws", b"Connection: Upgrade", b"Upgrade: websocket"))
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    client.expect_head(101)
    told = []
    live(scenario).drain(ADDRESS).addCallback(told.append)
    for _ in range(3):
        assert serve(scenario, scenario.client()) == SECOND
    assert told == []
    client.reset()
    assert told == [None]
    assert len(lines) == 2


def test_a_drain_does_not_wait_for_who_pauses_or_waits_after_a_failed_try(play_once):
    scenario = play_once(toml(route=retry('on = ["connect"], backoff = "10s"')))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    backend.refuse()
    client.send(get())
    told = []
    live(scenario).drain(ADDRESS).addCallback(told.append)
    assert told == [None]
    scenario.advance(20)
    client.expect_response(503)


# -- hooks that wait


@pytest.mark.parametrize("point", ["client-request", "backend-request", "backend-response", "client-response"])
def test_the_whole_time_ends_while_a_hook_waits(play_once, point):
    made = []

    def wait(exchange):
        made.append(Deferred())
        return made[-1]

    config = hooked(toml("", 'timeouts = { total = "1s" }'), Middleware(call=wait, at=point))
    scenario = play_once(config)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    if point.endswith("response"):
        backend.send(OK)
    scenario.advance(1.5)
    for waiting in made:
        if not waiting.called:
            waiting.callback(None)
    scenario.advance(1.5)
    if point == "client-request":  # the time begins with the upstream
        backend.expect_connections(1)
        client.expect_response(504)
    else:
        client.expect_response(504)
    client.expect_nothing()
    assert counts(scenario) == [0]


def test_the_budget_bounds_an_outage(play_once):
    scenario = play_once(toml("", f'backends = ["{ADDRESS}", "{SECOND}", "{THIRD}"]\npassive = "off"'))
    played = [scenario.backend(address) for address in (ADDRESS, SECOND, THIRD)]
    for backend in played:
        backend.refuse()
    client = scenario.client()
    for _ in range(1000):
        client.send(get())
        client.expect_response(502)
    attempts = sum(len(backend.attempts) for backend in played)
    assert attempts <= 1000 * 1.2 + 100 + 2
    assert counts(scenario) == [0, 0, 0]
