"""HTTP/2 from clients, in memory: conversations of frames, with the client's bytes whole and one at a time."""

from __future__ import annotations

from struct import pack

import pytest
from twisted.internet.defer import Deferred

from revproxy.config.model import Middleware
from revproxy.downstream import calm
from revproxy.http.message import Answer
from tests.h2kit import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    LISTEN,
    PADDED,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    H2Client,
    frame,
)
from tests.kit import ADDRESS, OK, hooked, logged, ok
from tests.turns import turns_of

PROTOCOL_ERROR, FLOW_CONTROL, CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION, CALM = 1, 3, 5, 6, 7, 8, 9, 11


def met(play, text=LISTEN, settings=None, **options):
    scenario = play(text, **options)
    return scenario, H2Client(scenario.client(), settings), scenario.backend(ADDRESS)


def test_a_request_and_its_response(play):
    scenario, client, backend = met(play)
    stream = client.begin((*GET, (b"accept", b"*/*")))
    request = backend.expect_request(b"GET", b"/", b"")
    assert request.get(b"Host") == b"example.com"
    assert request.get(b"Accept") == b"*/*"
    assert request.get(b"X-Forwarded-Proto") == b"http"
    assert b"2.0" in request.get(b"Via")
    backend.send(ok(b"hello", b"X-Extra: Yes", b"Connection: close, x-gone", b"X-Gone: 1"))
    answer = client[stream]
    assert (answer.status, answer.body, answer.ended) == (b"200", b"hello", True)
    assert answer.heads[0][b"x-extra"] == b"Yes"
    assert answer.heads[0][b"content-length"] == b"5"
    assert not {b"connection", b"x-gone", b"transfer-encoding"} & answer.heads[0].keys()
    assert scenario.log[-1].version == 20


def test_settings_come_first(play_once):
    _scenario, client, _backend = met(play_once)
    assert client.settings[0][3] == 100  # SETTINGS_MAX_CONCURRENT_STREAMS
    assert client.settings[0][8] == 1  # SETTINGS_ENABLE_CONNECT_PROTOCOL
    assert client.windows[0] == 1024 * 1024 - 65535


def test_requests_at_the_same_time_are_answered_in_any_order(play):
    _scenario, client, backend = met(play)
    first = client.begin((*GET[:3], (b":path", b"/first")))
    second = client.begin((*GET[:3], (b":path", b"/second")))
    one, two = backend.connections
    one.expect_request(b"GET", b"/first")
    two.expect_request(b"GET", b"/second")
    two.send(ok(b"2"))
    assert client[second].body == b"2"
    assert not client[first].heads
    one.send(ok(b"1"))
    assert client[first].body == b"1"


def test_a_body_is_streamed_both_ways(play):
    _scenario, client, backend = met(play)
    stream = client.begin(POST, ended=False)
    client.data(stream, b"one")
    backend.expect_head(b"POST", b"/", {b"Transfer-Encoding": b"chunked"})
    backend.connection.expect_body(b"one")
    client.data(stream, b"two", True)
    backend.connection.expect_body(b"two")
    backend.connection.expect_end()
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert client[stream].body == b"abc"
    backend.send(b"3\r\ndef\r\n0\r\n\r\n")
    answer = client[stream]
    assert (answer.body, answer.ended) == (b"abcdef", True)


def test_a_length_is_kept_to(play):
    _scenario, client, backend = met(play)
    stream = client.begin((*POST, (b"content-length", b"3")), ended=False)
    client.data(stream, b"abc", True)
    backend.expect_request(b"POST", b"/", b"abc")
    backend.send(OK)
    assert client[stream].status == b"200"


@pytest.mark.parametrize(("length", "body"), [(b"3", b"abcd"), (b"5", b"abcd"), (b"1", b"")])
def test_a_body_that_is_not_as_long_as_it_says(play, length, body):
    scenario, client, backend = met(play)
    stream = client.begin((*POST, (b"content-length", length)), ended=False)
    backend.expect_head(b"POST", b"/")
    client.data(stream, body, True)
    assert client[stream].reset == PROTOCOL_ERROR
    backend.connection.expect_body(b"")
    assert backend.connection.ended == "reset"
    assert scenario.log[-1].fault == "client-bad-body"


def test_trailers_both_ways(play):
    _scenario, client, backend = met(play)
    stream = client.begin(POST, ended=False)
    client.data(stream, b"body")
    client.send(client.head(stream, [(b"x-sum", b"1")]))
    backend.expect_head(b"POST", b"/")
    backend.connection.expect_body(b"body")
    backend.connection.expect_end([(b"x-sum", b"1")])
    backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Total: 7\r\n\r\n")
    answer = client[stream]
    assert (answer.body, answer.trailers, answer.ended) == (b"a", {b"x-total": b"7"}, True)


