"""Values as rules see them."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, strategies as st

from revproxy.filters import decode
from revproxy.filters.decode import PARAMETERS, form, forms, json_strings, multipart, plain_json, unescaped_cookie


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (b"%252e%252e%252f", b"../"),
        (b"..%c0%af", b"../"),
        (b"..%u2215x", b"../x"),
        (b"\xe0\x80\xaf", b"/"),
        ("＜Script＞".encode(), b"<script>"),
        (b"&lt;a&#x3e;&#62;", b"<a>>"),
        (b"\\u003cb\\x3e", b"<b>"),
        (b"1/**/union/*!50000select*/ 2", b"1 union select 2"),
        (b"1/**7**/union/* * */select 2", b"1 union select 2"),
        (b"$&lcub;a&equals;&ltb", b"${a=<b"),
        ("..∖".encode(), b"..\\"),
        (b"a\t\r\n  b", b"a b"),
        (b".\x00./", b"../"),
        (b"cat${IFS}/x", b"cat /x"),
        (b"c''at", b"cat"),
        (b"1\xa0or\xa01", b"1 or 1"),
        (b"+ADw-script", b"<script"),
        ("嘍嘊x".encode(), b" x"),
        (b"1 union/***/select/*a*b*/2", b"1 union select 2"),
        (b"1 union/*%b*/select" % (b"x*/y"[:1] * 5000), b"1 union select"),
        (b"1 union--x\nselect--y\r\n2", b"1 union select 2"),
        (b"1 union#x\nselect", b"1 union select"),
        (b"1/*M!union*/ /*m!100100select*/2", b"1 union select 2"),
        (b"1 '/*' union/**/select '*/", b"1 '/*' union select ' "),
        (b"1 union/*!99999x*/select", b"1 union select"),
        (b"1 union/*/*x*/select", b"1 union select"),
        (b"1\x0bor\x0c\x01 1", b"1 or 1"),
        (b"javascript&#58alert(1)", b"javascript:alert(1)"),
        (b"&#106avascript&#x3AAlert", b"javascript\xce\xaalert"),
        (b"&#0000060;a&#62b&#x3cz&#99999999", b"<a>b<z?9"),
        (b"a\\047b\\74\\1762\\1", b"a'b<~2\\1"),
        (b"&#xd800;", b"?"),
    ],
)
def test_what_is_coded_is_undone(written: bytes, seen: bytes) -> None:
    made = tuple(filter(None, forms(written)))
    assert made[0] == written.lower() and seen in made[1:]


@pytest.mark.parametrize("text", [b"plain text", "Привет".encode(), b"a=b; c", b"50% off", b"x & y"])
def test_what_is_plain_has_one_form(text: bytes) -> None:
    assert tuple(forms(text)) == (text.lower(),)


@given(st.binary(max_size=300))
def test_any_bytes_have_forms(text: bytes) -> None:
    made = tuple(form for form in forms(text) if form is not None)
    assert 1 <= len(made) <= 4 and len(set(made)) == len(made)
    assert all(form == form.lower() for form in made)
    assert all(len(form) <= 2 * len(text) + 2 for form in made)


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20)


@given(
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    )
)
def test_every_string_of_json_is_found(value: object) -> None:
    def strings(item: object) -> list[str]:
        if isinstance(item, str):
            return [item]
        if isinstance(item, list):
            return [text for each in item for text in strings(each)]
        if isinstance(item, dict):
            return [text for name, each in item.items() for text in (name, *strings(each))]
        return []

    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        found, more = json_strings(text.encode("utf-8", "surrogatepass"))
        assert [each[1] for each in found] == [each.encode("utf-8", "surrogatepass") for each in strings(value)]
        assert not more


def test_json_that_is_cut_short_or_deep() -> None:
    found = json_strings(b'{"a": "b", "c": "unfin')
    assert found == (
        [(b"", b"a"), (b"a", b"b"), (b"", b"c"), (b"c", b"unfin")],
        False,
    )
    assert json_strings(b"[" * 100_000 + b'"x"')[0] == [(b"", b"x")]
    assert json_strings(rb'"\q"')[0] == [(b"", rb"\q")]


def test_parameters_are_bounded() -> None:
    assert list(form(b"a=1&b=%20&&c")) == [(b"a", b"1"), (b"b", b" "), (b"c", b"")]
    parts, more, _ = multipart(b"--x\r\n\r\n\r\n1\r\n" * (PARAMETERS + 2), b"x")
    assert len(parts) == PARAMETERS and more


def test_multipart_gives_fields_and_names_of_files() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n2\r\n'
        b"--B\r\nContent-Disposition: form-data; name=f; filename*=x%2fy.php\r\n\r\n<?php\r\n--B--\r\n"
    )
    # to those who do not know of filename*, that is no file
    parts = [(b"a", b"1\r\n2", False), (b"f", b"x/y.php", True), (b"f", b"<?php", False)]
    assert multipart(body, b"B") == (parts, False, False)
    parts = [(b"a", b"1\r\n2", False), (b"f", b"x/y.php", True)]
    body = body.replace(b"filename*=x%2fy.php", b"filename=x/y.php; filename*=UTF-8''y")
    assert multipart(body, b"B") == ([*parts, (b"f", b"UTF-8''y", True)], False, False)


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (b"\r\n", b"\n"),
        (b"\r\n\r\n", b"\n\n"),
        (b'; filename="y"', b'; filename=""'),
        (b'; filename="y"', b"; x-filename=y"),
        (b'; filename="y"', b'; filename="y\\"'),
        (b'; filename="y"', b"\r\nX: filename=y"),
        (b'; filename="y"', b'; filename="y"; name=z'),
        (b"Content-Disposition", b"X: %b\r\nContent-Disposition" % (b"a" * 8300)),
        (b"Content-Disposition", b"\r\nContent-Disposition"),
        (b"form-data;", b"form-data ;"),
        (b"form-data", b"attachment"),
    ],
)
def test_parts_that_some_take_for_fields_are_looked_at(written: bytes, instead: bytes) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="f"; filename="y"\r\n\r\n<?php\r\n--B--\r\n'
    assert multipart(body, b"B") == ([(b"f", b"y", True)], False, False)
    parts, _, doubtful = multipart(body.replace(written, instead), b"B")
    assert doubtful or any(value == b"<?php" and not is_file for _, value, is_file in parts)


@pytest.mark.parametrize("coded", [b"base64\r\n\r\nPHNjcmlwdD4=", b"Quoted-Printable\r\n\r\n=3Cscript>"])
def test_transfer_codings_of_parts_are_undone(coded: bytes) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="f"\r\nContent-Transfer-Encoding: %b\r\n--B--' % coded
    assert (b"f", b"<script>", False) in multipart(body, b"B")[0]


@pytest.mark.parametrize(
    "body", [b"x%b", b"%bx", b"%b--B\r\n\r\nx\r\n", b"--Bx\r\n\r\n\r\nx\r\n%b", b"--B\r\n\r\nx --B\r\n%b"]
)
def test_what_is_outside_of_parts_makes_doubt(body: bytes) -> None:
    whole = b'--B\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n--B--\r\n'
    assert multipart(body % whole, b"B")[2] and not multipart(whole, b"B")[2]


def test_json_that_some_read_otherwise() -> None:
    for text in (b'{"a": [1.5e+3, true, "/*"]}', b'\xef\xbb\xbf"a"', b"{}", b'{"cut'):
        assert plain_json(text), text
    for text in (b'{/*"*/"q":"x"}', b'{\'a"\': "b"}', '{"a": 1}'.encode("utf-16"), b'{//"\n"q": "x"}', b'{#"\n"q":1}'):
        assert not plain_json(text), text


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=5))
def test_any_bytes_are_parts(body: bytes, boundary: bytes) -> None:
    multipart(b"--" + boundary + b"\r\n" + body, boundary)
    list(form(body))
    json_strings(body)


def test_time_for_comments_is_linear() -> None:
    """None of these are closed, or all are by one, or each begins where another does."""

    def took(text: bytes) -> float:
        best = 9.0
        for _ in range(3):
            before = time.process_time()
            for _ in forms(text):
                pass
            best = min(best, time.process_time() - before)
        return best

    for piece in (b"/*", b"/**/", b"/*/", b"/***", b"*/", b"--", b"#\n", b"--\n", b"/*!", b"/* *", b"*/ /*", b"\x01 "):
        for end in (b"", b"*/", b"\n"):
            short, long = (piece * (size // len(piece)) + end for size in (8_000, 64_000))
            assert took(long) < 24 * max(took(short), 0.0005), piece


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb'"1\047 or \0471\047=\0471"', b"\"1' or '1'='1\""),
        (rb'"1\" or \"1\"=\"1"', b'"1" or "1"="1"'),
        (rb'"\<\s\\\351"', b'"<s\\\xe9"'),
        (rb"1\047", rb"1\047"),
        (rb'"a', b'"a'),
    ],
)
def test_quoted_cookies_are_unescaped(written: bytes, read: bytes) -> None:
    assert unescaped_cookie(written) == read


@given(
    st.lists(
        st.sampled_from(
            [
                b"%41",
                b"&#60;",
                b"\\u0026",
                b"%u003c",
                b"%25",
                b"+adw-",
                b"\xc0\xaf",
                b"\xef\xbc\x9c",
                b"ab",
                b" \t",
                b"\xa0",
                b"\xc2\xa0",
            ]
        )
    ),
    st.integers(1, 60),
)
def test_pieces_make_no_difference(parts: list[bytes], size: int) -> None:
    text = b"".join(parts)
    whole, pairs = list(filter(None, forms(text))), list(filter(None, form(b"a=" + text)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "PIECE", size)
        assert list(filter(None, forms(text))) == whole
        assert list(filter(None, form(b"a=" + text))) == pairs


@pytest.mark.parametrize("piece", [b"%25", b"%41", b"a%a0", b"%ef%bc%87", b"&#60;", b"\\u0041", b"%26lt%3b"])
def test_long_texts_are_decoded_in_steps(piece: bytes) -> None:
    text = piece * (16384 // len(piece))
    for made in (forms(text),) if b"&" in text else (form(b"a=" + text), forms(text)):
        assert sum(each is None for each in made) >= 4
