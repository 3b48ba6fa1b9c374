"""How each proxy is started: one process or thread, no access log, backend connections kept.

Rules of this module:

* a proxy is a function from a :class:`Place` to a command line and what to add to the environment;
* all are configured alike; nothing is tuned for one that the others do not get.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from revproxy.bench.load import ADDRESS, SMALL

Start = tuple[list[str], Mapping[str, str]]


@frozen
class Place:
    """Where a proxy runs: its ``folder``, its ``port``, the origins' ports, by kind of work."""

    folder: Path
    port: int
    origin: int
    upload_origin: int

    def write(self, name: str, text: str) -> str:
        """Write a file into the folder; returns its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


def find(command: str) -> str | None:
    """The path of a command, or ``None``; looks in the folders for daemons, too."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return shutil.which(command, path=path)


def python(module: str, *arguments: str) -> Start:
    """A module of the package that this one is part of, wherever that is."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return [sys.executable, "-m", module, *arguments], {"PYTHONPATH": path}


def revproxy(place: Place) -> Start:
    """``revproxy run``, of the package that this module is part of."""
    config = place.write(
        "revproxy.toml",
        f"""
[access_log]
enabled = false
[[listen]]
endpoint = "tcp:{place.port}:interface={ADDRESS}:backlog=1024"
[upstreams.origin]
backends = ["tcp:{ADDRESS}:{place.origin}"]
[upstreams.upload]
backends = ["tcp:{ADDRESS}:{place.upload_origin}"]
[[routes]]
upstream = "origin"
[[routes]]
match = {{ path = "/upload" }}
upstream = "upload"
""",
    )
    return python("revproxy.cli", "run", "--config", config)


def _nginx_files(folder: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    user = "user root; " if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    return f"""{user}worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off; tcp_nodelay on; sendfile on; keepalive_requests 100000000; keepalive_timeout 900s;
  client_max_body_size 0; {temporary}"""


def nginx(place: Place) -> Start:
    """nginx, with bodies streamed, not kept in files."""
    config = f"""{_nginx_files(place.folder)}
  proxy_request_buffering off; proxy_max_temp_file_size 0;
  upstream origin {{ server {ADDRESS}:{place.origin}; keepalive 256; keepalive_requests 100000000; }}
  upstream upload {{ server {ADDRESS}:{place.upload_origin}; keepalive 256; keepalive_requests 100000000; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
  server {{
    listen {ADDRESS}:{place.port} backlog=1024;
    location / {{ proxy_pass http://origin; }}
    location = /upload {{ proxy_pass http://upload; }}
  }}
}}
"""
    return [find("nginx") or "nginx", "-p", str(place.folder), "-c", place.write("nginx.conf", config)], {}


def haproxy(place: Place) -> Start:
    """HAProxy, one thread."""
    config = f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 900s
  timeout server 900s
  http-reuse always
frontend f
  bind {ADDRESS}:{place.port} backlog 1024
  use_backend upload if {{ path /upload }}
  default_backend origin
backend origin
  server s {ADDRESS}:{place.origin} pool-max-conn 256
backend upload
  server s {ADDRESS}:{place.upload_origin} pool-max-conn 256
"""
    return [find("haproxy") or "haproxy", "-db", "-f", place.write("haproxy.cfg", config)], {}


def caddy(place: Place) -> Start:
    """Caddy, one processor."""

    def to(port: int) -> dict[str, object]:
        keep = {"enabled": True, "max_idle_conns": 512, "max_idle_conns_per_host": 512, "idle_timeout": "60s"}
        transport = {"protocol": "http", "compression": False, "keep_alive": keep}
        return {"handler": "reverse_proxy", "upstreams": [{"dial": f"{ADDRESS}:{port}"}], "transport": transport}

    server = {
        "listen": [f"{ADDRESS}:{place.port}"],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "routes": [
            {"match": [{"path": ["/upload"]}], "handle": [to(place.upload_origin)], "terminal": True},
            {"handle": [to(place.origin)]},
        ],
    }
    config = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"servers": {"s": server}}},
    }
    home = str(place.folder)
    environment = {"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
    return [find("caddy") or "caddy", "run", "--config", place.write("caddy.json", json.dumps(config))], environment


#: Every proxy there is a way to start, in the order of the table.
PROXIES: dict[str, Callable[[Place], Start]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
    "revproxy": revproxy,
}


def installed() -> list[str]:
    """Names of the proxies that can be started here."""
    return [name for name in PROXIES if name == "revproxy" or find(name)]


def own_origin(port: int) -> Start:
    """The origin that comes along."""
    return python("revproxy.bench.origin", str(port))


def nginx_origin(folder: Path, port: int, big: int) -> Start:
    """nginx as the origin, which costs the load's core less; ``big`` is the size of ``/big`` in bytes."""
    with open(folder / "big", "wb") as file:
        file.truncate(big)
    config = f"""{_nginx_files(folder)}
  default_type text/plain;
  server {{
    listen {ADDRESS}:{port} backlog=1024; root {folder};
    location = /small {{ return 200 "{"x" * SMALL}"; }}
  }}
}}
"""
    (folder / "origin.conf").write_text(config)
    return [find("nginx") or "nginx", "-p", str(folder), "-c", str(folder / "origin.conf")], {}
