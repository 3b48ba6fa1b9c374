"""Which responses are compressed, and what becomes of their fields."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest
from hypothesis import given, strategies as st

from revproxy.coding.decide import REMEMBERED, Compression, Decision, compile_compression, decide
from revproxy.coding.encoders import MissingPackage
from revproxy.config.coding import Compress
from revproxy.http.h1 import parse_response
from revproxy.http.message import LENGTH, Headers, Request, Response
from revproxy.http.serialise import response_lines

pytest.importorskip("brotli")

BROWSER = b"gzip, deflate, br, zstd"
COMPRESSION = compile_compression(Compress(gzip=1, br=4))


def request(accept: bytes | None = BROWSER, *more: tuple[bytes, bytes], method: bytes = b"GET") -> Request:
    fields = [] if accept is None else [(b"Accept-Encoding", accept)]
    return Request(method, b"/", None, Headers.of([*fields, *more]))


def response(*fields: tuple[bytes, bytes], status: int = 200, length: int | None = 5000) -> Response:
    return Response(status, Headers.of(fields), length=length)


HTML = (b"Content-Type", b"text/html; charset=utf-8")
PLAIN_FIELDS = [HTML]


def outcome(
    fields: list[tuple[bytes, bytes]],
    asked: Request | None = None,
    status: int = 200,
    length: int | None = 5000,
    compression: Compression = COMPRESSION,
) -> tuple[Decision | None, dict[bytes, bytes]]:
    made = response(*fields, status=status, length=length)
    before = made.headers.fields[:]
    decision = decide(request() if asked is None else asked, made, compression)
    assert made.headers.fields == before and made.length == length, "the decision changes nothing itself"
    if decision is None:
        return None, {}
    assert decision.fields is not made.headers.fields
    assert all(f[2].partition(b": ")[2] == f[1] and f[2][: len(f[0])].lower() == f[0] for f in decision.fields)
    names = [f[0] for f in decision.fields]
    assert len(names) == len(set(names))
    return decision, {f[0]: f[1] for f in decision.fields}


def test_a_page_for_a_browser() -> None:
    decision, fields = outcome([HTML, (b"Content-Length", b"5000"), (b"ETag", b'"x"'), (b"Server", b"a")])
    assert decision is not None and decision.coding is COMPRESSION.codings[b"br"]
    assert fields == {
        b"content-type": HTML[1],
        b"etag": b'W/"x"',
        b"server": b"a",
        b"content-encoding": b"br",
        b"vary": b"Accept-Encoding",
    }


TYPES = [
    (b"text/html", True),
    (b"TEXT/HTML;charset=x", True),
    (b"text/css ; a=b", True),
    (b"application/json", True),
    (b"application/problem+json", True),
    (b"application/ld+json; profile=x", True),
    (b"image/svg+xml", True),
    (b"application/wasm", True),
    (b"application/xhtml+xml", True),
    (b"text/event-stream", True),
    (b"font/ttf", True),
    (b"image/png", False),
    (b"font/woff2", False),
    (b"video/mp4", False),
    (b"application/zip", False),
    (b"application/grpc", False),
    (b"application/octet-stream", False),
    (b"application/json-seq", False),
    (b"xtext/html", False),
    (b"", False),
    (b"x" * 5000, False),
]


@pytest.mark.parametrize(("content_type", "compressed"), TYPES)
def test_types(content_type: bytes, compressed: bool) -> None:
    for _ in range(2):
        decision, _ = outcome([(b"Content-Type", content_type)])
        assert (decision is not None) is compressed


def test_types_of_ones_own() -> None:
    compression = compile_compression(Compress(gzip=1, types=("application/grpc", "image/*", "*+cbor")))
    for content_type, compressed in [
        (b"application/grpc", True),
        (b"image/png", True),
        (b"application/senml+cbor", True),
        (b"text/html", False),
    ]:
        assert bool(outcome([(b"Content-Type", content_type)], compression=compression)[0]) is compressed


LEFT_WHOLE: list[list[tuple[bytes, bytes]]] = [
    [],
    [HTML, (b"Content-Type", b"text/plain")],
    [HTML, (b"Content-Encoding", b"gzip")],
    [HTML, (b"Content-Encoding", b"identity")],
    [HTML, (b"Content-Encoding", b"")],
    [HTML, (b"Cache-Control", b"no-transform")],
    [HTML, (b"Cache-Control", b"max-age=1, No-Transform")],
    [HTML, (b"Cache-Control", b"max-age=1"), (b"Cache-Control", b"no-transform , x")],
]


@pytest.mark.parametrize("fields", LEFT_WHOLE)
def test_left_as_it_is(fields: list[tuple[bytes, bytes]]) -> None:
    assert outcome(fields)[0] is None


def test_a_directive_of_another_name_is_none() -> None:
    for value in (b"x-no-transform", b"no-transformers", b"public"):
        assert outcome([HTML, (b"Cache-Control", value)])[0] is not None


@pytest.mark.parametrize("status", [100, 103, 204, 205, 304])
def test_what_has_no_body(status: int) -> None:
    fields = [] if status == 304 else [HTML]
    assert outcome(fields, status=status)[0] is None


@pytest.mark.parametrize("status", [200, 201, 203, 301, 400, 404, 416, 500, 503])
def test_errors_have_bodies_too(status: int) -> None:
    decision, fields = outcome([HTML], status=status)
    assert decision is not None and decision.coding is not None and fields[b"content-encoding"] == b"br"


def test_parts_are_whole_for_whom_they_are_parts_of() -> None:
    """RFC 9110 15.3.7: the 206 says Vary as the 200 would; its bytes and its tag are the plain body's."""
    decision, fields = outcome(
        [HTML, (b"Content-Range", b"bytes 0-9/5000"), (b"ETag", b'"x"'), (b"Content-Length", b"10")],
        status=206,
        length=10,
    )
    assert decision is not None and decision.coding is None and not decision.recoded
    assert fields[b"etag"] == b'"x"' and fields[b"content-length"] == b"10"
    assert fields[b"vary"] == b"Accept-Encoding" and b"content-encoding" not in fields


