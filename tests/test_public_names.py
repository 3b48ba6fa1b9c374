"""The names that ``revproxy`` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import revproxy


def test_each_name_is_there() -> None:
    for name in revproxy.__all__:
        assert getattr(revproxy, name) is not None
        assert name in dir(revproxy)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="'Nothing'"):
        revproxy.Nothing  # noqa: B018  # asking is the test


def test_the_package_alone_imports_no_twisted() -> None:
    code = "import sys, revproxy, revproxy.http.h1; sys.exit('twisted' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