def test_interim_responses(play):
    _scenario, client, backend = met(play)
    stream = client.begin((*POST, (b"expect", b"100-continue")), ended=False)
    backend.expect_head(b"POST", b"/", {b"Expect": b"100-continue"})
    backend.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
    assert [head[b":status"] for head in client[stream].heads] == [b"103", b"100"]
    client.data(stream, b"x", True)
    backend.send(ok(b"done"))
    assert client[stream].status == b"200"


def test_head_has_no_body(play):
    _scenario, client, backend = met(play)
    stream = client.begin(((b":method", b"HEAD"), *GET[1:]))
    backend.expect_head(b"HEAD", b"/")
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    answer = client[stream]
    assert (answer.ended, answer.body, answer.heads[0][b"content-length"]) == (True, b"", b"10")


def test_cookies_are_joined(play):
    _scenario, client, backend = met(play)
    client.begin((*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")))
    assert backend.expect_request(b"GET", b"/").get(b"Cookie") == b"a=1; b=2"
    backend.send(OK)


def test_a_large_response_waits_for_the_windows(play_once):
    _scenario, client, backend = met(play_once, settings={4: 10_000})
    stream = client.begin()
    backend.expect_head(b"GET", b"/")
    backend.send(ok(b"x" * 300_000))
    assert len(client[stream].body) == 10_000
    assert not backend.connection.is_read
    client.widen(stream, 30_000)
    assert len(client[stream].body) == 40_000
    client.widen(stream, 400_000)
    assert len(client[stream].body) == 65_535  # the connection's
    client.widen(0, 1_000_000)
    answer = client[stream]
    assert (len(answer.body), answer.ended, max(answer.pieces)) == (300_000, True, 16_384)


def test_streams_take_turns(play_once):
    _scenario, client, backend = met(play_once, settings={4: 1_000_000})
    streams = [client.begin() for _ in range(3)]
    for connection in backend.connections:
        connection.expect_head(b"GET", b"/")
        connection.send(ok(b"x" * 60_000))
    client.widen(0, 60_000)
    sizes = [len(client[stream].body) for stream in streams]
    assert sum(sizes) == 125_535
    assert sizes[0] == 60_000
    assert abs(sizes[1] - sizes[2]) <= 16_384
    client.widen(0, 1_000_000)
    assert all(client[stream].ended for stream in streams)


def test_the_window_grows_by_what_the_backend_took(play_once):
    _scenario, client, backend = met(play_once)
    stream = client.begin(POST, ended=False)
    backend.expect_head(b"POST", b"/")
    backend.connection.stop_reading()
    for _ in range(16):
        client.data(stream, b"x" * 16_384)
    assert client.windows[stream] == 0
    client.data(stream, b"x")  # one more than the window
    assert client[stream].reset == FLOW_CONTROL
    stream = client.begin(POST, ended=False)
    for _ in range(40):
        client.data(stream, b"x" * 16_384)
    assert client.windows[stream] > 300_000
    assert client[stream].reset is None


def test_small_uploads_give_the_connections_window_back(play_once):
    _scenario, client, backend = met(play_once)
    sent = 0
    for _ in range(30):
        stream = client.begin(POST, ended=False)
        for _ in range(5):
            client.data(stream, b"x" * 16_000)
        client.data(stream, b"", True)
        sent += 80_000
        backend.expect_request(b"POST", b"/", b"x" * 80_000)
        backend.send(OK)
        assert client[stream].ended
        assert sent - client.windows[0] < 300_000 - (1024 * 1024 - 65535)


def test_uploads_at_the_same_time_share_the_connections_window(play_once):
    _scenario, client, _backend = met(play_once)
    streams = [client.begin(POST, ended=False) for _ in range(16)]
    sent = 0
    for _ in range(40):
        for stream in streams:
            client.data(stream, b"x" * 8000)
            sent += 8000
        assert not client.goaways
    assert all(client[stream].reset is None for stream in streams)
    assert sent > 4 * 1024 * 1024


def test_a_narrow_connection_window_is_shared(play_once):
    _scenario, client, backend = met(play_once, settings={4: 10_000_000})
    streams = [client.begin() for _ in range(3)]
    for connection in backend.connections:
        connection.expect_head(b"GET", b"/")
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 200_000)
    for _ in range(30):
        client.widen(0, 8000)
    sizes = sorted(len(client[stream].body) for stream in streams)
    assert sizes[0] > 70_000


def test_a_client_that_resets_cancels_the_backend(play):
    scenario, client, backend = met(play)
    stream = client.begin()
    backend.expect_head(b"GET", b"/")
    client.send(frame(RST_STREAM, 0, stream, pack(">I", CANCEL)))
    assert backend.connection.ended == "reset"
    assert scenario.log[-1].fault == "client-gone"
    assert not client.goaways


def test_a_backend_that_breaks_off_resets_the_stream_and_no_other(play):
    _scenario, client, backend = met(play)
    stream, other = client.begin(), client.begin()
    one, two = backend.connections
    one.expect_head(b"GET", b"/")
    two.expect_head(b"GET", b"/")
    one.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    one.close()
    two.send(OK)
    assert client[stream].reset == 2
    assert not client[stream].ended
    assert client[other].ended


def test_an_answer_before_the_end_of_the_upload(play):
    _scenario, client, backend = met(play)
    stream = client.begin(POST, ended=False)
    client.data(stream, b"abc")
    backend.expect_head(b"POST", b"/")
    backend.send(ok(b"enough", status=b"413 Content Too Large"))
    answer = client[stream]
    assert (answer.status, answer.body, answer.ended, answer.reset) == (b"413", b"enough", True, None)
    client.data(stream, b"late", True)
    assert not client.goaways
    assert client[stream].reset is None


def test_the_rest_of_an_upload_that_is_not_wanted(play_once):
    _scenario, client, backend = met(play_once)
    scenario = _scenario
    large = client.begin((*POST, (b"content-length", b"1000000")), ended=False)
    backend.send(ok(b"enough", status=b"413 Content Too Large"))
    assert (client[large].status, client[large].reset) == (b"413", 0)
    endless = client.begin(POST, ended=False)
    backend.send(ok(b"enough", status=b"413 Content Too Large"))
    for _ in range(12):
        if client[endless].reset is None:
            client.data(endless, b"x" * 16_000)
    assert client[endless].reset == 0
    slow = client.begin(POST, ended=False)
    backend.send(ok(b"enough", status=b"413 Content Too Large"))
    scenario.advance(4)
    assert client[slow].reset is None
    scenario.advance(2)
    assert client[slow].reset == 0
    assert not client.goaways


# -- what is no request


@pytest.mark.parametrize(
    "fields",
    [
        GET[1:],
        (*GET, (b":path", b"/")),
        (*GET, (b":status", b"200")),
        ((b"accept", b"*/*"), *GET),
        (*GET, (b"Upper", b"x")),
        (*GET, (b"connection", b"close")),
        (*GET, (b"transfer-encoding", b"chunked")),
        (*GET, (b"te", b"gzip")),
        (*GET, (b"x", b"a\r\nb: c")),
        (*GET, (b"x\n", b"a")),
        (*GET[:3], (b":path", b"")),
        (*GET, (b"host", b"other.example")),
        (*GET, (b"content-length", b"5")),
    ],
)
def test_a_malformed_request_resets_its_stream(play, fields):
    scenario, client, backend = met(play)
    stream = client.begin(fields)
    assert client[stream].reset == PROTOCOL_ERROR
    assert not client[stream].heads
    assert scenario.log[-1].fault == "client-bad-request"
    again = client.begin()
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    assert client[again].ended


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((*GET[:3], (b":path", b"/../x")), b"400"),
        ((*GET[:3], (b":path", b"/" + b"x" * 9000)), b"414"),
        ([*GET, *((b"x-%d" % n, b"1") for n in range(120))], b"431"),
        (((b":method", b"CONNECT"), (b":authority", b"example.com:1")), b"405"),
        ((*GET[:1], (b":scheme", b"https"), *GET[2:]), b"421"),
        ((*POST, (b"expect", b"x")), b"417"),
    ],
)
def test_a_request_that_is_refused_is_answered(play, fields, status):
    _scenario, client, _backend = met(play)
    stream = client.begin(fields)
    assert client[stream].status == status
    assert client[stream].ended


