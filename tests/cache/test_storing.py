"""RFC 9111 3: what is stored, with what, and what changes it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy.cache.directives import NO_CACHE
from revproxy.cache.rules import Rules
from revproxy.cache.stored import Stored
from revproxy.cache.storing import Refusal, freshen, freshen_by_head, may_store, select_freshened
from tests.cache.kit import DATE, NOW, RULES, put, request, response, stored

FRESH = "Cache-Control: max-age=3600"
LM = "Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT"  # an hour before
LATER = NOW + 100


def reason(*lines, **more):
    made = put(*lines, **more)
    return made.reason if isinstance(made, Refusal) else None


AUTH = "Authorization: Basic eDp5"


@pytest.mark.parametrize(
    ("why", "lines", "more"),
    [
        pytest.param(None, [FRESH], {}, id="9111-3"),
        pytest.param("method", [FRESH], {"asked": request(method=b"HEAD")}, id="9111-3-head-has-no-body"),
        pytest.param("method", [FRESH], {"asked": request(method=b"POST")}, id="9111-3-method"),
        pytest.param("body", [FRESH], {"asked": request(length=5)}, id="a-get-with-a-body"),
        pytest.param("body", [FRESH], {"asked": request(length=None)}, id="a-get-with-a-chunked-body"),
        pytest.param("body", [FRESH], {"asked": request(upgrade=b"websocket")}, id="upgrade"),
        pytest.param("interim", [FRESH], {"status": 103}, id="9111-3-final"),
        pytest.param("interim", [FRESH], {"status": 101}, id="9111-3-final-101"),
        pytest.param("partial", [FRESH, "Content-Range: bytes 0-1/9"], {"status": 206}, id="9111-3.3-206"),
        pytest.param("no body", [FRESH], {"status": 304}, id="9111-3-304"),
        pytest.param(None, [FRESH], {"status": 599}, id="9111-3-any-final-status-with-explicit-freshness"),
        pytest.param(None, [FRESH], {"status": 500}, id="9111-3-errors-as-well"),
        pytest.param(None, [FRESH], {"status": 299}, id="9111-3-unknown-status"),
        pytest.param("no-store", [FRESH + ", no-store"], {}, id="9111-5.2.2.5"),
        pytest.param("no-store", ["Cache-Control: No-StOrE"], {}, id="9111-5.2.2.5-case"),
        pytest.param("no-store in", [FRESH], {"asked": request("Cache-Control: no-store")}, id="9111-5.2.1.5"),
        pytest.param("private", [FRESH + ", private"], {}, id="9111-5.2.2.7"),
        pytest.param(None, [FRESH + ', private="x-a"'], {}, id="9111-5.2.2.7-qualified"),
        pytest.param("needs", [FRESH + ', private="content-encoding"', "Content-Encoding: gzip"], {}, id="needed"),
        pytest.param(None, [FRESH + ', private="content-encoding"'], {}, id="a-field-needed-but-not-there"),
        pytest.param(None, [FRESH + ", must-understand, no-store"], {}, id="9111-5.2.2.3-understood"),
        pytest.param("understood", [FRESH + ", must-understand"], {"status": 299}, id="9111-5.2.2.3-not-understood"),
        pytest.param("private", [FRESH + ", must-understand, private"], {}, id="9111-5.2.2.3-overrides-no-store-alone"),
        pytest.param("authorized", [FRESH], {"asked": request(AUTH)}, id="9111-3.5"),
        pytest.param(None, [FRESH + ", public"], {"asked": request(AUTH)}, id="9111-3.5-public"),
        pytest.param(None, [FRESH + ", must-revalidate"], {"asked": request(AUTH)}, id="9111-3.5-must-revalidate"),
        pytest.param(None, ["Cache-Control: s-maxage=9"], {"asked": request(AUTH)}, id="9111-3.5-s-maxage"),
        pytest.param("authorized", [FRESH + ", proxy-revalidate"], {"asked": request(AUTH)}, id="9111-3.5-no-other"),
        pytest.param("set-cookie", [FRESH, "Set-Cookie: a=b"], {}, id="set-cookie"),
        pytest.param("set-cookie", [FRESH + ", public", "Set-Cookie: a=b"], {}, id="set-cookie-whatever-it-says"),
        pytest.param(None, [FRESH, "Set-Cookie: a=b"], {"rules": Rules(store_set_cookie=True)}, id="cookie-allowed"),
        pytest.param(None, [FRESH + ', private="set-cookie"', "Set-Cookie: a=b"], {}, id="set-cookie-left-out"),
        pytest.param("large", [FRESH], {"length": 10**9}, id="size"),
        pytest.param("no freshness", [], {}, id="9111-3-nothing-said"),
        pytest.param(None, ['ETag: "a"'], {}, id="9111-3-a-validator-is-enough-for-what-is-heuristically-cacheable"),
        pytest.param("explicit", ['ETag: "a"'], {"status": 302}, id="9111-3-but-for-no-other-status"),
        pytest.param(None, ['ETag: "a"', "Cache-Control: public"], {"status": 302}, id="9111-3-public"),
        pytest.param("explicit", [LM], {"status": 500}, id="9111-3-heuristics-for-no-other-status"),
        pytest.param("nothing to validate", ["Cache-Control: no-cache"], {}, id="9111-5.2.2.4-no-validator"),
        pytest.param(None, ["Cache-Control: no-cache", 'ETag: "a"'], {}, id="9111-5.2.2.4-validator"),
        pytest.param("nothing to validate", ["Cache-Control: max-age=0"], {}, id="stale-and-no-validator"),
        pytest.param("nothing to validate", ["Expires: 0"], {}, id="9111-5.3-invalid-is-past"),
        pytest.param(None, ["Cache-Control: max-age=0, stale-while-revalidate=9"], {}, id="5861-3-stale-but-useful"),
        pytest.param(None, ["Cache-Control: max-age=0"], {"rules": Rules(grace=9)}, id="stale-but-within-grace"),
        pytest.param("nothing to validate", [FRESH, "Age: 7200"], {}, id="9111-4.2.3-too-old-when-it-comes"),
        pytest.param(None, [FRESH, "Pragma: no-cache"], {}, id="9111-5.4-pragma-means-nothing-here"),
        pytest.param(None, [FRESH, 'Warning: 110 - "Response is Stale"'], {}, id="9111-5.5-warning-ignored"),
        pytest.param(None, [FRESH, "Content-Disposition: attachment"], {}, id="content-disposition"),
    ],
)  # fmt: skip
def test_what_is_stored(why, lines, more):
    found = reason(*lines, **more)
    assert (found is None) == (why is None), found
    assert why is None or why in found


# -- the fields (RFC 9111 3.1)


def names(one):
    return {f[0].decode() for f in one.headers.fields}


def test_all_fields_but_those_of_the_connection():
    one = stored(
        FRESH + ', no-cache="x-a", private="X-B, x-b2"',
        "Connection: keep-alive, X-Hop", "Keep-Alive: 1", "X-Hop: 1", "X-A: 1", "X-B: 1", "X-B2: 1", "X-C: 1",
        "Proxy-Authenticate: a", "Proxy-Authentication-Info: b", "Transfer-Encoding: chunked", "Content-Length: 5",
        "Upgrade: h2c", "Trailer: x", "Age: 5", "X-Unknown: 1", "Strict-Transport-Security: max-age=1",
        "WWW-Authenticate: Basic", "Content-Type: text/plain",
    )  # fmt: skip
    assert names(one) == {
        "date", "cache-control", "x-c", "x-unknown", "strict-transport-security", "www-authenticate", "content-type",
    }  # fmt: skip


def test_a_missing_or_broken_date_becomes_that_of_its_coming():
    """RFC 9110 6.6.1."""
    for one in (stored(FRESH, dated=False), stored(FRESH, "Date: nonsense")):
        assert one.headers.get_all(b"date") == [DATE.encode()]
        assert one.date == NOW
    assert stored(FRESH, "Date: Sun, 06 Nov 1994 08:49:00 GMT").headers.get(b"date") == b"Sun, 06 Nov 1994 08:49:00 GMT"


def test_a_connection_does_not_name_the_date_away():
    assert b"date" in stored(FRESH, "Connection: date").headers


def test_the_response_is_not_changed():
    given = response(FRESH, "X-A: 1", "Connection: x-a")
    before = list(given.headers.fields)
    may_store(request(), given, RULES, (b"k", b""), NOW, NOW)
    assert given.headers.fields == before


def test_reasons_are_traced():
    trace: list[str] = []
    may_store(request(), response(FRESH), RULES, (b"", b""), NOW, NOW, trace)
    may_store(request(), response("Cache-Control: no-store"), RULES, (b"", b""), NOW, NOW, trace)
    may_store(request(), response(), RULES, (b"", b""), NOW, NOW, trace)
    assert trace == ["stored: max-age 3600 s", "not stored: no-store", "not stored: no freshness"]


# -- freshening (RFC 9111 3.2, 4.3.4)


def freshened(one, *lines, asked=None, rules=RULES, now=LATER):
    lines = (
        lines if any(line.startswith("Date:") for line in lines) else ("Date: Sun, 06 Nov 1994 08:51:17 GMT", *lines)
    )
    return freshen(one, asked or request(), response(*lines, status=304, length=None), rules, now, now)


@pytest.mark.parametrize(
    "name",
    ["Test-Header", "X-Test", "Content-Foo", "Content-Type", "Content-MD5", "Content-Location", "X-Frame-Options",
     "Content-Security-Policy", "Clear-Site-Data", "Content-Language", "Via"],
)  # fmt: skip
def test_a_304_replaces_fields(name):
    """RFC 9111 3.2: Content-* in general is no exception."""
    one = stored("Cache-Control: max-age=1", 'ETag: "a"', f"{name}: old", f"{name}: older", "X-Kept: 1")
    new = freshened(one, 'ETag: "a"', f"{name}: new").stored
    assert new.headers.get_all(name.encode()) == [b"new"]
    assert new.headers.get(b"x-kept") == b"1"
    assert new.headers.get(b"cache-control") == b"max-age=1"
    assert one.headers.get(name.encode()) == b"old", "the old one is as it was"


@pytest.mark.parametrize("name", ["Content-Length", "Content-Encoding", "Content-Range", "Connection", "Keep-Alive"])
def test_a_304_does_not_replace_what_is_about_the_body(name):
    one = stored("Cache-Control: max-age=1", 'ETag: "a"', "Content-Encoding: gzip", length=10)
    new = freshened(one, 'ETag: "a"', f"{name}: 99").stored
    assert new.length == 10
    assert new.headers.get(b"content-encoding") == b"gzip"
    assert b"99" not in [f[1] for f in new.headers.fields]


def test_a_field_that_ends_at_the_connection_replaces_nothing():
    one = stored("Cache-Control: max-age=1", 'ETag: "a"', "X-Hop: old")
    assert freshened(one, 'ETag: "a"', "Connection: x-hop", "X-Hop: new").stored.headers.get_all(b"x-hop") == [b"old"]


def test_a_304_makes_it_fresh_again():
    one = stored("Cache-Control: max-age=1", 'ETag: "a"', "Age: 1")
    new = freshened(one, 'ETag: "a"').stored
    assert (new.age(LATER), new.lifetime, new.fresh_until) == (0, 1, LATER + 1)
    assert new.date == LATER
    assert freshened(one, "Cache-Control: max-age=50", "Age: 20").stored.fresh_until == LATER + 30
    assert freshened(one, "Cache-Control: no-cache").stored.bits & NO_CACHE


def test_a_304_without_date_is_dated():
    one = stored("Cache-Control: max-age=1", 'ETag: "a"')
    new = freshen(one, request(), response(status=304), RULES, LATER, LATER).stored
    assert new.age(LATER) == 0
    assert new.headers.get_all(b"date") == [b"Sun, 06 Nov 1994 08:51:17 GMT"]


@pytest.mark.parametrize(
    ("line", "refused"),
    [("Cache-Control: no-store", "no-store"), ("Cache-Control: private", "private"), ("Vary: *", "vary"),
     ("Set-Cookie: a=b", "set-cookie")],
)  # fmt: skip
def test_a_304_may_forbid_to_keep_it(line, refused):
    news = freshened(stored("Cache-Control: max-age=1", 'ETag: "a"'), line)
    assert refused in news.refused
    assert news.drop == (refused != "set-cookie"), "a cookie is this client's, and changes nothing for the others"


def test_no_store_in_the_request_keeps_the_old_one():
    """RFC 9111 5.2.1.5: it is about this exchange; a client can't empty the cache with it."""
    one = stored("Cache-Control: max-age=1", 'ETag: "a"')
    news = freshened(one, "X-New: 1", asked=request("Cache-Control: no-store, max-age=0"))
    assert news.refused and not news.drop


