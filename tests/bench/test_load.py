"""The load generator, against backends that behave and backends that do not."""

from __future__ import annotations

import socket

import pytest

from revproxy.bench.load import DOWNLOAD, REQUESTS, SMALL, Broken, Load, length_of
from tests.integration.harness import Stage, requests_on

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SMALL + b"x" * SMALL


def load(stage: Stage, workload: str, *pieces: bytes, seconds: float = 0.15, close: bool = False) -> dict[str, object]:
    def serve(connection: socket.socket) -> None:
        for _ in requests_on(connection):
            for piece in pieces:
                connection.sendall(piece)
            if close:
                return

    return dict(Load(workload, stage.backend(serve).port, seconds).run())


def test_whole_responses_count(stage: Stage) -> None:
    counted = load(stage, "small", ANSWER)
    assert counted["errors"] == 0
    assert counted["requests"] > 64  # more than one on a connection
    assert counted["bytes"] == counted["requests"] * SMALL


def test_responses_in_pieces_count(stage: Stage) -> None:
    counted = load(stage, "small", ANSWER[:10], ANSWER[10:100], ANSWER[100:])
    assert counted["errors"] == 0
    assert counted["requests"] > 16  # how many depends on who else is at work


def test_a_connection_for_each_request(stage: Stage) -> None:
    counted = load(stage, "close", ANSWER, close=True)
    assert counted["errors"] == 0
    assert counted["requests"] > 16  # how many depends on who else is at work


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n\r\n",
        ANSWER + b"more",
        b"garbage\r\n\r\n",
        ANSWER[:-1],
    ],
)
def test_anything_else_is_an_error(stage: Stage, answer: bytes) -> None:
    counted = load(stage, "small", answer, seconds=0.1, close=True)
    assert counted["errors"] > 0
    assert counted["error"]


def test_it_gives_up_where_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        counted = Load("small", probe.getsockname()[1], 5.0).run()
    assert counted["requests"] == 0
    assert counted["errors"] == 64
    assert counted["seconds"] < 4


def test_downloads_and_uploads_count_bytes(stage: Stage) -> None:
    body = bytes(DOWNLOAD)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD
    counted = load(stage, "download", head, body, seconds=0.3)
    assert counted["errors"] == 0
    assert counted["bytes"] > 1_000_000
    counted = load(stage, "upload", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", seconds=0.5)
    assert counted["errors"] == 0
    assert counted["bytes"] > 1_000_000


def test_the_head_of_a_browser_has_thirteen_fields() -> None:
    assert REQUESTS["browser"].count(b"\r\n") == 1 + 13 + 1


def test_length() -> None:
    assert length_of(b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 12") == 12
    with pytest.raises(Broken):
        length_of(b"HTTP/1.1 200 OK")
