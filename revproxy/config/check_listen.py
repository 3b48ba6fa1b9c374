"""What has to agree in the tables of listeners: endpoints, names, TLS, ACME, the PROXY protocol.

The rules are those of :mod:`revproxy.config.check`, but for one: the authorities' files are read, since a file of
anything else would refuse every client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from revproxy.config.check_endpoints import check_server_endpoint
from revproxy.config.endpoints import TLS_TYPES, split_endpoint
from revproxy.config.errors import Key, show
from revproxy.config.model import Acme, Config, Hsts, Listen, ListenTls
from revproxy.config.structure import Found
from revproxy.extras import how_to_install

#: hstspreload.org takes no host for less: a year, in seconds.
_PRELOADED = 365 * 86400
#: RFC 8446 4.6.1: seconds that a ticket may live.
_LONGEST_TICKET = 7 * 86400
#: Names in one certificate; the well-known authorities allow no more.
_NAMES = 100
_EMAIL = re.compile(r"[^@\s:<>]+@[^@\s:<>]+\.[^@\s:<>.]+")


def check_listeners(config: Config) -> Iterator[Found]:
    """Problems of every listener, and of routes that ask for certificates that no listener asks for."""
    if not config.listen:
        yield Found(("listen",), 'nowhere to listen; write [[listen]] with an endpoint such as "tcp:8080"')
    endpoints: dict[str, int] = {}
    names: dict[str, int] = {}
    for index, listen in enumerate(config.listen):
        key: Key = ("listen", index)
        if listen.endpoint in endpoints and not listen.endpoint.startswith("tcp:0"):  # 0: any free port
            first = f"listen[{endpoints[listen.endpoint]}]"
            yield Found((*key, "endpoint"), f"{show(listen.endpoint)} is listened on twice, here and in {first}")
        elif listen.endpoint and (why := check_server_endpoint(listen.endpoint)) is not None:
            yield Found((*key, "endpoint"), why, found=show(listen.endpoint))
        endpoints.setdefault(listen.endpoint, index)
        if listen.name is not None:
            if listen.name in names:
                yield Found((*key, "name"), f"{show(listen.name)} is also the name of listen[{names[listen.name]}]")
            names.setdefault(listen.name, index)
        yield from _protocols(key, listen)
        if listen.tls is not None:
            yield from _tls((*key, "tls"), listen.tls, config)
    if not any(listen.tls is not None and listen.tls.client is not None for listen in config.listen):
        for index, route in enumerate(config.routes):
            if route.match.client_certificate:
                text = 'no listener asks for certificates; write client = "ca.pem" in the "tls" table of one'
                yield Found(("routes", index, "match", "client_certificate"), text)


def _protocols(key: Key, listen: Listen) -> Iterator[Found]:
    """What a listener can't speak with the endpoint that it has."""
    kind = split_endpoint(listen.endpoint)[0]
    own_tls = kind in TLS_TYPES
    if own_tls and listen.tls is not None:
        text = f'{show(listen.endpoint)} brings its own TLS; beside "tls" write a plain endpoint such as "tcp:8443"'
        yield Found((*key, "tls"), text)
    if listen.http2 and listen.tls is not None:
        text = 'is for HTTP/2 without TLS; with TLS "tls.http2" is the key, which is true unless written'
        yield Found((*key, "http2"), text)
    elif listen.http2 and own_tls:
        text = f"is for HTTP/2 without TLS, and {show(listen.endpoint)} brings its own TLS; leave it out"
        yield Found((*key, "http2"), text)
    if listen.proxy_protocol:
        where: Key = (*key, "proxy_protocol")
        if kind == "unix":
            text = "names networks, and the peers of a Unix socket have no addresses; listen on a tcp endpoint"
            yield Found(where, text)
        elif kind == "haproxy":
            text = f'{show(listen.endpoint)} reads the PROXY header itself, from anybody; leave out "haproxy:"'
            yield Found(where, text)
        elif own_tls:
            text = f'{show(listen.endpoint)} brings its own TLS, and the PROXY header comes before it; write "tls"'
            yield Found(where, text)


