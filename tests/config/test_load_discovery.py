"""What is written about finding backends, and the files in which they are listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from revproxy.config.endpoints import host_and_port, name_server
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_members, load_text
from revproxy.config.model import Backend

TEXT = """\
[[listen]]
endpoint = "tcp:8080"
[upstreams.api]
{line}
[[routes]]
upstream = "api"
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('dns = "api"', 'dns.name: "api" has no port; write "api:80"'),
        ('dns = "api:70000"', 'dns.name: "api:70000" has a port that does not exist; ports go from 1 to 65535'),
        ('dns = "tcp:api:80"', 'dns.name: "tcp:api:80" is not an address; write "host:port" or "[::1]:port"'),
        ('dns = "http://api"', 'dns.name: "http://api" is not an address; write "host:port" or "[::1]:port"'),
        ('dns = "a b:80"', 'dns.name: "a b" is not a host; write a name such as "example.com"'),
        ('srv = "a b"', 'srv.name: "a b" is not a host; write a name such as "example.com"'),
        (
            'srv = { name = "_http._tcp.api", servers = "ns.internal" }',
            'srv.servers: "ns.internal" is not the address of a name server; write one such as "10.0.0.53"',
        ),
        (
            'dns = { name = "api:80", servers = ["::1", "10.0.0.53:0"] }',
            'dns.servers[1]: "10.0.0.53:0" has a port that does not exist; ports go from 1 to 65535',
        ),
        (
            'dns = { name = "api:80", at_least = "10m" }',
            "dns.at_least: is longer than at_most; an answer is used for a time between the two",
        ),
    ],
)
def test_what_can_not_be_asked(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(TEXT.format(line=line), source="F")
    assert str(caught.value) == f"F:4: upstreams.api.{message}"


@pytest.mark.parametrize(
    "name", ["api:9000", "api.internal.:9000", "[::1]:80", "10.0.0.1:80", "bücher:1", "localhost:1"]
)
def test_names_that_can(name: str) -> None:
    config = load_text(TEXT.format(line=f'dns = "{name}"'))
    assert config.upstreams["api"].dns is not None


def test_hosts_and_servers() -> None:
    assert host_and_port("[::1]:80") == ("::1", 80)
    assert host_and_port("a.b.:80") == ("a.b.", 80)
    assert name_server("10.0.0.53") == ("10.0.0.53", 53)
    assert name_server("10.0.0.53:5353") == ("10.0.0.53", 5353)
    assert name_server("fd00::53") == ("fd00::53", 53)
    assert name_server("[fd00::53]") == ("fd00::53", 53)
    assert name_server("[fd00::53]:5353") == ("fd00::53", 5353)


@pytest.mark.parametrize("text", ["", "a", "10.0.0", "10.0.0.53:x", "10.0.0.53:", "[x]:1", ":::", "fd00::53%eth0/x"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError):
        name_server(text)


def test_members_are_written_as_in_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "members.toml"
    path.write_text(
        'backends = ["10.0.0.1:9000"]\n'.replace("]", ', { endpoint = "unix:/x", weight = 2, backup = 3 }]'),
        "utf-8-sig",
    )
    assert load_members(path) == (Backend(endpoint="10.0.0.1:9000"), Backend(endpoint="unix:/x", weight=2, backup=3))
    path.write_text('backends = "10.0.0.1:9000"')
    assert load_members(path) == (Backend(endpoint="10.0.0.1:9000"),)


def test_mistakes_in_members_are_said_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "members.toml"
    path.write_text(
        'backends = [\n"tcp:a:1",\n{ endpoint = "tcp:b:1", wieght = 2 },\n"tpc:c:1",\n]\nbalance = "hash"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_members(path)
    assert [str(error).removeprefix(str(path)) for error in caught.value.errors] == [
        ':3: backends[1].wieght: unknown key; did you mean "weight"?',
        ':4: backends[2]: "tpc:c:1" has an unknown endpoint type "tpc"; known are "ssl", "tcp", "tls" and "unix"; '
        'did you mean "tcp"?',
        ":6: balance: unknown key",
    ]


def test_a_pipe_is_no_file_of_members(tmp_path):
    import os

    from revproxy.config.load import load_members

    os.mkfifo(tmp_path / "members.toml")
    with pytest.raises(ConfigError, match="no regular file"):
        load_members(tmp_path / "members.toml")
