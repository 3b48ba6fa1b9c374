"""Error pages: which form, what they say, and what they never do."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st

from revproxy import errorpages
from revproxy.errorpages import error_page, preferred, reason

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text"),
        (b"", "text"),
        (b"*/*", "text"),
        (b"text/*", "text"),
        (b"image/png", "text"),
        (BROWSER, "html"),
        (b"TEXT/HTML", "html"),
        (b"text/html;level=1;q=0.3", "html"),
        (b"text/html;q=0", "text"),
        (b"text/html; q=0.000", "text"),
        (b"application/json", "json"),
        (b"application/problem+json", "json"),
        (b"application/json, text/plain, */*", "json"),
        (b"application/json, text/html", "html"),
        (b"application/json;q=0.9, text/html;q=0.8", "json"),
        (b"application/json;q=0.8, text/html;q=0.9", "html"),
        (b"text/plain, text/html;q=0.5", "text"),
        (b"text/plain, application/json;q=0.5", "text"),
        (b"text/html;q=2, application/json;q=0.1", "json"),
        (b"text/html;q=nan", "text"),
        (b"text/html;q=1e9", "text"),
        (b";;,,;q=,text/html", "html"),
        (b"text/html, " + b"x" * 1024, "text"),
    ],
)
def test_which_form(accept: bytes | None, kind: str) -> None:
    assert preferred(accept) == kind
    assert preferred(accept) == kind  # the second time from the table


def test_text() -> None:
    assert error_page(502, b"*/*", b"5f-0c") == (
        b"text/plain; charset=utf-8",
        b"502 Bad Gateway\nThe service gave no usable answer. Please try again later.\nRequest id: 5f-0c\n",
    )
    assert error_page(404, None, b"")[1] == b"404 Not Found\nThere is nothing at this address.\n"


def test_json() -> None:
    kind, body = error_page(431, b"application/json", b"5f-0c")
    assert kind == b"application/problem+json"
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Request Header Fields Too Large",
        "status": 431,
        "detail": "The fields of the request are too large.",
        "request_id": "5f-0c",
    }
    assert "request_id" not in json.loads(error_page(431, b"application/json", b"")[1])


class Page(HTMLParser):
    """Checks that what is opened is closed, and keeps the text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.feed(page.decode("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names.update(name for name, _ in attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html() -> None:
    kind, body = error_page(504, BROWSER, b"5f-0c")
    assert kind == b"text/html; charset=utf-8"
    assert body.startswith(b"<!DOCTYPE html>\n")
    assert len(body) < 1024
    page = Page(body)
    assert page.tags == {"html", "head", "meta", "title", "style", "body", "h1", "p", "code"}
    assert page.names == {"lang", "charset", "name", "content"}  # nothing that loads anything
    assert "504 Gateway Timeout" in page.text
    assert "took too long to answer" in page.text
    assert "Request id: 5f-0c" in page.text
    assert "Request id" not in Page(error_page(504, BROWSER, b"")[1]).text


@pytest.mark.parametrize("accept", [BROWSER, b"application/json", None])
@pytest.mark.parametrize("status", [100, 299, 399, 400, 418, 499, 500, 502, 599, 999])
def test_every_status_has_a_page_that_names_no_software(status: int, accept: bytes | None) -> None:
    _, body = error_page(status, accept, b"id")
    assert str(status).encode() in body
    assert b"\0" not in body
    for word in (b"revproxy", b"twisted", b"python", b"backend", b"127.0.0.1"):
        assert word not in body.lower()


@given(st.binary(min_size=1, max_size=200) | st.sampled_from([b"<script>", b"\"'&", b'\\"}', b"\r\n\r\n", b"\x1b[2J"]))
def test_an_id_cannot_break_out(request_id: bytes) -> None:
    shown = "".join(chr(c) if 0x20 <= c < 0x7F else "?" for c in request_id[:128])
    assert json.loads(error_page(500, b"application/json", request_id)[1])["request_id"] == shown
    page = Page(error_page(500, b"text/html", request_id)[1])
    assert page.text.rstrip("\n").endswith(f"Request id: {shown}".rstrip("\n"))
    assert page.tags == {"html", "head", "meta", "title", "style", "body", "h1", "p", "code"}
    assert error_page(500, None, request_id)[1].splitlines()[2:] == [f"Request id: {shown}".encode()]


@given(st.binary(max_size=60))
def test_no_accept_field_is_too_strange(accept: bytes) -> None:
    assert preferred(accept) in ("html", "json", "text")


def test_the_table_of_accept_fields_is_bounded() -> None:
    for number in range(3000):
        preferred(b"text/html;x=%d" % number)
    assert len(errorpages._accepts) <= 1024


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, b"OK"),
        (408, b"Request Timeout"),
        (413, b"Content Too Large"),
        (414, b"URI Too Long"),
        (417, b"Expectation Failed"),
        (421, b"Misdirected Request"),
        (425, b"Too Early"),
        (426, b"Upgrade Required"),
        (429, b"Too Many Requests"),
        (431, b"Request Header Fields Too Large"),
        (451, b"Unavailable For Legal Reasons"),
        (499, b"Client Closed Request"),
        (505, b"HTTP Version Not Supported"),
        (511, b"Network Authentication Required"),
        (599, b""),
    ],
)
def test_reason(status: int, phrase: bytes) -> None:
    assert reason(status) == phrase


def test_a_page_without_a_phrase_still_has_a_title() -> None:
    assert error_page(599, None, b"")[1].startswith(b"599 Server Error\n")
    assert error_page(490, None, b"")[1].startswith(b"490 Error\n")
