"""Conversations made by chance: whatever is said in whatever pieces, answers belong to their requests."""

from __future__ import annotations

import itertools

from hypothesis import given, settings, strategies as st

from revproxy.testing import Scenario
from tests.examples import examples
from tests.kit import ADDRESS, get, load, toml

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE"]


@st.composite
def requests(draw):
    """(method, how its body is framed, the body, whether the backend answers before the end of it)."""
    method = draw(st.sampled_from(METHODS))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    body = b"" if framing == "none" else draw(st.binary(max_size=40))
    return method, framing, body


@st.composite
def responses(draw):
    framing = draw(st.sampled_from(["length", "chunked", "close", "204"]))
    body = b"" if framing == "204" else draw(st.binary(max_size=40))
    return framing, body, draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"])), draw(st.booleans())


def request_bytes(at, method, framing, body):
    if framing == "none":
        return get(b"/%d" % at, method=method)
    if framing == "length":
        return get(b"/%d" % at, b"Content-Length: %d" % len(body), method=method) + body
    return get(b"/%d" % at, b"Transfer-Encoding: chunked", method=method) + chunked(body)


def chunked(body):
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def response_bytes(at, method, framing, body, interim, closing):
    head = interim + b"HTTP/1.1 200 OK\r\nX-At: %d\r\n" % at
    if framing == "204":
        return interim + b"HTTP/1.1 204 No Content\r\nX-At: %d\r\n\r\n" % at
    if closing:
        head += b"Connection: close\r\n"
    if framing == "length":
        head += b"Content-Length: %d\r\n\r\n" % len(body)
    elif framing == "chunked":
        head += b"Transfer-Encoding: chunked\r\n\r\n"
    else:
        head += b"\r\n"
    if method == b"HEAD":
        return head
    return head + (chunked(body) if framing == "chunked" else body)


def pieces(data, cuts):
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=6)


@settings(max_examples=examples(150))
@given(st.lists(st.tuples(requests(), responses(), CUTS), min_size=1, max_size=6), CUTS)
def test_answers_belong_to_their_requests(conversation, cuts):
    scenario = Scenario(load(toml()))
    try:
        client, backend = scenario.client(), scenario.backend(ADDRESS)
        said = b"".join(request_bytes(at, *request) for at, (request, _, _) in enumerate(conversation))
        for piece in pieces(said, cuts):
            client.send(piece)
        for at, ((method, _, sent), (framing, body, interim, closing), response_cuts) in enumerate(conversation):
            connection = next(one for one in reversed(backend.connections) if one.unread)
            connection.expect_request(method, b"/%d" % at, sent)
            for piece in pieces(response_bytes(at, method, framing, body, interim, closing), response_cuts):
                connection.send(piece)
            if framing == "close" and method != b"HEAD":
                connection.close()
            if interim:
                client.expect_response(103)
            status = 204 if framing == "204" else 200
            shown = b"" if method == b"HEAD" else body
            client.expect_response(status, shown, {b"X-At": b"%d" % at}, head=method == b"HEAD")
        client.expect_nothing()
        assert [record.fault for record in scenario.log] == [""] * len(conversation)
        scenario.finish()
    finally:
        scenario.forget()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["client", "client", "backend", "backend", "client ends", "client resets", "backend ends", "backend resets",
             "client stops", "client reads", "backend stops", "backend reads", "time"]
        ),
        st.binary(max_size=30),
        st.integers(0, 40),
    ),
    max_size=14,
)  # fmt: skip

SAID = [
    get(b"/a"),
    get(b"/b", b"Content-Length: 5", method=b"POST") + b"hello",
    get(b"/c", b"Transfer-Encoding: chunked", method=b"PUT") + b"3\r\nabc\r\n0\r\n\r\n",
    get(b"/d", b"Connection: Upgrade", b"Upgrade: websocket"),
    get(b"/e", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"),
    b"hello",
    b"HTTP/1.0 bad\r\n\r\n",
]
ANSWERED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\n\r\nto the end",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"nonsense\r\n\r\n",
]


@settings(max_examples=examples(300))
@given(EVENTS)
def test_nothing_breaks_and_nothing_is_left_behind(events):
    """Both sides say, stop and leave as they please; an exception inside would surface here."""
    scenario = Scenario(load(toml("", "max_connections = 2\nqueue = 1")))
    try:
        client, backend = scenario.client(), scenario.backend(ADDRESS)
        for what, data, at in events:
            if client.gone or client.closed:
                client = scenario.client()
            connection = next((one for one in reversed(backend.connections) if not one.gone and not one.closed), None)
            who, _, deed = what.partition(" ")
            if who == "time":
                scenario.advance(at)
                continue
            side = client if who == "client" else connection
            if side is None:
                continue
            if not deed:
                said = SAID if who == "client" else ANSWERED
                side.send(data if at > 35 and data else said[at % len(said)])
            else:
                {
                    "ends": side.half_close,
                    "resets": side.reset,
                    "stops": side.stop_reading,
                    "reads": side.resume_reading,
                }[deed]()
        scenario.finish()
        assert len(scenario.log) == len({record.request_id for record in scenario.log}), "logged twice"
    finally:
        scenario.forget()