def test_fields_that_are_too_large_together(play):
    _scenario, client, backend = met(play)
    block = client.encoder.encode([*GET, (b"x-large", b"x" * 3000)])
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block + b"\xbe" * 10))
    assert client[1].status == b"431"
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, client.encoder.encode(GET) + b"\xbe" * 9))
    assert len(backend.expect_request(b"GET", b"/").all(b"x-large")) == 9
    backend.send(OK)


def test_trailers_that_are_none(play):
    _scenario, client, _backend = met(play)
    stream = client.begin(POST, ended=False)
    client.send(client.head(stream, [(b":path", b"/")]))
    assert client[stream].reset == PROTOCOL_ERROR
    stream = client.begin(POST, ended=False)
    client.send(client.head(stream, [(b"x", b"1")], ended=False))
    assert client[stream].reset == PROTOCOL_ERROR


# -- errors of the connection


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0, b"\x82"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2, b"\x82"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05\x82"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\x0f"), COMPRESSION),
        (frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, b"12345678"), PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1, b"\x82"), PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, b"1234"), PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, b"123"), FRAME_SIZE),
        (frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
        (frame(PING, 0, 0, b"1234567"), FRAME_SIZE),
        (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE),
        (frame(SETTINGS, ACK, 0, b"123456"), FRAME_SIZE),
        (frame(SETTINGS, 0, 0, pack(">HI", 2, 2)), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, pack(">HI", 4, 1 << 31)), FLOW_CONTROL),
        (frame(SETTINGS, 0, 0, pack(">HI", 5, 100)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, pack(">I", 0)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, pack(">I", (1 << 31) - 1)), FLOW_CONTROL),
        (frame(WINDOW_UPDATE, 0, 1, pack(">I", 1)), PROTOCOL_ERROR),
        (frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82"), PROTOCOL_ERROR),
        (frame(PRIORITY, 0, 0, b"\0\0\0\0\0"), PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 0, b"\0" * 7), FRAME_SIZE),
        (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01" + b"x" * 16_385, FRAME_SIZE),
    ],
)
def test_an_error_of_the_connection(play, sent, code):
    _scenario, client, _backend = met(play)
    with logged("revproxy.engine") as lines:
        client.send(sent)
    assert client.goaways[-1][1] == code
    assert client.peer.ended == "closed"
    assert len(lines) == 1


