"""Variables in texts."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from revproxy import variables as compiled
from revproxy.config.errors import Wrong
from revproxy.config.variables import VARIABLES, split


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("plain", [(False, "plain")]),
        ("$host", [(True, "host")]),
        ("a${host}b", [(False, "a"), (True, "host"), (False, "b")]),
        ("$scheme://$host$target", [(True, "scheme"), (False, "://"), (True, "host"), (True, "target")]),
        ("5 $$ $$$path", [(False, "5 $ $"), (True, "path")]),
        ("$http_x_tenant", [(True, "http_x_tenant")]),
        ("${cookie_my-id}", [(True, "cookie_my-id")]),
    ],
)
def test_split(text: str, parts: list[tuple[bool, str]]) -> None:
    assert split(text) == parts


@pytest.mark.parametrize(
    "text", ["$", "a$", "$ x", "${", "${}", "$-", "$nothing_like_it", "$http_", "${cookie_a b}", "$HOST"]
)
def test_refused(text: str) -> None:
    with pytest.raises(Wrong):
        split(text)


def test_the_names_are_those_that_are_compiled() -> None:
    assert VARIABLES == compiled.NAMES


@given(st.text(alphabet="$ {}ahost_p-.i", max_size=20) | st.sampled_from(["${http_a.b}", "$http_-", "${cookie_a.b}"]))
def test_what_passes_here_is_compiled(text: str) -> None:
    try:
        split(text)
    except Wrong:
        with pytest.raises(ValueError, match=r"\$|unknown"):
            compiled.compile_template(text)
    else:
        compiled.compile_template(text)


@given(st.lists(st.sampled_from(VARIABLES)), st.text().filter(lambda text: "$" not in text))
def test_parts_are_what_was_written(names: list[str], between: str) -> None:
    parts = split(between.join(f"${{{name}}}" for name in names))
    assert [name for is_variable, name in parts if is_variable] == names
    assert [text for is_variable, text in parts if not is_variable] == ([between] * (len(names) - 1) if between else [])
