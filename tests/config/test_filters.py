"""``filter`` tables: what is read, and what is refused with which words."""

from __future__ import annotations

import pytest

from revproxy.config.errors import ConfigError
from revproxy.config.filters import Filter
from revproxy.config.load import load_text

GOOD = '[[listen]]\nendpoint = "tcp:1"\n[[routes]]\nrespond = 200\n'
RULE = '{ id = 10001, name = "a", pattern = "b" }'


def test_a_switch_is_the_defaults() -> None:
    assert load_text(GOOD + "filter = true").routes[0].filter == Filter()
    assert load_text(GOOD + "filter = false").routes[0].filter is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("except = [4242]", "filter.except: no rule has the number 4242"),
        ("except = [1001, 4242]", "filter.except[1]: no rule has the number 4242"),
        ('body = "129KB"', "filter.body: is more than is looked at of a body: 128KB"),
        ('except = ["x"]', 'filter.except[0]: "x" is not a rule\'s number'),
        (f"rules = [{RULE}, {RULE}]", "filter.rules[1].id: 10001 is also the number of rules[0]"),
        ('rules = [{ id = 5, name = "a", pattern = "b" }]', "filter.rules[0].id: 5 is out of range"),
        ('rules = [{ id = 10001, name = "a", pattern = "(a)\\\\1" }]', "is no pattern of bounded time"),
        ('rules = [{ id = 10001, name = "a", pattern = "" }]', "filter.rules[0].pattern"),
        ('rules = [{ id = 10001, name = "a" }]', '"pattern" is missing'),
        (
            'rules = [{ id = 10001, name = "a", pattern = "b", in = "host" }]',
            'rules[0].in: "host" is not known here',
        ),
        (
            'rules = [{ id = 10001, name = "a", pattern = "b", in = [] }]',
            "filter.rules[0].in: is empty: the rule would",
        ),
        *(
            (f"rules = [{{ id = 10001, name = 'a', pattern = '{pattern}' }}]", "matches nothing at all, and so every")
            for pattern in ("a{0,3}", "^", "$", "x|", "(?:a|b)?", "\\B", "\\b")
        ),
        ("paranoia = 3", "filter.paranoia: 3 is not known here"),
        ('mode = "blok"', 'did you mean "block"?'),
        ("threshold = 0", "filter.threshold: 0 is out of range"),
        ("except_ = []", "filter.except_: unknown key"),
    ],
)
def test_what_is_wrong_is_said(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(GOOD + f"filter = {{ {written} }}", source="F")
    assert said in str(caught.value) and "F:5" in str(caught.value)


@pytest.mark.parametrize("pattern", ["a{1,3}", "^$", "^a{0,3}$", "b", "^a?b"])
def test_patterns_that_need_something_are_taken(pattern: str) -> None:
    load_text(GOOD + f"filter = {{ rules = [{{ id = 10001, name = 'a', pattern = '{pattern}' }}] }}")


def test_an_own_rule_may_be_an_exception() -> None:
    made = load_text(GOOD + f"filter = {{ rules = [{RULE}], except = 10001 }}").routes[0].filter
    assert made is not None and made.except_ == (10001,)
