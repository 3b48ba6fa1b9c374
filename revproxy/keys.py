"""What requests are told apart by: client, path, a field, a cookie, a query parameter, or what the user's code says.

Rules of this module:

* a key is bytes; ``None`` is no key, and so is an empty value: what is the same for everybody who has
  none tells nobody apart;
* a key is read as it is sent on: after the route's rewrites, the first of several;
* the user's code can't break a request: when it fails there is no key.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from revproxy.http.parameters import cookie, query_parameter
from revproxy.middleware.policy import load_object

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

_log = Logger()

Key = Callable[["Exchange"], bytes | None]


def key_reader(by: str, base: str = ".") -> Key:
    """A function that reads the key of an exchange.

    :param base: a folder where the user's modules are looked for after Python's own places.
    :raises ValueError: when the callable can't be found, or is none that gives a key at once.
    """
    if by == "client":
        return _client
    if by == "path":
        return _path
    kind, _, name = by.partition(":")
    if kind == "header":
        return _header(name.lower().encode("ascii"))
    if kind == "cookie":
        return _cookie(name.encode("utf-8"))
    if kind == "query":
        return _query(name.encode("utf-8"))
    call = load_object(by, base)
    if not callable(call) or inspect.iscoroutinefunction(call):
        raise ValueError(f"{by!r} has to be a plain callable that takes an exchange and gives str, bytes or None")
    return OwnKey(by, call).read


def _client(exchange: Exchange) -> bytes | None:
    return exchange.request.client.encode("utf-8", "replace") or None


def _path(exchange: Exchange) -> bytes | None:
    return exchange.request.path


def _header(name: bytes) -> Key:
    return lambda exchange: exchange.request.headers.get(name) or None


def _cookie(name: bytes) -> Key:
    return lambda exchange: cookie(exchange.request.headers, name) or None


def _query(name: bytes) -> Key:
    return lambda exchange: query_parameter(exchange.request.query, name) or None


class OwnKey:
    """Keys that the user's code reads. What is wrong with it is logged the first time only: it may be so each time."""

    __slots__ = ("_call", "_name", "_told")

    def __init__(self, name: str, call: Callable[[Exchange], Any]) -> None:
        self._name = name
        self._call = call
        self._told = False

    def read(self, exchange: Exchange) -> bytes | None:
        try:
            found = self._call(exchange)
        except Exception:
            if not self._told:
                self._told = True
                _log.failure("{key} raised; requests that it fails for have no key", key=self._name)
            return None
        if isinstance(found, str):
            return found.encode("utf-8", "surrogatepass") or None
        if found is None or isinstance(found, bytes):
            return found or None
        if not self._told:
            self._told = True
            _log.error(
                "{key} gave {type}, and not str, bytes or None; such requests have no key",
                key=self._name,
                type=type(found).__name__,
            )
        if inspect.iscoroutine(found):
            found.close()
        return None