@pytest.mark.parametrize(
    ("length", "compressed"), [(0, False), (1023, False), (1024, True), (10**9, True), (None, True)]
)
def test_sizes(length: int | None, compressed: bool) -> None:
    assert bool(outcome([HTML], length=length)[0]) is compressed


def test_no_minimum_is_still_a_body() -> None:
    compression = compile_compression(Compress(gzip=1, minimum=0))
    assert outcome([HTML], length=0, compression=compression)[0] is None
    assert outcome([HTML], length=1, compression=compression)[0] is not None


@pytest.mark.parametrize("accept", [None, b"", b"identity", b"gzip;q=0, br;q=0", b"zstd"])
def test_who_gets_it_plain_learns_that_it_varies(accept: bytes | None) -> None:
    decision, fields = outcome([HTML, (b"ETag", b'"x"'), (b"Accept-Ranges", b"bytes")], request(accept))
    assert decision is not None and decision.coding is None and not decision.recoded
    assert fields == {
        b"content-type": HTML[1],
        b"etag": b'"x"',
        b"accept-ranges": b"bytes",
        b"vary": b"Accept-Encoding",
    }
    assert outcome([HTML, (b"Vary", b"Accept-Encoding")], request(accept))[0] is None


def test_several_lines_are_one_field() -> None:
    decision, _ = outcome([HTML], request(b"deflate", (b"accept-encoding", b"gzip")))
    assert decision is not None and decision.coding is COMPRESSION.codings[b"gzip"]


def test_a_client_may_forbid_it() -> None:
    decision, fields = outcome([HTML], request(BROWSER, (b"Cache-Control", b"no-cache, no-transform")))
    assert decision is not None and decision.coding is None and fields[b"vary"] == b"Accept-Encoding"


VARY = [
    ([], b"Accept-Encoding"),
    ([b"Cookie"], b"Cookie, Accept-Encoding"),
    ([b"Cookie,Origin", b" Accept"], b"Cookie, Origin, Accept, Accept-Encoding"),
    ([b"accept-encoding"], b"accept-encoding"),
    ([b"Cookie, ACCEPT-ENCODING , Origin"], b"Cookie, ACCEPT-ENCODING , Origin"),
    ([b"*"], b"*"),
    ([b""], b"Accept-Encoding"),
    ([b",, Cookie,"], b"Cookie, Accept-Encoding"),
    ([b"x-accept-encoding"], b"x-accept-encoding, Accept-Encoding"),
]


