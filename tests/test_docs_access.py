"""What docs/access.rst and docs/security-headers.rst say in tables and examples."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from revproxy.access.rules import compile_access
from revproxy.config import model
from revproxy.config.load import build
from revproxy.config.structure import Structurer
from revproxy.http.message import Headers, Request
from revproxy.http.setcookie import missing_attributes
from tests.drive import World
from tests.test_docs import BLOCKS, completed
from tests.test_docs_reference import code, read, table_after

ACCESS = [block for block in BLOCKS if block.file == "docs/access.rst"]
BROWSERS = [block for block in BLOCKS if block.file == "docs/security-headers.rst" and block.language == "toml"]
FRAGMENTS = [block for block in ACCESS if block.language == "toml"]


def world(block, tmp_path: Path) -> World:  # type: ignore[no-untyped-def]
    for other in ACCESS:
        if other.caption:
            (tmp_path / other.caption).write_text(other.text, "utf-8")
    config, found = build(completed(block.text, tmp_path), base=str(tmp_path))
    assert not found
    return World(config)


def status(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.mark.parametrize("row", table_after(read("access.rst"), ".. networks"), ids=" ".join)
def test_networks(row: list[str]) -> None:
    table = tomllib.loads(f"access = {{ {code(row[0])} }}")["access"]
    written = Structurer().table(model.Access, table, ())
    request = Request(b"GET", b"/", None, Headers())
    request.client = code(row[1])
    why = compile_access(written, lambda name: pytest.fail(name))(request)
    assert ("let in" if why is None else "refused") == row[2]


def test_the_first_example(tmp_path: Path) -> None:
    here = world(FRAGMENTS[0], tmp_path)
    assert status(here.get("/")) == 200
    assert status(here.get("/", peer="198.51.100.1")) == 403
    assert here.records[-1].detail == "server: deny: 198.51.100.0/24"
    assert status(here.get("/.git/HEAD")) == 403
    assert status(here.get("/admin/")) == 403
    assert status(here.get("/admin/", peer="203.0.113.7")) == 200
    assert status(here.get("/admin/", peer="10.6.6.6")) == 403
    assert status(here.get("/", "a", "User-Agent: python-requests/1.2")) == 403
    assert status(here.get("/", "a", "User-Agent: python-requests/2.2")) == 200


def test_the_example_with_a_list(tmp_path: Path) -> None:
    here = world(FRAGMENTS[1], tmp_path)
    assert status(here.get("/hooks/x", peer="192.0.2.1")) == 200
    assert status(here.get("/hooks/x", peer="192.0.2.2")) == 403
    for peer in ("203.0.113.66", "198.51.100.9"):
        assert status(here.get("/hooks/x", peer=peer)) == 403
        assert here.records[-1].detail.startswith("server: deny: ")


def test_the_example_with_a_key(tmp_path: Path) -> None:
    here = world(FRAGMENTS[2], tmp_path)
    assert status(here.get("/")) == 404
    assert status(here.get("/", "a", "X-CDN-Key: 4f1c6d")) == 200
    assert status(here.get("/", "a", "X-CDN-Key: 4f1c6d", method="DELETE")) == 404


def test_the_example_with_bodies(tmp_path: Path) -> None:
    here = world(FRAGMENTS[3], tmp_path)

    def put(kind: str, size: int) -> int:
        return status(
            here.get("/api/x", "a", f"Content-Type: {kind}", f"Content-Length: {size}", method="PUT") or b"- 0"
        )

    assert put("text/xml", 1) == 415
    assert put("application/json", 256 * 1024 + 1) == 413
    assert put("application/problem+json", 256 * 1024 + 1) == 0  # it waits for the body
    assert put("application/problem+json", 1024 * 1024 + 1) == 413
    assert put("multipart/form-data", 50 * 1024 * 1024 + 1) == 413


def fields(answer: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


@pytest.mark.parametrize(("column", "written"), [(1, "true"), (2, '"strict"')])
def test_presets(column: int, written: str, tmp_path: Path) -> None:
    text = f'[server]\ntrusted_proxies = ["192.0.2.7"]\n[[routes]]\nrespond = 200\nsecurity_headers = {written}\n'
    config, problems = build(completed(text, tmp_path))
    assert not problems
    plain = fields(World(config).get("/"))
    sent = fields(World(config).get("/", "a", "X-Forwarded-Proto: https"))
    names = set()
    for row in table_after(read("security-headers.rst"), ".. presets"):
        name, said = code(row[0]).lower(), row[column]
        names.add(name)
        if said == "–":
            assert name not in sent
            continue
        assert (name in plain) == (name != "strict-transport-security")
        if "…" in said:
            assert sent[name][0].startswith(said.partition("``")[2].partition("``")[0])
        else:
            assert sent[name] == [code(said)]
    assert sent.keys() - names == {"content-length", "date"}


def test_the_example_of_security_headers(tmp_path: Path) -> None:
    here = world(BROWSERS[0], tmp_path)
    assert fields(here.get("/account/"))["x-frame-options"] == ["DENY"]
    embedded = fields(here.get("/embed/x"))
    assert embedded["content-security-policy"] == ["frame-ancestors https://partner.example"]
    assert "x-frame-options" not in embedded
    assert "x-content-type-options" not in fields(here.get("/legacy/x"))


def test_the_example_of_cors(tmp_path: Path) -> None:
    here = world(BROWSERS[1], tmp_path)
    answer = fields(here.get("/api/x", "a", "Origin: https://x.apps.example.com"))
    assert answer["access-control-allow-origin"] == ["https://x.apps.example.com"]
    assert answer["access-control-allow-credentials"] == ["true"]
    assert "access-control-allow-origin" not in fields(here.get("/api/x", "a", "Origin: https://apps.example.com"))
    anybody = fields(here.get("/fonts/x"))
    assert anybody["access-control-allow-origin"] == ["*"]
    assert "vary" not in anybody


@pytest.mark.parametrize("row", table_after(read("security-headers.rst"), ".. cookies"), ids=" ".join)
def test_cookies(row: list[str]) -> None:
    value = code(row[0]).encode()
    more = missing_attributes(value, https=True, secure=True, http_only=True, readable={b"csrftoken"}, same_site=b"Lax")
    assert value + more == code(row[1]).encode()
