"""Keys: what is in them, and that nothing unkeyed reaches a backend."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.key import cookies_of, fill_fields, keyed_query, make_key, printable_key
from revproxy.cache.rules import Rules
from revproxy.cache.validators import conditions_of
from revproxy.http.message import Arrival
from tests.cache.kit import RULES, headers, request, stored

TLS = Arrival(scheme=b"https")


def key(*lines, rules=RULES, **more):
    return make_key(request(*lines, **more), rules)


def test_what_is_part_of_every_key():
    """RFC 9111 2."""
    base = key(path=b"/a", query=b"x=1")
    others = [
        key(path=b"/b", query=b"x=1"),
        key(path=b"/a", query=b"x=2"),
        key(path=b"/a"),
        key(path=b"/a", query=b"x=1", host=b"evil.example"),
        key(path=b"/a", query=b"x=1", host=b"example.com", authority=b"example.com:8080"),
        key(path=b"/a", query=b"x=1", arrival=TLS),
        key(path=b"/a", query=b"x=1", rules=Rules(name=b"other")),
    ]
    assert len({base, *others}) == 8
    assert base == key("X-Other: 1", "Cookie: a=b", path=b"/a", query=b"x=1")
    assert base == key(path=b"/a", query=b"x=1", method=b"HEAD")


def test_an_authority_has_one_form():
    assert key(authority=b"EXAMPLE.com:80") == key(authority=b"example.com")
    assert key(authority=b"example.com:443", arrival=TLS) == key(authority=b"example.com", arrival=TLS)
    assert key(authority=b"example.com:443") != key(authority=b"example.com")


def test_an_empty_query_is_not_none():
    assert key(query=b"") != key()


@pytest.mark.parametrize(
    ("options", "query", "keyed"),
    [
        ({}, b"b=1&a=2", b"b=1&a=2"),
        ({"query_sort": True}, b"b=1&a=2&a=1", b"a=2&a=1&b=1"),
        ({"query_ignore": (b"utm_*", b"gclid")}, b"utm_source=x&a=1&gclid=2&utm_=3", b"a=1"),
        ({"query_ignore": (b"utm_*",)}, b"utm_source=x", None),
        ({"query_only": (b"id",)}, b"x=1&id=2&idx=3", b"id=2"),
        ({"query_only": ()}, b"x=1", None),
        ({"query_only": (b"*",), "query_ignore": (b"x",), "query_sort": True}, b"z&x=1&y", b"y&z"),
        ({"query_sort": True}, b"", b""),
        ({"query_sort": True}, None, None),
    ],
)
def test_queries(options, query, keyed):
    assert keyed_query(query, Rules(**options)) == keyed


def test_a_parameter_hidden_in_an_ignored_one_is_not_sent_either():
    """Some backends split at semicolons as well: what the key leaves out, the request leaves out."""
    assert keyed_query(b"a=1&utm_x=1;a=evil", Rules(query_ignore=(b"utm_*",))) == b"a=1"


def test_chosen_fields_and_cookies():
    rules = Rules(key_headers=(b"X-Country",), key_cookies=(b"lang",))
    uri, extra = key("X-Country: de", "Cookie: x=1; lang=en", rules=rules)
    assert uri == make_key(request(), rules)[0]
    assert extra == b"=de\n=en"
    assert key("X-Country:", rules=rules) != key(rules=rules)
    assert key("Cookie: lang", rules=rules) != key(rules=rules)
    assert key("Cookie: lang=en", rules=rules) == key("Cookie: lang=en; a=b", rules=rules)
    assert key("Cookie: lang=en; lang=fr", rules=rules) != key("Cookie: lang=en", rules=rules)


def test_cookies():
    assert cookies_of(headers("Cookie: a=1; b ;c=x=y", "Cookie: a=2")) == {
        b"a": [b"1", b"2"],
        b"b": [b""],
        b"c": [b"x=y"],
    }


def test_lines_are_not_members():
    rules = Rules(key_headers=(b"x", b"y"))
    made = [
        make_key(request(*lines), rules)
        for lines in (
            ["X: a, b"],
            ["X: a,b"],
            ["X: a", "X: b"],
            ["X: a", "Y: b"],
            ["X: a"],
            ["X: a", "Y:"],
            ["Y: a"],
            [],
        )
    ]
    assert len(set(made)) == len(made)


def test_scopes_are_told_apart_and_made_invalid_together():
    plain, scoped, keyed = Rules(), Rules(scope=b"1"), Rules(scope=b"2", key_headers=(b"x",))
    made = [make_key(request("X: 1"), rules) for rules in (plain, scoped, keyed, Rules(key_headers=(b"x",)))]
    assert len(set(made)) == 4 and len({key[0] for key in made}) == 1
    assert made[1] == make_key(request("X: 2"), scoped)


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [(["gopher"], b"http"), (["http", "https"], b"http"), (["https"], b"https"), (["HTTPS"], b"https")],
)
def test_the_scheme_that_a_backend_sees_is_the_one_of_the_key(lines, scheme):
    asked = request(*[f"X-Forwarded-Proto: {line}" for line in lines])
    asked.scheme = scheme
    sent = [f for f in fill_fields(asked, Rules()) if f[0] == b"x-forwarded-proto"]
    assert [f[2] for f in sent] == [b"X-Forwarded-Proto: " + scheme]


def test_no_field_says_the_scheme_where_none_did():
    assert fill_fields(request("X: 1"), Rules()) == request("X: 1").headers.fields


TEXT = st.text("ab:/?=&%", max_size=8).map(str.encode)


@given(st.tuples(TEXT, TEXT, TEXT | st.none()), st.tuples(TEXT, TEXT, TEXT | st.none()))
def test_no_two_targets_share_a_key(one, other):
    one, other = [(host, b"/" + path, query) for host, path, query in (one, other)]
    keys = [key(host=host or b"h", path=path.replace(b"?", b""), query=query) for host, path, query in (one, other)]
    same = [(host or b"h", path.replace(b"?", b""), query) for host, path, query in (one, other)]
    plain = [(host.removesuffix(b":80"), path, query) for host, path, query in same]
    assert (keys[0] == keys[1]) == (plain[0] == plain[1])


POISON = [
    "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Host: evil.example",
    "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Forwarded-Prefix: /evil", "X-Forwarded-Port: 1",
    "X-HTTP-Method-Override: POST", "X-Forwarded-Scheme: nothttps", "True-Client-IP: 1.2.3.4",
]  # fmt: skip


@pytest.mark.parametrize("line", POISON)
def test_what_is_not_in_the_key_does_not_reach_the_backend(line):
    asked = request(line, "Accept: x")
    assert [f[0] for f in fill_fields(asked, RULES)] == [b"accept"]
    name = line.partition(":")[0].encode()
    assert len(fill_fields(asked, Rules(key_headers=(name,)))) == 2


def test_who_asked_is_still_said():
    lines = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: http", "X-Request-ID: a")
    assert len(fill_fields(request(*lines), RULES)) == 3


def test_a_validation_has_our_preconditions_and_no_range():
    """RFC 9111 4.3.1."""
    one = stored("Cache-Control: max-age=9", 'ETag: "ours"', "Last-Modified: Sun, 06 Nov 1994 08:00:00 GMT")
    asked = request('If-None-Match: "theirs"', "Range: bytes=0-1", 'If-Range: "x"', "Accept: x")
    assert [f[2] for f in fill_fields(asked, RULES, conditions_of(one))] == [
        b"Accept: x",
        b'If-None-Match: "ours"',
        b"If-Modified-Since: Sun, 06 Nov 1994 08:00:00 GMT",
    ]
    assert len(fill_fields(asked, RULES)) == 4, "a plain miss is asked as the client asked"


def test_keys_for_people():
    assert printable_key(key(path=b"/a", query=b"b")) == "http://example.com/a?b"
    assert printable_key(key("X-C: 1", rules=Rules(key_headers=(b"x-c",)))) == "http://example.com/ =1"
