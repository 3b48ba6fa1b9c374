"""Samples of requests, one in each line of ``samples/*.txt``: where it goes, a colon, and the text.

``v`` is the value of a parameter as a person writes it, ``l`` one with ``\\n``, ``\\r`` and ``\\t`` for line breaks and
tabs, which goes into a form's body; ``q`` a query, ``p`` a target, ``c`` a Cookie field, ``a`` a user agent and ``h`` a
whole field as they are on the wire; ``f`` an urlencoded body, ``j`` one of JSON, ``m`` the name of a file
that is uploaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus

from revproxy.fault import ProtocolError
from revproxy.filters.engine import RuleSet
from revproxy.filters.media import reading
from revproxy.filters.report import Report
from revproxy.http.message import Field, Headers, Request
from revproxy.http.target import split_path

FOLDER = Path(__file__).parent / "samples"
FORM = b"application/x-www-form-urlencoded"
BROWSER: tuple[tuple[bytes, bytes], ...] = (
    (b"Host", b"www.example.com"),
    (b"Connection", b"keep-alive"),
    (b"sec-ch-ua", b'"Not A(Brand";v="99", "Google Chrome";v="121", "Chromium";v="121"'),
    (b"sec-ch-ua-mobile", b"?0"),
    (b"sec-ch-ua-platform", b'"Windows"'),
    (b"Upgrade-Insecure-Requests", b"1"),
    (
        b"User-Agent",
        b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        b" Chrome/121.0.0.0 Safari/537.36",
    ),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    (b"Sec-Fetch-Site", b"same-origin"),
    (b"Referer", b"https://www.example.com/products?category=shoes&page=2"),
    (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
    (b"Accept-Language", b"en-GB,en;q=0.9,de;q=0.8"),
    (b"Cookie", b"_ga=GA1.1.1234567890.1700000000; session=9f86d081884c7d659a2feaa0c55ad015; theme=dark; consent=1"),
)


@lru_cache
def samples(name: str) -> tuple[str, ...]:
    """The lines of one file."""
    return tuple(line for line in (FOLDER / f"{name}.txt").read_text("utf-8").split("\n") if line)


def raw_field(name: bytes, value: bytes) -> Field:
    """A field as it comes from the wire, whatever its bytes are."""
    return (name.lower(), value, name + b": " + value, 0)


def request(target: bytes = b"/", *fields: tuple[bytes, bytes]) -> Request:
    """A browser's request with these fields in place of its own. :raises ProtocolError: when the target is refused."""
    names = {name.lower() for name, _ in fields}
    usual = [pair for pair in BROWSER if pair[0].lower() not in names]
    path, query = split_path(target)
    return Request(b"GET", path, query, Headers([raw_field(*pair) for pair in (*usual, *fields)]))


def judge(rules: RuleSet, line: str) -> Report:
    """What the rules find in a sample; a target that the parser refuses is a report with the highest score."""
    kind, _, text = line.partition(": ")
    raw = text.encode("utf-8")
    report = Report()
    body: tuple[bytes, bytes] | None = None
    target, fields = b"/app/page", ()
    if kind == "v":
        target += b"?page=2&value=" + quote(text, safe="").encode()
    elif kind == "l":
        unescaped = text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t")
        body = (FORM, b"id=7&text=" + quote_plus(unescaped).encode())
    elif kind == "q":
        target += b"?" + raw
    elif kind == "p":
        target = raw
    elif kind == "c":
        fields = ((b"Cookie", raw),)
    elif kind == "a":
        fields = ((b"User-Agent", raw),)
    elif kind == "h":
        name, _, value = raw.partition(b": ")
        fields = ((name, value),)
    elif kind == "f":
        body = (FORM, raw)
    elif kind == "j":
        body = (b"application/json", raw)
    else:
        assert kind == "m", line
        body = (
            b"multipart/form-data; boundary=XyZ",
            b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="' + raw.replace(b'"', b"%22")
            + b'"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\x00\x00<?php\r\n--XyZ--\r\n',
        )  # fmt: skip
    try:
        made = request(target, *fields)
    except ProtocolError:
        report.score = 100
        return report
    if rules.glance(made):
        work(rules.head(made, report))
    if body is not None:
        work(rules.body(reading(body[0]), body[1], report))
    return report


def work(steps: Iterator[None]) -> None:
    """All of it at once."""
    for _ in steps:
        pass
