"""Which sources a table names."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock

from revproxy.config import model
from revproxy.upstream.discovery import sources


def test_none() -> None:
    assert sources(model.Upstream(backends=(model.Backend(endpoint="tcp:a:1"),)), Clock(), ".") == []


def test_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "members.toml").write_text('backends = [{ endpoint = "tcp:b:1", backup = true }]')
    written = model.Upstream(
        dns=model.Dns(name="10.0.0.1:9000", servers=("10.0.0.53", "[::1]:5353")),
        srv=model.Srv(name="_http._tcp.api.internal", servers=("10.0.0.53",)),
        file="members.toml",
    )
    found = sources(written, Clock(), str(tmp_path))
    assert [source.name for source in found] == [
        "dns 10.0.0.1",
        "srv _http._tcp.api.internal",
        f"file {tmp_path}/members.toml",
    ]
    told: list[object] = []
    for source in (found[0], found[2]):
        source.start(told.append)
        source.stop()
    assert told == [
        (model.Backend(endpoint="tcp:10.0.0.1:9000"),),
        (model.Backend(endpoint="tcp:b:1", backup=1),),
    ]


def test_a_path_from_the_root_stays(tmp_path: Path) -> None:
    found = sources(model.Upstream(file=f"{tmp_path}/m.toml"), Clock(), "/elsewhere")
    assert found[0].name == f"file {tmp_path}/m.toml"
