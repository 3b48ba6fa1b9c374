"""Addresses of backends: what people write, and the endpoint strings that Twisted reads.

Rules of this module:

* an endpoint string passes unchanged, whatever its prefix, so that any plugin works;
* ``host:port`` and ``http(s)://host[:port]`` are a kindness and become endpoint strings;
* text in, text out: whether Twisted accepts the result is asked in
  :mod:`revproxy.config.check_endpoints`.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from revproxy.config.errors import show

#: Endpoint types whose second part may be a number; anything else before one is a host.
BUILT_IN = ("tcp", "ssl", "tls", "unix")
#: Endpoint types that speak TLS themselves.
TLS_TYPES = ("ssl", "tls", "revproxy-tls")

#: Connections that may wait to be accepted; the system's own bound (``net.core.somaxconn``) applies, too.
BACKLOG = 1024

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#\\=]+))(?::([0-9]+))?")
_TOKEN = re.compile(r"((?:\\.|[^\\:=])*)(?:(=)((?:\\.|[^\\:])*))?(:|$)", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]{1,4}")


def client_endpoint(text: str) -> str:
    """The client endpoint string for an address of a backend.

    ``tcp:127.0.0.1:9000``, ``unix:/run/x.sock`` and any other endpoint string pass unchanged;
    ``host:9000``, ``[::1]:9000``, ``http://host[:port]`` and ``https://host[:port]`` are converted.

    :raises ValueError: when it is none of these; the text says what would be right.
    """
    endpoint, tls = stream_endpoint(text)
    return f"tls:{endpoint.removeprefix('tcp:')}" if tls else endpoint


def stream_endpoint(text: str) -> tuple[str, bool]:
    """The endpoint string for an address of a backend, and whether the address asks for TLS on top of it.

    ``https://host[:port]`` does; an endpoint string of a type that speaks TLS itself (:data:`TLS_TYPES`) does not.

    :raises ValueError: as :func:`client_endpoint` does.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError(f'{show(text)} is not an address; write an endpoint such as "tcp:127.0.0.1:9000"')
    url = _URL.fullmatch(text)
    if url is not None and url[1].lower() != "unix":
        scheme = url[1].lower()
        return _from_url(text, scheme, url[2]), scheme == "https"
    if text.startswith("["):
        host, port = _authority(text, text)
        return f"tcp:{_quote(host)}:{_port(text, port)}", False
    first, colon, rest = text.partition(":")
    if not colon:
        raise ValueError(f'{show(text)} has no port; write "tcp:{text}:80" or "{text}:80"')
    if not first or (rest.startswith(":") and _HEX.fullmatch(first)):
        raise ValueError(f'{show(text)} is not an address; an IPv6 address is written "[::1]:9000"')
    if rest.isascii() and rest.isdigit() and first.lower() not in BUILT_IN:
        host, port = _authority(text, text)
        return f"tcp:{_quote(host)}:{_port(text, port)}", False
    return text, False


def backend_authority(text: str, tls: bool = False) -> str:
    """What ``host = "backend"`` sends as Host: ``host:port``, without the default port.

    ``"localhost"`` where the endpoint has no host (a Unix socket, most plugins).

    :param tls: a ``tls`` table stands beside the address.
    :raises ValueError: as :func:`client_endpoint` does.
    """
    endpoint, asked = stream_endpoint(text)
    found = endpoint_address(endpoint)
    if found is None:
        return "localhost"
    host, port = found
    if ":" in host:
        host = f"[{host}]"
    kind = split_endpoint(endpoint)[0]
    default = 443 if tls or asked or kind in TLS_TYPES else 80 if kind == "tcp" else None
    return host if port == default else f"{host}:{port}"


def endpoint_address(endpoint: str) -> tuple[str, int] | None:
    """The host that an endpoint string connects to, and the port; ``None`` where it has none."""
    kind, args, options = split_endpoint(endpoint)
    host = options.get("host") or (args[0] if args else "")
    port = options.get("port") or (args[-1] if len(args) > 1 or ("host" in options and args) else "")
    if kind == "unix" or not host or not (port.isascii() and port.isdigit()):
        return None
    return host, int(port)


def host_and_port(text: str) -> tuple[str, int]:
    """The host and the port of ``host:port`` or ``[::1]:port``; an IPv6 address without its brackets.

    :raises ValueError: when it is neither; the text says what would be right.
    """
    host, port = _authority(text, text)
    return host, _port(text, port)


def name_server(text: str) -> tuple[str, int]:
    """The address and the port of a name server: ``10.0.0.53``, ``10.0.0.53:5353``, ``::1`` or ``[::1]:5353``.

    :raises ValueError: when it is none of these; a name is none, for nobody could resolve it.
    """
    host, port = (text, None) if text.count(":") > 1 and not text.startswith("[") else _authority(text, text)
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(f'{show(text)} is not the address of a name server; write one such as "10.0.0.53"') from None
    return host, _port(text, port or "53")


def server_endpoint(text: str) -> str:
    """A listener's endpoint string with what a proxy needs and Twisted leaves out: room for clients that come at once.

    Twisted's backlog of 50 makes the rest of a burst wait a second, until their SYN is sent again.
    """
    kind, _, options = split_endpoint(text)
    if kind not in ("tcp", "tcp6", "ssl", "unix", "tls") or "backlog" in options:
        return text
    return f"{text}:backlog={BACKLOG}"


def split_endpoint(text: str) -> tuple[str, list[str], dict[str, str]]:
    """An endpoint string as its lower-case type, its arguments and its named arguments, unescaped."""
    args: list[str] = []
    options: dict[str, str] = {}
    at = 0
    while (match := _TOKEN.match(text, at)) is not None:
        if match[2]:
            options[_unquote(match[1])] = _unquote(match[3])
        else:
            args.append(_unquote(match[1]))
        at = match.end()
        if not match[4]:
            break
    kind = args.pop(0).lower() if args else ""
    return kind, args, options


def _from_url(text: str, scheme: str, rest: str) -> str:
    if scheme not in ("http", "https"):
        raise ValueError(f'{show(text)} is not an address; only "http://" and "https://" addresses are taken')
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    if rest[end:] not in ("", "/"):
        raise ValueError(
            f'{show(text)} has a path; write "{scheme}://{rest[:end]}" here and the path in the route\'s '
            f"rewrite.add_prefix"
        )
    host, port = _authority(text, rest[:end])
    return f"tcp:{_quote(host)}:{_port(text, port or ('80' if scheme == 'http' else '443'))}"


def _authority(text: str, authority: str) -> tuple[str, str | None]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        if "@" in authority:
            raise ValueError(f"{show(text)} has a user name; a backend's address has only a host and a port")
        raise ValueError(f'{show(text)} is not an address; write "host:port" or "[::1]:port"')
    if match[1]:
        try:
            IPv6Address(match[1])
        except ValueError:
            raise ValueError(f"{show(text)} has a malformed IPv6 address") from None
    return match[1] or match[2], match[3]


def _port(text: str, port: str | None) -> int:
    if port is None:
        raise ValueError(f'{show(text)} has no port; write "{text}:80"')
    if len(port) > 5 or not 1 <= int(port) <= 65535:
        raise ValueError(f"{show(text)} has a port that does not exist; ports go from 1 to 65535")
    return int(port)


def _quote(host: str) -> str:
    return host.replace("\\", "\\\\").replace(":", "\\:")


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
