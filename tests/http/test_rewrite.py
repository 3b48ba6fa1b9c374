"""Rewriting of targets: every step alone, together, and against hostile paths."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import assume, given, strategies as st

from revproxy.config.model import QueryRewrite, Rewrite
from revproxy.http.rewrite import compile_rewrite, prefix_mapping
from revproxy.http.target import normalise_path


def path_of(path: bytes, **table: Any) -> bytes:
    return compile_rewrite(Rewrite(**table))(path, None)[0]


def query_of(query: bytes | None, **rules: Any) -> bytes | None:
    path, query = compile_rewrite(Rewrite(query=QueryRewrite(**rules)))(b"/x", query)
    assert path == b"/x"
    return query


@pytest.mark.parametrize(
    ("prefix", "path", "result"),
    [
        ("/api", b"/api", b"/"),
        ("/api", b"/api/", b"/"),
        ("/api", b"/api/x", b"/x"),
        ("/api", b"/api/api/x", b"/api/x"),
        ("/api", b"/apix", b"/apix"),
        ("/api", b"/api%2Fx", b"/api%2Fx"),
        ("/api", b"/other", b"/other"),
        ("/api/", b"/api/x", b"/x"),
        ("/api/", b"/api", b"/"),
        ("/api", b"/api//x", b"//x"),
        ("/", b"/x", b"/x"),
        ("/%61pi", b"/api/x", b"/x"),
        ("/caf\u00e9", b"/caf%C3%A9/x", b"/x"),
    ],
)
def test_strip_prefix(prefix: str, path: bytes, result: bytes) -> None:
    assert path_of(path, strip_prefix=prefix) == result


@pytest.mark.parametrize(
    ("prefix", "path", "result"),
    [
        ("/v2", b"/x", b"/v2/x"),
        ("/v2/", b"/x", b"/v2/x"),
        ("/v2", b"/", b"/v2/"),
        ("/", b"/x", b"/x"),
        ("/\u00e9%2f", b"/", b"/%C3%A9%2F/"),
    ],
)
def test_add_prefix(prefix: str, path: bytes, result: bytes) -> None:
    assert path_of(path, add_prefix=prefix) == result


def test_replace() -> None:
    assert compile_rewrite(Rewrite(replace="/new"))(b"/old/x", b"a=1") == (b"/new", b"a=1")


@pytest.mark.parametrize(
    ("regex", "to", "path", "result"),
    [
        (r"^/old/(.*)$", "/new/$1", b"/old/a/b", b"/new/a/b"),
        (r"^/old/(.*)$", "/new/$1", b"/other", b"/other"),
        (r"^/old/", "/new/", b"/old/x", b"/new/x"),
        (r"/a", "/b", b"/a/a", b"/b/a"),
        (r"^/(?P<user>\w+)/(\d+)$", "/u/${user}/${2}0$0", b"/ann/7", b"/u/ann/70/ann/7"),
        (r"^/x(y)?", "/$1z", b"/x", b"/z"),
        (r"^/x", "/$$1", b"/x", b"/$1"),
        (r"(?i)^/OLD", "/new", b"/old", b"/new"),
        (r"^/(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)$", "/$10$1", b"/abcdefghij", b"/ja"),
        (r"^/x", "/\u00e9", b"/x", b"/%C3%A9"),
    ],
)
def test_regex(regex: str, to: str, path: bytes, result: bytes) -> None:
    assert path_of(path, regex=regex, to=to) == result


def test_steps_run_in_order() -> None:
    table = {"strip_prefix": "/api", "add_prefix": "/v2", "regex": "^/v2/(.*)$", "to": "/v3/$1"}
    assert path_of(b"/api/x", **table) == b"/v3/x"
    assert path_of(b"/api/x", replace="/v2/fixed", **table) == b"/v3/fixed"


def test_no_rule_changes_nothing() -> None:
    assert compile_rewrite(Rewrite())(b"/a", None) == (b"/a", None)
    assert compile_rewrite(Rewrite())(b"/a", b"") == (b"/a", b"")


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"regex": "^/(.*)x(.*)$", "to": "/$1$2"}, b"/.x./a"),  # a dot segment
        ({"regex": "^/x", "to": ""}, b"/x"),  # nothing is left
        ({"regex": "^/", "to": ""}, b"/a"),  # no slash in front
        ({"regex": "^/(.*)25(.*)$", "to": "/$1$2"}, b"/%25zz"),  # a broken escape
        ({"regex": "^/(.*)25(.*)$", "to": "/$1$2"}, b"/a%2500"),  # an escaped NUL
        ({"regex": "^/(.*)25(.*)$", "to": "/$1$2"}, b"/a/%252E./b"),
    ],
)
def test_a_result_that_must_not_be_sent(table: dict[str, str], path: bytes) -> None:
    with pytest.raises(ValueError, match="not a path after rewriting"):
        path_of(path, **table)


def test_a_result_is_normal() -> None:
    assert path_of(b"/%2541", regex="25", to="") == b"/A"
    assert compile_rewrite(Rewrite(strip_prefix="/a"), merge_slashes=True)(b"/a//b", None) == (b"/b", None)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"strip_prefix": "api"}, "strip_prefix: 'api' does not begin with '/'; '/api' would"),
        ({"add_prefix": "/a/../b"}, "add_prefix: '/a/../b' has a dot segment or a broken %-escape"),
        ({"replace": "/%zz"}, "replace: '/%zz' has a dot segment or a broken %-escape"),
        ({"replace": "/a b"}, "replace: '/a b' holds ' ', which no path can; write %20"),
        ({"replace": "/a?b=1"}, "use 'query' for parameters"),
        ({"replace": "/a\r\nb"}, "write %0D"),
        ({"regex": "^/", "to": "/#"}, "to: '/#' holds '#', which no path can; write %23"),
        ({"regex": "(", "to": "/"}, "regex: '(': missing ), unterminated subpattern at position 0"),
        ({"regex": "^/"}, "regex: needs 'to'"),
        ({"to": "/"}, "to: needs 'regex'"),
        ({"regex": "^/(a)(?P<n>b)", "to": "/$3"}, "names the group '3'; the expression has $0, $1, $2, ${n}"),
        ({"regex": "^/(a)(?P<n>b)", "to": "/${m}"}, "names the group 'm'"),
        ({"regex": "^/", "to": "/$"}, "to: a '$' without a group in '/$'; write '$$' for a dollar"),
    ],
)
def test_what_cannot_work_is_said_when_compiled(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        compile_rewrite(Rewrite(**table))


@pytest.mark.parametrize(
    ("query", "rules", "result"),
    [
        (None, {"set": {"a": "1"}}, b"a=1"),
        (b"", {"set": {"a": "1"}}, b"a=1"),
        (b"b=2", {"set": {"a": "1", "c": "3"}}, b"b=2&a=1&c=3"),
        (b"a=0&b=2&a=9", {"set": {"a": "1"}}, b"a=1&b=2"),
        (b"%61=0&b", {"set": {"a": "1"}}, b"a=1&b"),
        (b"a+b=0&a%20b=1&a%2bb=2", {"set": {"a b": "c d"}}, b"a%20b=c%20d&a%2bb=2"),
        (None, {"set": {"k&=": "1&2=3#\r\n+\u00e9/"}}, b"k%26%3D=1%262%3D3%23%0D%0A%2B%C3%A9%2F"),
        (b"a=1&b=2&a", {"remove": ("a",)}, b"b=2"),
        (b"a=1", {"remove": ("a",)}, None),
        (b"", {"remove": ("a",)}, b""),
        (None, {"remove": ("a",)}, None),
        (b"%C3%A9=1&b", {"remove": ("\u00e9",)}, b"b"),
        (b"x=%zz&&y;z=[|]&%zz&=5", {"remove": ("a",)}, b"x=%zz&&y;z=[|]&%zz&=5"),
        (b"a=1&b=2", {"set": {"a": "9"}, "remove": ("a", "b")}, b"a=9"),
        (b"A=1", {"remove": ("a",)}, b"A=1"),
    ],
)
def test_query(query: bytes | None, rules: dict[str, Any], result: bytes | None) -> None:
    assert query_of(query, **rules) == result


def test_query_rules_work_again() -> None:
    run = compile_rewrite(Rewrite(query=QueryRewrite(set={"a": "1"})))
    assert [run(b"/", b"x")[1], run(b"/", b"a=2")[1], run(b"/", None)[1]] == [b"x&a=1", b"a=1", b"a=1"]


@pytest.mark.parametrize(
    ("table", "mapping"),
    [
        ({}, None),
        ({"strip_prefix": "/api"}, (b"", b"/api")),
        ({"strip_prefix": "/api/"}, (b"", b"/api")),
        ({"add_prefix": "/v2"}, (b"/v2", b"")),
        ({"strip_prefix": "/api", "add_prefix": "/v2/"}, (b"/v2", b"/api")),
        ({"strip_prefix": "/api", "add_prefix": "/api"}, None),
        ({"strip_prefix": "/"}, None),
        ({"strip_prefix": "/api", "replace": "/x"}, None),
        ({"strip_prefix": "/api", "regex": "a", "to": "b"}, None),
        ({"strip_prefix": "/api", "query": QueryRewrite(remove=("a",))}, (b"", b"/api")),
    ],
)
def test_prefix_mapping(table: dict[str, Any], mapping: tuple[bytes, bytes] | None) -> None:
    assert prefix_mapping(Rewrite(**table)) == mapping


pieces = st.sampled_from(
    ["/", "/api", "/a", ".", "..", "%2e", "%2F", "%25", "25", "2E", "00", "x", ";", "\\", "%5C", "41"]
)
paths = st.lists(pieces, max_size=8).map(lambda parts: "/" + "".join(parts))
tables: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "strip_prefix": st.sampled_from(["/api", "/a", "/"]),
        "add_prefix": st.sampled_from(["/api", "/v2/"]),
    },
)
substitutions = st.sampled_from(
    [{}, {"regex": "25", "to": ""}, {"regex": "(.*)x(.*)", "to": "$2$1"}, {"regex": "^/(.)", "to": "/$1$1"}]
)


@given(paths, tables, substitutions)
def test_whatever_comes_out_is_a_normal_path(text: str, table: dict[str, str], more: dict[str, str]) -> None:
    path = normalise_path(text.encode())
    assume(path is not None)
    assert path is not None
    try:
        result = path_of(path, **table, **more)
    except ValueError:
        assert more  # prefixes alone never spoil a path
        return
    assert re.fullmatch(rb"/[!-~]*", result)
    assert not set(result) & set(b"?# \r\n")
    assert normalise_path(result) == result


@given(paths, tables)
def test_the_mapping_leads_back(text: str, table: dict[str, Any]) -> None:
    mapping = prefix_mapping(Rewrite(**table))
    assume(mapping is not None)
    assert mapping is not None
    internal, public = mapping
    path = normalise_path(public + text.encode()) or public + b"/"
    result = path_of(path, **table)
    assert result.startswith(internal + b"/")
    assert public + result[len(internal) :] == path


names = st.text(alphabet="ab &=+%\u00e9", min_size=1, max_size=3)


@given(st.dictionaries(names, names, max_size=3), st.text(alphabet="ab&=+%C3A9", max_size=30))
def test_parameters_that_were_set_are_read_back(wanted: dict[str, str], query: str) -> None:
    result = query_of(query.encode(), set=wanted)
    read = parse_qsl((result or b"").decode("ascii"), keep_blank_values=True, max_num_fields=100)
    for name, value in wanted.items():
        assert read.count((name, value)) == 1