def test_no_preface(play):
    scenario = play(LISTEN.replace('endpoint = "tcp:8080"', 'endpoint = "tcp:8080"\nname = "x"'))
    client = H2Client(scenario.client(), begin=False)
    client.send(PREFACE + frame(PING, 0, 0, b"12345678"))
    assert client.goaways[-1][1] == PROTOCOL_ERROR


def test_http_1_on_the_same_listener(play):
    scenario = play(LISTEN)
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    client.expect_response(200, b"ok")


def test_http_2_where_it_is_not_spoken(play):
    scenario = play(LISTEN.replace("http2 = true\n", ""))
    client = scenario.client()
    client.send(PREFACE)
    client.expect_response(505)


def test_a_closed_stream(play_once):
    _scenario, client, backend = met(play_once)
    stream = client.begin()
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    assert client[stream].ended
    client.send(frame(WINDOW_UPDATE, 0, stream, pack(">I", 100)) + frame(RST_STREAM, 0, stream, pack(">I", 8)))
    assert not client.goaways
    client.data(stream, b"x")
    assert client.goaways[-1][1] == CLOSED


def test_more_after_the_end_of_a_request(play):
    _scenario, client, backend = met(play)
    stream = client.begin()
    backend.expect_head(b"GET", b"/")
    client.data(stream, b"x")
    assert client[stream].reset == CLOSED
    assert backend.connection.ended == "reset"


# -- floods


def assert_calmed(client, lines, code=CALM):
    assert client.goaways[-1][1] == code
    assert client.peer.ended == "closed"
    assert len(lines) == 1
    assert "client-h2-flood" in lines[0]


def test_rapid_reset(play_once):
    _scenario, client, backend = met(play_once)
    with logged("revproxy.engine") as lines:
        for n in range(calm.RESETS + 1):
            assert not client.goaways, n
            stream = client.begin()
            client.send(frame(RST_STREAM, 0, stream, pack(">I", CANCEL)))
        assert_calmed(client, [line for line in lines if "client-gone" not in line])
    assert sum(not connection.gone for connection in backend.connections) <= 1


def taken_back(client, *streams):
    """The frames of requests, and then those that take them back."""
    resets = [frame(RST_STREAM, 0, stream, pack(">I", CANCEL)) for stream in streams]
    return b"".join([client.head(stream, GET) for stream in streams] + resets)


def test_requests_that_are_taken_back_at_once_are_never_begun(play_once):
    scenario, client, backend = met(play_once)
    client.send(taken_back(client, 1, 3, 5) + client.head(7, GET) + taken_back(client, *range(9, 69, 2)))
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    assert client[7].ended
    assert len(backend.connections) == 1
    assert [line.status for line in scenario.log] == [200]
    assert not client.goaways


def test_after_a_reset_bytes_are_looked_through_again(play_once):
    _scenario, client, backend = met(play_once)
    for n in range(3):
        stream = client.begin()  # nothing to be seen yet
        backend.accept()
        client.send(frame(RST_STREAM, 0, stream, pack(">I", CANCEL)))
        first = client._next
        client._next += 10
        client.send(taken_back(client, *range(first, first + 10, 2)))
        assert len(backend.connections) == n + 1


def test_what_comes_for_a_request_that_was_taken_back_is_passed_over(play_once):
    _scenario, client, backend = met(play_once)
    client.send(
        client.head(1, POST, ended=False)
        + frame(DATA, 0, 1, bytes(1000))
        + frame(WINDOW_UPDATE, 0, 1, pack(">I", 5000))
        + frame(RST_STREAM, 0, 1, pack(">I", CANCEL))
        + client.head(3, GET)
    )
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    assert client[3].ended
    assert not client.goaways