def test_a_304_may_change_vary():
    one = stored("Cache-Control: max-age=1", 'ETag: "a"', "Vary: Foo", asked=request("Foo: 1"))
    assert freshened(one, asked=request("Foo: 1")).stored.selected == (b"1",)
    new = freshened(one, "Vary: Bar", asked=request("Foo: 1", "Bar: 2")).stored
    assert (new.vary, new.selected) == ((b"bar",), (b"2",))


# -- which one a 304 is about (RFC 9111 4.3.4)


@pytest.mark.parametrize(
    ("etag", "lines", "found"),
    [
        pytest.param('"a"', ['ETag: "a"'], True, id="strong"),
        pytest.param('"a"', ['ETag: "b"'], False, id="another-strong-one"),
        pytest.param('W/"a"', ['ETag: "a"'], False, id="strong-does-not-match-weak"),
        pytest.param('W/"a"', ['ETag: W/"a"'], True, id="weak"),
        pytest.param('"a"', ['ETag: W/"a"'], True, id="weakly-the-same"),
        pytest.param('"a"', [LM], True, id="last-modified"),
        pytest.param('"a"', ["Last-Modified: Sun, 06 Nov 1994 07:00:00 GMT"], False, id="another-last-modified"),
        pytest.param('"a"', [], True, id="none-and-a-single-one"),
    ],
)
def test_which_is_freshened(etag, lines, found):
    one = stored("Cache-Control: max-age=1", f"ETag: {etag}", LM)
    assert select_freshened([one], response(*lines, status=304)) is (one if found else None)


