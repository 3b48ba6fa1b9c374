"""``compress`` tables, read as the structurer reads them."""

from __future__ import annotations

import pytest

from revproxy.coding.decide import compile_compression
from revproxy.config.coding import TYPES, Compress
from revproxy.config.structure import Structurer


def read(**written: object) -> tuple[Compress, list[str]]:
    structurer = Structurer()
    made = structurer.table(Compress, written, ("compress",))
    return made, [f"{'.'.join(map(str, item.key))}: {item.text}" for item in structurer.problems]


def test_levels_are_those_named() -> None:
    made, problems = read(gzip=5, br=4)
    assert not problems and made.levels == {"gzip": 5, "br": 4}
    assert made.minimum == 1024 and made.types == TYPES


def test_nothing_named_is_everything() -> None:
    made, problems = read(minimum="4KB", types=["Text/HTML", "*+JSON", "image/*"])
    assert not problems and made.levels == {}
    assert made.minimum == 4096 and made.types == ("text/html", "*+json", "image/*")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gzip", 0), ("gzip", 10), ("gzip", True), ("br", 12), ("br", -1), ("zstd", 0), ("zstd", 20), ("zstd", "1"),
        ("deflate", 1), ("minimum", "big"), ("types", "html"), ("types", "*/*"), ("types", "*+"),
        ("types", "text/html; charset=utf-8"),
    ],
)  # fmt: skip
def test_what_is_refused(key: str, value: object) -> None:
    _, problems = read(**{key: value})
    assert len(problems) == 1 and problems[0].startswith(f"compress.{key}")


def test_the_default_types_are_ones_that_may_be_written() -> None:
    made, problems = read(types=list(TYPES))
    assert not problems and made.types == TYPES
    assert compile_compression(Compress(gzip=1)).kind(b"application/vnd.api+json")
