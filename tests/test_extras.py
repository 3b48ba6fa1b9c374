"""The packages of the optional parts."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from revproxy.extras import PACKAGES, how_to_install

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("extra", PACKAGES)
def test_they_are_those_of_the_package_itself(extra):
    setup = ConfigParser(comment_prefixes="#", interpolation=None)
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.extras_require"][extra].split("\n")
    assert tuple(line.partition(";")[0].strip() for line in lines if line) == PACKAGES[extra]


def test_a_hint_can_be_typed():
    assert how_to_install("acme") == 'install the packages of revproxy[acme]: pip install "josepy>=2.0"'
    assert '"backports.zstd>=1.0"' in how_to_install("compress", (3, 13))
    assert "zstd" not in how_to_install("compress", (3, 14))


def test_no_hint_supposes_that_an_index_has_the_proxy():
    named = re.compile(r"pip install \S*revproxy\[")
    texts = [*(ROOT / "revproxy").rglob("*.py"), *(ROOT / "docs").glob("*.rst"), ROOT / "README.rst"]
    assert [path.name for path in texts if named.search(path.read_text())] == []
