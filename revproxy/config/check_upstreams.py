"""What has to agree in the tables of upstreams, and in the routes that retry and split.

The rules are those of :mod:`revproxy.config.check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from revproxy.config.check_endpoints import check_client_endpoint
from revproxy.config.endpoints import (
    TLS_TYPES,
    backend_authority,
    client_endpoint,
    endpoint_address,
    host_and_port,
    name_server,
    split_endpoint,
    stream_endpoint,
)
from revproxy.config.errors import Key, Wrong, show
from revproxy.config.hosts import host_name
from revproxy.config.structure import Found
from revproxy.config.upstreams import Backend, BackendTls, Dns, Hashing, HealthCheck, Retry, Srv, Upstream
from revproxy.upstream.retry import IDEMPOTENT

#: Where backends come from, beside the list of those written.
SOURCES = ("dns", "srv", "file")


def check_upstreams(upstreams: Mapping[str, Upstream], base: str) -> Iterator[Found]:
    """Problems of every upstream. ``base`` is the folder that relative paths start from."""
    for name, upstream in upstreams.items():
        key: Key = ("upstreams", name)
        sources = [source for source in SOURCES if getattr(upstream, source) is not None]
        yield from check_backends((*key, "backends"), upstream.backends, bool(sources))
        if upstream.hash != Hashing() and upstream.balance != "hash":
            yield Found(
                (*key, "hash"), f'has no meaning with balance = {show(upstream.balance)}; write balance = "hash"'
            )
        if upstream.passive is not None and any(status < 400 for status in upstream.passive.statuses):
            yield Found((*key, "passive", "statuses"), "a status below 400 is no failure; write some from 400 to 599")
        if upstream.health is not None:
            yield from _health((*key, "health"), upstream.health)
            if upstream.health.type == "tls" and upstream.tls is None:
                for index, backend in enumerate(upstream.backends):
                    if not backend.endpoint.lower().startswith(("https:", "tls:", "ssl:")):
                        text = f"{show(backend.endpoint)} is without TLS, and its health check wants a TLS handshake"
                        yield Found((*key, "backends", index), text)
        if upstream.tls is not None:
            yield from _tls((*key, "tls"), upstream.tls, base)
        for index, backend in enumerate(upstream.backends):
            written = backend.endpoint
            if written and check_client_endpoint(written) is None and (why := _contradiction(written, upstream)):
                yield Found((*key, "backends", index), why, found=show(written))
        if upstream.file and not _is_file(base, upstream.file):
            yield Found((*key, "file"), f"no file {show(upstream.file)}", found=show(upstream.file))
        if upstream.dns is not None:
            yield from _asked((*key, "dns"), upstream.dns)
        if upstream.srv is not None:
            yield from _asked((*key, "srv"), upstream.srv)


def _is_file(base: str, name: str) -> bool:
    try:
        return Path(base, name).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def check_backends(key: Key, backends: tuple[Backend, ...], more: bool = False) -> Iterator[Found]:
    """Problems of a list of backends; ``more`` says that others are found elsewhere."""
    if not backends:
        if not more:
            text = 'no backends; write backends = ["tcp:127.0.0.1:9000"], or where to find them: dns, srv or file'
            yield Found(key, text)
    elif all(backend.backup for backend in backends) and not more:
        yield Found(key, "all are backups; at least one has to serve without backup = true")
    seen: dict[str, int] = {}
    for index, backend in enumerate(backends):
        if not backend.endpoint:
            continue
        if (why := check_client_endpoint(backend.endpoint)) is not None:
            yield Found((*key, index), why, found=show(backend.endpoint))
            continue
        address = client_endpoint(backend.endpoint)
        if address in seen:
            text = f"{show(backend.endpoint)} is there twice, here and as number {seen[address]}; use weight"
            yield Found((*key, index), text, found=show(backend.endpoint))
        seen.setdefault(address, index)


def _asked(key: Key, source: Dns | Srv) -> Iterator[Found]:
    if source.name:
        try:
            host = host_and_port(source.name)[0] if isinstance(source, Dns) else source.name
            if isinstance(source, Srv) and ":" in host:
                raise ValueError(f"{show(host)} has a port; SRV records say the ports themselves")
            host_name(f"[{host}]" if ":" in host else host)
        except (ValueError, Wrong) as error:
            yield Found((*key, "name"), str(error), found=show(source.name))
    for index, server in enumerate(source.servers):
        try:
            name_server(server)
        except ValueError as error:
            found: Key = (*key, "servers", *([index] if len(source.servers) > 1 else []))
            yield Found(found, str(error), found=show(server))
    if source.at_least > source.at_most:
        yield Found((*key, "at_least"), "is longer than at_most; an answer is used for a time between the two")


def _health(key: Key, health: HealthCheck) -> Iterator[Found]:
    if health.type != "http":
        default = HealthCheck()
        for name in ("path", "method", "host", "headers", "status", "body"):
            if getattr(health, name) != getattr(default, name):
                yield Found((*key, name), f'has no meaning with type = {show(health.type)}; it is for "http"')
    if not health.status:
        yield Found((*key, "status"), 'is empty, so that nothing could pass; write a status such as 200, or "200-399"')
    if health.body is not None:
        try:
            re.compile(health.body.encode("utf-8"))
        except re.error as e:
            yield Found((*key, "body"), f"{show(health.body)} can't be looked for in bytes: {e}")
    if health.timeout is not None and health.timeout > health.interval:
        yield Found((*key, "timeout"), "is longer than the interval; checks of a backend don't overlap")
    if health.method in ("HEAD", "CONNECT") and health.body is not None:
        yield Found((*key, "body"), f"the answer to {health.method} has no body; leave one of them out")


def _contradiction(written: str, upstream: Upstream) -> str | None:
    """What an address says about TLS that the tables beside it don't, or ``None``."""
    endpoint = stream_endpoint(written)[0]
    found = endpoint_address(endpoint)
    tls = upstream.tls
    if split_endpoint(endpoint)[0] in TLS_TYPES:
        instead = show("https://…" if found is None else f"https://{backend_authority(written)}")
        if tls is not None:
            return f'{show(written)} brings its own TLS, which a "tls" table can\'t change; write {instead}'
        if upstream.proxy_protocol is not None:
            return f"{show(written)} brings its own TLS, and proxy_protocol comes before TLS begins; write {instead}"
    elif tls is not None:
        if written.lower().startswith("http://"):
            return f'{show(written)} is without TLS, and there is a "tls" table; write {show("https" + written[4:])}'
        if found is None and tls.name is None and not tls.insecure:
            return f'{show(written)} has no host that its certificate could be for; write name = "…" in "tls"'
    return None


def _tls(key: Key, tls: BackendTls, base: str) -> Iterator[Found]:
    for name in ("ca", "certificate", "key"):
        file = getattr(tls, name)
        if file and not _is_file(base, file):
            yield Found((*key, name), f"no file {show(file)}", found=show(file))
    if tls.key is not None and tls.certificate is None:
        yield Found((*key, "key"), 'is for a certificate; write "certificate", too')
    if tls.insecure and (tls.ca is not None or tls.name is not None):
        other = "ca" if tls.ca is not None else "name"
        yield Found((*key, "insecure"), f"takes any certificate, and {show(other)} asks for a right one; keep one")


def check_retry(key: Key, retry: Retry) -> Iterator[Found]:
    """Problems of a route's ``retry`` table."""
    for index, method in enumerate(retry.methods):
        if method.encode() not in IDEMPOTENT:
            found: Key = (*key, "methods", *([index] if len(retry.methods) > 1 else []))
            yield Found(found, f"{show(method)} is not idempotent: it is repeated only when nothing was sent")