def _tls(key: Key, tls: ListenTls, config: Config) -> Iterator[Found]:
    if tls.certificates:
        yield from _folder((*key, "certificates"), tls, config.base)
    if tls.strict_sni and tls.default is not None:
        yield Found((*key, "default"), "is for names that nothing is there for, which strict_sni refuses; keep one")
    if tls.tickets > _LONGEST_TICKET:
        yield Found((*key, "tickets"), 'is longer than clients may keep a session; write "7d" or less')
    if tls.client is not None and tls.client.ca:
        yield from _authorities((*key, "client", "ca"), tls.client.ca, config.base)
    if tls.hsts is not None:
        yield from check_hsts((*key, "hsts"), tls.hsts)
    if isinstance(tls.acme, Acme):
        yield from _acme((*key, "acme"), tls.acme, config)


def _folder(key: Key, tls: ListenTls, base: str) -> Iterator[Found]:
    folder = Path(base, tls.certificates)
    name = show(tls.certificates)
    try:
        if folder.is_dir():
            return
        if folder.exists():
            yield Found(key, f"{name} is a file; write the folder that it is in", found=name)
        elif tls.acme is None:
            yield Found(key, f"the folder {name} does not exist", found=name)
        elif not folder.parent.is_dir():
            yield Found(key, f"the folder {name} can't be made; {show(str(folder.parent))} does not exist", found=name)
    except (OSError, ValueError) as error:  # one that may not be looked at, or a name that no folder can have
        yield Found(key, f"the folder {name} can't be looked at: {error}", found=name)


def _authorities(key: Key, file: str, base: str) -> Iterator[Found]:
    # imported where it is needed: most configurations are checked without it
    from cryptography.x509 import load_pem_x509_certificates

    name = show(file)
    try:
        content = Path(base, file).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield Found(key, f"{name} can't be read: {why.lower()}", found=name)
        return
    try:
        load_pem_x509_certificates(content)
    except ValueError:
        text = f'{name} has no certificates in PEM ("-----BEGIN CERTIFICATE-----"); write a file of authorities'
        yield Found(key, text, found=name)


def check_hsts(key: Key, hsts: Hsts) -> Iterator[Found]:
    """What does not agree in a table about Strict-Transport-Security."""
    if hsts.preload and not hsts.subdomains:
        yield Found((*key, "preload"), 'needs "subdomains = true": browsers preload a host with all below it')
    if hsts.preload and hsts.max_age < _PRELOADED:
        yield Found((*key, "max_age"), 'is too little for "preload", which needs "365d" or more')


def _acme(key: Key, acme: Acme, config: Config) -> Iterator[Found]:
    if find_spec("josepy") is None:
        yield Found(key, f"needs the package josepy: {how_to_install('acme')}")
    if len(acme.names) > _NAMES:
        yield Found((*key, "names"), f"{len(acme.names)} names are too many for one certificate; {_NAMES} is the most")
    if not acme.names:
        yield Found((*key, "names"), 'is empty; write the hosts that the certificate is for: ["example.com"]')
    for index, name in enumerate(acme.names):
        where: Key = (*key, "names", *([index] if len(acme.names) > 1 else []))
        if name.startswith("*."):
            text = f"{show(name)} is a wildcard, which neither challenge can prove; write the names one by one"
            yield Found(where, text, found=show(name))
        elif _is_address(name):
            yield Found(where, f"{show(name)} is an address; write host names", found=show(name))
        elif name and name in acme.names[:index]:
            yield Found(where, f"{show(name)} is there twice", found=show(name))
    if not _is_https(acme.directory):
        text = f"{show(acme.directory)} is not the URL of an ACME directory; it begins with https://"
        yield Found((*key, "directory"), text, found=show(acme.directory))
    if acme.email is not None and not _EMAIL.fullmatch(acme.email):
        near = acme.email.removeprefix("mailto:")
        hint = f"; did you mean {show(near)}?" if _EMAIL.fullmatch(near) else '; write one such as "you@example.com"'
        yield Found((*key, "email"), f"{show(acme.email)} is not an email address{hint}", found=show(acme.email))
    if acme.ca:
        yield from _authorities((*key, "ca"), acme.ca, config.base)
    if acme.challenge == "http-01" and not any(map(_is_plain, config.listen)):
        text = (
            "the authority asks for http-01 without TLS, at port 80, and no listener is without TLS; "
            'add one, or write challenge = "tls-alpn-01"'
        )
        yield Found(key, text)


def _is_https(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme == "https" and bool(url.hostname) and url.username is None and not url.fragment


def _is_plain(listen: Listen) -> bool:
    return listen.tls is None and split_endpoint(listen.endpoint)[0] not in TLS_TYPES


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
