"""Credentials in requests: where they stand, how they are taken out, and names that only the proxy may tell."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, strategies as st

from revproxy.auth.credentials import authorization, basic, quoted, reader, remover, told_names, without_told
from revproxy.http.h1 import RequestParser


def request(*fields, target="/"):
    lines = [f"GET {target} HTTP/1.1", "Host: a", *fields]
    return RequestParser(underscores="pass").parse("\r\n".join(lines).encode())


def test_the_scheme_is_told_apart_whatever_its_case():
    assert authorization(request("Authorization: bASIC  abc "), b"basic") == b"abc"
    assert authorization(request("Authorization: Basic abc"), b"bearer") is None
    assert authorization(request(), b"basic") is None
    assert authorization(request("Authorization: Basic"), b"basic") == b""


def test_two_are_ambiguous():
    assert authorization(request("Authorization: Basic a", "Authorization: Bearer b"), b"bearer") == b""


@given(
    st.text(alphabet=st.characters(blacklist_categories=["Cc", "Cs"], blacklist_characters=":")),
    st.text(alphabet=st.characters(blacklist_categories=["Cc", "Cs"])),
)
def test_names_and_passwords_are_read(name, password):
    pair = (name.encode(), password.encode())
    if len(b":".join(pair)) < 1100:
        assert basic(b64encode(b":".join(pair))) == pair


@pytest.mark.parametrize(
    "given_",
    [
        b"",
        b"=",
        b"YQ==",
        b"YTpi=",
        b"YTpi\n",
        b"YT pi",
        b"YTpi====",
        b64encode(b"a\0:b"),
        b64encode(b"a:b\n"),
        b64encode(b"\xff:b"),
        b64encode(b"a:" + b"b" * 2000),
    ],
)
def test_what_is_no_name_and_password(given_):
    assert basic(given_) is None


@given(st.binary(max_size=60))
def test_whatever_it_is_it_is_read_or_not(data):
    for given_ in (data, b64encode(data)):
        found = basic(given_)
        assert found is None or b":" not in found[0]


PLACES = [
    ("header", ["Authorization: Bearer t", "X: 1"], "/"),
    ("header:x-key", ["X-Key: t", "X: 1"], "/"),
    ("cookie:c", ["Cookie: a=b; c=t; d=e", "X: 1"], "/"),
    ("query:k", ["X: 1"], "/p?a=1&k=t&b=2"),
]


@pytest.mark.parametrize(("place", "fields", "target"), PLACES)
def test_a_token_is_read_and_taken_out_at_each_place(place, fields, target):
    there = request(*fields, target=target)
    assert reader(place)(there) == b"t"
    remover(place)(there)
    assert reader(place)(there) is None
    assert there.headers.get(b"x") == b"1"
    assert not any(f[1] == b"t" or b"c=t" in f[2] for f in there.headers.fields)
    rest = {"cookie:c": b"a=b; d=e", "query:k": b"a=1&b=2"}
    if place in rest:
        assert (there.query if place == "query:k" else there.headers.get(b"cookie")) == rest[place]


@pytest.mark.parametrize("place", [place for place, *_ in PLACES])
def test_nothing_is_changed_where_nothing_is(place):
    there = request("X: 1", "Cookie: a=b", target="/p?a=1&&")
    fields = there.headers.fields
    assert reader(place)(there) is None
    remover(place)(there)
    assert there.headers.fields is fields
    assert there.query == b"a=1&&"


def test_escaped_names_of_parameters_are_taken_out_too():
    there = request(target="/?%6b=t&x=1")
    assert reader("query:k")(there) == b"t"
    remover("query:k")(there)
    assert there.query == b"x=1"
    remover("query:x")(there)
    assert there.query is None


def test_a_field_that_is_there_twice_is_nobodys():
    assert reader("header:x-key")(request("X-Key: a", "X-Key: b")) == b""


def test_the_only_cookie_leaves_no_field():
    there = request("Cookie: c=t")
    remover("cookie:c")(there)
    assert b"cookie" not in there.headers


NAMES = told_names(["X-Tenant"])


@pytest.mark.parametrize(
    "name",
    [
        "Remote-User",
        "X-Remote-User",
        "X-Authenticated-User",
        "X-Forwarded-User",
        "X-FORWARDED-EMAIL",
        "X-Forwarded-Groups",
        "X-Auth-Request-User",
        "X-Auth-Request-Anything",
        "X-Webauth-User",
        "x-tenant",
        "X_Remote_User",
        "REMOTE_USER",
        "X_Auth-Request_Email",
        "x_tenant",
    ],
)
def test_fields_that_tell_of_users_are_taken_from_clients(name):
    there = request("A: 1", f"{name}: root", "B: 2", f"{name}: admin")
    assert [f[0] for f in without_told(there.headers.fields, NAMES, there.kinds)] == [b"host", b"a", b"b"]


def test_others_are_left_and_so_is_the_list():
    there = request("X-Auth: 1", "Remote: 1", "X-Forwarded-For: 1", "Authorization: Basic x")
    assert without_told(there.headers.fields, NAMES, there.kinds) is there.headers.fields
    there = request("x_y: 1")
    assert without_told(there.headers.fields, NAMES, there.kinds) == there.headers.fields


def test_texts_are_quoted():
    assert quoted('a "b" \\ c\r\n\u00e9') == b'"a \\"b\\" \\\\ c???"'