def test_a_heap_of_requests_that_are_taken_back_at_once(play_once):
    _scenario, client, backend = met(play_once)
    with logged("revproxy.engine") as lines:
        for n in range(0, calm.RESETS + 50, 50):
            client.send(taken_back(client, *range(1 + 2 * n, 101 + 2 * n, 2)))
        assert_calmed(client, lines)
    assert not backend.connections


def test_rapid_reset_between_requests_in_earnest(play_once):
    _scenario, client, backend = met(play_once)
    count = 0
    while not client.goaways:
        count += 1
        assert count < calm.RESETS * 1.2
        stream = client.begin()
        backend.send(OK)
        assert client[stream].ended
        stream = client.begin()
        client.send(frame(RST_STREAM, 0, stream, pack(">I", CANCEL)))
        backend.accept()


def test_resets_that_a_client_provokes(play_once):
    _scenario, client, _backend = met(play_once)
    with logged("revproxy.engine") as lines:
        for _ in range(calm.RESETS + 1):
            client.widen(client.begin(), 0)
        assert_calmed(client, lines)


def test_a_client_that_cancels_now_and_then(play_once):
    scenario, client, _backend = met(play_once)
    for _ in range(calm.RESETS * 2):
        stream = client.begin()
        client.send(frame(RST_STREAM, 0, stream, pack(">I", CANCEL)))
        scenario.advance(0.06)
    assert not client.goaways


@pytest.mark.parametrize(
    "nothing",
    [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0),
        frame(PRIORITY, 0, 1, b"\0\0\0\0\0"),
        frame(0xEE, 0, 0, b"?"),
        frame(WINDOW_UPDATE, 0, 0, pack(">I", 1)),
    ],
)
def test_frames_that_carry_nothing(play_once, nothing):
    _scenario, client, _backend = met(play_once)
    most = calm.FRAMES // (int(calm.SETTINGS_COST) if nothing[3] == SETTINGS else 1)
    with logged("revproxy.engine") as lines:
        client.send(nothing * (most - 50))
        assert not client.goaways
        client.send(nothing * 100)
        assert_calmed(client, lines)


def test_empty_data(play_once):
    _scenario, client, _backend = met(play_once)
    stream = client.begin(POST, ended=False)
    with logged("revproxy.engine") as lines:
        client.send(frame(DATA, 0, stream) * (calm.FRAMES + 50))
        assert_calmed(client, lines)


def test_a_little_data_makes_no_flood_of_pings_good(play_once):
    """A byte of DATA made a PING good: 187,000 were answered in 12 s."""
    _scenario, client, backend = met(play_once)
    stream = client.begin(POST, ended=False)
    backend.expect_head(b"POST", b"/")
    with logged("revproxy.engine") as lines:
        client.send((frame(PING, 0, 0, b"12345678") + frame(DATA, 0, stream, b"x")) * (calm.FRAMES + 50))
        assert_calmed(client, lines)


def test_a_field_block_without_end(play_once):
    _scenario, client, _backend = met(play_once)
    with logged("revproxy.engine") as lines:
        client.send(frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1) * 20)
        assert_calmed(client, lines)


def test_a_field_block_that_is_a_bomb(play_once):
    _scenario, client, _backend = met(play_once)
    large = client.encoder.encode([(b"x-large", b"x" * 4000)])
    with logged("revproxy.engine") as lines:
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.encoder.encode(GET) + large + b"\xbe" * 8000))
        assert_calmed(client, lines)


def test_too_many_streams(play_once):
    _scenario, client, backend = met(play_once)
    streams = [client.begin() for _ in range(102)]
    assert [client[stream].reset for stream in streams[-3:]] == [None, REFUSED, REFUSED]
    assert len(backend.connections) == 100
    client.peer.close()


# -- time


def test_a_client_that_takes_nothing(play_once):
    scenario, client, backend = met(play_once, settings={4: 0})
    stream = client.begin()
    backend.expect_head(b"GET", b"/")
    backend.send(ok(b"x" * 1000))
    with logged("revproxy.engine") as lines:
        scenario.advance(9)
        assert client[stream].reset is None
        scenario.advance(3)
    assert client[stream].reset == CANCEL
    assert "client-reads-slowly" in lines[0]


def test_a_client_that_takes_it_slowly_but_takes_it(play_once):
    scenario, client, backend = met(play_once, settings={4: 0})
    stream = client.begin()
    backend.expect_head(b"GET", b"/")
    backend.send(ok(b"x" * 30_000))
    for _ in range(30):
        client.widen(stream, 1000)
        scenario.advance(1)
    assert client[stream].ended