def test_which_of_several_is_freshened():
    one = stored("Cache-Control: max-age=1", 'ETag: "a"', "Date: Sun, 06 Nov 1994 08:00:00 GMT")
    two = stored("Cache-Control: max-age=1", 'ETag: W/"a"')
    assert select_freshened([one, two], response('ETag: "a"')) is one
    assert select_freshened([one, two], response('ETag: W/"a"')) is two, "the most recent"
    assert select_freshened([one, two], response()) is None
    assert select_freshened([], response()) is None


# -- HEAD (RFC 9111 4.3.5)


@pytest.mark.parametrize(
    ("same", "lines", "length"),
    [
        pytest.param(True, ['ETag: "a"', LM], 10, id="all-the-same"),
        pytest.param(True, ["X-New: 1"], None, id="nothing-to-compare"),
        pytest.param(False, ['ETag: "b"'], 10, id="etag"),
        pytest.param(False, ["Last-Modified: Sun, 06 Nov 1994 07:00:00 GMT"], 10, id="last-modified"),
        pytest.param(False, ['ETag: "a"'], 11, id="length"),
    ],
)
def test_head(same, lines, length):
    one = stored("Cache-Control: max-age=1", 'ETag: "a"', LM)
    asked = request(method=b"HEAD")
    news = freshen_by_head(one, asked, response(FRESH, *lines, length=length), RULES, LATER, LATER)
    assert (news is not None) == same
    if news is not None:
        assert news.stored.fresh_until == LATER + 3600 and not news.refused
        assert news.stored.length == 10


