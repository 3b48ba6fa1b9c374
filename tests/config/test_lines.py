"""The locator: right lines for every way to write a key, and never an exception."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from revproxy.config.lines import Lines

TEXT = '''\
# a = 1
[server] # comment ]
workers = 1
timeouts = { head = "1s", "body" = "}, x = 1" }
limits.head = 1
"quoted \\u0041.key" = 1
note = """
fake = 1
[fake]
"""
other = \'\'\'
x = "
\'\'\'
when = 1979-05-27 07:32:00
ratio = 1.5

[[routes]]
name = "a"
[routes.match]
path = ["/a", # ]
        "/b",
        { c = [1,
          2] }]
[[routes]]
[[routes.middleware]]
call = "x"
[[routes.middleware]]
call = "y"
[upstreams . 'a.b' . timeouts]
connect = 1
'''

WHERE: dict[tuple[str | int, ...], int] = {
    ("server",): 2,
    ("server", "workers"): 3,
    ("server", "timeouts", "head"): 4,
    ("server", "timeouts", "body"): 4,
    ("server", "limits"): 5,
    ("server", "limits", "head"): 5,
    ("server", "quoted A.key"): 6,
    ("server", "other"): 11,
    ("server", "when"): 14,
    ("server", "ratio"): 15,
    ("routes", 0): 17,
    ("routes", 0, "name"): 18,
    ("routes", 0, "match", "path", 0): 20,
    ("routes", 0, "match", "path", 1): 21,
    ("routes", 0, "match", "path", 2, "c", 1): 23,
    ("routes", 1): 24,
    ("routes", 1, "middleware", 0, "call"): 26,
    ("routes", 1, "middleware", 1): 27,
    ("routes", 1, "middleware", 1, "call"): 28,
    ("upstreams", "a.b", "timeouts", "connect"): 30,
    # What is not there has the line of what is around it.
    ("server", "fake"): 2,
    ("routes", 0, "match", "host"): 19,
    ("nothing", 3): 1,
}


@pytest.mark.parametrize(("key", "line"), WHERE.items(), ids=map(str, WHERE))
def test_lines(key: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert Lines(TEXT).line(key) == line


def keys(value: Any, key: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, item in items for found in [(*key, name), *keys(item, (*key, name))]]


def test_every_key_of_a_document_is_found() -> None:
    lines = Lines(TEXT)
    assert [key for key in keys(tomllib.loads(TEXT)) if key not in lines._lines] == []


@given(st.text(alphabet="ab.=[]{}\"'#,\\\n 1", max_size=60))
def test_never_raises_on_nearly_toml(text: str) -> None:
    assert 1 <= Lines(text).line(("a", 0, "b")) <= text.count("\n") + 1


@given(st.text(max_size=60))
def test_never_raises_on_any_text(text: str) -> None:
    assert Lines(text).line(("a",)) >= 1


@pytest.mark.parametrize("text", ["a = " + "[" * 50_000, "a = " + "{a=" * 50_000, "a." * 20_000])
def test_depth_is_bounded(text: str) -> None:
    assert Lines(text).line(("a", 0)) == 1
