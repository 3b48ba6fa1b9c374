"""Regular expressions for paths: one with what no path has would never match, and is refused with what is right."""

from __future__ import annotations

import re

import pytest

from revproxy.config.errors import ConfigError, Wrong
from revproxy.config.load import load_text
from revproxy.config.patterns import compile_path_regex
from revproxy.http.target import normalise_path
from tests.kit import toml


@pytest.mark.parametrize(
    ("pattern", "found", "right"),
    [
        ("^/café/", "é", "%C3%A9"),
        ("^/a b", " ", "%20"),
        ("^/a\\ b", " ", "%20"),
        (r"^/a\x20b", " ", "%20"),
        ("^/(?:x|a<)", "<", "%3C"),
        ("^/[é]", "é", "%C3%A9"),
        ("^/[а-я]+", "а", "%D0%B0"),
        ("^/(?:é)?", "é", "%C3%A9"),
        ("^/(?!é)", "é", "%C3%A9"),
        ("^/private%2fdata", "%2f", "%2F"),
        ("^/(private%2fdata)+", "%2f", "%2F"),
        ("^/%41", "%41", "A"),
        ("^/%7e", "%7e", "~"),
        ("(?i)^/%41", "%41", "A"),
        ("(?i:a)/%c3", "%c3", "%C3"),
    ],
)
def test_what_is_in_no_path_is_refused(pattern, found, right):
    with pytest.raises(Wrong) as caught:
        compile_path_regex(pattern, pattern)
    assert f'asks for "{found}", which no path has' in caught.value.text
    assert f'write "{right}" in its place' in caught.value.text


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("^/caf%C3%A9/", "/caf%c3%a9/"),
        ("(?i)^/caf%c3%a9/", "/caf%c3%a9/"),
        ("(?i:%c3%a9)", "/caf%c3%a9/"),
        ("^/[^ é]+$", "/x"),
        ("^/[^/ ]", "/x"),
        ("^/a[ -~]c", "/abc"),
        ("^/100%25$", "/100%25"),
        (r"^/a\w\d.%\w", "/a11b%20"),
        (r"\.(?:bak|sql)$", "/a.sql"),
        ("%$|x", "/x"),
    ],
)
def test_what_may_match_is_taken(pattern, path):
    compile_path_regex(pattern, pattern)
    assert re.search(pattern.encode(), normalise_path(path.encode()))


@pytest.mark.parametrize(
    ("route", "key"),
    [
        ("access.deny_paths = '~^/café'", "routes[0].access.deny_paths"),
        ("match.path = '~^/café'", "routes[0].match.path"),
        ("rewrite = { regex = '^/café', to = '/x' }", "routes[0].rewrite.regex"),
    ],
)
def test_wherever_paths_are_matched(route, key):
    with pytest.raises(ConfigError) as caught:
        load_text(toml(route=f"upstream = 'app'\n{route}"))
    assert f"{key}: " in str(caught.value) and "which no path has" in str(caught.value)
