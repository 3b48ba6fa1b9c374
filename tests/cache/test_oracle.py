"""A second opinion: hishel's state machine, where the two should agree.

They do not, and for a reason, about what is left out here:

* HEAD: we answer it from a stored GET, hishel stores it for itself;
* what is never reused or can't be (``Vary: *``, no freshness and no validator, Set-Cookie,
  ``no-store`` in the request): we refuse to store it;
* ``must-understand``, targeted fields, RFC 5861, the Age field, the request's max-age, min-fresh,
  max-stale and only-if-cached, and ranges: hishel does not look at them;
* heuristics: hishel's lifetimes grow with the time of asking (the tests of reuse leave them out);
* requests with Authorization: we reuse for them only what says that it may be shared.
"""

from __future__ import annotations

import uuid
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from revproxy.cache.invalidate import invalidates
from revproxy.cache.policy import Revalidate, Serve, decide, read_request
from revproxy.cache.stored import Stored
from tests.cache.kit import DATE, NOW, RULES, put, request, response
from tests.examples import examples

hishel = pytest.importorskip("hishel")
spec = pytest.importorskip("hishel._core._spec")

DIRECTIVES = ["max-age=10", "max-age=0", "s-maxage=20", "public", "private", "no-store", "no-cache", "must-revalidate"]
OTHERS = [
    f"Expires: {formatdate(NOW + 15, usegmt=True)}",
    f"Expires: {formatdate(NOW - 15, usegmt=True)}",
    f"Last-Modified: {formatdate(NOW - 200, usegmt=True)}",
    "Vary: Accept-Encoding",
]
STATUSES = [200, 203, 204, 206, 300, 301, 302, 304, 307, 308, 400, 404, 405, 410, 414, 500, 501, 503]
SAID = st.lists(st.sampled_from(DIRECTIVES), max_size=3, unique_by=lambda word: word.partition("=")[0])
GIVEN = st.lists(st.sampled_from(OTHERS), max_size=3, unique_by=lambda line: line.partition(":")[0])


def theirs(lines):
    given: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        given[name] = value
    return hishel.Headers(given)


OPTIONS = {"shared": True, "supported_methods": ["GET"], "allow_stale": False}


def opinion(asked, status, lines):
    """Whether hishel stores it."""
    miss = hishel.CacheMiss(request=asked, options=OPTIONS)
    return isinstance(miss.next(hishel.Response(status_code=status, headers=theirs(lines))), hishel.StoreAndUse)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(now=NOW)
    monkeypatch.setattr(spec, "time", SimpleNamespace(time=lambda: now.now))
    return now


both = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(300), deadline=None)


@both
@given(said=SAID, lines=GIVEN, status=st.sampled_from(STATUSES), authorized=st.booleans())
def test_what_is_stored(clock, said, lines, status, authorized):
    clock.now = NOW
    lines = [f"Date: {DATE}", 'ETag: "a"', *lines, *([f"Cache-Control: {', '.join(said)}"] if said else [])]
    auth = ["Authorization: Basic eDp5"] * authorized
    asked = hishel.Request(method="GET", url="http://example.com/", headers=theirs(auth))
    made = put(*lines, status=status, asked=request(*auth))
    assert isinstance(made, Stored) == opinion(asked, status, lines), made


EXPLICIT = GIVEN.filter(lambda lines: not any(line.startswith("Last-Modified") for line in lines))


@both
@given(
    said=SAID,
    lines=EXPLICIT,
    status=st.sampled_from(STATUSES),
    after=st.integers(0, 40),
    wanted=st.sampled_from([[], ["Cache-Control: no-cache"]]),
    coding=st.sampled_from([[], ["Accept-Encoding: gzip"]]),
)
def test_what_is_reused(clock, said, lines, status, after, wanted, coding):
    lines = [f"Date: {DATE}", 'ETag: "a"', *lines, *([f"Cache-Control: {', '.join(said)}"] if said else [])]
    made = put(*lines, status=status, asked=request(*coding))
    if not isinstance(made, Stored):
        return
    clock.now = NOW + after
    first = hishel.Request(method="GET", url="http://example.com/", headers=theirs(coding))
    second = hishel.Request(method="GET", url="http://example.com/", headers=theirs(wanted + coding))
    entry = hishel.Entry(id=uuid.UUID(int=1), request=first, response=hishel.Response(status, theirs(lines)))
    their = hishel.IdleClient(options=OPTIONS).next(second, [entry])
    ours = decide(made, read_request(request(*wanted, *coding), RULES), NOW + after)
    assert isinstance(ours, Serve) == isinstance(their, hishel.FromCache)
    assert isinstance(ours, Revalidate) == isinstance(their, hishel.NeedRevalidation)
    if isinstance(their, hishel.FromCache):
        assert int(their.entry.response.headers["age"]) == made.age(NOW + after)
    if isinstance(ours, Revalidate):
        for name, value, _, _ in ours.conditions:
            assert their.request.headers[name.decode()] == value.decode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "M-SEARCH", "GET", "OPTIONS"])
@pytest.mark.parametrize("status", [200, 201, 302, 404, 500])
def test_what_is_invalidated(method, status):
    asked = hishel.Request(method=method, url="http://example.com/", headers=theirs([]))
    entry = hishel.Entry(
        id=uuid.UUID(int=1),
        request=hishel.Request(method="GET", url="http://example.com/", headers=theirs([])),
        response=hishel.Response(200, theirs([f"Date: {formatdate(usegmt=True)}", "Cache-Control: no-cache"])),
    )
    state = hishel.IdleClient(options=OPTIONS).next(asked, [entry])
    their = not isinstance(state, hishel.NeedRevalidation) and isinstance(
        state.next(hishel.Response(status, theirs([]))), hishel.InvalidateEntries
    )
    ours = bool(invalidates(request(method=method.encode()), response(status=status), RULES))
    assert ours == their