def test_an_upload_that_stops(play_once):
    scenario, client, _backend = met(play_once)
    stream = client.begin(POST, ended=False)
    scenario.advance(12)
    assert client[stream].status == b"408"
    # nothing more is waited for, and nothing more is taken
    assert client[stream].reset == 0
    assert client.goaways == [(stream, 0)]
    assert client.peer.ended == "closed"


@pytest.mark.parametrize("rate", [300, 1000])
def test_bytes_of_a_frame_that_is_not_whole_count(play_once, rate):
    scenario, client, backend = met(play_once)
    stream = client.begin(POST, ended=False)
    body = b"x" * 16_384
    frames = frame(DATA, 0, stream, body) * 3 + frame(DATA, END_STREAM, stream)
    for at in range(0, len(frames), rate):
        client.send(frames[at : at + rate])
        scenario.advance(1)
    backend.expect_request(b"POST", b"/", body * 3)
    backend.send(OK)
    assert client[stream].status == b"200"


@pytest.mark.parametrize(
    ("server", "rate", "every", "fault"),
    [
        ("", 200, 1, "client-body-slow"),
        ('minimum_rate = "off"', 1, 31, "client-body-timeout"),
    ],
)
@pytest.mark.parametrize("fields", [(), ((b"expect", b"100-continue"),)])
def test_a_frame_that_is_not_whole_is_no_way_around_the_clocks(play_once, server, rate, every, fault, fields):
    scenario, client, _backend = met(play_once, f"[server]\n{server}\n{LISTEN}")
    stream = client.begin((*POST, *fields), ended=False)
    data = frame(DATA, 0, stream, b"x" * 16_384)
    client.send(data[:10])
    for at in range(10, 10 + 60 * rate, rate):
        scenario.advance(every)
        if client[stream].heads:
            break
        client.send(data[at : at + rate])
    assert client[stream].status == b"408"
    assert scenario.log[-1].fault == fault


def test_a_slow_upload_does_not_end_what_else_goes_on(play_once):
    scenario, client, backend = met(play_once)
    slow = client.begin(POST, ended=False)
    other = client.begin()
    scenario.advance(12)
    assert client[slow].status == b"408"
    backend.connections[-1].send(OK)
    client.read()
    assert client[other].status == b"200"
    assert client.goaways == [(other, 0)]
    assert client.peer.ended == "closed"


def test_a_heap_of_requests_leaves_others_their_turn(play_once):
    scenario, client, _backend = met(play_once, LISTEN + '[[routes]]\nmatch = { path = "/" }\nrespond = 204\n')
    turns = turns_of(scenario)
    streams = range(1, 180, 2)
    client.send(b"".join([client.head(stream, GET) for stream in streams]))
    assert [client[stream].status for stream in streams] == [b"204"] * 90
    assert turns == [0] * 11


def test_a_heap_of_little_frames_leaves_others_their_turn(play_once):
    """One-byte DATA frames earn their connection quiet, and each is a write to the backend: ten held it up for 3 s."""
    scenario, client, backend = met(play_once)
    stream = client.begin(POST, ended=False)
    turns = turns_of(scenario)
    client.send(b"".join([frame(DATA, 0, stream, b"x")] * 2000))
    assert len(turns) >= 15
    client.data(stream, b"", ended=True)
    backend.expect_request(b"POST", b"/", b"x" * 2000)


def test_a_client_that_asks_and_does_not_read(play_once):
    scenario, client, _backend = met(
        play_once, LISTEN.replace('upstream = "app"', f'respond = {{ body = "{"x" * 15_000}" }}')
    )
    client.widen(0, 100_000_000)
    client.peer.stop_reading()
    sent = 0
    while client.peer.is_read and sent < 1000:
        client.begin()
        sent += 1
    assert sent < 20
    assert client.peer.waiting < 200_000
    client.peer.resume_reading()
    scenario.advance(0)
    client.read()
    assert sum(answer.ended for answer in client.answers.values()) == sent
    assert client.peer.is_read


def test_an_idle_connection_says_goodbye(play_once):
    scenario, client, backend = met(play_once)
    stream = client.begin()
    backend.expect_request(b"GET", b"/")
    backend.send(OK)
    scenario.advance(74)
    assert not client.goaways
    scenario.advance(2)
    client.read()
    assert client.goaways == [(stream, 0)]
    assert client.peer.ended == "closed"


def test_a_silent_connection_and_half_a_frame(play_once):
    scenario, client, _backend = met(play_once)
    scenario.advance(11)
    client.read()
    assert client.goaways == [(0, 0)]
    client = H2Client(scenario.client())
    client.send(frame(HEADERS, END_HEADERS, 1, b"\x82" * 20)[:-1])
    scenario.advance(12)
    client.read()
    assert client.goaways[-1][1] == PROTOCOL_ERROR


