"""What the integration tests share as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Return what starts processes; all of them end with the test, and none may have written a traceback."""
    stage = Stage(tmp_path)
    yield stage
    stage.close()