@pytest.mark.parametrize(("values", "merged"), VARY)
def test_vary_is_merged(values: list[bytes], merged: bytes) -> None:
    _, fields = outcome([HTML, *((b"vary", value) for value in values)])
    assert fields[b"vary"] == merged


TAGS = [(b'"x"', b'W/"x"'), (b'W/"x"', b'W/"x"'), (b'""', b'W/""'), (b"x", None), (b"", None), (b"w/x", None)]


@pytest.mark.parametrize(("tag", "sent"), TAGS)
def test_entity_tags_become_weak(tag: bytes, sent: bytes | None) -> None:
    _, fields = outcome([HTML, (b"etag", tag)])
    assert fields.get(b"etag") == sent


def test_what_was_said_about_the_old_bytes_goes() -> None:
    stale = [b"Content-Length", b"Accept-Ranges", b"Content-MD5", b"Digest", b"Content-Digest", b"Repr-Digest"]
    kept = (b"Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT")
    _, fields = outcome([*((name, b"1") for name in stale), HTML, kept])
    assert list(fields) == [b"content-type", b"last-modified", b"content-encoding", b"vary"]


@given(
    fields=st.lists(
        st.sampled_from([
            (b"Content-Length", b"5000"), (b"ETag", b'"x"'), (b"ETag", b"bad"), (b"Vary", b"Cookie"),
            (b"Accept-Ranges", b"bytes"), (b"Cache-Control", b"no-transform"), (b"Content-Encoding", b"br"),
            (b"X-Other", b"1"),
        ]),
        unique_by=lambda pair: pair[0],
    ),
    accept=st.sampled_from([None, b"gzip", b"identity", BROWSER]),
    status=st.sampled_from([200, 204, 206, 304, 404]),
    length=st.sampled_from([None, 10, 5000]),
)  # fmt: skip
def test_head_says_what_get_would(
    fields: list[tuple[bytes, bytes]], accept: bytes | None, status: int, length: int | None
) -> None:
    got, of_get = outcome([HTML, *fields], request(accept), status, length)
    asked, of_head = outcome([HTML, *fields], request(accept, method=b"HEAD"), status, length)
    assert of_head == of_get
    if got is None or asked is None:
        assert got is asked
    else:
        assert asked.recoded is got.recoded and asked.coding is None
        assert got.recoded == (b"content-encoding" in of_get) == (got.coding is not None)


NOT_MODIFIED = [
    # asked with what we made of the backend's tag
    (b'W/"x"', b'"x"', b'W/"x"'),
    (b'"y", W/"x"', b'"x"', b'W/"x"'),
    # asked with the backend's own
    (b'"x"', b'"x"', None),
    (b'W/"y", "x"', b'"x"', None),
    (b'W/"x"', b'W/"x"', None),
    (b"*", b'"x"', None),
    (None, b'"x"', None),
]


@pytest.mark.parametrize(("asked", "tag", "sent"), NOT_MODIFIED)
def test_a_304_has_the_tag_that_the_client_has(asked: bytes | None, tag: bytes, sent: bytes | None) -> None:
    more = [] if asked is None else [(b"If-None-Match", asked)]
    decision, fields = outcome([(b"ETag", tag)], request(BROWSER, *more), status=304, length=None)
    if sent is None:
        assert decision is None
    else:
        assert decision is not None and decision.coding is None and not decision.recoded
        assert fields == {b"etag": sent, b"vary": b"Accept-Encoding"}


def test_a_304_that_says_its_type_varies() -> None:
    assert outcome([HTML], status=304)[1] == {b"content-type": HTML[1], b"vary": b"Accept-Encoding"}
    assert outcome([(b"Content-Type", b"image/png")], status=304)[0] is None


def test_streams_of_events_hold_little() -> None:
    events = [(b"Content-Type", b"text/event-stream")]
    decision, _ = outcome(events, length=None)
    assert decision is not None and decision.coding is COMPRESSION.codings[b"gzip"]
    decision, _ = outcome(events, request(b"br"), length=None)
    assert decision is not None and decision.coding is COMPRESSION.codings[b"br"]