def test_a_slow_backend_has_no_clock_here(play_once):
    scenario, client, backend = met(play_once)
    stream = client.begin()
    backend.expect_request(b"GET", b"/")
    scenario.advance(50)
    backend.send(OK)
    assert client[stream].ended


# -- stopping


def test_a_stop_finishes_what_is_under_way(play_once):
    scenario, client, backend = met(play_once)
    stream = client.begin()
    backend.expect_request(b"GET", b"/")
    done = scenario.engine.drain(30)
    client.read()
    assert client.goaways == [(2**31 - 1, 0)]
    late = client.begin()  # it was on its way
    backend.connections[1].expect_request(b"GET", b"/")
    scenario.advance(1.5)
    client.read()
    assert client.goaways[-1] == (late, 0)
    too_late = client.begin()
    for connection in backend.connections:
        connection.send(OK)
    assert client[stream].ended
    assert client[late].ended
    assert not client[too_late].heads
    assert client.peer.ended == "closed"
    client.peer.close()
    assert done.called


def test_a_stop_of_an_idle_connection(play_once):
    scenario, client, _backend = met(play_once)
    scenario.engine.drain(30)
    scenario.advance(0)
    client.read()
    assert client.goaways == [(0, 0)]
    assert client.peer.ended == "closed"


def test_a_limit_of_requests(play_once):
    _scenario, client, backend = met(play_once, "[server.limits]\nrequests_per_connection = 2\n" + LISTEN)
    for _ in range(2):
        stream = client.begin()
        backend.expect_request(b"GET", b"/")
        backend.send(OK)
        assert client[stream].ended
    assert client.goaways == [(3, 0)]


# -- WebSocket over HTTP/2 (RFC 8441)

CONNECT = (
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat"),
    (b":authority", b"example.com"),
    (b"sec-websocket-version", b"13"),
)


SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


def switch(backend):
    from revproxy.http.h2responses import accept_of

    request = backend.expect_request(b"GET", b"/chat")
    assert request.get(b"Upgrade") == b"websocket"
    assert request.get(b"Sec-WebSocket-Version") == b"13"
    accept = accept_of(request.get(b"Sec-WebSocket-Key"))
    return SWITCH % accept


def test_a_tunnel(play):
    _scenario, client, backend = met(play)
    stream = client.begin(CONNECT, ended=False)
    client.data(stream, b"early")
    backend.send(switch(backend) + b"welcome")
    answer = client[stream]
    assert (answer.status, answer.body, answer.ended) == (b"200", b"welcome", False)
    backend.connection.expect(b"early")
    client.data(stream, b"up")
    backend.connection.expect(b"up")
    backend.send(b"down")
    assert client[stream].body == b"welcomedown"
    client.data(stream, b"bye", True)
    backend.connection.expect(b"bye")
    backend.connection.half_close()
    assert client[stream].ended
    assert not client.goaways


def test_what_browsers_are_told_when_a_tunnel_opens(play):
    _scenario, client, backend = met(play, LISTEN + "cookies = true\nsecurity_headers = true")
    stream = client.begin(CONNECT, ended=False)
    client.data(stream, b"early")
    backend.send(switch(backend)[:-2] + b"Set-Cookie: sid=1\r\n\r\nwelcome")
    answer = client[stream]
    assert (answer.status, answer.body, answer.ended) == (b"200", b"welcome", False)
    [head] = answer.heads
    assert head[b"set-cookie"] == b"sid=1; HttpOnly; SameSite=Lax"
    assert head[b"x-content-type-options"] == b"nosniff"
    backend.connection.expect(b"early")
    client.data(stream, b"bye", True)
    backend.connection.expect(b"bye")
    backend.connection.half_close()
    assert client[stream].ended


def test_a_hook_waits_before_a_tunnel_opens(play):
    waiter = Deferred()
    hook = Middleware(call=lambda exchange: waiter, at="client-response")
    scenario = play(hooked(LISTEN, hook))
    client, backend = H2Client(scenario.client()), scenario.backend(ADDRESS)
    stream = client.begin(CONNECT, ended=False)
    client.data(stream, b"early")
    backend.send(switch(backend) + b"welcome")
    client.data(stream, b" more", True)
    assert client[stream].heads == []
    backend.connection.expect_nothing()
    waiter.callback(None)
    scenario.reactor.settle()
    answer = client[stream]
    assert (answer.status, answer.body, answer.ended) == (b"200", b"welcome", False)
    backend.connection.expect(b"early more")
    backend.connection.half_close()
    assert client[stream].ended


