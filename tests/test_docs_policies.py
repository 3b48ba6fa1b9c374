"""The worked examples of docs/policies.rst do what the page says, driven through whole configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred

from revproxy.config import model
from revproxy.config.load import build
from tests.drive import World
from tests.test_docs import BLOCKS, Block, completed, document_modules  # noqa: F401  # the last is a fixture

FRAGMENTS = [block for block in BLOCKS if block.file == "docs/policies.rst" and block.language == "toml"]


def world(fragment: Block, tmp_path: Path) -> World:
    config, found = build(completed(fragment.text, tmp_path))
    assert not found
    return World(config)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document_modules) -> list[World]:  # type: ignore[no-untyped-def]  # noqa: F811  # a fixture
    document_modules(FRAGMENTS[0])
    # No threads and no real reactor here.
    monkeypatch.setattr("slow_policies.deferToThread", maybeDeferred)
    return [world(fragment, tmp_path) for fragment in FRAGMENTS]


def test_only_with_a_known_token(site: list[World]) -> None:
    answer = site[0].get("/account/")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"WWW-Authenticate: Bearer\r\n" in answer
    assert answer.endswith(b"Who are you?\n")
    assert site[0].dialled == []


def test_the_backend_gets_the_user_and_not_the_token(site: list[World]) -> None:
    answer = site[0].get("/account/", "a", "Authorization: Bearer let-me-in")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nX-Signed-In-As: alice\r\n" in answer
    assert b"\r\nX-User: alice\r\n" in answer
    assert b"let-me-in" not in answer


def test_a_look_at_the_body(site: list[World]) -> None:
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"
    assert site[1].say(head + b"X5O!P%@AP[4\\").startswith(b"HTTP/1.1 422 ")
    assert site[1].say(head, b"a plain", b" text").endswith(b"a plain text")


def test_a_client_that_is_not_wanted(site: list[World]) -> None:
    answer = site[1].get("/upload", method="POST", peer="192.0.2.66")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"Not you.\n")


def test_a_fault_of_ones_own(site: list[World]) -> None:
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    assert site[2].say(head % 1_000_001).startswith(b"HTTP/1.1 413 ")
    assert site[2].records[-1].fault == "client-body-too-large"
    assert site[2].say(head % 1 + b"x").startswith(b"HTTP/1.1 200 ")


def test_the_callable_itself() -> None:
    source = next(block for block in BLOCKS if block.file == "docs/policies.rst" and "no_robots" in block.text)
    namespace: dict[str, model.Route] = {}
    exec(source.text, namespace)
    upstreams = {"app": model.Upstream(backends=(model.Backend(endpoint="tcp:127.0.0.1:9000"),))}
    config = model.Config(
        listen=(model.Listen(endpoint="tcp:8080"),), upstreams=upstreams, routes=(namespace["route"],)
    )
    assert b"\r\nX-Robots-Tag: noindex\r\n" in World(config).get("/")
