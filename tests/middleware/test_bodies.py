"""What bodies a route takes, end to end."""

from __future__ import annotations

import pytest

from tests.h2kit import GET, LISTEN, POST, H2Client
from tests.kit import ADDRESS, OK, get, post, toml

ROUTE = """upstream = "app"
limits = { body = 100, body_by_type = { "application/json" = 10, "multipart/*" = 1000, "text/plain" = "off" } }"""
CHUNKED = b"Transfer-Encoding: chunked"


def typed(value: bytes) -> bytes:
    return b"Content-Type: " + value


@pytest.mark.parametrize(
    ("fields", "size", "status"),
    [
        ((typed(b"application/json"),), 10, 200),
        ((typed(b"application/json; charset=utf-8"),), 11, 413),
        ((typed(b"multipart/form-data; boundary=x"),), 1000, 200),
        ((typed(b"multipart/form-data; boundary=x"),), 1001, 413),
        ((typed(b"text/plain"),), 5000, 200),
        ((typed(b"image/png"),), 100, 200),
        ((typed(b"image/png"),), 101, 413),
        ((), 101, 413),
        ((typed(b"multipart/x, application/json"),), 101, 413),
        ((typed(b"multipart/x"), typed(b"application/json")), 11, 413),
    ],
)
def test_sizes_by_type(play, fields, size, status):
    scenario = play(toml(route=ROUTE))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(post(b"x" * size, *fields))
    if status == 200:
        backend.expect_request(b"POST", b"/", b"x" * size)
        backend.send(OK)
    client.expect_response(status)
    assert scenario.log[-1].fault == ("" if status == 200 else "client-body-too-large")


def test_sizes_are_enforced_as_bytes_come(play):
    scenario = play(toml(route=ROUTE))
    client = scenario.client()
    client.send(get(b"/", typed(b"application/json"), CHUNKED, method=b"POST") + b"6\r\nabcdef\r\n")
    client.expect_nothing()
    client.send(b"6\r\nabcdef\r\n0\r\n\r\n")
    client.expect_response(413)


def test_sizes_hold_in_http2(play):
    text = LISTEN.replace('upstream = "app"', ROUTE + '\ncontent_types = ["application/json", "text/*"]', 1)
    scenario = play(text)
    client, backend = H2Client(scenario.client()), scenario.backend(ADDRESS)
    stream = client.begin((*POST, (b"content-type", b"application/json")), ended=False)
    client.data(stream, b"abcdef")
    assert not client[stream].heads
    client.data(stream, b"abcdef", ended=True)
    assert client[stream].status == b"413"
    stream = client.begin((*POST, (b"content-type", b"application/xml")), ended=False)
    client.data(stream, b"<")
    assert client[stream].status == b"415"
    del backend


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((typed(b"application/json"),), 200),
        ((typed(b"Text/HTML; x=y"),), 200),
        ((typed(b"application/problem+json"),), 200),
        ((typed(b"application/xml"),), 415),
        ((), 415),
        ((typed(b"application/json"), typed(b"application/xml")), 415),
        ((typed(b"application/json"), typed(b"application/json")), 415),
        ((typed(b"application/json, application/xml"),), 415),
    ],
)
def test_types(play_once, fields, status):
    scenario = play_once(toml(route='respond = 200\ncontent_types = ["application/json", "text/*", "*+json"]'))
    client = scenario.client()
    client.send(post(b"{}", *fields))
    client.expect_response(status)
    assert scenario.log[-1].fault == ("" if status == 200 else "client-content-type")


def test_what_is_missing_is_a_stream_of_bytes(play_once):
    scenario = play_once(toml(route='respond = 200\ncontent_types = "application/octet-stream"'))
    client = scenario.client()
    client.send(post(b"{}"))
    client.expect_response(200)


def test_requests_without_a_body_have_no_type(play_once):
    scenario = play_once(toml(route='respond = 200\ncontent_types = "application/json"'))
    client = scenario.client()
    for request in (get(), post(b""), get(method=b"DELETE")):
        client.send(request)
        client.expect_response(200)


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("route", ["respond = 200", 'upstream = "app"'])
def test_whether_there_is_a_body_does_not_depend_on_packets(play, body, apart, route):
    scenario = play(toml(route=f'{route}\ncontent_types = "application/json"'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    head = get(b"/", CHUNKED, method=b"POST")
    rest = b"2\r\n{}\r\n0\r\n\r\n" if body else b"0\r\n\r\n"
    client.send(head if apart else head + rest)
    if apart:
        client.expect_nothing()
        client.send(rest)
    if body:
        client.expect_response(415)
        return
    if "app" in route:
        backend.expect_request(b"POST", b"/", b"")
        backend.send(OK)
    client.expect_response(200)


def test_who_waits_for_100_is_not_asked_for_the_body(play_once):
    scenario = play_once(toml(route='respond = 200\ncontent_types = "application/json"'))
    client = scenario.client()
    client.send(get(b"/", CHUNKED, b"Expect: 100-continue", method=b"POST"))
    client.expect_response(415)


@pytest.mark.parametrize(("body", "status"), [(b"", b"200"), (b"x", b"415")])
def test_nor_on_frames(play, body, status):
    scenario = play(LISTEN.replace('upstream = "app"', 'respond = 200\ncontent_types = "application/json"', 1))
    client = H2Client(scenario.client())
    stream = client.begin(GET, ended=False)
    assert not client[stream].heads
    client.data(stream, body, True)
    assert client[stream].status == status


def test_a_type_may_be_less_than_nothing_is_limited(play_once):
    """Without a limit for all, types have theirs."""
    scenario = play_once(toml(route='respond = 200\nlimits.body_by_type = { "*+json" = 1 }'))
    client = scenario.client()
    client.send(post(b"x" * 100000))
    client.expect_response(200)
    client.send(post(b"xx", typed(b"a/b+json")))
    client.expect_response(413)
    assert scenario.log[-1].detail == "a/b+json: more than 1 bytes"
