"""What an authority says, read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from revproxy.tls.acme.messages import (
    ERRORS,
    AcmeFailed,
    Authorization,
    Challenge,
    Directory,
    Order,
    Problem,
    choose,
    misnamed,
    nonce_of,
    read_authorization,
    read_challenge,
    read_directory,
    read_json,
    read_order,
    read_problem,
    refused,
    retry_after,
    strange,
    url_of,
)

URL = "https://acme.test/x"
DIRECTORY = {"newNonce": URL, "newAccount": URL, "newOrder": URL, "meta": {"externalAccountRequired": True}}
ORDER = {"status": "pending", "authorizations": [URL], "finalize": URL}
CHALLENGE = {"type": "http-01", "url": URL, "status": "pending", "token": "abc-_0"}
AUTHORIZATION = {
    "status": "pending",
    "identifier": {"type": "dns", "value": "A.test"},
    "challenges": [CHALLENGE, {"type": "dns-persist-01"}, 7],
}
READERS = [
    (read_directory, DIRECTORY),
    (read_order, {**ORDER, "certificate": URL, "error": {"type": "x"}}),
    (read_authorization, AUTHORIZATION),
    (read_challenge, {**CHALLENGE, "error": {"type": "x"}}),
]


def test_what_is_right_is_read() -> None:
    assert read_directory(DIRECTORY) == Directory(URL, URL, URL, True)
    assert read_order(ORDER) == Order("pending", (URL,), URL)
    challenge = Challenge("http-01", URL, "pending", "abc-_0")
    assert read_authorization(AUTHORIZATION) == Authorization("pending", "a.test", (challenge,))


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b"\xff", b"[" * 200_000, b'{"a":' * 200_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(AcmeFailed) as caught:
        read_json(body)
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from([URL, "valid", "a" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=5,
)


@pytest.mark.parametrize(("read", "right"), READERS)
@given(data=st.data())
def test_whatever_is_in_a_member_is_read_or_refused(read: Any, right: dict[str, Any], data: st.DataObject) -> None:
    said = dict(right)
    for key in data.draw(st.sets(st.sampled_from(sorted(right)), min_size=1)):
        said[key] = data.draw(JSON)
    try:
        read(said)
    except AcmeFailed as error:
        assert str(error).isprintable() and len(str(error)) < 300  # noqa: PT017


@given(JSON)
def test_any_problem_is_one_short_line(said: Any) -> None:
    for found in (read_problem(said, 400), read_problem({"type": said, "detail": said, "subproblems": [said] * 9})):
        assert str(found).isprintable() and len(str(found)) < 4000


def test_a_problem_in_words() -> None:
    parts = [
        {"type": ERRORS + "caa", "detail": f"no {n}", "identifier": {"type": "dns", "value": f"{n}.test"}}
        for n in range(5)
    ]
    found = read_problem({"type": ERRORS + "compound", "detail": "several\r\nthings", "subproblems": parts})
    assert str(found) == ("compound: several  things (0.test: caa: no 0; 1.test: caa: no 1; 2.test: caa: no 2, …)")
    assert str(read_problem(None, 502)) == "status 502" and str(read_problem({})) == "unknown"
    assert str(read_problem({"type": "about:blank"}, 404)) == "about:blank"


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.test/",
        "ftp://x",
        "",
        7,
        None,
        "https://a b",
        "https://a\r\nX: y",
        "https://ä",
        "https://" + "a" * 3000,
    ],
)
def test_urls_that_are_not_followed(url: Any) -> None:
    with pytest.raises(AcmeFailed):
        url_of(url, "it")


@pytest.mark.parametrize("token", ["", "../x", "a/b", "a\r\n", "a.b", "a" * 257, 7, None, "ä"])
def test_tokens_that_could_do_harm(token: Any) -> None:
    with pytest.raises(AcmeFailed):
        read_challenge({**CHALLENGE, "token": token})


def test_too_many_authorizations() -> None:
    with pytest.raises(AcmeFailed):
        read_order({**ORDER, "authorizations": [URL] * 201})


def test_nonces() -> None:
    assert nonce_of("abc-_9") == "abc-_9"
    assert [nonce_of(field) for field in (None, "", "a b", "a=", "a" * 257)] == [None] * 5


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0", 0.0),
        ("-7", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 400, 999999999999.0),
        ("Thu, 01 Jan 1970 00:17:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
        ("soon", None),
    ],
)
def test_retry_after(field: str | None, seconds: float | None) -> None:
    assert retry_after(field, 1000.0) == seconds


@given(st.text(max_size=40))
def test_any_retry_after(field: str) -> None:
    found = retry_after(field, 1000.0)
    assert found is None or found >= 0


def test_the_challenge_of_a_kind() -> None:
    found = read_authorization(AUTHORIZATION)
    assert choose(found, "http-01") == found.challenges[0]
    assert choose(Authorization("valid", "a.test", ()), "http-01") is None
    with pytest.raises(AcmeFailed, match=r'"a\.test": the authority does not offer "tls-alpn-01", only "http-01"'):
        choose(found, "tls-alpn-01")
    for status in ("invalid", "expired", "deactivated", "revoked", "?"):
        with pytest.raises(AcmeFailed, match=r'"a\.test" was not proved'):
            choose(Authorization(status, "a.test", found.challenges), "http-01")


def test_why_it_went_no_further() -> None:
    challenge = Challenge("http-01", URL, "invalid", "t", Problem(ERRORS + "dns", "no address"))
    assert str(refused(Authorization("invalid", "a.test", (challenge,)))) == '"a.test" was not proved: dns: no address'
    assert str(refused(Authorization("expired", "a.test", ()))) == (
        '"a.test" was not proved: its authorization is expired'
    )
    assert str(strange(Order("invalid", (), URL))) == "the order came to nothing: its status is invalid"
    assert "caa: no" in str(strange(Order("invalid", (), URL, "", Problem(ERRORS + "caa", "no"))))


def test_a_name_that_was_not_ordered() -> None:
    assert misnamed(["a.test"], Authorization("pending", "a.test", ())) is None
    assert misnamed(["a.test"], Authorization("pending", "b.test", ())) is not None


def test_json_of_many_kinds() -> None:
    assert read_json(json.dumps({"a": "ä"}).encode()) == {"a": "ä"}
