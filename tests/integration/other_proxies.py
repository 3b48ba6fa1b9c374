"""nginx and HAProxy in front of the same backends, to compare with and to check a test's own tools against."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

from tests.integration.harness import Stage, until
from tests.integration.ports import free_port


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_nginx(stage: Stage, command: str, backends: Sequence[int]) -> int:
    """Start nginx with connections kept for backends on these ports; return its port."""
    port = free_port()
    folder = stage.folder / f"nginx{port}"
    folder.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    servers = " ".join(f"server 127.0.0.1:{backend} max_fails=0;" for backend in backends)
    (folder / "nginx.conf").write_text(
        f"""
        {"user root;" if os.geteuid() == 0 else ""}
        worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log crit;
        events {{ worker_connections 1024; }}
        http {{
            access_log off; {temporary} keepalive_requests 1000000;
            upstream b {{ {servers} keepalive 256; }}
            server {{
                listen 127.0.0.1:{port} backlog=1024;
                location / {{
                    proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection "";
                }}
            }}
        }}
        """
    )
    stage.run([command, "-p", str(folder), "-c", str(folder / "nginx.conf")], f"nginx{port}")
    until(lambda: listens(port), "nginx listens")
    return port


def start_haproxy(stage: Stage, command: str, backends: Sequence[int]) -> int:
    """Start HAProxy in front of backends on these ports; return its port.

    When a kept connection turns out closed, it closes the client's without a word, and leaves it to the client to
    repeat the request (``http-reuse safe``, its default).
    """
    port = free_port()
    servers = "\n".join(f"  server s{backend} 127.0.0.1:{backend}" for backend in backends)
    path = stage.folder / f"haproxy{port}.cfg"
    path.write_text(
        f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option redispatch
frontend f
  bind 127.0.0.1:{port} backlog 1024
  default_backend b
backend b
{servers}
"""
    )
    stage.run([command, "-db", "-f", str(path)], f"haproxy{port}")
    until(lambda: listens(port), "HAProxy listens")
    return port


STARTS: dict[str, Callable[[Stage, str, Sequence[int]], int]] = {"nginx": start_nginx, "haproxy": start_haproxy}
