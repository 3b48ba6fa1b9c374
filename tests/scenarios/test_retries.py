"""What goes out again, and what never does, on the wire."""

from __future__ import annotations

import pytest

from tests.kit import ADDRESS, OK, SECOND, get, post, toml


def stale(play, upstream=""):
    """A scenario whose backend has closed an idle connection without our having noticed."""
    scenario = play(toml("", upstream))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/first"))
    backend.expect_request(b"GET", b"/first")
    backend.send(OK)
    client.expect_response(200, b"ok")
    backend.connection.close_unseen()
    return scenario, client, backend


# -- on the wire


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"TRACE"])
def test_an_idempotent_request_goes_out_again_on_a_fresh_connection(play, method):
    scenario, client, backend = stale(play)
    client.send(get(b"/x", method=method))
    backend.expect_connections(2)
    backend.expect_request(method, b"/x")
    backend.send(OK)
    client.expect_response(200, head=method == b"HEAD")
    assert scenario.log[-1].retries == 1
    assert scenario.log[-1].fault == ""


def test_only_once(play):
    scenario, client, backend = stale(play)
    client.send(get(b"/x"))
    backend.expect_connections(2)
    backend.connection.close()
    client.expect_response(502)
    backend.expect_connections(2)
    assert [record.fault for record in scenario.log] == ["", "backend-reset"]


def test_a_post_that_was_sent_is_not_repeated(play):
    scenario, client, backend = stale(play)
    client.send(post(b"body"))
    client.expect_response(502)
    backend.expect_connections(1)
    assert scenario.log[-1].fault == "backend-reset"


def test_posts_go_out_on_fresh_connections_once_idle_closes_were_seen(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200)
    backend.connection.close()  # seen
    for _ in range(2):
        client.send(post(b"body"))
        backend.expect_request(b"POST", b"/", b"body")
        backend.send(OK)
        client.expect_response(200)
    backend.expect_connections(3)
    client.send(get(b"/x"))  # may be repeated: an idle connection will do
    backend.expect_request(b"GET", b"/x")
    backend.expect_connections(3)


def test_a_put_goes_out_again_with_its_body(play):
    scenario, client, backend = stale(play)
    client.send(post(b"body", method=b"PUT"))
    backend.expect_connections(2)
    backend.expect_request(b"PUT", b"/", b"body")
    backend.send(OK)
    client.expect_response(200)
    assert scenario.log[-1].retries == 1


def test_a_put_goes_out_again_with_what_is_there_of_its_body_and_the_rest_follows(play):
    _scenario, client, backend = stale(play)
    client.send(get(b"/", b"Content-Length: 8", method=b"PUT") + b"body")
    backend.expect_connections(2)
    backend.expect_head(b"PUT", b"/")
    backend.connection.expect_body(b"body")
    client.send(b"rest")
    backend.connection.expect_body(b"rest")
    backend.connection.expect_end()
    backend.send(OK)
    client.expect_response(200)


def test_a_chunked_put_goes_out_again_with_its_trailers(play):
    _scenario, client, backend = stale(play)
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"PUT") + b"4\r\nbody\r\n0\r\nx-t: 1\r\n\r\n")
    backend.expect_connections(2)
    backend.expect_request(b"PUT", b"/", b"body", trailers=[(b"x-t", b"1")])
    backend.send(OK)
    client.expect_response(200)


def test_a_put_with_more_than_can_be_kept_is_not_repeated(play_once):
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200)
    client.send(get(b"/", b"Content-Length: 200000", method=b"PUT") + b"x" * 150_000)
    backend.connection.reset()
    client.expect_response(502)
    backend.expect_connections(1)


@pytest.mark.parametrize("response", [b"H", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_nothing_is_repeated_once_a_byte_of_an_answer_came(play, response):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.send(OK)
    client.expect_response(200)
    client.send(get(b"/x"))
    backend.send(response)
    backend.connection.reset()
    if client.unread.startswith(b"HTTP/1.1 103"):
        client.expect_response(103)
    client.expect_response(502)
    backend.expect_connections(1)


def test_a_safe_request_does_not_go_out_again_to_the_same_backend(play):
    scenario = play(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.connection.reset()
    client.expect_response(502)
    backend.expect_connections(1)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_safe_requests_go_out_again_after_a_fresh_connection_was_lost(play, method):
    scenario = play(toml("", f'backends = ["{ADDRESS}", "{SECOND}"]'))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(get(b"/x", method=method))
    first.connection.reset()
    second.expect_request(method, b"/x")
    second.send(OK)
    client.expect_response(200, head=method == b"HEAD")
    assert [(record.fault, record.retries) for record in scenario.log] == [("", 1)]


@pytest.mark.parametrize(
    "sent", [post(b"body"), post(b"body", method=b"PUT"), get(method=b"DELETE"), get(method=b"TRACE")]
)
def test_other_requests_do_not(play, sent):
    scenario = play(toml("", f'backends = ["{ADDRESS}", "{SECOND}"]'))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(sent)
    first.connection.reset()
    client.expect_response(502)
    first.expect_connections(1)
    assert second.attempts == []


def test_the_retry_is_a_matter_of_one_exchange(play):
    scenario, client, backend = stale(play)
    client.send(get(b"/x") + get(b"/y"))
    backend.expect_connections(2)
    backend.expect_request(b"GET", b"/x")
    backend.send(OK)
    client.expect_response(200)
    backend.expect_request(b"GET", b"/y")
    backend.send(OK)
    client.expect_response(200)
    assert [record.retries for record in scenario.log] == [0, 1, 0]


def test_the_retry_may_go_to_another_backend(play):
    scenario = play(toml("", f'backends = ["{ADDRESS}", "{SECOND}"]'))
    client, first, second = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    for backend in (first, second):
        client.send(get())
        backend.send(OK)
        client.expect_response(200)
    first.connection.close_unseen()
    first.refuse()
    client.send(get(b"/x"))
    assert len(first.connections) == 1
    second.expect_connections(2)
    second.expect_request(b"GET", b"/x")
    second.send(OK)
    client.expect_response(200, b"ok")
