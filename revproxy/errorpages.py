"""The proxy's own error pages: HTML, JSON or text, as the client accepts.

Rules of this module:

* a page says the status, what it means and the request id, and nothing of what stands behind the
  proxy or of the proxy itself;
* HTML only for clients that name it (browsers do), JSON only for those that name it and prefer
  it; wildcards and nonsense get text (RFC 9110 12.5.1);
* a page is made once for a status and a type, and an ``Accept`` field is read once: a flood of
  errors costs two look-ups and a join each. The tables are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from typing import Literal

from revproxy.http.message import Answer, Headers

Kind = Literal["html", "json", "text"]

_TYPES: dict[Kind, bytes] = {
    "html": b"text/html; charset=utf-8",
    "json": b"application/problem+json",
    "text": b"text/plain; charset=utf-8",
}

_REASONS: dict[int, bytes] = {
    **{status.value: status.phrase.encode() for status in HTTPStatus},
    # RFC 9110 15 and the registry, where the standard library has older words or none.
    302: b"Found",
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    418: b"",
    422: b"Unprocessable Content",
    499: b"Client Closed Request",
}

_SENTENCES: dict[int, str] = {
    400: "The request could not be understood.",
    401: "You have to sign in to see this.",
    403: "You are not allowed to see this.",
    404: "There is nothing at this address.",
    405: "This cannot be done with this address.",
    408: "The request took too long to arrive. Please try again.",
    413: "What was sent is too large.",
    414: "The address is too long.",
    417: "What the request expects cannot be met.",
    421: "This request came to the wrong place.",
    425: "The request came too early. Please try again.",
    426: "This needs another protocol.",
    429: "There were too many requests. Please wait a little and try again.",
    431: "The fields of the request are too large.",
    451: "This is not available for legal reasons.",
    499: "The request was given up before it was answered.",
    500: "Something went wrong here. Please try again later.",
    501: "This cannot be done here.",
    502: "The service gave no usable answer. Please try again later.",
    503: "The service is not available right now. Please try again later.",
    504: "The service took too long to answer. Please try again later.",
    505: "This version of HTTP is not spoken here.",
    511: "You have to sign in to the network first.",
}

_HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{status} {title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem }}
h1 {{ font-size: 1.5rem }}
code {{ overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>{status} {title}</h1>
<p>{sentence}</p>
{id}</body>
</html>
"""

_MARK = "\0"  # stands for the request id in a page that is being made
_LONGEST_ID = 128
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

_LONGEST_ACCEPT = 1024
_ACCEPTS = 1024  # entries of the table of Accept fields
#: RFC 9110 12.4.2.
_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")

_accepts: dict[bytes, Kind] = {}
_pages: dict[tuple[int, Kind], tuple[bytes, bytes, bytes]] = {}


def reason(status: int) -> bytes:
    """The reason phrase of a status, ``b""`` when it has none."""
    return _REASONS.get(status, b"")


def error_page(status: int, accept: bytes | None, request_id: bytes) -> tuple[bytes, bytes]:
    """The page for ``status`` in the form that an ``Accept`` field asks for.

    :param status: 100 to 999.
    :param accept: the field's value, several of them joined by commas; ``None`` when there is none.
    :param request_id: shown on the page, its first 128 bytes; ``b""`` shows none.
    :return: the values of Content-Type and the body; JSON is a problem of RFC 9457.
    """
    kind = preferred(accept)
    page = _pages.get((status, kind))
    if page is None:
        page = _pages[status, kind] = _make(status, kind)
    before, after, without = page
    if not request_id:
        return _TYPES[kind], without
    if not _PLAIN_ID.fullmatch(request_id):
        request_id = _shown(request_id, kind)
    return _TYPES[kind], before + request_id + after


def fault_page(status: int, accept: bytes | None, request_id: bytes, retry_after: int = 0) -> Answer:
    """The answer for a fault's ``status``, which nobody keeps; :func:`error_page` has the other parameters.

    :param retry_after: seconds, 0 for not saying any; a 503 says 1 then.
    """
    kind, body = error_page(status, accept, request_id)
    headers = Headers.of([(b"Content-Type", kind), (b"Cache-Control", b"no-store")])
    if retry_after or status == 503:
        headers.add(b"Retry-After", b"%d" % (retry_after or 1))
    elif status == 405:
        headers.add(b"Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")
    return Answer(status, headers, body)


def preferred(accept: bytes | None) -> Kind:
    """Which form an ``Accept`` field asks for; HTML wins a draw with JSON, JSON one with text."""
    if not accept or len(accept) > _LONGEST_ACCEPT:
        return "text"
    kind = _accepts.get(accept)
    if kind is None:
        if len(_accepts) >= _ACCEPTS:
            _accepts.clear()
        kind = _accepts[accept] = _negotiate(accept)
    return kind


def _negotiate(accept: bytes) -> Kind:
    html = as_json = text = 0.0
    for member in accept.lower().split(b","):
        media, *parameters = [part.strip(b" \t") for part in member.split(b";")]
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                # A broken weight speaks for nothing.
                quality = float(parameter[2:]) if _QVALUE.fullmatch(parameter[2:]) else 0.0
        if media == b"text/html":
            html = max(html, quality)
        elif media in (b"application/json", b"application/problem+json"):
            as_json = max(as_json, quality)
        elif media == b"text/plain":
            text = max(text, quality)
    if html and html >= as_json and html >= text:
        return "html"
    return "json" if as_json and as_json >= text else "text"


def _make(status: int, kind: Kind) -> tuple[bytes, bytes, bytes]:
    """The page before and after the request id, and the one without an id."""
    make: Callable[[int, str, str, str], str] = {"html": _html, "json": _json, "text": _text}[kind]
    title = reason(status).decode() or ("Server Error" if status >= 500 else "Error")
    sentence = _SENTENCES.get(status) or (
        "Something went wrong here. Please try again later." if status >= 500 else "This request cannot be answered."
    )
    before, after = make(status, title, sentence, _MARK).encode().split(_MARK.encode())
    return before, after, make(status, title, sentence, "").encode()


def _html(status: int, title: str, sentence: str, mark: str) -> str:
    line = f"<p>Request id: <code>{mark}</code></p>\n" if mark else ""
    return _HTML.format(status=status, title=escape(title), sentence=escape(sentence), id=line)


def _json(status: int, title: str, sentence: str, mark: str) -> str:
    problem = {"type": "about:blank", "title": title, "status": status, "detail": sentence}
    if mark:
        problem["request_id"] = mark
    return json.dumps(problem).replace(json.dumps(_MARK), f'"{_MARK}"') + "\n"


def _text(status: int, title: str, sentence: str, mark: str) -> str:
    line = f"Request id: {mark}\n" if mark else ""
    return f"{status} {title}\n{sentence}\n{line}"


def _shown(request_id: bytes, kind: Kind) -> bytes:
    printable = "".join(chr(c) if 0x20 <= c < 0x7F else "?" for c in request_id[:_LONGEST_ID])
    if kind == "html":
        return escape(printable).encode()
    return json.dumps(printable)[1:-1].encode() if kind == "json" else printable.encode()
