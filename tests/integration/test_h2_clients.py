"""Clients that people use, over HTTP/2: curl, nghttp, h2load and Chromium."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.h2_stand import LARGE, SMALL, Stand, standing
from tests.integration.harness import until

Find = Callable[[str], str]
Run = Callable[..., subprocess.CompletedProcess[bytes]]
UPLOAD = 5_000_000


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    log = '[access_log]\nenabled = true\nformat = "json"\npath = "access.log"'
    with standing(tmp_path_factory.mktemp("clients"), log) as stand:
        yield stand


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(b"5 MB" * (UPLOAD // 4))
    return path


@pytest.fixture
def run(peer: Find, tmp_path: Path) -> Run:
    """Return what runs a client to its end and returns what it said; it must succeed."""

    def run(name: str, *arguments: object, seconds: float = 60.0) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [peer(name), *map(str, arguments)],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    return run


@pytest.fixture(params=["tls", "clear"])
def address(request: pytest.FixtureRequest, stand: Stand) -> tuple[str, list[str]]:
    """The address of a listener, and curl's options for it."""
    if request.param == "tls":
        return f"https://localhost:{stand.tls.port}", ["--http2", "-k"]
    return f"http://localhost:{stand.clear.port}", ["--http2-prior-knowledge"]


def _curl(run: Run, address: tuple[str, list[str]], path: str, *more: object) -> tuple[str, bytes, str]:
    """Return what curl was told to write out, the body, and what it said."""
    url, options = address
    words = ["-sSv", "--max-time", "30", "--noproxy", "*", "-4", "-w", "\n%{http_version} %{http_code}"]
    done = run("curl", *words, *options, *more, url + path)
    body, _, written = done.stdout.rpartition(b"\n")
    return written.decode(), body, done.stderr.decode("latin-1")


def test_curl_gets(run: Run, address: tuple[str, list[str]]) -> None:
    assert _curl(run, address, "/small")[:2] == ("2 200", SMALL)


def test_curl_gets_much(run: Run, address: tuple[str, list[str]]) -> None:
    written, body, _ = _curl(run, address, "/large")
    assert (written, len(body)) == ("2 200", LARGE)


def test_curl_asks_for_the_head(run: Run, address: tuple[str, list[str]]) -> None:
    written, _, said = _curl(run, address, "/small", "-I")
    assert written == "2 200"
    assert f"< content-length: {len(SMALL)}" in said


def test_curl_uploads(run: Run, address: tuple[str, list[str]], upload: Path) -> None:
    written, body, _ = _curl(run, address, "/", "--data-binary", f"@{upload}")
    assert (written, json.loads(body)["size"]) == ("2 200", UPLOAD)


def test_curl_uploads_without_a_length(run: Run, address: tuple[str, list[str]], upload: Path) -> None:
    written, body, _ = _curl(run, address, "/", "-X", "POST", "-H", "Content-Length:", "-T", upload)
    assert (written, json.loads(body)["size"]) == ("2 200", UPLOAD)


def test_curl_gets_trailers(run: Run, address: tuple[str, list[str]]) -> None:
    written, body, said = _curl(run, address, "/trailers", "-H", "TE: trailers")
    assert (written, body) == ("2 200", b"hello")
    assert "< x-checksum: right" in said


def test_curl_waits_for_100_continue(run: Run, address: tuple[str, list[str]], upload: Path) -> None:
    # curl goes on after the time limit by itself: only an answer makes it faster
    began = time.monotonic()
    options = ["--expect100-timeout", "20", "-H", "Expect: 100-continue"]
    written, body, said = _curl(run, address, "/", *options, "--data-binary", f"@{upload}")
    assert (written, json.loads(body)["size"]) == ("2 200", UPLOAD)
    assert time.monotonic() - began < 15
    assert "< HTTP/2 100" in said


# curl 7.88 breaks a connection with prior knowledge when it uses it again, whoever serves: these two are for TLS


def test_curl_asks_twice_on_one_connection(run: Run, stand: Stand) -> None:
    url = f"https://localhost:{stand.tls.port}"
    done = run("curl", "-sSv", "--noproxy", "*", "-4", "--max-time", "30", "--http2", "-k", f"{url}/a", f"{url}/b")
    assert done.stdout == SMALL * 2
    assert b"Re-using existing connection" in done.stderr


def test_curl_with_parallel_streams(run: Run, stand: Stand) -> None:
    url = f"https://localhost:{stand.tls.port}/small?[1-20]"
    done = run("curl", "-sS", "--noproxy", "*", "-4", "-Z", "--max-time", "30", "--http2", "-k", url)
    assert done.stdout == SMALL * 20


def test_nghttp_gets(run: Run, stand: Stand) -> None:
    for url in (f"https://127.0.0.1:{stand.tls.port}", f"http://127.0.0.1:{stand.clear.port}"):
        assert run("nghttp", "-y", f"{url}/small").stdout == SMALL


def test_nghttp_uploads_with_trailers(run: Run, stand: Stand, upload: Path) -> None:
    url = f"https://127.0.0.1:{stand.tls.port}/"
    done = run(
        "nghttp", "-y", "-d", upload, "--trailer", "x-sum: 17", "--no-content-length", "-H", ":method: POST", url
    )
    assert json.loads(done.stdout) == {"size": UPLOAD, "trailers": {"x-sum": "17"}}


def test_nghttp_with_padding_and_small_windows(run: Run, stand: Stand) -> None:
    url = f"https://127.0.0.1:{stand.tls.port}/large"
    done = run("nghttp", "-y", "-b", "64", "-w", "14", "-W", "15", url)
    assert len(done.stdout) == LARGE


def _load(run: Run, url: str, count: int, clients: int) -> None:
    """Ask ``count`` times: all must succeed."""
    said = run("h2load", "-n", count, "-c", clients, "-m", 16, url, seconds=300.0).stdout.decode()
    line = re.search(r"^requests: .*$", said, re.M)
    assert line and f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in line[0], said
    assert f"status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx" in said
    print(re.search(r"^finished in .*$", said, re.M)[0])  # type: ignore[index]  # always there


def test_h2load_some(run: Run, stand: Stand) -> None:
    _load(run, f"https://127.0.0.1:{stand.tls.port}/small", 1000, 4)
    _load(run, f"http://127.0.0.1:{stand.clear.port}/small", 1000, 4)


@pytest.mark.slow
def test_h2load_much(run: Run, stand: Stand) -> None:
    _load(run, f"https://127.0.0.1:{stand.tls.port}/small", 20_000, 16)


def test_chromium_shows_a_page(run: Run, stand: Stand, tmp_path: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    url = f"https://localhost:{stand.tls.port}/page"
    shown = run("chromium", *options, "--no-proxy-server", profile, "--dump-dom", url).stdout.decode()
    assert "<title>a page</title>" in shown
    assert "came by h2" in shown  # as the browser itself says


def test_the_access_log_says_http_2(run: Run, stand: Stand) -> None:
    target = "/small?for-the-log"
    assert run("nghttp", "-y", f"https://127.0.0.1:{stand.tls.port}{target}").stdout == SMALL
    log = stand.proxy.out_path.parent / "access.log"
    until(lambda: target in log.read_text(), "a line in the access log")
    line = next(text for text in log.read_text().splitlines() if target in text)
    entry = json.loads(line)
    assert (entry["protocol"], entry["status"], entry["bytes"]) == ("HTTP/2.0", 200, len(SMALL))
