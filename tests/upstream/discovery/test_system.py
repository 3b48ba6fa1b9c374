"""The hosts file and ``resolv.conf(5)``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from revproxy.upstream.discovery.system import System, parse_resolv_conf, read_system

LOCAL = (("127.0.0.1", 53),)


def test_what_a_cluster_writes() -> None:
    text = "search shop.svc.cluster.local svc.cluster.local cluster.local.\nnameserver 10.96.0.10\noptions ndots:5\n"
    assert parse_resolv_conf(text) == System(
        (("10.96.0.10", 53),), ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", System(LOCAL)),
        ("# nameserver 10.0.0.1\n; nameserver 10.0.0.2\n", System(LOCAL)),
        ("nameserver\nnameserver x\nnameserver fe80::1%eth0", System((("fe80::1%eth0", 53),))),
        ("".join(f"nameserver 10.0.0.{n}\n" for n in range(5)), System(tuple((f"10.0.0.{n}", 53) for n in range(3)))),
        ("search a b c d e f g", System(LOCAL, ("a", "b", "c", "d", "e", "f"))),
        ("domain a b\n", System(LOCAL, ("a",))),
        ("search a\ndomain b\n", System(LOCAL, ("b",))),
        ("search . é\n", System(LOCAL)),
        ("options rotate ndots:99 timeout:1", System(LOCAL, (), 15)),
        ("options ndots:x ndots:", System(LOCAL)),
    ],
)
def test_lines(text: str, expected: System) -> None:
    assert parse_resolv_conf(text) == expected


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_something(text: str) -> None:
    for words in ("", "nameserver ", "search ", "options ndots:"):
        assert parse_resolv_conf(words + text).servers


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("api", ["api.a", "api.b.c", "api"]),
        ("api.x", ["api.x.a", "api.x.b.c", "api.x"]),
        ("api.x.y", ["api.x.y", "api.x.y.a", "api.x.y.b.c"]),
        ("api.", ["api"]),
        ("x" * 251, ["x" * 251 + ".a", "x" * 251]),
        ("x" * 252, ["x" * 252]),
    ],
)
def test_candidates(name: str, expected: list[str]) -> None:
    assert System(LOCAL, ("a", "b.c"), 2).candidates(name) == expected


def test_files_of_this_machine(tmp_path: Path) -> None:
    hosts, conf = tmp_path / "hosts", tmp_path / "resolv.conf"
    assert read_system("api", str(hosts), str(conf)) == System(LOCAL)
    hosts.write_text("10.0.0.1 api.internal API # api2\n::1 api\n10.0.0.1 api\nx api\n")
    conf.write_text("nameserver 10.0.0.53\n")
    assert read_system("api", str(hosts), str(conf)) == System((), hosts=("10.0.0.1", "::1"))
    assert read_system("api.", str(hosts), str(conf)).hosts == ("10.0.0.1", "::1")
    assert read_system("api2", str(hosts), str(conf)) == System((("10.0.0.53", 53),))


@pytest.mark.parametrize("name", ["localhost", "LocalHost.", "a.localhost"])
def test_localhost_never_leaves_the_machine(tmp_path: Path, name: str) -> None:
    assert read_system(name, str(tmp_path / "none"), str(tmp_path / "none")).hosts == ("127.0.0.1",)
