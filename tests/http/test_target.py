"""One normal form of a path: what routes match is what backends get."""

from __future__ import annotations

import pytest

from revproxy.fault import ProtocolError
from revproxy.http.h1 import RequestParser
from revproxy.http.target import normalise_path

DOTS = [
    b"/.",
    b"/..",
    b"/../",
    b"/a/./b",
    b"/a/../b",
    b"/a/..",
    b"/%2e",
    b"/%2e%2e",
    b"/%2E%2e/x",
    b"/.%2e/x",
    b"/a/%2e./b",
    b"/..%2fx",
    b"/..%2F",
    b"/a%2f..%2fb",
    b"/a%2f%2e%2e/b",
    b"/a%2F.",
    b"/..%5cx",
    b"/a%5c..",
    b"/a%5C%2e%2e%5Cb",
    b"/..\\x",
    b"/a\\..\\b",
    b"/a\\..",
    b"/a\\%2e%2e",
    b"/..;/x",
    b"/..;a=b/x",
    b"/.;/x",
    b"/a/..;",
    b"/..%3b/x",
    b"/..%3Ba/x",
    b"/%2e%2e;/x",
    b"/a//../b",
    b"/a/..//b",
    b"//..",
]


@pytest.mark.parametrize("path", DOTS)
@pytest.mark.parametrize("merge", [False, True])
def test_dot_segments_are_refused_however_they_are_written(path: bytes, merge: bool) -> None:
    assert normalise_path(path, merge) is None


@pytest.mark.parametrize(
    "path", [b"/%", b"/%4", b"/%zz", b"/%4z", b"/%z4", b"/%%41", b"/%+1", b"/% 1", b"/a%", b"/%00", b"/a%00.html"]
)
def test_broken_escapes_and_escaped_nul_are_refused(path: bytes) -> None:
    assert normalise_path(path) is None


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        (b"/", b"/"),
        (b"/a/b.c", b"/a/b.c"),
        (b"/%41%7a%30%2d%2E%5f%7E", b"/Az0-._~"),
        (b"/a%2fb", b"/a%2Fb"),
        (b"/a%5cb", b"/a%5Cb"),
        (b"/%c3%a9", b"/%C3%A9"),
        (b"/%c0%ae%c0%ae/", b"/%C0%AE%C0%AE/"),  # overlong: escaped it goes on, for the backend to refuse
        (b"/%252e%252e/", b"/%252e%252e/"),
        (b"/%25", b"/%25"),
        (b"/%3F%23%3b", b"/%3F%23%3B"),
        (b"/%0d%0A", b"/%0D%0A"),
        (b"/...", b"/..."),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/a..b/..c/d../.e/f.", b"/a..b/..c/d../.e/f."),
        (b"/..a;/", b"/..a;/"),
        (b"/a;..", b"/a;.."),
        (b"//a///b", b"//a///b"),
        (b"/a\\b", b"/a\\b"),
        (b"/[]{}|^", b"/[]{}|^"),
    ],
)
def test_one_normal_form(path: bytes, clean: bytes) -> None:
    assert normalise_path(path) == clean
    assert normalise_path(clean) == clean


def test_every_escape() -> None:
    unreserved = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    for value in range(1, 256):
        clean = b"/x" + (bytes((value,)) if value in unreserved else b"%%%02X" % value)
        assert normalise_path(b"/x%%%02x" % value) == clean
        assert normalise_path(b"/x%%%02X" % value) == clean


def test_merged_slashes() -> None:
    assert normalise_path(b"//a///b/", True) == b"/a/b/"
    assert normalise_path(b"/a%2F/b", True) == b"/a%2F/b"
    assert normalise_path(b"/a/%2F/b", True) == b"/a/%2F/b"


@pytest.mark.parametrize(
    "target", [b"/a?key=s3cret\xff", b"http:/x?key=s3cret", b"x?key=s3cret", b"http://s3cret@[x]/?key=s3cret"]
)
def test_what_a_log_shows_of_a_wrong_target_has_no_query(target: bytes) -> None:
    head = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    with pytest.raises(ProtocolError) as caught:
        RequestParser().parse(head)
    assert "s3cret" not in caught.value.detail and "malformed" in caught.value.detail
