"""Addresses of backends, and what Twisted makes of endpoint strings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from revproxy.config.check_endpoints import check_client_endpoint, check_server_endpoint
from revproxy.config.endpoints import (
    backend_authority,
    client_endpoint,
    endpoint_address,
    split_endpoint,
    stream_endpoint,
)


@pytest.mark.parametrize(
    ("text", "endpoint", "authority"),
    [
        ("tcp:127.0.0.1:9000", "tcp:127.0.0.1:9000", "127.0.0.1:9000"),
        ("tcp:host=h:port=80", "tcp:host=h:port=80", "h"),
        ("tcp:host=h:81", "tcp:host=h:81", "h:81"),
        ("unix:/run/x.sock", "unix:/run/x.sock", "localhost"),
        ("unix:8080", "unix:8080", "localhost"),
        ("tls:host:443", "tls:host:443", "host"),
        ("ssl:host:8443:caCertsDir=/x", "ssl:host:8443:caCertsDir=/x", "host:8443"),
        ("onion:abc.onion:80", "onion:abc.onion:80", "abc.onion:80"),
        ("localhost:9000", "tcp:localhost:9000", "localhost:9000"),
        ("localhost:80", "tcp:localhost:80", "localhost"),
        ("[::1]:9000", r"tcp:\:\:1:9000", "[::1]:9000"),
        ("http://h", "tcp:h:80", "h"),
        ("http://h:8080/", "tcp:h:8080", "h:8080"),
        ("HTTP://[::1]", r"tcp:\:\:1:80", "[::1]"),
        ("https://h", "tls:h:443", "h"),
        ("https://h:444", "tls:h:444", "h:444"),
    ],
)
def test_addresses(text: str, endpoint: str, authority: str) -> None:
    assert client_endpoint(text) == endpoint
    assert backend_authority(text) == authority


def test_twisted_reads_the_escapes() -> None:
    reactor = MemoryReactorClock()
    clientFromString(reactor, client_endpoint("[::1]:9000")).connect(Factory())
    assert reactor.tcpClients[0][:2] == ("::1", 9000)


def test_endpoint_strings_are_split_as_twisted_does() -> None:
    quoted = quoteStringArgument("a:\\b")
    assert split_endpoint(f"X:{quoted}:k={quoted}=:w") == ("x", ["a:\\b", "w"], {"k": "a:\\b="})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", '"" is not an address; write an endpoint such as "tcp:127.0.0.1:9000"'),
        ("localhost", '"localhost" has no port; write "tcp:localhost:80" or "localhost:80"'),
        ("::1:80", '"::1:80" is not an address; an IPv6 address is written "[::1]:9000"'),
        ("[::g]:80", '"[::g]:80" is not an address; write "host:port" or "[::1]:port"'),
        ("[1:2]:80", '"[1:2]:80" has a malformed IPv6 address'),
        ("[::1]", '"[::1]" has no port; write "[::1]:80"'),
        ("h:0", '"h:0" has a port that does not exist; ports go from 1 to 65535'),
        ("http://h:99999", '"http://h:99999" has a port that does not exist; ports go from 1 to 65535'),
        (
            "http://h/x",
            '"http://h/x" has a path; write "http://h" here and the path in the route\'s rewrite.add_prefix',
        ),
        ("http://u@h", '"http://u@h" has a user name; a backend\'s address has only a host and a port'),
        ("ftp://h", '"ftp://h" is not an address; only "http://" and "https://" addresses are taken'),
        ("tcp:8080", '"tcp:8080" lacks a host or a port; write "tcp:HOST:PORT"'),
        ("tcp:h:x", '"tcp:h:x" has a bad port "x"; a port is a number from 1 to 65535'),
        ("tcp:h:1:2:3", '"tcp:h:1:2:3" has too few, too many or unknown arguments; write "tcp:HOST:PORT"'),
        ("tcp:h:1:tmeout=3", '"tcp:h:1:tmeout=3" has too few, too many or unknown arguments; write "tcp:HOST:PORT"'),
        (
            "tlss:h:1:2",
            (
                '"tlss:h:1:2" has an unknown endpoint type "tlss"; known are "ssl", "tcp", "tls" and "unix"; '
                'did you mean "tls"?'
            ),
        ),
        ("unix:", '"unix:" has no path; write "unix:PATH"'),
        (
            "tls:h:1:certificate=/no/file",
            '"tls:h:1:certificate=/no/file" can\'t be used: no such file or directory: "/no/file"',
        ),
        (
            r"tls:\:\:1:443",
            r'''"tls:\\:\\:1:443" can't be used: a "tls:" endpoint takes no IPv6 address; write "https://[…]:PORT"''',
        ),
        (
            "tcp:[::1]:80",
            '"tcp:[::1]:80" has an IPv6 address in brackets; write "[::1]:PORT", or escape it: "tcp:\\:\\:1:PORT"',
        ),
        ("tcp:a b:80", '"tcp:a b:80" has white space in the host'),
    ],
)
def test_wrong_backends(text: str, why: str) -> None:
    assert check_client_endpoint(text) == why


@pytest.mark.parametrize(
    "text", ["tcp:h:1", "h:1", "[::1]:1", "unix:/x", "tls:h:443", "https://h", "https://[::1]", "tcp:h:1:timeout=3"]
)
def test_right_backends(text: str) -> None:
    assert check_client_endpoint(text) is None


SERVER_TYPES = 'known are "haproxy", "revproxy-tls", "ssl", "stdio", "systemd", "tcp", "tcp6", "tls" and "unix"'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("8080", '"8080" is not an endpoint; did you mean "tcp:8080"?'),
        (":8080", '":8080" is not an endpoint; did you mean "tcp:8080"?'),
        ("127.0.0.1:80", '"127.0.0.1:80" is not an endpoint; did you mean "tcp:80:interface=127.0.0.1"?'),
        ("[::1]:80", r'"[::1]:80" is not an endpoint; did you mean "tcp6:80:interface=\\:\\:1"?'),
        ("tcp", '"tcp" has no port; write "tcp:PORT"'),
        ("tcp:http", '"tcp:http" has a bad port "http"; a port is a number from 0 to 65535'),
        ("tcp:65536", '"tcp:65536" has a bad port "65536"; a port is a number from 0 to 65535'),
        ("TCP:80", f'"TCP:80" has an unknown endpoint type "TCP"; {SERVER_TYPES}; did you mean "tcp"?'),
        ("onion:80", f'"onion:80" has an unknown endpoint type "onion"; {SERVER_TYPES}'),
        ("tcp:80:x=1", '"tcp:80:x=1" has too few, too many or unknown arguments; write "tcp:PORT"'),
        ("ssl:443:privateKey=/no", '"ssl:443:privateKey=/no" can\'t be used: no such file or directory: "/no"'),
        ("tls:/no:443", '"tls:/no:443" names a folder of certificates that does not exist: "/no"'),
        ("unix", '"unix" has no path; write "unix:PATH"'),
        (
            r"revproxy-tls:certificates=/no:tcp\:443",
            r'"revproxy-tls:certificates=/no:tcp\\:443" names a folder of certificates that does not exist: "/no"',
        ),
        (
            "revproxy-tls:certificates=.:tcp:443",
            '"revproxy-tls:certificates=.:tcp:443" can\'t be used: it takes one endpoint, with its colons escaped, '
            r'such as tcp\:443; write "revproxy-tls:certificates=FOLDER:tcp\\:PORT"',
        ),
        (
            r"revproxy-tls:certificate=.:tcp\:443",
            r'"revproxy-tls:certificate=.:tcp\\:443" can' + "'t be used: "
            'unknown argument "certificate"; did you mean '
            r'"certificates"?; write "revproxy-tls:certificates=FOLDER:tcp\\:PORT"',
        ),
    ],
)
def test_wrong_listeners(text: str, why: str) -> None:
    assert check_server_endpoint(text) == why


def test_wrong_key_file(tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    pem.write_text("no key")
    text = f"ssl:443:privateKey={pem}"
    why = check_server_endpoint(text)
    assert why is not None
    assert "names a certificate or key that can't be read as PEM" in why


@pytest.mark.parametrize(
    "text",
    [
        "tcp:0",
        "tcp:80:interface=127.0.0.1",
        "tcp6:80",
        "unix:/x:mode=660",
        "haproxy:tcp:80",
        r"revproxy-tls:certificates=.:tcp\:443",
        r"revproxy-tls:certificates=.:tcp\:443\:interface=127.0.0.1\:backlog=5",
        r"revproxy-tls:certificates=.:tcp\:443\:interface\=127.0.0.1",
        r"revproxy-tls:certificates=.:strictSni=yes:profile=modern:tickets=1h:handshakeTimeout=5s:tcp6\:443",
        "systemd:domain=INET:index=0",
    ],
)
def test_right_listeners(text: str) -> None:
    assert check_server_endpoint(text) is None


def test_checking_chooses_no_reactor() -> None:
    code = (
        "import sys; from revproxy.config.check_endpoints import *; check_server_endpoint('tls:/no:1');"
        "check_server_endpoint('tcp6:1'); check_client_endpoint('tls:h:1');"
        "sys.exit('twisted.internet.reactor' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("text", "endpoint", "tls"),
    [
        ("https://h", "tcp:h:443", True),
        ("HTTPS://[::1]:8443", r"tcp:\:\:1:8443", True),
        ("http://h", "tcp:h:80", False),
        ("h:443", "tcp:h:443", False),
        ("tls:h:443", "tls:h:443", False),
        ("unix:/x", "unix:/x", False),
    ],
)
def test_streams_below_tls(text: str, endpoint: str, tls: bool) -> None:
    assert stream_endpoint(text) == (endpoint, tls)


@pytest.mark.parametrize(
    ("text", "authority"),
    [("h:443", "h"), ("h:80", "h:80"), ("https://h:80", "h:80"), ("unix:/x", "localhost"), ("[::1]:443", "[::1]")],
)
def test_authorities_beside_a_tls_table(text: str, authority: str) -> None:
    assert backend_authority(text, True) == authority


@pytest.mark.parametrize(
    ("endpoint", "found"),
    [
        (r"tcp:\:\:1:80", ("::1", 80)),
        ("tcp:host=h:port=80", ("h", 80)),
        ("unix:/run/x:80", None),
        ("onion:abc.onion:80", ("abc.onion", 80)),
        ("tcp:h:http", None),
    ],
)
def test_hosts_of_endpoints(endpoint: str, found: tuple[str, int] | None) -> None:
    assert endpoint_address(endpoint) == found