def test_on_the_wire() -> None:
    head = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5000\r\nETag: "x"\r\n'
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
    )
    for length, line in [(None, b""), (700, b"Content-Length: 700\r\n")]:
        made, _ = parse_response(head, 100)
        decision = decide(request(), made, COMPRESSION)
        assert decision is not None
        decision.apply(made, length)
        assert made.length == length and not made.kinds & LENGTH
        assert response_lines(made) == (
            b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: W/"x"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n'
            b"Content-Encoding: br\r\nVary: Accept-Encoding\r\n" + line
        )
    made, _ = parse_response(head, 100)
    decision = decide(request(None), made, COMPRESSION)
    assert decision is not None
    decision.apply(made)
    assert b"\r\nContent-Length: 5000\r\n" in response_lines(made)


def test_reasons() -> None:
    for fields, length, accept, reason in [
        ([HTML], 5000, BROWSER, "compressed with <Coding br 4 by brotli>"),
        ([HTML], 10, BROWSER, "not compressed: is too small"),
        ([HTML], 5000, None, "not compressed: is not accepted compressed"),
        ([], 5000, BROWSER, "not compressed: is of a type that is not compressed"),
    ]:
        trace: list[str] = []
        decide(request(accept), response(*fields, length=length), COMPRESSION, trace)
        assert trace == [reason]


def test_only_the_named_codings_are_used() -> None:
    assert set(COMPRESSION.codings) == {b"gzip", b"br"}
    assert COMPRESSION.codings[b"gzip"].level == 1
    assert set(compile_compression(Compress()).codings) == {b"gzip", b"br", b"zstd"}
    assert set(compile_compression(Compress(minimum=10)).codings) == {b"gzip", b"br", b"zstd"}


def test_packages_that_are_missing() -> None:
    def load(name: str) -> ModuleType:
        if name == "brotli":
            raise ImportError(name)
        return import_module(name)

    assert b"br" not in compile_compression(Compress(), load).codings
    with pytest.raises(MissingPackage):
        compile_compression(Compress(br=4), load)


def test_the_table_of_types_is_bounded() -> None:
    compression = compile_compression(Compress(gzip=1))
    for number in range(3 * REMEMBERED):
        assert compression.kind(b"text/x%d" % number)
    assert compression.kind(b"text/" + b"x" * 5000)
    assert len(compression._known) <= REMEMBERED


def test_what_was_decided_of_a_head_is_remembered_for_that_head_alone() -> None:
    compression = compile_compression(Compress(gzip=1, br=4))

    def asking(*fields: tuple[bytes, bytes], method: bytes = b"GET") -> Request:
        return Request(method, b"/", None, Headers.of([(b"host", b"a"), *fields]))

    gzip, br = asking((b"accept-encoding", b"gzip")), asking((b"accept-encoding", b"br"))
    head = Response(200, Headers.of([(b"content-type", b"text/html"), (b"etag", b'"x"')]), length=5000)
    first = compression.decide(gzip, head.copy())
    assert first is not None and first.coding is compression.codings[b"gzip"]
    assert compression.decide(gzip, head.copy()) is first
    other = compression.decide(br, head.copy())
    assert other is not None and other.coding is compression.codings[b"br"]
    bare = compression.decide(asking((b"accept-encoding", b"gzip"), method=b"HEAD"), head.copy())
    assert bare is not None and bare.coding is None
    assert compression.decide(gzip, head.copy(), br.headers) is other
    transformed = asking((b"accept-encoding", b"gzip"), (b"cache-control", b"no-transform"))
    plain = compression.decide(transformed, head.copy())
    assert plain is not None and not plain.recoded
    for change in ({"status": 404}, {"length": 10}, {"length": None}, {"reason": b"Fine"}):
        changed = head.copy()
        for name, value in change.items():
            setattr(changed, name, value)
        assert compression.decide(gzip, changed) is not first
    assert compression.decide(gzip, Response(200, Headers(list(head.headers.fields)), length=5000)) is not first


def test_decisions_that_are_remembered_are_bounded() -> None:
    compression = compile_compression(Compress(gzip=1))
    request = Request(b"GET", b"/", None, Headers.of([(b"accept-encoding", b"gzip")]))
    made = []
    for _ in range(3 * REMEMBERED):
        response = Response(200, Headers.of([(b"content-type", b"text/html")]), length=5000)
        made.append(compression.decide(request, response))
    assert len(compression._decided) <= REMEMBERED
    assert len({id(each) for each in made}) == len(made)
