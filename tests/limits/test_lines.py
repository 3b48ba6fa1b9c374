"""A bound on lines of one kind."""

from __future__ import annotations

from typing import Any

from revproxy.limits.lines import LINES, Lines


class _Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str, **values: Any) -> None:
        self.lines.append(text.format(**values))


def test_so_many_a_second_and_a_count_of_the_rest() -> None:
    log = _Log()
    lines = Lines("{n} more", log)
    assert [lines.allow(5.0) for _ in range(LINES + 7)].count(True) == LINES
    assert log.lines == []
    assert lines.allow(6.0)
    assert log.lines == ["7 more"]
    assert [lines.allow(7.5) for _ in range(LINES)].count(True) == LINES
    assert lines.allow(9.0)
    assert log.lines == ["7 more"]
