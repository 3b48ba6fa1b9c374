"""RFC 9111 4.2: lifetimes and ages, computed when storing."""

from __future__ import annotations

import pytest

from revproxy.cache.rules import Rules
from revproxy.cache.stored import HEURISTIC
from revproxy.cache.storing import Refusal
from tests.cache.kit import DATE, NOW, put, stored

FRESH = "Cache-Control: max-age=3600"
LM = "Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT"  # an hour before


def reason(*lines, **more):
    made = put(*lines, **more)
    return made.reason if isinstance(made, Refusal) else None


EXPIRES_IN_AN_HOUR = "Expires: Sun, 06 Nov 1994 09:49:37 GMT"


@pytest.mark.parametrize(
    ("lifetime", "source", "lines"),
    [
        pytest.param(3600, "max-age", [FRESH], id="9111-4.2.1-max-age"),
        pytest.param(1, "s-maxage", ["Cache-Control: max-age=3600, s-maxage=1"], id="9111-4.2.1-s-maxage-first"),
        pytest.param(3600, "s-maxage", ["Cache-Control: s-maxage=3600", "Cache-Control: max-age=1"], id="of-two-lines"),
        pytest.param(3600, "expires", [EXPIRES_IN_AN_HOUR], id="9111-5.3"),
        pytest.param(3600, "max-age", [FRESH, "Expires: Sun, 06 Nov 1994 01:00:00 GMT"], id="9111-5.3-max-age-first"),
        pytest.param(0, "max-age", ["Cache-Control: max-age=0", EXPIRES_IN_AN_HOUR], id="9111-5.3-max-age-0"),
        pytest.param(3600, "max-age", [FRESH, "Expires: 0"], id="9111-5.3-invalid-but-max-age"),
        pytest.param(0, "expires", ["Expires: Sun, 06 Nov 1994 08:00:00 GMT"], id="9111-5.3-past"),
        pytest.param(0, "expires", [f"Expires: {DATE}"], id="9111-5.3-same-as-date"),
        pytest.param(0, "expires", ["Expires: Sun, 06 Nov 2050 09:49:37 UTC"], id="9111-4.2-other-zones-are-invalid"),
        pytest.param(3600, "expires", [EXPIRES_IN_AN_HOUR.upper().replace("EXPIRES", "Expires")], id="9111-4.2-case"),
        pytest.param(3600, "expires", [EXPIRES_IN_AN_HOUR, "Expires: 0"], id="9111-4.2.1-first-line"),
        pytest.param(7200, "expires", [EXPIRES_IN_AN_HOUR, "Date: Sun, 06 Nov 1994 07:49:37 GMT"], id="minus-date"),
        pytest.param(3600, "expires", [EXPIRES_IN_AN_HOUR, "Date: nonsense"], id="9110-6.6.1-invalid-date"),
        pytest.param(2**31, "max-age", ["Cache-Control: max-age=99999999999"], id="9111-1.2.2"),
        pytest.param(2**31, "expires", ["Expires: Fri, 31 Dec 9999 23:59:59 GMT"], id="9111-1.2.2-expires"),
        pytest.param(360, "heuristic", [LM], id="9111-4.2.2-a-tenth"),
        pytest.param(86400, "heuristic", ["Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT"], id="9111-4.2.2-a-day"),
        pytest.param(0, "none", ["Last-Modified: Sun, 06 Nov 2050 09:49:37 GMT"], id="9111-4.2.2-modified-later"),
        pytest.param(0, "max-age", ["Cache-Control: max-age=x", LM], id="9111-4.2.2-explicit"),
        pytest.param(0, "expires", ["Expires: 0", LM], id="9111-4.2.2-nor-an-invalid-one"),
    ],
)  # fmt: skip
def test_lifetimes(lifetime, source, lines):
    one = stored('ETag: "a"', *lines)
    assert (one.lifetime, one.source) == (lifetime, source)


def test_heuristics_by_status():
    """RFC 9110 15.1, RFC 9111 4.2.2."""
    for status in (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501):
        assert stored(LM, status=status).source == "heuristic"
    for status in (201, 302, 307, 400, 403, 500, 503, 599):
        assert isinstance(put(LM, status=status), Refusal)
        assert stored(LM, "Cache-Control: public", status=status).source == "heuristic"
    assert isinstance(put(LM.replace("Last-Modified", "X"), status=200), Refusal), "only with Last-Modified"
    assert stored(LM, rules=Rules(heuristic=0)).lifetime == 0
    assert 206 not in HEURISTIC


