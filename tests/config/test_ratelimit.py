"""``rate_limit`` tables, read as the structurer reads them."""

from __future__ import annotations

import pytest

from revproxy.config.ratelimit import RateLimit
from revproxy.config.structure import Structurer
from revproxy.config.units import Requests, parse_requests
from tests.kit import load, toml


def read(written: object) -> tuple[RateLimit, list[str]]:
    structurer = Structurer()
    made = structurer.table(RateLimit, written, ("rate_limit",))
    return made, [f"{'.'.join(map(str, item.key))}: {item.text}" for item in structurer.problems]


@pytest.mark.parametrize(
    ("text", "number", "seconds"),
    [("1/s", 1, 1), ("20/m", 20, 60), ("1000/h", 1000, 3600), ("1000000000/d", 10**9, 86400)],
)
def test_rates_of_requests(text: str, number: int, seconds: int) -> None:
    rate = parse_requests(text)
    assert (rate.number, rate.seconds) == (number, seconds)


@pytest.mark.parametrize(
    "text", ["", "1", "0/s", "1.5/s", "-1/s", "1/S", "1/ms", "1KB/s", "1000000001/s", "1/s ", "١/s"]
)
def test_what_is_no_rate_of_requests(text: str) -> None:
    with pytest.raises(ValueError):
        parse_requests(text)


def test_the_short_form_and_the_python_api_say_the_same() -> None:
    assert read("100/s") == (RateLimit(rate="100/s"), [])
    assert RateLimit(rate="100/s").rate == Requests(100, "second")
    with pytest.raises(ValueError):
        RateLimit(rate="fast")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rate", 5), ("rate", "1MB/s"), ("burst", 0), ("by", "x"), ("by", "header:"), ("by", ""), ("missing", "off"),
        ("ipv4", 0), ("ipv4", 33), ("ipv6", 129), ("delay", 2), ("waiting", 0), ("status", 399),
        ("hits", "no"), ("fields", "on"), ("keys", 0), ("name", ""), ("name", 'a"b'), ("name", "x" * 65),
    ],
)  # fmt: skip
def test_what_is_refused(key: str, value: object) -> None:
    _, problems = read({"rate": "1/s", key: value})
    assert len(problems) == 1 and problems[0].startswith(f"rate_limit.{key}")


@pytest.mark.parametrize(
    "by", ["client", "route", "client_certificate", "path", "header:x-key", "cookie:sid", "query:k", "a.b:c"]
)
def test_what_may_be_counted_by(by: str) -> None:
    assert read({"rate": "1/s", "by": by}) == (RateLimit(rate="1/s", by=by), [])


def test_lists_and_the_server() -> None:
    config = load(toml('rate_limit = ["10/s", "100/m"]', route='upstream = "app"\nrate_limit = "1/s"'))
    assert [limit.rate.number for limit in config.server.rate_limit] == [10, 100]
    assert config.routes[0].rate_limit == (RateLimit(rate="1/s"),)
