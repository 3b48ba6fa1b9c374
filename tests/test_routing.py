"""Which route takes a request: DESIGN's order, against a naive matcher, and the cost of many hosts."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, strategies as st

from revproxy.http.message import Headers, Request
from revproxy.routing import Entry, Route, RouteTable
from tests.kit import get, toml


def request(path=b"/", host=b"", method=b"GET"):
    return Request(method, path, None, Headers(), host=host)


def entry(name, hosts=(), paths=(), conditions=0):
    met = (lambda request: True, "yes")
    return Entry(Route(name, None), hosts, paths, (met,) * conditions)


def match(entries, path=b"/", host=b""):
    route = RouteTable.build(entries).match(request(path, host))
    return None if route is None else route.name


# -- paths


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (b"/api/*", [b"/api", b"/api/", b"/api/x/y"], [b"/apix", b"/", b"/ap", b"/x/api"]),
        (b"/ws*", [b"/ws", b"/wsx", b"/ws/x"], [b"/w", b"/"]),
        (b"/a", [b"/a"], [b"/a/", b"/ab", b"/"]),
        (b"/a/", [b"/a/"], [b"/a", b"/a/b"]),
        (b"~^/u/[0-9]+$", [b"/u/1", b"/u/42"], [b"/u/", b"/u/x", b"/u/1/"]),
        (b"~x", [b"/axb"], [b"/ab"]),
        (b"/*", [b"/", b"/x", b"*"], []),
        (b"*", [b"/", b"/x", b"*"], []),
    ],
)
def test_path_patterns(pattern, yes, no):
    entries = [entry("it", paths=[pattern])]
    assert [path for path in yes if match(entries, path) != "it"] == []
    assert [path for path in no if match(entries, path) is not None] == []


def test_exact_before_regex_before_longer_before_shorter_before_any():
    entries = [
        entry("any"),
        entry("/*", paths=[b"/a*"]),
        entry("below", paths=[b"/a/*"]),
        entry("longer", paths=[b"/a/b/*"]),
        entry("regex", paths=[b"~^/a/b/c"]),
        entry("exact", paths=[b"/a/b/c/d"]),
    ]
    found = [match(entries, path) for path in (b"/a/b/c/d", b"/a/b/c", b"/a/b", b"/a/x", b"/ax", b"/x")]
    assert found == ["exact", "regex", "longer", "below", "/*", "any"]


def test_more_conditions_first_then_as_written():
    entries = [entry("first"), entry("second"), entry("two", conditions=2), entry("one", conditions=1)]
    assert match(entries) == "two"
    assert match(entries[:2]) == "first"


def test_a_condition_that_does_not_hold_leaves_the_request_to_the_next():
    no = (lambda request: False, "no")
    entries = [Entry(Route("never", None), (), (), (no,)), entry("else")]
    assert match(entries) == "else"


# -- hosts


def test_hosts():
    entries = [
        entry("any"),
        entry("wild", [b"*.example.com"]),
        entry("deeper", [b"*.a.example.com"]),
        entry("exact", [b"x.a.example.com"]),
    ]
    hosts = [b"x.a.example.com", b"y.a.example.com", b"z.y.a.example.com", b"a.example.com", b"b.example.com"]
    assert [match(entries, host=host) for host in hosts] == ["exact", "deeper", "deeper", "wild", "wild"]
    assert [match(entries, host=host) for host in (b"example.com", b"xexample.com", b"")] == ["any"] * 3


def test_a_hosts_routes_do_not_hide_any_host_routes():
    entries = [entry("api", [b"example.com"], [b"/api/*"]), entry("wild", [b"*.com"], [b"/w/*"]), entry("any")]
    found = [match(entries, path, b"example.com") for path in (b"/api/x", b"/w/x", b"/x")]
    assert found == ["api", "wild", "any"]


def test_none_matches():
    assert match([entry("api", [b"example.com"])], host=b"example.org") is None
    assert match([]) is None


def test_the_trace_says_why():
    no = (lambda request: False, "method POST")
    table = RouteTable.build([Entry(Route("post", None), (), (), (no,)), entry("rest")])
    trace: list[str] = []
    route = table.match(request(), trace)
    assert route is not None
    assert route.name == "rest"
    assert trace == ["post: not method POST", "rest: matches"]


# -- against a naive matcher

HOSTS = [b"a.com", b"b.a.com", b"*.a.com", b"*.b.a.com", b"*.com", b"*"]
PATHS = [b"/", b"/a", b"/a/*", b"/a*", b"/a/b", b"/a/b/*", b"/a/b*", b"/ab*", b"~^/a/.$", b"~b", b"*"]
ENTRIES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(HOSTS), max_size=2, unique=True),
        st.lists(st.sampled_from(PATHS), max_size=2, unique=True),
        st.lists(st.booleans(), max_size=2),
    ),
    max_size=8,
)


def host_rank(pattern, host):
    """Higher is more specific; ``None``: does not match."""
    if pattern == b"*":
        return 0
    if pattern.startswith(b"*."):
        return len(pattern) if host.endswith(pattern[1:]) and len(host) > len(pattern) - 1 else None
    return 1000 if host == pattern else None


def path_rank(pattern, path):
    if pattern in (b"*", b"/*"):
        return (0,)
    if pattern.startswith(b"~"):
        return (2,) if re.search(pattern[1:], path) else None
    if pattern.endswith(b"/*"):
        start = pattern[:-2]
        return (1, len(start), 1) if path == start or path.startswith(start + b"/") else None
    if pattern.endswith(b"*"):
        start = pattern[:-1]
        return (1, len(start), 0) if path.startswith(start) else None
    return (3,) if path == pattern else None


def naive(written, path, host):
    found = []
    for at, (hosts, paths, conditions) in enumerate(written):
        if not all(conditions):
            continue
        for pattern in hosts or [b"*"]:
            for other in paths or [b"*"]:
                ranks = host_rank(pattern, host), path_rank(other, path)
                if None not in ranks:
                    found.append((*ranks, len(conditions), -at))
    return None if not found else str(-max(found)[-1])


@given(
    ENTRIES,
    st.sampled_from([b"/", b"/a", b"/a/", b"/ab", b"/a/b", b"/a/b/c", b"/a/bc", b"/b", b"*"]),
    st.sampled_from([b"a.com", b"b.a.com", b"c.a.com", b"c.b.a.com", b"x.com", b"com", b"org", b""]),
)
def test_like_a_naive_matcher(written, path, host):
    entries = [
        Entry(Route(str(at), None), hosts, paths, tuple(((lambda r, holds=holds: holds), "x") for holds in conditions))
        for at, (hosts, paths, conditions) in enumerate(written)
    ]
    table = RouteTable.build(entries)
    expected = naive(written, path, host)
    found = table.match(request(path, host))
    assert (None if found is None else found.name) == expected
    explained = table.match(request(path, host), [])
    assert explained is found


# -- cost


def test_the_work_does_not_grow_with_the_number_of_hosts():
    def calls(count):
        entries = [entry(f"r{at}", [b"h%d.example.com" % at], [b"/api/*", b"/x"]) for at in range(count)]
        table = RouteTable.build(entries)
        wanted = request(b"/api/y", b"h%d.example.com" % (count // 2))
        steps = 0

        def count_steps(frame, event, arg):
            nonlocal steps
            steps += 1
            return count_steps

        sys.settrace(count_steps)
        try:
            table.match(wanted)
        finally:
            sys.settrace(None)
        return steps

    assert calls(3000) == calls(3)


# -- on the wire

ROUTES = """
[[routes]]
name = "api"
match = { host = ["example.com", "*.example.org"], path = "/api/*" }
respond = { body = "api" }
[[routes]]
name = "post"
match = { method = "POST" }
respond = { body = "post" }
"""


def test_on_the_wire(play):
    scenario = play(toml(route='name = "exact"\nmatch = { path = "/only" }\nrespond = { body = "exact" }', more=ROUTES))
    client = scenario.client()
    for path, host, method, body in [
        (b"/api/x", b"example.com", b"GET", b"api"),
        (b"/api", b"EXAMPLE.com:8080", b"GET", b"api"),
        (b"/api/x", b"a.example.org.", b"GET", b"api"),
        (b"/only", b"example.com", b"GET", b"exact"),
        (b"/%6Fnly", b"example.com", b"GET", b"exact"),
        (b"/x", b"example.com", b"POST", b"post"),
        (b"/api/x", b"example.org", b"POST", b"post"),
    ]:
        client.send(get(path, host=host, method=method))
        client.expect_response(200, body)
    client.send(get(b"/x"))
    client.expect_response(404)
    client.expect_nothing()
    assert [record.route for record in scenario.log][-2:] == ["post", ""]
    assert scenario.log[-1].fault == "no-route"


TWO = (
    'match = { path = "/admin/*" }\nrespond = { status = 401 }\n[[routes]]\nmatch = { path = "/a//b" }\n'
    'respond = 204\n[[routes]]\nrespond = { body = "all" }'
)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/admin/x", 401), (b"//admin/x", 400), (b"/admin%2fx", 400), (b"/%2Fadmin/x", 400), (b"/admin//x", 401),
        (b"/admin/a%2Fb", 401), (b"/other//x", 200), (b"/other%2Fx", 200), (b"/a//b", 400),
    ],
)  # fmt: skip
def test_paths_that_backends_may_read_as_another_routes_are_refused(play_once, path, status):
    scenario = play_once(toml(route=TWO))
    client = scenario.client()
    client.send(get(path))
    client.expect_head(status)
    if status == 400:
        assert scenario.log[0].fault == "client-bad-path" and "another route" in scenario.log[0].detail


def test_doubled_slashes_and_merging(play):
    route = 'match = { path = "/a/b" }\nrespond = { body = "it" }'
    client = play(toml(route=route)).client()
    client.send(get(b"//a//b"))
    client.expect_response(404)
    client = play(toml("merge_slashes = true", route=route)).client()
    client.send(get(b"//a//b"))
    client.expect_response(200, b"it")