def test_ttls_of_the_rules():
    rules = Rules(default_ttl={200: 60, 4: 5}, override_ttl={404: 7, 5: 1})
    assert stored(rules=rules).lifetime == 60
    assert stored(FRESH, rules=rules).lifetime == 3600
    assert stored(LM, rules=rules).source == "default"
    assert stored(status=403, rules=rules).lifetime == 5
    assert stored("Cache-Control: max-age=0", status=404, rules=rules).lifetime == 7
    assert stored(FRESH, status=503, rules=rules).lifetime == 1
    assert reason(FRESH + ", no-store", status=503, rules=rules) == "no-store"
    assert reason(status=302, rules=rules) is not None
    assert stored(status=302, rules=Rules(default_ttl={0: 3})).lifetime == 3
    one = stored("Cache-Control: no-cache", 'ETag: "a"', rules=Rules(override_ttl={0: 9}))
    assert one.serve_until < one.fresh_until


# -- age (RFC 9111 4.2.3)


@pytest.mark.parametrize(
    ("age", "lines", "more"),
    [
        pytest.param(0, [], {}, id="new"),
        pytest.param(30, ["Age: 30"], {}, id="age-value"),
        pytest.param(33, ["Age: 30"], {"delay": 3}, id="corrected-age-value"),
        pytest.param(37, ["Date: Sun, 06 Nov 1994 08:49:00 GMT"], {}, id="apparent-age"),
        pytest.param(60, ["Date: Sun, 06 Nov 1994 08:49:00 GMT", "Age: 60"], {}, id="the-greater-of-both"),
        pytest.param(0, ["Date: Sun, 06 Nov 1994 09:49:37 GMT"], {}, id="a-clock-that-is-ahead"),
        pytest.param(0, ["Age: -5"], {}, id="5.1-malformed"),
        pytest.param(5, ["Age: 5, 100"], {}, id="5.1-first"),
        pytest.param(0, ["Date: nonsense"], {}, id="invalid-date-is-now"),
    ],
)
def test_initial_age(age, lines, more):
    one = stored("Cache-Control: max-age=9999", *lines, **more)
    assert one.age(NOW) == age
    assert one.age(NOW + 10.7) == age + 10
    assert one.age(NOW - 1e6) == 0


# -- the moments (RFC 9111 4.2.4, RFC 5861)


@pytest.mark.parametrize(
    ("directives", "while_", "error", "disconnected"),
    [
        pytest.param("max-age=10", 10, 10, 10 + 86400, id="9111-4.2.4"),
        pytest.param("max-age=10, stale-while-revalidate=5", 15, 10, 10 + 86400, id="5861-3"),
        pytest.param("max-age=10, stale-if-error=5", 10, 15, 15, id="5861-4"),
        pytest.param("s-maxage=10", 10, 10, 10, id="9111-5.2.2.10"),
        pytest.param("s-maxage=10, stale-while-revalidate=5, stale-if-error=6", 15, 16, 16, id="5861-and-s-maxage"),
        pytest.param("max-age=10, must-revalidate, stale-if-error=5", 10, 10, 10, id="9111-5.2.2.2"),
        pytest.param("max-age=10, proxy-revalidate, stale-while-revalidate=5", 10, 10, 10, id="9111-5.2.2.8"),
    ],
)
def test_moments(directives, while_, error, disconnected):
    one = stored(f"Cache-Control: {directives}", 'ETag: "a"')
    assert one.fresh_until == one.serve_until == NOW + 10
    moments = (one.while_until, one.error_until, one.disconnected_until)
    assert moments == (NOW + while_, NOW + error, NOW + disconnected)


def test_no_cache_has_no_moments():
    one = stored("Cache-Control: max-age=10, no-cache, stale-while-revalidate=9, stale-if-error=9", 'ETag: "a"')
    assert one.fresh_until == NOW + 10
    assert max(one.serve_until, one.while_until, one.error_until, one.disconnected_until) < 0
