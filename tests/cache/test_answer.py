"""What of a stored response a client gets."""

from __future__ import annotations

import pytest

from revproxy.cache.answer import (
    NotModified,
    NotSatisfiable,
    Partial,
    Whole,
    answer_conditional,
    hit_fields,
    not_modified_fields,
    not_satisfiable_fields,
    slices,
)
from revproxy.cache.status import status_of_hit
from tests.cache.kit import DATE, NOW, request, stored

FRESH = "Cache-Control: max-age=9"
TAG = 'ETag: "a"'


@pytest.mark.parametrize(
    ("lines", "more", "answer"),
    [
        pytest.param([], {}, Whole(), id="nothing-asked"),
        pytest.param(['If-None-Match: "a"'], {}, NotModified(), id="9111-4.3.2"),
        pytest.param(['If-None-Match: "a"'], {"method": b"HEAD"}, NotModified(), id="9110-13.1.2-head"),
        pytest.param(["Range: bytes=0-1"], {}, Partial(((0, 2),)), id="9111-3.4-from-a-complete-response"),
        pytest.param(["Range: bytes=0-1"], {"method": b"HEAD"}, Whole(), id="9110-14.2-get-alone"),
        pytest.param(["Range: bytes=0-1", 'If-None-Match: "a"'], {}, NotModified(), id="9110-13.2.2-304-first"),
        pytest.param(["Range: bytes=0-1", 'If-None-Match: "b"'], {}, Partial(((0, 2),)), id="9110-13.2.2-then-206"),
        pytest.param(["Range: bytes=0-1", 'If-Range: "a"'], {}, Partial(((0, 2),)), id="9110-13.1.5"),
        pytest.param(["Range: bytes=0-1", 'If-Range: "b"'], {}, Whole(), id="9110-13.1.5-changed"),
        pytest.param(['If-Range: "a"'], {}, Whole(), id="9110-13.1.5-without-range"),
        pytest.param(["Range: bytes=10-"], {}, NotSatisfiable(), id="9110-15.5.17"),
        pytest.param(["Range: bytes=10-", 'If-Range: "b"'], {}, Whole(), id="9110-13.1.5-before-416"),
        pytest.param(["Range: bytes=x"], {}, Whole(), id="9110-14.2-malformed"),
        pytest.param(["Range: bytes=0-1", "Range: bytes=0-1"], {}, Whole(), id="twice"),
    ],
)
def test_answers(lines, more, answer):
    trace: list[str] = []
    assert answer_conditional(stored(FRESH, TAG), request(*lines, **more), NOW, trace) == answer
    assert trace == [f"answer: {type(answer).__name__}"]


def test_only_a_200_has_parts():
    assert answer_conditional(stored(FRESH, TAG, status=404), request("Range: bytes=0-1"), NOW) == Whole()


def test_a_body_that_is_still_coming_has_no_parts():
    """RFC 9111 3.3."""
    one = stored(FRESH, TAG)
    one.length = None
    assert answer_conditional(one, request("Range: bytes=0-1"), NOW) == Whole()
    assert answer_conditional(one, request('If-None-Match: "a"'), NOW) == NotModified()


def lines_of(fields):
    return [f[2].decode() for f in fields]


def test_a_hit_has_its_age_and_keeps_its_date():
    """RFC 9111 4, RFC 9110 6.6.1."""
    one = stored(FRESH, "Age: 3")
    fields = hit_fields(one, NOW + 4, status_of_hit("revproxy", one.ttl(NOW + 4)))
    assert lines_of(fields) == [f"Date: {DATE}", FRESH, "Age: 7", "Cache-Status: revproxy; hit; ttl=2"]
    assert len(hit_fields(one, NOW)) == 3
    assert b"age" not in one.headers


def test_fields_of_a_304():
    """RFC 9110 15.4.5."""
    kept = [f"Date: {DATE}", FRESH, TAG, "Vary: x", "Expires: x", "Content-Location: /a", "X-A: 1", "Set-Cookie: a=b"]
    lost = ["Content-Type: text/plain", "Content-Encoding: gzip", "Content-Language: en", "Content-Length: 5"]
    fields = request(*kept, *lost, "Last-Modified: x").headers.fields
    assert lines_of(not_modified_fields(fields)) == kept
    fields = request(f"Date: {DATE}", "Last-Modified: x").headers.fields
    assert lines_of(not_modified_fields(fields)) == [f"Date: {DATE}", "Last-Modified: x"]


BODY = b"0123456789"


def test_one_part():
    """RFC 9110 15.3.7.1."""
    fields = stored(FRESH, "Content-Type: text/plain").headers.fields
    cut = slices(fields, ((1, 3),), 10, b"unused")
    assert lines_of(cut.fields) == [f"Date: {DATE}", FRESH, "Content-Type: text/plain", "Content-Range: bytes 1-2/10"]
    assert (cut.length, cut.before, cut.after) == (2, [b""], b"")


def test_several_parts():
    """RFC 9110 15.3.7.2: the length that is told is the length that is sent."""
    fields = stored(FRESH, "Content-Type: text/plain").headers.fields
    cut = slices(fields, ((8, 10), (0, 1)), 10, b"B")
    assert lines_of(cut.fields)[-1] == "Content-Type: multipart/byteranges; boundary=B"
    assert not any(f[0] == b"content-range" for f in cut.fields)
    sent = b"".join(head + BODY[slice(*part)] for head, part in zip(cut.before, cut.parts, strict=True)) + cut.after
    assert len(sent) == cut.length
    assert sent == (
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89"
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n--B--\r\n"
    )


def test_416():
    """RFC 9110 15.5.17."""
    assert lines_of(not_satisfiable_fields(stored(FRESH))) == ["Content-Range: bytes */10"]
