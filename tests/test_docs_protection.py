"""The worked example of docs/protection.rst: bans are seen and lifted while the proxy runs."""

from __future__ import annotations

from pathlib import Path

from revproxy.config.load import build
from tests.drive import World
from tests.test_docs import BLOCKS, completed, document_modules  # noqa: F401  # the last is a fixture

(FRAGMENT,) = (block for block in BLOCKS if block.file == "docs/protection.rst" and "bans:bans" in block.text)


def test_bans_are_listed_and_lifted(tmp_path: Path, document_modules) -> None:  # type: ignore[no-untyped-def]  # noqa: F811  # a fixture
    document_modules(FRAGMENT)
    config, found = build(completed("[server]\nbans = true\n\n" + FRAGMENT.text, tmp_path))
    assert not found
    world = World(config)
    assert world.get("/-/bans", peer="203.0.113.7").startswith(b"HTTP/1.1 403 ")
    bans = world.engine.bans
    assert bans is not None
    bans.ban("203.0.113.9", 60, "by hand")
    answer = world.get("/-/bans", peer="127.0.0.1")
    assert answer.startswith(b"HTTP/1.1 200 ") and b"203.0.113.9 until " in answer and b"by hand" in answer
    path = "/-/bans?address=203.0.113.9"
    assert world.get(path, method="DELETE", peer="127.0.0.1").startswith(b"HTTP/1.1 204 ")
    assert not bans.list()
    assert world.get(path, method="DELETE", peer="127.0.0.1").startswith(b"HTTP/1.1 404 ")
