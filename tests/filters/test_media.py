"""How bodies are read, by their type."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest
from hypothesis import given, strategies as st

from revproxy.filters.engine import RuleSet
from revproxy.filters.media import ANYHOW, FORM, JSON, LINES, NOT_READ, UNKNOWN, Reading, codings, readable, reading
from revproxy.filters.report import Report
from tests.filters.kit import work


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (b"application/x-www-form-urlencoded", FORM),
        (b"Application/X-WWW-Form-UrlEncoded ; Charset=UTF-8", FORM),
        (b"application/json;", JSON),
        (b"application/x-json", JSON),
        (b"application/x-ndjson", JSON),
        (b"application/problem+json", JSON),
        (b"", UNKNOWN),
        (b"  ", UNKNOWN),
        (b"text/plain; charset=utf-8", UNKNOWN),
        (b"image/png", NOT_READ),
        (b'application/octet-stream; a="b,c"', NOT_READ),
        (b"multipart/form-data; boundary=----WebKitFormBoundaryAb1", Reading(boundary=b"----WebKitFormBoundaryAb1")),
        (b'multipart/mixed; charset=utf-8; BOUNDARY="a b=c"', Reading(boundary=b"a b=c")),
    ],
)
def test_a_type_that_is_written_well_is_read_in_one_way(kind: bytes, way: Reading) -> None:
    assert reading(kind) == way and bool(way) == (way is not NOT_READ)


@pytest.mark.parametrize(
    "kind",
    [
        b"application/x-www-form-urlencoded,text/plain",
        LINES.join((b"application/octet-stream", b"application/x-www-form-urlencoded")),
        LINES.join((b'image/png; a="', b'application/json; b="')),
        b"image/png x",
        b"form",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b"multipart/form-data; boundary = a",
        b"multipart/form-data; xboundary=a; boundary=b",
        b"multipart/form-data; boundary=b; boundary=a",
        b"multipart/form-data; boundary*=a; boundary=b",
        b'multipart/form-data; a="boundary=a"; boundary=b',
        b'multipart/form-data; boundary="a\\b"',
        b'multipart/form-data; boundary="a;b"',
        b'multipart/form-data; boundary="boundary=b"',
        b'multipart/form-data; boundary=" a"',
        b'multipart/form-data; boundary="a',
        b"multipart/form-data; boundary=" + b"a" * 71,
    ],
)
def test_what_backends_could_read_otherwise_is_read_anyhow(kind: bytes) -> None:
    assert reading(kind) == ANYHOW


@given(st.text(alphabet='multipart/form-data;boundary="=\\ ,\n', max_size=60))
def test_any_type_is_read(kind: str) -> None:
    way = reading(kind.encode())
    assert way in (ANYHOW, NOT_READ, UNKNOWN, FORM, JSON) or way.boundary


def test_time_is_linear() -> None:
    before = time.process_time()
    for piece in (b"; ", b";a=b ", b' ;a="', b"\t ", b";boundary=", b'";"'):
        reading(b"multipart/form-data" + piece * (32768 // len(piece)))
        reading(b"a/b" + piece * (32768 // len(piece)) + b"\n")
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    ("lines", "coded"),
    [
        ([], set()),
        ([b""], set()),
        ([b" IDENTITY"], set()),
        ([b"identity, ,Identity", b""], set()),
        ([b"identity", b"GZip, foo"], {b"gzip", b"foo"}),
    ],
)
def test_identity_and_nothing_are_no_codings(lines: list[bytes], coded: set[bytes]) -> None:
    assert codings(lines) == coded


def test_what_is_compressed_has_next_to_no_text() -> None:
    text = b" ".join(b"%x" % (number * number) for number in range(9000))
    assert len(readable(zlib.compress(text))) < 100
    rules = RuleSet()
    for length in (*range(1, 60), 500, 9000):
        for level in (1, 9):
            report = Report()
            work(rules.body(FORM, readable(zlib.compress(text[: 5 * length], level)), report))
            work(rules.body(FORM, readable(gzip.compress(text[: 5 * length], level, mtime=0)), report))
            assert not report


@pytest.mark.parametrize(
    "body",
    [
        b"id=1 union select null,null",
        b"id=1\x0bunion\x0cselect\x0bnull,null",
        b"q=<svg\x0conload\x0c=alert(1)>",
        b"id=1\xa0union\xa0select\xa0null,null",
        b"id=x'\x0bor\x0b'1'='1",
        b"a=<script\xff>evil()",
        b"abc=<scr\x00ipt src=evil>",
    ],
)
def test_text_that_is_said_to_be_compressed_is_looked_at(body: bytes) -> None:
    rules = RuleSet()
    # short runs are passed over where most bytes are no text
    split = b"\xff" in body or b"\x00" in body
    for junk in (b"", b"&x=" + bytes(range(128, 256)) * 3):
        report = Report()
        work(rules.body(FORM, readable(body + junk), report))
        assert (report.score >= 5) == (not (split and junk))
    assert readable(b"\x1f\x8b\x00" + b"\xfe" * 9 + b"a=<script src=x>\x00") == b"a=<script src=x>"
