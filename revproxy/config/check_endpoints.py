"""Whether Twisted can read an endpoint string: asked without opening anything.

Rules of this module:

* the string goes through Twisted's own parsers with a reactor that can do nothing (Twisted's reactor of memory brings
  its whole test runner: 70 ms of every start);
* a string that a third-party plugin can't judge without a real reactor is let through, and so are
  inherited sockets, which exist only in the service itself;
* the answer is a sentence for the operator, or ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.internet.task import Clock
from twisted.plugin import getPlugins
from zope.interface import implementer

from revproxy.config.endpoints import split_endpoint, stream_endpoint
from revproxy.config.errors import either, nearest, show

_CLIENT = ("tcp", "ssl", "unix")
_SERVER = ("tcp", "ssl", "unix")
_PORTED = ("tcp", "tcp6", "ssl", "tls")
_CLIENT_FORMS = {
    "tcp": "tcp:HOST:PORT",
    "ssl": "ssl:HOST:PORT",
    "tls": "tls:HOST:PORT",
    "unix": "unix:PATH",
}
_SERVER_FORMS = {
    "tcp": "tcp:PORT",
    "tcp6": "tcp6:PORT",
    "ssl": "ssl:PORT:privateKey=FILE:certKey=FILE",
    "tls": "tls:FOLDER:PORT",
    "unix": "unix:PATH",
    "systemd": "systemd:domain=INET:name=NAME",
    "haproxy": "haproxy:tcp:PORT",
    "revproxy-tls": "revproxy-tls:certificates=FOLDER:tcp\\:PORT",
}


@implementer(IReactorPluggableNameResolver)
class _Nowhere(Clock):
    """A reactor for endpoints that are never used."""

    nameResolver = None

    def installNameResolver(self, resolver: object) -> None:
        raise NotImplementedError


def check_client_endpoint(text: str) -> str | None:
    """Why a backend's address (or endpoint string) can't be used, or ``None``."""
    try:
        endpoint, _ = stream_endpoint(text)
    except ValueError as error:
        return str(error)
    kind, args, options = split_endpoint(endpoint)
    known = {*_CLIENT, *(_prefixes(getPlugins(IStreamClientEndpointStringParserWithReactor)))}
    if kind not in known:
        return _unknown(text, kind, known)
    if kind == "unix" and not (options.get("path") or "".join(args[:1])):
        return f"{show(text)} has no path; write {show(_CLIENT_FORMS['unix'])}"
    if kind in ("tcp", "ssl", "tls"):
        host = options.get("host") or "".join(args[:1])
        port = options.get("port") or (args[-1] if len(args) > 1 or ("host" in options and args) else "")
        if "[" in endpoint and "]" in endpoint:
            return f'{show(text)} has an IPv6 address in brackets; write "[::1]:PORT", or escape it: "tcp:\\:\\:1:PORT"'
        if any(character.isspace() for character in host):
            return f"{show(text)} has white space in the host"
        if not host or not port:
            return f"{show(text)} lacks a host or a port; write {show(_CLIENT_FORMS[kind])}"
        if kind == "tls" and ":" in host:
            return f'{show(text)} can\'t be used: a "tls:" endpoint takes no IPv6 address; write "https://[…]:PORT"'
        if (why := _bad_port(text, port, 1)) is not None:
            return why
    return _ask(clientFromString, text, endpoint, _CLIENT_FORMS.get(kind))


def check_server_endpoint(text: str) -> str | None:
    """Why a listener's endpoint string can't be used, or ``None``."""
    kind, args, options = split_endpoint(text)
    known = {*_SERVER, *(_prefixes(getPlugins(IStreamServerEndpointStringParser)))}
    # Twisted ignores the case of a plugin's prefix and of a client's, but not of these.
    written = text.partition(":")[0]
    if kind not in known or (kind in _SERVER and written != kind):
        return _not_a_listener(text) or _unknown(text, written, known)
    if kind == "unix" and not (options.get("address") or "".join(args[:1])):
        return f"{show(text)} has no path; write {show(_SERVER_FORMS['unix'])}"
    if kind in _PORTED:
        place = 1 if kind == "tls" else 0
        port = options.get("port") or "".join(args[place : place + 1])
        if kind == "tls":
            if (why := _no_folder(text, options.get("path") or "".join(args[:1]))) is not None:
                return why
        elif not port:
            return f"{show(text)} has no port; write {show(_SERVER_FORMS[kind])}"
        if port and (why := _bad_port(text, port, 0)) is not None:
            return why
    if kind == "revproxy-tls" and (why := _no_folder(text, options.get("certificates", ""))) is not None:
        return why
    return _ask(serverFromString, text, text, _SERVER_FORMS.get(kind))


def _no_folder(text: str, folder: str) -> str | None:
    if not folder or Path(folder).is_dir():
        return None
    return f"{show(text)} names a folder of certificates that does not exist: {show(folder)}"


def _prefixes(plugins: Iterable[object]) -> list[str]:
    return [str(getattr(plugin, "prefix", "")).lower() for plugin in plugins]


def _unknown(text: str, kind: str, known: set[str]) -> str:
    near = nearest(kind, known)
    suggestion = f"; did you mean {show(near)}?" if near else ""
    return f"{show(text)} has an unknown endpoint type {show(kind)}; known are {_listed(known)}{suggestion}"


def _listed(known: set[str]) -> str:
    return either(sorted(known)).replace(" or ", " and ")


def _not_a_listener(text: str) -> str | None:
    """A hint for what people write when they mean a strports string."""
    host, _, port = text.removeprefix("http://").rstrip("/").rpartition(":")
    if not (port.isascii() and port.isdigit()):
        return None
    if host in ("", "*", "0.0.0.0"):
        right = f"tcp:{port}"
    elif host.startswith("["):
        right = f"tcp6:{port}:interface={host.strip('[]').replace(':', chr(92) + ':')}"
    elif host.replace(".", "").isdigit() or host == "localhost":
        right = f"tcp:{port}:interface={'127.0.0.1' if host == 'localhost' else host}"
    else:
        return None
    return f"{show(text)} is not an endpoint; did you mean {show(right)}?"


def _bad_port(text: str, port: str, least: int) -> str | None:
    if port.isascii() and port.isdigit() and len(port) <= 5 and least <= int(port) <= 65535:
        return None
    return f"{show(text)} has a bad port {show(port)}; a port is a number from {least} to 65535"


def _ask(parse: Callable[[object, str], object], text: str, endpoint: str, form: str | None) -> str | None:
    expected = f"; write {show(form)}" if form else ""
    try:
        parse(_Nowhere(), endpoint)
    except OSError as error:
        name = f": {show(str(error.filename))}" if error.filename else ""
        return f"{show(text)} can't be used: {(error.strerror or str(error)).lower()}{name}"
    except TypeError:
        return f"{show(text)} has too few, too many or unknown arguments{expected}"
    except ValueError as error:
        return f"{show(text)} can't be used: {_first_line(error)}{expected}"
    except (ImportError, LookupError, AttributeError, NotImplementedError):
        # A plugin that needs its package, its sockets or a real reactor; starting it will tell.
        return None
    except Exception as error:  # a plugin may raise anything; the text of the operator is what made it
        if type(error).__module__.startswith("OpenSSL"):
            return f"{show(text)} names a certificate or key that can't be read as PEM{expected}"
        return f"{show(text)} can't be used: {type(error).__name__}: {_first_line(error)}"
    return None


def _first_line(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text if text.isprintable() else show(text)