@pytest.mark.parametrize(
    "page",
    [
        ok(b"a page"),
        ok(b"a page")[:-1],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ],
)
def test_a_success_without_a_tunnel_is_a_failure_for_client_and_log(play, page):
    scenario, client, backend = met(play)
    stream = client.begin(CONNECT, ended=False)
    backend.expect_request(b"GET", b"/chat")
    backend.send(page)
    assert (client[stream].status, client[stream].ended) == (b"502", True)
    record = scenario.log[-1]
    assert (record.status, record.fault) == (502, "backend-bad-response")
    assert len(scenario.log) == 1
    later = client.begin(GET)
    backend.send(OK)
    assert client[later].status == b"200"


def test_a_cached_success_is_none(play_once):
    scenario, client, backend = met(play_once, LISTEN + "cache = true")
    first = client.begin((*GET[:3], (b":path", b"/chat")))
    backend.send(ok(b"a page", b"Cache-Control: max-age=60"))
    assert client[first].status == b"200"
    stream = client.begin(CONNECT, ended=False)
    if backend.connection.received.count(b"GET /chat") > 1:
        backend.send(ok(b"a page"))
    assert client[stream].status == b"502"
    assert scenario.log[-1].status == 502


def test_routes_without_tunnels(play):
    scenario = play(LISTEN.replace('[[routes]]\nupstream = "app"', "[[routes]]\nrespond = 200"))
    client = H2Client(scenario.client())
    assert client[client.begin(CONNECT, ended=False)].status == b"501"
    assert (scenario.log[-1].status, scenario.log[-1].fault) == (501, "upgrade-unsupported")
    scenario = play(LISTEN + "upgrade = []")
    client, backend = H2Client(scenario.client()), scenario.backend(ADDRESS)
    stream = client.begin(CONNECT, ended=False)
    backend.send(ok(b"a page"))
    assert client[stream].status == b"501"
    assert (scenario.log[-1].status, scenario.log[-1].fault) == (501, "upgrade-unsupported")


def test_a_backend_that_refuses_a_tunnel(play):
    _scenario, client, backend = met(play)
    stream = client.begin(CONNECT, ended=False)
    backend.expect_request(b"GET", b"/chat")
    backend.send(ok(b"no", status=b"403 Forbidden"))
    assert (client[stream].status, client[stream].body) == (b"403", b"no")


def test_a_wrong_answer_to_the_handshake(play):
    scenario, client, backend = met(play)
    stream = client.begin(CONNECT, ended=False)
    backend.expect_request(b"GET", b"/chat")
    backend.send(SWITCH % b"x")
    assert client[stream].status == b"502"
    assert (scenario.log[-1].status, scenario.log[-1].fault) == (502, "backend-bad-response")
    backend.connection.expect_reset()


def test_a_tunnel_that_only_the_client_holds_open_ends(play_once):
    scenario, client, backend = met(play_once)
    stream = client.begin(CONNECT, ended=False)
    backend.send(switch(backend))
    backend.connection.half_close()
    assert client[stream].ended
    scenario.advance(3700)
    assert client[stream].reset == CANCEL
    scenario.advance(80)
    client.read()
    assert client.goaways


def test_much_before_the_tunnel_is_there(play_once):
    _scenario, client, backend = met(play_once)
    stream = client.begin(CONNECT, ended=False)
    client.peer.send(frame(DATA, 0, stream, b"x") * 20_000)
    client.read()
    backend.send(switch(backend))
    backend.connection.expect(b"x" * 20_000)


def test_an_idle_tunnel_ends(play_once):
    scenario, client, backend = met(play_once)
    stream = client.begin(CONNECT, ended=False)
    backend.send(switch(backend))
    scenario.advance(3700)
    assert client[stream].reset == CANCEL
    assert scenario.log[-1].fault == "tunnel-idle"


# -- with the rest of the proxy


def test_hooks_answer(play):
    scenario = play(hooked(LISTEN, Middleware(call=lambda exchange: Answer(403, body=b"no"))))
    client = H2Client(scenario.client())
    stream = client.begin(POST, ended=False)
    assert (client[stream].status, client[stream].body, client[stream].ended) == (b"403", b"no", True)


def test_padding_counts_and_is_left_out(play):
    _scenario, client, backend = met(play)
    stream = client.begin(POST, ended=False)
    client.send(frame(DATA, END_STREAM | PADDED, stream, b"\x05" + b"body" + b"\0" * 5))
    backend.expect_request(b"POST", b"/", b"body")
    backend.send(OK)


def test_many_requests_with_the_same_fields(play_once):
    _scenario, client, backend = met(play_once)
    for n in range(20):
        stream = client.begin((*GET[:3], (b":path", b"/%d" % (n % 3)), (b"x-n", b"%d" % (n % 4))))
        request = backend.expect_request(b"GET", b"/%d" % (n % 3))
        assert request.get(b"x-n") == b"%d" % (n % 4)
        backend.send(ok(b"%d" % n))
        assert client[stream].body == b"%d" % n