def test_a_head_of_another_status_is_another():
    one = stored(FRESH)
    assert freshen_by_head(one, request(method=b"HEAD"), response(status=404), RULES, LATER, LATER) is None


# -- whatever comes

NAMES = ["Cache-Control", "Expires", "Date", "Age", "Vary", "ETag", "Last-Modified", "Connection", "Pragma"]
LINE = st.tuples(st.sampled_from(NAMES), st.text('max-age=0123456789," *st:GMTW/\\', max_size=30)).map(": ".join)
LINES = st.lists(LINE, max_size=6)


@given(LINES, st.integers(200, 599), LINES)
def test_garbage_is_stored_or_refused(lines, status, news):
    made = put(*lines, status=status, dated=False)
    if isinstance(made, Stored):
        assert made.fresh_until >= made.born
        assert not made.bits & NO_CACHE or made.serve_until < 0
        new = freshened(made, *news).stored
        assert new.length == made.length and new.age(LATER) >= 0


def test_what_was_compressed_stays_chosen_by_accept_encoding() -> None:
    asked = request("Accept-Encoding: gzip", "Origin: a")
    lines = ("Cache-Control: max-age=60", 'ETag: W/"a"', "Content-Encoding: gzip")
    old = stored(*lines, "Vary: Origin, Accept-Encoding", asked=asked)
    news = response("Cache-Control: max-age=60", 'ETag: W/"a"', "Vary: Origin", status=304)
    made = freshen(old, asked, news, RULES, NOW, NOW).stored
    assert set(made.vary) == {b"origin", b"accept-encoding"}
    assert dict(zip(made.vary, made.selected, strict=True))[b"accept-encoding"] == b"gzip"
    assert b"Accept-Encoding" in b", ".join(made.headers.get_all(b"vary"))
    star = response("Cache-Control: max-age=60", 'ETag: W/"a"', "Vary: *", status=304)
    assert freshen(old, asked, star, RULES, NOW, NOW).refused


def test_tags_of_a_304_are_not_for_clients() -> None:
    old = stored("Cache-Control: max-age=60", 'ETag: "a"')
    news = response("Cache-Control: max-age=60", 'ETag: "a"', "Surrogate-Key: x", "Cache-Tag: y", status=304)
    made = freshen(old, request(), news, RULES, NOW, NOW).stored
    assert b"surrogate-key" not in made.headers
    assert b"cache-tag" not in made.headers


def test_a_304_for_one_who_is_authorized_is_for_that_one() -> None:
    old = stored("Cache-Control: public, max-age=60", 'ETag: "a"')
    asked = request("Authorization: x")
    made = freshen(old, asked, response("Cache-Control: max-age=60", 'ETag: "a"', status=304), RULES, NOW, NOW)
    assert made.refused
    assert not made.drop
    made = freshen(old, asked, response("Cache-Control: public, max-age=9", 'ETag: "a"', status=304), RULES, NOW, NOW)
    assert not made.refused
